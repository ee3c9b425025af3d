//! Does a new shape make an engine warm up again?

pub mod command;
mod measure;
pub mod report;

pub use measure::*;
