//! Judging: pure functions over observations and outputs. No engine runs and no clock is read here.

pub mod agreement;
pub mod changes;
pub mod core_speed;
pub mod cure;
pub mod disturbance;
pub mod expectation;
pub mod explain;
pub mod flipping;
pub mod gate;
pub mod latency;
pub mod noise_floor;
pub mod overhead;
pub mod repeatability;
pub mod zoo;
