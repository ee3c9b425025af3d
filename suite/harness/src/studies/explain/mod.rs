//! Where do the first passes spend their time, operator by operator?

pub mod command;
mod data;
pub mod judge;
pub mod measure;
pub mod plot;
pub mod report;

pub use data::*;
pub use measure::measure;
