//! `firstpass check`: everything about a model of the user's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use firstpass_native::Lock;
use firstpass_probe::{Knobs, Tuned};
use firstpass_trial::{
    affinity::Affinity, engine::Backend, engine_spec::chosen_backends,
    expectation::ExpectationVerdict, machine::all_threads, own_model, process::Probe,
    processor::Processor, setup, tensor_files::is_tensors, workload::Workload,
    workspace::Workspace,
};

use crate::{
    culprit::{Investigation, engines::Engines, verdict},
    page::{
        shell::{self, Given},
        terminal::text as shown,
    },
    record::{RunSettings, Target},
    report::{self, terminal},
    studies::{
        explain,
        first_passes::{
            analysis::Analysis,
            arguments::{self as measure, Time},
            measure as campaign,
        },
        tune::{self as tuning, measure::try_settings},
    },
    user_model::{Inputs, arguments as named, lay_out},
};

/// The time for all measuring, in s, and for a look.
const BUDGET: f64 = 360.0;
const QUICK_BUDGET: f64 = 60.0;

/// The shares of the time for for_tuning settings and for the report itself; the rest is for profiles.
const TUNING: f64 = 0.4;
const REPORT: f64 = 0.45;

/// With less of the time left nothing is profiled: each engine needs two processes for that.
const LEAST_PROFILING: f64 = 0.05;

/// The share of the time for saying why an engine differs, where one does.
const BLAMING: f64 = 0.05;

/// What goes on around the measuring, in s: engines say what they are, and the report is rendered.
const AROUND: f64 = 5.0;

/// The time of the whole command, in s, and what is left of it for measuring.
struct TimeLeft {
    began: Instant,
    whole: f64,
}

impl TimeLeft {
    fn left(&self) -> f64 {
        // A short time is for measuring all the same.
        let around = AROUND.min(self.whole / 4.0);
        (self.whole - around - self.began.elapsed().as_secs_f64()).max(1.0)
    }
}

