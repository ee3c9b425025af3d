//! Building a backend's probe, starting it, and listening to it until its end.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{self, BufRead, Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use firstpass_native::{Holder, Lock};
use firstpass_probe::{
    Arithmetic, Description, Error, Knob, Knobs, Message, Model, PARENT, PROTOCOL, PassPlan, Phase,
    Profile, Quantization, Request, Tensor, Trial, monotonic_ns, read_tensors,
};
use nix::sys::signal::Signal;
use sysinfo::System;
use tempfile::NamedTempFile;

use crate::{
    affinity::Affinity,
    engine::Backend,
    engine::Origin,
    left_behind::Mark,
    observation::{Outcome, Process},
    patience::{self, Patience, TIMEOUT},
    polling_reader::PollingReader,
    process_limits,
    processor::Processor,
    scratch::{self, Scratch},
    standard_error::StandardError,
    workspace::Workspace,
};

/// The probes that this command holds, by checkout and by package with its features.
static HELD: Mutex<BTreeMap<(PathBuf, String), Held>> = Mutex::new(BTreeMap::new());

/// Where a probe lies, and its folder as long as it is there.
type Held = (PathBuf, Weak<Scratch>);

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

/// No message is longer; what is longer is not a message. The longest is a profile: a thousand
/// operators in a hundred passes are about 2 MiB.
const LONGEST_LINE: u64 = 1 << 23;

/// More messages are not listened to: no study asks for a tenth of as many passes.
const MOST_MESSAGES: usize = 250_000;

/// More bytes of standard error are not taken: reading them takes time that is measured.
const MOST_STDERR: u64 = 256 << 20;

/// Messages that wait for being looked at; a probe that sends more waits itself.
const WAITING: usize = 1 << 14;

/// How often it is looked whether a process is still there.
const LOOK: Duration = Duration::from_secs(1);

/// How long a probe may take to end after its last message.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// What a probe said besides what is timed.
#[derive(Debug, Default)]
struct Answers {
    description: Option<Description>,
    arithmetic: Option<Arithmetic>,
    profile: Option<Profile>,
    quantizations: Option<Vec<Quantization>>,
}

impl Probe {
    /// The probe where there is one already; else builds it, by itself: cargo unifies features over the packages of one build, and a
    /// measured binary must not depend on its neighbours. Its tests link the same engine, because the
    /// crate `firstpass-features` gives both the same features.
    ///
    /// As long as a probe of this command is there, it is not built again: even to find nothing to do takes cargo
    /// half a second.
    ///
    /// # Errors
    /// Fails where cargo does; its messages go to standard error.
    pub fn build(workspace: &Workspace, backend: &Backend) -> Result<Self> {
        if let Some(binary) = backend.binary() {
            ensure!(
                binary.is_file(),
                "the probe of {} is not there, at {}",
                backend.name,
                binary.display()
            );
            return Ok(Self {
                environment: environment(workspace, backend),
                launcher: launcher(backend),
                is_own: matches!(backend.origin, Origin::Program(_)),
                ..Self::at(&binary)
            });
        }
        let package = backend.package.as_str();
        let features = features(workspace, backend).join(" ");
        let key = (workspace.root().to_owned(), format!("{package} {features}"));
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let there = held.get(&key);
        let there = there.and_then(|(binary, folder)| Some((binary.clone(), folder.upgrade()?)));
        let (binary, folder) = if let Some((binary, folder)) = there {
            (binary, Some(folder))
        } else {
            let built = build(workspace, backend, &["--bins"], "bin", package)?;
            match hold(&built) {
                Ok((binary, folder)) => {
                    let folder = Arc::new(folder);
                    held.insert(key, (binary.clone(), Arc::downgrade(&folder)));
                    (binary, Some(folder))
                }
                // On a file system without links a build beside this command may replace it.
                Err(_) => (built, None),
            }
        };
        drop(held);
        Ok(Self {
            environment: environment(workspace, backend),
            launcher: launcher(backend),
            folder,
            ..Self::at(&binary)
        })
    }

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

/// Removes what another process has left where outputs are to be: they would be taken for those of the next, if that
/// writes none.
fn clear(outputs: &Path) -> Result<()> {
    let removed = match outputs.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(outputs),
        Ok(_) => std::fs::remove_file(outputs),
    };
    removed.with_context(|| format!("cannot remove {}", outputs.display()))
}

