//! The statistics of first passes: pure functions over numbers, which know no engine and no clock.
//!
//! - [`steady`]: where a series of passes becomes steady, and what kind of series it is.
//! - [`change_points`] and [`outliers`]: what it is found with.
//! - [`bootstrap`]: figures over processes, with intervals.
//! - [`comparison`]: which of two is faster, or that it cannot be told.
//! - [`planted`]: series whose truth is known, to show how well all this works.
//!
//! Everything that draws random numbers draws them from a seed: the same record gives the same
//! report.

pub mod bootstrap;
pub mod change_points;
pub mod comparison;
pub mod disturbance;
pub mod error_rates;
pub mod joint;
pub mod moderation;
pub mod outliers;
pub mod planted;
pub mod steady;
mod summary;

pub use summary::{Spread, mean, median, noise, quantile};
