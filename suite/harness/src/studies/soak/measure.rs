//! The processes of a soak: for each engine a look, memory, two sessions, denormal inputs, a batch, and pauses, as
//! far as its share of the time goes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use firstpass_probe::{
    DENORMALS, DENORMALS_AS_ZERO, Knobs, Model, PassPlan, THREADS, Trial, read_tensors,
};
use firstpass_trial::{
    engine::Backend,
    machine::{Machine, now},
    model::ModelDescription,
    observation::{Outcome, Process},
    patience::TIMEOUT,
    process::{Probe, start},
    workload::{InputFiles, Workload},
    workspace::Workspace,
};

use crate::{
    progress::progress,
    record::{Recorder, code::Code, sidecar},
    studies::soak::{
        Line, Question, SIDECAR, SoakProcess, SoakRun, SoakSettings, VERSION,
        batch::{by_file, compare, scaled_by_batch},
        inputs::{write_batch, write_denormal},
        judge::pauses::BEFORE,
    },
};

/// Passes of the look.
const LOOK: usize = 4;

/// The share of an engine's time for its memory, and the most passes.
const FOR_MEMORY: f64 = 0.3;
const MOST_PASSES: usize = 20_000;

/// Rounds of what is compared between processes, and the time of passes in each process, in ms.
const ROUNDS: usize = 3;
const SHORT_MS: u64 = 250;

/// Ordinary and denormal inputs in turns, beginning and ending with ordinary ones, and the time on each, in ms.
const TURNS: usize = 7;
const TURN_MS: u64 = 40;

/// Inputs in a batch.
const BATCH: usize = 4;

/// Passes before the first pause.
const WARM_UP: usize = 10;

/// The lengths of pauses, in ms, and how often each is tried at most.
const PAUSES: [(u64, usize); 3] = [(100, 12), (1000, 8), (10_000, 5)];

/// All that was kept, by engine, and why the others were not measured.
pub struct Soaked {
    pub run: SoakRun,
    pub kept: BTreeMap<String, Vec<Line>>,
    pub unavailable: Vec<(String, String)>,
}

/// Measures the one model of the workload on every backend that has a file for it, one after the other, and keeps
/// every process beside the record `folder`.
///
/// # Errors
/// Fails where the inputs cannot be made or the folder cannot be written. An engine that fails is told in what is
/// kept.
pub fn measure(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    settings: SoakSettings,
    folder: &Path,
) -> Result<Soaked> {
    let model = workload.models.first().context("there is no model")?;
    let sample = workload.samples.first().context("there is no input")?;
    let run = SoakRun {
        version: VERSION,
        date: now(),
        machine: Machine::observe(),
        code: Code::observe(workspace)?,
        model: model.name.clone(),
        settings,
    };
    let mut recorder = SIDECAR.begin(folder, workspace.root(), &run)?;
    recorder.announce_interruption(sidecar::what_next);
    let mut files = InputFiles::new()?;
    let input = files.file(sample, model)?;
    let denormal = files.folder().join("denormal.safetensors");
    let denormal = write_denormal(&input, &denormal)?.then_some(denormal);

    let mut soaked = Soaked {
        run,
        kept: BTreeMap::new(),
        unavailable: Vec::new(),
    };
    let mut engines = Vec::new();
    for backend in backends {
        match prepare(workspace, backend, workload, model) {
            Ok((probe, file)) => engines.push((backend, probe, file)),
            Err(error) => soaked
                .unavailable
                .push((backend.name.clone(), format!("{error:#}"))),
        }
    }
    // Builds are no part of the time.
    let began = Instant::now();
    let bar = progress("soak", engines.len());
    let mut left = engines.len();
    for (backend, mut probe, file) in engines {
        bar.set_message(backend.name.clone());
        let all = settings.budget_s - began.elapsed().as_secs_f64();
        let share = (all / left as f64).max(1.0);
        left -= 1;
        probe.timeout = TIMEOUT + Duration::from_secs_f64(share);
        let mut engine = Engine {
            backend: &backend.name,
            has_switch: probe.knobs.iter().any(|knob| knob.name == DENORMALS),
            probe,
            described: model,
            file,
            input: input.clone(),
            denormal: denormal.clone(),
            folder: files.folder().to_owned(),
            knobs: Knobs::default().with(THREADS, settings.threads),
            began: Instant::now(),
            share,
            pass_s: 0.0,
            process_s: 0.0,
            lines: Vec::new(),
            recorder: &mut recorder,
        };
        engine.run()?;
        soaked.kept.insert(backend.name.clone(), engine.lines);
        bar.inc(1);
    }
    bar.finish_and_clear();
    recorder.finish()?;
    Ok(soaked)
}

