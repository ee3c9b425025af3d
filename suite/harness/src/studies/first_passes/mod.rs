//! Do the engines agree, and what do their first passes cost against the steady state?

pub mod aa;
pub mod analysis;
pub mod arguments;
pub mod chosen;
pub mod error_rates;
pub(crate) mod extent;
pub mod findings;
pub mod judge;
#[cfg(test)]
pub(crate) mod made_up;
pub mod measure;
pub mod picture;
pub mod plots;
pub mod reference;
pub mod report;
pub mod row;
pub mod sanity;
pub mod unfit;
pub mod untimed;
pub mod verdict;
pub mod words;
