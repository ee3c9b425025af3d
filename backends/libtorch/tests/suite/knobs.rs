//! What each knob does, by what can be observed.

use std::{
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use firstpass_conformance::Test;
use firstpass_libtorch::{Libtorch, settings};
use firstpass_probe::{
    Backend, EngineResult, Format, Knobs, Model, OutputSpec, PassPlan, Profile, Request, Result,
    Session, Tensor, TensorSpec, Tensors, Trial, write_tensors,
};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        settings_keep_the_outputs,
        settings_are_what_libtorch_itself_tells,
        optimizing_is_a_setting_of_the_thread_that_runs,
        executors_make_their_graphs_when_they_are_told_to,
        a_thread_that_does_not_optimize_can_freeze,
        a_profile_accounts_for_the_first_passes,
        padding_inlines_a_hundred_thousand_nodes,
        what_libtorch_does_not_support_is_an_error,
        threads_beside_each_other_are_honoured_or_refused,
        denormals_are_zero_where_that_is_asked_for,
    ]
}

const INT8: &str = "faceboxes-int8-per-channel";
const TORCH_1_8: &str = "faceboxes-int8-per-channel-torch1.8";

fn model(name: &str) -> Model {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
    Model {
        name: name.into(),
        format: Format::TORCHSCRIPT,
        path: fixtures.join(name).join("model.pt"),
        inputs: vec![TensorSpec::f32("image", [1, 3, 480, 640])],
        outputs: vec![
            OutputSpec::new("loc", [1, 1200, 4]),
            OutputSpec::new("conf", [1200, 1]),
        ],
    }
}

/// Values between -1 and 1 without an order.
fn input() -> Result<Tensor> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::new(
        &[1, 3, 480, 640],
        (0..3 * 480 * 640).map(|_| next()).collect::<Vec<f32>>(),
    )
}

fn knobs(setting: &[(&str, &str)]) -> Knobs {
    let with = |knobs: Knobs, (name, value): &(&str, &str)| knobs.with(name, value);
    setting.iter().fold(Knobs::default(), with)
}

/// The outputs of the third pass, which runs the graph of all later ones.
fn outputs(setting: &[(&str, &str)]) -> Result<Tensors> {
    let mut session = Session::<Libtorch>::open(&model(INT8), &knobs(setting))?;
    let inputs = [input()?];
    session.pass(&inputs)?;
    session.pass(&inputs)?;
    session.pass(&inputs)
}

fn profile(model: &Model, setting: &[(&str, &str)], passes: usize) -> Result<Profile> {
    let engine = Libtorch::start(&knobs(setting))?;
    firstpass_probe::profile::<Libtorch>(&engine, model, &[input()?], passes)
}

/// The nodes of the module's own graph, and of the one that each pass ran.
fn nodes(setting: &[(&str, &str)], passes: usize) -> Result<(u64, Vec<u64>)> {
    let profile = profile(&model(INT8), setting, passes)?;
    let own = profile.passes[0].counts["graph nodes"];
    let ran = profile.passes.iter();
    Ok((
        own,
        ran.map(|pass| pass.counts["optimized graph nodes"])
            .collect(),
    ))
}

/// Where nothing is said, bit for bit.
fn settings_keep_the_outputs() -> Result<()> {
    let expected = outputs(&[])?;
    for knob in Libtorch::knobs() {
        let carried_out_by_backend = knob.variable.is_none();
        for word in knob.words().iter().filter(|_| carried_out_by_backend) {
            let setting = [(knob.name.as_str(), word.as_str())];
            let found = outputs(&setting).map_err(|error| error.context(format!("{setting:?}")))?;
            if knob.name == "quantized-engine" && word != "fbgemm" {
                // Other libraries round otherwise, and a step more or less grows with the layers.
                for (a, b) in found.iter().zip(&expected) {
                    let (a, b) = (a.f32s()?, b.f32s()?);
                    let dot =
                        |x: &[f32], y: &[f32]| -> f32 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
                    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
                    assert!(cosine > 0.98, "{setting:?}: cosine {cosine}");
                }
            } else {
                assert_eq!(found, expected, "{setting:?}");
            }
        }
    }
    Ok(())
}

