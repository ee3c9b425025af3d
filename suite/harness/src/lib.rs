//! The command `firstpass`: runs probes of every backend on every model, judges what was
//! observed, and writes reports. It names no backend: each folder of `backends/` is one.
//!
//! Measuring ([`campaign`]) and judging ([`judge`]) meet only in a [`record`].

pub mod beside;
pub mod campaign;
pub mod classification;
pub mod code;
pub mod cure;
pub mod detection;
pub mod diverge;
pub mod explain;
pub mod graph;
pub mod judge;
pub mod known;
pub mod machine;
pub mod manifest;
pub mod model;
pub mod observation;
pub mod operators;
pub mod overhead;
pub mod own;
pub mod page_cache;
pub mod photo;
pub mod placement;
pub mod probe;
pub mod python;
pub mod record;
pub mod referee;
pub mod report;
pub mod shapes;
pub mod subject;
pub mod surroundings;
mod unhurried;
pub mod workspace;
pub mod zoo;
