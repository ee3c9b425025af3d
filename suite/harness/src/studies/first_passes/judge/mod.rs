//! Judging: pure functions over observations. No engine runs and no clock is read here.

pub mod comparisons;
pub mod core_correction;
pub mod core_speed;
pub mod disturbance;
pub mod first_pass;
pub mod flipping;
pub mod headlines;
pub mod latency;
pub mod no_choice;
pub mod noise_floor;
