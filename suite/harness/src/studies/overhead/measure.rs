//! Building what is compared, and running it in rounds.

mod runner;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use firstpass_probe::{Format, Knobs, Model, PassPlan, THREADS, Trial, monotonic_ns};
use firstpass_trial::{
    engine::Backend,
    machine::{Machine, load_average, now},
    model::{ModelDescription, Precision},
    process::Probe,
    sample::Sample,
    workload::{InputFiles, Workload},
    workspace::Workspace,
};
use indicatif::ProgressBar;
use rand::seq::SliceRandom;

use crate::{
    progress::progress,
    record::{Record, Recorder, code::Code, sidecar},
    studies::overhead::{
        OverheadProcess, OverheadRun, OverheadSettings, SIDECAR, VERSION, Variant,
        judge::judge_backends,
    },
};
use runner::{MeasuredProcess, Runner, direct, python};

/// A process of a slow engine does as many passes as fit into this: its processes differ more than their
/// passes, and more of them tell more.
const PROCESS_TIME: Duration = Duration::from_millis(1500);

/// But so many, for a steady half.
const LEAST_PASSES: usize = 6;

/// How many readings of the clock are timed together.
const CLOCK_READINGS: u32 = 100_000;

/// All variants of one backend, on one model file and one input.
struct Contest<'a> {
    backend: &'a str,
    /// Those that can run; one that fails once is taken out.
    contestants: Vec<(Variant, Runner)>,
    model: Model,
    input: PathBuf,
    /// Of each process.
    passes: usize,
    /// How many it has had, the time that they took, and what was measured.
    rounds: usize,
    used: Duration,
    lines: Vec<OverheadProcess>,
    /// Whether more would tell no more.
    is_precise: bool,
}

/// Measures the variants of each backend and writes what was measured beside the record in the
/// folder `record`; returns where.
///
/// The model is `model`, or for each backend the first int8 one of the fixtures that is there in
/// the format that its users would choose. The input is the first photograph of the fixtures. What
/// cannot be built or fails is a line with its reason; the others are measured all the same.
///
/// # Errors
/// Fails where there is no record, and where the fixtures cannot be read or the measurements
/// cannot be written.
pub fn measure(
    workspace: &Workspace,
    backends: &[Backend],
    model: Option<ModelDescription>,
    settings: OverheadSettings,
    record: &Path,
) -> Result<PathBuf> {
    // Read to be sure that it is one; nothing of it is needed.
    Record::read(record)?;
    let models = match model {
        Some(model) => vec![model],
        None => int8_models(workspace)?,
    };
    let samples = Sample::fixtures(&workspace.fixtures())?;
    let workload = Workload::new(workspace, models, samples)?;
    let run = OverheadRun {
        version: VERSION,
        date: now(),
        machine: Machine::observe(),
        code: Code::observe(workspace)?,
        settings,
        clock_read_ns: clock_read_ns(),
    };
    let mut recorder = SIDECAR.begin(record, workspace.root(), &run)?;
    recorder.announce_interruption(sidecar::what_next);

    let mut inputs = InputFiles::new()?;
    let mut contests = Vec::new();
    for backend in backends {
        let contest = prepare(
            workspace,
            backend,
            &workload,
            settings,
            &mut inputs,
            &mut recorder,
        );
        match contest {
            Ok(contest) => contests.push(contest),
            Err(reason) => {
                eprintln!("{}: {reason:#}", backend.name);
                let line = line(
                    Variant::Probe,
                    0,
                    None,
                    settings,
                    load_average(),
                    Err(reason),
                );
                recorder.write(&backend.name, &line)?;
            }
        }
    }
    run_rounds(&mut contests, settings, &mut recorder)?;
    recorder.finish()
}

fn int8_models(workspace: &Workspace) -> Result<Vec<ModelDescription>> {
    let mut models = Workload::fixture_models(workspace)?;
    models.retain(|model| model.precision == Precision::Int8);
    Ok(models)
}

