//! Judging: pure functions over observations. No engine runs and no clock is read here.

pub mod core_speed;
pub mod disturbance;
pub mod flipping;
pub mod latency;
pub mod noise_floor;
