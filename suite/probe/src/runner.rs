//! The `main` of every probe.

use std::{
    any::Any,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    thread,
    time::Duration,
};

use crate::{
    Backend, Description, Error, Knob, Knobs, Message, Model, OutputSpec, PROTOCOL, Pass, Phase,
    Request, Result, Span, Tensor, Tensors, Trial,
    beside::Beside,
    channel::Channel,
    clock::{monotonic_ns, observe, own_memory_kib, peak_memory_kib},
    confinement,
    passes::Passes,
    process, read_tensors,
    reference::reference_ns,
    tensor::digest,
    warm_up::{self, WarmUp},
    write_tensors, write_tensors_with,
};

/// What precedes the path of a file with a request, which is no JSON: an argument of more than 128 KiB starts
/// no process on Linux.
const IN_FILE: &[u8] = b"@";

/// A model that is ready to run on backend `B`, for use inside a process: every step checked.
pub struct Session<B: Backend> {
    prepared: B::Prepared,
    model: Model,
    /// Kept only where the model is to be prepared again: it may hold the weights a second time.
    loaded: Option<B::Loaded>,
}

impl<B: Backend> Session<B> {
    /// Starts the engine, loads the model and prepares it.
    ///
    /// # Errors
    /// As the steps of [`Backend`]; the error names the step.
    pub fn open(model: &Model, knobs: &Knobs) -> Result<Self> {
        let (engine, _) = step(Phase::Start, || start::<B>(knobs))?;
        Self::load(&engine, model, knobs, false, |_| Ok(()))
    }

    fn load(
        engine: &B::Engine,
        model: &Model,
        knobs: &Knobs,
        keep: bool,
        mut say: impl FnMut(&Message) -> Result<()>,
    ) -> Result<Self> {
        let (loaded, span) = step(Phase::Load, || B::load(engine, model))?;
        say(&Message::Loaded { span })?;
        let shapes = model.input_shapes();
        let (mut prepared, span) = step(Phase::Prepare, || B::prepare(&loaded, &shapes))?;
        say(&Message::Prepared { span })?;
        if let Some(warm_up) = WarmUp::of(knobs) {
            let run = || warm_up.run::<B>(&loaded, &mut prepared, model);
            let ((), span) = step(Phase::WarmUp, run)?;
            say(&Message::WarmedUp { span })?;
        }
        Ok(Self {
            prepared,
            model: model.clone(),
            loaded: keep.then_some(loaded),
        })
    }

    /// Prepares the model again where `model` has other shapes of inputs than before.
    fn reshape(&mut self, model: &Model) -> Result<Option<Span>> {
        let shapes = model.input_shapes();
        if shapes == self.model.input_shapes() {
            return Ok(None);
        }
        let Some(loaded) = &self.loaded else {
            return Err(Error::input("the loaded model was not kept").in_phase(Phase::Prepare));
        };
        let (prepared, span) = step(Phase::Prepare, || B::prepare(loaded, &shapes))?;
        self.prepared = prepared;
        self.model = model.clone();
        Ok(Some(span))
    }

    fn output_names(&self) -> Vec<String> {
        B::output_names(&self.prepared)
    }

    /// One pass on inputs that are checked first, with outputs that are checked after.
    ///
    /// # Errors
    /// Fails on an input of the wrong type or shape or with a value that is not finite, where the
    /// engine fails, and where its outputs have other shapes than the model declares.
    pub fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        check_inputs(&self.model, inputs).map_err(|e| e.in_phase(Phase::Pass))?;
        let (outputs, _) = self.observed_pass(inputs, |work| observe(work))?;
        Ok(outputs)
    }

    /// One pass on inputs that were checked before.
    fn observed_pass(
        &mut self,
        inputs: &[Tensor],
        observe: impl FnOnce(&mut dyn FnMut() -> Result<Tensors>) -> Result<(Tensors, Span)>,
    ) -> Result<(Tensors, Span)> {
        let mut work = || B::pass(&mut self.prepared, inputs);
        let (outputs, span) = caught(Phase::Pass, || observe(&mut work))?;
        check_outputs(&self.model, &outputs).map_err(|e| e.in_phase(Phase::Pass))?;
        Ok((outputs, span))
    }
}

