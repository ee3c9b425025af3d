//! Every knob is honoured, the example shows how, and rten's log tells of every convolution.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, anyhow, ensure};
use firstpass_conformance::{Test, largest_steps};
use firstpass_probe::{
    Backend, Format, Knob, KnobValues, Knobs, Model, OutputSpec, Session, Tensor, TensorSpec,
    write_tensors,
};
use firstpass_rten::Rten;
use firstpass_trial::process::Probe;

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        the_example_shows_every_setting,
        no_setting_changes_more_than_declared,
        the_log_has_every_convolution_of_every_pass,
    ]
}

/// The convolutions of the detector.
const CONVOLUTIONS: usize = 63;

fn model() -> Model {
    Model {
        name: "faceboxes-int8-per-channel".into(),
        format: Format::ONNX,
        path: Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fixtures/models/faceboxes-int8-per-channel/model.onnx"),
        inputs: vec![TensorSpec::f32("image", [1, 3, 480, 640])],
        outputs: vec![
            OutputSpec::new("loc", [1, 1200, 4]),
            OutputSpec::new("conf", [1200, 1]),
        ],
    }
}

fn noise(shape: &[usize]) -> firstpass_probe::Result<Tensor> {
    let mut state = 1_u32;
    let values = (0..shape.iter().product()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 4.0 - 2.0
    });
    Tensor::new(shape, values.collect::<Vec<f32>>())
}

fn settings(knob: &Knob) -> Vec<String> {
    match &knob.values {
        KnobValues::Count => vec!["N".into()],
        KnobValues::Any(_) => vec!["LIST".into()],
        KnobValues::Choice(words) => words[1..].to_vec(),
    }
}

fn the_example_shows_every_setting() {
    let text = include_str!("../../examples/settings-rten.rs");
    let shown: BTreeSet<String> = text
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("// knob ")?.to_string()))
        .collect();
    let of_knob = |knob: &Knob| -> Vec<String> {
        let values = settings(knob).into_iter();
        values.map(|v| format!("{}={v}", knob.name)).collect()
    };
    let declared: BTreeSet<String> = Rten::knobs().iter().flat_map(of_knob).collect();
    assert_eq!(shown, declared);
}

/// By how many steps outputs may differ from those of the default: fused and folded operators round in other
/// places, and later layers carry it on.
fn declared(setting: &str) -> u64 {
    match setting {
        "graph-optimization=off" => 4,
        _ => 0,
    }
}

fn no_setting_changes_more_than_declared() -> Result<()> {
    let model = model();
    let input = noise(&model.inputs[0].shape)?;
    let run =
        |knobs: &Knobs| Session::<Rten>::open(&model, knobs)?.pass(std::slice::from_ref(&input));
    let expected = run(&Knobs::default())?;
    for knob in Rten::knobs() {
        for value in settings(&knob) {
            let value = if value == "N" { "2".into() } else { value };
            let setting = format!("{}={value}", knob.name);
            let found = run(&Knobs::default().with(&knob.name, &value))?;
            let steps = largest_steps(&model.name, &expected, &found)?;
            let most = steps.iter().max().copied().unwrap_or_default();
            let high = declared(&setting);
            ensure!(most <= high, "{setting}: {steps:?} steps, declared {high}");
            ensure!(
                high > 0 || found == expected,
                "{setting} gives other bits than the default"
            );
        }
    }
    Ok(())
}

/// In processes of their own, because the log goes to standard output.
fn the_log_has_every_convolution_of_every_pass() -> Result<()> {
    let model = model();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("input.safetensors");
    let input = noise(&model.inputs[0].shape)?;
    write_tensors(&file, [("image".into(), &input)])?;
    let probe = Probe::at(Path::new(env!("CARGO_BIN_EXE_firstpass-rten")));
    let inspected = probe.inspect(&model, &Knobs::default(), &file);
    let inspected = inspected.map_err(|outcome| anyhow!("{outcome}"))?;
    ensure!(
        inspected.integer + inspected.float == CONVOLUTIONS,
        "{inspected:?}"
    );
    let profile = probe.profile(&model, &Knobs::default(), &file, 2);
    let profile = profile.map_err(|outcome| anyhow!("{outcome}"))?;
    ensure!(profile.passes.len() == 2);
    for pass in &profile.passes {
        let operators = profile.operators.iter().zip(&pass.self_ns);
        let convolutions = operators.filter(|(o, ns)| o.kind.contains("Conv") && **ns > 0);
        ensure!(convolutions.count() == CONVOLUTIONS);
        ensure!(pass.self_ns.iter().sum::<u64>() <= pass.span.wall_ns);
    }
    Ok(())
}
