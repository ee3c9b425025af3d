//! The folder in which all is kept that belongs to a check: description, inputs, golden outputs.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_probe::{Tensor, TensorSpec, write_tensors, write_tensors_with};
use firstpass_trial::{
    input_role::Role,
    made_up_input::made_up,
    model::{InputSpec, ModelDescription},
    own_model::{INPUTS, MADE_UP},
    sample::Sample,
    tensor_files::{UNNAMED, read_named},
    workload::Workload,
    workspace::Workspace,
};

use crate::user_model::{
    golden::{Mismatch, ORIGIN, Origin},
    to_toml,
};

/// Made-up inputs: one alone could hide that outputs do not depend on it.
const RANDOM_INPUTS: u64 = 2;

/// What a model is run on.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Pictures and files of tensors; inputs are made up where there are none.
    pub files: Vec<PathBuf>,
    /// The outputs that the model should give: arrays by name of output, or by `sample/output` where
    /// there are several inputs.
    pub golden: Option<PathBuf>,
}

/// Writes what belongs to a model into `folder`: made-up inputs, golden outputs, and its `model.toml`
/// where it has none yet or golden outputs were given.
///
/// # Errors
/// Fails where the folder cannot be written, and on inputs and golden outputs that are not those of
/// the model.
pub fn lay_out(
    workspace: &Workspace,
    mut model: ModelDescription,
    inputs: &Inputs,
    folder: &Path,
    trust: bool,
) -> Result<Workload> {
    let mut samples: Vec<Sample> = inputs.files.iter().map(|f| Sample::from_file(f)).collect();
    if samples.is_empty() && model.picture().is_some() {
        let usual = Sample::fixtures(&workspace.fixtures())?.into_iter();
        samples = usual.take(RANDOM_INPUTS as usize).collect();
    }
    if samples.is_empty() {
        samples = make_up_all(&model, &folder.join(INPUTS))?;
    }
    if let Some(golden) = &inputs.golden {
        let path = folder.join("golden.safetensors");
        keep_golden(&model, &samples, golden, &path)?;
        model.golden = Some(path);
        let name = golden.file_name().unwrap_or_default();
        model.golden_from = name.to_string_lossy().into_owned();
    }
    if model.file.as_os_str().is_empty() || inputs.golden.is_some() {
        let path = folder.join("model.toml");
        model.move_to(&path);
        fs::write(&path, to_toml(&model)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        model = ModelDescription::read(&path)?;
    }
    let mut workload = Workload::new(workspace, vec![model], samples)?;
    workload.trust = trust;
    // Read here what is needed at the end, so that it does not fail after the measuring.
    for model in &workload.models {
        workload.check_inputs(model)?;
        workload.golden(model)?;
    }
    Ok(workload)
}

/// Makes up the inputs of a model, in files of a folder.
pub(super) fn make_up_all(model: &ModelDescription, folder: &Path) -> Result<Vec<Sample>> {
    fs::create_dir_all(folder).with_context(|| {
        format!(
            "cannot write to {}; give a writable folder with --out",
            folder.display()
        )
    })?;
    let seeds = 1..=RANDOM_INPUTS;
    seeds.map(|seed| make_up(model, seed, folder)).collect()
}

/// Made-up inputs of a model, in a file.
fn make_up(model: &ModelDescription, seed: u64, folder: &Path) -> Result<Sample> {
    let path = folder.join(format!("{MADE_UP}{seed}.safetensors"));
    made_up_file(model, seed, &path)?;
    Ok(Sample::from_file(&path))
}

/// Writes made-up inputs of a model into a file.
pub(super) fn made_up_file(model: &ModelDescription, seed: u64, path: &Path) -> Result<()> {
    let specs: Vec<TensorSpec> = model.inputs.iter().map(InputSpec::tensor).collect();
    let inputs = made_up(&specs, &Role::of_model(model), seed)?;
    let named = specs.iter().zip(&inputs);
    Ok(write_tensors(
        path,
        named.map(|(spec, tensor)| (spec.name.clone(), tensor)),
    )?)
}

/// Keeps the user's outputs in the form of golden ones, each with the checksums of the inputs that it
/// belongs to.
fn keep_golden(
    model: &ModelDescription,
    samples: &[Sample],
    given: &Path,
    path: &Path,
) -> Result<()> {
    let arrays = read_named(given)?;
    let mut tensors: Vec<(String, &Tensor)> = Vec::new();
    let mut metadata = HashMap::new();
    if let Some(origin) = Origin::read(given)? {
        origin.check(given, model, samples)?;
        metadata.insert(ORIGIN.to_owned(), serde_json::to_string(&origin)?);
    }
    for sample in samples {
        let of_output = |name: &str| {
            let named = arrays.get(&format!("{}/{name}", sample.name));
            let alone = (samples.len() == 1).then(|| arrays.get(name)).flatten();
            let unnamed = (samples.len() == 1 && model.outputs.len() == 1)
                .then(|| arrays.get(UNNAMED))
                .flatten();
            named.or(alone).or(unnamed)
        };
        for output in &model.outputs {
            let tensor = of_output(&output.name).with_context(|| {
                let there: Vec<&str> = arrays.keys().map(String::as_str).collect();
                Mismatch(format!(
                    "{} holds no array {:?} for {}; it holds {}",
                    given.display(),
                    output.name,
                    sample.name,
                    there.join(", ")
                ))
            })?;
            tensors.push((format!("{}/{}", sample.name, output.name), tensor));
        }
        let inputs = sample.inputs(model)?;
        let sums: Vec<String> = inputs.iter().map(|(_, input)| input.sha256()).collect();
        metadata.insert(format!("input.{}", sample.name), sums.join(" "));
    }
    Ok(write_tensors_with(path, tensors, Some(metadata))?)
}