const TARGET: Target = Target {
    steady: 0.03,
    first_pass: 0.10,
};

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
    /// The outputs that the model should give: arrays by name of output, or by sample/output where
    /// there are several samples
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Compare outputs on other processors as well, which are emulated: nehalem (SSE4), haswell (AVX2 without
    /// VNNI), skylake, zen3, or another that qemu-user emulates
    #[arg(long = "cpu", value_delimiter = ',', value_name = "NAME,…")]
    processors: Vec<String>,
    /// Numbers of threads [default: 1 and all]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    threads: Vec<usize>,
    /// The time for the whole command, such as 90s, 5m or 1h; builds are not part of it [default: 6m]
    #[arg(long, value_name = "TIME")]
    budget: Option<Time>,
    /// A first look, in about a minute: agreement and first passes only, one thread
    #[arg(long)]
    quick: bool,
    /// Keep each process on as many CPUs as it has threads
    #[arg(long)]
    pin: bool,
    /// Open the report in a browser at the end
    #[arg(long)]
    open: bool,
    /// Where the report goes [default: reports/check/NAME in a checkout, else firstpass/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Succeeds where the report was written, whatever it says, and at least one engine ran the model.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    for file in arguments.samples.iter().chain(&arguments.golden) {
        ensure!(
            is_tensors(file),
            "{} is no .npy, .npz or .safetensors file",
            file.display()
        );
    }
    measure::check_threads(&arguments.threads)?;
    let backends = chosen_backends(workspace, &arguments.backends)?;
    let processors = arguments.processors.iter();
    let processors: Vec<Processor> = processors
        .map(|name| Processor::named(name))
        .collect::<Result<_>>()?;
    setup::attempt(workspace, &backends);
    let (folder, workload, _lock) = workload(workspace, arguments)?;
    // Builds are no part of the time. One that fails is a row that says so.
    let _probes: Vec<_> = backends
        .iter()
        .map(|b| Probe::build(workspace, b))
        .collect();
    let record = campaign::new_record(&folder.join("records"), "");
    let whole = arguments.budget.map_or(
        if arguments.quick {
            QUICK_BUDGET
        } else {
            BUDGET
        },
        |Time(time)| time.as_secs_f64(),
    );
    let time = TimeLeft {
        began: Instant::now(),
        whole,
    };
    let mut tuned = Tuned::default();
    if !arguments.quick {
        let for_tuning = arguments.measure(whole * TUNING);
        // What is tried is tried on one input.
        match try_settings(workspace, &backends, &workload, &for_tuning, &record, false) {
            Ok(()) => {
                if let Some(tuning) = tuning::read(workspace, &record)? {
                    tuned = tuning.tuned();
                    tuning::apply(&tuning, &folder.join("tuned.toml"))?;
                }
            }
            Err(error) => eprintln!("no settings were tried: {}", shown(&format!("{error:#}"))),
        }
    }
    let for_report = match (arguments.quick, arguments.budget) {
        (true, None) => QUICK_BUDGET,
        (true, Some(_)) => time.left(),
        (false, _) => time.left() * REPORT / (1.0 - TUNING),
    };
    let settings = RunSettings {
        asked_budget_s: Some(whole),
        ..arguments.settings(for_report, &tuned)?
    };
    let emulated = processors
        .iter()
        .flat_map(|processor| backends.iter().map(|engine| processor.of(engine)));
    let all: Vec<Backend> = backends.iter().cloned().chain(emulated).collect();
    let record = campaign::run(workspace, &all, &workload, &settings, &record)?;
    if !arguments.quick {
        if time.left() > LEAST_PROFILING * whole {
            let left = time.left() - BLAMING * whole;
            explain_it(workspace, &backends, &workload, left, &tuned, &record)?;
        } else {
            eprintln!("not profiled: the budget is used up; give a longer --budget");
        }
    }
    let record = record
        .canonicalize()
        .with_context(|| format!("there is no record {}", record.display()))?;
    let analysis = report::write(workspace, &folder, &record, true)?;
    println!("{}", terminal::summary(&analysis)?);
    println!("report: {}", folder.join("README.md").display());
    report::command::show_html(&folder, arguments.open);
    println!("record: {}", record.display());
    // A look is too short for it.
    let budget = (!arguments.quick).then(|| Duration::from_secs_f64(BLAMING * whole));
    blame_it(
        workspace, &backends, &workload, &analysis, budget, arguments,
    );
    Ok(if analysis.gave_outputs() {
        ExitCode::SUCCESS
    } else {
        eprintln!("error: no engine runs this model; the report says why");
        ExitCode::FAILURE
    })
}

impl Arguments {
    fn measure(&self, budget_s: f64) -> measure::Arguments {
        measure::Arguments {
            backends: self.backends.clone(),
            models: Vec::new(),
            images: Vec::new(),
            samples: Vec::new(),
            inputs: Vec::new(),
            threads: self.threads.first().copied().into_iter().collect(),
            budget: Some(Time(Duration::from_secs_f64(budget_s))),
            processes: None,
            passes: None,
            pin: self.pin,
            priority: None,
            command: longer(),
            trust: self.model.trust,
        }
    }

    fn settings(&self, budget_s: f64, tuned: &Tuned) -> Result<RunSettings> {
        let threads = match (&self.threads[..], self.quick) {
            ([], true) => vec![1],
            ([], false) => vec![1, all_threads()],
            (threads, _) => threads.to_vec(),
        };
        let variants = tuned.iter().filter(|(_, knobs)| *knobs != Knobs::default());
        let variants = variants.map(|(backend, knobs)| (backend.to_owned(), vec![knobs]));
        let arguments = measure::Arguments {
            threads,
            ..self.measure(budget_s)
        };
        arguments.settings(RunSettings {
            // The time decides: a small model may have many.
            processes: 100,
            least_processes: 3,
            passes: 40,
            agreement_passes: 2,
            skip_arithmetic: false,
            threads: Vec::new(),
            budget_s,
            process_budget_ms: if self.quick { 500 } else { 1500 },
            target: TARGET,
            affinity: Affinity::default(),
            cold_files: false,
            entries: 1,
            variants: variants.collect::<BTreeMap<_, _>>(),
            first_format_only: false,
            agreement_only: BTreeSet::new(),
            seek_reference: true,
            asked_budget_s: None,
            command: Vec::new(),
        })
    }
}

