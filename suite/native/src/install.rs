//! Puts a library in its place, wholly or not at all.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Error, Result, bail};
use indicatif::ProgressBar;

use crate::{
    digest,
    fetch::{Fetch, Pip, obtain},
    link::link,
    lock::Lock,
    manifest::{NativeLibrary, Platform, RelativePath, TextFile},
    progress::{Progress, size},
    stamp::{Files, Stamp},
    status::Status,
    unpack::{create, unpack},
};

impl NativeLibrary {
    /// Installs the library by pip, unless it is there: what is in place is [verified] and left
    /// alone. Returns how things stand afterwards, which is not an error where the platform is
    /// not supported.
    ///
    /// [verified]: Self::verify
    ///
    /// # Errors
    /// Fails where a variable of the user names what does not exist, and where anything prevents
    /// the installation. What was there before is then unchanged.
    pub fn install(&self, native_root: &Path, progress: &Progress) -> Result<Status> {
        let python = self
            .host
            .variable("PYTHON")
            .unwrap_or_else(|| "python3".into());
        self.install_with(native_root, &Pip::of(python), progress)
    }

    /// Like [`install`](Self::install), with wheels from elsewhere.
    ///
    /// # Errors
    /// The same.
    pub fn install_with(
        &self,
        native_root: &Path,
        fetcher: &dyn Fetch,
        progress: &Progress,
    ) -> Result<Status> {
        let status = self.verify(native_root);
        if is_settled(&status) {
            return self.report(status, progress);
        }
        self.replace(native_root, fetcher, progress)
            .map_err(|error| {
                let advice = advice(&error);
                error.context(format!(
                    "{self} was not set up in {}, where nothing has changed; {advice}",
                    native_root.display()
                ))
            })
    }

    fn replace(
        &self,
        native_root: &Path,
        fetcher: &dyn Fetch,
        progress: &Progress,
    ) -> Result<Status> {
        create_folder(native_root)?;
        let _lock = lock(native_root, progress)?;
        // Again, as another set-up may have finished while this one waited.
        let status = self.verify(native_root);
        let Some(platform) = self.platform().filter(|_| !is_settled(&status)) else {
            return self.report(status, progress);
        };
        progress.line(&format!("{self}: {status}; setting it up"));
        if !platform.tested {
            let Platform { os, arch, .. } = platform;
            progress.line(&format!("  {os} {arch} is prepared, but was never tested"));
        }

        let partial = native_root.join("partial");
        let downloads = self.downloads(native_root);
        remove(&partial)?;
        create_folder(&partial)?;
        create_folder(&downloads)?;
        let attempt = Attempt {
            library: self,
            platform,
            downloads: &downloads,
            partial: &partial,
            fetcher,
            progress,
        };
        let installed = attempt.run(&self.directory(native_root));
        // What cannot be removed does no harm: the next set-up tries again.
        let _ = fs::remove_dir_all(&partial);
        installed?;
        let _ = fs::remove_dir_all(&downloads);
        let _ = fs::remove_dir(native_root.join("downloads"));
        Ok(self.status(native_root))
    }

    fn report(&self, status: Status, progress: &Progress) -> Result<Status> {
        if let Status::NotFoundWhereNamed { .. } = status {
            bail!("{self}: {status}");
        }
        match &status {
            Status::UnsupportedPlatform { message } => progress.line(message),
            status => progress.line(&format!("{self}: {status}")),
        }
        Ok(status)
    }
}

/// One attempt to install a library, by the set-up that holds the lock.
struct Attempt<'a> {
    library: &'a NativeLibrary,
    platform: &'a Platform,
    downloads: &'a Path,
    partial: &'a Path,
    fetcher: &'a dyn Fetch,
    progress: &'a Progress,
}

impl Attempt<'_> {
    /// Makes the whole tree aside, then puts it in its place.
    fn run(&self, directory: &Path) -> Result<()> {
        let tree = self.partial.join("tree");
        let mut files = self.unpack_wheels(&tree)?;
        for TextFile { path, content } in &self.platform.texts {
            let target = path.under(&tree);
            create(&target)?
                .write_all(content.as_bytes())
                .with_context(|| format!("cannot write {}", target.display()))?;
            record(path, &tree, &mut files)?;
        }
        for library in &self.platform.forwarding_libraries {
            link(library, &tree, &self.library.host)?;
            record(&library.path, &tree, &mut files)?;
        }
        let bytes = files.values().map(|file| file.bytes).sum();
        Stamp {
            pins: self.library.pins(self.platform)?,
            files,
        }
        .write(&tree)?;
        swap(&tree, directory, &self.partial.join("replaced"))?;
        self.progress
            .line(&format!("  {} in {}", size(bytes), directory.display()));
        Ok(())
    }

    fn unpack_wheels(&self, tree: &Path) -> Result<Files> {
        let mut wheels = Vec::new();
        for wheel in &self.platform.wheels {
            let path = obtain(
                wheel,
                self.downloads,
                self.partial,
                self.fetcher,
                self.progress,
            )?;
            wheels.push((wheel, path));
        }
        let mut files = Files::new();
        for (wheel, path) in wheels {
            self.progress
                .line(&format!("  unpacking {}", wheel.name.requirement()));
            let bar = self.progress.bar("unpacking", 0);
            files.append(&mut unpack(&path, &wheel.files, tree, &bar)?);
        }
        Ok(files)
    }
}

fn record(path: &RelativePath, tree: &Path, files: &mut Files) -> Result<()> {
    let fingerprint = digest::of_file(&path.under(tree), &ProgressBar::hidden())?;
    files.insert(path.as_str().into(), fingerprint);
    Ok(())
}

/// Whether there is nothing to install.
fn is_settled(status: &Status) -> bool {
    !matches!(status, Status::Missing | Status::Damaged { .. })
}

/// Keeps a second set-up out.
fn lock(native_root: &Path, progress: &Progress) -> Result<Lock> {
    Lock::wait(&native_root.join(".lock"), |holder| {
        progress.line(&format!(
            "another set-up is at work here, {holder}: waiting for it"
        ));
    })
}

/// Puts the new folder in the place of the old one.
fn swap(new: &Path, place: &Path, old: &Path) -> Result<()> {
    let moved = |from: &Path, to: &Path| {
        fs::rename(from, to)
            .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
    };
    if let Some(folder) = place.parent() {
        create_folder(folder)?;
    }
    if place.exists() {
        moved(place, old)?;
    }
    moved(new, place)
}

fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// What to do about the error.
fn advice(error: &Error) -> &'static str {
    let kind = error
        .chain()
        .find_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    match kind {
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
            "free some space there, then run set-up again"
        }
        Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
            "make it writable, then run set-up again"
        }
        _ => "once the cause is gone, run set-up again",
    }
}
