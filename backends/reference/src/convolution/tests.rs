use proptest::{collection::vec, prelude::*};

use super::*;

fn span() -> impl Strategy<Value = Span> {
    (1..4_usize, 1..3_usize, 0..3_usize, 0..3_usize).prop_map(
        |(stride, dilation, before, after)| Span {
            stride,
            dilation,
            padding: [before, after],
        },
    )
}

#[derive(Debug)]
struct Case {
    window: Window,
    input: Array<i16>,
    weights: Array<i16>,
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (
        1..3_usize,
        1..3_usize,
        1..3_usize,
        1..3_usize,
        1..4_usize,
        1..4_usize,
    );
    (sizes, 6..9_usize, 6..9_usize, span(), span()).prop_flat_map(
        |(
            (number, groups, outputs, inputs, rows, columns),
            height,
            width,
            vertical,
            horizontal,
        )| {
            let input = vec![number, groups * inputs, height, width];
            let weights = vec![groups * outputs, inputs, rows, columns];
            (
                vec(-255..=255_i16, input.iter().product::<usize>()),
                vec(-128..=127_i16, weights.iter().product::<usize>()),
            )
                .prop_map(move |(values, taps)| Case {
                    window: Window {
                        vertical,
                        horizontal,
                        groups,
                    },
                    input: Array {
                        dims: input.clone(),
                        values,
                    },
                    weights: Array {
                        dims: weights.clone(),
                        values: taps,
                    },
                })
        },
    )
}

impl Case {
    /// The definition, a value at a time.
    fn expected(&self) -> Vec<i32> {
        let [number, in_channels, in_height, in_width] = self.input.image_dims().expect("4");
        let [channels, inputs, rows, columns] = self.weights.image_dims().expect("4");
        let Window {
            vertical,
            horizontal,
            groups,
        } = self.window;
        let dims = self.window.output(
            [number, in_channels, in_height, in_width],
            [channels, inputs, rows, columns],
        );
        let [_, _, height, width] = dims.expect("it fits");
        let at = |span: Span, position: usize, tap: usize, size: usize| {
            let at = (position * span.stride + tap * span.dilation) as isize;
            usize::try_from(at - span.padding[0] as isize)
                .ok()
                .filter(|at| *at < size)
        };
        let mut out = Vec::new();
        for n in 0..number {
            for c in 0..channels {
                for y in 0..height {
                    for x in 0..width {
                        let mut sum = 0;
                        for i in 0..inputs {
                            for r in 0..rows {
                                for k in 0..columns {
                                    let source = at(vertical, y, r, in_height)
                                        .zip(at(horizontal, x, k, in_width));
                                    let Some((in_y, in_x)) = source else { continue };
                                    let plane = c / (channels / groups) * inputs + i;
                                    let from = ((n * in_channels + plane) * in_height + in_y)
                                        * in_width
                                        + in_x;
                                    let weight = ((c * inputs + i) * rows + r) * columns + k;
                                    sum += i32::from(self.input.values[from])
                                        * i32::from(self.weights.values[weight]);
                                }
                            }
                        }
                        out.push(sum);
                    }
                }
            }
        }
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn sums_are_those_of_the_definition(case in case(), threads in 1..4_usize) {
        let found = case.window.sums(&case.input, &case.weights, threads);
        prop_assert_eq!(found.expect("it fits").values, case.expected());
        let floats = case.window.sums(
            &case.input.map(f64::from),
            &case.weights.map(f64::from),
            threads,
        );
        let floats: Vec<i32> = floats.expect("it fits").values.iter().map(|&v| v as i32).collect();
        prop_assert_eq!(floats, case.expected());
    }

    /// Within 7 bits no pair leaves 16, whatever its order.
    #[test]
    fn pairs_of_small_values_are_exact(case in case(), threads in 1..3_usize) {
        let input = case.input.map(|value| value.abs() / 2);
        let exact = case.window.sums(&input, &case.weights, threads).expect("it fits");
        let pairs = case.window.sums_of_saturating_pairs(&input, 0, &case.weights, threads);
        prop_assert_eq!(pairs.expect("it fits"), exact);
    }
}

/// A pointwise convolution adds its channels in pairs.
#[test]
fn pairs_are_of_channels_first() {
    let span = Span {
        stride: 1,
        dilation: 1,
        padding: [0, 0],
    };
    let window = Window {
        vertical: span,
        horizontal: span,
        groups: 1,
    };
    let array = |dims: [usize; 4], values: &[i16]| Array {
        dims: dims.to_vec(),
        values: values.to_vec(),
    };
    let input = array([1, 4, 1, 1], &[255, 255, 255, 1]);
    let weights = array([1, 4, 1, 1], &[127, 127, 127, 3]);
    let found = window.sums_of_saturating_pairs(&input, 0, &weights, 1);
    assert_eq!(found.expect("it fits").values, [32767 + 255 * 127 + 3]);
}

/// 3x3 over one plane of one value: only the taps on it count.
fn depthwise(value: i16, weights: [i16; 9]) -> (i32, i32) {
    let span = Span {
        stride: 1,
        dilation: 1,
        padding: [0, 0],
    };
    let window = Window {
        vertical: span,
        horizontal: span,
        groups: 1,
    };
    let input = Array {
        dims: vec![1, 1, 3, 3],
        values: vec![value; 9],
    };
    let weights = Array {
        dims: vec![1, 1, 3, 3],
        values: weights.to_vec(),
    };
    let exact = window.sums(&input, &weights, 1).expect("it fits").values[0];
    let pairs = window.sums_of_saturating_pairs(&input, 0, &weights, 1);
    (exact, pairs.expect("it fits").values[0])
}

#[test]
fn pairs_saturate_only_beyond_16_bits() {
    let (exact, pairs) = depthwise(127, [127; 9]);
    assert_eq!(exact, pairs);
    let (exact, pairs) = depthwise(255, [127; 9]);
    assert_eq!(exact, 9 * 255 * 127);
    assert_eq!(pairs, 4 * 32767 + 255 * 127);
    let (_, pairs) = depthwise(255, [-128; 9]);
    assert_eq!(pairs, 4 * -32768 - 255 * 128);
}

#[test]
fn what_does_not_fit_is_refused() {
    let span = Span {
        stride: 1,
        dilation: 1,
        padding: [0, 0],
    };
    let window = |groups| Window {
        vertical: span,
        horizontal: span,
        groups,
    };
    for (groups, input, weights) in [
        (1, [1, 1, 2, 2], [1, 1, 3, 3]),
        (1, [1, 2, 4, 4], [1, 1, 3, 3]),
        (2, [1, 2, 4, 4], [3, 1, 3, 3]),
    ] {
        assert!(window(groups).output(input, weights).is_err());
    }
}
