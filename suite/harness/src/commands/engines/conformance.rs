//! `firstpass engines test PROGRAM`: does a program speak the protocol of probes? See `suite/probe/PROTOCOL.md`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use firstpass_onnx::{
    GraphProto,
    write::{encode, f32_value, node},
};
use firstpass_probe::{
    Description, ErrorKind, Format, Knobs, Model, OutputSpec, PassPlan, Request, Tensor,
    TensorSpec, Trial, monotonic_ns, read_tensors, write_tensors,
};
use firstpass_trial::{
    engine::check_program,
    model::ModelDescription,
    observation::{Outcome, Process},
    process::Probe,
    shell_word,
};
use tempfile::TempDir;

use crate::page::terminal::text as shown;

/// What is asked of a program, in order.
const RULES: [(&str, Rule); 10] = [
    ("it says what it is", says_what_it_is),
    (
        "it takes a request from a file",
        takes_a_request_from_a_file,
    ),
    (
        "it tells its steps in order, on the monotonic clock",
        tells_its_steps,
    ),
    (
        "it does as many passes as it is asked for, input by input",
        does_its_passes,
    ),
    (
        "equal outputs have equal digests, others have others",
        digests_tell_outputs_apart,
    ),
    (
        "its outputs are in the file that is named",
        writes_its_outputs,
    ),
    (
        "a file that is no model is a failure, in words",
        refuses_noise,
    ),
    (
        "an input of another shape is a failure, in words",
        refuses_a_shape,
    ),
    (
        "a knob that it does not declare is a failure, in words",
        refuses_a_knob,
    ),
    (
        "a field of a request that it does not know is a failure, in words",
        refuses_what_it_does_not_know,
    ),
];

type Rule = fn(&Subject) -> Result<()>;

/// A program with a model that it is asked to run.
struct Subject {
    probe: Probe,
    model: Model,
    /// Two files of inputs with other values each, and one of another shape.
    inputs: [PathBuf; 2],
    other_shape: PathBuf,
    /// What the outputs must be, where that is known: `y = relu(x)`.
    expects: Option<[Vec<f32>; 2]>,
    folder: TempDir,
}

/// Succeeds where the program keeps every rule.
///
/// # Errors
/// Fails where there is no such program, and where a model or inputs that were given cannot be read.
pub(super) fn run(program: &Path, own: Option<(&Path, &Path)>) -> Result<ExitCode> {
    check_program(program)?;
    let probe = Probe::at(&std::path::absolute(program)?);
    let subject = match own {
        Some((model, sample)) => Subject::of(probe, model, sample)?,
        None => Subject::relu(probe)?,
    };
    let mut broken = 0;
    for (what, rule) in RULES {
        match rule(&subject) {
            Ok(()) => println!("ok      {what}"),
            Err(error) => {
                broken += 1;
                println!("BROKEN  {what}\n        {}", shown(&format!("{error:#}")));
            }
        }
    }
    if broken > 0 {
        println!(
            "{broken} of {} rules are broken; suite/probe/PROTOCOL.md has them all",
            RULES.len()
        );
        return Ok(ExitCode::FAILURE);
    }
    println!(
        "it speaks the protocol: `firstpass check MODEL --engine NAME={}` measures it",
        shell_word::path(program)
    );
    Ok(ExitCode::SUCCESS)
}

impl Subject {
    fn relu(probe: Probe) -> Result<Self> {
        let folder = folder()?;
        let shape = [1, 2, 3];
        let graph = GraphProto {
            node: vec![node("Relu", &["x"], "y")],
            input: vec![f32_value("x", Some(&shape))],
            output: vec![f32_value("y", Some(&shape))],
            ..GraphProto::default()
        };
        let path = folder.path().join("relu.onnx");
        fs::write(&path, encode(graph, 13))?;
        let values = [
            vec![-1.0, 2.0, -3.0, 4.0, 0.5, 6.0],
            vec![7.0, -8.0, 9.0, -0.25, 11.0, 12.0],
        ];
        let [first, second] = &values;
        let write = |name: &str, shape: &[usize], values: &[f32]| -> Result<PathBuf> {
            let file = folder.path().join(name);
            let tensor = Tensor::new(shape, values.to_vec())?;
            write_tensors(&file, [("x".to_owned(), &tensor)])?;
            Ok(file)
        };
        Ok(Self {
            model: Model {
                name: "relu".into(),
                format: Format::ONNX,
                path,
                inputs: vec![TensorSpec::f32("x", shape)],
                outputs: vec![OutputSpec::new("y", shape)],
            },
            inputs: [write("1", &shape, first)?, write("2", &shape, second)?],
            other_shape: write("3", &[1, 2, 2], &first[..4])?,
            expects: Some(values.map(|all| all.iter().map(|v| f32::max(*v, 0.0)).collect())),
            probe,
            folder,
        })
    }

