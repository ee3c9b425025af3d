//! Which kinds of cases there are, and how they are drawn.

use anyhow::{Result, anyhow};
use proptest::{
    collection::vec, prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner,
};

use super::{Bias, Case, Conv, Operator, Quantization};

/// A kind of cases, as a row of a table names it.
pub struct Kind {
    pub name: &'static str,
    cases: fn() -> BoxedStrategy<Case>,
}

/// A case that can be made simpler.
pub type Tree = Box<dyn ValueTree<Value = Case>>;

impl Kind {
    /// So many cases, the same in every run; fewer of them are the first of more.
    ///
    /// # Errors
    /// Fails where the description of the cases cannot be met.
    pub fn draw(&self, cases: usize) -> Result<Vec<Tree>> {
        let mut runner = TestRunner::deterministic();
        let strategy = (self.cases)();
        (0..cases)
            .map(|_| {
                let tree = strategy.new_tree(&mut runner);
                tree.map_err(|reason| anyhow!("no case of {}: {reason}", self.name))
            })
            .collect()
    }
}

/// All kinds.
pub const KINDS: [Kind; 15] = [
    Kind {
        name: "quantize",
        cases: || plain(Just(Operator::Quantize).boxed()),
    },
    Kind {
        name: "relu, clip",
        cases: || {
            let clip =
                (-60.0_f32..0.0, 0.0_f32..60.0).prop_map(|(low, high)| Operator::Clip(low, high));
            plain(prop_oneof![Just(Operator::Relu), clip].boxed())
        },
    },
    Kind {
        name: "conv, dense",
        cases: || convolutions(Variant::default()),
    },
    Kind {
        name: "conv, grouped",
        cases: || {
            convolutions(Variant {
                groups: Groups::Some,
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "conv, depthwise",
        cases: || {
            convolutions(Variant {
                groups: Groups::Depthwise,
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "conv, asymmetric padding",
        cases: || {
            convolutions(Variant {
                asymmetric: true,
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "conv, dilated",
        cases: || {
            convolutions(Variant {
                dilated: true,
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "conv, zero points at the ends",
        cases: || {
            convolutions(Variant {
                extreme_zeros: true,
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "conv, one scale",
        cases: || {
            convolutions(Variant {
                one_scale: true,
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "conv, i32 bias",
        cases: || {
            convolutions(Variant {
                bias: Some(Bias::Quantized),
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "conv, i8 activations",
        cases: || {
            convolutions(Variant {
                signed: true,
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "conv, u8 weights",
        cases: || {
            convolutions(Variant {
                unsigned_weights: true,
                one_scale: true,
                ..Variant::default()
            })
        },
    },
    Kind {
        name: "add",
        cases: || plain(quantization(false).prop_map(Operator::Add).boxed()),
    },
    Kind {
        name: "concat, resize",
        cases: || {
            let concat = quantization(false).prop_map(Operator::Concat);
            plain(prop_oneof![concat, (1..=3_usize).prop_map(Operator::Resize)].boxed())
        },
    },
    Kind {
        name: "block of MobileNetV2",
        cases: || plain((4..=24_usize).prop_map(Operator::Block).boxed()),
    },
];

/// What is particular to a kind of convolutions.
#[derive(Clone, Copy, Default)]
struct Variant {
    groups: Groups,
    asymmetric: bool,
    dilated: bool,
    extreme_zeros: bool,
    one_scale: bool,
    signed: bool,
    unsigned_weights: bool,
    /// Otherwise none or one of floats.
    bias: Option<Bias>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Groups {
    #[default]
    One,
    Some,
    Depthwise,
}

/// A scale with a full mantissa, and any zero point.
fn quantization(signed: bool) -> BoxedStrategy<Quantization> {
    let zeros = if signed { -128..=127 } else { 0..=255 };
    (0.02_f32..0.5, zeros)
        .prop_map(move |(scale, zero)| Quantization {
            scale,
            zero,
            signed,
        })
        .boxed()
}

/// Cases of an operator that any shape suits.
fn plain(operators: BoxedStrategy<Operator>) -> BoxedStrategy<Case> {
    let shape = (1..=24_usize, 1..=9_usize, 1..=9_usize);
    (
        shape,
        quantization(false),
        operators,
        quantization(false),
        any::<u64>(),
    )
        .prop_map(
            |((channels, height, width), input, operator, output, seed)| Case {
                shape: [1, channels, height, width],
                input,
                operator,
                output,
                seed,
            },
        )
        .boxed()
}

fn convolutions(variant: Variant) -> BoxedStrategy<Case> {
    let channels = match variant.groups {
        Groups::One => (1..=24_usize, Just(1), 1..=24_usize).boxed(),
        // Channels a group, groups, output channels a group.
        Groups::Some => (2..=6_usize, 2..=4_usize, 1..=6_usize).boxed(),
        Groups::Depthwise => (Just(1), 1..=24_usize, Just(1)).boxed(),
    };
    let kernel = if variant.groups == Groups::Depthwise {
        Just(3).boxed()
    } else {
        select(vec![1, 3]).boxed()
    };
    let pads = if variant.asymmetric {
        vec(0..=2_usize, 4).boxed()
    } else {
        (0..=1_usize).prop_map(|pad| vec![pad; 4]).boxed()
    };
    let dilation = if variant.dilated {
        Just(2).boxed()
    } else {
        Just(1).boxed()
    };
    let zeros = move |of: Quantization, at_end: bool| {
        if !variant.extreme_zeros {
            return of;
        }
        let (low, high) = of.limits();
        Quantization {
            zero: if at_end { high } else { low },
            ..of
        }
    };
    let geometry = (
        channels,
        kernel,
        pads,
        dilation,
        1..=2_usize,
        (5..=11_usize, 5..=11_usize),
    );
    let numbers = (
        quantization(variant.signed),
        quantization(variant.signed),
        any::<[bool; 4]>(),
    );
    (geometry, numbers, any::<u64>())
        .prop_map(move |(geometry, (input, output, choices), seed)| {
            let ((inputs, groups, outputs), kernel, pads, dilation, stride, (height, width)) =
                geometry;
            let [at_end, other_at_end, has_bias, relu] = choices;
            let bias = if has_bias { Bias::Float } else { Bias::None };
            Case {
                shape: [1, inputs * groups, height, width],
                input: zeros(input, at_end),
                operator: Operator::Conv(Conv {
                    channels: outputs * groups,
                    kernel: [kernel; 2],
                    strides: [stride; 2],
                    dilations: [dilation; 2],
                    pads: [pads[0], pads[1], pads[2], pads[3]],
                    groups,
                    per_channel: !variant.one_scale,
                    unsigned_weights: variant.unsigned_weights,
                    bias: variant.bias.unwrap_or(bias),
                    relu,
                }),
                output: zeros(output, other_at_end),
                seed,
            }
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a case says of its output is what convolutions make of it: the files are valid.
    #[test]
    fn cases_are_the_same_in_every_run_and_files_can_be_read() {
        for kind in &KINDS {
            let draw = |cases| -> Vec<Case> {
                let trees = kind.draw(cases).expect("cases can be drawn");
                trees.iter().map(|tree| tree.current()).collect()
            };
            let cases = draw(5);
            assert_eq!(cases, draw(8)[..5], "{}", kind.name);
            for case in cases {
                let graph = firstpass_onnx::decode(case.file().into()).expect("a model");
                assert_eq!(graph.output[0].shape(), Some(case.output_shape()));
                assert_eq!(case.values().len(), case.shape.iter().product::<usize>());
                let json = serde_json::to_string(&case).expect("a case is plain data");
                let read: Case = serde_json::from_str(&json).expect("as it was written");
                assert_eq!((read.values(), read.file()), (case.values(), case.file()));
            }
        }
    }
}
