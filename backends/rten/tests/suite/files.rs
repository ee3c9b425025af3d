//! Files of kinds that users have.

use anyhow::ensure;
use firstpass_conformance::{Test, copied, integer_operators, types};
use firstpass_onnx::{
    Bytes, GraphProto, StringStringEntryProto, TensorProto,
    write::{constant, encode, f32_value, node},
};
use firstpass_probe::{
    Data, ErrorKind, Format, Knobs, Model, Result, Session, Tensor, TensorSpec, bf16, f16,
};
use firstpass_rten::Rten;

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        integer_operators_are_onnx,
        tensors_are_given_and_returned_in_the_types_of_the_file,
        what_rten_has_no_type_for_is_refused,
        weights_lie_beside_the_file_in_files_of_data,
    ]
}

fn integer_operators_are_onnx() -> anyhow::Result<()> {
    integer_operators::<Rten>()
}

/// Values that have room in the types that rten computes in.
fn tensors_are_given_and_returned_in_the_types_of_the_file() -> anyhow::Result<()> {
    types::<Rten>([
        (1, Data::F32(vec![1.5, -0.25])),
        (2, Data::U8(vec![0, 255])),
        (3, Data::I8(vec![-128, 127])),
        (6, Data::I32(vec![i32::MIN, 7])),
        (7, Data::I64(vec![i64::from(i32::MIN), 7])),
        (9, Data::Bool(vec![true, false])),
        (10, Data::F16(vec![f16::MAX, f16::NEG_ZERO])),
        (11, Data::F64(vec![1.5, -0.0])),
    ])
}

fn what_rten_has_no_type_for_is_refused() -> Result<()> {
    for (number, data) in [
        (4, Data::U16(vec![7])),
        (16, Data::BF16(vec![bf16::ONE])),
        (13, Data::U64(vec![7])),
        // Has no room in 32 bits.
        (7, Data::I64(vec![i64::MAX])),
    ] {
        let refused = copied::<Rten>(number, &Tensor::new(&[1], data)?);
        let error = refused.expect_err("rten has no such value");
        assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    }
    Ok(())
}

/// rten takes less than ONNX allows: a name that ends in `data`, with offset and length.
fn weights_lie_beside_the_file_in_files_of_data() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let inside = folder.path().join("model");
    std::fs::create_dir(&inside)?;
    let values = [2.0_f32, 3.0].map(f32::to_le_bytes).concat();
    for path in ["w.data", "model/w.data", "model/w.bin"] {
        std::fs::write(folder.path().join(path), &values)?;
    }
    let whole = &[("offset", "0"), ("length", "8")][..];
    for (location, extent, is_read) in [
        ("w.data", whole, true),
        ("w.data", &[][..], false),
        ("w.bin", whole, false),
        ("../w.data", whole, false),
    ] {
        let entries = [("location", location)].into_iter();
        let entries = entries.chain(extent.iter().copied());
        let entries = entries.map(|(key, value)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        });
        let weights = TensorProto {
            external_data: entries.collect(),
            // EXTERNAL.
            data_location: 1,
            raw_data: Bytes::new(),
            ..constant("w", &[2], &[0.0_f32; 2])
        };
        let graph = GraphProto {
            node: vec![node("Mul", &["x", "w"], "y")],
            initializer: vec![weights],
            input: vec![f32_value("x", Some(&[2]))],
            output: vec![f32_value("y", Some(&[2]))],
            ..GraphProto::default()
        };
        let model = Model {
            name: "model".into(),
            format: Format::ONNX,
            path: inside.join("model.onnx"),
            inputs: vec![TensorSpec::f32("x", [2])],
            outputs: Vec::new(),
        };
        std::fs::write(&model.path, encode(graph, 13))?;
        let opened = Session::<Rten>::open(&model, &Knobs::default());
        ensure!(opened.is_ok() == is_read, "{location} {extent:?}");
        if let Ok(mut session) = opened {
            let outputs = session.pass(&[Tensor::new(&[2], vec![1.0_f32, 1.0])?])?;
            ensure!(outputs == [Tensor::new(&[2], vec![2.0_f32, 3.0])?]);
        }
    }
    Ok(())
}
