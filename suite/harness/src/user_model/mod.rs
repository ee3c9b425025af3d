//! Models of the user's own: from files and a few words on the command line to a `model.toml`.

mod archive;
pub mod arguments;
pub mod check;
mod foreign;
pub mod golden;
pub mod init;
mod layout;
pub mod named;
mod outputs;
mod proposed_shape;
#[cfg(test)]
mod said;
mod signature;
mod text;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_native::sha256_of_file;
use firstpass_probe::{Dtype, Tensor};
use firstpass_trial::{
    model::{
        InputSpec, ModelDescription, OutputSpec, Precision, Preprocess, StepSpec, name_of_file,
    },
    shape::NamedShape,
    tensor_files::{UNNAMED, read_named},
    workspace::Workspace,
};

use proposed_shape::proposed;

pub use layout::{Inputs, lay_out};
pub use signature::{Declared, Signature};
pub use text::to_toml;

/// What a user says of a model of their own.
#[derive(Debug, Clone, Default)]
pub struct UserModel {
    /// One file of each format.
    pub files: Vec<PathBuf>,
    /// Shapes of inputs that the files leave open, and all inputs of a TorchScript file alone.
    pub inputs: Vec<NamedShape>,
    /// Files of tensors, whose shapes count where no other is given.
    pub samples: Vec<PathBuf>,
    /// How pictures become the one input.
    pub preprocess: Option<Preprocess>,
    /// Whether the user knows where a TorchScript file comes from.
    pub trust: bool,
}

/// Shapes of inputs are open: neither the file tells them, nor were they given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenShape {
    /// What the file says, and what is to be given.
    pub what: String,
    /// Inputs that could be given, such as `image=1x3x224x224`: one for each that is open.
    pub examples: Vec<String>,
}

impl OpenShape {
    /// All that is open of a file at once.
    fn all(open: Vec<Self>) -> Self {
        let what: Vec<&str> = open.iter().map(|one| one.what.as_str()).collect();
        Self {
            what: what.join("; "),
            examples: open.iter().flat_map(|one| one.examples.clone()).collect(),
        }
    }

    /// The options that give what is open.
    pub fn options(&self) -> Vec<String> {
        let examples = self.examples.iter();
        examples
            .flat_map(|example| ["--input".into(), example.clone()])
            .collect()
    }
}

impl fmt::Display for OpenShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; give it, for example {}",
            self.what,
            self.options().join(" ")
        )
    }
}

impl std::error::Error for OpenShape {}

/// A shape of an output and its name, as an engine gives it.
pub type Found = (String, Vec<usize>);

impl UserModel {
    /// Describes the model. A TorchScript file alone does not tell its outputs: it is run once, on the
    /// first engine that reads it.
    ///
    /// # Errors
    /// Fails on files that cannot be read or contradict each other, and where a shape is open that
    /// was not given: the message says how to give it.
    pub fn describe(&self, workspace: &Workspace) -> Result<ModelDescription> {
        self.describe_with(|model| {
            outputs::outputs_of_torchscript(workspace, model, &self.samples, self.trust)
        })
    }

    fn describe_with(
        &self,
        run: impl FnOnce(&ModelDescription) -> Result<Vec<Found>>,
    ) -> Result<ModelDescription> {
        let mut artifacts = BTreeMap::new();
        let mut sha256 = BTreeMap::new();
        let mut with_inputs: Option<Signature> = None;
        let mut precision = Precision::Fp32;
        for file in &self.files {
            let signature = Signature::read(file)?;
            let path = std::path::absolute(file)?;
            if artifacts.insert(signature.format, path.clone()).is_some() {
                bail!(
                    "two files of the format {}; give one of each",
                    signature.format.key()
                );
            }
            if signature.precision == Precision::Int8 {
                precision = Precision::Int8;
            }
            if signature.format.is_program() {
                sha256.insert(path, sha256_of_file(file)?);
            }
            if !signature.inputs.is_empty() && with_inputs.is_none() {
                with_inputs = Some(signature);
            }
        }
        let first = self.files.first().context("give a model file")?;
        let inputs = self.inputs(with_inputs.as_ref())?;
        let outputs = with_inputs.iter().flat_map(|signature| &signature.outputs);
        let outputs = outputs.map(output).collect();
        let mut model = ModelDescription {
            name: name_of_file(first),
            title: title_of_files(&self.files),
            description: String::new(),
            precision,
            latency_on_request: false,
            explain: false,
            golden: None,
            golden_from: "golden".into(),
            artifacts,
            inputs,
            outputs,
            detection: None,
            classification: None,
            sha256,
            file: PathBuf::new(),
        };
        if model.outputs.is_empty() {
            let outputs = run(&model)?;
            model.outputs = outputs
                .into_iter()
                .map(|(name, shape)| OutputSpec {
                    name,
                    shape: Some(shape),
                    ..OutputSpec::default()
                })
                .collect();
        }
        model.check()?;
        Ok(model)
    }

    fn inputs(&self, signature: Option<&Signature>) -> Result<Vec<InputSpec>> {
        let sample = self
            .samples
            .first()
            .map(|path| read_named(path))
            .transpose()?;
        let sample = sample.unwrap_or_default();
        let Some(signature) = signature else {
            return self.inputs_of_torchscript(&sample);
        };
        for given in self.inputs.iter().filter_map(|given| given.name.as_ref()) {
            ensure!(
                signature.inputs.iter().any(|input| &input.name == given),
                "the model has no input {given:?}; it has {}",
                names(&signature.inputs)
            );
        }
        let mut inputs = Vec::new();
        let mut open = Vec::new();
        for declared in &signature.inputs {
            let alone = signature.inputs.len() == 1;
            let given = self.inputs.iter().find(|given| match &given.name {
                Some(name) => *name == declared.name,
                None => alone,
            });
            let tensor = sample
                .get(&declared.name)
                .or_else(|| sample.get(UNNAMED).filter(|_| alone));
            match self.input(declared, given, tensor) {
                Ok(input) => inputs.push(input),
                // All that is open is asked for at once.
                Err(error) => open.push(error.downcast::<OpenShape>()?),
            }
        }
        ensure!(open.is_empty(), OpenShape::all(open));
        Ok(inputs)
    }