fn check_inputs(model: &Model, inputs: &[Tensor]) -> Result<()> {
    if inputs.len() != model.inputs.len() {
        return Err(Error::input(format!(
            "the model takes {} inputs, not {}",
            model.inputs.len(),
            inputs.len()
        )));
    }
    let mut all = inputs.iter().zip(&model.inputs);
    all.try_for_each(|(input, spec)| input.check_input(spec))
}

fn check_outputs(model: &Model, outputs: &[Tensor]) -> Result<()> {
    if model.outputs.is_empty() {
        return Ok(());
    }
    let as_declared = |(output, spec): (&Tensor, &OutputSpec)| {
        spec.shape
            .as_ref()
            .is_none_or(|shape| *shape == output.shape())
    };
    if outputs.len() == model.outputs.len() && outputs.iter().zip(&model.outputs).all(as_declared) {
        return Ok(());
    }
    let shapes: Vec<String> = outputs.iter().map(|o| format!("{:?}", o.shape())).collect();
    let expected = model.outputs.iter().map(|spec| match &spec.shape {
        Some(shape) => format!("{shape:?}"),
        None => "any".into(),
    });
    Err(Error::engine(format!(
        "the outputs have the shapes {}, but the model declares {}: the engine or the file is wrong",
        shapes.join(", "),
        expected.collect::<Vec<_>>().join(", ")
    )))
}

/// The metadata of a file of outputs that holds the names of those that the model does not declare, in
/// their order, as JSON.
pub const OUTPUT_ORDER: &str = "outputs";

/// Answers the one request in the process's arguments and returns the exit code of the probe.
pub fn run<B: Backend>() -> ExitCode {
    let main_ns = monotonic_ns();
    let mut channel = match Channel::reserve_stdout() {
        Ok(channel) => channel,
        Err(error) => {
            eprintln!("{}: cannot reserve standard output: {error}", B::NAME);
            return ExitCode::FAILURE;
        }
    };
    let hello = Message::Hello {
        protocol: PROTOCOL,
        backend: B::NAME.into(),
        main_ns,
    };
    let answered = channel
        .send(&hello)
        .and_then(|()| answer::<B>(&mut channel));
    let last = match answered {
        Ok(()) => peak_memory_kib().map(|peak_memory_kib| Message::Done {
            peak_memory_kib: Some(peak_memory_kib),
            reference_ns: reference_ns(),
        }),
        Err(error) => Ok(Message::Failed(error)),
    };
    match last.and_then(|message| channel.send(&message).map(|()| message)) {
        Ok(Message::Done { .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}: cannot send the last message: {error}", B::NAME);
            ExitCode::FAILURE
        }
    }
}

/// The request in the process's only argument, or in the file that the argument names after an `@`.
///
/// # Errors
/// Fails where there is none, and where it is no [`Request`] in JSON.
pub fn request() -> Result<Request> {
    let read = || {
        let argument = std::env::args_os().nth(1).ok_or_else(|| {
            Error::input("a probe takes one request as JSON, for example: '\"describe\"'")
        })?;
        let bytes = match argument.as_encoded_bytes().strip_prefix(IN_FILE) {
            Some(path) => std::fs::read(OsStr::from_bytes(path))
                .map_err(|error| Error::from(error).context("cannot read the request"))?,
            None => argument.into_encoded_bytes(),
        };
        Ok(serde_json::from_slice(&bytes)?)
    };
    read().map_err(|error: Error| error.in_phase(Phase::Request))
}

fn answer<B: Backend>(channel: &mut Channel) -> Result<()> {
    let request = request()?;
    confinement::enter(&request, B::NAME).map_err(|e| e.in_phase(Phase::Request))?;
    match request {
        Request::Describe => describe::<B>(channel),
        Request::Inspect {
            model,
            knobs,
            input,
        } => inspect::<B>(channel, &model, &knobs, &input),
        Request::Profile {
            model,
            knobs,
            input,
            passes,
        } => profile::<B>(channel, &model, &knobs, &input, passes),
        Request::Activations {
            model,
            knobs,
            input,
            outputs,
        } => activations::<B>(channel, &model, &knobs, &input, &outputs),
        Request::Trial(trial) => run_trial::<B>(channel, &trial),
    }
}

