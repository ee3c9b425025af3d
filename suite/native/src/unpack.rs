//! Takes the wanted files out of a wheel.

use std::{
    fs::{self, File},
    io::BufReader,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use zip::ZipArchive;

use crate::{
    digest,
    manifest::{FileRule, RelativePath},
    stamp::Files,
};

type Archive = ZipArchive<BufReader<File>>;

/// An entry of the archive that is wanted.
struct Entry {
    index: usize,
    bytes: u64,
    to: RelativePath,
}

/// Whether a wheel holds what every rule selects.
///
/// # Errors
/// Fails where it does not.
pub(crate) fn check(wheel: &Path, rules: &[FileRule]) -> Result<()> {
    let file = File::open(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .with_context(|| format!("cannot read {}", wheel.display()))?;
    select(&mut archive, rules).map(drop)
}

/// Writes what the rules select into a folder, and returns what was written.
pub(crate) fn unpack(
    wheel: &Path,
    rules: &[FileRule],
    folder: &Path,
    bar: &ProgressBar,
) -> Result<Files> {
    let file = File::open(wheel).with_context(|| format!("cannot read {}", wheel.display()))?;
    let mut archive = ZipArchive::new(BufReader::new(file))
        .with_context(|| format!("cannot read {}", wheel.display()))?;
    let entries = select(&mut archive, rules)
        .with_context(|| format!("{} is not as native.toml says", wheel.display()))?;
    bar.set_length(entries.iter().map(|entry| entry.bytes).sum());

    let mut files = Files::new();
    for Entry { index, to, .. } in entries {
        let target = to.under(folder);
        let mut output = create(&target)?;
        let mut entry = archive.by_index(index)?;
        let fingerprint = digest::copy(&mut entry, wheel, &mut output, &target, bar)?;
        if entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0) {
            make_executable(&output, &target)?;
        }
        files.insert(to.as_str().into(), fingerprint);
    }
    Ok(files)
}

/// A program in a wheel stays one.
fn make_executable(file: &File, path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let permissions = fs::Permissions::from_mode(0o755);
        file.set_permissions(permissions)
            .with_context(|| format!("cannot make {} executable", path.display()))?;
    }
    #[cfg(not(unix))]
    let _ = (file, path);
    Ok(())
}

fn select(archive: &mut Archive, rules: &[FileRule]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut used = vec![false; rules.len()];
    for index in 0..archive.len() {
        let entry = archive.by_index(index)?;
        let name = entry.name()?;
        for (rule, used) in rules.iter().zip(&mut used) {
            let Some(to) = rule.destination(&name) else {
                continue;
            };
            ensure!(!entry.is_symlink(), "`{name}` is a symbolic link");
            // Refuses a name that leads out of the folder.
            let to = RelativePath::try_from(to)?;
            entries.push(Entry {
                index,
                bytes: entry.size(),
                to,
            });
            *used = true;
        }
    }
    if let Some((rule, _)) = rules.iter().zip(used).find(|(_, used)| !used) {
        bail!("it holds no `{}`", rule.from.as_str());
    }
    Ok(entries)
}

/// Creates a file, and the folders above it; what exists is not overwritten.
pub(crate) fn create(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    File::create_new(path).with_context(|| format!("cannot create {}", path.display()))
}
