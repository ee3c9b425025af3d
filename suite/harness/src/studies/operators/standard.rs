//! The ONNX standard's own tests of the operators that the fixtures' models use, from its Python package.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow, ensure};
use firstpass_onnx::decode;
use firstpass_probe::{Format, Knobs, Model, OutputSpec, Tensor, TensorSpec, write_tensors};
use firstpass_trial::{
    process::{Probe, once},
    workload::Workload,
    workspace::Workspace,
};
use serde::{Deserialize, Serialize};

use crate::python;

/// One test on one engine, as one line of the engine's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StandardTest {
    /// As the standard names it.
    pub name: String,
    pub operator: String,
    pub outcome: Outcome,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    /// Some values are further from the expected ones than the standard allows.
    Differs {
        values: usize,
        of: usize,
    },
    /// In the engine's own words.
    Failed(String),
    /// It cannot be put to a probe.
    LeftOut(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Differs { values, of } => write!(f, "{values} of {of} values differ"),
            Self::Failed(words) => f.write_str(words),
            Self::LeftOut(reason) => write!(f, "left out: {reason}"),
        }
    }
}

/// The tests of the standard as files.
pub struct Standard {
    folder: tempfile::TempDir,
    tests: Vec<Listed>,
}

/// A line of `tests.json`, as `fixtures/node-tests/collect.py` writes it.
#[derive(Deserialize)]
struct Listed {
    name: String,
    operator: String,
    #[serde(flatten)]
    test: Test,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Test {
    LeftOut { left_out: String },
    Run(Run),
}

/// A test that can be put to a probe.
#[derive(Deserialize)]
struct Run {
    input: String,
    input_shape: Vec<usize>,
    output: String,
    output_shape: Vec<usize>,
    /// A value may be `atol + rtol · |expected|` away.
    rtol: f64,
    atol: f64,
    /// Whether the values are integers, which must be the same.
    integers: bool,
}

impl Standard {
    /// Makes the tests of the operators in the fixtures' ONNX files.
    ///
    /// # Errors
    /// Fails where the package cannot be installed or its script fails.
    pub fn collect(workspace: &Workspace) -> Result<Self> {
        let source = workspace.fixtures().join("node-tests");
        let environment = workspace.native().join("python-node-tests");
        let requirements = source.join("requirements.txt");
        let python = python::set_up(&python::interpreter(), &environment, &requirements)?;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let script = source.join("collect.py");
        let output = Command::new(python)
            .arg(&script)
            .arg(folder.path())
            .args(operators(workspace)?)
            .output()
            .with_context(|| format!("cannot run {}", script.display()))?;
        ensure!(
            output.status.success(),
            "{} failed: {}",
            script.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let list = fs::read_to_string(folder.path().join("tests.json"))
            .context("the script listed no tests")?;
        let tests = serde_json::from_str(&list).context("tests.json is not as expected")?;
        Ok(Self { folder, tests })
    }

    pub fn len(&self) -> usize {
        self.tests.len()
    }

    /// Every test on one engine.
    ///
    /// # Errors
    /// Fails where the files of a test cannot be read.
    pub fn run(&self, probe: &Probe) -> Result<Vec<StandardTest>> {
        let run = |listed: &Listed| {
            Ok(StandardTest {
                name: listed.name.clone(),
                operator: listed.operator.clone(),
                outcome: self.outcome(listed, probe)?,
            })
        };
        self.tests.iter().map(run).collect()
    }

    fn outcome(&self, listed: &Listed, probe: &Probe) -> Result<Outcome> {
        let test = match &listed.test {
            Test::LeftOut { left_out } => return Ok(Outcome::LeftOut(left_out.clone())),
            Test::Run(test) => test,
        };
        let folder = self.folder.path().join(&listed.name);
        let values = floats(&folder.join("input.f32"))?;
        let expected = floats(&folder.join("output.f32"))?;
        let given = Tensor::new(&test.input_shape, values)?;
        let file = folder.join("input.safetensors");
        write_tensors(&file, [(test.input.clone(), &given)])?;
        let model = Model {
            name: listed.name.clone(),
            format: Format::ONNX,
            path: folder.join("model.onnx"),
            inputs: vec![TensorSpec::f32(&test.input, &test.input_shape[..])],
            outputs: vec![OutputSpec::new(&test.output, &test.output_shape[..])],
        };
        let saved = folder.join("outputs.safetensors");
        let found = match once(probe, &model, &Knobs::default(), &file, &saved) {
            Ok(found) => found,
            // Where the file lies is of no interest.
            Err(words) => {
                let folder = format!("{}/", folder.display());
                return Ok(Outcome::Failed(format!("{words:#}").replace(&folder, "")));
            }
        };
        let found = found
            .get(&test.output)
            .and_then(|tensor| tensor.f32s().ok())
            .unwrap_or_default();
        let allowed = |expected: f64| {
            if test.integers {
                0.0
            } else {
                test.atol + test.rtol * expected.abs()
            }
        };
        let near = |(expected, found): &(&f32, &f32)| {
            let expected = f64::from(**expected);
            // Infinities have no difference.
            expected == f64::from(**found)
                || (expected - f64::from(**found)).abs() <= allowed(expected)
        };
        let same = expected.iter().zip(found).filter(near).count();
        Ok(if same == expected.len() && found.len() == same {
            Outcome::Passed
        } else {
            Outcome::Differs {
                values: expected.len() - same,
                of: expected.len(),
            }
        })
    }
}

/// The operators of the standard that the fixtures' ONNX files use.
fn operators(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let mut operators = BTreeSet::new();
    for model in Workload::fixture_models(workspace)? {
        let formats = model.artifacts.keys();
        let files: Vec<PathBuf> = formats
            .filter(|format| format.is_onnx())
            .filter_map(|format| Some(model.artifact(*format)?.path))
            .collect();
        for file in files {
            let bytes =
                fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let graph = decode(bytes.into()).map_err(|e| anyhow!("{}: {e}", file.display()))?;
            operators.extend(graph.node.into_iter().map(|node| node.op_type));
        }
    }
    Ok(operators)
}

fn floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (values, rest) = bytes.as_chunks::<4>();
    ensure!(
        rest.is_empty(),
        "{} holds no whole number of f32",
        path.display()
    );
    Ok(values
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect())
}