/// Builds the probe of a backend, and of the other variants those that it has.
fn prepare<'a>(
    workspace: &Workspace,
    backend: &'a Backend,
    workload: &Workload,
    settings: OverheadSettings,
    inputs: &mut InputFiles,
    recorder: &mut Recorder,
) -> Result<Contest<'a>> {
    eprintln!("{}: building what is compared", backend.name);
    let probe = Probe::build(workspace, backend)?;
    let description = probe.describe().map_err(|outcome| anyhow!("{outcome}"))?;
    let format = description.formats.first().copied();
    let (described, model) = format
        .and_then(|format| choose(&workload.models, format))
        .context("no model to measure is there in the format that its users would choose")?;
    let model = workload.admit(described, &model)?;
    let sample = workload.samples.first().context("there is no photograph")?;
    let mut contest = Contest {
        backend: &backend.name,
        contestants: Vec::new(),
        input: inputs.file(sample, described)?,
        model,
        passes: settings.passes,
        rounds: 0,
        used: Duration::ZERO,
        lines: Vec::new(),
        is_precise: false,
    };
    contest.passes = passes_in_time(&probe, &contest, settings)?;
    let engine = description.engine.version;
    let probe = Ok(Runner::Probe { probe, engine });
    let others = [
        (Variant::Direct, direct(workspace, backend)),
        (
            Variant::Python,
            python(workspace, backend).filter(|_| settings.python),
        ),
    ];
    let others = others
        .into_iter()
        .filter_map(|(variant, runner)| Some((variant, runner?)));
    for (variant, runner) in [(Variant::Probe, probe)].into_iter().chain(others) {
        match runner {
            Ok(runner) => contest.contestants.push((variant, runner)),
            Err(reason) => {
                eprintln!("{}, {variant:?}: {reason:#}", backend.name);
                let line = line(
                    variant,
                    0,
                    Some(&contest.model),
                    settings,
                    load_average(),
                    Err(reason),
                );
                recorder.write(&backend.name, &line)?;
            }
        }
    }
    Ok(contest)
}

/// As many passes as are wanted, or fewer of a slow engine: enough for a steady half.
fn passes_in_time(probe: &Probe, contest: &Contest, settings: OverheadSettings) -> Result<usize> {
    let process = probe.trial(&Trial::new(
        contest.model.clone(),
        Knobs::default().with(THREADS, settings.threads),
        vec![contest.input.clone()],
        PassPlan::exactly(LEAST_PASSES),
    ));
    anyhow::ensure!(process.completed(), "{}", process.outcome);
    let last = process.passes.last().map_or(1, |p| p.span.wall_ns.max(1));
    let fitting = PROCESS_TIME.as_nanos() as usize / last as usize;
    Ok(fitting.clamp(LEAST_PASSES.min(settings.passes), settings.passes))
}

fn choose(models: &[ModelDescription], format: Format) -> Option<(&ModelDescription, Model)> {
    models
        .iter()
        .find_map(|model| Some((model, model.artifact(format)?)))
}

