//! Records against each other: what changed, whether limits are kept, several hosts side by side.

pub mod changes;
pub mod changes_report;
pub mod circumstances;
pub mod compare_command;
pub mod gate;
pub mod gate_command;
pub mod hosts;
pub mod limits;
pub mod selection;
