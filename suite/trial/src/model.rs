//! A model as its `model.toml` describes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::{Dtype, Format, Model, TensorSpec, is_invisible};
use serde::{Deserialize, Serialize};

use crate::{
    classification::ClassificationSpec, detection::DetectionSpec, input_size::check_size,
    workspace::read_toml,
};

/// What a `model.toml` says; paths in it are relative to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelDescription {
    pub name: String,
    pub title: String,
    pub description: String,
    pub precision: Precision,
    /// Whether its passes are timed only where the model is asked for by name: what it is compared by is
    /// its outputs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub latency_on_request: bool,
    /// Whether `firstpass explain` profiles it unasked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub explain: bool,
    /// Outputs of the reference run, as written by the fixture generator.
    pub golden: Option<PathBuf>,
    /// Who gave these outputs, for reports.
    #[serde(default = "pytorch")]
    pub golden_from: String,
    pub artifacts: BTreeMap<Format, PathBuf>,
    /// `[input]`, or `[[input]]` for each of several.
    #[serde(rename = "input", with = "one_or_many")]
    pub inputs: Vec<InputSpec>,
    pub outputs: Vec<OutputSpec>,
    /// How boxes are read from the outputs, for a detector.
    pub detection: Option<DetectionSpec>,
    /// Which output holds the scores of classes, for a classifier.
    pub classification: Option<ClassificationSpec>,
    /// SHA-256 by file, for files outside the fixtures: one that is listed must be that very file. It is no
    /// trust: who made the model may have made this file. Older records call the table `trusted`.
    #[serde(default, alias = "trusted", skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<PathBuf, String>,
    /// The `model.toml` itself.
    #[serde(skip)]
    pub file: PathBuf,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn pytorch() -> String {
    "PyTorch".into()
}

/// In what the model was meant to be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    Fp32,
    Int8,
}

/// One input, in the order of the model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    pub name: String,
    pub shape: Vec<usize>,
    #[serde(default, skip_serializing_if = "Dtype::is_default")]
    pub dtype: Dtype,
    /// How a picture becomes this input; only where it is the one input, of f32 and of the shape
    /// `[1, 3, height, width]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
}

/// What pictures a model takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    pub height: usize,
    pub width: usize,
    pub preprocess: Preprocess,
}

/// `x = (pixel / 255 − mean) / std` per channel, in f32 and in this order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    pub mean: [f32; 3],
    pub std: [f32; 3],
    /// The grey value of the border that letterboxing adds.
    pub pad: u8,
}

/// One output, in the order of the model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    pub name: String,
    /// `None` where it is not known before the model has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<usize>>,
    /// What was applied after the last quantized tensor.
    #[serde(default, skip_serializing_if = "Activation::is_none")]
    pub activation: Activation,
    /// The quantization scale of consecutive runs of elements; empty for a float model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepSpec>,
    /// The one scale of a whole output whose shape is not known before the model has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<f64>,
}

/// A float function between the last quantized tensor and the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    #[default]
    None,
    Sigmoid,
}

impl Activation {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// So many elements share one quantization scale.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    pub elements: usize,
    pub scale: f64,
}

