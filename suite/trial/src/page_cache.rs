//! Takes files out of the kernel's page cache, so that the next process reads them from the disk.
//!
//! This is not the state after a reboot: folders, the dynamic linker and the system's libraries
//! stay in memory.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use firstpass_native::Status;
use serde::{Deserialize, Serialize};

/// What an attempt to evict files came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eviction {
    /// How many files it was asked for, each counted once.
    pub files: usize,
    /// Their size together.
    pub bytes: u64,
    /// How much of them is still cached, estimated from samples; `None` where that cannot be told of
    /// every file.
    pub resident_bytes: Option<u64>,
    /// Why files, or parts of them, were not evicted, or why that is unknown.
    pub reasons: Vec<String>,
}

/// What a probe reads from the disk before its first answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    pub paths: Vec<PathBuf>,
    /// Why files of it are not among them.
    pub unknown: Vec<String>,
}

impl Files {
    /// The probe's executable, the model file, and the shared libraries that come with a native
    /// library: those in its folder or in `lib` there. The system's own libraries are left alone,
    /// as other processes have them in memory.
    pub fn of(binary: &Path, library: Option<&Status>, model: &Path) -> Self {
        let mut files = Self {
            paths: vec![binary.into(), model.into()],
            unknown: Vec::new(),
        };
        match library {
            Some(Status::Installed { directory: path }) => files.add_libraries(path),
            Some(Status::ProvidedByUser {
                path: Some(path), ..
            }) if path.is_absolute() => files.add_libraries(path),
            Some(status) => files
                .unknown
                .push(format!("the native library was not evicted: {status}")),
            None => {}
        }
        files
    }

    /// Evicts them. Where some are unknown, the reasons say so, and what stays cached is unknown.
    pub fn evict(&self) -> Eviction {
        let mut eviction = evict(&self.paths);
        if !self.unknown.is_empty() {
            eviction.resident_bytes = None;
            eviction.reasons.extend(self.unknown.iter().cloned());
        }
        eviction
    }

    /// `path` is a library or the folder of some.
    fn add_libraries(&mut self, path: &Path) {
        if !path.is_dir() {
            return self.paths.push(path.into());
        }
        let before = self.paths.len();
        for folder in [path.to_owned(), path.join("lib")] {
            // A folder need not have both.
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let libraries = entries.map(|e| e.path()).filter(|p| is_library(p));
            self.paths.extend(libraries);
        }
        if self.paths.len() == before {
            let reason = format!(
                "the native library was not evicted: no shared libraries in {}",
                path.display()
            );
            self.unknown.push(reason);
        }
    }
}

/// `libx.so`, `libx.so.1` and `libx.dylib` are.
fn is_library(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.is_file()
        && name
            .split('.')
            .skip(1)
            .any(|part| part == "so" || part == "dylib")
}

/// Writes out what is not yet on the disk, asks the kernel to forget the files, and looks whether
/// it did. It does not where a process has them mapped, or where the file system is in memory;
/// that is said and is no error.
pub fn evict(files: &[PathBuf]) -> Eviction {
    let mut eviction = Eviction {
        resident_bytes: Some(0),
        ..Eviction::default()
    };
    // Two links to one file are one file.
    let files: BTreeSet<PathBuf> = files
        .iter()
        .map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()))
        .collect();
    for path in &files {
        eviction.files += 1;
        eviction.bytes += std::fs::metadata(path).map_or(0, |m| m.len());
        match system::evict(path) {
            Ok(0) => {}
            Ok(resident) => {
                eviction.reasons.push(format!(
                    "about {resident} bytes of {} stayed in memory: a process uses them, or the \
                     file system keeps them there",
                    path.display()
                ));
                eviction.resident_bytes = eviction.resident_bytes.map(|bytes| bytes + resident);
            }
            Err(error) => {
                eviction.reasons.push(format!("{error:#}"));
                eviction.resident_bytes = None;
            }
        }
    }
    eviction
}

#[cfg(target_os = "linux")]
mod system {
    use std::{fs::File, io::IoSliceMut, os::unix::fs::FileExt, path::Path};

    use anyhow::{Context, Result};
    use rustix::{
        fs::{Advice, fadvise, fdatasync},
        io::{Errno, ReadWriteFlags, preadv2},
    };

    /// So many pages of a file are looked at, evenly spaced.
    const SAMPLES: u64 = 64;

    /// The estimated number of bytes that stay cached.
    pub fn evict(path: &Path) -> Result<u64> {
        let file = File::open(path)
            .with_context(|| format!("cannot evict {}: cannot open it", path.display()))?;
        // Pages that are still to be written cannot be forgotten. Where this fails, they stay, and
        // are counted.
        let _ = fdatasync(&file);
        forget(&file).with_context(|| format!("cannot evict {}", path.display()))?;
        resident(&file).with_context(|| {
            format!(
                "cannot tell whether {} was evicted: its file system does not say what is cached",
                path.display()
            )
        })
    }

