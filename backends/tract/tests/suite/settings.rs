//! Every knob is honoured, and the example shows how.

use std::{collections::BTreeSet, path::Path};

use firstpass_conformance::{Test, largest_steps};
use firstpass_probe::{
    Backend, Dtype, Error, Format, Knob, KnobValues, Knobs, Model, OutputSpec, Result, Session,
    Tensor, TensorSpec,
};
use firstpass_tract::Tract;

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        the_example_shows_every_setting,
        no_setting_changes_more_than_declared,
        settings_show_in_the_graph,
        settings_that_say_nothing_together_are_refused,
        a_file_of_another_graph_is_refused,
        a_profile_has_every_convolution_of_every_pass,
    ]
}

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

fn noise(shape: &[usize]) -> Result<Tensor> {
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
    let text = include_str!("../../examples/settings-tract.rs");
    let shown: BTreeSet<String> = text
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("// knob ")?.to_string()))
        .collect();
    let declared: BTreeSet<String> = Tract::knobs()
        .iter()
        .filter(|knob| knob.variable.is_none())
        .flat_map(|knob| {
            settings(knob)
                .into_iter()
                .map(|v| format!("{}={v}", knob.name))
        })
        .collect();
    assert_eq!(shown, declared);
}

/// By how many steps the outputs may differ from those of the default, at least and at most. Other
/// orders of the same sums of floats round to a neighbouring step here and there, which later layers
/// carry on.
fn declared(setting: &str) -> [u64; 2] {
    match setting {
        // Measured: 2.
        "optimization=decluttered" | "optimization=typed" | "direct-convolution=off" => [1, 4],
        // The same bits with AVX-512; which kernel multiplies depends on the processor.
        "im2col=lazy" | "im2col=eager" => [0, 4],
        _ => [0, 0],
    }
}

fn no_setting_changes_more_than_declared() -> Result<()> {
    let model = model();
    let input = noise(&model.inputs[0].shape)?;
    let run =
        |knobs: &Knobs| Session::<Tract>::open(&model, knobs)?.pass(std::slice::from_ref(&input));
    let expected = run(&Knobs::default())?;
    for knob in Tract::knobs() {
        for value in settings(&knob) {
            let value = if value == "N" { "2".into() } else { value };
            let setting = format!("{}={value}", knob.name);
            let knobs = Knobs::default().with(&knob.name, &value);
            // The second time from the prepared file.
            let [first, again] = [run(&knobs)?, run(&knobs)?];
            let steps = largest_steps(&model.name, &expected, &first);
            let steps = steps.map_err(|error| Error::engine(format!("{error:#}")))?;
            let [low, high] = declared(&setting);
            assert!(first == again, "{setting} gives other bits the second time");
            let most = steps.iter().max().copied().unwrap_or_default();
            assert!(
                (low..=high).contains(&most),
                "{setting}: {steps:?} steps, declared {low} to {high}"
            );
            assert!(high > 0 || first == expected, "{setting} gives other bits");
        }
    }
    Ok(())
}

fn settings_show_in_the_graph() -> Result<()> {
    let model = model();
    let input = noise(&model.inputs[0].shape)?;
    let operators = |setting: Option<(&str, &str)>| -> Result<_> {
        let knobs = setting
            .iter()
            .fold(Knobs::default(), |k, (name, value)| k.with(name, value));
        let counted =
            Tract::inspect(&Tract::start(&knobs)?, &model, std::slice::from_ref(&input))?.operators;
        Ok(move |name: &str| -> usize {
            let named = counted.iter().filter(|(label, _)| label.starts_with(name));
            named.map(|(_, count)| count).sum()
        })
    };
    let default = operators(None)?;
    assert!(default("OptMatMul") > 0 && default("DirectSpatialConv") > 0);
    for stage in ["decluttered", "typed"] {
        assert_eq!(operators(Some(("optimization", stage)))?("OptMatMul"), 0);
    }
    assert_eq!(
        operators(Some(("direct-convolution", "off")))?("DirectSpatialConv"),
        0
    );
    assert!(operators(Some(("im2col", "lazy")))?("LazyIm2col") > default("LazyIm2col"));
    // tract has a third rule, without a knob, by which some stay lazy.
    assert!(operators(Some(("im2col", "eager")))?("LazyIm2col") < default("LazyIm2col"));
    Ok(())
}

fn settings_that_say_nothing_together_are_refused() {
    for (name, value) in [("prepared-file", "nnef"), ("im2col", "lazy")] {
        let knobs = Knobs::default()
            .with("optimization", "typed")
            .with(name, value);
        assert!(Tract::start(&knobs).is_err(), "{name}={value}");
    }
}

/// tract reads what it has written of this case as another graph, and says nothing.
fn a_file_of_another_graph_is_refused() -> Result<()> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let model = Model {
        name: "case".into(),
        format: Format::ONNX_QOPERATOR,
        path: cases.join("qlinearconv-channels-last-silent.onnx"),
        inputs: vec![TensorSpec {
            name: "x".into(),
            shape: vec![1, 4, 4, 8],
            dtype: Dtype::U8,
        }],
        outputs: Vec::new(),
    };
    let load = |file: &str| {
        let engine = Tract::start(&Knobs::default().with("prepared-file", file))?;
        Tract::prepare(&Tract::load(&engine, &model)?, &model.input_shapes()).map(drop)
    };
    load("off")?;
    let error = load("nnef").expect_err("it is another graph").to_string();
    assert!(error.contains("as another one"), "{error}");
    Ok(())
}

fn a_profile_has_every_convolution_of_every_pass() -> Result<()> {
    let model = model();
    let input = noise(&model.inputs[0].shape)?;
    let profile = firstpass_probe::profile::<Tract>(
        &Tract::start(&Knobs::default())?,
        &model,
        std::slice::from_ref(&input),
        2,
    )?;
    let products = ["OptMatMul", "DepthWiseConv", "DirectSpatialConv"];
    for pass in &profile.passes {
        let convolutions = profile.operators.iter().zip(&pass.self_ns);
        let convolutions =
            convolutions.filter(|(o, ns)| products.contains(&o.kind.as_str()) && **ns > 0);
        assert_eq!(convolutions.count(), 63);
        assert!(pass.self_ns.iter().sum::<u64>() <= pass.span.wall_ns);
        assert!(pass.minor_faults.iter().sum::<u64>() <= pass.span.minor_faults);
    }
    assert_eq!(profile.passes.len(), 2);
    Ok(())
}
