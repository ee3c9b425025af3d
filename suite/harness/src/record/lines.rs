//! JSON lines in files of their own, one for each backend: plain while they are written, so that an
//! interruption loses nothing, and compressed from then on.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use firstpass_trial::regular_file;
use serde::de::{DeserializeOwned, IgnoredAny};

/// The end of a file that is being written, or was written before files were compressed.
const PLAIN: &str = ".jsonl";

/// The end of a compressed file.
const COMPRESSED: &str = ".jsonl.zst";

/// More is not read: a small compressed file may unfold into a large one, and records have some hundred MB and some
/// hundred thousand lines at most.
const MOST_BYTES: u64 = 1 << 30;
const MOST_LINES: usize = 1 << 22;

/// The same of other files of a record, such as outputs.
const MOST_OF_OTHERS: u64 = 1 << 32;

/// Zstandard's level. The highest makes a record a twelfth smaller, and takes five times as long: of a model with large
/// outputs, longer than all its passes.
const LEVEL: i32 = 9;

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
        let name = path.file_name().unwrap_or_default();
        let Some(file) = name.to_str() else {
            // What is not measurements may be called anything.
            let is_ours = [COMPRESSED, PLAIN]
                .iter()
                .any(|end| name.as_encoded_bytes().ends_with(end.as_bytes()));
            ensure!(
                !is_ours,
                "the name of {} is not UTF-8: no engine is called so; remove the file or give it its name",
                path.display()
            );
            continue;
        };
        let backend = [COMPRESSED, PLAIN]
            .iter()
            .find_map(|e| file.strip_suffix(e));
        let Some(backend) = backend.map(str::to_owned) else {
            continue;
        };
        // Where there are both, compressing was interrupted.
        if is_compressed(&path) {
            files.entry(backend).or_insert(path);
        } else {
            files.insert(backend, path);
        }
    }
    Ok(files)
}

/// The lines of a file as text, in the order in which they were written. Where the file was cut off, by a
/// kill or a full disk, these are the lines before the cut; standard error says so.
///
/// # Errors
/// Fails where the file cannot be read or is damaged in any other way.
pub fn read_text(path: &Path) -> Result<Vec<String>> {
    let mut bytes = Vec::new();
    let mut is_cut = false;
    let mut read = || -> io::Result<()> {
        let file = regular_file::open(path)?;
        // The compressed form of no line has a beginning and an end as well.
        is_cut = is_compressed(path) && file.metadata()?.len() == 0;
        let read = if is_compressed(path) {
            let unfolded = zstd::Decoder::new(file)?;
            unfolded.take(MOST_BYTES + 1).read_to_end(&mut bytes)
        } else {
            let file = BufReader::new(file);
            file.take(MOST_BYTES + 1).read_to_end(&mut bytes)
        };
        match read {
            // The compressed form ends in the middle.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                is_cut = true;
                Ok(())
            }
            read => read.map(drop),
        }
    };
    let context = || format!("cannot read {}", path.display());
    read().with_context(context)?;
    ensure!(
        bytes.len() as u64 <= MOST_BYTES,
        "{} holds more than {MOST_BYTES} bytes, which are not read",
        path.display()
    );
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1);
    let (whole, rest) = bytes.split_at(whole);
    let mut text = std::str::from_utf8(whole).with_context(context)?.to_owned();
    match std::str::from_utf8(rest) {
        // A number that is cut is a number still.
        Ok(rest)
            if rest.ends_with(['}', ']', '"'])
                && serde_json::from_str::<IgnoredAny>(rest).is_ok() =>
        {
            text.push_str(rest);
        }
        // A whole line may come before the cut.
        _ if rest.is_empty() && is_cut => eprintln!(
            "{} is cut off after line {}: what was measured then is lost",
            path.display(),
            text.lines().count()
        ),
        _ if rest.is_empty() => {}
        _ => eprintln!(
            "{} is cut off in line {}, which is left out",
            path.display(),
            text.lines().count() + 1
        ),
    }
    let lines: Vec<String> = text
        .lines()
        .take(MOST_LINES + 1)
        .map(str::to_owned)
        .collect();
    ensure!(
        lines.len() <= MOST_LINES,
        "{} holds more than {MOST_LINES} lines, which are not read",
        path.display()
    );
    Ok(lines)
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
    let unfinished = compressed.with_extension("new");
    let write = || -> io::Result<()> {
        let mut encoder = zstd::Encoder::new(File::create(&unfinished)?, LEVEL)?;
        encoder.include_checksum(true)?;
        io::copy(&mut regular_file::open(path)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&unfinished, &compressed)?;
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
    if is_there(path)? {
        return work(path).map(Some);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".zst");
    let compressed = PathBuf::from(name);
    if !is_there(&compressed)? {
        return Ok(None);
    }
    let unpack = || -> Result<tempfile::NamedTempFile> {
        let mut plain = tempfile::NamedTempFile::new()?;
        let unfolded = zstd::Decoder::new(regular_file::open(&compressed)?)?;
        let mut unfolded = unfolded.take(MOST_OF_OTHERS + 1);
        let bytes = io::copy(&mut unfolded, plain.as_file_mut())?;
        ensure!(
            bytes <= MOST_OF_OTHERS,
            "it unfolds to more than {MOST_OF_OTHERS} bytes, which are not read"
        );
        Ok(plain)
    };
    let plain = unpack().with_context(|| format!("cannot read {}", compressed.display()))?;
    work(plain.path()).map(Some)
}

