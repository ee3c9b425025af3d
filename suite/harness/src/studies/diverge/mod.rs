//! In which layer does an engine begin to differ, and how does the difference grow?

mod align;
pub mod command;
mod data;
pub mod measure;
mod pass;
pub mod plot;
pub mod report;
pub mod saturation;

pub use data::*;
pub use measure::measure;