fn settings_are_what_libtorch_itself_tells() -> Result<()> {
    let told = |setting: &[(&str, &str)]| {
        Libtorch::start(&knobs(setting))?;
        settings::in_this_thread()
    };
    for name in [
        "graph-executor-optimize",
        "profiling-mode",
        "profiled-runs",
        "executor",
        "tensor-expression-fuser",
        "quantized-engine",
    ] {
        let declared = Libtorch::knobs();
        let knob = declared.iter().find(|knob| knob.name == name);
        for word in knob.expect("is declared").words() {
            assert_eq!(&told(&[(name, word)])?[name], word);
        }
    }
    for (word, strategy) in [
        ("static-dynamic", "static-2 dynamic-10"),
        ("none", ""),
        ("static", "static-2"),
        ("dynamic", "dynamic-10"),
    ] {
        assert_eq!(
            told(&[("fusion-strategy", word)])?["fusion-strategy"],
            strategy
        );
    }
    assert_eq!(told(&[("threads", "2")])?["threads"], "2");
    assert_eq!(told(&[])?["threads"], "1");
    Ok(())
}

/// By what an operator gives, since libtorch has no getter: alone, and divided among threads. OpenMP has a pool
/// of threads for each thread that divides work.
fn denormals_are_zero_where_that_is_asked_for() -> Result<()> {
    let started = |setting: &'static str| {
        Libtorch::start(&knobs(&[("denormals", setting), ("threads", "2")])).map(drop)
    };
    let in_new_thread = |setting: &'static str| {
        let products = move || -> Result<[f64; 2]> {
            started(setting)?;
            Ok([largest_product(1)?, largest_product(1 << 20)?])
        };
        thread::spawn(products).join().expect("it does not panic")
    };
    let denormal = f64::from((1e-30_f32 * 1e-10).to_bits());
    assert_eq!(in_new_thread("kept")?, [denormal; 2]);
    assert_eq!(in_new_thread("zero")?, [0.0; 2]);
    // A later start takes it back.
    started("zero")?;
    assert_eq!(largest_product(1)?, 0.0);
    started("kept")?;
    assert_eq!(largest_product(1)?, denormal);
    Ok(())
}

/// The bits of the largest of many products of 1e-30 and 1e-10: as integers, which nothing flushes.
fn largest_product(length: i64) -> Result<f64> {
    let kind = (tch::Kind::Float, tch::Device::Cpu);
    let small = tch::Tensor::f_full([length], 1e-30, kind).engine()?;
    let product = small.f_mul_scalar(1e-10).engine()?;
    let bits = product.f_view_dtype(tch::Kind::Int).engine()?;
    bits.f_max().engine()?.f_double_value(&[]).engine()
}

/// Whether graphs are optimized belongs to the thread: another one goes on with the default.
fn optimizing_is_a_setting_of_the_thread_that_runs() -> Result<()> {
    let here = Libtorch::start(&knobs(&[("graph-executor-optimize", "off")]))?;
    let there = thread::spawn(|| {
        let told = settings::in_this_thread()?;
        let mut runnable = tch::CModule::load(model(INT8).path).engine()?;
        runnable.f_set_eval().engine()?;
        let image = tch::Tensor::f_from_slice(input()?.f32s()?)
            .engine()?
            .f_view([1, 3, 480, 640])
            .engine()?;
        let _inference = tch::no_grad_guard();
        for _ in 0..2 {
            runnable
                .forward_is(&[tch::IValue::Tensor(image.shallow_clone())])
                .engine()?;
        }
        Ok::<_, firstpass_probe::Error>((told, settings::executed_graph_nodes()?))
    });
    let (told, inlined) = there.join().expect("the thread ends")?;
    assert_eq!(told["graph-executor-optimize"], "on");
    assert_eq!(
        settings::in_this_thread()?["graph-executor-optimize"],
        "off"
    );
    let profile = firstpass_probe::profile::<Libtorch>(&here, &model(INT8), &[input()?], 2)?;
    let called = profile.passes[1].counts["optimized graph nodes"];
    assert!(
        called * 2 < inlined as u64,
        "{called} nodes with calls, {inlined} nodes without"
    );
    Ok(())
}

