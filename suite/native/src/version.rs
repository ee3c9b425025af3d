//! Another version of a library than the pinned one: the same files of another wheel.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use crate::{
    digest,
    fetch::Pip,
    host::Host,
    lock::Lock,
    manifest::{NativeLibrary, Platform, RelativePath, Sha256Hex, Wheel, WheelName},
    progress::Progress,
    unpack::check,
};

/// The wheel of another version, as it was when it was first fetched. From then on it is pinned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    name: WheelName,
    sha256: Sha256Hex,
    bytes: u64,
}

impl NativeLibrary {
    /// The same library in another version, such as `1.23.1`. The first time its wheel is fetched by pip, and its
    /// hash kept; later that hash is demanded. [`NativeLibrary::install`] installs it, beside the pinned one.
    ///
    /// # Errors
    /// Fails on a library that a probe is linked with when it is built, on one that comes in several wheels, and
    /// where the wheel cannot be had.
    pub fn at_version(
        &self,
        version: &str,
        native_root: &Path,
        progress: &Progress,
    ) -> Result<Self> {
        ensure!(
            !version.is_empty()
                && version
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '.'),
            "{version:?} is no version of {}: give one such as {}",
            self.name(),
            self.version()
        );
        ensure!(
            self.cargo_features().is_empty(),
            "{} is linked into its probe when that is built, with the one version that its binding knows ({}): another \
             version needs another binding",
            self.name(),
            self.version()
        );
        let platform = self
            .platform()
            .with_context(|| format!("no wheel of {} is known for this platform", self.name()))?;
        let [wheel] = &platform.wheels[..] else {
            bail!(
                "{} comes in several wheels, whose versions differ",
                self.name()
            );
        };
        let renamed =
            |path: &RelativePath| path.as_str().replace(self.version(), version).try_into();
        let mut files = wheel.files.clone();
        for rule in &mut files {
            rule.from = renamed(&rule.from)?;
        }
        let directory = format!("{}@{version}", self.directory.as_str());
        let pin = native_root.join(format!("{directory}.json"));
        let found = match read(&pin)? {
            Some(found) => found,
            None => {
                fs::create_dir_all(native_root)
                    .with_context(|| format!("cannot create {}", native_root.display()))?;
                let _lock = Lock::wait(&native_root.join(".lock"), |holder| {
                    progress.line(&format!(
                        "another set-up is at work here, {holder}: waiting for it"
                    ));
                })?;
                let folder = native_root.join("downloads").join(&directory);
                let requirement = format!("{}=={version}", self.name());
                progress.line(&format!(
                    "  fetching {requirement}, whose hash is kept from now on"
                ));
                let python = self
                    .host
                    .variable("PYTHON")
                    .unwrap_or_else(|| "python3".into());
                let found = first_fetch(&Pip::of(python), &requirement, &wheel.name, &folder)?;
                check(&folder.join(found.name.as_str()), &files).with_context(|| {
                    format!(
                        "{requirement} comes in another form than {}, and cannot be used",
                        self.version()
                    )
                })?;
                let json = serde_json::to_string_pretty(&found)? + "\n";
                fs::write(&pin, json).with_context(|| format!("cannot write {}", pin.display()))?;
                found
            }
        };
        let platform = Platform {
            wheels: vec![Wheel {
                name: found.name,
                sha256: found.sha256,
                bytes: found.bytes,
                files,
            }],
            ..platform.clone()
        };
        let variables = ["PYTHON", "CC"];
        let variables = variables
            .iter()
            .filter_map(|name| Some((*name, self.host.variable(name)?)));
        Ok(Self {
            version: version.into(),
            directory: directory.try_into()?,
            // A variable that names a library of the user's own names another than the one asked for.
            provided_by_user: Vec::new(),
            host: Host::new(
                &self.host.os,
                &self.host.arch,
                &variables.collect::<Vec<_>>(),
            ),
            platforms: vec![platform],
            ..self.clone()
        })
    }

    /// The published versions from this one on up to the pinned one, the oldest first, as pip lists them. Versions
    /// that are no releases are left out.
    ///
    /// # Errors
    /// Fails where pip does, and where `since` is not older than the pinned version.
    pub fn published(&self, since: &str) -> Result<Vec<String>> {
        let python = self
            .host
            .variable("PYTHON")
            .unwrap_or_else(|| "python3".into());
        let mut command = Pip::of(python).versions(self.name());
        let said = run(&mut command)?;
        let found = between(&said, since, self.version());
        ensure!(
            found.len() > 1,
            "pip lists no version of {} from {since} up to {}; it said:\n  {}",
            self.name(),
            self.version(),
            said.lines().take(3).collect::<Vec<_>>().join("\n  ")
        );
        Ok(found)
    }

    /// The wheels that it is installed from on this platform, by name, with their hashes.
    pub fn wheels(&self) -> impl Iterator<Item = (&str, &str)> {
        let wheels = self
            .platform()
            .into_iter()
            .flat_map(|platform| &platform.wheels);
        wheels.map(|wheel| (wheel.name.as_str(), wheel.sha256.as_str()))
    }
}

