//! Profiling, in rounds, each process beside a plain one.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use firstpass_probe::{Description, Knobs, Model, PassPlan, Profile, Span, THREADS, Trial, Tuned};
use firstpass_trial::{
    engine::Backend,
    machine::{Machine, load_average, now},
    model::ModelDescription,
    patience::{Patience, patience},
    process::{Probe, start},
    workload::{InputFiles, Workload},
    workspace::Workspace,
};
use rand::seq::SliceRandom;

use crate::{
    page::terminal::text as shown,
    progress::progress,
    record::{Recorder, code::Code, sidecar},
    studies::explain::{
        ExplainProcess, ExplainRun, ExplainSettings, SIDECAR, VERSION, Variant, without_warm_up,
    },
};

/// One model file on one backend.
struct Task {
    backend: String,
    probe: Probe,
    /// The engine's version.
    engine: String,
    model: Model,
    /// Besides the number of threads.
    knobs: Knobs,
    input: PathBuf,
    /// Those that did not fail yet.
    variants: Vec<Variant>,
    /// How many it has had, and the time that they took.
    rounds: usize,
    spent: Duration,
}

/// What a process measured.
enum ProcessTimes {
    Profiled(Profile),
    Plain(Vec<Span>),
}

/// Profiles every model of the subject on every backend, each in the first of the backend's formats
/// that the model has, on the first photograph, by default and with the backend's tuned settings
/// where it has some: that shows what remains. Writes it beside the record in the folder `record`
/// and returns where. What cannot be profiled is a line with its reason; the others are profiled
/// all the same.
///
/// # Errors
/// Fails where there is no record, and where models or the photograph cannot be read or the
/// measurements cannot be written.
pub fn measure(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    settings: ExplainSettings,
    tuned: &Tuned,
    record: &Path,
) -> Result<PathBuf> {
    let code = Code::observe(workspace)?;
    let sample = workload.samples.first().context("there is no photograph")?;
    let run = ExplainRun {
        version: VERSION,
        date: now(),
        machine: Machine::observe(),
        code,
        settings,
        image: sample.name.clone(),
    };
    let mut inputs = InputFiles::new()?;
    let mut files = Vec::new();
    for model in &workload.models {
        files.push((model, inputs.file(sample, model)?));
    }
    let mut recorder = SIDECAR.begin(record, workspace.root(), &run)?;
    recorder.announce_interruption(sidecar::what_next);
    let mut tasks = Vec::new();
    for backend in backends {
        let (mut probe, description) = match start(workspace, backend) {
            Ok(started) => started,
            Err(reason) => {
                let line = failure(settings, None, &reason);
                write(&mut recorder, &backend.name, &line)?;
                continue;
            }
        };
        // One that hangs may not take many times what was asked for.
        probe.timeout = probe.timeout.min(patience(settings.budget_s));
        probe.patience = Some(Patience::within(settings.budget_s));
        for (model, input) in &files {
            match choose(workload, &description, model) {
                Ok(chosen) => {
                    let tuned = without_warm_up(&tuned.of(&backend.name));
                    let mut settings = vec![Knobs::default(), tuned];
                    settings.dedup();
                    tasks.extend(settings.into_iter().map(|knobs| Task {
                        backend: backend.name.clone(),
                        probe: probe.clone(),
                        engine: description.engine.version.clone(),
                        model: chosen.clone(),
                        knobs,
                        input: input.clone(),
                        variants: vec![Variant::Profiled, Variant::Plain],
                        rounds: 0,
                        spent: Duration::ZERO,
                    }));
                }
                Err(reason) => {
                    let line = failure(settings, Some(&model.name), &reason);
                    write(&mut recorder, &backend.name, &line)?;
                }
            }
        }
    }
    run_rounds(&mut tasks, settings, &mut recorder)?;
    recorder.finish()
}

fn choose(
    workload: &Workload,
    description: &Description,
    model: &ModelDescription,
) -> Result<Model> {
    let mut formats = description.formats.iter();
    let chosen = formats
        .find_map(|format| model.artifact(*format))
        .context("the model has no file in a format that the engine reads")?;
    workload.admit(model, &chosen)
}

