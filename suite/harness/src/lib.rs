//! The command `firstpass`: runs probes of every backend on every model, judges what was
//! observed, and writes reports. It names no backend: each folder of `backends/` is one.
//!
//! Measuring and judging ([`studies`]) meet only in a [`record`].

// First: its macros are those of every module below.
#[macro_use]
pub mod output;

pub mod commands;
pub mod compare;
pub mod culprit;
pub mod graph;
pub mod interruption;
pub mod memory;
pub mod page;
pub(crate) mod progress;
pub mod python;
pub mod record;
pub mod report;
pub mod studies;
pub mod user_model;
