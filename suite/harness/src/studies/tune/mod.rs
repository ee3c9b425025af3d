//! Which settings of an engine make its first passes fast, and what do they cost?

pub mod command;
mod data;
pub mod judge;
pub mod plot;
pub mod report;
mod snippets;

pub use data::*;
