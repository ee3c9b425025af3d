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

use std::path::Path;

use anyhow::{Context, Result};

pub use html::slug;
pub use splice::{Block, splice};

/// Writes a file and the folders that it lies in.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let unwritable = || format!("cannot write {}", path.display());
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(unwritable)?;
    }
    std::fs::write(path, bytes).with_context(unwritable)
}
