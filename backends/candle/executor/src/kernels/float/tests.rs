//! Convolutions of any shape against their definition: one multiply-add after the other, in safe Rust.

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::{collection::vec, prelude::*};
use rayon::ThreadPoolBuilder;

use super::{Dense, Planes, Shape};
use crate::{
    geometry::{Span, Window},
    kernels::isa::Isa,
};

#[derive(Debug, Clone)]
struct Case {
    shape: Shape,
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    bounds: Option<(f32, f32)>,
}

fn span() -> impl Strategy<Value = Span> {
    (1..6_usize, 1..4_usize, 1..3_usize, 0..4_usize, 0..4_usize).prop_map(
        |(kernel, stride, dilation, before, after)| Span {
            kernel,
            stride,
            dilation,
            before,
            after,
        },
    )
}

/// A window that is often square, which has kernels of its own.
fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (span(), span()).prop_map(|(vertical, horizontal)| Window {
            vertical,
            horizontal
        }),
        (span(), prop_oneof![Just(3_usize), Just(5)], 1..3_usize).prop_map(
            |(span, kernel, stride)| {
                let span = Span {
                    kernel,
                    stride,
                    dilation: 1,
                    ..span
                };
                Window {
                    vertical: span,
                    horizontal: span,
                }
            }
        ),
        Just(Window {
            vertical: Span::POINT,
            horizontal: Span::POINT,
        }),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let channels = prop_oneof![
        // Groups, inputs of a group, outputs of a group.
        (1..4_usize, 1..6_usize, 1..50_usize),
        (1..6_usize, Just(1_usize), 1..3_usize),
        (Just(1_usize), 1..200_usize, 1..30_usize),
    ];
    let shape = (1..3_usize, channels, window(), 1..20_usize, 1..70_usize);
    let shape = shape.prop_filter_map(
        "the window fits",
        |(number, (groups, inputs, outputs), window, height, width)| {
            let lines = window.vertical.positions(height)?;
            let columns = window.horizontal.positions(width)?;
            Some(Shape {
                window,
                groups,
                input: [number, groups * inputs, height, width],
                output: [number, groups * outputs, lines, columns],
            })
        },
    );
    shape.prop_flat_map(|shape| {
        let values = |count: usize| vec(-1.0..1.0_f32, count);
        let inputs = shape.input[1] / shape.groups;
        (
            values(shape.input.iter().product()),
            values(shape.output[1] * inputs * shape.window.taps()),
            values(shape.output[1]),
            prop_oneof![
                Just(None),
                Just(Some((0.0, f32::INFINITY))),
                Just(Some((-0.5, 0.5)))
            ],
        )
            .prop_map(move |(input, weights, bias, bounds)| Case {
                shape,
                input,
                weights,
                bias,
                bounds,
            })
    })
}

impl Case {
    fn expected(&self) -> Vec<f32> {
        let Shape {
            window: Window {
                vertical,
                horizontal,
            },
            groups,
            input: [number, inputs, height, width],
            output: [_, outputs, lines, columns],
        } = self.shape;
        let [of_group, out_of_group] = [inputs / groups, outputs / groups];
        let mut out = Vec::new();
        for plane in 0..number * outputs {
            let (image, output) = (plane / outputs, plane % outputs);
            for position in 0..lines * columns {
                let (line, column) = (position / columns, position % columns);
                let mut sum = self.bias[output];
                let taps = vertical.kernel * horizontal.kernel;
                for product in 0..of_group * taps {
                    let (channel, tap) = (product / taps, product % taps);
                    let row = vertical.source(line, tap / horizontal.kernel, height);
                    let at = horizontal.source(column, tap % horizontal.kernel, width);
                    let plane = image * inputs + output / out_of_group * of_group + channel;
                    let value = row.zip(at).map_or(0.0, |(row, at)| {
                        self.input[(plane * height + row) * width + at]
                    });
                    sum = value.mul_add(self.weights[output * of_group * taps + product], sum);
                }
                out.push(match self.bounds {
                    Some((low, high)) => sum.max(low).min(high),
                    None => sum,
                });
            }
        }
        out
    }

