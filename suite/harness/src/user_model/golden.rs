//! `firstpass golden`: keeps the outputs that a model gives today, so that those of tomorrow can be
//! compared with them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use firstpass_native::sha256_of_file;
use firstpass_probe::{Dtype, read_tensors, write_tensors_with};
use firstpass_trial::{
    affinity::Affinity,
    engine_spec::chosen_backends,
    known::Known,
    model::ModelDescription,
    regular_file,
    sample::Sample,
    setup,
    tensor_files::{self, is_tensors},
    workspace::Workspace,
};
use serde::{Deserialize, Serialize};

use crate::{
    record::{Record, RunSettings, Target},
    studies::first_passes::{
        analysis::{Analysis, Row},
        measure as campaign,
    },
    user_model::{Inputs, arguments as named, lay_out},
};

/// The one key of the metadata: the file has the same bytes each time, and keys have no order.
pub(crate) const ORIGIN: &str = "firstpass";

/// Only this kind of file can say what its arrays were made from.
const EXTENSION: &str = "safetensors";

/// A pass is repeated once, to see whether the outputs are the same.
const PASSES: usize = 2;

/// The time that no run needs, in s: every input is run on.
const BUDGET: f64 = 3600.0;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: named::Arguments,
    /// A picture to run the model on; may be repeated [default: two made-up inputs]
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// Tensors to run the model on: .npy, or .npz or .safetensors with an array for each input by name;
    /// may be repeated
    #[arg(long = "sample", value_name = "FILE")]
    samples: Vec<PathBuf>,
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated. Of several engines the outputs of
    /// the first are kept that agrees with the referee, or with engines without their optimizations
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Where the outputs go [default: MODEL.golden.safetensors beside the model]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Succeeds where the outputs were written.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let model = &arguments.model;
    ensure!(
        model.described().is_none(),
        "give model files: a model.toml names its golden outputs itself"
    );
    let first = model.first().context("give a model file")?;
    let out = arguments
        .out
        .clone()
        .unwrap_or_else(|| first.with_extension(format!("golden.{EXTENSION}")));
    can_hold_origin(&out)?;
    ensure!(
        arguments.force || !out.exists(),
        "{} is there already; give another file with --out, or replace it with --force",
        out.display()
    );
    for file in &arguments.samples {
        ensure!(
            is_tensors(file),
            "{} is no .npy, .npz or .safetensors file",
            file.display()
        );
    }
    let backends = chosen_backends(workspace, &arguments.backends)?;
    setup::attempt(workspace, &backends);
    let description =
        model.describe(workspace, &arguments.samples, !arguments.images.is_empty())?;
    let inputs = Inputs {
        files: [&arguments.images[..], &arguments.samples[..]].concat(),
        golden: None,
    };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let workload = lay_out(workspace, description, &inputs, folder.path(), model.trust)?;
    let record = folder.path().join("record");
    let record = campaign::run(workspace, &backends, &workload, &settings(), &record)?;
    let analysis = Analysis::new(workspace, Record::read(&record)?)?;
    let kept = keep(&analysis, &out)?;
    println!("{}: {kept}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// Outputs only: nothing is timed.
fn settings() -> RunSettings {
    RunSettings {
        processes: 0,
        least_processes: 0,
        passes: PASSES,
        agreement_passes: PASSES,
        skip_arithmetic: true,
        threads: vec![1],
        budget_s: BUDGET,
        process_budget_ms: 1,
        target: Target {
            steady: 1.0,
            first_pass: 1.0,
        },
        affinity: Affinity::default(),
        cold_files: false,
        entries: 1,
        variants: BTreeMap::new(),
        first_format_only: true,
        agreement_only: BTreeSet::new(),
        seek_reference: true,
        asked_budget_s: None,
        command: Vec::new(),
    }
}

/// Whether the name of a file is that of one which [`keep`] writes.
///
/// # Errors
/// Says which name it needs.
pub fn can_hold_origin(path: &Path) -> Result<()> {
    ensure!(
        path.extension()
            .is_some_and(|extension| extension == EXTENSION),
        "{} would not say what the outputs were made from; give a file that ends in .{EXTENSION}",
        path.display()
    );
    Ok(())
}

/// What golden outputs were made from. It lies in the file beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The engine that gave them, with its version.
    pub engine: String,
    /// SHA-256 of each file of the model, by format.
    pub models: BTreeMap<String, String>,
    /// By name of the sample, in the order of the model.
    pub inputs: BTreeMap<String, Vec<OriginalInput>>,
}

