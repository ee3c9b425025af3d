//! The subcommands of `firstpass`.

pub mod aa;
pub mod cargo;
pub mod check;
pub mod compare;
pub mod cure;
pub mod diverge;
pub mod doctor;
pub mod explain;
pub mod gate;
pub mod init;
pub mod measure;
pub mod operators;
pub mod overhead;
pub mod own;
pub mod referee;
pub mod report;
pub mod setup;
pub mod shapes;
pub mod zoo;
