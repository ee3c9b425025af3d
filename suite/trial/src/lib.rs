//! One process of one engine on one workload, and what was observed.
//!
//! This is what the tests of a backend need, and what every study of the harness is made of: it
//! finds engines and models ([`workspace`], [`workload`]), runs a probe ([`process`]), keeps what it
//! said ([`observation`]), and compares its outputs with those that are expected ([`agreement`],
//! [`expectation`], [`repeatability`], and [`small_graphs`], whose cases it draws as well). It knows no record and no report.

pub mod affinity;
pub mod agreement;
pub mod classification;
pub mod detection;
pub mod difference;
pub mod direct_program;
pub mod engine;
pub mod engine_spec;
pub mod expectation;
pub mod input_role;
pub mod input_size;
pub mod known;
pub mod left_behind;
pub mod machine;
pub mod made_up_input;
pub mod manifest;
pub mod measuring;
pub mod model;
pub mod observation;
pub mod outputs;
pub mod own_model;
pub mod page_cache;
pub mod patience;
mod polling_reader;
pub mod private_copy;
pub mod process;
mod process_limits;
pub mod processor;
pub mod regular_file;
pub mod repeatability;
pub mod rules;
pub mod sample;
pub mod scratch;
pub mod setting;
pub mod setup;
pub mod shape;
pub mod shell_word;
pub mod small_graphs;
mod standard_error;
pub mod system_counters;
pub mod tensor_files;
pub mod trust;
pub mod workload;
pub mod workspace;
