//! Hashes of files, taken while they are read or written.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The size and the SHA-256 of some bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Fingerprint {
    pub bytes: u64,
    pub sha256: String,
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn of_file(path: &Path, bar: &ProgressBar) -> Result<Fingerprint> {
    let cannot = || format!("cannot read {}", path.display());
    // A pipe may have nobody who writes, and a device no end.
    let metadata = fs::metadata(path).with_context(cannot)?;
    ensure!(
        metadata.is_file(),
        "{}: it is no file; give a file",
        cannot()
    );
    let mut file = File::open(path).with_context(cannot)?;
    copy(&mut file, path, &mut io::sink(), path, bar)
}

/// The SHA-256 of a file in hexadecimal.
///
/// # Errors
/// Fails where the file cannot be read.
pub fn sha256_of_file(path: &Path) -> Result<String> {
    Ok(of_file(path, &ProgressBar::hidden())?.sha256)
}

/// Copies a stream of any length; an error says which of the two files it is about.
pub(crate) fn copy(
    from: &mut impl Read,
    source: &Path,
    to: &mut impl Write,
    target: &Path,
    bar: &ProgressBar,
) -> Result<Fingerprint> {
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let n = from
            .read(&mut buffer)
            .with_context(|| format!("cannot read {}", source.display()))?;
        if n == 0 {
            break;
        }
        to.write_all(&buffer[..n])
            .with_context(|| format!("cannot write {}", target.display()))?;
        hash.update(&buffer[..n]);
        bytes += n as u64;
        bar.inc(n as u64);
    }
    Ok(Fingerprint {
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_reported_with_the_path() {
        let full = Path::new("/dev/full");
        let mut file = File::options()
            .write(true)
            .open(full)
            .expect("Linux has /dev/full");
        let source = Path::new("some.whl");
        let error = copy(
            &mut &b"bytes"[..],
            source,
            &mut file,
            full,
            &ProgressBar::hidden(),
        )
        .expect_err("it is full");
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(kind, Some(io::ErrorKind::StorageFull));
        assert!(format!("{error:#}").starts_with("cannot write /dev/full: No space left"));
    }
}
