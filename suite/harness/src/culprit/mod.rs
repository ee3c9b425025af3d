//! Why do engines differ on this model, or fail, and what is the smallest model on which they do?
//!
//! [`Investigation`] finds out what is wrong and whose outputs are right. `reduce` cuts the model down as long as that
//! is still so; [`blame`] says where it begins and which setting makes it go.

pub mod blame;
mod candidate;
mod ddmin;
pub mod engines;
pub mod first_pass;
mod investigation;
mod judge;
mod record_values;
pub mod reduce;
mod simplify;
mod verdict;
mod version;
mod words;
pub mod write;

use std::collections::BTreeMap;

use firstpass_probe::Tensor;

pub use candidate::Candidate;
pub use investigation::{Found, Investigation, Verdict};
pub use judge::{Reference, Symptom};
pub use verdict::verdict;
pub use version::{History, Since, history};
pub use words::{history_words, investigation_words};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;
