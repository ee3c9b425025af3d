use super::*;
use crate::{
    any_order::End,
    graph::{Interpretation, Model},
    rules::{Arithmetic, Rules},
    value::{Integers, Value},
};
use firstpass_onnx::{
    GraphProto,
    write::{constant, f32_value, node},
};
use std::collections::HashMap;

fn bytes(dims: &[usize], kind: Kind) -> Value {
    let (low, high) = kind.limits();
    let range = (high - low + 1) as usize;
    let value = |at: usize| low + (at * at * 31 % 257 % range) as i64;
    let array = crate::array::iota(dims).expect("small").map(value);
    Value::Whole(Arc::new(Integers { array, kind }))
}

/// The integers of a convolution that is quantized.
fn layer(end: Option<End>) -> Result<Vec<i64>> {
    let (x, w) = (
        bytes(&[1, 8, 30, 30], Kind::U8),
        bytes(&[4, 8, 3, 3], Kind::I8),
    );
    let graph = GraphProto {
        node: vec![
            node("DequantizeLinear", &["x", "x.scale"], "x.real"),
            node("DequantizeLinear", &["w", "w.scale"], "w.real"),
            node("Conv", &["x.real", "w.real"], "sums"),
            node("QuantizeLinear", &["sums", "scale"], "y"),
        ],
        initializer: vec![
            constant("x.scale", &[], &[0.02_f32]),
            constant("w.scale", &[], &[0.01_f32]),
            constant("scale", &[], &[2.0_f32]),
        ],
        input: ["x", "w"].map(|name| f32_value(name, None)).to_vec(),
        output: vec![f32_value("y", None)],
        ..GraphProto::default()
    };
    let model = Model::new(graph, 13, &["x", "w"], &["y"])?;
    let rules = Rules {
        arithmetic: Some(Arithmetic::Exact),
        end,
        ..Rules::default()
    };
    let interpretation = Interpretation { rules, threads: 1 };
    let inputs = HashMap::from([("x", x), ("w", w)]);
    let found = model.run(interpretation, inputs, &mut |_, compute| compute())?;
    match &found[..] {
        [Value::Whole(integers)] => Ok(integers.array.values.clone()),
        other => Err(Error::engine(format!("not quantized: {other:?}"))),
    }
}

#[test]
fn the_exact_integers_lie_between_the_ends_which_are_mostly_the_same() -> Result<()> {
    let exact = layer(None)?;
    let (lowest, highest) = (layer(Some(End::Lowest))?, layer(Some(End::Highest))?);
    assert!(exact.iter().any(|&value| 0 < value && value < 255));
    for ((low, value), high) in lowest.iter().zip(&exact).zip(&highest) {
        assert!((low..=high).contains(&value), "{low} <= {value} <= {high}");
    }
    let free = lowest
        .iter()
        .zip(&highest)
        .filter(|(low, high)| low != high);
    assert!(free.count() <= exact.len() / 200);
    Ok(())
}
