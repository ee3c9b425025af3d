//! Building a backend's probe, starting it, and listening to it until its end.

mod build;
mod end;
mod messages;
mod request;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use firstpass_probe::{
    Arithmetic, Description, Error, Knob, Knobs, Model, PARENT, PassPlan, Profile, Quantization,
    Request, Tensor, Trial, monotonic_ns, read_tensors,
};
use sysinfo::System;

use crate::{
    affinity::Affinity,
    engine::Backend,
    left_behind::Mark,
    observation::{Outcome, Process},
    patience::{self, Patience, TIMEOUT},
    polling_reader::PollingReader,
    process_limits,
    scratch::{self, Scratch},
    standard_error::StandardError,
    workspace::Workspace,
};

pub use build::{build_example, build_program, cargo, environment, features};
pub(crate) use end::{GRACE, ended, reap, wait};
use end::{MOST_STDERR, end, kill, silent_end, timed_out, too_much};
pub use messages::parse_process;
use messages::{Answers, parse};
use request::{Argument, IN_FILE, check_outputs, check_passes, clear};

/// A built probe of one backend.
#[derive(Debug, Clone)]
pub struct Probe {
    pub binary: PathBuf,
    /// Where the native library is, in the variables that the engine's binding reads.
    pub environment: Vec<(String, PathBuf)>,
    /// What the backend declares; those that the environment carries out are set in it.
    pub knobs: Vec<Knob>,
    /// After this a process without an end is killed.
    pub timeout: Duration,
    /// What the command's budget leaves of that, where it has one.
    pub patience: Option<Patience>,
    /// Whether it is a program of the user's own, which knows nothing of Firstpass.
    pub is_own: bool,
    /// A process that wants more memory of its own fails to get it. Memory that is only mapped, such as
    /// a library or a model file, does not count.
    pub memory_bytes: u64,
    /// A program that runs it, with the arguments of that; none where it runs by itself.
    pub launcher: Vec<OsString>,
    /// Where its processes run, and how urgently.
    pub affinity: Affinity,
    /// Where the executable lies, if that is a folder of this command.
    pub folder: Option<Arc<Scratch>>,
}

/// Builds the probe of a backend and asks its engine what it is; what the engine declares is set in the
/// probe.
///
/// # Errors
/// Fails where the probe cannot be built and where the engine does not start.
pub fn start(workspace: &Workspace, backend: &Backend) -> Result<(Probe, Description)> {
    if backend.binary().is_none() {
        // Standard error may be full or closed, which does no harm.
        let _ = writeln!(io::stderr(), "{}: building the probe", backend.name);
    }
    let mut probe = Probe::build(workspace, backend)?;
    let description = probe.describe().map_err(|outcome| anyhow!("{outcome}"))?;
    probe.knobs.clone_from(&description.knobs);
    Ok((probe, description))
}

/// The outputs of one pass in a process of its own, by name; they pass through the file `saved`.
///
/// # Errors
/// Fails where the process does, in its own words.
pub fn once(
    probe: &Probe,
    model: &Model,
    knobs: &Knobs,
    input: &Path,
    saved: &Path,
) -> Result<BTreeMap<String, Tensor>> {
    let (inputs, passes) = (vec![input.into()], PassPlan::exactly(1));
    let mut trial = Trial::new(model.clone(), knobs.clone(), inputs, passes);
    trial.outputs = Some(saved.into());
    let process = probe.trial(&trial);
    ensure!(process.completed(), "{}", process.outcome);
    let (tensors, _) = read_tensors(saved)?;
    let named = tensors.into_iter().filter_map(|(key, tensor)| {
        // The number of the input comes first.
        let (_, name) = key.split_once('/')?;
        Some((name.to_owned(), tensor))
    });
    Ok(named.collect())
}

/// All that the machine has but a tenth: a model that wants more would take the machine down with it.
pub fn most_memory() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    system.total_memory() / 10 * 9
}

impl Probe {
    /// A probe that was built already.
    pub fn at(binary: &Path) -> Self {
        Self {
            binary: binary.into(),
            environment: Vec::new(),
            launcher: Vec::new(),
            knobs: Vec::new(),
            timeout: TIMEOUT,
            patience: None,
            is_own: false,
            memory_bytes: most_memory(),
            affinity: Affinity::default(),
            folder: None,
        }
    }

