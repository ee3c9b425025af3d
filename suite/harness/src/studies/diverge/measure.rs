//! Running engines and a referee so that every activation is seen, and comparing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use firstpass_probe::{
    Description, Format, Knobs, Model, OutputSpec, Quantization, Tensor, TensorSpec, write_tensors,
};
use firstpass_trial::{
    difference::Difference,
    engine::Backend,
    model::ModelDescription,
    process::start,
    rules::{self, F32_SUMS},
    workload::{InputFiles, Workload},
    workspace::Workspace,
};

use crate::{
    graph::{Graph, Layer},
    page::terminal::text as shown,
    progress::progress,
    record::{
        code::{Code, sources_sha256},
        sidecar::{self, Sidecar},
    },
    studies::{
        diverge::{
            AnyOrder, DivergeRun, DivergeSettings, LayerDifference, Means, Observation, VERSION,
            align::align,
            pass::{Pass, Tensors, multiplied, same_bits},
        },
        referee,
    },
};

/// The input of a file that holds one layer.
const ALONE: &str = "firstpass.input";

/// The format in which graphs are read and marked here.
const FORMAT: Format = Format::ONNX;

/// Compares every quantized activation of the subject's first model, on its first photograph, in each
/// engine with that of the referee; writes it as `beside` a record and returns where. In engines that read no
/// ONNX the activations are seen by a hook of their own; those without are lines that say so.
///
/// # Errors
/// Fails where there is no referee or it does not run, and where the model cannot be read.
pub fn measure(
    workspace: &Workspace,
    engines: &[Backend],
    workload: &Workload,
    settings: DivergeSettings,
    beside: Sidecar,
    record: &Path,
) -> Result<PathBuf> {
    let backends = workspace.backends()?;
    let referee = backends.iter().find(|backend| backend.is_referee);
    let referee = referee.context("no backend of this workspace is a referee")?;
    let model = workload.models.first().context("there is no model")?;
    let sample = workload.samples.first().context("there is no photograph")?;
    let run = DivergeRun {
        version: VERSION,
        date: firstpass_trial::machine::now(),
        code: Code::observe(workspace)?,
        referees: BTreeMap::from([(referee.name.clone(), sources_sha256(workspace, referee)?)]),
        model: model.name.clone(),
        sample: sample.name.clone(),
        settings,
    };
    let mut inputs = InputFiles::new()?;
    let layered = Layered::new(workload, model, inputs.folder())?;
    let input = multiplied(
        &inputs.file(sample, model)?,
        run.settings.gain,
        inputs.folder(),
    )?;
    let rules = best_rules(record, model)?;
    let mut recorder = beside.begin(record, workspace.root(), &run)?;
    recorder.announce_interruption(sidecar::what_next);
    let name_of_referee = referee.name.clone();
    let (referee, description) = start(workspace, referee)?;
    let all_rules = rules::rules(&description.knobs);
    let default = Knobs::default();
    let whole = Pass {
        probe: &referee,
        knobs: &default,
        input: &input,
        folder: inputs.folder(),
    };
    // What the referee refuses is said of the referee, and of no engine.
    let as_written = match whole.rules(&layered.marked) {
        Ok(rules) => rules,
        Err(refusal) => {
            eprintln!("{name_of_referee}: {refusal:#}");
            let line = LayerDifference::none(format!("{refusal:#}"));
            recorder.write(&name_of_referee, &line)?;
            return recorder.finish();
        }
    };
    let bar = progress(beside.name, engines.len() * (layered.layers.len() + 1));
    for engine in engines {
        bar.set_message(engine.name.clone());
        let lines = start(workspace, engine).and_then(|(probe, description)| {
            let format = format_of(&description)?;
            let pass = Pass {
                probe: &probe,
                knobs: &run.settings.knobs,
                input: &input,
                folder: inputs.folder(),
            };
            let own = if format == FORMAT {
                layered.marked(&pass)?
            } else {
                let file = model.artifact(format);
                let file =
                    file.with_context(|| format!("the model has no {} file", format.key()))?;
                let file = workload.admit(model, &file)?;
                layered.recorded(&pass, &file).context("it reads no ONNX")?
            };
            let rules = rules.get(&(engine.name.clone(), format));
            let referee = Pass {
                probe: &referee,
                knobs: &rules.cloned().unwrap_or_default(),
                ..pass
            };
            layered.compare(&referee, &as_written, &all_rules, &own, || bar.inc(1))
        });
        let lines = lines.unwrap_or_else(|reason| {
            let reason = format!("{reason:#}");
            eprintln!("{}: {}", engine.name, shown(&reason.to_string()));
            vec![LayerDifference::none(reason)]
        });
        for line in lines {
            recorder.write(&engine.name, &line)?;
        }
    }
    bar.finish_and_clear();
    recorder.finish()
}

