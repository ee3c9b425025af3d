//! Do the engines agree, and what do their first passes cost against the steady state?

pub mod aa;
pub mod analysis;
pub mod arguments;
pub mod chosen;
pub mod error_rates;
pub mod judge;
pub mod measure;
pub mod picture;
pub mod plots;
pub mod report;
pub mod verdict;
pub mod words;