fn describe<B: Backend>(channel: &mut Channel) -> Result<()> {
    let (engine, span) = step(Phase::Start, || start::<B>(&Knobs::default()))?;
    channel.send(&Message::Started { span })?;
    let (info, _) = step(Phase::Describe, || B::describe(&engine))?;
    let description = Description::new(info, B::FORMATS.to_vec(), knobs::<B>());
    channel.send(&Message::Description(description))
}

fn inspect<B: Backend>(
    channel: &mut Channel,
    model: &Model,
    knobs: &Knobs,
    input: &Path,
) -> Result<()> {
    let inputs = read_inputs(model, input).map_err(|e| e.in_phase(Phase::Request))?;
    let (engine, _) = step(Phase::Start, || start::<B>(knobs))?;
    let (arithmetic, _) = step(Phase::Inspect, || B::inspect(&engine, model, &inputs))?;
    channel.send(&Message::Arithmetic(arithmetic))
}

fn profile<B: Backend>(
    channel: &mut Channel,
    model: &Model,
    knobs: &Knobs,
    input: &Path,
    passes: usize,
) -> Result<()> {
    let inputs = read_inputs(model, input).map_err(|e| e.in_phase(Phase::Request))?;
    if let Some(value) = WarmUp::of(knobs).and_then(|_| knobs.get(warm_up::WARM_UP)) {
        let message = format!(
            "{}={value} would hide the pass that a profile is of",
            warm_up::WARM_UP
        );
        return Err(Error::unsupported(message).in_phase(Phase::Request));
    }
    let (engine, _) = step(Phase::Start, || start::<B>(knobs))?;
    let run = || crate::profile::<B>(&engine, model, &inputs, passes);
    let (profile, _) = step(Phase::Profile, run)?;
    channel.send(&Message::Profile(profile))
}

fn activations<B: Backend>(
    channel: &mut Channel,
    model: &Model,
    knobs: &Knobs,
    input: &Path,
    outputs: &Path,
) -> Result<()> {
    let inputs = read_inputs(model, input).map_err(|e| e.in_phase(Phase::Request))?;
    let (engine, _) = step(Phase::Start, || start::<B>(knobs))?;
    let run = || B::activations(&engine, model, &inputs);
    let (recording, _) = step(Phase::Activations, run)?;
    let names = model
        .outputs
        .iter()
        .map(|spec| format!("output/{}", spec.name));
    let activations = recording.activations.iter().enumerate();
    let activations =
        activations.map(|(n, activation)| (format!("activation/{n}"), &activation.values));
    let named = names.zip(&recording.outputs).chain(activations);
    write_tensors(outputs, named).map_err(|e| e.in_phase(Phase::Output))?;
    let quantizations = recording
        .activations
        .into_iter()
        .map(|activation| activation.quantization);
    channel.send(&Message::Activations {
        quantizations: quantizations.collect(),
    })
}

fn run_trial<B: Backend>(channel: &mut Channel, trial: &Trial) -> Result<()> {
    // The engine starts first, as in a user's program: reading the inputs belongs to no phase.
    let (engine, span) = step(Phase::Start, || start::<B>(&trial.knobs))?;
    channel.send(&Message::Started { span })?;

    let models: Vec<Model> = (0..trial.inputs.len())
        .map(|n| trial.model_for(n))
        .collect();
    let inputs: Result<Vec<Tensors>> = trial
        .inputs
        .iter()
        .zip(&models)
        .map(|(path, model)| read_inputs(model, path))
        .collect();
    let inputs = inputs.map_err(|e| e.in_phase(Phase::Request))?;

    let first = models.first().unwrap_or(&trial.model);
    let keep = !trial.shapes.is_empty();
    let mut session = Session::<B>::load(&engine, first, &trial.knobs, keep, |message| {
        channel.send(message)
    })?;

    // Dropped after the last pass, which ends them.
    let beside = match inputs.first() {
        Some(inputs) => Beside::start::<B>(first, &trial.knobs, inputs, trial.beside)?,
        None => Beside::default(),
    };
    let may_hold = trial.pauses.is_empty() && !trial.tell_memory;
    let mut passes = Passes::new(channel, may_hold);
    let of_inputs = inputs.iter().zip(&models);
    let ran = run_passes(trial, of_inputs, &mut session, &beside, &mut passes);
    // What ran before a pass failed is said first.
    passes.say_held()?;
    let saved = match ran {
        Err(error) if !beside.has_lost_one() => return Err(error),
        ran => {
            // In its own words, where it has any.
            beside.end()?;
            ran?
        }
    };
    if let Some(path) = &trial.outputs {
        let own_names = &session.output_names();
        let named = saved.iter().flat_map(|(number, outputs)| {
            let outputs = outputs.iter().enumerate();
            outputs.map(move |(place, tensor)| {
                let name = match own_names.get(place) {
                    Some(name) if trial.model.outputs.is_empty() => name.clone(),
                    _ => trial.model.output_name(place),
                };
                (format!("{number}/{name}"), tensor)
            })
        });
        // A file of tensors has no order of its own.
        let order = serde_json::to_string(own_names)?;
        let metadata = [(OUTPUT_ORDER.to_owned(), order)].into();
        write_tensors_with(path, named, Some(metadata)).map_err(|e| e.in_phase(Phase::Output))?;
    }
    Ok(())
}

