//! Small quantized graphs, drawn at random: one operator between two quantizations, or a block of
//! several. Does an engine compute what a referee does?
//!
//! [`fixed`] are the cases whose outputs are [`frozen`]: they are tried in every test.

mod case;
mod expected;
mod files;
pub mod fixed;
pub mod frozen;
mod kinds;
mod verdict;

pub use case::{Bias, Case, Conv, INPUT, OUTPUT, Operator, Quantization};
pub use expected::{Expected, Given};
pub use fixed::ENOUGH;
pub use kinds::{KINDS, Kind, Tree};
pub use verdict::{CaseVerdict, Findings, Tried, judge};