impl ModelDescription {
    /// # Errors
    /// Fails on a file that is unreadable, malformed or inconsistent; the message names it.
    pub fn read(path: &Path) -> Result<Self> {
        let mut model: Self = read_toml(path)?;
        model.file = path.into();
        model
            .check()
            .with_context(|| format!("{} is inconsistent", path.display()))?;
        Ok(model)
    }

    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        ensure!(!self.artifacts.is_empty(), "it names no artifact");
        ensure!(!self.inputs.is_empty(), "it names no input");
        ensure!(!self.outputs.is_empty(), "it names no output");
        check_distinct(self.inputs.iter().map(|i| i.name.as_str()), "inputs")?;
        check_distinct(self.outputs.iter().map(|o| o.name.as_str()), "outputs")?;
        let specs: Vec<TensorSpec> = self.inputs.iter().map(InputSpec::tensor).collect();
        check_size(&specs)?;
        for input in &self.inputs {
            ensure!(
                elements(&input.shape).is_some_and(|count| count > 0),
                "the shape {:?} of input {:?} is empty or too large",
                input.shape,
                input.name
            );
            ensure!(
                input.preprocess.is_none()
                    || (self.inputs.len() == 1
                        && input.dtype == Dtype::F32
                        && matches!(input.shape[..], [1, 3, _, _])),
                "input {:?} is made of pictures, so it must be the only one, of f32, and its shape \
                 [1, 3, height, width], not {:?}",
                input.name,
                input.shape
            );
        }
        for output in &self.outputs {
            let count = output.shape.as_deref().and_then(elements);
            let stepped = output
                .steps
                .iter()
                .try_fold(0_usize, |sum, step| sum.checked_add(step.elements));
            ensure!(
                output.steps.is_empty() || (stepped.is_some() && stepped == count),
                "the steps of output {:?} cover {stepped:?} of its {count:?} elements",
                output.name
            );
            ensure!(
                output
                    .steps
                    .iter()
                    .map(|s| s.scale)
                    .chain(output.step)
                    .all(|scale| scale > 0.0 && scale.is_finite()),
                "every scale of output {:?} must be positive",
                output.name
            );
            ensure!(
                output.step.is_none() || output.steps.is_empty(),
                "output {:?} has both steps and one step of all its elements",
                output.name
            );
        }
        if let Some(detection) = &self.detection {
            detection.check(self)?;
        }
        if let Some(classification) = &self.classification {
            classification.check(self)?;
        }
        Ok(())
    }

    /// Makes this the description in another `file`: paths to what lies below its folder are relative
    /// to it, all others absolute.
    pub fn move_to(&mut self, file: &Path) {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.into());
        let folder = file.parent().unwrap_or(Path::new(""));
        let from = self.file.parent().unwrap_or(Path::new("")).to_path_buf();
        let shorten = |path: &PathBuf| {
            let path = from.join(path);
            path.strip_prefix(folder).map_or(path.clone(), Into::into)
        };
        for path in self.artifacts.values_mut().chain(&mut self.golden) {
            *path = shorten(path);
        }
        let sums = std::mem::take(&mut self.sha256).into_iter();
        self.sha256 = sums.map(|(path, sum)| (shorten(&path), sum)).collect();
        self.file = file;
    }

    /// Puts a copy in the place of a model file. Returns whether the model has that file.
    pub fn read_instead(&mut self, file: &Path, copy: &Path) -> bool {
        let folder = self.file.parent().unwrap_or(Path::new("")).to_path_buf();
        let mut paths = self.artifacts.values_mut();
        let path = paths.find(|path| folder.join(path) == file);
        path.is_some_and(|path| {
            *path = copy.to_owned();
            true
        })
    }

    /// A path that is relative to the `model.toml`.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(relative)
    }

    /// The input, where it is made of pictures.
    pub fn picture(&self) -> Option<Picture> {
        match &self.inputs[..] {
            [input] => Some(Picture {
                height: *input.shape.get(2)?,
                width: *input.shape.get(3)?,
                preprocess: input.preprocess?,
            }),
            _ => None,
        }
    }

    /// The artifact in `format`, as a backend sees it; `None` where there is none.
    pub fn artifact(&self, format: Format) -> Option<Model> {
        let path = self.artifacts.get(&format)?;
        Some(Model {
            name: self.name.clone(),
            format,
            path: self.path(path),
            inputs: self.inputs.iter().map(InputSpec::tensor).collect(),
            outputs: self
                .outputs
                .iter()
                .map(|o| firstpass_probe::OutputSpec {
                    name: o.name.clone(),
                    shape: o.shape.clone(),
                })
                .collect(),
        })
    }

    /// Every file that belongs to the model.
    pub fn files(&self) -> Vec<PathBuf> {
        let paths = self.artifacts.values().chain(&self.golden);
        paths.map(|p| self.path(p)).collect()
    }
}

