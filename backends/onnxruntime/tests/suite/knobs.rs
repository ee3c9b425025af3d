//! What the knobs promise and what they change, by what ONNX Runtime and the kernel count.

use std::{
    ffi::CStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use firstpass_conformance::{Test, alone};
use firstpass_onnx::{
    GraphProto,
    write::{constant, encode, f32_value, node},
};
use firstpass_onnxruntime::{OnnxRuntime, session_builder};
use firstpass_probe::{
    Arithmetic, Backend, Error, ErrorKind, Format, Knobs, Message, Model, OutputSpec, Pass,
    PassPlan, Profile, Request, THREADS, Tensor, TensorSpec, Trial, WARM_UP, read_tensors,
    write_tensors,
};
use firstpass_trial::{
    model::{ModelDescription, Precision},
    workload::{InputFiles, Workload},
    workspace::Workspace,
};
use ort::AsPointer;
use tempfile::TempDir;

const PASSES: usize = 3;

/// Convolutions of FaceBoxes.
const CONVOLUTIONS: usize = 63;

/// These compute in another way, so that values may differ by some steps.
const INEXACT: [(&str, &str); 3] = [
    ("graph-optimization", "none"),
    ("graph-optimization", "basic"),
    ("exact-int8", "on"),
];

type Judge = fn(&Bench) -> Result<()>;

pub fn tests() -> Vec<Test> {
    let bench = match Bench::new() {
        Ok(bench) => Arc::new(bench),
        Err(error) => {
            let why = format!("they cannot start: {error:#}");
            return vec![Test::test("the tests of the knobs", || Err(why.into()))];
        }
    };
    let mut tests = values(&bench);
    let judges: [(&str, Judge); 14] = [
        ("entries of the configuration are set", entries),
        ("denormals=zero computes with zeros", denormals),
        ("graph-optimization chooses the arithmetic", arithmetic),
        ("memory-pattern=off: pass 2 takes no memory", memory_pattern),
        ("arena decides what is held", arena),
        ("prepacking=off packs in every pass", prepacking),
        ("execution-mode=parallel plans no memory", parallel),
        ("execution-mode=parallel needs two threads", one_thread),
        ("a prepared file is made once", made_once),
        ("a prepared file is read", is_read),
        ("a prepared file is another for another setting", other_file),
        ("prepared-file=prepacked needs prepacking", unpacked),
        ("warm-up=small needs sizes that may vary", fixed_sizes),
        ("the profile accounts for the passes", profile),
    ];
    tests.extend(judges.map(|(name, judge)| test(&bench, name.into(), judge)));
    tests
}

fn test(
    bench: &Arc<Bench>,
    name: String,
    judge: impl FnOnce(&Bench) -> Result<()> + Send + 'static,
) -> Test {
    let bench = bench.clone();
    Test::test(name, move || {
        let _alone = alone();
        Ok(judge(&bench).map_err(|e| format!("{e:#}"))?)
    })
}

/// One test for each value that is not a default.
fn values(bench: &Arc<Bench>) -> Vec<Test> {
    let mut tests = Vec::new();
    for knob in OnnxRuntime::knobs() {
        for value in knob.words().iter().filter(|word| **word != knob.default) {
            let (name, value) = (knob.name.clone(), value.clone());
            let exact = !INEXACT.contains(&(name.as_str(), value.as_str()));
            let promise = if exact {
                "the same bits"
            } else {
                "close values"
            };
            tests.push(test(
                bench,
                format!("{name}={value}: {promise}"),
                move |b| b.compare(&Knobs::default().with(&name, &value), exact),
            ));
        }
    }
    tests
}

/// The probe, a model and an image, and a folder for temporary files of its own.
struct Bench {
    model: Model,
    description: ModelDescription,
    input: PathBuf,
    folder: TempDir,
    _inputs: InputFiles,
}

impl Bench {
    fn new() -> Result<Self> {
        let workload = Workload::fixtures(&Workspace::find()?)?;
        let mut inputs = InputFiles::new()?;
        let int8 = |m: &&ModelDescription| m.precision == Precision::Int8;
        let (description, model) = workload
            .models
            .iter()
            .filter(int8)
            .find_map(|m| Some((m.clone(), m.artifact(Format::ONNX)?)))
            .context("the fixtures hold no int8 model as ONNX")?;
        workload.verify(&model.path)?;
        let sample = workload
            .samples
            .first()
            .context("there are no photographs")?;
        Ok(Self {
            input: inputs.file(sample, &description)?,
            model,
            description,
            folder: tempfile::tempdir()?,
            _inputs: inputs,
        })
    }

    /// What the probe says in a process whose temporary and prepared files lie in `folder`.
    fn ask_in(&self, folder: &Path, request: &Request) -> Result<Vec<Message>> {
        let output = Command::new(env!("CARGO_BIN_EXE_firstpass-onnxruntime"))
            .arg(serde_json::to_string(request)?)
            .env("TMPDIR", folder)
            .env("XDG_CACHE_HOME", folder)
            .output()?;
        let lines = String::from_utf8(output.stdout)?;
        lines
            .lines()
            .map(|line| Ok(serde_json::from_str(line)?))
            .collect()
    }

    /// Why the engine cannot run, unless it has to.
    /// What the probe says to the request, or its error.
    fn ask(&self, request: &Request) -> Result<std::result::Result<Vec<Message>, Error>> {
        self.asked(self.folder.path(), request)
    }

    fn asked(
        &self,
        folder: &Path,
        request: &Request,
    ) -> Result<std::result::Result<Vec<Message>, Error>> {
        let mut said = self.ask_in(folder, request)?;
        match said.pop() {
            Some(Message::Done { .. }) => Ok(Ok(said)),
            Some(Message::Failed(error)) => Ok(Err(error)),
            _ => bail!("the probe ended without a last word"),
        }
    }

    fn trial(&self, knobs: &Knobs, outputs: Option<PathBuf>) -> Request {
        let (model, inputs) = (self.model.clone(), vec![self.input.clone()]);
        let passes = PassPlan::exactly(PASSES);
        let mut trial = Trial::new(model, knobs.clone(), inputs, passes);
        trial.outputs = outputs;
        Request::Trial(trial)
    }

    fn passes(&self, knobs: &Knobs, outputs: Option<PathBuf>) -> Result<Vec<Pass>> {
        passes(self.ask(&self.trial(knobs, outputs))?)
    }

    /// That a trial is refused with words that say why.
    fn refused(&self, knobs: &Knobs, words: &str) -> Result<()> {
        match self.ask(&self.trial(knobs, None))? {
            Err(error) => {
                ensure!(
                    error.kind == ErrorKind::Unsupported,
                    "another kind: {error}"
                );
                ensure!(error.to_string().contains(words), "in other words: {error}");
                Ok(())
            }
            Ok(_) => bail!("{knobs:?} was not refused"),
        }
    }

    fn profile(&self, knobs: &Knobs) -> Result<Profile> {
        let said = self.ask(&Request::Profile {
            model: self.model.clone(),
            knobs: knobs.clone(),
            input: self.input.clone(),
            passes: PASSES,
        })?;
        let said = said?;
        said.into_iter()
            .find_map(|message| match message {
                Message::Profile(profile) => Some(profile),
                _ => None,
            })
            .context("no profile")
    }

    fn inspect(&self, knobs: &Knobs) -> Result<Arithmetic> {
        let said = self.ask(&Request::Inspect {
            model: self.model.clone(),
            knobs: knobs.clone(),
            input: self.input.clone(),
        })?;
        let said = said?;
        said.into_iter()
            .find_map(|message| match message {
                Message::Arithmetic(arithmetic) => Some(arithmetic),
                _ => None,
            })
            .context("no arithmetic")
    }

    /// Compares the outputs of every pass with those of the defaults: a prepared file is made in
    /// one process and read in the next.
    fn compare(&self, knobs: &Knobs, exact: bool) -> Result<()> {
        // Parallel execution needs two, and outputs do not depend on the number.
        let knobs = knobs.clone().with(THREADS, 2);
        let default = self.passes(&Knobs::default(), Some(self.saved("default")))?;
        let expected = &default.first().context("no pass")?.digest;
        for _ in 0..2 {
            let found = self.passes(&knobs, Some(self.saved("found")))?;
            ensure!(found.len() == PASSES, "{} passes", found.len());
            let first = &found.first().context("no pass")?.digest;
            ensure!(
                found.iter().all(|p| &p.digest == first),
                "passes differ among themselves"
            );
            if exact {
                ensure!(first == expected, "other bits than by default");
            } else {
                self.close()?;
            }
        }
        Ok(())
    }

    fn saved(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.safetensors"))
    }

    /// That the saved outputs differ by no more steps than ONNX Runtime's differ from PyTorch's.
    fn close(&self) -> Result<()> {
        let outputs = |name| -> Result<Vec<Tensor>> {
            let (mut tensors, _) = read_tensors(&self.saved(name))?;
            let names = self.description.outputs.iter().map(|o| &o.name);
            names
                .map(|name| tensors.remove(&format!("0/{name}")).context("no output"))
                .collect()
        };
        let (default, found) = (outputs("default")?, outputs("found")?);
        let pairs = [(&default[..], &found[..])];
        for agreement in firstpass_trial::agreement::compare(&self.description, &pairs) {
            let steps = agreement.steps.as_ref().context("no steps")?;
            ensure!(steps.max <= 6, "{agreement:?}");
            ensure!(agreement.cosine > 0.99, "{agreement:?}");
        }
        Ok(())
    }
}

fn passes(said: std::result::Result<Vec<Message>, Error>) -> Result<Vec<Pass>> {
    let said = said?;
    let pass = |message| match message {
        Message::Pass(pass) => Some(pass),
        _ => None,
    };
    Ok(said.into_iter().filter_map(pass).collect())
}

fn set(knob: &str, value: &str) -> Knobs {
    Knobs::default().with(knob, value)
}

/// What the profile counts after each pass.
fn counts(profile: &Profile, name: &str) -> Result<Vec<u64>> {
    let count = |p: &firstpass_probe::ProfiledPass| p.counts.get(name).copied();
    let counts: Option<Vec<u64>> = profile.passes.iter().map(count).collect();
    counts.with_context(|| format!("the profile does not count {name}"))
}

/// The settings that only ONNX Runtime itself can tell.
fn entries(_: &Bench) -> Result<()> {
    for (knob, value, key, expected) in [
        ("prepacking", "off", c"session.disable_prepacking", "1"),
        ("arena", "one-chunk", c"session.use_env_allocators", "1"),
        (
            "initializers",
            "malloc",
            c"session.use_device_allocator_for_initializers",
            "1",
        ),
        ("spinning", "off", c"session.intra_op.allow_spinning", "0"),
        ("spinning", "off", c"session.inter_op.allow_spinning", "0"),
        ("exact-int8", "on", c"session.x64quantprecision", "1"),
        ("denormals", "zero", c"session.set_denormal_as_zero", "1"),
    ] {
        let found = entry(&set(knob, value), key)?;
        ensure!(
            found.as_deref() == Some(expected),
            "{knob}={value}: {found:?}"
        );
        let found = entry(&Knobs::default(), key)?;
        ensure!(found.is_none(), "{key:?} by default: {found:?}");
    }
    Ok(())
}

/// By a product that is too small for a full mantissa, alone and divided among threads.
fn denormals(bench: &Bench) -> Result<()> {
    const LENGTH: usize = 1 << 20;
    let folder = tempfile::tempdir()?;
    let [file, input, output] =
        ["m.onnx", "x.safetensors", "y.safetensors"].map(|name| folder.path().join(name));
    let graph = GraphProto {
        node: vec![node("Mul", &["x", "small"], "y")],
        initializer: vec![constant("small", &[1], &[1e-10_f32])],
        input: vec![f32_value("x", Some(&[LENGTH]))],
        output: vec![f32_value("y", Some(&[LENGTH]))],
        ..GraphProto::default()
    };
    fs::write(&file, encode(graph, 13))?;
    let model = Model {
        name: "small".into(),
        format: Format::ONNX,
        path: file,
        inputs: vec![TensorSpec::f32("x", [LENGTH])],
        outputs: vec![OutputSpec::new("y", [LENGTH])],
    };
    let tensor = Tensor::new(&[LENGTH], vec![1e-30_f32; LENGTH])?;
    write_tensors(&input, [("x".to_owned(), &tensor)])?;
    let product = (1e-30_f32 * 1e-10).to_bits();
    for (setting, threads, expected) in [("kept", 1, product), ("zero", 1, 0), ("zero", 2, 0)] {
        let knobs = set("denormals", setting).with(THREADS, threads);
        let (inputs, plan) = (vec![input.clone()], PassPlan::exactly(1));
        let mut trial = Trial::new(model.clone(), knobs, inputs, plan);
        trial.outputs = Some(output.clone());
        passes(bench.ask(&Request::Trial(trial))?)?;
        let (found, _) = read_tensors(&output)?;
        let values = found.get("0/y").context("there is no output")?.f32s()?;
        ensure!(
            values.iter().all(|value| value.to_bits() == expected),
            "denormals={setting}, {threads} threads: {:e}",
            values[0]
        );
    }
    Ok(())
}

/// What a session's options hold under this key.
fn entry(knobs: &Knobs, key: &CStr) -> Result<Option<String>> {
    let builder = session_builder(knobs)?;
    let mut is_set = 0;
    let mut text = [0_u8; 64];
    let mut length = text.len();
    // SAFETY: the options live as long as their builder, the key ends with a zero, and `length` is
    // that of the text. Both statuses are checked where they are made.
    unsafe {
        let (api, options) = (ort::api(), builder.ptr());
        let status = (api.HasSessionConfigEntry)(options, key.as_ptr(), &mut is_set);
        ort::Error::result_from_status(status)?;
        if is_set == 0 {
            return Ok(None);
        }
        let text = text.as_mut_ptr().cast();
        let status = (api.GetSessionConfigEntry)(options, key.as_ptr(), text, &mut length);
        ort::Error::result_from_status(status)?;
    }
    let text = CStr::from_bytes_until_nul(&text)?;
    Ok(Some(text.to_string_lossy().into()))
}

fn arithmetic(bench: &Bench) -> Result<()> {
    for (level, integer) in [
        ("all", CONVOLUTIONS),
        ("extended", CONVOLUTIONS),
        ("basic", 0),
        ("none", 0),
    ] {
        let found = bench.inspect(&set("graph-optimization", level))?;
        ensure!(
            (found.integer, found.float) == (integer, CONVOLUTIONS - integer),
            "{level}: {found:?}"
        );
    }
    // A file that was optimized ahead keeps its integers, though nothing optimizes it any more.
    let found = bench.inspect(&set("prepared-file", "ort"))?;
    ensure!(found.integer == CONVOLUTIONS, "{found:?}");
    Ok(())
}

fn memory_pattern(bench: &Bench) -> Result<()> {
    let on = bench.profile(&Knobs::default())?;
    let off = bench.profile(&set("memory-pattern", "off"))?;
    let (on, off) = (counts(&on, "arena-bytes")?, counts(&off, "arena-bytes")?);
    ensure!(on[1] > on[0], "no block was planned: {on:?}");
    ensure!(off[1] == off[0], "a block was planned: {off:?}");
    let faults = |knobs| -> Result<u64> {
        let passes = bench.passes(&knobs, None)?;
        Ok(passes.get(1).context("no second pass")?.span.minor_faults)
    };
    let (on, off) = (
        faults(Knobs::default())?,
        faults(set("memory-pattern", "off"))?,
    );
    ensure!(
        off * 10 < on,
        "page faults of pass 2: {off}, and {on} by default"
    );
    Ok(())
}

fn arena(bench: &Bench) -> Result<()> {
    let held = |value| counts(&bench.profile(&set("arena", value))?, "arena-bytes");
    let (on, requested, chunk) = (held("on")?, held("as-requested")?, held("one-chunk")?);
    ensure!(requested[0] < on[0], "{requested:?}, and {on:?} by default");
    ensure!(chunk[0] >= 64 << 20, "no chunk of 64 MiB: {chunk:?}");
    ensure!(chunk[0] == chunk[1], "the chunk was too small: {chunk:?}");
    ensure!(held("off").is_err(), "there is an arena");
    Ok(())
}

fn prepacking(bench: &Bench) -> Result<()> {
    let peak = |knobs| counts(&bench.profile(&knobs)?, "arena-peak-bytes");
    let (on, off) = (peak(Knobs::default())?, peak(set("prepacking", "off"))?);
    ensure!(off[0] > on[0], "{off:?}, and {on:?} by default");
    Ok(())
}

fn parallel(bench: &Bench) -> Result<()> {
    let knobs = set("execution-mode", "parallel").with(THREADS, 2);
    let held = counts(&bench.profile(&knobs)?, "arena-bytes")?;
    ensure!(held[1] == held[0], "a block was planned: {held:?}");
    Ok(())
}

fn one_thread(bench: &Bench) -> Result<()> {
    bench.refused(&set("execution-mode", "parallel"), "threads=2")
}

/// The files that were prepared in a folder for what can be made again.
fn prepared(folder: &Path) -> Result<Vec<PathBuf>> {
    let root = folder.join("firstpass/prepared/onnxruntime");
    let mut files = Vec::new();
    for entry in fs::read_dir(root)? {
        for file in fs::read_dir(entry?.path())? {
            files.push(file?.path());
        }
    }
    files.sort();
    Ok(files)
}

fn made_once(bench: &Bench) -> Result<()> {
    for (form, count) in [("onnx", 1), ("ort", 1), ("ort-mapped", 1), ("prepacked", 2)] {
        let folder = tempfile::tempdir()?;
        let request = bench.trial(&set("prepared-file", form), None);
        let times = |files: &[PathBuf]| -> Result<Vec<_>> {
            let time = |file: &PathBuf| Ok(fs::metadata(file)?.modified()?);
            files.iter().map(time).collect()
        };
        passes(bench.asked(folder.path(), &request)?)?;
        let first = prepared(folder.path())?;
        ensure!(first.len() == count, "{form}: {first:?}");
        let made = times(&first)?;
        passes(bench.asked(folder.path(), &request)?)?;
        ensure!(
            prepared(folder.path())? == first,
            "{form}: others the second time"
        );
        ensure!(times(&first)? == made, "{form}: made a second time");
    }
    Ok(())
}

fn is_read(bench: &Bench) -> Result<()> {
    for form in ["onnx", "ort", "ort-mapped", "prepacked"] {
        let folder = tempfile::tempdir()?;
        let request = bench.trial(&set("prepared-file", form), None);
        passes(bench.asked(folder.path(), &request)?)?;
        let files = prepared(folder.path())?;
        let file = files.first().context("nothing was prepared")?;
        fs::write(file, "no model")?;
        match bench.asked(folder.path(), &request)? {
            Ok(_) => bail!("{form}: a damaged file went unnoticed"),
            Err(error) => ensure!(
                error.to_string().contains(&*file.to_string_lossy()),
                "{form}: the error does not name the file: {error}"
            ),
        }
    }
    Ok(())
}

fn other_file(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let knobs = set("prepared-file", "onnx");
    let others = [
        knobs.clone(),
        // It changes nothing in the file.
        knobs.clone().with("memory-pattern", "off"),
        knobs.clone().with("exact-int8", "on"),
        knobs.with("graph-optimization", "basic"),
    ];
    for (knobs, count) in others.iter().zip([1, 1, 2, 3]) {
        passes(bench.asked(folder.path(), &bench.trial(knobs, None))?)?;
        let files = prepared(folder.path())?;
        ensure!(files.len() == count, "{knobs:?}: {files:?}");
    }
    Ok(())
}

fn unpacked(bench: &Bench) -> Result<()> {
    let knobs = set("prepared-file", "prepacked").with("prepacking", "off");
    bench.refused(&knobs, "prepacking=off")
}

fn fixed_sizes(bench: &Bench) -> Result<()> {
    bench.refused(&set(WARM_UP, "small"), "sizes that may vary")
}

fn profile(bench: &Bench) -> Result<()> {
    let profile = bench.profile(&Knobs::default())?;
    let kinds = profile.operators.iter().map(|o| o.kind.as_str());
    let convolutions = kinds.filter(|kind| kind.contains("Conv")).count();
    ensure!(convolutions == CONVOLUTIONS, "{convolutions} convolutions");
    ensure!(
        profile.passes.len() == PASSES,
        "{} passes",
        profile.passes.len()
    );
    for pass in &profile.passes {
        ensure!(
            pass.self_ns.iter().any(|&ns| ns > 0),
            "a pass without operators"
        );
        let sum: u64 = pass.self_ns.iter().sum();
        ensure!(
            sum <= pass.span.wall_ns,
            "operators took {sum} ns of {} ns",
            pass.span.wall_ns
        );
    }
    let first = profile.passes.first().context("no pass")?;
    ensure!(first.span.minor_faults > 1000, "pass 1 is no first pass");
    Ok(())
}