/// The one in which graphs are marked, or else the one that the engine's users would choose.
fn format_of(description: &Description) -> Result<Format> {
    let formats = &description.formats;
    let marked = formats.iter().find(|format| **format == FORMAT);
    let format = marked.or(formats.first()).copied();
    format.context("it reads no format")
}

/// The rules that give the outputs of each engine best, from a file of each format, where that was asked
/// before: of this model, or else of another, since an engine does not change its arithmetic.
fn best_rules(
    record: &Path,
    model: &ModelDescription,
) -> Result<BTreeMap<(String, Format), Knobs>> {
    let mut rules = BTreeMap::new();
    for comparisons in referee::read(record)?
        .iter()
        .flat_map(|r| r.comparisons.values())
    {
        let judged = referee::judge(comparisons);
        let own = judged.get_key_value(model.name.as_str());
        for engine in judged.iter().chain(own).flat_map(|(_, engines)| engines) {
            if let Some(best) = engine.verdicts.first() {
                let file = (engine.backend.clone(), engine.format);
                rules.insert(file, best.rules.clone());
            }
        }
    }
    Ok(rules)
}

/// A model whose layers are known.
struct Layered {
    graph: Graph,
    layers: Vec<Layer>,
    /// Its ONNX file.
    plain: Model,
    /// A copy of it with every quantized activation as a further output.
    marked: Model,
}

/// What an engine computed on the way.
struct Seen {
    /// By the names of the layers' outputs; without those that were not found.
    activations: Tensors,
    observation: Observation,
    /// Whether it added up any convolution in floats.
    in_floats: bool,
}

