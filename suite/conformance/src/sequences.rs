//! State of recurrent operators: it begins anew in every pass.

use anyhow::{Context as _, Result, anyhow, ensure};
use firstpass_onnx::{
    AttributeProto, GraphProto,
    write::{constant, encode, f32_value, node},
};
use firstpass_probe::{
    Backend, ErrorKind, Format, Knobs, Model, OutputSpec, Session, Tensor, TensorSpec,
};
use libtest_mimic::{Failed, Trial};

use crate::{alone, context::Context};

/// Steps of a sequence, features of a step, and values of the state.
const STEPS: usize = 5;
const FEATURES: usize = 3;
const HIDDEN: usize = 4;

/// Sums and functions of f32 in any order.
const BOUND: f32 = 1e-5;

pub fn tests<B: Backend + 'static>(context: &Context) -> Vec<Trial> {
    if !B::FORMATS.contains(&Format::ONNX) {
        return Vec::new();
    }
    // What is asked is whether a state is left over, and not in how many bits it is computed.
    let exact = context.known.exact_floats.as_ref();
    let knobs = exact.map_or_else(Knobs::default, |exact| {
        let (name, value) = &exact.setting;
        Knobs::default().with(name, value)
    });
    let test = move || {
        let _alone = alone();
        lstm::<B>(&knobs).map_err(|error| Failed::from(format!("{error:#}")))
    };
    vec![Trial::test("a sequence begins anew in every pass", test)]
}

/// Three samples in turns, twice: each must give what the definition of an LSTM gives, and the same bits
/// again after the others.
fn lstm<B: Backend>(knobs: &Knobs) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("lstm.onnx");
    let weights = Weights::new();
    std::fs::write(&path, encode(weights.graph(), 14))?;
    let model = Model {
        name: "lstm".into(),
        format: Format::ONNX,
        path,
        inputs: vec![TensorSpec::f32("x", [STEPS, 1, FEATURES])],
        outputs: vec![OutputSpec::new("y", [STEPS, 1, 1, HIDDEN])],
    };
    let mut session = match Session::<B>::open(&model, knobs) {
        Err(error) if error.kind == ErrorKind::Unsupported => {
            eprintln!("{}: has no LSTM: {error}", B::NAME);
            return Ok(());
        }
        opened => opened.map_err(|error| anyhow!("{error}"))?,
    };
    let samples: Vec<Vec<f32>> = (0..3)
        .map(|number| values(STEPS * FEATURES, 11 + 4 * number, 2.0))
        .collect();
    let mut first = Vec::new();
    for round in 0..2 {
        for (number, sample) in samples.iter().enumerate() {
            let input = Tensor::new(&[STEPS, 1, FEATURES], sample.clone())?;
            let outputs = session.pass(&[input]).map_err(|error| anyhow!("{error}"))?;
            let output = outputs.first().context("no output")?.f32s()?.to_vec();
            let off = output.iter().zip(weights.run(sample));
            let off = off.map(|(y, truth)| (y - truth).abs()).fold(0.0, f32::max);
            ensure!(
                off <= BOUND,
                "sample {number} in round {round} is off by {off}: state of an earlier pass?"
            );
            if round == 0 {
                first.push(output);
            } else {
                ensure!(
                    first[number] == output,
                    "sample {number} gives other bits after the others"
                );
            }
        }
    }
    Ok(())
}

/// Numbers without a pattern between `-range / 2` and `range / 2`.
fn values(count: usize, seed: usize, range: f32) -> Vec<f32> {
    let value = |at: usize| ((at * 37 + seed * 17) % 101) as f32 / 101.0 - 0.5;
    (0..count).map(|at| value(at) * range).collect()
}

/// Of the gates in ONNX's order: input, output, forget, cell.
struct Weights {
    of_input: Vec<f32>,
    of_state: Vec<f32>,
}

impl Weights {
    fn new() -> Self {
        Self {
            of_input: values(4 * HIDDEN * FEATURES, 1, 1.5),
            of_state: values(4 * HIDDEN * HIDDEN, 2, 1.5),
        }
    }

    fn graph(&self) -> GraphProto {
        let lstm = node("LSTM", &["x", "w", "r"], "y");
        GraphProto {
            node: vec![lstm.with(AttributeProto::int("hidden_size", HIDDEN as i64))],
            initializer: vec![
                constant("w", &[1, 4 * HIDDEN, FEATURES], &self.of_input),
                constant("r", &[1, 4 * HIDDEN, HIDDEN], &self.of_state),
            ],
            input: vec![f32_value("x", Some(&[STEPS, 1, FEATURES]))],
            output: vec![f32_value("y", Some(&[STEPS, 1, 1, HIDDEN]))],
            ..GraphProto::default()
        }
    }

    /// The outputs of all steps, as ONNX defines them.
    fn run(&self, input: &[f32]) -> Vec<f32> {
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (mut hidden, mut cell) = (vec![0.0; HIDDEN], vec![0.0; HIDDEN]);
        let mut outputs = Vec::new();
        for step in input.chunks(FEATURES) {
            let gate = |number: usize| {
                dot(&self.of_input[number * FEATURES..][..FEATURES], step)
                    + dot(&self.of_state[number * HIDDEN..][..HIDDEN], &hidden)
            };
            let gates: Vec<f32> = (0..4 * HIDDEN).map(gate).collect();
            for at in 0..HIDDEN {
                let [i, o, f, c] = [0, 1, 2, 3].map(|gate| gates[gate * HIDDEN + at]);
                cell[at] = sigmoid(f) * cell[at] + sigmoid(i) * c.tanh();
                hidden[at] = sigmoid(o) * cell[at].tanh();
            }
            outputs.extend_from_slice(&hidden);
        }
        outputs
    }
}
