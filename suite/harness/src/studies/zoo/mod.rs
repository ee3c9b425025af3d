//! Do the first passes of other models take as long?

pub mod command;
mod data;
pub mod judge;
mod make;
pub mod plot;
pub mod report;

pub use data::*;
pub use make::{make, sources_sha256};
