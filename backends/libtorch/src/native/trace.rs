//! Which operators libtorch runs.

use firstpass_probe::{Arithmetic, Result, Tensor};

use super::{
    module::Runnable,
    shim::{Call, Trace},
};

/// The executor profiles the first pass and optimizes in the second: from the third on, every pass
/// runs the same graph.
const PASSES_BEFORE: usize = 2;

pub(super) fn inspect(runnable: &mut Runnable, input: &Tensor) -> Result<Arithmetic> {
    for _ in 0..PASSES_BEFORE {
        runnable.pass(input)?;
    }
    let trace = Trace::begin()?;
    runnable.pass(input)?;
    let calls = trace.end()?;
    Ok(Arithmetic {
        source: format!(
            "libtorch's record of the operators in pass {} (at::RecordFunction)",
            PASSES_BEFORE + 1
        ),
        ..count(&calls)
    })
}

/// Counts every operator, and of the convolutions those that no other convolution called: libtorch
/// runs `aten::conv2d` by way of `aten::convolution`, `aten::_convolution` and one more.
fn count(calls: &[Call]) -> Arithmetic {
    let mut counted = Arithmetic::default();
    // The depth of the convolution whose callees are being passed over.
    let mut within: Option<usize> = None;
    for call in calls {
        *counted.operators.entry(call.name.clone()).or_default() += 1;
        if within.is_some_and(|depth| call.depth > depth) {
            continue;
        }
        within = None;
        if let Some(kind) = convolution(&call.name) {
            within = Some(call.depth);
            match kind {
                Kind::Integer => counted.integer += 1,
                Kind::Float => counted.float += 1,
            }
        }
    }
    counted
}

enum Kind {
    Integer,
    Float,
}

fn convolution(operator: &str) -> Option<Kind> {
    let (namespace, name) = operator.split_once("::")?;
    let prepares = ["convert", "prepack", "unpack"];
    if !name.contains("conv") || prepares.iter().any(|word| name.contains(word)) {
        return None;
    }
    // fbgemm's in `quantized`, oneDNN's in `onednn`: both accumulate in 32-bit integers.
    let integer = namespace == "quantized" || name.starts_with("qconv");
    Some(if integer { Kind::Integer } else { Kind::Float })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(pairs: &[(&str, usize)]) -> Vec<Call> {
        let call = |&(name, depth): &(&str, usize)| Call {
            name: name.into(),
            depth,
        };
        pairs.iter().map(call).collect()
    }

    #[test]
    fn counts_a_convolution_once() {
        let counted = count(&calls(&[
            ("aten::conv2d", 0),
            ("aten::convolution", 1),
            ("aten::_convolution", 2),
            ("aten::mkldnn_convolution", 3),
            ("aten::conv2d", 0),
            ("aten::convolution", 1),
            ("aten::relu", 0),
            ("aten::convolution", 0),
        ]));
        assert_eq!((counted.integer, counted.float), (0, 3));
        assert_eq!(counted.operators["aten::convolution"], 3);
    }

    #[test]
    fn tells_integers_from_floats() {
        let counted = count(&calls(&[
            ("quantized::conv2d_prepack", 0),
            ("quantized::conv2d_relu", 0),
            ("quantized::conv2d", 0),
            ("aten::_convert_indices_from_coo_to_csr", 0),
            ("quantized::add", 0),
            ("aten::conv_transpose2d", 0),
        ]));
        assert_eq!((counted.integer, counted.float), (2, 1));
    }
}
