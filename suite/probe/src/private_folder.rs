//! Folders of the user's own, for files that are trusted because of where they lie.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;

use crate::{Error, Result};

/// Where a backend keeps what it has prepared of model files, for the next process.
///
/// # Errors
/// As [`cache_folder`].
pub fn prepared_folder(backend: &str) -> Result<PathBuf> {
    private_folder(&cache_folder()?.join("prepared"))?;
    private_folder(&cache_folder()?.join("prepared").join(backend))
}

/// The user's folder for what can be made again: on Linux `$XDG_CACHE_HOME/firstpass`, by default
/// `~/.cache/firstpass`.
///
/// # Errors
/// Fails where the user has no home, and as [`private_folder`].
pub fn cache_folder() -> Result<PathBuf> {
    private_folder(own()?.cache_dir())
}

/// The user's folder for settings: on Linux `$XDG_CONFIG_HOME/firstpass`, by default
/// `~/.config/firstpass`. It need not be there.
///
/// # Errors
/// Fails where the user has no home.
pub fn config_folder() -> Result<PathBuf> {
    Ok(own()?.config_dir().to_owned())
}

/// The user's folder for data: on Linux `$XDG_DATA_HOME/firstpass`, by default `~/.local/share/firstpass`. It
/// need not be there.
///
/// # Errors
/// Fails where the user has no home.
pub fn data_folder() -> Result<PathBuf> {
    Ok(own()?.data_local_dir().to_owned())
}

fn own() -> Result<ProjectDirs> {
    ProjectDirs::from("", "", "firstpass").ok_or_else(|| {
        Error::unsupported("this user has no home folder to keep files in; set HOME to one")
    })
}

/// The folder at this path, made where there is none, if nobody but this user can change what lies in
/// it. That holds for `root` too, who could read and would run what another has put there.
///
/// # Errors
/// Fails where it cannot be made, and where it is another's or others may use it.
pub fn private_folder(path: &Path) -> Result<PathBuf> {
    let unusable = |error: io::Error| {
        Error::from(error).context(format!("cannot use the folder {}", path.display()))
    };
    make(path).map_err(unusable)?;
    check_private(path)?;
    Ok(path.to_owned())
}

/// Checks that a file or folder is this user's own, and that nobody else may read or change it.
///
/// # Errors
/// Fails where that is not so, and where it is a symbolic link.
pub fn check_private(path: &Path) -> Result<()> {
    check(path, 0o077)
}

/// Checks that a file or folder is this user's own, and that nobody else may change it.
///
/// # Errors
/// Fails where that is not so, and where it is a symbolic link.
pub fn check_own(path: &Path) -> Result<()> {
    check(path, 0o022)
}

#[cfg(unix)]
fn check(path: &Path, forbidden: u32) -> Result<()> {
    use std::os::unix::fs::MetadataExt;

    let shown = path.display();
    let metadata = fs::symlink_metadata(path)
        .map_err(|error| Error::from(error).context(format!("cannot use {shown}")))?;
    let user = nix::unistd::geteuid().as_raw();
    let why = if metadata.is_symlink() {
        "it is a symbolic link".into()
    } else if metadata.uid() != user {
        format!(
            "it belongs to the user {} and not to you ({user})",
            metadata.uid()
        )
    } else if metadata.mode() & forbidden != 0 {
        format!("others may use it (mode {:o})", metadata.mode() & 0o777)
    } else {
        return Ok(());
    };
    Err(Error::unsupported(format!(
        "{shown} is not used, because {why}: look who made it, then remove it or make it yours alone"
    )))
}

#[cfg(not(unix))]
fn check(_: &Path, _: u32) -> Result<()> {
    Ok(())
}

#[cfg(unix)]
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;

    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(not(unix))]
fn make(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_a_folder_of_the_users_own_is_used() -> Result<()> {
        let parent = tempfile::tempdir()?;
        let folder = parent.path().join("own");
        private_folder(&folder)?;
        assert_eq!(fs::metadata(&folder)?.permissions().mode() & 0o777, 0o700);
        private_folder(&folder)?;

        let link = parent.path().join("link");
        symlink(&folder, &link)?;
        let error = private_folder(&link).expect_err("a link");
        assert!(error.to_string().contains("symbolic link"), "{error}");

        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
        let error = private_folder(&folder).expect_err("open to others");
        assert!(error.to_string().contains("mode 777"), "{error}");
        Ok(())
    }

    #[test]
    fn a_folder_of_another_user_is_refused_to_root_as_well() -> Result<()> {
        let parent = tempfile::tempdir()?;
        let folder = parent.path().join("planted");
        private_folder(&folder)?;
        // Only root can give a folder away.
        if std::os::unix::fs::chown(&folder, Some(65534), None).is_ok() {
            let error = private_folder(&folder).expect_err("another's");
            assert!(error.to_string().contains("65534"), "{error}");
        }
        Ok(())
    }
}
