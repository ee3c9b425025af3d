//! The subcommands that belong to no study.

pub mod cargo;
pub mod doctor;
pub mod engines;
pub mod record;
pub mod reduce;
pub mod trust;
