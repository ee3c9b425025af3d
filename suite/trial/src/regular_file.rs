//! Files that users name, or that came with what users name, before they are opened.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use anyhow::{Result, ensure};

/// No text is longer, in bytes: descriptions, lists, pages.
const LONGEST_TEXT: u64 = 64 << 20;

/// Whether a path leads to a file. Opening a pipe waits for whoever writes into it, which may be nobody, and a device
/// such as `/dev/zero` has no end.
///
/// # Errors
/// Says what is there in its place, if anything is.
pub fn check(path: &Path) -> Result<()> {
    Ok(look(path)?)
}

fn look(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    let other = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what.to_owned()));
    if kind.is_dir() {
        return other("it is a folder; give the file in it");
    }
    if !kind.is_file() {
        return other("it is a pipe, a socket or a device; give a file");
    }
    Ok(())
}

/// Whether a path leads to a file of at most so many bytes. A file of holes takes no room on a disk, and all of it in
/// memory.
///
/// # Errors
/// As [`check`], and on a larger file.
pub fn check_size(path: &Path, most: u64) -> Result<()> {
    look(path)?;
    let bytes = fs::metadata(path)?.len();
    ensure!(
        bytes <= most,
        "it holds {} MiB, and more than {} MiB are not read",
        bytes >> 20,
        most >> 20
    );
    Ok(())
}

/// Puts another file in the place of one, or where nothing is: `write` writes it at another path in the same folder. So
/// it is there as a whole or not at all, and is never written through a link, which may lead anywhere.
///
/// # Errors
/// Fails where that fails, and where what is there is no file.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) => {
            ensure!(
                !there.is_symlink(),
                "it is a link; remove it, or name another file"
            );
            look(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any other file, less what the user's mask takes away.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let new = builder.tempfile_in(folder)?.into_temp_path();
    write(&new)?;
    new.persist(path)?;
    Ok(())
}

/// Opens what is a file.
///
/// # Errors
/// As [`check`], and where it cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    look(path)?;
    File::open(path)
}

/// The text of a file.
///
/// # Errors
/// As [`open`], and where it is no text or too long for one.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = open(path)?;
    let read = file.take(LONGEST_TEXT + 1).read_to_string(&mut text)?;
    if read as u64 > LONGEST_TEXT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is longer than {LONGEST_TEXT} bytes"),
        ));
    }
    Ok(text)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_never_through_a_link() -> Result<()> {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir()?;
        let file = folder.path().join("file");
        for text in ["one", "two"] {
            replace(&file, |new| Ok(fs::write(new, text)?))?;
            assert_eq!(fs::read_to_string(&file)?, text);
        }
        let mode = |path: &Path| Ok::<_, io::Error>(fs::metadata(path)?.permissions().mode());
        let plain = folder.path().join("plain");
        fs::write(&plain, "")?;
        assert_eq!(mode(&file)?, mode(&plain)?);
        // Half of it is none of it.
        let error = replace(&file, |new| {
            fs::write(new, "half")?;
            anyhow::bail!("the disk is full")
        });
        assert!(error.is_err());
        assert_eq!(fs::read_to_string(&file)?, "two");
        symlink("file", folder.path().join("link"))?;
        symlink("nowhere", folder.path().join("dangling"))?;
        fs::create_dir(folder.path().join("folder"))?;
        for (name, words) in [
            ("link", "it is a link"),
            ("dangling", "it is a link"),
            ("folder", "it is a folder"),
        ] {
            let error = replace(&folder.path().join(name), |new| Ok(fs::write(new, "x")?));
            let error = error.expect_err(name);
            assert!(error.to_string().contains(words), "{name}: {error}");
        }
        assert_eq!(fs::read_to_string(&file)?, "two");
        assert_eq!(fs::read_dir(folder.path())?.count(), 5, "something is left");
        Ok(())
    }

    #[test]
    fn only_a_file_is_a_file() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("file");
        assert!(check(&file).is_err(), "nothing is there");
        fs::write(&file, "text")?;
        check(&file)?;
        assert_eq!(read_text(&file)?, "text");
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU)?;
        for other in [folder.path(), Path::new("/dev/zero"), &pipe] {
            let error = check(other).expect_err("no file");
            assert!(error.to_string().contains("; give"), "{error}");
            assert!(read_text(other).is_err(), "{}", other.display());
        }
        // A hole takes no room.
        File::options()
            .write(true)
            .open(&file)?
            .set_len(LONGEST_TEXT + 1)?;
        check_size(&file, LONGEST_TEXT + 1)?;
        let error = check_size(&file, LONGEST_TEXT).expect_err("too large");
        assert!(
            error.to_string().contains("more than 64 MiB are not read"),
            "{error}"
        );
        let error = read_text(&file).expect_err("too long");
        assert!(error.to_string().contains("longer than"), "{error}");
        Ok(())
    }
}