/// The probe of an engine, and the file that it reads.
fn prepare(
    workspace: &Workspace,
    backend: &Backend,
    workload: &Workload,
    model: &ModelDescription,
) -> Result<(Probe, Model)> {
    let (probe, description) = start(workspace, backend)?;
    let mut formats = description.formats.iter();
    let file = formats
        .find_map(|format| model.artifact(*format))
        .with_context(|| format!("it reads no file of {}", model.name))?;
    Ok((probe, workload.admit(model, &file)?))
}

/// One engine, while it is measured.
struct Engine<'a> {
    backend: &'a str,
    probe: Probe,
    described: &'a ModelDescription,
    file: Model,
    input: PathBuf,
    /// The input as denormal numbers, where it has floats.
    denormal: Option<PathBuf>,
    folder: PathBuf,
    knobs: Knobs,
    /// Whether it can take denormal numbers as 0.
    has_switch: bool,
    began: Instant,
    /// Its time, in s.
    share: f64,
    /// What a pass takes, and what a process takes besides its passes, in s.
    pass_s: f64,
    process_s: f64,
    lines: Vec<Line>,
    recorder: &'a mut Recorder,
}

impl Engine<'_> {
    fn run(&mut self) -> Result<()> {
        if !self.look()? {
            return Ok(());
        }
        let plan = PassPlan {
            at_least: 1,
            at_most: MOST_PASSES,
            budget_ms: (FOR_MEMORY * self.share * 1000.0) as u64,
        };
        let mut trial = self.trial(plan);
        trial.tell_memory = true;
        self.observe(Question::Memory, 0, &trial)?;
        self.sessions()?;
        self.denormals()?;
        self.batch()?;
        self.pauses()
    }

    /// Whether there is time for a process with passes of so many seconds.
    fn has_time(&self, passes_s: f64) -> bool {
        self.left() > self.process_s + passes_s
    }

    fn left(&self) -> f64 {
        self.share - self.began.elapsed().as_secs_f64()
    }

    fn trial(&self, passes: PassPlan) -> Trial {
        let (file, inputs) = (self.file.clone(), vec![self.input.clone()]);
        Trial::new(file, self.knobs.clone(), inputs, passes)
    }

    /// Runs a process and keeps it. Returns it where it came to its end.
    fn observe(
        &mut self,
        question: Question,
        round: usize,
        trial: &Trial,
    ) -> Result<Option<Process>> {
        let process = self.probe.trial(trial);
        let line = Line::Process(Box::new(SoakProcess {
            question,
            round,
            knobs: trial.knobs.clone(),
            pauses: trial.pauses.clone(),
            process: process.clone(),
        }));
        self.keep(line)?;
        Ok((process.outcome == Outcome::Completed).then_some(process))
    }

    fn keep(&mut self, line: Line) -> Result<()> {
        self.recorder.write(self.backend, &line)?;
        self.lines.push(line);
        Ok(())
    }

    /// Whether it runs the model at all, and how fast.
    fn look(&mut self) -> Result<bool> {
        let began = Instant::now();
        let trial = self.trial(PassPlan::exactly(LOOK));
        let Some(process) = self.observe(Question::Look, 0, &trial)? else {
            return Ok(false);
        };
        let passes = process.passes.iter();
        let all: f64 = passes.map(|pass| pass.span.wall_ns as f64 / 1e9).sum();
        let last = process.passes.last();
        self.pass_s = last.map_or(0.0, |pass| pass.span.wall_ns as f64 / 1e9);
        self.process_s = (began.elapsed().as_secs_f64() - all).max(0.0);
        Ok(true)
    }

    /// A session alone and with another one beside it, in turns.
    fn sessions(&mut self) -> Result<()> {
        let plan = PassPlan {
            at_least: 4,
            at_most: MOST_PASSES,
            budget_ms: SHORT_MS,
        };
        let passes_s = (4.0 * self.pass_s).max(SHORT_MS as f64 / 1000.0);
        for round in 0..ROUNDS {
            for (question, beside) in [(Question::Alone, 0), (Question::Beside, 1)] {
                // A second session takes its own time to be loaded, and both may be slower by far.
                let factor = 3.0_f64.powi(beside);
                if !self.has_time(factor * passes_s) {
                    return Ok(());
                }
                let mut trial = self.trial(plan);
                trial.beside = usize::from(beside > 0);
                if self.observe(question, round, &trial)?.is_none() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Ordinary and denormal inputs in turns, by default and as 0, where the engine has a switch.
    fn denormals(&mut self) -> Result<()> {
        let plan = PassPlan {
            at_least: 2,
            at_most: 200,
            budget_ms: TURN_MS,
        };
        let inputs: Vec<PathBuf> = match &self.denormal {
            Some(denormal) => {
                let turns = [self.input.clone(), denormal.clone()];
                turns.into_iter().cycle().take(TURNS).collect()
            }
            // There may be denormal numbers within, all the same.
            None => vec![self.input.clone()],
        };
        let mut settings = vec![(Question::Denormals, self.knobs.clone())];
        if self.has_switch {
            let as_zero = self.knobs.clone().with(DENORMALS, DENORMALS_AS_ZERO);
            settings.push((Question::DenormalsAsZero, as_zero));
        } else if self.denormal.is_none() {
            return Ok(());
        }
        let passes_s = TURNS as f64 * (2.0 * self.pass_s).max(TURN_MS as f64 / 1000.0);
        for round in 0..ROUNDS {
            for (question, knobs) in &settings {
                if !self.has_time(passes_s) {
                    return Ok(());
                }
                let trial = Trial::new(self.file.clone(), knobs.clone(), inputs.clone(), plan);
                if self.observe(*question, round, &trial)?.is_none() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Single passes, a batch of them, and one with other neighbours.
    fn batch(&mut self) -> Result<()> {
        let files = write_batch(self.described, &self.file, BATCH, &self.folder)?;
        let (Some(files), true) = (files, self.has_time(4.0 * BATCH as f64 * self.pass_s)) else {
            return Ok(());
        };
        let outputs = self.folder.join("batch-outputs.safetensors");
        let mut trial = Trial::new(
            self.file.clone(),
            self.knobs.clone(),
            files.paths,
            PassPlan::exactly(1),
        );
        trial.shapes = files.shapes;
        trial.outputs = Some(outputs.clone());
        if self.observe(Question::Batch, 0, &trial)?.is_none() {
            return Ok(());
        }
        let mut found = by_file(read_tensors(&outputs)?.0);
        let singles: Vec<_> = (0..BATCH)
            .filter_map(|number| found.remove(&number))
            .collect();
        if let (Some(batch), Some(other)) = (found.remove(&BATCH), found.remove(&(BATCH + 1))) {
            let mut batch = compare(&singles, &batch, &other);
            if batch.by_neighbours > 0 && self.file.format.is_onnx() {
                batch.scaled_by_batch = scaled_by_batch(&self.file.path);
            }
            self.keep(Line::Batch(batch))?;
        }
        Ok(())
    }

    /// Passes after pauses, as many as the rest of the time has room for.
    fn pauses(&mut self) -> Result<()> {
        let group_s = (BEFORE + 1) as f64 * self.pass_s;
        let left = self.left() - self.process_s - WARM_UP as f64 * self.pass_s;
        let lengths = planned(left, group_s);
        if lengths.is_empty() {
            return Ok(());
        }
        let group = BEFORE + 1;
        let mut trial = self.trial(PassPlan::exactly(WARM_UP + group * lengths.len()));
        let lengths = lengths.into_iter().enumerate();
        trial.pauses = lengths
            .map(|(number, length)| (WARM_UP + group * number + BEFORE, length))
            .collect();
        self.observe(Question::Pauses, 0, &trial).map(drop)
    }
}

/// The lengths of pauses, in ms, that take no more than so many seconds, each with passes of `group_s` seconds: all of
/// them in turns, as long as there is time, so that the short ones come more often.
fn planned(seconds: f64, group_s: f64) -> Vec<u64> {
    let mut left = seconds;
    let mut planned = Vec::new();
    let most = PAUSES.iter().map(|(_, most)| *most).max().unwrap_or(0);
    for turn in 0..most {
        // The long ones are asked for as well, so that they come before the short ones are many.
        for (length, most) in PAUSES {
            let cost = length as f64 / 1000.0 + group_s;
            if turn < most && cost <= left {
                left -= cost;
                planned.push(length);
            }
        }
    }
    planned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(seconds: f64, group_s: f64) -> [usize; 3] {
        let planned = planned(seconds, group_s);
        PAUSES.map(|(length, _)| planned.iter().filter(|l| **l == length).count())
    }

    #[test]
    fn pauses_take_what_time_there_is() {
        assert_eq!(counts(1000.0, 0.0), [12, 8, 5]);
        assert_eq!(counts(0.05, 0.0), [0, 0, 0]);
        let [short, middle, long] = counts(18.0, 0.01);
        assert!(
            short >= 5 && middle >= 3 && long == 1,
            "{short} {middle} {long}"
        );
        let [_, middle, long] = counts(35.0, 0.1);
        assert!(middle >= 3 && long >= 2);
        for seconds in [0.0, 1.0, 7.0, 30.0, 300.0] {
            let took: u64 = planned(seconds, 0.0).iter().sum();
            assert!(took as f64 / 1000.0 <= seconds);
        }
        // A slow model has fewer.
        assert_eq!(counts(18.0, 20.0), [0, 0, 0]);
    }
}
