//! Writing the files of a report into the folder that the user names, in which other things may lie.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use firstpass_trial::regular_file;

use crate::page::plots::canvas;

/// What every generated page behind the first one says below its answer.
pub(crate) const BACK: &str = "[Back to the report](README.md)";

/// What the title of a report in HTML begins with.
pub(crate) const TITLE: &str = "Firstpass: ";

/// The page that leads to all others. Only a part of it is generated, and what stands around that is kept.
const FIRST: &str = "README.md";

/// Writes a file of a report, and the folders that it lies in.
///
/// # Errors
/// Fails where it cannot be written, and as [`check_file`].
pub(crate) fn write_file(folder: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    check_file(folder, path, bytes)?;
    let place = folder.join(path);
    let unwritable = || format!("cannot write {}", place.display());
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).with_context(unwritable)?;
    }
    regular_file::replace(&place, |new| Ok(fs::write(new, bytes)?)).with_context(unwritable)
}

/// Whether this may be written into the folder of a report: what another program or a person has put there is not
/// replaced, and nothing is written through a link, which may lead anywhere.
///
/// # Errors
/// Says what is there in its place.
pub(crate) fn check_file(folder: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    for part in path.ancestors().filter(|part| !part.as_os_str().is_empty()) {
        let part = folder.join(part);
        ensure!(
            !part.is_symlink(),
            "{} is a link, through which no page is written: remove it, or name another folder",
            part.display()
        );
    }
    let place = folder.join(path);
    ensure!(
        !place.exists() || is_generated(folder, path, bytes),
        "{} is there already and is none of a report: move it, or name another folder",
        place.display()
    );
    Ok(())
}

/// Whether what lies there was written by a report, as far as its content tells.
fn is_generated(folder: &Path, path: &Path, new: &[u8]) -> bool {
    let place = folder.join(path);
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("md") if path == Path::new(FIRST) => true,
        Some("md") => {
            let text = regular_file::read_text(&place).unwrap_or_default();
            let new = String::from_utf8_lossy(new);
            text.contains(BACK) || text.lines().next() == new.lines().next()
        }
        Some("html") => {
            let text = regular_file::read_text(&place).unwrap_or_default();
            text.contains(&format!("<title>{TITLE}"))
        }
        Some("svg") => is_plot(&place),
        // A picture tells nothing of itself, but a page of the report shows it.
        _ => {
            let pages = fs::read_dir(folder).into_iter().flatten().flatten();
            let shown = format!("({})", path.display());
            pages.map(|page| page.path()).any(|page| {
                page.extension().is_some_and(|extension| extension == "md")
                    && regular_file::read_text(&page).is_ok_and(|text| text.contains(&shown))
            })
        }
    }
}

/// Whether a file is a plot that was drawn here.
pub(crate) fn is_plot(file: &Path) -> bool {
    !file.is_symlink()
        && regular_file::read_text(file).is_ok_and(|text| canvas::is_drawn_here(&text))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_of_no_report_is_not_replaced() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path();
        let plot = canvas::svg(10.0, |_| Ok(()))?;
        let page = format!("# Title\n\n{BACK}\n");
        let html = format!("<title>{TITLE}m</title>");
        for (path, own, generated) in [
            ("why.md", "notes of my own", page.as_bytes()),
            ("plots/a.svg", "<svg xmlns=\"x\"/>", plot.as_bytes()),
            ("report.html", "<title>mine</title>", html.as_bytes()),
            ("pictures/me.jpg", "my photograph", b"drawn"),
        ] {
            let path = Path::new(path);
            write_file(folder, path, generated)?;
            let place = folder.join(path);
            fs::write(&place, own)?;
            let error = write_file(folder, path, generated).expect_err("it is the user's");
            assert!(error.to_string().contains("there already"), "{error}");
            assert_eq!(fs::read_to_string(&place)?, own);
            fs::remove_file(&place)?;
            write_file(folder, path, generated)?;
        }
        // What a report has written it may write again.
        fs::write(folder.join("README.md"), "![me](pictures/me.jpg)")?;
        for (path, new) in [
            ("why.md", "# Another title"),
            ("plots/a.svg", "<svg/>"),
            ("report.html", ""),
            ("pictures/me.jpg", "drawn again"),
            ("README.md", "its other text is kept by others"),
        ] {
            write_file(folder, Path::new(path), new.as_bytes())?;
            assert_eq!(fs::read_to_string(folder.join(path))?, new);
        }
        // A page without the way back is known by its heading.
        write_file(folder, Path::new("soak.md"), b"# Soak\n1")?;
        write_file(folder, Path::new("soak.md"), b"# Soak\n2")?;
        Ok(())
    }

    #[test]
    fn nothing_is_written_through_a_link() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (folder, victim) = (dir.path().join("report"), dir.path().join("victim"));
        fs::create_dir_all(&folder)?;
        fs::create_dir(&victim)?;
        fs::write(victim.join("file"), "kept")?;
        symlink("../victim/file", folder.join("README.md"))?;
        symlink("../victim/new", folder.join("why.md"))?;
        symlink("../victim", folder.join("plots"))?;
        for path in ["README.md", "why.md", "plots/a.svg"] {
            let error = write_file(&folder, Path::new(path), b"x").expect_err(path);
            assert!(error.to_string().contains("is a link"), "{error}");
        }
        assert_eq!(fs::read_to_string(victim.join("file"))?, "kept");
        assert_eq!(fs::read_dir(&victim)?.count(), 1);
        Ok(())
    }
}
