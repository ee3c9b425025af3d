//! The subcommands of `firstpass`.

pub mod cargo;
pub mod doctor;
pub mod overhead;
pub mod report;
pub mod setup;
