//! Does measuring disturb what is measured?

pub mod command;
mod data;
pub mod judge;
mod measure;
pub mod report;

pub use data::*;
pub use measure::measure;
