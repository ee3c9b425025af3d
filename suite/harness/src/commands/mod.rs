//! The subcommands of `firstpass`.

pub mod cargo;
pub mod doctor;
pub mod report;
pub mod setup;