    /// What the vector kernels give: dense, and plane by plane where there is a kernel for it.
    fn found(&self, isa: Isa) -> Vec<Vec<f32>> {
        let count = self.shape.output.iter().product();
        let plane = self.shape.output[2] * self.shape.output[3];
        let (weights, bias) = (&self.weights, self.bias.clone());
        let mut found = Vec::new();
        if let Some(dense) = Dense::new(isa, self.shape, weights, &bias, self.bounds) {
            let mut out = vec![f32::NAN; count];
            dense.run(&self.input, &mut out, None);
            found.push(out);
            // Every value is handed on once, in its place.
            let seen: Vec<AtomicU32> = (0..count)
                .map(|_| AtomicU32::new(f32::NAN.to_bits()))
                .collect();
            let mut out = vec![f32::NAN; count];
            let finish = |number: usize, start: usize, values: &mut [f32]| {
                for (at, value) in values.iter_mut().enumerate() {
                    let place = &seen[number * plane + start + at];
                    let before = place.swap(value.to_bits(), Ordering::Relaxed);
                    assert!(f32::from_bits(before).is_nan(), "it is handed on twice");
                    *value = 0.0;
                }
            };
            dense.run(&self.input, &mut out, Some(&finish));
            assert!(out.iter().all(|&value| value == 0.0));
            let seen = seen
                .into_iter()
                .map(|value| f32::from_bits(value.into_inner()));
            found.push(seen.collect());
        }
        if let Some(planes) = Planes::new(isa, self.shape, weights, &bias, self.bounds) {
            let mut out = vec![f32::NAN; count];
            for (number, out) in out.chunks_exact_mut(plane).enumerate() {
                planes.plane(number, &self.input, out, None);
            }
            found.push(out);
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_instruction_set_gives_the_bits_of_the_definition(case in case()) {
        let expected = case.expected();
        for isa in Isa::available() {
            for found in case.found(isa) {
                prop_assert_eq!(&found, &expected, "{}", isa.name());
            }
        }
    }

    #[test]
    fn threads_change_nothing(case in case(), threads in 2..4_usize) {
        let expected = case.expected();
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        for found in pool.expect("threads start").install(|| case.found(Isa::detect())) {
            prop_assert_eq!(&found, &expected);
        }
    }
}

#[test]
fn many_products_are_divided_into_tiles_and_blocks() {
    let (channels, side) = (300, 11);
    let span = Span {
        kernel: 3,
        before: 1,
        after: 1,
        ..Span::POINT
    };
    let shape = Shape {
        window: Window {
            vertical: span,
            horizontal: span,
        },
        groups: 1,
        input: [1, channels, side, side],
        output: [1, 70, side, side],
    };
    let values = |count: usize| {
        (0..count)
            .map(|at| (at * 7919 % 1009) as f32 / 1009.0 - 0.5)
            .collect()
    };
    let case = Case {
        shape,
        input: values(channels * side * side),
        weights: values(70 * channels * 9),
        bias: values(70),
        bounds: None,
    };
    let expected = case.expected();
    for isa in Isa::available() {
        for found in case.found(isa) {
            assert_eq!(found, expected, "{}", isa.name());
        }
    }
    let pool = ThreadPoolBuilder::new().num_threads(3).build();
    for found in pool
        .expect("threads start")
        .install(|| case.found(Isa::detect()))
    {
        assert_eq!(found, expected);
    }
}

#[test]
fn there_are_kernels_where_the_processor_has_the_instructions() {
    let shape = Shape {
        window: Window {
            vertical: Span::POINT,
            horizontal: Span::POINT,
        },
        groups: 1,
        input: [1, 1, 1, 1],
        output: [1, 1, 1, 1],
    };
    for isa in Isa::available() {
        let dense = Dense::new(isa, shape, &[1.0], &[0.0], None);
        assert_eq!(dense.is_some(), isa != Isa::Reference, "{}", isa.name());
    }
}
