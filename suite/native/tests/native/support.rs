//! A small native library in small wheels, and fetchers that bring them.

use std::{
    cell::RefCell,
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use firstpass_native::{Fetch, Host, NativeLibrary, Progress, Wheel};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use zip::{ZipWriter, write::SimpleFileOptions};

pub const WHEEL: &str = "engine-1.2.3-cp311-cp311-some_os_x86_64.whl";

/// What the wheel holds; not all of it is wanted.
pub const ENTRIES: &[(&str, &str)] = &[
    ("engine/lib/libengine.so", "the library"),
    ("engine/lib/libhuge.so", "not wanted"),
    ("engine/include/a.h", "a header"),
    ("engine/include/deep/b.h", "another header"),
];

pub const FILES: &str = r#"
    { from = "engine/lib/libengine.so", to = "lib/" },
    { from = "engine/lib/libengine.so", to = "lib/libplain.so" },
    { from = "engine/include/", to = "include/" },
"#;

/// A native root and a backend's folder, both temporary.
pub struct Place {
    folder: TempDir,
    wheel: Vec<u8>,
}

impl Place {
    pub fn new() -> Self {
        Self::with_wheel(&wheel(ENTRIES), FILES)
    }

    pub fn with_wheel(wheel: &[u8], files: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let place = Self {
            folder,
            wheel: wheel.into(),
        };
        fs::create_dir(place.backend()).expect("the backend's folder");
        place.write_manifest(&manifest(wheel, files));
        place
    }

    pub fn backend(&self) -> PathBuf {
        self.folder.path().join("backend")
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("native")
    }

    pub fn directory(&self) -> PathBuf {
        self.root().join("engine")
    }

    /// Where a wheel lies until the library is installed.
    pub fn kept(&self) -> PathBuf {
        self.root().join("downloads/engine").join(WHEEL)
    }

    pub fn write_manifest(&self, text: &str) {
        fs::write(self.backend().join("native.toml"), text).expect("native.toml is written");
    }

    pub fn manifest(&self) -> String {
        fs::read_to_string(self.backend().join("native.toml")).expect("native.toml is read")
    }

    pub fn library(&self) -> NativeLibrary {
        self.library_on("some-os", &[])
    }

    pub fn library_on(&self, os: &str, variables: &[(&str, OsString)]) -> NativeLibrary {
        let library = NativeLibrary::read(&self.backend()).expect("native.toml is right");
        library
            .expect("there is a native.toml")
            .on(Host::new(os, "x86_64", variables))
    }

    pub fn fetcher(&self) -> Brings {
        Brings::new(self.wheel.clone())
    }

    /// Installs, and expects the library to be usable then.
    pub fn install(&self) {
        let status = self
            .library()
            .install_with(&self.root(), &self.fetcher(), &silent())
            .expect("the installation succeeds");
        assert!(status.is_usable(), "{status}");
    }

    /// Installs, and expects an error: its whole text.
    pub fn fail(&self, fetcher: &dyn Fetch) -> String {
        let installed = self
            .library()
            .install_with(&self.root(), fetcher, &silent());
        format!("{:#}", installed.expect_err("the installation fails"))
    }

    pub fn read(&self, path: &str) -> String {
        let path = self.directory().join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What lies in the native root.
    pub fn root_holds(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.root())
            .expect("the native root exists")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }
}

pub fn manifest(wheel: &[u8], files: &str) -> String {
    let (sha256, bytes) = (sha256(wheel), wheel.len());
    format!(
        r#"
        name = "engine"
        version = "1.2.3"
        directory = "engine"
        cargo-features = ["native"]
        [[provided-by-user]]
        variable = "ENGINE_FROM_PYTHON"
        value = "flag"
        [[provided-by-user]]
        variable = "ENGINE"
        value = "path"
        [[platform]]
        os = "some-os"
        arch = "x86_64"
        tested = true
        environment = {{ ENGINE = ".", ENGINE_FILE = "lib/libengine.so" }}
        [[platform.wheel]]
        name = "{WHEEL}"
        sha256 = "{sha256}"
        bytes = {bytes}
        files = [{files}]
        [[platform.text]]
        path = "build-version"
        content = "1.2.3+cpu"
        [[platform]]
        os = "other-os"
        arch = "x86_64"
        tested = false
        environment = {{}}
        wheel = []
        [[platform.text]]
        path = "build-version"
        content = "1.2.3"
        "#
    )
}

pub fn wheel(entries: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    wheel_of(&entries)
}

pub fn wheel_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default())
            .expect("an entry is started");
        zip.write_all(bytes).expect("an entry is written");
    }
    zip.finish().expect("the wheel is finished").into_inner()
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Brings the same bytes every time.
pub struct Brings {
    pub wheel: Vec<u8>,
    times: AtomicUsize,
}

impl Brings {
    pub fn new(wheel: impl Into<Vec<u8>>) -> Self {
        Self {
            wheel: wheel.into(),
            times: AtomicUsize::new(0),
        }
    }

    pub fn times(&self) -> usize {
        self.times.load(Ordering::Relaxed)
    }
}

impl Fetch for Brings {
    fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<()> {
        self.times.fetch_add(1, Ordering::Relaxed);
        Ok(fs::write(folder.join(wheel.name.as_str()), &self.wheel)?)
    }
}

/// Fails after a part of the download.
pub struct Fails(pub fn() -> anyhow::Error);

impl Fetch for Fails {
    fn fetch(&self, wheel: &Wheel, folder: &Path) -> Result<()> {
        fs::write(folder.join(wheel.name.as_str()), "a part")?;
        Err(self.0())
    }
}

pub fn silent() -> Progress {
    Progress::lines_to(|_| {})
}

/// Keeps the lines.
pub fn recorded() -> (Progress, Rc<RefCell<Vec<String>>>) {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&lines);
    (
        Progress::lines_to(move |line| kept.borrow_mut().push(line.into())),
        lines,
    )
}