impl Layered {
    fn new(workload: &Workload, model: &ModelDescription, folder: &Path) -> Result<Self> {
        let plain = model
            .artifact(FORMAT)
            .context("the model has no ONNX file")?;
        let plain = workload.admit(model, &plain)?;
        let graph = Graph::read(&plain.path, &plain.inputs)?;
        let layers = graph.layers()?;
        ensure!(
            !layers.is_empty(),
            "{} has no QuantizeLinear whose shape is known",
            plain.path.display()
        );
        let further = layers
            .iter()
            .map(|layer| OutputSpec::new(&layer.output, &layer.shape[..]));
        let is_output = |name: &str| plain.outputs.iter().any(|output| output.name == name);
        let further: Vec<OutputSpec> = further.filter(|spec| !is_output(&spec.name)).collect();
        let names: Vec<&str> = further.iter().map(|spec| spec.name.as_str()).collect();
        let path = folder.join("marked.onnx");
        std::fs::write(&path, graph.with_outputs(&names))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            marked: Model {
                path,
                outputs: [plain.outputs.clone(), further].concat(),
                ..plain.clone()
            },
            graph,
            layers,
            plain,
        })
    }

    /// An engine's activations, as outputs of the marked file.
    fn marked(&self, pass: &Pass) -> Result<Seen> {
        let plain = pass.outputs(&self.plain)?;
        let activations = pass.outputs(&self.marked)?;
        Ok(Seen {
            observation: Observation {
                by: Means::MarkedOutputs,
                same_outputs: same_bits(&self.plain.outputs, &plain, &activations),
            },
            activations,
            in_floats: pass.is_in_floats(&self.plain),
        })
    }

    /// An engine's activations as its own hook gives them, from a file of another format.
    fn recorded(&self, pass: &Pass, file: &Model) -> Result<Seen> {
        let plain = pass.outputs(file)?;
        let (outputs, recorded) = pass.recording(file)?;
        let places = align(self.layers.len(), recorded.len(), |layer, place| {
            is_like(&self.layers[layer], &recorded[place])
        });
        let found = self.layers.iter().zip(places);
        let found = found.filter_map(|(layer, place)| {
            let (_, values) = &recorded[place?];
            Some((layer.output.clone(), values.clone()))
        });
        let activations: Tensors = found.collect();
        ensure!(
            !activations.is_empty(),
            "of {} recorded tensors none is certainly the result of a layer",
            recorded.len()
        );
        Ok(Seen {
            activations,
            observation: Observation {
                by: Means::Recording,
                same_outputs: same_bits(&file.outputs, &plain, &outputs),
            },
            in_floats: pass.is_in_floats(file),
        })
    }

    /// Compares an engine's activations with those of the referee, which runs as `referee` says. A layer by
    /// itself is computed by the rules `as_written` of the whole file, where no others are asked for: the part
    /// of the file that it is may not say what the file is written for.
    fn compare(
        &self,
        referee: &Pass,
        as_written: &Knobs,
        all_rules: &[Knobs],
        own: &Seen,
        mut done: impl FnMut(),
    ) -> Result<Vec<LayerDifference>> {
        let whole = referee.outputs(&self.marked).context("the referee")?;
        let mut lines = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let mut line = LayerDifference {
                layer: layer.name.clone(),
                operator: layer.operator.clone(),
                rules: referee.knobs.clone(),
                observation: Some(own.observation),
                cumulative: None,
                isolated: None,
                simplest: None,
                any_order: None,
                failure: None,
            };
            if let Some(engine) = own.activations.get(&layer.output) {
                let expected = whole
                    .get(&layer.output)
                    .context("the referee gave all outputs")?;
                let difference =
                    |expected: &Tensor| Difference::between(expected, engine, layer.scale);
                line.cumulative = Some(difference(expected));
                let alone = |rules: &Knobs| {
                    let rules = as_written.clone().and(rules);
                    let found = self.alone(layer, &referee.under(&rules), &own.activations);
                    found.with_context(|| format!("the referee on {} by itself", layer.name))
                };
                let by_itself = |rules: &Knobs| -> Result<Option<Difference>> {
                    Ok(alone(rules)?.as_ref().map(difference))
                };
                if layer.inputs.is_empty() {
                    // The input of the graph is the same for both.
                    line.isolated = line.cumulative.clone();
                } else {
                    line.isolated = by_itself(referee.knobs)?;
                }
                if line.isolated.is_some() && !layer.inputs.is_empty() {
                    line.simplest = simplest(referee.knobs, all_rules, |rules| {
                        Ok(by_itself(rules)?.is_some_and(|found| found.is_none()))
                    })?;
                    if own.in_floats {
                        let [lowest, highest] = ["lowest", "highest"]
                            .map(|end| alone(&Knobs::default().with(F32_SUMS, end)));
                        let ends = lowest?.zip(highest?);
                        if let Some((lowest, highest)) = ends {
                            let values =
                                |of: &Tensor| -> Result<Vec<f32>> { Ok(of.f32s()?.to_vec()) };
                            let ends = [&values(&lowest)?[..], &values(&highest)?[..]];
                            let found = AnyOrder::of(ends, &values(engine)?, layer.scale);
                            line.any_order = Some(found);
                        }
                    }
                }
            } else {
                line.failure = Some(NOT_FOUND.into());
            }
            lines.push(line);
            done();
        }
        Ok(lines)
    }

    /// What the referee makes of the engine's own inputs of a layer; `None` where one of these is not
    /// known.
    fn alone(&self, layer: &Layer, referee: &Pass, own: &Tensors) -> Result<Option<Tensor>> {
        let parts = layer.inputs.iter().map(|name| own.get(name));
        let Some(parts) = parts.collect::<Option<Vec<&Tensor>>>() else {
            return Ok(None);
        };
        let Some((bytes, shape)) = self.graph.alone(layer, ALONE)? else {
            return Ok(None);
        };
        let path = referee.folder.join("alone.onnx");
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        // One image after the other, each with the channels of all parts.
        let images = shape[0];
        let mut data = Vec::new();
        for image in 0..images {
            for part in &parts {
                let values = part.f32s()?;
                let length = values.len() / images;
                data.extend_from_slice(&values[image * length..][..length]);
            }
        }
        let input = Tensor::new(&shape, data)?;
        let file = referee.folder.join("alone.safetensors");
        write_tensors(&file, [(ALONE.to_owned(), &input)])?;
        let model = Model {
            name: layer.name.clone(),
            format: FORMAT,
            path,
            inputs: vec![TensorSpec::f32(ALONE, shape)],
            outputs: vec![OutputSpec::new(&layer.output, &layer.shape[..])],
        };
        let alone = Pass {
            input: &file,
            ..*referee
        };
        Ok(alone.outputs(&model)?.remove(&layer.output))
    }
}

