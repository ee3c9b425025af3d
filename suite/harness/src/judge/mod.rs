//! Judging: pure functions over observations and outputs. No engine runs and no clock is read here.

pub mod agreement;
pub mod expectation;
pub mod latency;
pub mod repeatability;
pub mod spread;