/// In every round the variants of a backend run one right after the other, in a new order, so that
/// what disturbs the machine disturbs them alike. What the budget leaves goes to the backends whose
/// figures are not precise yet.
fn run_rounds(
    contests: &mut [Contest],
    settings: OverheadSettings,
    recorder: &mut Recorder,
) -> Result<()> {
    let processes: usize = contests.iter().map(|c| c.contestants.len()).sum();
    let bar = progress("overhead", processes * settings.rounds);
    let budget = Duration::from_secs_f64(settings.budget_s);
    let began = Instant::now();
    while let Some(contest) = next(contests, settings.rounds) {
        if contest.rounds >= settings.rounds {
            if began.elapsed() + contest.usual_round() > budget {
                break;
            }
            bar.inc_length(contest.contestants.len() as u64);
        }
        let round_began = Instant::now();
        contest.run_round(settings, &bar, recorder)?;
        contest.rounds += 1;
        contest.used += round_began.elapsed();
        let measured = contests.iter().map(|c| (c.backend, &c.lines[..]));
        let precise: BTreeMap<String, bool> = judge_backends(measured)
            .into_iter()
            .map(|cost| (cost.backend.clone(), cost.is_precise()))
            .collect();
        for contest in &mut *contests {
            contest.is_precise = precise.get(contest.backend).copied().unwrap_or(false);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The contest whose turn it is until all have had as many rounds as are wanted; then, of those that are
/// not precise yet, the one that has had the least time.
fn next<'a, 'b>(contests: &'a mut [Contest<'b>], rounds: usize) -> Option<&'a mut Contest<'b>> {
    let open = contests.iter_mut().filter(|contest| {
        contest.rounds < rounds || (contest.contestants.len() > 1 && !contest.is_precise)
    });
    open.min_by_key(|contest| (contest.rounds.min(rounds), contest.used))
}

impl Contest<'_> {
    /// The time that one more round takes, by those that it had.
    fn usual_round(&self) -> Duration {
        self.used / u32::try_from(self.rounds.max(1)).unwrap_or(u32::MAX)
    }

    fn run_round(
        &mut self,
        settings: OverheadSettings,
        bar: &ProgressBar,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let round = self.rounds;
        let trial = Trial::new(
            self.model.clone(),
            Knobs::default().with(THREADS, settings.threads),
            vec![self.input.clone()],
            PassPlan::exactly(self.passes),
        );
        self.contestants.shuffle(&mut rand::rng());
        let mut failed = Vec::new();
        for (variant, runner) in &self.contestants {
            bar.set_message(format!(
                "round {}: {}, {variant:?}",
                round + 1,
                self.backend
            ));
            let line = line(
                *variant,
                round,
                Some(&self.model),
                settings,
                load_average(),
                runner.run(&trial),
            );
            if let Some(reason) = &line.failure {
                // It is a line already; failing again would only take time.
                failed.push(*variant);
                bar.suspend(|| eprintln!("{}, {variant:?}: {reason}", self.backend));
            }
            recorder.write(self.backend, &line)?;
            self.lines.push(line);
            bar.inc(1);
        }
        self.contestants
            .retain(|(variant, _)| !failed.contains(variant));
        Ok(())
    }
}

fn line(
    variant: Variant,
    round: usize,
    model: Option<&Model>,
    settings: OverheadSettings,
    load_average: f64,
    measured: Result<MeasuredProcess>,
) -> OverheadProcess {
    let (measured, failure) = match measured {
        Ok(measured) => (Some(measured), None),
        Err(reason) => (None, Some(format!("{reason:#}"))),
    };
    let line = OverheadProcess {
        variant,
        round,
        model: model.map(|model| model.name.clone()),
        format: model.map(|model| model.format),
        threads: settings.threads,
        engine: None,
        load_average,
        passes_ns: Vec::new(),
        gaps_ns: Vec::new(),
        outputs_sha256: None,
        failure,
    };
    match measured {
        None => line,
        Some(measured) => OverheadProcess {
            engine: Some(measured.engine),
            passes_ns: measured.passes_ns,
            gaps_ns: measured.gaps_ns,
            outputs_sha256: Some(measured.outputs_sha256),
            ..line
        },
    }
}

/// The mean of many readings, in ns.
fn clock_read_ns() -> f64 {
    let began = monotonic_ns();
    let last = (0..CLOCK_READINGS).fold(began, |_, _| monotonic_ns());
    (last - began) as f64 / f64::from(CLOCK_READINGS)
}

#[cfg(test)]
mod tests {
    use firstpass_probe::TensorSpec;

    use super::*;

    fn contest(backend: &str, rounds: usize, used_s: u64) -> Contest<'_> {
        let runner = || Runner::Probe {
            probe: Probe::at(Path::new("probe")),
            engine: "1".into(),
        };
        Contest {
            backend,
            contestants: vec![(Variant::Probe, runner()), (Variant::Direct, runner())],
            model: Model {
                name: "m".into(),
                format: Format::ONNX,
                path: "m.onnx".into(),
                inputs: vec![TensorSpec::f32("x", [1])],
                outputs: Vec::new(),
            },
            input: "input".into(),
            passes: 6,
            rounds,
            used: Duration::from_secs(used_s),
            lines: Vec::new(),
            is_precise: false,
        }
    }

    #[test]
    fn the_time_left_goes_to_what_is_not_precise() {
        let mut contests = [contest("slow", 2, 40), contest("fast", 3, 4)];
        let turn = |contests: &mut [Contest]| next(contests, 3).map(|c| c.backend.to_owned());
        assert_eq!(
            turn(&mut contests).as_deref(),
            Some("slow"),
            "a round behind"
        );
        contests[0].rounds = 3;
        assert_eq!(turn(&mut contests).as_deref(), Some("fast"), "less time");
        contests[1].is_precise = true;
        assert_eq!(turn(&mut contests).as_deref(), Some("slow"));
        contests[0].contestants.pop();
        assert_eq!(turn(&mut contests), None, "nothing to compare with");
    }
}
