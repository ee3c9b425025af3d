//! Files that users name, or that came with what users name, before they are opened.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use anyhow::Result;

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
        let error = read_text(&file).expect_err("too long");
        assert!(error.to_string().contains("longer than"), "{error}");
        Ok(())
    }
}