/// Of `Available versions: 1.10.0, 1.9.2, …` those from `first` to `last`, the oldest first.
fn between(said: &str, first: &str, last: &str) -> Vec<String> {
    const LIST: &str = "Available versions:";
    let list = said.lines().find_map(|line| line.trim().strip_prefix(LIST));
    let mut versions: Vec<(Vec<u64>, &str)> = list
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter_map(|version| Some((numbers(version)?, version)))
        .collect();
    let (first, last) = (numbers(first), numbers(last));
    versions.retain(|(version, _)| {
        first.as_ref().is_some_and(|first| first <= version)
            && last.as_ref().is_some_and(|last| version <= last)
    });
    versions.sort();
    versions.dedup();
    let names = versions.into_iter().map(|(_, name)| name.to_owned());
    names.collect()
}

/// The numbers of a release; `None` of what has letters, such as `1.2rc1`.
fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

fn read(path: &Path) -> Result<Option<Pin>> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(None);
    };
    let pin = serde_json::from_str(&text);
    pin.map(Some).with_context(|| {
        format!(
            "{} is not as expected; delete it to fetch the version anew",
            path.display()
        )
    })
}

/// Fetches the wheel that is like a pinned one: for its Python first, else for the Python that runs pip.
fn first_fetch(pip: &Pip, requirement: &str, like: &WheelName, folder: &Path) -> Result<Pin> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut said = String::new();
    for tags in [tags(like), Vec::new()] {
        let mut command = pip.download(folder);
        command.args(tags).arg(requirement);
        let output = run(&mut command)?;
        if let Some(wheel) = wheel_in(folder)? {
            let found = digest::of_file(&wheel, &ProgressBar::hidden())?;
            let name = wheel.file_name().unwrap_or_default().to_string_lossy();
            return Ok(Pin {
                name: name.into_owned().try_into()?,
                sha256: found.sha256.try_into()?,
                bytes: found.bytes,
            });
        }
        said = output;
    }
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(4)..].join("\n  ");
    bail!("pip could not fetch {requirement}:\n  {last}")
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| {
        let program = command.get_program().display();
        format!("cannot run `{program}`; install Python 3 with pip, or name one by PYTHON")
    })?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).into_owned())
}

