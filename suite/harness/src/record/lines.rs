//! JSON lines in files of their own, one for each backend: plain while they are written, so that an
//! interruption loses nothing, and compressed from then on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// The end of a file that is being written, or was written before files were compressed.
const PLAIN: &str = ".jsonl";

/// The end of a compressed file.
const COMPRESSED: &str = ".jsonl.zst";

/// Zstandard's level for what is written once and read often.
const LEVEL: i32 = 19;

/// The file of a backend while it is written.
pub fn plain(folder: &Path, backend: &str) -> PathBuf {
    folder.join(format!("{backend}{PLAIN}"))
}

/// The files of a folder, by backend.
///
/// # Errors
/// Fails where the folder cannot be listed.
pub fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        let Some(file) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let backend = [COMPRESSED, PLAIN]
            .iter()
            .find_map(|e| file.strip_suffix(e));
        if let Some(backend) = backend {
            files.insert(backend.to_owned(), path);
        }
    }
    Ok(files)
}

/// The lines of a file as text, in the order in which they were written.
///
/// # Errors
/// Fails where the file cannot be read or is damaged.
pub fn read_text(path: &Path) -> Result<Vec<String>> {
    let text = || -> io::Result<String> {
        let file = File::open(path)?;
        let mut text = String::new();
        if is_compressed(path) {
            zstd::Decoder::new(file)?.read_to_string(&mut text)?;
        } else {
            BufReader::new(file).read_to_string(&mut text)?;
        }
        Ok(text)
    };
    let text = text().with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// The lines of a file, parsed.
///
/// # Errors
/// Fails where the file cannot be read, and names the first line that is not as expected.
pub fn read<L: DeserializeOwned>(path: &Path) -> Result<Vec<L>> {
    let lines = read_text(path)?;
    let parsed = lines.iter().enumerate().map(|(number, text)| {
        serde_json::from_str(text)
            .with_context(|| format!("{}, line {}", path.display(), number + 1))
    });
    parsed.collect()
}

/// Puts a compressed file in the place of a plain one: `x.jsonl.zst` of `x.jsonl`.
///
/// # Errors
/// Fails where the file cannot be read or the other not be written; the plain one is then still there.
pub fn compress(path: &Path) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".zst");
    let compressed = PathBuf::from(name);
    let write = || -> io::Result<()> {
        let mut encoder = zstd::Encoder::new(File::create(&compressed)?, LEVEL)?;
        encoder.include_checksum(true)?;
        io::copy(&mut File::open(path)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::remove_file(path)
    };
    write().with_context(|| format!("cannot compress {}", path.display()))
}

/// Gives `work` a path where the contents of a file lie uncompressed; `None` where there is neither
/// the file nor its compressed form.
///
/// # Errors
/// Fails as `work` does, and where a compressed file is damaged.
pub fn with_plain<T>(path: &Path, work: impl FnOnce(&Path) -> Result<T>) -> Result<Option<T>> {
    if path.is_file() {
        return work(path).map(Some);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".zst");
    let compressed = PathBuf::from(name);
    if !compressed.is_file() {
        return Ok(None);
    }
    let unpack = || -> Result<tempfile::NamedTempFile> {
        let mut plain = tempfile::NamedTempFile::new()?;
        zstd::stream::copy_decode(File::open(&compressed)?, plain.as_file_mut())?;
        Ok(plain)
    };
    let plain = unpack().with_context(|| format!("cannot read {}", compressed.display()))?;
    work(plain.path()).map(Some)
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_lines_are_the_same_lines() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = plain(dir.path(), "x");
        fs::write(&path, "1\n2\n")?;
        assert_eq!(read::<u32>(&files(dir.path())?["x"])?, [1, 2]);
        compress(&path)?;
        assert!(!path.exists());
        let files = files(dir.path())?;
        assert!(is_compressed(&files["x"]));
        assert_eq!(read::<u32>(&files["x"])?, [1, 2]);
        Ok(())
    }

    #[test]
    fn a_damaged_file_and_a_malformed_line_are_named() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = plain(dir.path(), "x");
        fs::write(&path, "1\ntwo\n")?;
        let error = read::<u32>(&path).expect_err("must fail");
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
        compress(&path)?;
        let compressed = files(dir.path())?.remove("x").context("no file")?;
        let mut bytes = fs::read(&compressed)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        fs::write(&compressed, bytes)?;
        let error = read::<u32>(&compressed).expect_err("must fail");
        assert!(format!("{error:#}").contains("x.jsonl.zst"), "{error:#}");
        Ok(())
    }
}
