//! Running engines and a referee with every activation as an output, and comparing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, ensure};
use firstpass_probe::{
    Description, Format, Knobs, Model, PassPlan, THREADS, Tensor, TensorSpec, Trial, read_tensors,
    write_tensors,
};

use super::{BESIDE, Difference, DivergeRun, LayerDifference, Settings, VERSION};
use crate::{
    beside::Recorder,
    campaign::progress,
    code::{Code, sources_sha256},
    graph::{Graph, Layer},
    machine::all_threads,
    model::ModelDescription,
    probe::Probe,
    referee,
    subject::{InputFiles, Subject},
    workspace::{Backend, Workspace},
};

/// The input of a file that holds one layer.
const ALONE: &str = "firstpass.input";

/// The format in which graphs are read and marked here.
const FORMAT: Format = Format::Onnx;

/// Compares every quantized activation of the subject's first model, on its first photograph, in each
/// engine with that of the referee; writes it beside a record and returns where. Engines that read no
/// ONNX are lines that say so.
///
/// # Errors
/// Fails where there is no referee or it does not run, and where the model cannot be read.
pub fn measure(
    workspace: &Workspace,
    engines: &[Backend],
    subject: &Subject,
    settings: Settings,
    record: &Path,
) -> Result<PathBuf> {
    let backends = workspace.backends()?;
    let referee = backends.iter().find(|backend| backend.is_referee);
    let referee = referee.context("no backend of this workspace is a referee")?;
    let model = subject.models.first().context("there is no model")?;
    let photo = subject.photos.first().context("there is no photograph")?;
    let run = DivergeRun {
        version: VERSION,
        date: jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string(),
        code: Code::observe(workspace)?,
        referees: BTreeMap::from([(referee.name.clone(), sources_sha256(workspace, referee)?)]),
        model: model.name.clone(),
        photo: photo.name.clone(),
        settings,
    };
    let mut inputs = InputFiles::new()?;
    let marked = Marked::new(subject, model, inputs.folder())?;
    let input = multiplied(
        &inputs.file(photo, model)?,
        run.settings.gain,
        inputs.folder(),
    )?;
    let rules = best_rules(record, model)?;
    let mut recorder = Recorder::begin(BESIDE, record, workspace.root(), &run)?;
    recorder.announce_interruption();
    let (referee, _) = start(workspace, referee)?;
    let bar = progress("diverge", engines.len() * (marked.layers.len() + 1));
    for engine in engines {
        bar.set_message(engine.name.clone());
        let rules = rules.get(&engine.name).cloned().unwrap_or_default();
        let lines = start(workspace, engine)
            .and_then(|(probe, description)| {
                ensure!(description.formats.contains(&FORMAT), "it reads no ONNX");
                marked.run(&probe, &run.settings.knobs, &input, inputs.folder())
            })
            .and_then(|own| {
                let whole = marked.run(&referee, &rules, &input, inputs.folder())?;
                marked.compare(&referee, &rules, &whole, &own, inputs.folder(), || {
                    bar.inc(1)
                })
            });
        let lines = lines.unwrap_or_else(|reason| {
            let reason = format!("{reason:#}");
            eprintln!("{}: {reason}", engine.name);
            vec![LayerDifference {
                layer: String::new(),
                operator: String::new(),
                rules: rules.clone(),
                cumulative: None,
                isolated: None,
                failure: Some(reason),
            }]
        });
        for line in lines {
            recorder.write(&engine.name, &line)?;
        }
    }
    bar.finish_and_clear();
    recorder.finish()
}

fn start(workspace: &Workspace, backend: &Backend) -> Result<(Probe, Description)> {
    eprintln!("{}: building the probe", backend.name);
    let mut probe = Probe::build(workspace, backend)?;
    let description = probe.describe().map_err(|outcome| anyhow!("{outcome}"))?;
    probe.knobs.clone_from(&description.knobs);
    Ok((probe, description))
}

/// The rules that give each engine's outputs best, where that was asked before.
fn best_rules(record: &Path, model: &ModelDescription) -> Result<BTreeMap<String, Knobs>> {
    let mut rules = BTreeMap::new();
    for comparisons in referee::read(record)?
        .iter()
        .flat_map(|r| r.comparisons.values())
    {
        let judged = referee::judge(comparisons);
        for engine in judged.get(model.name.as_str()).into_iter().flatten() {
            if let (FORMAT, Some(best)) = (engine.format, engine.verdicts.first()) {
                rules.insert(engine.backend.clone(), best.rules.clone());
            }
        }
    }
    Ok(rules)
}

/// A model with every quantized activation as an output.
struct Marked {
    graph: Graph,
    layers: Vec<Layer>,
    model: Model,
}

/// Activations by name.
type Activations = BTreeMap<String, Tensor>;