fn executors_make_their_graphs_when_they_are_told_to() -> Result<()> {
    let (own, default) = nodes(&[], 4)?;
    assert_ne!(
        default[0], default[1],
        "pass 2 optimizes again: {default:?}"
    );
    assert_eq!(default[1], default[2]);

    let (_, ran) = nodes(&[("profiled-runs", "2")], 4)?;
    assert_eq!(ran[0], default[0]);
    assert_eq!(ran[0], ran[1], "pass 2 is profiled too: {ran:?}");
    assert_eq!(ran[2..], default[1..3]);

    let (_, ran) = nodes(&[("profiled-runs", "0")], 2)?;
    assert_eq!(ran[0], ran[1], "nothing is profiled: {ran:?}");

    for setting in [
        ("profiling-mode", "off"),
        ("executor", "legacy"),
        ("fusion-strategy", "none"),
        ("graph-executor-optimize", "off"),
    ] {
        let (_, ran) = nodes(&[setting], 3)?;
        assert_ne!(ran[0], default[0], "{setting:?}");
        assert!(ran.iter().all(|n| *n == ran[0]), "{setting:?}: {ran:?}");
    }

    for setting in [
        ("freeze", "on"),
        ("optimize-for-inference", "on"),
        ("prepared-file", "frozen"),
    ] {
        let (frozen, _) = nodes(&[setting], 1)?;
        assert!(frozen * 2 < own, "{setting:?}: {frozen} of {own} nodes");
    }
    Ok(())
}

fn a_thread_that_does_not_optimize_can_freeze() -> Result<()> {
    let expected = outputs(&[])?;
    for setting in [
        ("freeze", "on"),
        ("optimize-for-inference", "on"),
        ("prepared-file", "frozen"),
    ] {
        let found = outputs(&[("graph-executor-optimize", "off"), setting])?;
        assert_eq!(found, expected, "{setting:?}");
    }
    Ok(())
}

fn a_profile_accounts_for_the_first_passes() -> Result<()> {
    let profile = profile(&model(INT8), &[], 3)?;
    assert_eq!(profile.passes.len(), 3);
    for pass in &profile.passes {
        let operators: u64 = pass.self_ns.iter().sum();
        assert!(0 < operators && operators <= pass.span.wall_ns, "{pass:?}");
        let faults: u64 = pass.minor_faults.iter().sum();
        assert!(faults <= pass.span.minor_faults);
        let convolutions = profile.operators.iter().zip(&pass.self_ns);
        let convolutions = convolutions
            .filter(|(o, ns)| o.kind.starts_with("quantized::conv2d") && **ns > 0)
            .count();
        assert_eq!(convolutions, 63);
    }
    Ok(())
}

/// What makes the first passes of the file slow that torch 1.8.1 saved.
fn padding_inlines_a_hundred_thousand_nodes() -> Result<()> {
    // Not optimized, it runs in a moment; its graph is inlined for counting alone.
    let setting = [("graph-executor-optimize", "off")];
    let count = |name: &str| -> Result<u64> {
        Ok(profile(&model(name), &setting, 1)?.passes[0].counts["graph nodes"])
    };
    let with = count(TORCH_1_8)?;
    let without = count(&format!("{TORCH_1_8}-no-padding"))?;
    assert!(with > 100_000, "{with} nodes");
    assert!(without < 10_000, "{without} nodes");
    Ok(())
}

fn what_libtorch_does_not_support_is_an_error() {
    let error = settings::set_quantized_engine("abacus").expect_err("there is none");
    assert!(error.to_string().contains("abacus"), "{error}");
}

/// In processes of their own: libtorch takes the number once.
fn threads_beside_each_other_are_honoured_or_refused() -> Result<()> {
    Libtorch::start(&Knobs::default())?;
    let error = Libtorch::start(&knobs(&[("inter-threads", "2")])).err();
    let error = error.expect("cannot be changed").to_string();
    assert!(error.contains("number of interop threads"), "{error}");

    let image = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("image.safetensors");
    write_tensors(&image, [("image".to_string(), &input()?)])?;
    let knobs = knobs(&[("inter-threads", "2")]);
    let passes = PassPlan::exactly(1);
    let request = Request::Trial(Trial::new(model(INT8), knobs, vec![image], passes));
    // The backend asks libtorch what it has taken, so that a success says that it is 2.
    let probe = Command::new(env!("CARGO_BIN_EXE_firstpass-libtorch"))
        .arg(serde_json::to_string(&request)?)
        .output()?;
    assert!(probe.status.success(), "{probe:?}");
    Ok(())
}
