//! Every knob is honoured, changes no bit, and is shown in the example.

use std::{collections::BTreeSet, path::Path, process::Command};

use crate::common::{faceboxes, noise};
use firstpass_candle::{Candle, Isa};
use firstpass_conformance::Test;
use firstpass_probe::{
    Backend, ErrorKind, KnobValues, Knobs, Message, PassPlan, Profile, Request, Result, Span,
    Tensors, Trial, write_tensors,
};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        starting_leaves_the_environment_alone,
        no_setting_changes_a_bit,
        the_chosen_kernels_are_told,
        memory_is_touched_in_the_chosen_step,
        a_profile_is_of_true_first_passes,
        the_example_shows_every_setting,
    ]
}

const INT8: &str = "faceboxes-int8-per-channel";

/// Every value that the machine may have, as knobs.
fn settings() -> Vec<Knobs> {
    let knobs = Candle::knobs();
    let values = knobs.iter().flat_map(|knob| match &knob.values {
        KnobValues::Choice(words) => words.iter().map(|w| (&knob.name, w.clone())).collect(),
        KnobValues::Count => vec![(&knob.name, "2".into())],
        KnobValues::Any(words) => vec![(&knob.name, words.join(","))],
    });
    values
        .map(|(name, value)| Knobs::default().with(name, value))
        .collect()
}

fn is_available(knobs: &Knobs) -> bool {
    match knobs.get("kernels") {
        None | Some("auto") => true,
        Some(name) => Isa::available().iter().any(|isa| isa.name() == name),
    }
}

fn first_pass(knobs: &Knobs) -> Result<Tensors> {
    let input = noise()?;
    let loaded = Candle::load(&Candle::start(knobs)?, &faceboxes(INT8))?;
    Candle::pass(
        &mut Candle::prepare(&loaded, &[input.shape().to_vec()])?,
        std::slice::from_ref(&input),
    )
}

/// What a new process answers: memory that another model has left hides page faults.
fn ask(request: impl FnOnce(&Path) -> Request) -> Result<Vec<Message>> {
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("input.safetensors");
    write_tensors(&input, [("image".to_string(), &noise()?)])?;
    let output = Command::new(env!("CARGO_BIN_EXE_firstpass-candle"))
        .arg(serde_json::to_string(&request(&input))?)
        .output()?;
    let lines = output.stdout.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| Ok(serde_json::from_slice(line)?))
        .collect()
}

/// What was observed while the model was loaded, while it was prepared, and in its first pass.
fn phases(knobs: &Knobs) -> Result<[Span; 3]> {
    let messages = ask(|input| {
        let (inputs, passes) = (vec![input.into()], PassPlan::exactly(1));
        Request::Trial(Trial::new(faceboxes(INT8), knobs.clone(), inputs, passes))
    })?;
    let mut spans = [Span::default(); 3];
    for message in messages {
        match message {
            Message::Loaded { span } => spans[0] = span,
            Message::Prepared { span } => spans[1] = span,
            Message::Pass(pass) => spans[2] = pass.span,
            Message::Failed(error) => return Err(error),
            _ => {}
        }
    }
    Ok(spans)
}

fn profile(passes: usize) -> Result<Profile> {
    let messages = ask(|input| Request::Profile {
        model: faceboxes(INT8),
        knobs: Knobs::default(),
        input: input.into(),
        passes,
    })?;
    let mut profiles = messages.into_iter().filter_map(|message| match message {
        Message::Profile(profile) => Some(profile),
        _ => None,
    });
    Ok(profiles.next().expect("the probe sends a profile"))
}

fn no_setting_changes_a_bit() -> Result<()> {
    let expected = first_pass(&Knobs::default())?;
    for knobs in settings() {
        if is_available(&knobs) {
            assert!(first_pass(&knobs)? == expected, "{knobs:?} differs");
        } else {
            let error = first_pass(&knobs).expect_err("not on this machine");
            assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
        }
    }
    Ok(())
}