impl Marked {
    fn new(subject: &Subject, model: &ModelDescription, folder: &Path) -> Result<Self> {
        let file = model
            .artifact(FORMAT)
            .context("the model has no ONNX file")?;
        subject.verify(&file.path)?;
        let graph = Graph::read(&file.path, &file.input.name, &file.input.shape)?;
        let layers = graph.layers()?;
        ensure!(
            !layers.is_empty(),
            "{} has no QuantizeLinear whose shape is known",
            file.path.display()
        );
        let names: Vec<&str> = layers.iter().map(|layer| layer.output.as_str()).collect();
        let path = folder.join("marked.onnx");
        std::fs::write(&path, graph.with_outputs(&names))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let outputs = layers.iter().map(|layer| TensorSpec {
            name: layer.output.clone(),
            shape: layer.shape.clone(),
        });
        Ok(Self {
            model: Model {
                path,
                outputs: outputs.collect(),
                ..file
            },
            graph,
            layers,
        })
    }

    /// All activations of a run.
    fn run(
        &self,
        probe: &Probe,
        knobs: &Knobs,
        input: &Path,
        folder: &Path,
    ) -> Result<Activations> {
        outputs(probe, &self.model, knobs, input, folder)
    }

    fn compare(
        &self,
        referee: &Probe,
        rules: &Knobs,
        whole: &Activations,
        own: &Activations,
        folder: &Path,
        mut done: impl FnMut(),
    ) -> Result<Vec<LayerDifference>> {
        let mut lines = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let engine = own
                .get(&layer.output)
                .context("the engine gave all outputs")?;
            let expected = whole
                .get(&layer.output)
                .context("the referee gave all outputs")?;
            let difference =
                |expected: &Tensor| Difference::of(&expected.data, &engine.data, layer.scale);
            let cumulative = difference(expected);
            let isolated = match self.alone(layer, referee, rules, own, folder)? {
                Some(expected) => difference(&expected),
                // The input of the graph is the same for both.
                None => cumulative.clone(),
            };
            lines.push(LayerDifference {
                layer: layer.name.clone(),
                operator: layer.operator.clone(),
                rules: rules.clone(),
                cumulative: Some(cumulative),
                isolated: Some(isolated),
                failure: None,
            });
            done();
        }
        Ok(lines)
    }

    /// What the referee makes of the engine's own inputs of a layer; `None` for a layer without.
    fn alone(
        &self,
        layer: &Layer,
        referee: &Probe,
        rules: &Knobs,
        own: &Activations,
        folder: &Path,
    ) -> Result<Option<Tensor>> {
        let Some((bytes, shape)) = self.graph.alone(layer, ALONE)? else {
            return Ok(None);
        };
        let path = folder.join("alone.onnx");
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        let parts = layer.inputs.iter().map(|name| {
            let part = own.get(name);
            Ok(part
                .with_context(|| format!("{name} is no activation"))?
                .data
                .as_slice())
        });
        let parts: Vec<&[f32]> = parts.collect::<Result<_>>()?;
        // One image after the other, each with the channels of all parts.
        let images = shape[0];
        let mut data = Vec::new();
        for image in 0..images {
            for part in &parts {
                let length = part.len() / images;
                data.extend_from_slice(&part[image * length..][..length]);
            }
        }
        let input = Tensor::new(&shape, data).map_err(|e| anyhow!("{e}"))?;
        let file = folder.join("alone.safetensors");
        write_tensors(&file, [(ALONE.to_owned(), &input)]).map_err(|e| anyhow!("{e}"))?;
        let model = Model {
            name: layer.name.clone(),
            format: FORMAT,
            path,
            input: TensorSpec {
                name: ALONE.into(),
                shape,
            },
            outputs: vec![TensorSpec {
                name: layer.output.clone(),
                shape: layer.shape.clone(),
            }],
        };
        let mut found = outputs(referee, &model, rules, &file, folder)?;
        Ok(found.remove(&layer.output))
    }
}

/// The file of an input with every value multiplied.
fn multiplied(input: &Path, gain: f32, folder: &Path) -> Result<PathBuf> {
    let (mut tensors, _) = read_tensors(input).map_err(|e| anyhow!("{e}"))?;
    for value in tensors.values_mut().flat_map(|tensor| &mut tensor.data) {
        *value *= gain;
    }
    let path = folder.join("multiplied.safetensors");
    let named = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    write_tensors(&path, named).map_err(|e| anyhow!("{e}"))?;
    Ok(path)
}

/// The outputs of one pass, by name.
fn outputs(
    probe: &Probe,
    model: &Model,
    knobs: &Knobs,
    input: &Path,
    folder: &Path,
) -> Result<Activations> {
    let saved = folder.join("activations.safetensors");
    let process = probe.trial(&Trial {
        model: model.clone(),
        knobs: knobs.clone().with(THREADS, all_threads()),
        inputs: vec![input.into()],
        passes: PassPlan::exactly(1),
        outputs: Some(saved.clone()),
    });
    ensure!(process.completed(), "{}: {}", model.name, process.outcome);
    let (tensors, _) = read_tensors(&saved).map_err(|e| anyhow!("{e}"))?;
    let named = tensors.into_iter().filter_map(|(key, tensor)| {
        let (_, name) = key.split_once('/')?;
        Some((name.to_owned(), tensor))
    });
    Ok(named.collect())
}
