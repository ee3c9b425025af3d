//! A model file: its signature, its constants, and its graph with shapes, layers and parts of itself.

#![no_main]

use firstpass_fuzz::{Folder, inputs};
use firstpass_harness::{graph::Graph, user_model::Signature};
use firstpass_onnx::{Constant, decode};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(graph) = decode(bytes.to_vec().into()) {
        for tensor in &graph.initializer {
            let _ = Constant::read(tensor);
        }
    }
    let path = FOLDER.with(|folder| folder.write("model.onnx", bytes));
    let Ok(signature) = Signature::read(&path) else {
        return;
    };
    let Ok(graph) = Graph::read(&path, &inputs(&signature)) else {
        return;
    };
    let _ = graph.multiply_adds();
    for layer in graph.layers().unwrap_or_default() {
        let _ = graph.alone(&layer, "input");
        let _ = graph.with_outputs(&[layer.output.as_str()]);
    }
});