/// Whether a process that says it is done has written tensors where it was asked to. Only a file is read: a link leads
/// to what is none of its own.
fn check_outputs(file: &Path) -> Result<(), Error> {
    let in_words = |what: String| Error::engine(what).in_phase(Phase::Output);
    let is_file = file.symlink_metadata().is_ok_and(|at| at.is_file());
    if !is_file {
        return Err(in_words("it wrote no file of outputs".into()));
    }
    match read_tensors(file) {
        Ok(_) => Ok(()),
        Err(why) => Err(in_words(format!(
            "the outputs that it wrote cannot be read: {}",
            why.chain
                .last()
                .map_or("no reason is known", String::as_str)
        ))),
    }
}

/// Whether a process that says it is done has told its steps and done the passes that it was asked for: a figure of
/// fewer would be called one of too little time.
fn check_passes(trial: &Trial, process: &Process) -> Result<(), Error> {
    let in_words = |what: String| {
        Err(Error::engine(format!(
            "{what}; `firstpass engines test PROGRAM` says what a program must do"
        ))
        .in_phase(Phase::Pass))
    };
    for (step, span) in [
        ("started", process.started),
        ("loaded", process.loaded),
        ("prepared", process.prepared),
    ] {
        if span.is_none() {
            return in_words(format!("it did not tell the step {step:?}"));
        }
    }
    let given = trial.inputs.len();
    let mut done = vec![0; given];
    for pass in &process.passes {
        match done.get_mut(pass.input) {
            Some(done) => *done += 1,
            None => {
                return in_words(format!(
                    "it did a pass on input {}, counted from 0, and was given {given}",
                    pass.input
                ));
            }
        }
    }
    let least = trial.passes.at_least;
    match done.iter().position(|done| *done < least) {
        Some(input) => in_words(format!(
            "it did too few passes on input {input}: {} of at least {least}",
            done[input]
        )),
        None => Ok(()),
    }
}

/// Bytes of a request that is an argument. Linux starts no process with one of 128 KiB, which a model of some
/// thousands of outputs takes.
const LONGEST_ARGUMENT: usize = 64 << 10;

/// What precedes the path of a file with a request.
const IN_FILE: &str = "@";

/// A request as the only argument of a probe.
struct Argument {
    text: OsString,
    /// The file that the argument names, removed when this is dropped.
    _file: Option<NamedTempFile>,
}

impl Argument {
    fn of(request: &Request) -> Result<Self> {
        let json = serde_json::to_string(request)?;
        if json.len() <= LONGEST_ARGUMENT {
            return Ok(Self {
                text: json.into(),
                _file: None,
            });
        }
        let mut file = NamedTempFile::new()?;
        file.write_all(json.as_bytes())
            .with_context(|| format!("cannot write a request to {}", file.path().display()))?;
        let mut text = OsString::from(IN_FILE);
        text.push(file.path());
        Ok(Self {
            text,
            _file: Some(file),
        })
    }
}