    /// Asks the engine what it is.
    ///
    /// # Errors
    /// The outcome, in words, where it is anything but an answer.
    pub fn describe(&self) -> Result<Description, Outcome> {
        let (process, answers) = self.ask(&Request::Describe);
        answer(process, answers.description)
    }

    /// The same by a request in this file.
    ///
    /// # Errors
    /// As [`Probe::describe`].
    pub fn describe_by(&self, request: &Path) -> Result<Description, Outcome> {
        let mut argument = OsString::from(IN_FILE);
        argument.push(request);
        let (process, answers) = self.run(&[argument], &Knobs::default(), self.timeout);
        answer(process, answers.description)
    }

    /// Asks which operators the engine runs for a model.
    ///
    /// # Errors
    /// The outcome, where it is anything but an answer.
    pub fn inspect(
        &self,
        model: &Model,
        knobs: &Knobs,
        input: &Path,
    ) -> Result<Arithmetic, Outcome> {
        let (process, answers) = self.ask(&Request::Inspect {
            model: model.clone(),
            knobs: knobs.clone(),
            input: input.into(),
        });
        answer(process, answers.arithmetic)
    }

    /// Asks where the first `passes` passes spend their time.
    ///
    /// # Errors
    /// The outcome, where it is anything but an answer.
    pub fn profile(
        &self,
        model: &Model,
        knobs: &Knobs,
        input: &Path,
        passes: usize,
    ) -> Result<Profile, Outcome> {
        let (process, answers) = self.ask(&Request::Profile {
            model: model.clone(),
            knobs: knobs.clone(),
            input: input.into(),
            passes,
        });
        answer(process, answers.profile)
    }

    /// Asks for the quantized activations that the engine computes on its own, which go to the file
    /// `outputs`: see [`Request::Activations`]. Returns how each is quantized, in the order of the pass.
    ///
    /// # Errors
    /// The outcome, where it is anything but an answer.
    pub fn activations(
        &self,
        model: &Model,
        knobs: &Knobs,
        input: &Path,
        outputs: &Path,
    ) -> Result<Vec<Quantization>, Outcome> {
        let (process, answers) = self.ask(&Request::Activations {
            model: model.clone(),
            knobs: knobs.clone(),
            input: input.into(),
            outputs: outputs.into(),
        });
        answer(process, answers.quantizations)
    }

    /// Runs one trial in a fresh process.
    pub fn trial(&self, trial: &Trial) -> Process {
        self.ask(&Request::Trial(trial.clone())).0
    }

    /// The same by a request in JSON, whatever it says.
    pub fn trial_by(&self, request: &str) -> Process {
        self.run(&[request.into()], &Knobs::default(), self.timeout)
            .0
    }

    fn ask(&self, request: &Request) -> (Process, Answers) {
        let knobs = request.knobs();
        let argument = Argument::of(request);
        let argument = argument.and_then(|argument| {
            request.outputs().map(clear).transpose()?;
            Ok(argument)
        });
        let timeout = self.waits(request);
        let (mut process, answers) = match argument {
            Ok(argument) => self.run(std::slice::from_ref(&argument.text), &knobs, timeout),
            Err(error) => (not_started(&format!("{error:#}")), Answers::default()),
        };
        if process.completed()
            && let Some(file) = request.outputs()
            && let Err(why) = check_outputs(file)
        {
            process.outcome = Outcome::Failed(why);
        }
        // A probe of this project does what it is asked, as its own tests hold.
        if process.completed()
            && self.is_own
            && let Request::Trial(trial) = request
            && let Err(why) = check_passes(trial, &process)
        {
            process.outcome = Outcome::Failed(why);
        }
        self.note(request, &process);
        (process, answers)
    }

    /// How long an answer to this request is waited for.
    fn waits(&self, request: &Request) -> Duration {
        match (self.patience, model_of(request)) {
            (Some(patience), Some(model)) => patience.of(&self.binary, &model.path, self.timeout),
            _ => self.timeout,
        }
    }

    /// Remembers whether it is worth while to wait for this program on this model.
    fn note(&self, request: &Request, process: &Process) {
        let (Some(_), Some(model)) = (self.patience, model_of(request)) else {
            return;
        };
        match (&process.outcome, request) {
            (Outcome::Completed, Request::Trial(_)) => patience::ran(&self.binary, &model.path),
            (Outcome::TimedOut { .. }, _) => patience::hung(&self.binary, &model.path),
            _ => {}
        }
    }

