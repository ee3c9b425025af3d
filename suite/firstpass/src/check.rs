//! What is to be measured.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    error::{Error, ErrorKind, Result},
    harness,
    input::InputSpec,
    summary::{Summary, say, unknown_engine},
};

/// The time for measuring where none is given.
const BUDGET: Duration = Duration::from_secs(60);

/// In less time hardly a process runs.
const LEAST_BUDGET: Duration = Duration::from_secs(1);

/// One process has no interval, and a thousand are a mistake.
const PROCESSES: std::ops::RangeInclusive<usize> = 2..=1000;

/// More threads than this many times those of the machine are a mistake.
const OVERCOMMITMENT: usize = 4;

/// With [`WRITE`] as its value golden outputs are written, and not compared with.
const VARIABLE: &str = "FIRSTPASS_GOLDEN";
const WRITE: &str = "write";

/// What is to be measured: a model, what it is run on, and by which engines.
///
/// What is wrong fails where it is given:
///
/// ```
/// use std::time::Duration;
/// use firstpass::{Check, Dtype, ErrorKind, InputSpec};
///
/// # fn main() -> firstpass::Result<()> {
/// let check = Check::new("model.onnx")
///     .input("image=1x3x224x224")?
///     .input(InputSpec::new("ids", [1, 16])?.of(Dtype::I64))?
///     .golden("tests/model.golden.safetensors")?
///     .budget(Duration::from_secs(30))?;
///
/// let unknown = check.clone().engine("no such engine").unwrap_err();
/// assert_eq!(unknown.kind(), ErrorKind::Invalid); // it lists the engines that there are
/// assert!(check.clone().input("image=1x0x224x224").is_err());
/// assert!(check.clone().threads(0).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Golden outputs
///
/// [`Check::golden`] names a file with the outputs that the model should give. Where you have none, let
/// Firstpass keep those of today, as snapshot tests do:
///
/// ```sh
/// FIRSTPASS_GOLDEN=write cargo test   # writes the file of every check that names one; commit it
/// ```
///
/// The file says which inputs it was made from and which model: another input is an error, and another
/// model is named where its outputs differ. Without the variable nothing is ever written, and a file that
/// is not there is an error. In a checkout of Firstpass `cargo firstpass golden model.onnx` writes the same
/// file.
#[derive(Debug, Clone)]
#[must_use = "nothing is measured before `run`"]
pub struct Check {
    pub(crate) models: Vec<PathBuf>,
    pub(crate) inputs: Vec<InputSpec>,
    pub(crate) samples: Vec<PathBuf>,
    pub(crate) golden: Option<PathBuf>,
    pub(crate) engines: Vec<String>,
    pub(crate) threads: usize,
    pub(crate) processes: Option<usize>,
    pub(crate) budget: Duration,
    pub(crate) trust: bool,
}

/// What becomes of golden outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Golden {
    Compare,
    Write,
}

