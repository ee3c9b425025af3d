//! Whose arithmetic is an engine's?

pub mod command;
mod data;
mod measure;
pub mod report;

pub use data::*;
pub use measure::{measure, rules};
