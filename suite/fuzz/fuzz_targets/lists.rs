//! A list that somebody wrote: what an engine declares, its libraries, the user's settings, the programs that the
//! user trusts. The first byte says which.

#![no_main]

use firstpass_fuzz::Folder;
use firstpass_native::NativeLibrary;
use firstpass_probe::Tuned;
use firstpass_trial::{engine::Backend, trust};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    FOLDER.with(|folder| match kind % 5 {
        0 => {
            folder.write("Cargo.toml", b"[package]\nname = \"firstpass-any\"\n");
            folder.write("known.toml", bytes);
            let engine = Backend::read(folder.path());
            let _ = engine.and_then(|engine| engine.known());
        }
        1 => {
            folder.write("Cargo.toml", bytes);
            folder.write("known.toml", b"");
            let _ = Backend::read(folder.path());
        }
        2 => {
            folder.write("native.toml", bytes);
            let _ = NativeLibrary::read(folder.path());
        }
        3 => {
            let text = String::from_utf8_lossy(bytes);
            if let Ok(tuned) = Tuned::parse(&text) {
                let written = tuned.to_toml();
                let again = Tuned::parse(&written).expect("what was written can be read");
                assert_eq!(again.to_toml(), written);
            }
        }
        _ => {
            let list = folder.write("trusted.toml", bytes);
            const SHA256: &str = "0000000000000000000000000000000000000000000000000000000000000000";
            if trust::is_in(&list, SHA256).unwrap_or(false) {
                // Only what is written there is trusted.
                let text = String::from_utf8_lossy(bytes).to_lowercase();
                assert!(text.contains('0'), "{text:?}");
            }
        }
    });
});