/// Bytes of the name of a model.
const LONGEST_NAME: usize = 200;

/// A name is no path: it stands in tables and keys, and becomes part of names of files.
fn check_name(name: &str) -> Result<()> {
    let fault = match name {
        "" => Some("it is empty"),
        "." | ".." => Some("it is a folder"),
        name if name.contains(['/', '\\']) => Some("it holds / or \\, so it would be a path"),
        name if name.chars().any(|c| c.is_control() || is_invisible(c)) => {
            Some("it holds a character that is not seen")
        }
        name if name.trim() != name => Some("it begins or ends with a space"),
        name if name.len() > LONGEST_NAME => Some("it is longer than 200 bytes"),
        _ => None,
    };
    match fault {
        Some(fault) => bail!("the name {name:?} is no name of a model: {fault}; give it another"),
        None => Ok(()),
    }
}

/// A name of a model for a file, as near to the name of the file as [`ModelDescription::check`] permits.
pub fn name_of_file(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let seen = stem.chars().map(|c| {
        if matches!(c, '/' | '\\') || c.is_control() || is_invisible(c) {
            '-'
        } else {
            c
        }
    });
    let seen: String = seen.collect();
    let name = seen.trim();
    let name = name[..name.floor_char_boundary(LONGEST_NAME)].trim_end();
    match name {
        "" | "." | ".." => "model".into(),
        name => name.into(),
    }
}

/// Fails where two share a name: outputs are kept by name, and engines take inputs by name.
fn check_distinct<'a>(names: impl IntoIterator<Item = &'a str>, what: &str) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        ensure!(
            seen.insert(name),
            "two {what} are named {name:?}; rename one of them in the model"
        );
    }
    Ok(())
}

fn elements(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1_usize, |count, &length| count.checked_mul(length))
}

/// A table, or an array of tables.
mod one_or_many {
    use std::fmt;

    use serde::{
        Deserialize, Deserializer, Serialize, Serializer,
        de::{
            MapAccess, SeqAccess, Visitor,
            value::{MapAccessDeserializer, SeqAccessDeserializer},
        },
    };

    use super::InputSpec;

    /// What is wrong with an input is said in the words of its field: an untagged enum would forget them.
    struct OneOrMany;

    impl<'de> Visitor<'de> for OneOrMany {
        type Value = Vec<InputSpec>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an input or a list of inputs")
        }

        fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Self::Value, M::Error> {
            InputSpec::deserialize(MapAccessDeserializer::new(map)).map(|input| vec![input])
        }

        fn visit_seq<S: SeqAccess<'de>>(self, list: S) -> Result<Self::Value, S::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(list))
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<InputSpec>, D::Error> {
        from.deserialize_any(OneOrMany)
    }

    pub fn serialize<S: Serializer>(inputs: &[InputSpec], to: S) -> Result<S::Ok, S::Error> {
        match inputs {
            [input] => input.serialize(to),
            _ => inputs.serialize(to),
        }
    }
}

impl InputSpec {
    /// As engines see it.
    pub fn tensor(&self) -> TensorSpec {
        TensorSpec {
            name: self.name.clone(),
            shape: self.shape.clone(),
            dtype: self.dtype,
        }
    }
}

