//! What `native.toml` says.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{digest, host::Host};

/// A native library that a backend needs, as its `native.toml` describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NativeLibrary {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Where it is installed, under the native root.
    pub(crate) directory: RelativePath,
    #[serde(default)]
    pub(crate) cargo_features: Vec<String>,
    #[serde(default)]
    pub(crate) provided_by_user: Vec<UserVariable>,
    #[serde(rename = "platform")]
    pub(crate) platforms: Vec<Platform>,
    #[serde(skip, default = "Host::current")]
    pub(crate) host: Host,
}

/// A variable by which a user names a library of their own.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct UserVariable {
    pub variable: String,
    pub value: UserValue,
}

/// What the variable holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum UserValue {
    /// The path of the library; empty is as good as unset.
    Path,
    /// Anything: that it is set is enough.
    Flag,
}

/// How the library comes to one platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Platform {
    pub os: String,
    pub arch: String,
    pub tested: bool,
    /// Variables that lead to the library, and the path in its directory that each one holds.
    pub environment: BTreeMap<String, RelativePath>,
    #[serde(rename = "wheel")]
    pub wheels: Vec<Wheel>,
    #[serde(default, rename = "forwarding-library")]
    pub forwarding_libraries: Vec<ForwardingLibrary>,
    #[serde(default, rename = "text")]
    pub texts: Vec<TextFile>,
}

/// One wheel, pinned by its name and its hash.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wheel {
    /// The file's name, which says all that a package index needs to know.
    pub name: WheelName,
    /// The hash of the whole file.
    pub sha256: Sha256Hex,
    /// Its size, for whoever waits.
    pub bytes: u64,
    pub(crate) files: Vec<FileRule>,
}

/// What to take from a wheel, and where to put it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileRule {
    /// A file; or, with a slash at its end, a folder and all that it holds.
    pub from: RelativePath,
    /// Where the file goes, under this name unless a slash at its end makes it a folder.
    pub to: RelativePath,
}

/// An empty shared library that only names others, for programs that are linked with its name.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardingLibrary {
    pub path: RelativePath,
    pub needs: Vec<RelativePath>,
}

/// A file that no wheel holds.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextFile {
    pub path: RelativePath,
    pub content: String,
}

impl NativeLibrary {
    /// Reads the `native.toml` of a backend; `None` where there is none.
    ///
    /// # Errors
    /// Fails on a file that cannot be read or says something unexpected; the error names the line.
    pub fn read(backend: &Path) -> Result<Option<Self>> {
        let path = backend.join("native.toml");
        if !path.exists() {
            return Ok(None);
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let library = toml::from_str(&text)
            .with_context(|| format!("{} is not as expected", path.display()))?;
        Ok(Some(library))
    }

    /// The same library on another machine, or in another environment, than this one.
    #[must_use]
    pub fn on(self, host: Host) -> Self {
        Self { host, ..self }
    }

    /// The library's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version that is installed.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The cargo features that the backend's package is to be built with once its library is
    /// usable.
    pub fn cargo_features(&self) -> &[String] {
        &self.cargo_features
    }

    /// Where the library is installed.
    pub fn directory(&self, native_root: &Path) -> PathBuf {
        self.directory.under(native_root)
    }

    pub(crate) fn platform(&self) -> Option<&Platform> {
        let host = &self.host;
        self.platforms
            .iter()
            .find(|p| p.os == host.os && p.arch == host.arch)
    }

    /// Where wheels are kept until the library is installed.
    pub(crate) fn downloads(&self, native_root: &Path) -> PathBuf {
        self.directory.under(&native_root.join("downloads"))
    }

    /// A fingerprint of all that decides what is installed. Remarks and variables do not.
    pub(crate) fn pins(&self, platform: &Platform) -> Result<String> {
        let Platform {
            wheels,
            forwarding_libraries,
            texts,
            ..
        } = platform;
        let pins = serde_json::to_vec(&(&self.version, wheels, forwarding_libraries, texts))?;
        Ok(digest::sha256(&pins))
    }
}

impl fmt::Display for NativeLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl FileRule {
    /// Where the wheel's entry goes; `None` where it is not wanted.
    pub fn destination(&self, entry: &str) -> Option<String> {
        let (from, to) = (self.from.as_str(), self.to.as_str());
        if entry.ends_with('/') {
            return None;
        }
        if from.ends_with('/') {
            let rest = entry.strip_prefix(from)?;
            return Some(format!("{}/{rest}", to.trim_end_matches('/')));
        }
        (entry == from).then(|| match to.ends_with('/') {
            true => format!("{to}{}", self.from.file_name()),
            false => to.into(),
        })
    }
}

/// A path that stays in the folder it is meant for, written with slashes on every platform.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct RelativePath(String);

impl RelativePath {
    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// This path in that folder; `.` is the folder itself.
    pub(crate) fn under(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0).components().collect()
    }
}

impl TryFrom<String> for RelativePath {
    type Error = anyhow::Error;

    fn try_from(path: String) -> Result<Self> {
        let mut components = Path::new(&path).components();
        let plain = components.all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        ensure!(
            plain && !path.is_empty() && !path.contains('\\'),
            "`{path}` is not a path inside a folder"
        );
        Ok(Self(path))
    }
}

/// A SHA-256 in 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Sha256Hex(String);

impl Sha256Hex {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Sha256Hex {
    type Error = anyhow::Error;

    fn try_from(digits: String) -> Result<Self> {
        let hex = digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        ensure!(
            hex && digits.len() == 64,
            "`{digits}` is not a SHA-256 in lower-case hexadecimal"
        );
        Ok(Self(digits))
    }
}

/// The name of a wheel: `package-version[-build]-interpreter-abi-platforms.whl`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct WheelName(String);

impl WheelName {
    /// The name of the file.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The requirement that it satisfies, as `package==version`.
    pub fn requirement(&self) -> String {
        let mut parts = self.0.split('-');
        format!(
            "{}=={}",
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default()
        )
    }

    /// The tag of the interpreter, such as `cp311` or `py3`.
    pub(crate) fn interpreter(&self) -> &str {
        self.nth_last(2)
    }

    pub(crate) fn abi(&self) -> &str {
        self.nth_last(1)
    }

    /// The tags of the platforms that it is for.
    pub(crate) fn platforms(&self) -> impl Iterator<Item = &str> {
        self.nth_last(0).trim_end_matches(".whl").split('.')
    }

    fn nth_last(&self, n: usize) -> &str {
        self.0.rsplit('-').nth(n).unwrap_or_default()
    }
}

impl TryFrom<String> for WheelName {
    type Error = anyhow::Error;

    fn try_from(name: String) -> Result<Self> {
        let parts = name.split('-').filter(|part| !part.is_empty()).count();
        if !name.ends_with(".whl") || name.contains(['/', '\\']) || !(5..=6).contains(&parts) {
            bail!("`{name}` is not the file name of a wheel");
        }
        Ok(Self(name))
    }
}

impl fmt::Display for WheelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