/// One tensor that the model was run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginalInput {
    pub name: String,
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    /// Of the little-endian values, in hexadecimal.
    pub sha256: String,
}

impl fmt::Display for OriginalInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, shape, dtype, ..
        } = self;
        let sum: String = self.sha256.chars().take(8).collect();
        write!(f, "{name:?} of {} {shape:?} (SHA-256 {sum}…)", dtype.key())
    }
}

/// Golden outputs are not those of the inputs or of the outputs at hand. The message does not say how
/// to keep new ones, which depends on who asks.
#[derive(Debug)]
pub struct Mismatch(pub(crate) String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mismatch {}

impl Origin {
    /// `None` where a file does not say it, such as one that numpy wrote.
    ///
    /// # Errors
    /// Fails on a file that cannot be read.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if can_hold_origin(path).is_err() {
            return Ok(None);
        }
        regular_file::check_size(path, tensor_files::MOST_BYTES)
            .with_context(|| format!("cannot read the tensors in {}", path.display()))?;
        let (_, metadata) = read_tensors(path).map_err(|e| anyhow!("{e}"))?;
        let origin = metadata.get(ORIGIN).map(|json| serde_json::from_str(json));
        origin
            .transpose()
            .with_context(|| format!("{} does not say where it is from", path.display()))
    }

    /// Whether the golden outputs in the file `path` are those of these samples.
    ///
    /// # Errors
    /// A [`Mismatch`] where a sample is another one than when they were kept.
    pub(crate) fn check(
        &self,
        path: &Path,
        model: &ModelDescription,
        samples: &[Sample],
    ) -> Result<()> {
        for sample in samples {
            let now = inputs_of(model, sample)?;
            let kept = self.inputs.get(&sample.name).with_context(|| {
                let there: Vec<&str> = self.inputs.keys().map(String::as_str).collect();
                Mismatch(format!(
                    "{} holds outputs for {}, but none for {}",
                    path.display(),
                    there.join(", "),
                    sample.name
                ))
            })?;
            if kept != &now {
                bail!(Mismatch(format!(
                    "{} holds the outputs for another input {}: it was {}, and now is {}",
                    path.display(),
                    sample.name,
                    listed(kept),
                    listed(&now)
                )));
            }
        }
        Ok(())
    }

    /// The files of the model that are no longer those that gave the golden outputs.
    ///
    /// # Errors
    /// Fails where a file cannot be read.
    pub fn changed_files(&self, model: &ModelDescription) -> Result<Vec<PathBuf>> {
        let mut changed = Vec::new();
        for (format, path) in &model.artifacts {
            let path = model.path(path);
            let kept = self.models.get(format.key());
            if kept.is_some() && kept != Some(&sha256_of_file(&path)?) {
                changed.push(path);
            }
        }
        Ok(changed)
    }
}

fn listed(inputs: &[OriginalInput]) -> String {
    let inputs: Vec<String> = inputs.iter().map(ToString::to_string).collect();
    inputs.join(", ")
}

fn inputs_of(model: &ModelDescription, sample: &Sample) -> Result<Vec<OriginalInput>> {
    let tensors = sample.inputs(model)?;
    let inputs = model.inputs.iter().zip(tensors);
    Ok(inputs
        .map(|(spec, (name, tensor))| OriginalInput {
            name,
            shape: spec.shape.clone(),
            dtype: spec.dtype,
            sha256: tensor.sha256(),
        })
        .collect())
}