/// The simplest of `all` rules that is exact, of those with at most one setting that is not in `best`: more
/// would explain anything.
fn simplest(
    best: &Knobs,
    all: &[Knobs],
    mut is_exact: impl FnMut(&Knobs) -> Result<bool>,
) -> Result<Option<Knobs>> {
    let others = |rules: &Knobs| {
        let settings = rules.settings();
        settings
            .filter(|(name, value)| best.get(name) != Some(value))
            .count()
    };
    let mut tried: Vec<&Knobs> = all.iter().filter(|rules| others(rules) <= 1).collect();
    // Of those as simple as each other, what is known to be the engine's first.
    tried.sort_by_key(|rules| (rules.settings().count(), others(rules)));
    for rules in tried {
        if is_exact(rules)? {
            return Ok(Some(rules.clone()));
        }
    }
    Ok(None)
}

/// Why a layer was not compared.
const NOT_FOUND: &str =
    "no recorded tensor is certainly its result, by order, shape, scale and zero point";

/// Whether a recorded tensor may be the result of a layer.
fn is_like(layer: &Layer, (quantization, values): &(Quantization, Tensor)) -> bool {
    // ONNX keeps scales as f32.
    layer.shape == values.shape()
        && layer.scale.to_bits() == (quantization.scale as f32).to_bits()
        && layer.zero_point == quantization.zero_point
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simplest_exact_rules_are_found_near_the_best() -> Result<()> {
        let rules = |settings: &[(&str, &str)]| {
            let knobs = settings.iter();
            knobs.fold(Knobs::default(), |all, (name, value)| all.with(name, value))
        };
        let (none, a) = (rules(&[]), rules(&[("arithmetic", "a")]));
        let (b, pairs) = (rules(&[("arithmetic", "b")]), rules(&[("sums", "pairs")]));
        let a_pairs = rules(&[("arithmetic", "a"), ("sums", "pairs")]);
        let b_pairs = rules(&[("arithmetic", "b"), ("sums", "pairs")]);
        let all = [&b_pairs, &b, &none, &a_pairs, &pairs, &a].map(Clone::clone);
        let found = |best: &Knobs, exact: &[&Knobs]| -> Result<(Option<Knobs>, Vec<Knobs>)> {
            let mut tried = Vec::new();
            let found = simplest(best, &all, |rules| {
                tried.push(rules.clone());
                Ok(exact.contains(&rules))
            })?;
            Ok((found, tried))
        };
        // Fewer settings first, and those of the engine before others.
        let (simple, tried) = found(&a_pairs, &[&a_pairs, &a, &b])?;
        assert_eq!(simple, Some(a));
        assert_eq!(tried[..2], [none.clone(), pairs]);
        assert_eq!(found(&a_pairs, &[&a_pairs])?.0, Some(a_pairs.clone()));
        // One setting may be another; two are another engine's.
        assert_eq!(found(&a_pairs, &[&b_pairs])?.0, Some(b_pairs.clone()));
        assert_eq!(found(&none, &[&b_pairs])?.0, None);
        assert_eq!(found(&none, &[&b])?.0, Some(b));
        Ok(())
    }
}
