//! The subcommands that belong to no study.

pub mod blame;
pub mod cargo;
pub mod doctor;
pub mod engines;
mod one_model;
pub mod record;
pub mod reduce;
pub mod trust;