fn the_chosen_kernels_are_told() -> Result<()> {
    for isa in Isa::available() {
        let engine = Candle::start(&Knobs::default().with("kernels", isa.name()))?;
        let details = Candle::describe(&engine)?.details;
        assert_eq!(details["integer kernels"], isa.name());
    }
    Ok(())
}

/// Page faults tell in which step memory is written to for the first time.
fn memory_is_touched_in_the_chosen_step() -> Result<()> {
    let faults = |name: &str, value: &str| -> Result<[u64; 3]> {
        let spans = phases(&Knobs::default().with(name, value))?;
        Ok(spans.map(|span| span.minor_faults))
    };
    let [_, prepare, _] = faults("buffers", "lazy")?;
    let knobs = Knobs::default().with("buffers", "lazy");
    let later = phases(&knobs.with("packing", "first-pass"))?;
    let [_, packed, packing] = later.map(|span| span.minor_faults);
    let [_, _, pass] = faults("buffers", "lazy")?;
    assert!(packed < prepare / 2, "{packed} faults against {prepare}");
    assert!(packing > pass, "{packing} faults against {pass}");
    let knobs = Candle::knobs();
    let buffers = knobs.iter().filter(|knob| knob.name == "buffers");
    let words = buffers.flat_map(|knob| knob.words());
    for value in words.filter(|word| *word != "lazy") {
        let [_, _, touched] = faults("buffers", value)?;
        assert!(
            touched < pass / 2,
            "{value}: {touched} faults against {pass}"
        );
    }
    Ok(())
}

/// Another thread of the program may read it at that moment.
fn starting_leaves_the_environment_alone() -> Result<()> {
    let tasks = || std::env::var_os("RAYON_NUM_THREADS");
    let before = tasks();
    Candle::start(&Knobs::default().with("threads", 3))?;
    assert_eq!(tasks(), before);
    Ok(())
}

fn a_profile_is_of_true_first_passes() -> Result<()> {
    let profile = profile(3)?;
    assert_eq!(profile.passes.len(), 3);
    let convolutions = profile.operators.iter();
    let convolutions = convolutions.filter(|o| o.kind.starts_with("int-conv"));
    assert_eq!(convolutions.count(), 63);
    for pass in &profile.passes {
        assert!(pass.self_ns.iter().all(|&ns| ns > 0));
        assert!(pass.self_ns.iter().sum::<u64>() <= pass.span.wall_ns);
        assert!(pass.minor_faults.iter().sum::<u64>() <= pass.span.minor_faults);
        assert!(pass.counts["buffer bytes"] > 0);
    }
    let faults = |pass: usize| profile.passes[pass].minor_faults.iter().sum::<u64>();
    assert!(faults(0) > faults(1), "{} and {}", faults(0), faults(1));
    Ok(())
}

fn the_example_shows_every_setting() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/settings-candle.rs");
    let text = std::fs::read_to_string(path)?;
    let mut shown = BTreeSet::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(setting) = line.strip_prefix("// knob ") {
            let region = lines.by_ref().take_while(|line| *line != "// end");
            assert!(region.count() > 0, "nothing carries out {setting}");
            assert!(
                shown.insert(setting.to_string()),
                "{setting} is there twice"
            );
        }
    }
    let expected: BTreeSet<String> = Candle::knobs()
        .iter()
        .filter(|knob| knob.variable.is_none())
        .flat_map(|knob| match &knob.values {
            KnobValues::Count => vec![format!("{}=N", knob.name)],
            KnobValues::Any(_) => vec![format!("{}=LIST", knob.name)],
            KnobValues::Choice(words) => {
                let others = words.iter().filter(|word| **word != knob.default);
                others.map(|word| format!("{}={word}", knob.name)).collect()
            }
        })
        .collect();
    assert_eq!(shown, expected);
    Ok(())
}