/// Reads messages until the last one (`Some`), the end of the stream (`None`), or a fault. Now and then `ended` is asked
/// whether the process has ended: a process that it has started may keep the stream open.
fn parse(
    mut said: impl BufRead + Send + 'static,
    timeout: Duration,
    process: &mut Process,
    answers: &mut Answers,
    mut ended: impl FnMut() -> Result<bool, Outcome>,
) -> Result<Option<Outcome>, Outcome> {
    let (sender, lines) = mpsc::sync_channel(WAITING);
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            match said
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)
            {
                Ok(0) | Err(_) => break,
                Ok(_) if sender.send(line).is_err() => break,
                Ok(_) => {}
            }
        }
    });
    let deadline = Instant::now() + timeout;
    let mut next_look = Instant::now() + LOOK;
    let mut messages = 0;
    let mut has_ended = false;
    loop {
        let now = Instant::now();
        if now >= next_look {
            has_ended = ended()?;
            next_look = now + LOOK;
        }
        let left = deadline.saturating_duration_since(now);
        let line = match lines.recv_timeout(left.min(LOOK)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if left <= LOOK => {
                return Err(timed_out(timeout, process));
            }
            // It ended a while ago, and what it said has arrived.
            Err(RecvTimeoutError::Timeout) if has_ended => return Ok(None),
            Err(RecvTimeoutError::Timeout) => continue,
        };
        messages += 1;
        if messages > MOST_MESSAGES {
            return Err(too_much("250,000 messages"));
        }
        let Ok(message) = serde_json::from_slice(&line) else {
            return Err(garbled(&line, process));
        };
        match message {
            Message::Hello {
                protocol, main_ns, ..
            } => {
                if protocol != PROTOCOL {
                    return Err(Outcome::Failed(Error::unsupported(format!(
                        "the probe speaks protocol {protocol}, this harness {PROTOCOL}; \
                         build both from one checkout, or write it after the PROTOCOL.md of this one"
                    ))));
                }
                process.main_ns = Some(main_ns);
            }
            Message::Started { span } => process.started = Some(span),
            Message::Loaded { span } => process.loaded = Some(span),
            Message::Prepared { span } => process.prepared = Some(span),
            Message::WarmedUp { span } => process.warmed_up = Some(span),
            Message::PreparedAgain { span } => process.prepared_again.push(span),
            Message::Pass(pass) => process.passes.push(pass),
            Message::Description(description) => answers.description = Some(description),
            Message::Arithmetic(arithmetic) => answers.arithmetic = Some(arithmetic),
            Message::Profile(profile) => answers.profile = Some(profile),
            Message::Activations { quantizations } => {
                answers.quantizations = Some(quantizations);
            }
            Message::Done {
                peak_memory_kib,
                reference_ns,
            } => {
                process.peak_memory_kib = peak_memory_kib;
                process.last_reference_ns = Some(reference_ns);
                return Ok(Some(Outcome::Completed));
            }
            Message::Failed(mut error) => {
                if error.chain.is_empty() {
                    error.chain.push("it gave no reason".into());
                }
                return Ok(Some(Outcome::Failed(error)));
            }
        }
    }
}

/// What a process is known by that said this and then ended.
pub fn parse_process(said: impl BufRead + Send + 'static) -> Process {
    let mut process = Process::new(0);
    let answers = &mut Answers::default();
    process.outcome = match parse(said, TIMEOUT, &mut process, answers, || Ok(false)) {
        Ok(Some(outcome)) | Err(outcome) => outcome,
        Ok(None) => silent_end(ExitStatus::default(), &process),
    };
    process
}

/// Builds an example of the backend as [`Probe::build`] builds its probe, so that both are linked
/// with the same engine; returns the executable.
///
/// # Errors
/// Fails where cargo does; its messages go to standard error.
pub fn build_example(workspace: &Workspace, backend: &Backend, name: &str) -> Result<PathBuf> {
    build(workspace, backend, &["--example", name], "example", name)
}

/// Builds the program of another package that uses the engine of this backend. Both packages are named to
/// cargo, so that the engine has the features that it has in the probe and is not compiled again; returns the
/// executable.
///
/// # Errors
/// Fails where cargo does; its messages go to standard error.
pub fn build_program(workspace: &Workspace, backend: &Backend, package: &str) -> Result<PathBuf> {
    let targets = ["--package", package, "--bin", package];
    build(workspace, backend, &targets, "bin", package)
}

/// Gives a built executable a second name in a folder of this command: what is built while this runs, by a
/// command beside it, is another file then.
fn hold(built: &Path) -> Result<(PathBuf, Scratch)> {
    let (Some(folder), Some(name)) = (built.parent(), built.file_name()) else {
        bail!("{} is no file", built.display());
    };
    let scratch = Scratch::new(".firstpass-", folder)?;
    let held = scratch.path().join(name);
    std::fs::hard_link(built, &held)?;
    Ok((held, scratch))
}