impl ModelDescription {
    /// A model of one float input of one pixel and without files, for tests that judge what was
    /// observed.
    pub fn for_tests(precision: Precision) -> Self {
        Self {
            name: "m".into(),
            title: String::new(),
            description: String::new(),
            precision,
            latency_on_request: false,
            explain: false,
            golden: None,
            golden_from: "PyTorch".into(),
            artifacts: BTreeMap::new(),
            inputs: vec![InputSpec {
                name: "x".into(),
                shape: vec![1, 3, 1, 1],
                dtype: Dtype::F32,
                preprocess: None,
            }],
            outputs: Vec::new(),
            detection: None,
            classification: None,
            sha256: BTreeMap::new(),
            file: PathBuf::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        let named = |name: &str| {
            let mut model = ModelDescription::for_tests(Precision::Fp32);
            model.name = name.into();
            check_name(&model.name)
        };
        for good in [
            "m",
            "modèle à moi",
            "模型 2",
            "a.b",
            ".hidden",
            "CON",
            "<b>|`x`",
        ] {
            assert!(named(good).is_ok(), "{good}");
        }
        let long = "x".repeat(300);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "/tmp/x",
            "a\\b",
            "a\nb",
            "\u{1b}[m",
            "a\0",
            " a",
            "a\u{202e}",
            &long,
        ] {
            let error = named(bad).expect_err(bad).to_string();
            assert!(error.contains("no name of a model"), "{error}");
            let file = Path::new("folder")
                .join(bad.replace('\0', ""))
                .with_extension("onnx");
            let name = name_of_file(&file);
            assert!(named(&name).is_ok(), "{bad:?}: {name:?}");
        }
        assert_eq!(
            name_of_file(Path::new("a/modèle à moi.onnx")),
            "modèle à moi"
        );
    }

    #[test]
    fn what_is_wrong_with_an_input_is_named() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.toml");
        let head = "name = 'm'\ntitle = ''\ndescription = ''\nprecision = 'fp32'\n[artifacts]\nonnx = 'm.onnx'\n";
        let outputs = "[[outputs]]\nname = 'y'\nshape = [1]\n";
        let read = |input: &str| {
            std::fs::write(&path, format!("{head}{input}{outputs}"))?;
            ModelDescription::read(&path)
        };
        for input in [
            "[input]\nname = 'x'\nshape = [1]\n",
            "[[input]]\nname = 'x'\nshape = [1]\n",
        ] {
            assert_eq!(read(input)?.inputs.len(), 1);
        }
        for (line, words) in [
            ("shape = [1]\ncolour = 1\n", "unknown field `colour`"),
            ("shape = [1.5]\n", "1.5"),
            ("shape = [-1]\n", "-1"),
            ("shape = [99999999999999999999]\n", "99999999999999999999"),
            ("", "missing field `shape`"),
        ] {
            for table in ["[input]", "[[input]]"] {
                let error = read(&format!("{table}\nname = 'x'\n{line}")).expect_err(line);
                let said = format!("{error:#}");
                assert!(
                    said.contains(words) && said.contains("model.toml"),
                    "{said}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn a_description_with_a_path_for_a_name_is_not_read() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.toml");
        for name in ["..", "/tmp/victim", "../../README"] {
            let text = format!(
                "name = {name:?}\ntitle = ''\ndescription = ''\nprecision = 'fp32'\n\
                 [artifacts]\nonnx = 'm.onnx'\n[[input]]\nname = 'x'\nshape = [1]\n\
                 [[outputs]]\nname = 'y'\nshape = [1]\n"
            );
            std::fs::write(&path, text)?;
            let error = ModelDescription::read(&path).expect_err(name);
            assert!(
                format!("{error:#}").contains("no name of a model"),
                "{error:#}"
            );
        }
        Ok(())
    }

    #[test]
    fn names_of_inputs_and_outputs_are_distinct() {
        let mut model = ModelDescription::for_tests(Precision::Fp32);
        model.artifacts.insert(Format::ONNX, "m.onnx".into());
        model.outputs = vec![
            OutputSpec {
                name: "y".into(),
                ..OutputSpec::default()
            };
            2
        ];
        let error = model.check().expect_err("two outputs").to_string();
        assert!(error.contains("two outputs are named \"y\""), "{error}");
        model.outputs.truncate(1);
        model.inputs.push(model.inputs[0].clone());
        let error = model.check().expect_err("two inputs").to_string();
        assert!(error.contains("two inputs are named \"x\""), "{error}");
    }
}
