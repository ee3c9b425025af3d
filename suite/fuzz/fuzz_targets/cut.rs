//! A model file that is cut: the first two bytes choose its nodes. What is cut is a model file of these nodes.

#![no_main]

use std::collections::BTreeSet;

use firstpass_fuzz::Folder;
use firstpass_onnx::{cut::Cuttable, write::f32_value};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static FOLDER: Folder = Folder::new();
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let choice = u16::from_le_bytes(*choice);
    let path = FOLDER.with(|folder| folder.write("model.onnx", bytes));
    let Ok(file) = Cuttable::read(&path) else {
        return;
    };
    for name in file.constants() {
        let _ = file.constant(name);
    }
    let places: BTreeSet<usize> = (0..file.nodes().len())
        .filter(|place| choice >> (place % 16) & 1 == 1)
        .collect();
    let nodes: Vec<_> = places.iter().map(|&place| &file.nodes()[place]).collect();
    let given: BTreeSet<&String> = nodes.iter().flat_map(|node| &node.gives).collect();
    let read: BTreeSet<&String> = nodes.iter().flat_map(|node| &node.reads).collect();
    let inputs: Vec<_> = read
        .difference(&given)
        .filter(|name| !file.is_constant(name))
        .map(|name| f32_value(name, None))
        .collect();
    let outputs: Vec<_> = given.iter().map(|name| f32_value(name, None)).collect();
    for declared in [false, true] {
        let part = file.cut(&places, &inputs, &outputs, declared);
        let path = FOLDER.with(|folder| folder.write("part.onnx", &part));
        let again = Cuttable::read(&path).expect("what was cut can be read");
        assert_eq!(again.nodes().len(), places.len(), "as many nodes");
        for (node, before) in again.nodes().iter().zip(&nodes) {
            assert_eq!(node.reads, before.reads, "each reads what it read");
        }
    }
});