    /// A model of the user's own; the second input is the first with the values turned round.
    fn of(probe: Probe, model: &Path, sample: &Path) -> Result<Self> {
        let folder = folder()?;
        let described = ModelDescription::read(model)?;
        let description = describe(&probe)?;
        let formats = description.formats.iter();
        let mut files = formats.filter_map(|format| described.artifact(*format));
        let model = files.next().with_context(|| {
            format!(
                "{} names no file of a format that the program reads",
                model.display()
            )
        })?;
        let (tensors, _) = read_tensors(sample)?;
        let mut turned = Vec::new();
        let mut cut = Vec::new();
        for spec in &model.inputs {
            let tensor = tensors
                .get(&spec.name)
                .with_context(|| format!("{} holds no tensor {:?}", sample.display(), spec.name))?;
            let mut values = tensor.f32s()?.to_vec();
            values.reverse();
            turned.push((spec.name.clone(), Tensor::new(tensor.shape(), values)?));
            cut.push((spec.name.clone(), Tensor::new(&[1], vec![0.0_f32])?));
        }
        let write = |name: &str, tensors: &[(String, Tensor)]| -> Result<PathBuf> {
            let file = folder.path().join(name);
            write_tensors(
                &file,
                tensors.iter().map(|(name, tensor)| (name.clone(), tensor)),
            )?;
            Ok(file)
        };
        Ok(Self {
            inputs: [std::path::absolute(sample)?, write("2", &turned)?],
            other_shape: write("3", &cut)?,
            expects: None,
            model,
            probe,
            folder,
        })
    }

    fn outputs(&self) -> PathBuf {
        self.folder.path().join("outputs")
    }

    /// Three passes on each of the two inputs.
    fn trial(&self) -> Result<Process> {
        let (inputs, passes) = (self.inputs.to_vec(), PassPlan::exactly(3));
        let mut trial = Trial::new(self.model.clone(), Knobs::default(), inputs, passes);
        trial.outputs = Some(self.outputs());
        let process = self.probe.trial(&trial);
        ensure!(process.completed(), "{}", ended(&process));
        Ok(process)
    }

    /// How a process fails that is given something wrong.
    fn fails(&self, model: Model, knobs: Knobs, input: &Path) -> Result<firstpass_probe::Error> {
        let (inputs, passes) = (vec![input.into()], PassPlan::exactly(1));
        let process = self.probe.trial(&Trial::new(model, knobs, inputs, passes));
        match process.outcome {
            Outcome::Failed(error) => {
                ensure!(
                    !error.chain.is_empty()
                        && error.chain.iter().all(|text| !text.trim().is_empty()),
                    "its message `failed` has no words"
                );
                Ok(error)
            }
            Outcome::Completed => bail!("it went on as if nothing were wrong"),
            _ => bail!("it did not say `failed`: {}", ended(&process)),
        }
    }
}

fn folder() -> Result<TempDir> {
    tempfile::tempdir().context("cannot make a temporary folder")
}

fn ended(process: &Process) -> String {
    let stderr = process.stderr.trim();
    match stderr {
        "" => process.outcome.to_string(),
        _ => format!("{}; it wrote: {stderr}", process.outcome),
    }
}

fn describe(probe: &Probe) -> Result<Description> {
    probe.describe().map_err(|outcome| anyhow!("{outcome}"))
}

fn says_what_it_is(subject: &Subject) -> Result<()> {
    let description = describe(&subject.probe)?;
    ensure!(
        !description.engine.version.is_empty(),
        "its version is empty"
    );
    let formats: Vec<&str> = description.formats.iter().map(Format::key).collect();
    ensure!(
        description.formats.contains(&subject.model.format),
        "it reads {}, not {}: give a model that it reads with --model and --sample",
        if formats.is_empty() {
            "nothing".into()
        } else {
            formats.join(", ")
        },
        subject.model.format
    );
    Ok(())
}

fn takes_a_request_from_a_file(subject: &Subject) -> Result<()> {
    let file = subject.folder.path().join("request");
    fs::write(&file, serde_json::to_vec(&Request::Describe)?)?;
    let description = subject.probe.describe_by(&file);
    description
        .map(drop)
        .map_err(|outcome| anyhow!("{outcome}"))
}

