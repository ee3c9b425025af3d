//! A TorchScript file, which is an archive: the bytes as they are, or as the names and texts of its files.

#![no_main]

use std::io::{Cursor, Write};

use firstpass_fuzz::Folder;
use firstpass_harness::user_model::Signature;
use libfuzzer_sys::fuzz_target;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

thread_local! {
    static FOLDER: Folder = Folder::new();
}

/// An archive of files, each of a name and a text, all between NULs; `None` where the library writes none such.
fn archive(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let parts: Vec<&[u8]> = bytes.split(|&byte| byte == 0).collect();
    for (number, file) in parts.chunks(2).enumerate() {
        let method = if number % 2 == 0 {
            CompressionMethod::Stored
        } else {
            CompressionMethod::Deflated
        };
        let options = SimpleFileOptions::default().compression_method(method);
        let name = String::from_utf8_lossy(file.first()?);
        archive.start_file(name, options).ok()?;
        archive.write_all(file.get(1).unwrap_or(&&b""[..])).ok()?;
    }
    Some(archive.finish().ok()?.into_inner())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let file = match kind % 2 {
        0 => bytes.to_vec(),
        _ => match archive(bytes) {
            Some(file) => file,
            None => return,
        },
    };
    let path = FOLDER.with(|folder| folder.write("model.pt", &file));
    let _ = Signature::read(&path);
});
