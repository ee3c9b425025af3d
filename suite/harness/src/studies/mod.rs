//! One folder for each question that is measured.

pub mod diverge;
pub mod explain;
pub mod first_passes;
pub mod operators;
pub mod overhead;
pub mod referee;
pub mod shapes;
pub mod tune;
pub mod zoo;