    fn input(
        &self,
        declared: &Declared,
        given: Option<&NamedShape>,
        sample: Option<&Tensor>,
    ) -> Result<InputSpec> {
        let name = &declared.name;
        if let Some(dtype) = given.and_then(|given| given.dtype) {
            ensure!(
                dtype == declared.dtype,
                "input {name:?} is of {} in the file, not of {}",
                declared.dtype.key(),
                dtype.key()
            );
        }
        let wanted = given.map(|given| &given.shape[..]);
        let wanted = wanted.or_else(|| sample.map(Tensor::shape));
        let shape = match (wanted, &declared.lengths) {
            (Some(wanted), Some(lengths)) => {
                let fits = |(wanted, length): (&usize, &Result<usize, String>)| {
                    length.as_ref().is_ok_and(|length| length == wanted) || length.is_err()
                };
                ensure!(
                    wanted.len() == lengths.len() && wanted.iter().zip(lengths).all(fits),
                    "input {name:?} is of shape {} in the file, not {wanted:?}",
                    shown(lengths)
                );
                wanted.to_vec()
            }
            (Some(wanted), None) => wanted.to_vec(),
            (None, Some(lengths)) => {
                // The first axis is the batch, by a convention that nearly every file follows.
                let closed = lengths
                    .iter()
                    .enumerate()
                    .map(|(axis, length)| match length {
                        Err(_) if axis == 0 && lengths.len() > 1 => Some(1),
                        length => length.as_ref().ok().copied(),
                    });
                closed
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| OpenShape {
                        what: format!(
                            "the file leaves the shape of input {name:?} open: {}",
                            shown(lengths)
                        ),
                        examples: vec![format!("{name}={}", proposed(name, lengths))],
                    })?
            }
            (None, None) => bail!(OpenShape {
                what: format!("the file does not tell the shape of input {name:?}"),
                examples: vec![format!("{name}=1x3x224x224")],
            }),
        };
        Ok(InputSpec {
            name: name.clone(),
            shape,
            dtype: declared.dtype,
            preprocess: self.preprocess,
        })
    }

    /// A TorchScript file tells nothing of its inputs, whose names do not matter to it either.
    fn inputs_of_torchscript(&self, sample: &BTreeMap<String, Tensor>) -> Result<Vec<InputSpec>> {
        let numbered = |number: usize, name: Option<&String>| match name {
            Some(name) if name != UNNAMED => name.clone(),
            _ => format!("input-{number}"),
        };
        let mut inputs = Vec::new();
        for (number, given) in self.inputs.iter().enumerate() {
            inputs.push(InputSpec {
                name: numbered(number, given.name.as_ref()),
                shape: given.shape.clone(),
                dtype: given.dtype.unwrap_or_default(),
                preprocess: self.preprocess,
            });
        }
        if inputs.is_empty() {
            for (number, (name, tensor)) in sample.iter().enumerate() {
                inputs.push(InputSpec {
                    name: numbered(number, Some(name)),
                    shape: tensor.shape().to_vec(),
                    dtype: tensor.dtype(),
                    preprocess: self.preprocess,
                });
            }
        }
        if inputs.is_empty() {
            bail!(OpenShape {
                what:
                    "a TorchScript file does not tell its inputs, which are given in the order of \
                       forward()"
                        .into(),
                examples: vec!["image=1x3x224x224:f32".into()],
            });
        }
        Ok(inputs)
    }
}

/// What a reader calls a model: its files. Half of all models lie in a file called `model.onnx`, and "model is fastest on"
/// says nothing.
fn title_of_files(files: &[PathBuf]) -> String {
    let titles = files.iter().map(|file| match file.extension() {
        None => name_of_file(file),
        Some(extension) => format!(
            "{}.{}",
            name_of_file(file),
            name_of_file(Path::new(extension))
        ),
    });
    titles.collect::<Vec<_>>().join(" and ")
}

fn output(declared: &Declared) -> OutputSpec {
    let shape = declared.shape();
    let elements = shape.as_deref().and_then(|shape| {
        let mut lengths = shape.iter();
        lengths.try_fold(1_usize, |count, &length| count.checked_mul(length))
    });
    let step = declared.step.filter(|_| declared.dtype == Dtype::F32);
    let (scale, activation) = step.unzip();
    let scale = scale.map(f64::from);
    let steps = elements.zip(scale);
    let steps = steps.map(|(elements, scale)| StepSpec { elements, scale });
    OutputSpec {
        name: declared.name.clone(),
        activation: activation.unwrap_or_default(),
        steps: Vec::from_iter(steps),
        // A file that declares no shape tells the scale all the same.
        step: scale.filter(|_| elements.is_none()),
        shape,
    }
}

fn names(declared: &[Declared]) -> String {
    let names: Vec<String> = declared.iter().map(|d| format!("{:?}", d.name)).collect();
    names.join(", ")
}

fn shown(lengths: &[Result<usize, String>]) -> String {
    let lengths = lengths.iter().map(|length| match length {
        Ok(length) => length.to_string(),
        Err(name) if name.is_empty() => "?".into(),
        Err(name) => name.clone(),
    });
    format!("[{}]", lengths.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests;
