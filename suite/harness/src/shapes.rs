//! Does a new shape make an engine warm up again? Processes that run a model on inputs of one shape, then
//! of another: what the first passes on each cost.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::{Knobs, Model, PassPlan, THREADS, TensorSpec, Trial, write_tensors};
use serde::{Deserialize, Serialize};

use crate::{
    campaign::progress,
    code::Code,
    judge::latency::{Latency, summarise},
    machine::{Machine, now},
    model::ModelDescription,
    observation::{Cell, Observation, Purpose},
    own::{random_input, read_shape},
    probe::{Probe, start},
    subject::Subject,
    surroundings::Surroundings,
    workspace::{Backend, Workspace},
};

/// Where every process is kept, a JSON line each.
pub const FILE: &str = "shapes.jsonl";

/// Beside it: what the measuring was.
const RUN: &str = "shapes.json";

/// Raised when the meaning of these files changes.
const VERSION: u32 = 1;

/// [`RUN`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShapesRun {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub machine: Machine,
    pub code: Code,
    #[serde(flatten)]
    pub settings: Settings,
    pub shapes: Vec<String>,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Processes of each engine.
    pub rounds: usize,
    /// Passes on each shape.
    pub passes: usize,
    pub threads: usize,
}

/// A shape as it is named on the command line: of the first input, or the lengths of its last axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub text: String,
    lengths: Vec<usize>,
}

impl std::str::FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self {
            text: text.into(),
            lengths: read_shape(text)
                .with_context(|| format!("{text:?} is no shape, such as 480x640"))?,
        })
    }
}

impl Shape {
    /// The inputs of a model with the last axes of each, as far as it has that many, of these lengths.
    fn of(&self, model: &Model) -> Result<Vec<TensorSpec>> {
        let mut inputs = model.inputs.clone();
        let mut fits = false;
        for input in &mut inputs {
            // Tensors of few axes, such as a threshold, have nothing to do with the size of a picture.
            if let Some(from) = input.shape.len().checked_sub(self.lengths.len())
                && input.shape.len() > 2
            {
                input.shape[from..].copy_from_slice(&self.lengths);
                fits = true;
            }
        }
        ensure!(
            fits,
            "no input of {} has the axes for {}",
            model.name,
            self.text
        );
        Ok(inputs)
    }
}

/// What was found of one engine on one model.
#[derive(Debug)]
pub struct Found {
    pub backend: String,
    pub model: String,
    /// For each shape, in order; `None` where no process came so far.
    pub latencies: Vec<Option<Latency>>,
    /// Why a process did not complete, in the engine's words.
    pub failure: Option<String>,
}