/// Whose outputs were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub engine: String,
    /// The names of the samples.
    pub samples: Vec<String>,
    /// Engines that give other outputs, and how these differ.
    pub differing: Vec<String>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let samples = self.samples.join(", ");
        write!(f, "the outputs of {} for {samples}", self.engine)?;
        self.differing
            .iter()
            .try_for_each(|how| write!(f, "\n{how}"))
    }
}

/// Writes the outputs of the one model of a record to `path`: those of its only engine, or of the first that
/// agrees with what stands in for golden outputs. The model must not have these already.
///
/// # Errors
/// Fails where no engine gave outputs for every sample, where engines differ and nothing says who is right, where its outputs differ from pass to pass,
/// and where the file cannot be written.
pub fn keep(analysis: &Analysis, path: &Path) -> Result<Kept> {
    can_hold_origin(path)?;
    let [model] = analysis.models() else {
        bail!("golden outputs are those of one model");
    };
    let rows = || analysis.rows(model).iter();
    let with_outputs: Vec<&Row> = rows().filter(|row| row.outputs.is_some()).collect();
    let agrees = |row: &&&Row| {
        let verdict = row.verdict.as_ref();
        verdict.is_some_and(|verdict| !verdict.is_difference()) && row.not_finite.is_empty()
    };
    let row = match &with_outputs[..] {
        [] => None,
        [only] => Some(*only),
        several => match several.iter().find(agrees) {
            Some(row) => Some(*row),
            None => bail!(
                "the engines differ, and nothing says who is right, so that no outputs can be golden; give one \
                 engine alone:\n{}",
                analysis.faults().join("\n")
            ),
        },
    };
    let Some((row, outputs)) = row.and_then(|row| Some((row, row.outputs.as_ref()?))) else {
        bail!(
            "no engine runs this model:\n{}",
            analysis.faults().join("\n")
        );
    };
    let repeated = analysis.repeatability.iter();
    let mut repeated =
        repeated.filter(|r| r.backend == row.cell.backend && r.format == row.cell.format);
    if let Some(fault) = repeated.find_map(|r| r.fault(&Known::default())) {
        bail!("{}: {fault}; such outputs cannot be golden", row.label);
    }
    let mut tensors = Vec::new();
    let mut inputs = BTreeMap::new();
    for sample in analysis.samples() {
        let of_photo = outputs.get(&sample.name);
        let of_photo =
            of_photo.with_context(|| format!("{} gave nothing for {}", row.label, sample.name))?;
        for (output, tensor) in model.outputs.iter().zip(of_photo) {
            tensors.push((format!("{}/{}", sample.name, output.name), tensor));
        }
        inputs.insert(sample.name.clone(), inputs_of(model, sample)?);
    }
    let mut models = BTreeMap::new();
    for (format, file) in &model.artifacts {
        let sum = sha256_of_file(&model.path(file))?;
        models.insert(format.key().to_owned(), sum);
    }
    let backend = analysis.record.backends.get(&row.cell.backend);
    let version = backend.and_then(|b| Some(b.description.as_ref()?.engine.version.as_str()));
    let origin = Origin {
        engine: format!("{} {}", row.label, version.unwrap_or_default())
            .trim()
            .to_owned(),
        models,
        inputs,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
    }
    let metadata = HashMap::from([(ORIGIN.to_owned(), serde_json::to_string(&origin)?)]);
    let write =
        |new: &Path| write_tensors_with(new, tensors, Some(metadata)).map_err(|e| anyhow!("{e}"));
    regular_file::replace(path, write)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Kept {
        engine: origin.engine,
        samples: origin.inputs.into_keys().collect(),
        differing: rows()
            .filter_map(|row| {
                let verdict = row.verdict.as_ref().filter(|v| v.is_difference())?;
                Some(format!("{} {verdict}", row.label))
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests;