/// Every task has one round, and then the tasks share the time of the budget: the profile of an engine
/// whose first passes take seconds does not take the time of the others. Both processes of a round run
/// one right after the other, so that what disturbs the machine disturbs them alike.
fn run_rounds(
    tasks: &mut [Task],
    settings: ExplainSettings,
    recorder: &mut Recorder,
) -> Result<()> {
    let bar = progress("explain", 2 * tasks.len() * settings.rounds);
    let budget = Duration::from_secs_f64(settings.budget_s);
    let began = Instant::now();
    tasks.shuffle(&mut rand::rng());
    while let Some(task) = next(tasks, settings.rounds) {
        if task.rounds > 0 && began.elapsed() >= budget {
            break;
        }
        bar.set_message(format!(
            "round {}: {}, {}",
            task.rounds + 1,
            task.backend,
            task.model.name
        ));
        let task_began = Instant::now();
        task.variants.shuffle(&mut rand::rng());
        for variant in task.variants.clone() {
            let line = task.observe(variant, task.rounds, settings);
            if line.failure.is_some() {
                // It is a line already; failing again would only take time.
                task.variants.retain(|v| *v != variant);
            }
            bar.suspend(|| write(recorder, &task.backend, &line))?;
            bar.inc(1);
        }
        if !task.variants.contains(&Variant::Profiled) {
            // Plain passes alone explain nothing.
            task.variants.clear();
        }
        task.rounds += 1;
        task.spent += task_began.elapsed();
    }
    bar.finish_and_clear();
    Ok(())
}

/// Of the tasks that have rounds left, one that has had none, or else that which has had the least time.
fn next(tasks: &mut [Task], rounds: usize) -> Option<&mut Task> {
    let left = tasks
        .iter_mut()
        .filter(|task| task.rounds < rounds && !task.variants.is_empty());
    left.min_by_key(|task| (task.rounds > 0, task.spent))
}

impl Task {
    fn observe(&self, variant: Variant, round: usize, settings: ExplainSettings) -> ExplainProcess {
        let line = ExplainProcess {
            format: Some(self.model.format),
            engine: Some(self.engine.clone()),
            knobs: self.knobs.clone(),
            ..empty(variant, round, settings, Some(&self.model.name))
        };
        match self.run(variant, settings) {
            Ok(ProcessTimes::Profiled(profile)) => ExplainProcess {
                profile: Some(profile),
                ..line
            },
            Ok(ProcessTimes::Plain(passes)) => ExplainProcess { passes, ..line },
            Err(reason) => ExplainProcess {
                failure: Some(format!("{reason:#}")),
                ..line
            },
        }
    }

    fn run(&self, variant: Variant, settings: ExplainSettings) -> Result<ProcessTimes> {
        let knobs = self.knobs.clone().with(THREADS, settings.threads);
        let (measured, passes) = match variant {
            Variant::Profiled => {
                let asked = self
                    .probe
                    .profile(&self.model, &knobs, &self.input, settings.passes);
                let profile = asked.map_err(|outcome| anyhow!("{outcome}"))?;
                let passes = profile.passes.len();
                (ProcessTimes::Profiled(profile), passes)
            }
            Variant::Plain => {
                let (model, inputs) = (self.model.clone(), vec![self.input.clone()]);
                let passes = PassPlan::exactly(settings.passes);
                let process = self.probe.trial(&Trial::new(model, knobs, inputs, passes));
                ensure!(process.completed(), "{}", process.outcome);
                let spans: Vec<Span> = process.passes.iter().map(|pass| pass.span).collect();
                let passes = spans.len();
                (ProcessTimes::Plain(spans), passes)
            }
        };
        ensure!(
            passes == settings.passes,
            "it ran {passes} passes instead of {}",
            settings.passes
        );
        Ok(measured)
    }
}

fn failure(
    settings: ExplainSettings,
    model: Option<&str>,
    reason: &anyhow::Error,
) -> ExplainProcess {
    ExplainProcess {
        failure: Some(format!("{reason:#}")),
        ..empty(Variant::Profiled, 0, settings, model)
    }
}

fn empty(
    variant: Variant,
    round: usize,
    settings: ExplainSettings,
    model: Option<&str>,
) -> ExplainProcess {
    ExplainProcess {
        variant,
        round,
        model: model.map(String::from),
        format: None,
        threads: settings.threads,
        knobs: Knobs::default(),
        engine: None,
        load_average: load_average(),
        profile: None,
        passes: Vec::new(),
        failure: None,
    }
}