    fn forget(file: &File) -> Result<()> {
        Ok(fadvise(file, 0, None, Advice::DontNeed)?)
    }

    /// A read that may not wait fails for a page that is not cached, but has the kernel fetch it
    /// all the same. So the kernel is told to fetch no more than that page, each one fetched is
    /// waited for, and then they are forgotten again.
    fn resident(file: &File) -> Result<u64> {
        let length = file.metadata()?.len();
        let page = rustix::param::page_size() as u64;
        let pages = length.div_ceil(page);
        let samples = pages.min(SAMPLES);
        fadvise(file, 0, None, Advice::Random)?;
        let mut fetched = Vec::new();
        for sample in 0..samples {
            let offset = sample * pages / samples * page;
            let mut byte = [0];
            match preadv2(
                file,
                &mut [IoSliceMut::new(&mut byte)],
                offset,
                ReadWriteFlags::NOWAIT,
            ) {
                Ok(_) => {}
                Err(Errno::AGAIN) => fetched.push(offset),
                Err(error) => return Err(error.into()),
            }
        }
        for &offset in &fetched {
            // A page that cannot be read is not cached either.
            let _ = file.read_at(&mut [0], offset);
        }
        forget(file)?;
        let cached = samples - fetched.len() as u64;
        Ok(length * cached / samples.max(1))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;

    use anyhow::{Result, bail};

    pub fn evict(path: &Path) -> Result<u64> {
        bail!(
            "cannot evict {}: only Linux takes single files out of the page cache",
            path.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    fn status(path: &Path) -> Status {
        Status::ProvidedByUser {
            variable: "LIBRARY".into(),
            path: Some(path.into()),
        }
    }

    #[test]
    fn the_executable_the_libraries_and_the_model_are_read_at_a_cold_start() -> Result<()> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("lib"))?;
        for name in ["liba.so", "lib/libb.so.13", "lib/libc.dylib", "lib/so.txt"] {
            std::fs::write(dir.path().join(name), b"x")?;
        }
        let library = Status::Installed {
            directory: dir.path().into(),
        };
        let files = Files::of(Path::new("probe"), Some(&library), Path::new("model"));
        let names: BTreeSet<_> = files.paths.iter().filter_map(|p| p.file_name()).collect();
        let expected = ["probe", "model", "liba.so", "libb.so.13", "libc.dylib"];
        assert_eq!(names, expected.iter().map(AsRef::as_ref).collect());
        assert!(files.unknown.is_empty());

        let one = dir.path().join("liba.so");
        let files = Files::of(Path::new("probe"), Some(&status(&one)), Path::new("model"));
        assert!(files.paths.contains(&one));
        Ok(())
    }

    #[test]
    fn a_library_that_only_the_linker_finds_is_said_to_be_unknown() -> Result<()> {
        let dir = tempfile::tempdir()?;
        for path in [Path::new("libx.so"), dir.path()] {
            let files = Files::of(Path::new("/p"), Some(&status(path)), Path::new("/m"));
            assert_eq!(files.unknown.len(), 1, "{files:?}");
            let eviction = files.evict();
            assert_eq!(eviction.resident_bytes, None);
            assert!(eviction.reasons.contains(&files.unknown[0]));
        }
        let files = Files::of(Path::new("/p"), None, Path::new("/m"));
        assert!(files.unknown.is_empty());
        Ok(())
    }

    #[test]
    fn a_file_is_evicted_or_it_is_said_why_not() -> Result<()> {
        const BYTES: u64 = 4 << 20;
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("file");
        std::fs::write(&file, vec![1; BYTES as usize])?;
        assert_eq!(std::fs::read(&file)?.len() as u64, BYTES);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link)?;

        let eviction = evict(&[file, link]);
        assert_eq!((eviction.files, eviction.bytes), (1, BYTES));
        match eviction.resident_bytes {
            Some(0) => assert!(eviction.reasons.is_empty(), "{eviction:?}"),
            Some(bytes) => assert!(bytes <= BYTES && !eviction.reasons.is_empty()),
            // Some file systems cannot be asked.
            None => assert!(!eviction.reasons.is_empty()),
        }
        Ok(())
    }

    #[test]
    fn a_missing_file_is_named() {
        let eviction = evict(&["/nonexistent/model.onnx".into()]);
        assert_eq!((eviction.files, eviction.bytes), (1, 0));
        assert_eq!(eviction.resident_bytes, None);
        assert_eq!(eviction.reasons.len(), 1);
        assert!(eviction.reasons[0].contains("/nonexistent/model.onnx"));
    }

    #[test]
    fn an_empty_file_leaves_nothing() -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let eviction = evict(&[file.path().into()]);
        assert_eq!(eviction.bytes, 0);
        #[cfg(target_os = "linux")]
        assert_eq!(eviction.resident_bytes, Some(0));
        Ok(())
    }
}
