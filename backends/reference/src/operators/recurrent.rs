//! Layers that go along a sequence, a step at a time. Their states stay numbers of f64 from step to step, and are
//! rounded to the type of the sequence where they are given out.

use std::ops::Range;

use firstpass_probe::{Error, Result};

use crate::{
    array::{Array, volume},
    operators::{Call, Table, length},
    value::Value,
};

pub const TABLE: Table = &[("GRU", gru), ("LSTM", lstm), ("RNN", rnn)];

/// Attributes that change what a step computes, and that the referee does not know.
const OTHER_STEPS: [&str; 4] = ["activations", "activation_alpha", "activation_beta", "clip"];

/// The weights of one direction.
struct Direction<'a> {
    /// By the unit of each gate, what the input is multiplied by.
    of_input: &'a [f64],
    /// And what the state is.
    of_state: &'a [f64],
    /// Of the products with the input, then of those with the state.
    biases: &'a [f64],
    /// What the cell is multiplied by, one for each unit of three gates.
    peepholes: &'a [f64],
    inputs: usize,
    hidden: usize,
    gates: usize,
}

impl Direction<'_> {
    fn units(&self, gate: usize) -> Range<usize> {
        gate * self.hidden..(gate + 1) * self.hidden
    }

    /// What the units of a gate get of the input of a step.
    fn input(&self, gate: usize, x: &[f64]) -> Vec<f64> {
        let rows = self.of_input.chunks(self.inputs.max(1));
        let rows = rows.skip(gate * self.hidden).take(self.hidden);
        let biases = &self.biases[self.units(gate)];
        rows.zip(biases).map(|(row, b)| dot(row, x) + b).collect()
    }

    /// What they get of a state.
    fn state(&self, gate: usize, h: &[f64]) -> Vec<f64> {
        let rows = self.of_state.chunks(self.hidden.max(1));
        let rows = rows.skip(gate * self.hidden).take(self.hidden);
        let biases = &self.biases[self.units(self.gates + gate)];
        rows.zip(biases).map(|(row, b)| dot(row, h) + b).collect()
    }

    fn both(&self, gate: usize, x: &[f64], h: &[f64]) -> Vec<f64> {
        let each = self.input(gate, x).into_iter().zip(self.state(gate, h));
        each.map(|(x, h)| x + h).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sigmoid(v: f64) -> f64 {
    1.0 / (1.0 + (-v).exp())
}

fn rnn(call: &Call<'_>) -> Result<Vec<Value>> {
    along(call, [1, 1], as_it_is, |weights, x, states| {
        let sums = weights.both(0, x, &states[0]);
        states[0] = sums.into_iter().map(f64::tanh).collect();
    })
}

/// Its gates: update, reset, and what is hidden.
fn gru(call: &Call<'_>) -> Result<Vec<Value>> {
    let is_linear_first = call.is_set("linear_before_reset")?;
    along(call, [3, 1], as_it_is, |weights, x, states| {
        let h = &states[0];
        let update = weights.both(0, x, h);
        let reset: Vec<f64> = weights.both(1, x, h).into_iter().map(sigmoid).collect();
        let of_state: Vec<f64> = if is_linear_first {
            let of_state = weights.state(2, h).into_iter();
            of_state.zip(&reset).map(|(v, r)| r * v).collect()
        } else {
            let kept: Vec<f64> = h.iter().zip(&reset).map(|(h, r)| r * h).collect();
            weights.state(2, &kept)
        };
        let of_input = weights.input(2, x);
        let next = (0..h.len()).map(|unit| {
            let hidden = (of_input[unit] + of_state[unit]).tanh();
            let update = sigmoid(update[unit]);
            (1.0 - update) * hidden + update * h[unit]
        });
        let next: Vec<f64> = next.collect();
        states[0] = next;
    })
}

/// Its gates: input, output, forget, and the cell.
fn lstm(call: &Call<'_>) -> Result<Vec<Value>> {
    lstm_through(call, as_it_is)
}

/// The same, where what is multiplied is first what `seen` makes of it: of a whole sequence, and of the states of all
/// batches before each step.
pub fn lstm_through(
    call: &Call<'_>,
    seen: impl Fn(&[f64]) -> Result<Vec<f64>>,
) -> Result<Vec<Value>> {
    if call.is_set("input_forget")? {
        return Err(Error::unsupported(
            "its gates of input and forget are coupled",
        ));
    }
    along(call, [4, 2], seen, |weights, x, states| {
        let [input, output, forget, cell] =
            [0, 1, 2, 3].map(|gate| weights.both(gate, x, &states[0]));
        let peephole = |gate: usize, unit: usize| weights.peepholes[weights.units(gate)][unit];
        let next = (0..weights.hidden).map(|unit| {
            let before = states[1][unit];
            let input = sigmoid(input[unit] + peephole(0, unit) * before);
            let forget = sigmoid(forget[unit] + peephole(2, unit) * before);
            let after = forget * before + input * cell[unit].tanh();
            let output = sigmoid(output[unit] + peephole(1, unit) * after);
            (output * after.tanh(), after)
        });
        let next: (Vec<f64>, Vec<f64>) = next.unzip();
        (states[0], states[1]) = next;
    })
}

fn as_it_is(values: &[f64]) -> Result<Vec<f64>> {
    Ok(values.to_vec())
}

/// The whole sequence of each batch in each direction: what is hidden after every step, and every state after the
/// last.
fn along(
    call: &Call<'_>,
    [gates, states]: [usize; 2],
    seen: impl Fn(&[f64]) -> Result<Vec<f64>>,
    step: impl Fn(&Direction<'_>, &[f64], &mut [Vec<f64>]),
) -> Result<Vec<Value>> {
    for name in OTHER_STEPS {
        if call.node.attribute.iter().any(|a| a.name == name) {
            return Err(Error::unsupported(format!(
                "its attribute {name} asks for other functions than sigmoid and tanh"
            )));
        }
    }
    let is_batch_first = call.is_set("layout")?;
    let sequence = call.reals(0)?;
    let kind = sequence.kind;
    let mut x = turned(&sequence.array, is_batch_first)?;
    x.values = seen(&x.values)?;
    let (of_input, of_state) = (call.reals(1)?, call.reals(2)?);
    let [steps, batch, inputs] = three(&x)?;
    let [directions, rows, columns] = three(&of_input.array)?;
    let [of_directions, of_rows, hidden] = three(&of_state.array)?;
    let word = call.word("direction", "forward");
    let expected = match word.as_str() {
        "forward" | "reverse" => 1,
        "bidirectional" => 2,
        _ => return Err(Error::engine(format!("it has no direction {word:?}"))),
    };
    let fits = directions == expected
        && of_directions == expected
        && columns == inputs
        && rows == gates * hidden
        && of_rows == rows;
    if !fits {
        return Err(Error::engine(format!(
            "weights of {:?} and {:?} for a sequence of {:?}",
            of_input.array.dims, of_state.array.dims, x.dims
        )));
    }
    // What is left out is 0.
    let part = |position: usize, dims: &[usize]| -> Result<Vec<f64>> {
        let Some(given) = call.optional(position) else {
            return Ok(vec![0.0; volume(dims)?]);
        };
        let given = turned(&given.reals()?.array, is_batch_first)?;
        if given.dims != dims {
            return Err(Error::engine(format!(
                "its input {position} is {:?} and should be {dims:?}",
                given.dims
            )));
        }
        Ok(given.values)
    };
    let biases = part(3, &[directions, 2 * rows])?;
    let first: Vec<Vec<f64>> = (0..states)
        .map(|state| part(5 + state, &[directions, batch, hidden]))
        .collect::<Result<_>>()?;
    let peepholes = part(7, &[directions, 3 * hidden])?;
    let lengths = lengths(call, steps, batch)?;
    let mut all = Array {
        dims: vec![steps, directions, batch, hidden],
        values: vec![0.0; volume(&[steps, directions, batch, hidden])?],
    };
    let mut last = first;
    for direction in 0..directions {
        let of = |count: usize| direction * count..(direction + 1) * count;
        let weights = Direction {
            of_input: &of_input.array.values[of(rows * inputs)],
            of_state: &of_state.array.values[of(rows * hidden)],
            biases: &biases[of(2 * rows)],
            peepholes: &peepholes[of(3 * hidden)],
            inputs,
            hidden,
            gates,
        };
        let is_backward = direction == 1 || word == "reverse";
        for turn in 0..steps {
            let all_own = of(batch * hidden);
            let hidden_before = seen(&last[0][all_own])?;
            let going = lengths.iter().enumerate();
            for (number, &length) in going.filter(|(_, length)| turn < **length) {
                let begin = (direction * batch + number) * hidden;
                let own = begin..begin + hidden;
                let mut current: Vec<Vec<f64>> =
                    last.iter().map(|s| s[own.clone()].to_vec()).collect();
                current[0].copy_from_slice(&hidden_before[number * hidden..][..hidden]);
                let at = if is_backward { length - 1 - turn } else { turn };
                let x = &x.values[(at * batch + number) * inputs..][..inputs];
                step(&weights, x, &mut current);
                let place = ((at * directions + direction) * batch + number) * hidden;
                all.values[place..place + hidden].copy_from_slice(&current[0]);
                for (last, current) in last.iter_mut().zip(current) {
                    last[own.clone()].copy_from_slice(&current);
                }
            }
        }
    }
    if is_batch_first {
        all = all.transposed(&[2, 0, 1, 3])?;
    }
    let mut found = vec![Value::real(all, kind)];
    for values in last {
        let state = Array {
            dims: vec![directions, batch, hidden],
            values,
        };
        found.push(Value::real(turned(&state, is_batch_first)?, kind));
    }
    Ok(found)
}

/// Where the batch comes first, the same with its first two axes in the other order.
fn turned(array: &Array<f64>, is_batch_first: bool) -> Result<Array<f64>> {
    if is_batch_first && array.dims.len() == 3 {
        array.transposed(&[1, 0, 2])
    } else {
        Ok(array.clone())
    }
}

/// How many steps the sequence of each batch has.
fn lengths(call: &Call<'_>, steps: usize, batch: usize) -> Result<Vec<usize>> {
    if call.optional(4).is_none() {
        return Ok(vec![steps; batch]);
    }
    let given: Vec<usize> = call
        .list(4)?
        .into_iter()
        .map(length)
        .collect::<Result<_>>()?;
    if given.len() != batch || given.iter().any(|&length| length > steps) {
        return Err(Error::engine(format!(
            "sequences of the lengths {given:?} among {batch} of {steps} steps"
        )));
    }
    Ok(given)
}

fn three(array: &Array<f64>) -> Result<[usize; 3]> {
    <[usize; 3]>::try_from(&array.dims[..])
        .map_err(|_| Error::engine(format!("{:?} are not three axes", array.dims)))
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::{
        AttributeProto, GraphProto, NodeProto,
        write::{constant, f32_value, node},
    };

    use super::*;
    use crate::{
        graph::{Interpretation, Model},
        kind::Kind,
        rules::Rules,
    };

    /// Values between -0.625 and 0.625, none of a simple pattern.
    fn values(dims: &[usize], factor: usize) -> Vec<f32> {
        let count: usize = dims.iter().product();
        let value = |at: usize| (((at * factor) % 11) as f32 - 5.0) / 8.0;
        (0..count).map(value).collect()
    }

    /// A sequence of 3 steps of 2 batches of 2 inputs through 2 hidden units, with all outputs one after the other.
    fn computed(node: NodeProto, gates: usize, directions: usize) -> Result<Vec<Vec<f64>>> {
        let weights =
            |name: &str, dims: &[usize], factor| constant(name, dims, &values(dims, factor));
        let rows = 2 * gates;
        let outputs = node.output.clone();
        let graph = GraphProto {
            node: vec![node],
            initializer: vec![
                weights("w", &[directions, rows, 2], 5),
                weights("r", &[directions, rows, 2], 7),
                weights("b", &[directions, 2 * rows], 4),
                weights("h", &[directions, 2, 2], 6),
                constant("lengths", &[2], &[2_i32, 3]),
            ],
            input: vec![f32_value("x", None)],
            output: outputs.iter().map(|name| f32_value(name, None)).collect(),
            ..GraphProto::default()
        };
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let model = Model::new(graph, 14, &["x"], &outputs)?;
        let x = Array {
            dims: vec![3, 2, 2],
            values: values(&[3, 2, 2], 3).into_iter().map(f64::from).collect(),
        };
        let interpretation = Interpretation {
            rules: Rules::default(),
            threads: 1,
        };
        let inputs = [("x", Value::real(x, Kind::F32))].into();
        let found = model.run(interpretation, inputs, &mut |_, compute| compute())?;
        let numbers = found
            .iter()
            .map(|value| Ok(value.reals()?.array.values.clone()));
        numbers.collect()
    }

    fn layer(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            output: outputs.iter().map(ToString::to_string).collect(),
            ..node(operator, inputs, "y").with(AttributeProto::int("hidden_size", 2))
        }
    }

    fn bidirectional(node: NodeProto) -> NodeProto {
        node.with(AttributeProto::text("direction", "bidirectional"))
    }

    #[track_caller]
    fn is_near(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2e-6, "{found} {expected}");
        }
    }

    /// What ONNX's own evaluator and ONNX Runtime both give.
    #[test]
    fn an_lstm_goes_both_ways() -> Result<()> {
        let node = bidirectional(layer("LSTM", &["x", "w", "r", "b"], &["y", "yh", "yc"]));
        let found = computed(node, 4, 2)?;
        is_near(
            &found[0],
            &[
                -0.255806, 0.00556, -0.153, 0.030967, -0.098416, -0.210831, -0.049295, -0.205413,
                -0.357164, 0.001193, -0.209472, 0.045415, -0.086182, -0.176189, 0.009059,
                -0.124119, -0.396132, -0.002835, -0.394308, 0.000445, -0.058283, -0.112037,
                0.103751, 0.005239,
            ],
        );
        is_near(&found[1][..4], &found[0][16..20]);
        is_near(&found[1][4..], &found[0][4..8]);
        is_near(
            &found[2],
            &[
                -0.799381, -0.014853, -0.619213, 0.00149, -0.166167, -0.262564, -0.092244,
                -0.287916,
            ],
        );
        Ok(())
    }

    #[test]
    fn a_gru_resets_before_or_after_its_product() -> Result<()> {
        let node = || layer("GRU", &["x", "w", "r", "b"], &["y", "yh"]);
        let found = computed(node(), 3, 1)?;
        is_near(
            &found[0],
            &[
                0.139488, -0.027584, 0.023309, -0.197698, 0.13658, -0.079224, -0.018134, -0.312789,
                0.110006, -0.130131, 0.427183, 0.009956,
            ],
        );
        let linear = node().with(AttributeProto::int("linear_before_reset", 1));
        let found = computed(linear, 3, 1)?;
        is_near(
            &found[0],
            &[
                0.089179, 0.221862, -0.02916, 0.010546, 0.11647, 0.251181, -0.049244, -0.013656,
                0.104555, 0.228734, 0.412876, 0.244882,
            ],
        );
        is_near(&found[1], &found[0][8..]);
        Ok(())
    }

    /// What ONNX Runtime gives: the evaluator takes all sequences for equally long.
    #[test]
    fn a_short_sequence_ends_with_zeros_and_keeps_its_state() -> Result<()> {
        let inputs = ["x", "w", "r", "b", "lengths", "h"];
        let found = computed(bidirectional(layer("GRU", &inputs, &["y", "yh"])), 3, 2)?;
        is_near(
            &found[0],
            &[
                -0.060259, 0.051147, -0.017269, -0.024667, 0.001071, 0.164546, -0.241797,
                -0.156133, 0.116692, -0.041055, -0.001416, -0.227754, -0.148573, 0.247982,
                -0.303185, -0.044269, 0.0, 0.0, 0.433016, 0.038621, 0.0, 0.0, -0.358895, 0.112022,
            ],
        );
        let last = [
            0.116692, -0.041055, 0.433016, 0.038621, 0.001071, 0.164546, -0.241797, -0.156133,
        ];
        is_near(&found[1], &last);
        Ok(())
    }

    #[test]
    fn a_plain_layer_goes_backward() -> Result<()> {
        let reverse = AttributeProto::text("direction", "reverse");
        let node = layer("RNN", &["x", "w", "r", "b"], &["y", "yh"]).with(reverse);
        let found = computed(node, 1, 1)?;
        is_near(
            &found[0],
            &[
                -0.014704, -0.906181, -0.329863, -0.71914, -0.10137, -0.874743, -0.198182,
                -0.553653, -0.015624, -0.695935, -0.449741, -0.30271,
            ],
        );
        is_near(&found[1], &found[0][..4]);
        Ok(())
    }

    #[test]
    fn other_functions_and_shapes_are_refused() {
        let gru = || layer("GRU", &["x", "w", "r", "b"], &["y", "yh"]);
        let clipped = gru().with(AttributeProto::int("clip", 1));
        let error = computed(clipped, 3, 1).expect_err("it is not known");
        assert!(error.to_string().contains("its attribute clip"), "{error}");
        let error = computed(gru(), 4, 1).expect_err("the weights are of four gates");
        assert!(error.to_string().contains("for a sequence of"), "{error}");
    }
}
