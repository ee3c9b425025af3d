//! Criterion benchmarks, from the same clock as the report: the probe times, criterion samples.
//!
//! It is one program for all engines, and it links none: each benchmark runs the engine's probe. A
//! backend therefore needs no benchmark of its own, and criterion is no part of its tests.

mod plan;

use std::{collections::VecDeque, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, ensure};
use criterion::{Criterion, SamplingMode};
use firstpass_probe::{Knobs, Model, PassPlan, THREADS, Trial};
use firstpass_trial::{
    observation::{Outcome, Process},
    process::{Probe, start},
    workload::{InputFiles, Workload},
    workspace::Workspace,
};

use crate::plan::{Look, Plan};

/// Set to measure the models as well that take too long for a benchmark that one waits for.
pub const ALL: &str = "FIRSTPASS_BENCH_ALL";

/// Criterion takes no fewer.
const SAMPLES: usize = 10;

/// One model file on one engine.
struct Case {
    probe: Probe,
    /// `<engine>`, with its format where that is not the engine's usual one.
    name: String,
    model: String,
    /// One pass over the first photograph, on one thread.
    trial: Trial,
}

/// Builds every engine's probe and measures `cold/<model>`, each iteration the first pass of a fresh
/// process, and `steady/<model>`, each iteration a later pass. What is left out is said at the end.
pub fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let workspace = Workspace::find()?;
    let workload = Workload::fixtures(&workspace)?;
    let mut inputs = InputFiles::new()?;
    let mut left_out = Vec::new();
    let cases = cases(&workspace, &workload, &mut inputs, &mut left_out)?;
    let mut criterion = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(1))
        // The intervals of ten samples need no more.
        .nresamples(10_000)
        .configure_from_args();
    // Looking at every model takes a minute, which a list of names need not wait for.
    let is_list = std::env::args().any(|argument| argument == "--list");
    for (done, case) in cases.iter().enumerate() {
        if is_list {
            case.measure(&mut criterion, Plan::UNMEASURED);
            continue;
        }
        let Case { name, model, .. } = case;
        eprintln!("\n[{} of {}] {name} on {model}", done + 1, cases.len());
        match case.plan() {
            Ok(Some(plan)) => case.measure(&mut criterion, plan),
            Ok(None) => left_out.push(format!(
                "{name} on {model}: two passes take longer than {} s; `cargo firstpass bench --all` \
                 measures them all the same",
                plan::LONGEST_LOOK.as_secs()
            )),
            Err(error) => left_out.push(format!("{name} on {model}: {error:#}")),
        }
    }
    criterion.final_summary();
    if !left_out.is_empty() {
        eprintln!("\nnot measured:\n  {}", left_out.join("\n  "));
    }
    Ok(())
}

/// Every model file that each engine reads; an engine that does not run is left out.
fn cases(
    workspace: &Workspace,
    workload: &Workload,
    inputs: &mut InputFiles,
    left_out: &mut Vec<String>,
) -> Result<Vec<Case>> {
    let sample = workload.samples.first().context("no photographs")?;
    let mut cases = Vec::new();
    for backend in workspace.engines()? {
        let (probe, description) = match start(workspace, &backend) {
            Ok(started) => started,
            Err(error) => {
                left_out.push(format!("{}: {error:#}", backend.name));
                continue;
            }
        };
        for model in &workload.models {
            let files = description.formats.iter().enumerate();
            let files = files.filter_map(|(at, format)| Some((at, model.artifact(*format)?)));
            for (at, file) in files {
                let file = workload.admit(model, &file)?;
                let name = match at {
                    0 => backend.name.clone(),
                    _ => format!("{}-{}", backend.name, file.format.key()),
                };
                cases.push(Case {
                    probe: probe.clone(),
                    name,
                    model: model.name.clone(),
                    trial: one_pass(file, inputs.file(sample, model)?),
                });
            }
        }
    }
    Ok(cases)
}

fn one_pass(model: Model, input: PathBuf) -> Trial {
    let knobs = Knobs::default().with(THREADS, 1);
    Trial::new(model, knobs, vec![input], PassPlan::exactly(1))
}

impl Case {
    /// Looks at one process, to know how many fit; `None` where it takes too long.
    fn plan(&self) -> Result<Option<Plan>> {
        let mut probe = self.probe.clone();
        if std::env::var_os(ALL).is_none() {
            probe.timeout = plan::LONGEST_LOOK;
        }
        let mut trial = self.trial.clone();
        trial.passes = PassPlan::exactly(2);
        let process = probe.trial(&trial);
        if matches!(process.outcome, Outcome::TimedOut { .. }) {
            return Ok(None);
        }
        let look = Look::at(&completed(process)?);
        Ok(Some(look.context("the probe did no two passes")?.plan()))
    }

    fn measure(&self, criterion: &mut Criterion, plan: Plan) {
        let mut cold = criterion.benchmark_group(format!("cold/{}", self.model));
        cold.sampling_mode(SamplingMode::Flat)
            .measurement_time(plan.cold);
        cold.bench_function(&self.name, |bencher| {
            bencher.iter_custom(|processes| {
                let first_passes = (0..processes).map(|_| self.passes(1).iter().sum::<Duration>());
                first_passes.sum()
            });
        });
        cold.finish();
        let mut steady = criterion.benchmark_group(format!("steady/{}", self.model));
        steady
            .sampling_mode(SamplingMode::Flat)
            .measurement_time(plan.steady);
        // Passes of a process that no sample has taken yet.
        let mut ready = VecDeque::<Duration>::new();
        steady.bench_function(&self.name, |bencher| {
            bencher.iter_custom(|passes| {
                let passes = usize::try_from(passes).unwrap_or(usize::MAX);
                if ready.len() < passes {
                    let counted = passes.max(plan.steady_passes);
                    ready = self.passes(plan.warm_up_passes + counted).into();
                    ready.drain(..plan.warm_up_passes);
                }
                ready.drain(..passes).sum()
            });
        });
        steady.finish();
    }

    /// The times of the passes of one fresh process.
    ///
    /// # Panics
    /// Where the process fails: criterion has no other way to end a benchmark.
    fn passes(&self, number: usize) -> Vec<Duration> {
        let mut trial = self.trial.clone();
        trial.passes = PassPlan::exactly(number);
        let process = self.probe.trial(&trial);
        let process = completed(process).unwrap_or_else(|error| panic!("{}: {error:#}", self.name));
        let passes = process.passes.iter();
        let times = passes.map(|pass| Duration::from_nanos(pass.span.wall_ns));
        times.collect()
    }
}

fn completed(process: Process) -> Result<Process> {
    ensure!(
        process.completed(),
        "the probe {}: {}",
        process.outcome,
        process.stderr
    );
    Ok(process)
}