/// The words of the command but for its time: what a longer run is asked for with.
fn longer() -> Vec<String> {
    Given::now().without(&["--open"], &["--budget"]).words()
}

/// A command about the same model and its first input.
fn about_the_same(subcommand: &str, arguments: &Arguments) -> String {
    let flags = ["--open", "--quick", "--pin"];
    let mut valued = vec!["--budget", "--out", "--threads", "--cpu"];
    // These commands take one input, and golden outputs of several are told apart by their names.
    if !arguments.samples.is_empty() && !arguments.images.is_empty() {
        valued.push("--image");
    }
    if arguments.samples.len() + arguments.images.len() > 1 {
        valued.push("--golden");
    }
    let given = Given::now().instead_of("check", subcommand);
    let given = given.without(&flags, &valued);
    shell::command(given.with_first_of(&["--sample", "--image"]).words())
}

fn explain_it(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    budget_s: f64,
    tuned: &Tuned,
    record: &Path,
) -> Result<()> {
    let settings = explain::ExplainSettings {
        rounds: 4,
        passes: 12,
        threads: 1,
        budget_s,
    };
    explain::measure(workspace, backends, workload, settings, tuned, record).map(drop)
}

/// Where an engine differs: why, as far as that is found out in the time, and the commands that go on.
fn blame_it(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    analysis: &Analysis,
    budget: Option<Duration>,
    arguments: &Arguments,
) {
    let rows = analysis.rows.values().flatten();
    let mut verdicts = rows.filter_map(|row| row.verdict.as_ref());
    if !verdicts.any(ExpectationVerdict::is_difference) {
        return;
    }
    let blamed = budget.map(|budget| {
        let engines = Engines::start(workspace, backends)?;
        let mut investigation = Investigation::new(&engines, workload, budget)?;
        let found = investigation.look()?;
        verdict(workspace, &mut investigation, &found)
    });
    match blamed {
        Some(Ok(text)) => println!("{}", shown(&text)),
        // What was measured is there all the same.
        Some(Err(why)) => eprintln!(
            "why an engine differs was not found out: {}",
            shown(&format!("{why:#}"))
        ),
        None => {}
    }
    println!(
        "`{}` says why an engine differs, and `{}` cuts the model down to what shows it",
        shown(&about_the_same("blame", arguments)),
        shown(&about_the_same("reduce", arguments))
    );
}

/// The folder of the report, and the model with its inputs, which are kept there.
/// Nobody else checks into the folder as long as the lock is held.
fn workload(workspace: &Workspace, arguments: &Arguments) -> Result<(PathBuf, Workload, Lock)> {
    let own = &arguments.model;
    let described = own.described();
    let model = match described {
        Some(path) => Workload::find_model(workspace, &path.to_string_lossy())?,
        None => own.describe(workspace, &arguments.samples, !arguments.images.is_empty())?,
    };
    let source = match described {
        Some(_) => model.file.clone(),
        None => own.first().context("give a model file")?.clone(),
    };
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None => own_model::claimed(&workspace.checks(), &model.name, &source)?,
    };
    let folder = std::path::absolute(&folder)?;
    report::check_folder(&folder)?;
    let unwritable = || {
        format!(
            "cannot write to {}; give a writable folder with --out",
            folder.display()
        )
    };
    let lock = Lock::try_take(&folder.join(".check.lock")).with_context(unwritable)?;
    let lock = lock.map_err(|holder| {
        anyhow!(
            "{holder} is checking into {} already: wait for its end, or name another folder with --out",
            folder.display()
        )
    })?;
    own_model::claim(&folder, &source)?;
    let inputs = Inputs {
        files: [&arguments.images[..], &arguments.samples[..]].concat(),
        golden: arguments.golden.clone(),
    };
    let workload = lay_out(workspace, model, &inputs, &folder, own.trust)?;
    Ok((folder, workload, lock))
}