/// Runs the passes of a trial, one input after the other; returns the outputs of the first pass on each, with its
/// number, where they are to be saved.
fn run_passes<'a, B: Backend>(
    trial: &Trial,
    inputs: impl Iterator<Item = (&'a Tensors, &'a Model)>,
    session: &mut Session<B>,
    beside: &Beside,
    passes: &mut Passes<'_>,
) -> Result<Vec<(usize, Tensors)>> {
    let budget = Duration::from_millis(trial.passes.budget_ms);
    let mut saved = Vec::new();
    for (number, (inputs, model)) in inputs.enumerate() {
        let span = session.reshape(model)?;
        let message = span.map(|span| Message::PreparedAgain { span });
        passes.new_input(message.as_ref())?;
        let began = monotonic_ns();
        for pass in 0..trial.passes.at_most {
            let spent = Duration::from_nanos(monotonic_ns() - began);
            if pass >= trial.passes.at_least && spent >= budget {
                break;
            }
            if let Some(pause) = trial.pauses.get(&pass) {
                thread::sleep(Duration::from_millis(*pause));
            }
            let (outputs, span) = session.observed_pass(inputs, |work| passes.observe(work))?;
            if beside.has_lost_one() {
                return Err(Error::engine("a session beside the measured one has ended"));
            }
            let said = Pass {
                input: number,
                digest: String::new(),
                memory_kib: trial.tell_memory.then(own_memory_kib).flatten(),
                span,
            };
            passes.say(said, digest(&outputs))?;
            if pass == 0 && trial.outputs.is_some() {
                saved.push((number, outputs));
            }
        }
    }
    Ok(saved)
}

/// The knobs of the engine, and those that every process has.
fn knobs<B: Backend>() -> Vec<Knob> {
    let mut knobs = B::knobs();
    knobs.extend(process::knobs());
    knobs.push(warm_up::knob());
    knobs
}

fn start<B: Backend>(chosen: &Knobs) -> Result<B::Engine> {
    let declared = knobs::<B>();
    chosen.check(&declared)?;
    chosen.check_environment(&declared)?;
    process::apply(chosen)?;
    B::start(chosen)
}

fn read_inputs(model: &Model, path: &Path) -> Result<Tensors> {
    let (mut tensors, _) = read_tensors(path)?;
    let inputs = model.inputs.iter().map(|spec| {
        tensors.remove(&spec.name).ok_or_else(|| {
            Error::input(format!(
                "{} holds no tensor {:?}",
                path.display(),
                spec.name
            ))
        })
    });
    let inputs = inputs.collect::<Result<Tensors>>()?;
    check_inputs(model, &inputs)?;
    Ok(inputs)
}

/// Runs one step of the backend, timed.
fn step<T>(phase: Phase, work: impl FnOnce() -> Result<T>) -> Result<(T, Span)> {
    caught(phase, || observe(work))
}

/// Runs a step; a panic of the engine is a failure like any other.
fn caught<T>(phase: Phase, run: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|payload| Err(panicked(payload.as_ref())))
        .map_err(|error| error.in_phase(phase))
}

fn panicked(payload: &(dyn Any + Send)) -> Error {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Error::engine(format!("the engine panicked: {text}"))
}