fn tells_its_steps(subject: &Subject) -> Result<()> {
    let before = monotonic_ns();
    let process = subject.trial()?;
    let after = monotonic_ns();
    let main = process.main_ns.context("`hello` has no main_ns")?;
    let mut told = vec![("main", main, main)];
    for (name, span) in [
        ("started", process.started),
        ("loaded", process.loaded),
        ("prepared", process.prepared),
    ] {
        let span = span.with_context(|| format!("it did not say `{name}`"))?;
        told.push((name, span.start_ns, span.end_ns()));
    }
    let passes = process.passes.iter().map(|pass| pass.span);
    told.extend(passes.map(|span| ("pass", span.start_ns, span.end_ns())));
    let mut last = before;
    for (name, start, end) in told {
        ensure!(
            last <= start && start <= end && end <= after,
            "`{name}` lasts from {start} to {end} ns, and not between {last} and {after}: stamps are of \
             CLOCK_MONOTONIC, and no step begins before the last one has ended"
        );
        last = end;
    }
    Ok(())
}

fn does_its_passes(subject: &Subject) -> Result<()> {
    let process = subject.trial()?;
    let inputs: Vec<usize> = process.passes.iter().map(|pass| pass.input).collect();
    ensure!(
        inputs == [0, 0, 0, 1, 1, 1],
        "three passes on each of two inputs were asked for; it did passes on {inputs:?}"
    );
    Ok(())
}

fn digests_tell_outputs_apart(subject: &Subject) -> Result<()> {
    let process = subject.trial()?;
    let digests: Vec<&str> = process
        .passes
        .iter()
        .map(|pass| pass.digest.as_str())
        .collect();
    let of_input = |n: usize| digests.iter().skip(n * 3).take(3);
    let first = digests.first().context("it did no pass")?;
    let last = digests.last().context("it did no pass")?;
    ensure!(
        of_input(0).all(|digest| digest == first) && of_input(1).all(|digest| digest == last),
        "the same input gave other digests: {digests:?}"
    );
    ensure!(
        first != last,
        "two inputs with other outputs have one digest, {first:?}"
    );
    Ok(())
}

fn writes_its_outputs(subject: &Subject) -> Result<()> {
    subject.trial()?;
    let (tensors, _) = read_tensors(&subject.outputs())?;
    for number in 0..subject.inputs.len() {
        for output in &subject.model.outputs {
            let key = format!("{number}/{}", output.name);
            let tensor = tensors.get(&key).with_context(|| {
                let mut keys: Vec<&str> = tensors.keys().map(String::as_str).collect();
                keys.sort_unstable();
                format!("there is no tensor {key:?}; there are {keys:?}")
            })?;
            if let Some(expects) = &subject.expects {
                let (expected, found) = (&expects[number], tensor.f32s()?);
                ensure!(
                    found == expected,
                    "{key} is {found:?}, and relu gives {expected:?}"
                );
            }
        }
    }
    Ok(())
}

fn refuses_noise(subject: &Subject) -> Result<()> {
    let path = subject.folder.path().join("noise");
    fs::write(&path, b"this is no model")?;
    let model = Model {
        path,
        ..subject.model.clone()
    };
    subject
        .fails(model, Knobs::default(), &subject.inputs[0])
        .map(drop)
}

fn refuses_a_shape(subject: &Subject) -> Result<()> {
    let model = subject.model.clone();
    subject
        .fails(model, Knobs::default(), &subject.other_shape)
        .map(drop)
}

fn refuses_a_knob(subject: &Subject) -> Result<()> {
    let knobs = Knobs::default().with("no-such-knob", "on");
    let error = subject.fails(subject.model.clone(), knobs, &subject.inputs[0])?;
    ensure!(
        matches!(error.kind, ErrorKind::Unsupported | ErrorKind::Input),
        "it says that its engine failed; the kind of this failure is `unsupported`"
    );
    Ok(())
}

fn refuses_what_it_does_not_know(subject: &Subject) -> Result<()> {
    let (inputs, passes) = (vec![subject.inputs[0].clone()], PassPlan::exactly(1));
    let trial = Trial::new(subject.model.clone(), Knobs::default(), inputs, passes);
    let mut request = serde_json::to_value(Request::Trial(trial))?;
    request["trial"]["no-such-field"] = true.into();
    let process = subject.probe.trial_by(&request.to_string());
    match process.outcome {
        Outcome::Failed(_) => Ok(()),
        Outcome::Completed => bail!("it went on as if it had done what was asked"),
        _ => bail!("it did not say `failed`: {}", ended(&process)),
    }
}