impl Check {
    /// A check of an ONNX or a TorchScript file. A path that is not absolute is relative to the folder in
    /// which the test runs: with cargo, that of your crate.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            models: vec![model.into()],
            inputs: Vec::new(),
            samples: Vec::new(),
            golden: None,
            engines: Vec::new(),
            threads: 1,
            processes: None,
            budget: BUDGET,
            trust: false,
        }
    }

    /// The same model in another format, for the engines that read that.
    pub fn also(mut self, model: impl Into<PathBuf>) -> Self {
        self.models.push(model.into());
        self
    }

    /// An input whose shape the file leaves open: an [`InputSpec`], or its text, such as
    /// `image=1x3x224x224:f32`. For a TorchScript file every input, in the order of `forward()`.
    ///
    /// # Errors
    /// Fails on a text that is no input, and on a second input of the same name.
    pub fn input<I>(mut self, input: I) -> Result<Self>
    where
        I: TryInto<InputSpec>,
        Error: From<I::Error>,
    {
        let input = input.try_into()?;
        if input.name().is_some() && self.inputs.iter().any(|i| i.name() == input.name()) {
            return Err(Error::invalid(format!("{input} is given twice")));
        }
        self.inputs.push(input);
        Ok(self)
    }

    /// Tensors to run the model on: `.npy`, or `.npz` or `.safetensors` with an array for each input by
    /// name; may be called several times. Without any, two inputs are made up, the same in every run.
    ///
    /// # Errors
    /// Fails where the file is of another kind or not there.
    pub fn sample(mut self, file: impl Into<PathBuf>) -> Result<Self> {
        let file = tensors(file.into())?;
        is_there(&file)?;
        self.samples.push(file);
        Ok(self)
    }

    /// The outputs that the model should give: a file that Firstpass wrote (see [above](Check#golden-outputs)),
    /// or one of your own, `.npz` or `.safetensors`, with arrays by name of output, or by `sample/output`
    /// where there are several samples. Without it engines are compared with each other.
    ///
    /// # Errors
    /// Fails on a file of another kind.
    pub fn golden(mut self, file: impl Into<PathBuf>) -> Result<Self> {
        self.golden = Some(tensors(file.into())?);
        Ok(self)
    }

    /// Only this engine; may be called several times. One that is named has to run the model. By default
    /// all are tried, and those that cannot run it are listed in [`Summary::failures`]: name the engines
    /// that you ship.
    ///
    /// `NAME@VERSION` is an engine in another version than the one that comes with Firstpass, and `NAME=PROGRAM` any
    /// program that speaks the protocol of probes.
    ///
    /// # Errors
    /// Fails where there is no such engine, and lists those that there are.
    pub fn engine(mut self, name: &str) -> Result<Self> {
        let known = harness::engines()?;
        let is_program = name.contains('=') && !name.contains('@');
        let base = name.split('@').next().unwrap_or(name);
        if !is_program && !known.iter().any(|engine| engine == base) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(unknown_engine(name, &known));
        }
        if !self.engines.iter().any(|engine| engine == name) {
            self.engines.push(name.into());
        }
        Ok(self)
    }

    /// Threads that one pass may use; 1 by default.
    ///
    /// # Errors
    /// Fails on 0, and on more than four times those of the machine.
    pub fn threads(mut self, threads: usize) -> Result<Self> {
        let most = OVERCOMMITMENT * harness::threads_of_machine();
        if threads == 0 || threads > most {
            return Err(Error::invalid(format!(
                "{threads} threads are no number of threads for this machine: give 1 to {most}"
            )));
        }
        self.threads = threads;
        Ok(self)
    }

    /// Fresh processes of each engine, as far as the time allows. By default 5 to 20, fewer where the
    /// intervals are narrow already.
    ///
    /// # Errors
    /// Fails on less than 2, which have no interval, and on more than 1000.
    pub fn processes(mut self, processes: usize) -> Result<Self> {
        if !PROCESSES.contains(&processes) {
            return Err(Error::invalid(format!(
                "{processes} processes tell nothing or take forever: give {} to {}",
                PROCESSES.start(),
                PROCESSES.end()
            )));
        }
        self.processes = Some(processes);
        Ok(self)
    }

    /// The time for measuring all engines, without builds; a minute by default.
    ///
    /// # Errors
    /// Fails on less than a second.
    pub fn budget(mut self, budget: Duration) -> Result<Self> {
        if budget < LEAST_BUDGET {
            return Err(Error::invalid(format!(
                "nothing can be measured in {budget:?}: give at least {LEAST_BUDGET:?}"
            )));
        }
        self.budget = budget;
        Ok(self)
    }

    /// Runs TorchScript files, which are programs: you know where they come from.
    pub fn trust(mut self) -> Self {
        self.trust = true;
        self
    }

    /// Measures every engine in fresh processes, interleaved, and prints the figures on standard error.
    /// Checks that measure at the same time wait for each other.
    ///
    /// # Errors
    /// Fails on a model or a sample that is not there or not as expected, on golden outputs that are not
    /// there or are those of other inputs, where an engine that was named does not run the model, and
    /// where none does: the message has the engines' own words.
    pub fn run(&self) -> Result<Summary> {
        let golden = match std::env::var_os(VARIABLE) {
            None => Golden::Compare,
            Some(value) if value.is_empty() => Golden::Compare,
            Some(value) if value == WRITE => Golden::Write,
            Some(value) => {
                return Err(Error::invalid(format!(
                    "{VARIABLE} is {value:?}, but can only be {WRITE:?}"
                )));
            }
        };
        let summary = self.run_with(golden)?;
        say(&summary.to_string());
        Ok(summary)
    }

    /// [`Check::run`] without a word and without the environment.
    pub(crate) fn run_with(&self, golden: Golden) -> Result<Summary> {
        for model in &self.models {
            is_there(model)?;
        }
        if let Some(file) = self.golden.as_ref().filter(|file| !file.is_file()) {
            let how = match self.renewal() {
                Some(_) if golden == Golden::Write => return harness::measure(self, golden),
                Some(how) => how,
                None => "only a file that ends in .safetensors can be written here".into(),
            };
            return Err(Error::new(
                ErrorKind::NothingToCompare,
                format!("the golden outputs {} are not there; {how}", file.display()),
            ));
        }
        harness::measure(self, golden)
    }

    /// How golden outputs are kept anew; `None` where they are not Firstpass's to write.
    pub(crate) fn renewal(&self) -> Option<String> {
        let file = self.golden.as_ref()?;
        let model = self.models.first()?;
        harness::keeps_golden(file).then(|| {
            let quoted = harness::quoted;
            let options = self.inputs.iter();
            let options = options.map(|input| format!(" --input {}", quoted(Path::new(&input.to_string()))));
            let samples = self.samples.iter();
            let samples = samples.map(|sample| format!(" --sample {}", quoted(sample)));
            let engines = self.engines.iter();
            let engines = engines.map(|engine| format!(" --engine {}", quoted(Path::new(engine))));
            let options: String = options.chain(samples).chain(engines).collect();
            format!(
                "run this test once with {VARIABLE}={WRITE} to keep the outputs of today; in a checkout \
                 of Firstpass `cargo firstpass golden {}{options} --force --out {}` does the same",
                quoted(model),
                quoted(file)
            )
        })
    }
}