    /// Starts the probe with these arguments and listens to it until its end, or for so long.
    fn run(&self, arguments: &[OsString], knobs: &Knobs, timeout: Duration) -> (Process, Answers) {
        match self.listen(arguments, knobs, timeout) {
            Ok(observed) => observed,
            Err(error) => (not_started(&format!("{error:#}")), Answers::default()),
        }
    }

    fn listen(
        &self,
        arguments: &[OsString],
        knobs: &Knobs,
        timeout: Duration,
    ) -> Result<(Process, Answers)> {
        let mut command = match self.launcher.split_first() {
            Some((program, before)) => {
                let mut command = Command::new(program);
                command.args(before).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .envs(knobs.environment(&self.knobs))
            .env(PARENT, std::process::id().to_string())
            .envs(scratch::temporary().map(|folder| ("TMPDIR", folder)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A program may well empty its folder for temporary files, in which those of others lie.
        let own_folder = match (self.is_own, scratch::temporary()) {
            (true, Some(folder)) => Some(tempfile::tempdir_in(folder)?),
            _ => None,
        };
        if let Some(folder) = &own_folder {
            command.env("TMPDIR", folder.path());
        }
        // What the program leaves behind is ended with this value.
        let mark = self.is_own.then(Mark::new);
        if let Some(mark) = &mark {
            mark.put(&mut command);
            process_limits::die_with_this_process(&mut command);
        }
        // Stamped by the thread that spawns: making that thread is no part of a cold start.
        let spawn = move || (monotonic_ns(), command.spawn());
        let ((spawned_ns, child), _parent) = self.affinity.spawning(knobs.threads(), spawn)?;
        let mut process = Process::new(spawned_ns);
        let mut child = child.with_context(|| format!("cannot start {}", self.binary.display()))?;
        if let Err(error) = process_limits::limit(&child, self.memory_bytes) {
            return Err(match child.kill().and_then(|()| child.wait()) {
                Ok(_) => error,
                Err(other) => error.context(other),
            });
        }

        let mut answers = Answers::default();
        let stderr = StandardError::of(child.stderr.take());
        let ended = match child.stdout.take() {
            Some(stdout) => parse(
                PollingReader::new(stdout).buffered(),
                timeout,
                &mut process,
                &mut answers,
                || {
                    if stderr.written() > MOST_STDERR {
                        return Err(too_much("256 MiB to standard error"));
                    }
                    Ok(matches!(child.try_wait(), Ok(Some(_))))
                },
            ),
            None => Ok(None),
        };
        process.outcome = match ended {
            Ok(None) => match end(&mut child, &stderr)? {
                Ok(Some(status)) => silent_end(status, &process),
                Ok(None) => kill(&mut child, timed_out(GRACE, &process)),
                Err(flooded) => kill(&mut child, flooded),
            },
            Ok(Some(said)) => match (end(&mut child, &stderr)?, said) {
                // A probe that says it is done and then dies has not ended well.
                (Ok(Some(status)), Outcome::Completed) if !status.success() => {
                    silent_end(status, &process)
                }
                (Ok(Some(_)), said) => said,
                (Ok(None), _) => kill(&mut child, timed_out(GRACE, &process)),
                (Err(flooded), _) => kill(&mut child, flooded),
            },
            Err(outcome) => kill(&mut child, outcome),
        };
        process.stderr = stderr.tail();
        Ok((process, answers))
    }
}

/// The model that a request is about, if any.
fn model_of(request: &Request) -> Option<&Model> {
    match request {
        Request::Inspect { model, .. }
        | Request::Profile { model, .. }
        | Request::Activations { model, .. } => Some(model),
        Request::Trial(trial) => Some(&trial.model),
        _ => None,
    }
}

fn answer<T>(process: Process, answer: Option<T>) -> Result<T, Outcome> {
    match (process.completed(), answer) {
        (true, Some(answer)) => Ok(answer),
        (true, None) => Err(Outcome::Failed(Error::engine("the probe gave no answer"))),
        (false, _) => Err(process.outcome),
    }
}

fn not_started(error: &dyn std::fmt::Display) -> Process {
    let mut process = Process::new(monotonic_ns());
    process.outcome = Outcome::NotStarted(error.to_string());
    process
}
