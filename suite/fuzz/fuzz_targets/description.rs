//! A `model.toml`, and what is written of it: read again it is the same.

#![no_main]

use firstpass_fuzz::Folder;
use firstpass_harness::user_model::to_toml;
use firstpass_trial::model::ModelDescription;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| {
        let path = folder.write("model.toml", bytes);
        let Ok(model) = ModelDescription::read(&path) else {
            return;
        };
        let _ = model.files();
        let _ = model.picture();
        let written = to_toml(&model).expect("what was read can be written");
        let path = folder.write("model.toml", written.as_bytes());
        let again = ModelDescription::read(&path).expect("what was written can be read");
        assert_eq!(to_toml(&again).expect("as before"), written);
    });
});