fn tensors(file: PathBuf) -> Result<PathBuf> {
    if harness::is_tensors(&file) {
        return Ok(file);
    }
    Err(Error::invalid(format!(
        "{} is no .npy, .npz or .safetensors file",
        file.display()
    )))
}

fn is_there(file: &Path) -> Result<()> {
    if file.is_file() {
        return Ok(());
    }
    let here = std::env::current_dir().unwrap_or_default();
    Err(Error::invalid(format!(
        "there is no file {} (paths are relative to {})",
        file.display(),
        here.display()
    )))
}

/// With the first engine that needs no native library; its probe is built where it is not there yet.
#[cfg(test)]
mod tests {
    use std::fs;

    use firstpass_onnx::{
        GraphProto,
        write::{constant, encode, f32_value, node},
    };

    use super::*;
    use crate::Reference;

    /// A model that multiplies three numbers by a weight.
    fn write_model(path: &Path, weight: f32) {
        let graph = GraphProto {
            node: vec![node("Mul", &["x", "weight"], "y")],
            initializer: vec![constant("weight", &[1], &[weight])],
            input: vec![f32_value("x", Some(&[1, 3]))],
            output: vec![f32_value("y", Some(&[1, 3]))],
            ..GraphProto::default()
        };
        fs::write(path, encode(graph, 13)).expect("a model");
    }

    /// A folder of this name that is empty. It is the same in every run, because what is measured is kept by
    /// the path of the model.
    fn empty(name: &str) -> PathBuf {
        let folder = harness::target().join("firstpass/tests").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("a folder of this test");
        }
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn check(model: &Path) -> Result<Check> {
        let engine = harness::engine_without_library()?;
        let check = Check::new(model).engine(&engine)?.processes(2)?;
        check.budget(Duration::from_secs(20))
    }