/// Measures every model on every backend that has a file for it, interleaved, and keeps every process in
/// the file [`FILE`] of `folder`, beside what the measuring was.
///
/// # Errors
/// Fails where the inputs cannot be made or the folder cannot be written. An engine that fails is told
/// in what is found.
pub fn measure(
    workspace: &Workspace,
    backends: &[Backend],
    subject: &Subject,
    shapes: &[Shape],
    settings: Settings,
    folder: &Path,
) -> Result<(ShapesRun, Vec<Found>)> {
    fs::create_dir_all(folder).with_context(|| format!("cannot write to {}", folder.display()))?;
    let run = ShapesRun {
        version: VERSION,
        date: now(),
        machine: Machine::observe(),
        code: Code::observe(workspace)?,
        settings,
        shapes: shapes.iter().map(|shape| shape.text.clone()).collect(),
    };
    let path = folder.join(RUN);
    fs::write(&path, serde_json::to_string_pretty(&run)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))?;
    let path = folder.join(FILE);
    let mut file =
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let inputs = tempfile::tempdir().context("cannot make a temporary folder")?;
    let mut series = Vec::new();
    let mut found = Vec::new();
    for backend in backends {
        match start(workspace, backend) {
            Ok((probe, description)) => {
                for model in &subject.models {
                    let mut formats = description.formats.iter();
                    if let Some(artifact) = formats.find_map(|f| model.artifact(*f)) {
                        subject.admit(model, &artifact)?;
                        let trial = trial(model, artifact, shapes, settings, inputs.path())?;
                        series.push(Series {
                            backend: backend.name.clone(),
                            probe: probe.clone(),
                            trial,
                            observations: Vec::new(),
                        });
                    }
                }
            }
            Err(error) => found.push(Found {
                backend: backend.name.clone(),
                model: String::new(),
                latencies: Vec::new(),
                failure: Some(format!("{error:#}")),
            }),
        }
    }
    ensure!(
        !series.is_empty() || !found.is_empty(),
        "no engine reads a file of these models"
    );
    let bar = progress("shapes", series.len() * settings.rounds);
    for round in 0..settings.rounds {
        for one in &mut series {
            bar.set_message(format!("{} {}", one.backend, one.trial.model.name));
            // What failed once fails again.
            if one.observations.iter().all(|o| o.process.completed()) {
                let observation = one.observe(round, shapes);
                let line = serde_json::to_string(&observation)?;
                writeln!(file, "{line}").with_context(|| {
                    format!(
                        "cannot write {}; what was measured so far is there",
                        path.display()
                    )
                })?;
                one.observations.push(observation);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    found.extend(series.iter().map(|one| one.found(shapes.len())));
    Ok((run, found))
}

struct Series {
    backend: String,
    probe: Probe,
    trial: Trial,
    observations: Vec<Observation>,
}

impl Series {
    fn observe(&self, round: usize, shapes: &[Shape]) -> Observation {
        let before = Surroundings::before();
        let process = self.probe.trial(&self.trial);
        Observation {
            cell: Cell {
                backend: self.backend.clone(),
                model: self.trial.model.name.clone(),
                format: self.trial.model.format,
                knobs: self.trial.knobs.clone(),
                cold_files: false,
                entry: 0,
            },
            purpose: Purpose::Latency,
            round,
            images: shapes.iter().map(|shape| shape.text.clone()).collect(),
            surroundings: before.after(),
            eviction: None,
            process,
        }
    }

    fn found(&self, shapes: usize) -> Found {
        let failed = self.observations.iter().find(|o| !o.process.completed());
        let of_shape = |number: usize| {
            let parts: Vec<Observation> = self
                .observations
                .iter()
                .filter_map(|observation| part(observation, number))
                .collect();
            summarise(&parts).into_iter().next()
        };
        Found {
            backend: self.backend.clone(),
            model: self.trial.model.name.clone(),
            latencies: (0..shapes).map(of_shape).collect(),
            failure: failed.map(|o| o.process.outcome.to_string()),
        }
    }
}

/// What a process did on one shape, as if it had done nothing else; `None` where it did not come so far.
fn part(observation: &Observation, number: usize) -> Option<Observation> {
    let mut part = observation.clone();
    let process = &mut part.process;
    let later = observation.process.passes.iter().find(|p| p.input > number);
    if let Some(next) = later {
        process.last_reference_ns = Some(next.span.reference_ns);
    }
    process.passes.retain(|pass| pass.input == number);
    for pass in &mut process.passes {
        pass.input = 0;
    }
    if let Some(again) = number.checked_sub(1) {
        process.prepared = observation.process.prepared_again.get(again).copied();
    }
    process.prepared_again.clear();
    (!process.passes.is_empty()).then_some(part)
}

/// A trial over all shapes, with inputs that are made up.
fn trial(
    model: &ModelDescription,
    artifact: Model,
    shapes: &[Shape],
    settings: Settings,
    folder: &Path,
) -> Result<Trial> {
    let mut inputs = Vec::new();
    let mut of_files = Vec::new();
    for (number, shape) in shapes.iter().enumerate() {
        let specs = shape.of(&artifact)?;
        let path = input_file(folder, model, number);
        if !path.exists() {
            let mut tensors = Vec::new();
            for (seed, spec) in specs.iter().enumerate() {
                tensors.push((spec.name.clone(), random_input(spec, seed as u64)?));
            }
            let named = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
            write_tensors(&path, named)?;
        }
        inputs.push(path);
        of_files.push(specs.into_iter().map(|spec| spec.shape).collect());
    }
    if of_files.windows(2).any(|pair| pair[0] == pair[1]) {
        bail!("two shapes in a row are the same");
    }
    Ok(Trial {
        model: artifact,
        knobs: Knobs::default().with(THREADS, settings.threads),
        inputs,
        shapes: of_files,
        passes: PassPlan::exactly(settings.passes),
        outputs: None,
    })
}

fn input_file(folder: &Path, model: &ModelDescription, number: usize) -> PathBuf {
    folder.join(format!("{}-{number}.safetensors", model.name))
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Format, Pass, Span};

    use super::*;
    use crate::observation::Process;

    #[test]
    fn a_shape_is_that_of_the_last_axes() -> Result<()> {
        let model = Model {
            name: "m".into(),
            format: Format::ONNX,
            path: "m.onnx".into(),
            inputs: vec![
                TensorSpec::f32("image", [1, 3, 480, 640]),
                TensorSpec::f32("threshold", [1]),
            ],
            outputs: Vec::new(),
        };
        let of = |text: &str| -> Result<Vec<usize>> {
            let inputs = text.parse::<Shape>()?.of(&model)?;
            assert_eq!(inputs[1].shape, [1]);
            Ok(inputs[0].shape.clone())
        };
        assert_eq!(of("240x320")?, [1, 3, 240, 320]);
        assert_eq!(of("2x3x8x9")?, [2, 3, 8, 9]);
        assert!(of("1x1x1x1x1").is_err());
        assert!("240,320".parse::<Shape>().is_err());
        Ok(())
    }

    #[test]
    fn a_process_is_divided_by_shape() {
        let span = |start_ns| Span {
            start_ns,
            reference_ns: start_ns,
            ..Span::default()
        };
        let pass = |input, start_ns| Pass {
            input,
            digest: String::new(),
            span: span(start_ns),
        };
        let mut process = Process::new(0);
        process.prepared = Some(span(1));
        process.prepared_again = vec![span(4)];
        process.passes = vec![pass(0, 2), pass(0, 3), pass(1, 5)];
        process.last_reference_ns = Some(9);
        let whole = Observation {
            cell: Cell {
                backend: "b".into(),
                model: "m".into(),
                format: Format::ONNX,
                knobs: Knobs::default(),
                cold_files: false,
                entry: 0,
            },
            purpose: Purpose::Latency,
            round: 0,
            images: Vec::new(),
            surroundings: Surroundings::before().after(),
            eviction: None,
            process,
        };
        let first = part(&whole, 0).map(|o| o.process);
        let second = part(&whole, 1).map(|o| o.process);
        let told = |process: &Option<Process>| {
            let process = process.as_ref()?;
            let prepared = process.prepared?.start_ns;
            Some((prepared, process.passes.len(), process.last_reference_ns?))
        };
        assert_eq!(told(&first), Some((1, 2, 5)));
        assert_eq!(told(&second), Some((4, 1, 9)));
        assert!(part(&whole, 2).is_none());
    }
}
