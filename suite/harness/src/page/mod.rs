//! How anything is rendered: tables, numbers, plots, and the generated parts of pages.

pub mod help;
pub mod html;
pub mod markdown;
pub mod numbers;
pub mod plots;
pub(crate) mod shell;
mod splice;
pub(crate) mod table;
pub(crate) mod template;
pub mod terminal;
pub(crate) mod written;

pub use html::slug;
pub use splice::{Block, splice};
pub(crate) use written::write_file;
