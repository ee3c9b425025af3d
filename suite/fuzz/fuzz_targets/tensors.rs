//! A file of tensors. The first byte says of which kind.

#![no_main]

use firstpass_fuzz::Folder;
use firstpass_trial::tensor_files::read_named;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let name = match kind % 3 {
        0 => "x.npy",
        1 => "x.npz",
        _ => "x.safetensors",
    };
    let path = FOLDER.with(|folder| folder.write(name, bytes));
    for tensor in read_named(&path).unwrap_or_default().values() {
        let elements: usize = tensor.shape().iter().product();
        assert_eq!(
            elements,
            tensor.data().len(),
            "as many values as the shape has"
        );
    }
});
