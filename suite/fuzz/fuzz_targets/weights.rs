//! A model file that names files of weights: nothing outside of its folder is read or copied, and what is copied
//! has the content that was hashed.

#![no_main]

use std::fs;

use firstpass_fuzz::Folder;
use firstpass_native::sha256_of_file;
use firstpass_onnx::{decode, external};
use firstpass_trial::private_copy::PrivateCopy;
use libfuzzer_sys::fuzz_target;

/// What lies outside of the folder of the model.
const SECRET: &[u8] = b"-not to be read by a model-";

struct Place {
    folder: Folder,
}

thread_local! {
    static PLACE: Place = place();
}

fn place() -> Place {
    let folder = Folder::new();
    folder.write("secret", SECRET);
    let model = folder.path().join("model");
    fs::create_dir_all(model.join("parts")).expect("a temporary folder");
    fs::create_dir_all(folder.path().join("copies")).expect("a temporary folder");
    for name in ["w", "parts/w.data"] {
        fs::write(model.join(name), [1; 64]).expect("a temporary file");
    }
    let links = [("link", "../secret"), ("up", "..")];
    for (name, to) in links {
        std::os::unix::fs::symlink(to, model.join(name)).expect("a link");
    }
    Place { folder }
}

fuzz_target!(|bytes: &[u8]| {
    PLACE.with(|place| {
        let path = place.folder.write("model/model.onnx", bytes);
        if let Ok(mut graph) = decode(bytes.to_vec().into())
            && external::read(&mut graph, &path).is_ok()
        {
            for tensor in &graph.initializer {
                let is_of_file = bytes.windows(SECRET.len()).any(|part| part == SECRET);
                let holds = tensor.raw_data.windows(SECRET.len()).any(|p| p == SECRET);
                assert!(!holds || is_of_file, "the secret was read");
            }
        }
        let copies = place.folder.path().join("copies");
        if let Ok(copy) = PrivateCopy::below(&copies, &path) {
            assert!(copy.path.starts_with(&copies), "{}", copy.path.display());
            assert_eq!(sha256_of_file(&copy.path).ok(), Some(copy.sha256));
            for (file, _) in copy.weights {
                let of = file.canonicalize().expect("what was copied is there");
                let model = place.folder.path().join("model");
                let model = model.canonicalize().expect("the folder is there");
                assert!(of.starts_with(&model), "{} was copied", of.display());
            }
            if let Some(folder) = copy.path.parent() {
                let _ = fs::remove_dir_all(folder);
            }
        }
    });
});