/// Builds `targets` of the backend's package and returns the executable of one of them.
fn build(
    workspace: &Workspace,
    backend: &Backend,
    targets: &[&str],
    kind: &str,
    name: &str,
) -> Result<PathBuf> {
    let say = |holder: &Holder| {
        let _ = writeln!(io::stderr(), "waiting for {holder}, which is building");
    };
    // Cargo has a lock as well, which does not say who holds it. Where there is no place for this one,
    // that has to do.
    let _lock = Lock::wait(&workspace.native().join(".build.lock"), say).ok();
    let output = Command::new(cargo())
        .current_dir(workspace.root())
        .args([
            "build",
            "--release",
            "--locked",
            "--message-format=json-render-diagnostics",
        ])
        .args(["--package", &backend.package])
        .args(targets)
        .args(features(workspace, backend))
        .envs(environment(workspace, backend))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "cargo could not build {}; its messages are above",
            backend.package
        );
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .filter(|message| message["target"]["kind"][0] == kind)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built no {kind} named {name}"))
}

/// The program `cargo` that runs this command.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// `--features …` for a backend whose native library is there.
pub fn features(workspace: &Workspace, backend: &Backend) -> Vec<String> {
    match &backend.native {
        Some(native)
            if !native.cargo_features().is_empty()
                && native.status(&workspace.native()).is_usable() =>
        {
            vec!["--features".into(), native.cargo_features().join(",")]
        }
        _ => Vec::new(),
    }
}

fn launcher(backend: &Backend) -> Vec<OsString> {
    let processor = backend.processor.as_ref();
    processor.map(Processor::launcher).unwrap_or_default()
}

/// The variables that lead to the backend's native library.
pub fn environment(workspace: &Workspace, backend: &Backend) -> Vec<(String, PathBuf)> {
    if !backend.library.is_empty() {
        return backend.library.clone();
    }
    let native = backend.native.as_ref();
    native
        .map(|n| n.environment(&workspace.native()))
        .unwrap_or_default()
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

fn timed_out(limit: Duration, process: &Process) -> Outcome {
    Outcome::TimedOut {
        seconds: limit.as_secs(),
        after: process.stage(),
    }
}

fn too_much(what: &str) -> Outcome {
    Outcome::Failed(Error::engine(format!(
        "it wrote more than {what}, and was ended"
    )))
}

fn garbled(line: &[u8], process: &Process) -> Outcome {
    let text: String = String::from_utf8_lossy(line).chars().take(200).collect();
    Outcome::Garbled {
        line: text.trim_end().into(),
        after: process.stage(),
    }
}

fn silent_end(status: ExitStatus, process: &Process) -> Outcome {
    Outcome::Crashed {
        how: ended(status),
        after: process.stage(),
    }
}

/// How a process ended, in words.
pub(crate) fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match Signal::try_from(signal) {
            Ok(name) => format!("signal {signal} ({name})"),
            Err(_) => format!("signal {signal}"),
        },
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "an unknown status".into(),
    }
}

fn kill(child: &mut Child, outcome: Outcome) -> Outcome {
    reap(child);
    outcome
}

/// Waits for the end of a process that says no more: its status, `None` where it does not come in time, or an outcome
/// where it floods standard error meanwhile.
fn end(child: &mut Child, stderr: &StandardError) -> Result<Result<Option<ExitStatus>, Outcome>> {
    let deadline = Instant::now() + GRACE;
    loop {
        if let Some(status) = wait(child, LOOK)? {
            return Ok(Ok(Some(status)));
        }
        if stderr.written() > MOST_STDERR {
            return Ok(Err(too_much("256 MiB to standard error")));
        }
        if Instant::now() >= deadline {
            return Ok(Ok(None));
        }
    }
}