    #[test]
    fn other_weights_fail_and_an_engine_alone_proves_nothing() -> Result<()> {
        let folder = empty("other-weights");
        let model = folder.join("model.onnx");
        let golden = folder.join("kept/model.golden.safetensors");
        write_model(&model, 2.0);

        let alone = check(&model)?.run_with(Golden::Compare)?;
        assert_eq!(alone.reference(), &Reference::Referee);
        let error = alone.check_agreement().expect_err("must fail");
        assert_eq!(error.kind(), ErrorKind::NothingToCompare, "{error}");
        assert!(
            alone
                .record()
                .starts_with(harness::target().join("firstpass"))
        );
        assert!(alone.record().join("run.json").is_file());

        let check = check(&model)?.golden(&golden)?;
        let written = check.run_with(Golden::Write)?;
        assert!(written.to_string().contains("wrote "), "{written}");
        written.check_agreement()?;

        let same = check.run_with(Golden::Compare)?;
        assert_eq!(
            same.reference(),
            &Reference::Golden(golden.display().to_string())
        );
        same.check_agreement()?;
        assert!(same.engines()[0].first_pass()?.processes() == 2);
        assert!(same.check_first_pass_below(1e6)?.is_kept());
        assert_eq!(
            same.check_first_pass_below(1e-6)
                .map(drop)
                .map_err(|e| e.kind()),
            Err(ErrorKind::AboveLimit)
        );

        write_model(&model, 3.0);
        let kept = fs::read(&golden).expect("golden outputs");
        let other = check.run_with(Golden::Compare)?;
        let error = other.check_agreement().expect_err("must fail");
        assert_eq!(error.kind(), ErrorKind::OtherOutputs);
        for words in [
            "y: differs by",
            "model.onnx is another file",
            "FIRSTPASS_GOLDEN=write",
        ] {
            assert!(error.to_string().contains(words), "{words:?}: {error}");
        }
        assert_eq!(fs::read(&golden).expect("golden outputs"), kept);
        check.run_with(Golden::Write)?.check_agreement()?;
        check.run_with(Golden::Compare)?.check_agreement()
    }

    #[test]
    fn golden_outputs_of_others_are_not_overwritten() -> Result<()> {
        let folder = empty("of-others");
        let model = folder.join("model.onnx");
        let golden = folder.join("expected.safetensors");
        write_model(&model, 2.0);
        let tensors = "tests/example/inputs/random-1.safetensors";
        fs::copy(tensors, &golden).expect("a copy");
        let check = Check::new(&model).golden(&golden)?;
        let error = check.run_with(Golden::Write).expect_err("must fail");
        assert!(error.to_string().contains("`.sample(…)`"), "{error}");
        assert_eq!(fs::read(&golden).ok(), fs::read(tensors).ok());

        let check = Check::new(&model).golden("no/such.npz")?;
        let error = check.run_with(Golden::Write).expect_err("must fail");
        assert_eq!(error.kind(), ErrorKind::NothingToCompare);
        assert!(
            error.to_string().contains("ends in .safetensors"),
            "{error}"
        );
        Ok(())
    }

    #[test]
    fn an_engine_that_is_named_has_to_run_the_model() -> Result<()> {
        let folder = empty("unknown");
        let model = folder.join("unknown.onnx");
        let graph = GraphProto {
            node: vec![node("NoSuchOperator", &["x"], "y")],
            input: vec![f32_value("x", Some(&[1, 3]))],
            output: vec![f32_value("y", Some(&[1, 3]))],
            ..GraphProto::default()
        };
        fs::write(&model, encode(graph, 13)).expect("a model");
        let golden = folder.join("unknown.golden.safetensors");
        let check = check(&model)?.golden(&golden)?;
        let error = check.run_with(Golden::Write).expect_err("must fail");
        assert!(!golden.exists());
        assert_eq!(error.kind(), ErrorKind::NotMeasured);
        let error = error.to_string();
        assert!(
            error.contains(&check.engines[0]) && error.contains("NoSuchOperator"),
            "{error}"
        );
        Ok(())
    }
}
