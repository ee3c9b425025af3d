//! The folder in which all is kept that belongs to a check: description, inputs, golden outputs.

use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use firstpass_native::Lock;
use firstpass_probe::{Tensor, TensorSpec, read_tensors, write_tensors, write_tensors_with};
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
use tempfile::TempDir;

use crate::user_model::{
    golden::{Mismatch, ORIGIN, Origin},
    to_toml,
};

/// What belongs to a model, besides its inputs.
const DESCRIPTION: &str = "model.toml";
const GOLDEN: &str = "golden.safetensors";

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
/// Records read these files again. So where others lie there already, of other shapes for example, they stay as
/// they are, and the new ones go into a folder `model-2` beside them, or `model-3`.
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
    let new = unfinished(folder)?;
    let given = inputs.files.iter();
    let mut samples: Vec<Sample> = given.map(|file| Sample::from_file(file)).collect();
    if samples.is_empty() && model.picture().is_some() {
        let usual = Sample::fixtures(&workspace.fixtures())?.into_iter();
        samples = usual.take(RANDOM_INPUTS as usize).collect();
    }
    if samples.is_empty() {
        samples = make_up_all(&model, &new.path().join(INPUTS))?;
    }
    if let Some(golden) = &inputs.golden {
        let path = new.path().join(GOLDEN);
        keep_golden(&model, &samples, golden, &path)?;
        model.golden = Some(path);
        let name = golden.file_name().unwrap_or_default();
        model.golden_from = name.to_string_lossy().into_owned();
    }
    if model.file.as_os_str().is_empty() || inputs.golden.is_some() {
        let path = new.path().join(DESCRIPTION);
        model.move_to(&path);
        fs::write(&path, to_toml(&model)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let place = put(new.path(), folder)?;
    let moved = |path: &Path| match path.strip_prefix(new.path()) {
        Ok(name) => place.join(name),
        Err(_) => path.to_owned(),
    };
    if model.file.starts_with(new.path()) {
        model = ModelDescription::read(&moved(&model.file))?;
    }
    for sample in &mut samples {
        sample.file = moved(&sample.file);
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

/// A folder within `folder` for what is not complete yet.
pub(super) fn unfinished(folder: &Path) -> Result<TempDir> {
    let unwritable = || {
        format!(
            "cannot write to {}; give a writable folder with --out",
            folder.display()
        )
    };
    fs::create_dir_all(folder).with_context(unwritable)?;
    let mut new = tempfile::Builder::new();
    let new = new.prefix(".unfinished-").tempdir_in(folder);
    new.with_context(unwritable)
}

/// Moves what was laid out to where it stays, in `folder` or a folder of it, unless the same lies there already.
/// Returns where that is.
pub(super) fn put(new: &Path, folder: &Path) -> Result<PathBuf> {
    let names = [DESCRIPTION, GOLDEN, INPUTS];
    if !names.iter().any(|name| new.join(name).exists()) {
        return Ok(folder.to_owned());
    }
    // Another command may put something there at the same time; it takes no time.
    let _lock = Lock::wait(&folder.join(".model.lock"), |_| ())?;
    let further = (2..).map(|number| folder.join(format!("model-{number}")));
    for place in std::iter::once(folder.to_owned()).chain(further) {
        let is_free = names.iter().all(|name| !place.join(name).exists());
        if !is_free
            && !names
                .iter()
                .all(|name| is_same(&new.join(name), &place.join(name)))
        {
            continue;
        }
        let made = is_free.then(|| -> std::io::Result<()> {
            fs::create_dir_all(&place)?;
            let mut there = names.iter().filter(|name| new.join(name).exists());
            there.try_for_each(|name| fs::rename(new.join(name), place.join(name)))
        });
        made.transpose()
            .with_context(|| format!("cannot write to {}", place.display()))?;
        return Ok(place);
    }
    bail!("{} is full", folder.display())
}

/// Whether two files or folders of files have the same content, or neither is there.
fn is_same(a: &Path, b: &Path) -> bool {
    let names = |folder: &Path| -> Option<BTreeSet<OsString>> {
        let entries = fs::read_dir(folder).ok()?.flatten();
        Some(entries.map(|entry| entry.file_name()).collect())
    };
    match (names(a), names(b)) {
        (Some(of_a), Some(of_b)) => {
            of_a == of_b
                && of_a
                    .iter()
                    .all(|name| is_same(&a.join(name), &b.join(name)))
        }
        (None, None) => {
            let tensors = |path: &Path| read_tensors(path).ok();
            // What is told about tensors has no order.
            fs::read(a).ok() == fs::read(b).ok()
                || tensors(a).is_some_and(|of_a| Some(of_a) == tensors(b))
        }
        _ => false,
    }
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

#[cfg(test)]
mod tests {
    use firstpass_trial::model::{OutputSpec, Precision};

    use super::*;

    fn laid_out(folder: &Path, length: usize, golden: Option<&Path>) -> Result<Workload> {
        let mut model = ModelDescription::for_tests(Precision::Fp32);
        model.artifacts.insert(
            firstpass_probe::Format::ONNX,
            folder.with_file_name("m.onnx"),
        );
        model.inputs[0].shape = vec![1, length];
        model.outputs.push(OutputSpec {
            name: "y".into(),
            ..OutputSpec::default()
        });
        let inputs = Inputs {
            files: Vec::new(),
            golden: golden.map(Into::into),
        };
        lay_out(&Workspace::find()?, model, &inputs, folder, false)
    }

    #[test]
    fn what_a_record_reads_again_is_not_replaced() -> Result<()> {
        let root = tempfile::tempdir()?;
        let folder = root.path().join("report");
        let first = laid_out(&folder, 7, None)?;
        assert_eq!(first.models[0].file, folder.join("model.toml"));
        let other = laid_out(&folder, 9, None)?;
        assert_eq!(other.models[0].file, folder.join("model-2/model.toml"));

        let again = laid_out(&folder, 7, None)?;
        assert_eq!(again.models[0].file, first.models[0].file);
        assert_eq!(again.samples[0].file, first.samples[0].file);
        for (workload, length) in [(first, 7), (other, 9)] {
            let model = ModelDescription::read(&workload.models[0].file)?;
            for sample in &workload.samples {
                assert_eq!(sample.inputs(&model)?[0].1.shape(), [1, length]);
            }
        }
        Ok(())
    }

    #[test]
    fn nor_are_golden_outputs() -> Result<()> {
        let root = tempfile::tempdir()?;
        let folder = root.path().join("report");
        let [one, other] = [1.0_f32, 2.0].map(|value| {
            let path = root.path().join(format!("{value}.safetensors"));
            let tensors = ["random-1/y", "random-2/y"].map(|name| {
                let tensor = Tensor::new(&[1], vec![value]);
                tensor.map(|tensor| (name.to_owned(), tensor))
            });
            (path, tensors)
        });
        for (path, tensors) in [&one, &other] {
            let tensors: Vec<(String, Tensor)> =
                tensors.clone().into_iter().collect::<Result<_, _>>()?;
            write_tensors(path, tensors.iter().map(|(name, t)| (name.clone(), t)))?;
        }
        let file = |golden: &Path| -> Result<PathBuf> {
            let workload = laid_out(&folder, 7, Some(golden))?;
            let golden = workload.golden(&workload.models[0])?;
            assert_eq!(golden.map(|golden| golden.len()), Some(2));
            Ok(workload.models[0].file.clone())
        };
        let (a, b) = (file(&one.0)?, file(&other.0)?);
        assert_ne!(a, b);
        assert_eq!((file(&one.0)?, file(&other.0)?), (a, b));
        let left: Vec<_> = fs::read_dir(&folder)?.flatten().collect();
        assert!(
            left.iter()
                .all(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        );
        Ok(())
    }
}
