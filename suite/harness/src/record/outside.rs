//! Whether a place that the user names is one of measurements, where no page may be written.

use std::path::{Component, Path, PathBuf};

use anyhow::{Result, bail};
use firstpass_trial::regular_file;

use crate::record::RUN;

/// # Errors
/// Fails where the path is a folder of measurements or lies in one, however it is written, and names that folder.
pub fn check_outside_records(path: &Path) -> Result<()> {
    let resolved = resolved(path)?;
    let within = resolved
        .ancestors()
        .find(|folder| holds_measurements(folder));
    if let Some(record) = within {
        bail!(
            "{} lies in the measurements {}, where nothing else is written; name another place with --out",
            path.display(),
            record.display()
        );
    }
    Ok(())
}

/// The path without links, as far as it is there.
fn resolved(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let there = path
        .ancestors()
        .find_map(|folder| Some((folder, folder.canonicalize().ok()?)));
    Ok(match there {
        Some((folder, real)) => {
            let rest = path.strip_prefix(folder).unwrap_or(&path);
            // What is not there is no link, so that `..` leads back.
            rest.components().fold(real, |mut resolved, part| {
                match part {
                    Component::ParentDir => drop(resolved.pop()),
                    part => resolved.push(part),
                }
                resolved
            })
        }
        None => path,
    })
}

/// Another program may call a file `run.json` as well.
fn holds_measurements(folder: &Path) -> bool {
    let text = regular_file::read_text(&folder.join(RUN)).unwrap_or_default();
    let run: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    run["date"].is_string() && run["code"].is_object()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_place_in_a_record_is_told_however_it_is_written() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let record = dir.path().join("records/one");
        fs::create_dir_all(record.join("tune"))?;
        fs::write(
            record.join(RUN),
            r#"{"date": "2026-01-01T00:00:00Z", "code": {}}"#,
        )?;
        std::os::unix::fs::symlink("records/one", dir.path().join("link"))?;
        for inside in [
            "records/one",
            "records/one/tune",
            "records/one/new/page.md",
            "records/two/../one",
            "link",
            "link/new",
        ] {
            let error = check_outside_records(&dir.path().join(inside)).expect_err(inside);
            assert!(
                error.to_string().contains("records/one, where"),
                "{inside}: {error}"
            );
        }
        for outside in ["", "records", "records/two", "records/one-2", "new/folder"] {
            check_outside_records(&dir.path().join(outside))?;
        }
        // Of another program.
        fs::create_dir(dir.path().join("other"))?;
        fs::write(dir.path().join("other").join(RUN), r#"{"date": 1}"#)?;
        check_outside_records(&dir.path().join("other"))
    }
}
