//! Small quantized graphs, operator by operator: does every engine compute what the referee does?

mod case;
pub mod command;
mod data;
mod measure;
pub mod report;
mod standard;

pub use case::{Bias, Case, Conv, KINDS, Kind, Operator, Quantization};
pub use data::*;
pub use measure::{KEPT, Settings, export, keep, measure};
pub use standard::{Outcome, StandardTest};
