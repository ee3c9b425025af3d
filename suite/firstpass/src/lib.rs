//! Firstpass in the tests of your own crate: a test that fails when the first pass of your model
//! becomes slow, or when an engine no longer gives the outputs that it should.
//!
//! ```no_run
//! // With #[test] before it, in `tests/first_pass.rs`:
//! fn the_first_pass_stays_fast() -> firstpass::Result<()> {
//!     let measured = firstpass::Check::new("model.onnx")
//!         .input("image=1x3x224x224:f32")
//!         .golden("expected.npz")
//!         .run()?;
//!     measured.assert_first_pass_at_most(20.0)?; // times the steady time
//!     measured.assert_agreement()
//! }
//! # fn main() -> firstpass::Result<()> { the_first_pass_stays_fast() }
//! ```
//!
//! The engines run in processes of their own, whose probes are built in the checkout that this crate
//! comes from; the first run builds them and takes minutes. Run such tests with `--release` or without
//! as you like: what is measured is always built for release.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use firstpass_harness::{
    compare::gate::{self, Limits, Times, Verdict},
    record::{Settings, Target},
    studies::first_passes::{analysis::Analysis, measure as campaign},
    user_model::{Inputs, Own, lay_out},
};
use firstpass_trial::{affinity::Placement, workspace::Workspace};
use tempfile::TempDir;

/// Errors say what failed, where, and what to do next.
pub type Result<T> = anyhow::Result<T>;

/// The time for measuring where none is given.
const BUDGET: Duration = Duration::from_secs(60);

/// What is to be measured.
#[derive(Debug, Clone)]
#[must_use = "nothing is measured before `run`"]
pub struct Check {
    own: Own,
    shapes: Vec<String>,
    inputs: Inputs,
    engines: Vec<String>,
    threads: usize,
    budget: Duration,
}

impl Check {
    /// Of an ONNX or a TorchScript file. A path that is not absolute is relative to the folder in which
    /// the test runs: with cargo, that of your crate.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            own: Own {
                files: vec![model.into()],
                ..Own::default()
            },
            shapes: Vec::new(),
            inputs: Inputs::default(),
            engines: Vec::new(),
            threads: 1,
            budget: BUDGET,
        }
    }

    /// The same model in another format, for the engines that read that.
    pub fn also(mut self, model: impl Into<PathBuf>) -> Self {
        self.own.files.push(model.into());
        self
    }

    /// The shape of an input that the file leaves open, such as `image=1x3x224x224:f32`.
    pub fn input(mut self, shape: &str) -> Self {
        self.shapes.push(shape.into());
        self
    }

    /// Tensors to run the model on: `.npy`, or `.npz` or `.safetensors` with an array for each input by
    /// name. Without any, inputs are made up.
    pub fn sample(mut self, file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        self.own.samples.push(file.clone());
        self.inputs.files.push(file);
        self
    }

    /// The outputs that the model should give: arrays by name of output, or by `sample/output` where
    /// there are several samples. Without them, engines are compared with each other.
    pub fn golden(mut self, file: impl Into<PathBuf>) -> Self {
        self.inputs.golden = Some(file.into());
        self
    }

    /// Only this engine, by its folder in `backends`; may be called several times. All by default.
    pub fn engine(mut self, name: &str) -> Self {
        self.engines.push(name.into());
        self
    }

    /// Threads that one pass may use; 1 by default.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// The time for measuring, without builds; a minute by default.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// Run TorchScript files, which are programs: you know where they come from.
    pub fn trust(mut self) -> Self {
        self.own.trust = true;
        self
    }

    /// Measures every engine in fresh processes, interleaved.
    ///
    /// # Errors
    /// Fails on a model, an input or an engine that is not there or not as expected, and where no engine
    /// runs the model: the message has the engines' own words.
    pub fn run(mut self) -> Result<Measured> {
        ensure!(self.threads > 0, "a pass needs at least one thread");
        let workspace = Workspace::find()?;
        for shape in &self.shapes {
            self.own.inputs.push(shape.parse()?);
        }
        let mut backends = workspace.engines()?;
        for name in &self.engines {
            ensure!(
                backends.iter().any(|backend| &backend.name == name),
                "there is no engine {name:?}"
            );
        }
        backends.retain(|b| self.engines.is_empty() || self.engines.contains(&b.name));
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let model = self.own.describe(&workspace)?;
        let subject = lay_out(
            &workspace,
            model,
            &self.inputs,
            folder.path(),
            self.own.trust,
        )?;
        let settings = Settings {
            processes: 20,
            least_processes: 5,
            passes: 40,
            agreement_passes: 2,
            skip_arithmetic: true,
            threads: vec![self.threads],
            budget_s: self.budget.as_secs_f64(),
            process_budget_ms: 1000,
            target: Target {
                steady: 0.03,
                first_pass: 0.10,
            },
            placement: Placement::default(),
            cold_files: false,
            entries: 1,
            variants: BTreeMap::new(),
            first_format_only: true,
        };
        let record = folder.path().join("record");
        let record = campaign::run(&workspace, &backends, &subject, &settings, &record)?;
        let record = firstpass_harness::record::Record::read(&record)?;
        let analysis = Analysis::new(&workspace, record)?;
        let rows = analysis.rows.values().flatten();
        if rows.into_iter().all(|row| row.outputs.is_none()) {
            bail!(
                "no engine runs this model:\n{}",
                analysis.faults().join("\n")
            );
        }
        Ok(Measured {
            analysis,
            _folder: folder,
        })
    }
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    analysis: Analysis,
    /// The record lies here as long as it is of use.
    _folder: TempDir,
}

impl Measured {
    /// Everything that was judged, as reports show it.
    pub fn analysis(&self) -> &Analysis {
        &self.analysis
    }

    /// Whether pass 1 takes at most so many times the steady time. It is a ratio within one process, so
    /// that the speed of the machine does not matter.
    ///
    /// # Errors
    /// Fails where the whole 95 % interval of an engine lies above the limit, or an engine has none
    /// because it failed. Where the limit lies within the interval it does not: noise breaks no build.
    pub fn assert_first_pass_at_most(&self, times: f64) -> Result<()> {
        let limits = Limits {
            first_pass: Some(Times(times)),
            ..Limits::default()
        };
        let checks = gate::judge(&self.analysis.record, None, &limits);
        ensure!(!checks.is_empty(), "no first pass was measured");
        let broken = checks
            .iter()
            .filter(|check| check.verdict == Verdict::Broken);
        let broken: Vec<String> = broken
            .map(|check| {
                let name = &check.cell.backend;
                match check.ratio {
                    Some((ratio, low, high)) => format!(
                        "{name}: pass 1 takes {ratio:.1} times the steady time ({low:.1} to \
                         {high:.1}), and at most {times} are allowed"
                    ),
                    None => format!("{name}: there is no ratio, because a process failed"),
                }
            })
            .collect();
        ensure!(broken.is_empty(), "{}", broken.join("\n"));
        Ok(())
    }

    /// Whether every engine that was measured gave the golden outputs, or, without these, those of the
    /// engine that the others are nearest to: integers exactly, floats up to the rounding of f32.
    ///
    /// # Errors
    /// Says which engine differs in which output, and by how much.
    pub fn assert_agreement(&self) -> Result<()> {
        let mut faults = self.analysis.faults();
        for row in self.analysis.rows.values().flatten() {
            if let Some(verdict) = &row.verdict
                && verdict.is_difference()
            {
                faults.push(format!("{}: {verdict}", row.label));
            }
        }
        ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(())
    }
}