/// Keeps a line, and says at once what failed.
fn write(recorder: &mut Recorder, backend: &str, line: &ExplainProcess) -> Result<()> {
    if let Some(reason) = &line.failure {
        let model = line.model.as_deref().unwrap_or("every model");
        eprintln!("{}", shown(&format!("{backend} on {model}: {reason}")));
    }
    recorder.write(backend, line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use firstpass_probe::{Format, ProfiledPass, TensorSpec};

    use super::*;
    use crate::studies::explain::{read, tests::run};

    const HELLO: &str = r#"{"message":"hello","protocol":3,"backend":"x","main_ns":1}"#;
    const DONE: &str = r#"{"message":"done","peak_memory_kib":9,"reference_ns":8}"#;

    /// A probe made of shell commands, which gives this profile and has no trials.
    fn task(folder: &Path, profile: &Profile) -> Result<Task> {
        let profile = serde_json::to_string(&firstpass_probe::Message::Profile(profile.clone()))?;
        let script = format!(
            "#!/bin/sh\necho '{HELLO}'\ncase \"$1\" in '{{\"profile\"'*) echo '{profile}'; echo '{DONE}';; \
             *) exit 3;; esac\n"
        );
        let binary = folder.join("probe");
        std::fs::write(&binary, script)?;
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755))?;
        Ok(Task {
            backend: "x".into(),
            probe: Probe::at(&binary),
            engine: "1".into(),
            model: Model {
                name: "m".into(),
                format: Format::ONNX,
                path: "m.onnx".into(),
                inputs: vec![TensorSpec::f32("x", [1])],
                outputs: Vec::new(),
            },
            knobs: Knobs::default(),
            input: "input".into(),
            variants: vec![Variant::Profiled, Variant::Plain],
            rounds: 0,
            spent: Duration::ZERO,
        })
    }

    fn lines(profile: &Profile, settings: ExplainSettings) -> Result<Vec<ExplainProcess>> {
        let dir = tempfile::tempdir()?;
        let mut tasks = [task(dir.path(), profile)?];
        let mut recorder = SIDECAR.begin(dir.path(), dir.path(), &run())?;
        run_rounds(&mut tasks, settings, &mut recorder)?;
        recorder.finish()?;
        let mut explain = read(dir.path())?.context("nothing there")?;
        Ok(explain.processes.remove("x").unwrap_or_default())
    }

    fn profile(passes: usize) -> Profile {
        let passes = vec![ProfiledPass::default(); passes];
        Profile::new("a hook", Vec::new(), passes)
    }

    #[test]
    fn tasks_share_the_time() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let mut tasks = Vec::new();
        for (backend, rounds, seconds) in [("slow", 1, 9), ("fast", 4, 1), ("done", 5, 0)] {
            tasks.push(Task {
                backend: backend.into(),
                rounds,
                spent: Duration::from_secs(seconds),
                ..task(dir.path(), &profile(1))?
            });
        }
        let chosen = |tasks: &mut [Task]| next(tasks, 5).map(|task| task.backend.clone());
        assert_eq!(chosen(&mut tasks).as_deref(), Some("fast"));
        tasks[1].spent = Duration::from_secs(10);
        assert_eq!(chosen(&mut tasks).as_deref(), Some("slow"));
        // The first round of each comes first.
        tasks[1].rounds = 0;
        assert_eq!(chosen(&mut tasks).as_deref(), Some("fast"));
        tasks[1].variants.clear();
        tasks[0].rounds = 5;
        assert_eq!(chosen(&mut tasks), None);
        Ok(())
    }

    #[test]
    fn what_fails_is_a_line_once_and_the_other_goes_on() -> Result<()> {
        let settings = run().settings;
        let lines = lines(&profile(settings.passes), settings)?;
        let of = |variant| lines.iter().filter(move |line| line.variant == variant);
        assert_eq!(of(Variant::Profiled).count(), settings.rounds);
        assert!(of(Variant::Profiled).all(|line| line.profile.is_some()));
        let plain: Vec<_> = of(Variant::Plain).collect();
        assert_eq!(plain.len(), 1);
        let reason = plain[0].failure.as_deref().unwrap_or_default();
        assert!(reason.contains("exit code 3"), "{reason}");
        Ok(())
    }

    #[test]
    fn a_profile_of_other_passes_is_none() -> Result<()> {
        let lines = lines(&profile(1), run().settings)?;
        let profiled = lines.iter().find(|l| l.variant == Variant::Profiled);
        let reason = profiled.and_then(|line| line.failure.clone());
        assert_eq!(reason.as_deref(), Some("it ran 1 passes instead of 12"));
        assert!(lines.iter().all(|line| line.round == 0));
        Ok(())
    }

    #[test]
    fn the_budget_ends_it_after_the_first_round() -> Result<()> {
        let settings = ExplainSettings {
            budget_s: 0.0,
            ..run().settings
        };
        let lines = lines(&profile(settings.passes), settings)?;
        assert_eq!(lines.len(), 2);
        Ok(())
    }
}