fn wheel_in(folder: &Path) -> Result<Option<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Arguments that ask pip for a wheel of the same Python and system; older versions were built on older systems.
fn tags(like: &WheelName) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut platform = |tag: String| arguments.extend(["--platform".into(), tag]);
    for tag in like.platforms() {
        platform(tag.into());
        let Some((newest, arch)) = tag
            .strip_prefix("manylinux_2_")
            .and_then(|rest| rest.split_once('_'))
        else {
            continue;
        };
        let newest: u32 = newest.parse().unwrap_or(17);
        for older in (17..newest).rev() {
            platform(format!("manylinux_2_{older}_{arch}"));
        }
        platform(format!("manylinux2014_{arch}"));
    }
    if let Some(version) = like.interpreter().strip_prefix("cp") {
        let interpreter = [
            "--implementation",
            "cp",
            "--python-version",
            version,
            "--abi",
            like.abi(),
        ];
        arguments.extend(interpreter.map(str::to_owned));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(more: &str) -> Result<NativeLibrary> {
        let sha256 = "0".repeat(64);
        Ok(toml::from_str::<NativeLibrary>(&format!(
            r#"
            name = "engine"
            version = "2.1.0"
            directory = "engine"
            {more}
            [[platform]]
            os = "linux"
            arch = "x86_64"
            tested = true
            environment = {{ ENGINE = "lib/libengine.so" }}
            [[platform.wheel]]
            name = "engine-2.1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
            sha256 = "{sha256}"
            bytes = 10
            files = [{{ from = "engine/libengine.so.2.1.0", to = "lib/libengine.so" }}]
            "#
        ))?
        .on(Host::new(
            "linux",
            "x86_64",
            &[("ENGINE", "/of/mine.so".into())],
        )))
    }

    fn pin(root: &Path, sha256: char) -> Result<()> {
        let sha256 = sha256.to_string().repeat(64);
        let name = "engine-1.9-cp310-cp310-manylinux_2_17_x86_64.whl";
        let text = format!(r#"{{"name": "{name}", "sha256": "{sha256}", "bytes": 7}}"#);
        Ok(fs::write(root.join("engine@1.9.json"), text)?)
    }

    #[test]
    fn another_version_is_another_library_with_its_own_hash() -> Result<()> {
        let root = tempfile::tempdir()?;
        pin(root.path(), 'a')?;
        let pinned = library("")?;
        let silent = Progress::lines_to(|_| {});
        let other = pinned.at_version("1.9", root.path(), &silent)?;
        assert_eq!(other.version(), "1.9");
        assert_eq!(other.directory(root.path()), root.path().join("engine@1.9"));
        let wheels: Vec<_> = other.wheels().collect();
        assert_eq!(wheels[0].1, "a".repeat(64));
        // A library of the user's own is not the version that was asked for.
        assert!(!other.status(root.path()).is_usable());
        let platform = other.platform().context("it is of this platform")?;
        assert_eq!(
            platform.wheels[0].files[0].from.as_str(),
            "engine/libengine.so.1.9"
        );
        assert_ne!(
            pinned.pins(pinned.platform().context("pinned")?)?,
            other.pins(platform)?
        );
        Ok(())
    }

    #[test]
    fn what_cannot_be_another_version_says_why() -> Result<()> {
        let root = tempfile::tempdir()?;
        let silent = Progress::lines_to(|_| {});
        let linked = library("cargo-features = [\"linked\"]")?;
        let error = linked
            .at_version("1.9", root.path(), &silent)
            .expect_err("it is linked");
        assert!(error.to_string().contains("another binding"), "{error}");
        let error = library("")?
            .at_version("../1", root.path(), &silent)
            .expect_err("a path");
        assert!(error.to_string().contains("is no version"), "{error}");
        fs::write(root.path().join("engine@1.9.json"), "{")?;
        let error = library("")?
            .at_version("1.9", root.path(), &silent)
            .expect_err("damaged");
        assert!(error.to_string().contains("delete it"), "{error}");
        Ok(())
    }

    #[test]
    fn versions_are_in_the_order_of_their_numbers() {
        let said = "engine (1.10.0)\nAvailable versions: 1.10.0, 1.9.2, 1.9.0, 1.9.0rc1, 1.8.0\n";
        assert_eq!(between(said, "1.9", "1.10.0"), ["1.9.0", "1.9.2", "1.10.0"]);
        assert_eq!(between(said, "1.9.1", "1.9.9"), ["1.9.2"]);
        assert!(between("ERROR: no such package", "1.0", "2.0").is_empty());
        assert!(between(said, "new", "2.0").is_empty());
    }

    #[test]
    fn wheels_of_older_systems_are_taken_too() -> Result<()> {
        let like = "engine-2.1.0-cp311-cp311-manylinux_2_28_x86_64.whl"
            .to_owned()
            .try_into()?;
        let tags = tags(&like).join(" ");
        for part in [
            "--platform manylinux_2_28_x86_64",
            "--platform manylinux_2_17_x86_64",
            "--platform manylinux2014_x86_64",
            "--python-version 311 --abi cp311",
        ] {
            assert!(tags.contains(part), "{part} is not in {tags}");
        }
        Ok(())
    }
}