/// Kills a process.
pub(crate) fn reap(child: &mut Child) {
    // The child may be gone already; either way it is reaped.
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits for the end of the process; `None` if it does not come in time.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::observation::Stage;

    /// A probe made of shell commands, which misbehaves as it is told.
    fn shell(script: &str, timeout: Duration) -> Process {
        limited(script, timeout, most_memory())
    }

    fn limited(script: &str, timeout: Duration, memory_bytes: u64) -> Process {
        let probe = Probe {
            timeout,
            memory_bytes,
            ..Probe::at(Path::new("/bin/sh"))
        };
        probe
            .run(&["-c".into(), script.into()], &Knobs::default(), timeout)
            .0
    }

    const LONG: Duration = Duration::from_secs(20);
    const HELLO: &str = r#"echo '{"message":"hello","protocol":3,"backend":"x","main_ns":1}'; "#;
    const PASS: &str = r#"echo '{"message":"pass","input":0,"digest":"d","start_ns":1,"wall_ns":2,"cpu_ns":3,"minor_faults":4,"major_faults":5,"voluntary_switches":6,"involuntary_switches":7,"reference_ns":8}'; "#;
    const DONE: &str = r#"echo '{"message":"done","peak_memory_kib":9,"reference_ns":8}'; "#;

    #[test]
    fn a_launcher_runs_the_probe_with_its_arguments() {
        let probe = Probe {
            launcher: ["env", "FROM_THE_LAUNCHER=x"].map(OsString::from).to_vec(),
            ..Probe::at(Path::new("/bin/sh"))
        };
        let script = format!("[ $FROM_THE_LAUNCHER = x ] && {HELLO}{DONE}");
        let (process, _) = probe.run(&["-c".into(), script.into()], &Knobs::default(), LONG);
        assert_eq!(process.outcome, Outcome::Completed);
        let missing = Probe {
            launcher: vec!["/nonexistent/launcher".into()],
            ..Probe::at(Path::new("/bin/sh"))
        };
        let (process, _) = missing.run(&["-c".into(), "true".into()], &Knobs::default(), LONG);
        assert!(
            matches!(process.outcome, Outcome::NotStarted(_)),
            "{process:?}"
        );
    }

    /// What a probe leaves out was not counted, which is no fault.
    #[test]
    fn a_probe_need_not_count_what_it_cannot() {
        let pass = r#"echo '{"message":"pass","input":0,"digest":"d","start_ns":1,"wall_ns":2}'; "#;
        let done = r#"echo '{"message":"done"}'; "#;
        let process = shell(&format!("{HELLO}{pass}{done}"), LONG);
        assert_eq!(process.outcome, Outcome::Completed);
        assert_eq!(process.passes[0].span.cpu_ns, 0);
        assert_eq!(process.peak_memory_kib, None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_probe_that_wants_more_memory_than_it_may_have_does_not_get_it() {
        // A shell keeps what it reads in memory.
        let script =
            format!("sleep 0.2; x=$(head -c 100000000 /dev/zero | tr '\\0' a); {HELLO}{DONE}");
        assert_eq!(limited(&script, LONG, 1 << 30).outcome, Outcome::Completed);
        let process = limited(&script, LONG, 50 << 20);
        assert!(
            matches!(process.outcome, Outcome::Crashed { .. }),
            "{process:?}"
        );
    }

    #[test]
    fn hears_a_probe_out() {
        let process = shell(&format!("{HELLO}{PASS}{PASS}{DONE}"), LONG);
        assert_eq!(process.outcome, Outcome::Completed);
        assert_eq!(process.passes.len(), 2);
        assert_eq!(process.peak_memory_kib, Some(9));
    }

    #[test]
    fn a_killed_probe_keeps_its_passes() {
        let process = shell(&format!("{HELLO}{PASS}{PASS}kill -9 $$"), LONG);
        assert_eq!(
            process.outcome,
            Outcome::Crashed {
                how: "signal 9 (SIGKILL)".into(),
                after: Stage::Passes(2)
            }
        );
        assert_eq!(process.passes.len(), 2);
    }

    #[test]
    fn an_early_exit_is_a_crash_even_with_code_zero() {
        let process = shell(&format!("{HELLO}exit 0"), LONG);
        assert_eq!(
            process.outcome,
            Outcome::Crashed {
                how: "exit code 0".into(),
                after: Stage::Hello
            }
        );
    }

    #[test]
    fn dying_after_the_last_message_is_a_crash() {
        let process = shell(&format!("{HELLO}{PASS}{DONE}exit 3"), LONG);
        assert!(matches!(process.outcome, Outcome::Crashed { .. }));
    }

    #[test]
    fn a_hanging_probe_is_killed_and_keeps_its_passes() {
        let process = shell(
            &format!("{HELLO}{PASS}exec sleep 60"),
            Duration::from_millis(800),
        );
        assert!(
            matches!(
                process.outcome,
                Outcome::TimedOut {
                    after: Stage::Passes(1),
                    ..
                }
            ),
            "{:?}",
            process.outcome
        );
        assert_eq!(process.passes.len(), 1);
    }

    #[test]
    fn a_process_that_a_probe_leaves_behind_holds_nothing_up() {
        // It keeps standard output open.
        for (end, how) in [
            ("exit 0", "exit code 0"),
            ("kill -9 $$", "signal 9 (SIGKILL)"),
        ] {
            let process = shell(&format!("{HELLO}{PASS}sleep 15 & {end}"), LONG);
            let after = Stage::Passes(1);
            let how = how.into();
            assert_eq!(process.outcome, Outcome::Crashed { how, after });
        }
        let process = shell(&format!("{HELLO}{PASS}{DONE}sleep 15 &"), LONG);
        assert_eq!(process.outcome, Outcome::Completed);
    }

    #[test]
    fn a_probe_that_never_stops_talking_is_ended() {
        let pass = PASS.trim_start_matches("echo '").trim_end_matches("'; ");
        let process = shell(&format!("{HELLO}yes '{pass}'"), TIMEOUT);
        let said = process.outcome.to_string();
        assert!(said.contains("more than 250,000 messages"), "{said}");
        // Either way; the second has closed standard output as well.
        for flood in ["yes >&2", "exec yes >&2"] {
            let process = shell(&format!("{HELLO}{flood}"), TIMEOUT);
            let said = process.outcome.to_string();
            assert!(
                said.contains("more than 256 MiB to standard error"),
                "{flood}: {said}"
            );
        }
    }

    #[test]
    fn garbage_is_named() {
        let process = shell(&format!("{HELLO}echo Segmentation fault; {DONE}"), LONG);
        assert_eq!(
            process.outcome,
            Outcome::Garbled {
                line: "Segmentation fault".into(),
                after: Stage::Hello
            }
        );
        let process = shell("head -c 3000000 /dev/zero", LONG);
        assert!(matches!(process.outcome, Outcome::Garbled { .. }));
    }

    #[test]
    fn another_protocol_is_refused() {
        let process = shell(&HELLO.replace(":3,\"backend", ":99,\"backend"), LONG);
        assert!(process.outcome.to_string().contains("protocol 99"));
    }

    #[test]
    fn a_long_request_comes_in_a_file() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let binary = folder.path().join("probe");
        // What a probe does: it reads its request, and here says how long it is.
        let script = format!(
            "#!/bin/sh\n{HELLO}case $1 in @*) n=$(wc -c < \"${{1#@}}\");; *) n=$(printf %s \"$1\" | wc -c);; esac\n\
             echo length $n >&2\n{DONE}"
        );
        std::fs::write(&binary, script)?;
        std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))?;
        for outputs in [1, 3000] {
            let mut model = Model {
                name: "m".into(),
                format: firstpass_probe::Format::ONNX,
                path: "m.onnx".into(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            };
            model.outputs = (0..outputs)
                .map(|n| firstpass_probe::OutputSpec::new(format!("output {n:0>60}"), [1]))
                .collect();
            let (inputs, passes) = (Vec::new(), PassPlan::exactly(1));
            let trial = Trial::new(model, Knobs::default(), inputs, passes);
            let length = serde_json::to_string(&Request::Trial(trial.clone()))?.len();
            let process = Probe::at(&binary).trial(&trial);
            assert_eq!(process.outcome, Outcome::Completed, "{outputs} outputs");
            assert_eq!(process.stderr.trim(), format!("length {length}"));
        }
        Ok(())
    }

    #[test]
    fn outputs_that_are_none_are_the_fault_of_who_wrote_them() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let binary = folder.path().join("probe");
        let outputs = folder.path().join("outputs.safetensors");
        for (write, words) in [
            ("true", "it wrote no file of outputs"),
            ("mkdir out", "it wrote no file of outputs"),
            ("mkfifo out", "it wrote no file of outputs"),
            ("ln -s /etc/passwd out", "it wrote no file of outputs"),
            ("touch out", "cannot be read"),
            (
                "head -c 100 /dev/zero | tr '\\0' '\\377' > out",
                "cannot be read",
            ),
        ] {
            let write = write.replace("out", &outputs.display().to_string());
            let script = format!("#!/bin/sh\n{HELLO}{PASS}{write}\n{DONE}\n");
            std::fs::write(&binary, script)?;
            std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))?;
            let model = Model {
                name: "m".into(),
                format: firstpass_probe::Format::ONNX,
                path: "m.onnx".into(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            };
            let passes = PassPlan::exactly(1);
            let mut trial = Trial::new(model, Knobs::default(), Vec::new(), passes);
            trial.outputs = Some(outputs.clone());
            // What lies there is another engine's.
            clear(&outputs)?;
            let y = Tensor::new(&[1], vec![1.0_f32])?;
            firstpass_probe::write_tensors(&outputs, [("0/y".to_owned(), &y)])?;
            let said = Probe::at(&binary).trial(&trial).outcome.to_string();
            assert!(said.contains(words), "{write}: {said}");
        }
        Ok(())
    }

    #[test]
    fn a_program_that_does_not_do_its_passes_has_not_completed() -> Result<()> {
        const STEPS: &str = r#"for step in started loaded prepared; do echo "{\"message\":\"$step\",\"span\":{\"start_ns\":1,\"wall_ns\":1}}"; done; "#;
        let folder = tempfile::tempdir()?;
        let binary = folder.path().join("probe");
        let second = PASS.replace("\"input\":0", "\"input\":1");
        let third = PASS.replace("\"input\":0", "\"input\":2");
        for (said, words) in [
            (format!("{STEPS}{PASS}{second}{second}{PASS}"), None),
            (
                format!("{STEPS}{PASS}{PASS}{second}"),
                Some("it did too few passes on input 1: 1 of at least 2"),
            ),
            (
                STEPS.to_owned(),
                Some("it did too few passes on input 0: 0 of at least 2"),
            ),
            (
                format!("{STEPS}{third}"),
                Some("it did a pass on input 2, counted from 0, and was given 2"),
            ),
            (
                format!("{PASS}{PASS}{second}{second}"),
                Some("it did not tell the step \"started\""),
            ),
        ] {
            std::fs::write(&binary, format!("#!/bin/sh\n{HELLO}{said}{DONE}\n"))?;
            std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))?;
            let model = Model {
                name: "m".into(),
                format: firstpass_probe::Format::ONNX,
                path: "m.onnx".into(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            };
            let inputs = vec!["a".into(), "b".into()];
            let trial = Trial::new(model, Knobs::default(), inputs, PassPlan::exactly(2));
            let mut probe = Probe::at(&binary);
            probe.is_own = true;
            let outcome = probe.trial(&trial).outcome;
            match words {
                None => assert_eq!(outcome, Outcome::Completed),
                Some(words) => {
                    assert!(outcome.to_string().contains(words), "{outcome}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_failure_without_a_word_is_a_sentence() {
        let failed = r#"echo '{"message":"failed","kind":"engine","phase":null,"chain":[]}'; "#;
        let process = shell(&format!("{HELLO}{failed}exit 1"), LONG);
        assert_eq!(process.outcome.to_string(), "failed: it gave no reason");
    }

    #[test]
    fn standard_error_is_kept() {
        let process = shell(&format!("{HELLO}echo no such library >&2; exit 1"), LONG);
        assert!(process.stderr.contains("no such library"));
    }

    #[test]
    fn a_missing_binary_is_an_outcome() {
        let process = Probe::at(Path::new("/nonexistent/probe"))
            .run(&[], &Knobs::default(), LONG)
            .0;
        assert!(matches!(process.outcome, Outcome::NotStarted(_)));
        assert!(process.outcome.to_string().contains("/nonexistent/probe"));
    }
}
