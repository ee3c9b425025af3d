//! Parts of a page of markdown.

use std::path::Path;

/// A picture with its description, for who does not see it.
pub(crate) fn image(path: &Path, alt: &str) -> String {
    format!("![{alt}]({})", path.display())
}
