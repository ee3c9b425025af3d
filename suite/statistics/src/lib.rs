//! The statistics of first passes: pure functions over numbers, which know no engine and no clock.
//!
//! - [`joint`]: what kind of series the processes of a cell are, together.
//! - [`steady`]: where one series of passes becomes steady.
//! - [`change_points`], [`outliers`] and [`disturbance`]: what these are found with.
//! - [`growth`]: whether something that should stay grows on and on.
//! - [`bootstrap`]: figures over processes, with intervals.
//! - [`comparison`] and [`moderation`]: which of two is faster, or what is known where that is open.
//! - [`planted`] and [`error_rates`]: series and comparisons whose truth is known, to show how well all this
//!   works.
//!
//! Everything that draws random numbers draws them from a seed: the same record gives the same
//! report.

/// Another one where any of these sources is another: what they computed before may be another now.
pub const SOURCES: &str = env!("STATISTICS_SOURCES");

pub mod bootstrap;
pub mod change_points;
pub mod comparison;
pub mod disturbance;
pub mod error_rates;
pub mod family;
pub mod growth;
pub mod joint;
pub mod moderation;
pub mod outliers;
pub mod planted;
pub mod steady;
mod summary;

pub use summary::{Spread, mean, median, noise, quantile};