/// Whether anything has this name. Where that cannot be told, what was kept would be taken for what never was.
fn is_there(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "zst")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_that_unfolds_to_a_large_one_is_refused() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x.jsonl.zst");
        for (byte, count, words) in [
            (b'\n', MOST_LINES as u64 + 1, "lines"),
            (b'x', MOST_BYTES + 1, "bytes"),
        ] {
            let mut encoder = zstd::Encoder::new(File::create(&path)?, 1)?;
            io::copy(&mut io::repeat(byte).take(count), &mut encoder)?;
            encoder.finish()?;
            assert!(fs::metadata(&path)?.len() < 1 << 20);
            let error = read_text(&path).expect_err("too much");
            assert!(error.to_string().contains(words), "{error}");
        }
        Ok(())
    }

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
    fn a_line_that_is_cut_inside_a_character_is_left_out() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = plain(dir.path(), "x");
        let all = "\"one\"\n\"zw\u{f6}lf\"\n".as_bytes();
        for end in 6..all.len() {
            fs::write(&path, &all[..end])?;
            let lines = read::<String>(&path)?;
            // The last line is whole but for its end.
            let whole = if end + 1 == all.len() { 2 } else { 1 };
            assert_eq!(lines.len(), whole, "cut after {end} bytes");
        }
        fs::write(&path, b"\"one\"\n\"\xff\"\n\"three\"\n")?;
        assert!(read::<String>(&path).is_err(), "damaged in the middle");
        Ok(())
    }

    #[test]
    fn a_compressed_file_that_is_cut_is_read_up_to_there() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = plain(dir.path(), "x");
        // More than a block of zstandard, and hard to compress.
        let numbers: Vec<u64> = (0..60_000_u64)
            .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        let text: String = numbers.iter().map(|n| format!("{n}\n")).collect();
        fs::write(&path, text)?;
        compress(&path)?;
        let compressed = files(dir.path())?.remove("x").context("no file")?;
        let bytes = fs::read(&compressed)?;
        fs::write(&compressed, &bytes[..bytes.len() / 2])?;
        let read = read::<u64>(&compressed)?;
        assert!(read.len() > 1000 && read.len() < numbers.len());
        assert_eq!(read, numbers[..read.len()]);
        Ok(())
    }

    #[test]
    fn what_is_no_file_is_not_taken_for_what_was_never_kept() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let read = |name: &str| with_plain(&dir.path().join(name), |path| Ok(fs::read(path)?));
        assert_eq!(read("outputs/x")?, None);
        std::os::unix::fs::symlink("outputs", dir.path().join("outputs"))?;
        let error = read("outputs/x").expect_err("a link to itself");
        assert!(format!("{error:#}").contains("symbolic links"), "{error:#}");
        fs::create_dir(dir.path().join("y.zst"))?;
        assert!(read("y").is_err(), "a folder");
        std::os::unix::fs::symlink("nowhere", dir.path().join("z"))?;
        assert!(read("z").is_err(), "a link to nothing");
        Ok(())
    }

    #[test]
    fn a_file_whose_compression_was_interrupted_is_read_whole() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = plain(dir.path(), "x");
        fs::write(&path, "1\n2\n")?;
        fs::write(dir.path().join("x.jsonl.zst"), "half")?;
        assert_eq!(read::<u32>(&files(dir.path())?["x"])?, [1, 2]);
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
