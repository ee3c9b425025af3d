//! The folder with what shows a fault to whoever has to mend it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use firstpass_probe::{Dtype, Knobs, Tensor, is_invisible};
use firstpass_trial::{machine::Machine, regular_file, setting::setting, tensor_files::write_npz};
use minijinja::{Environment, UndefinedBehavior, context};
use serde::Serialize;

use crate::{
    culprit::{
        Candidate, Investigation, Reference, Symptom, Tensors,
        candidate::called,
        engines::{Answer, Engine},
        first_pass::Taken,
        judge::differences,
        reduce::{Question, Reduced, Step},
    },
    page::{
        numbers::{brief, times},
        template,
    },
};

/// Inputs and outputs of at most so many values are printed.
const FEW: usize = 16;

/// So many operators stand in a title.
const IN_TITLE: usize = 6;

const REPORT: &str = include_str!("../../templates/reduced/report.md.j2");

/// The programs for an engine that has none of its own.
const PROGRAM: &str = include_str!("../../templates/reduced/main.rs.j2");

/// That which times passes, for every engine.
const TIMES: &str = include_str!("../../templates/reduced/first_pass.rs.j2");

/// What an engine gives on the part that is left.
#[derive(Debug, Clone, Serialize)]
struct Row {
    engine: String,
    /// Whether it ran without its optimizations.
    is_plain: bool,
    /// What its outputs are called.
    #[serde(skip)]
    file: String,
    /// `None` as its users find it.
    settings: Option<String>,
    /// Why it gave nothing.
    failure: Option<String>,
    /// How its outputs differ from those that are expected; `None` where none are.
    differs: Option<Vec<String>>,
    /// What its passes took, where it is about these.
    times: Option<Times>,
    /// The first values of each output.
    values: Vec<String>,
    is_subject: bool,
}

/// Passes of a process, in words.
#[derive(Debug, Clone, Serialize)]
struct Times {
    first_ms: String,
    steady_ms: String,
    ratio: String,
}

impl Times {
    fn of(taken: Taken) -> Self {
        let ms = |ns: u64| format!("{:.3}", ns as f64 / 1e6);
        Self {
            first_ms: ms(taken.first_ns),
            steady_ms: ms(taken.steady_ns),
            ratio: times(taken.ratio()),
        }
    }
}

/// A tensor as the programs name it.
#[derive(Debug, Clone, Serialize)]
struct Array {
    name: String,
    shape: Vec<usize>,
    /// As Rust calls the type of its values.
    dtype: &'static str,
    /// As NumPy calls it.
    numpy: &'static str,
    /// Bytes of a value.
    size: usize,
    /// How a program makes a value of its bytes `b`.
    read: String,
    /// Where its values lie, little-endian.
    file: String,
    values: usize,
}

/// What the templates know.
#[derive(Debug, Serialize)]
struct Shown {
    model: String,
    inputs: Vec<Array>,
    outputs: Vec<Array>,
    title: String,
    backend: String,
    version: String,
    /// Of the crate that binds the engine.
    binding_version: String,
    nodes: Vec<String>,
    reference: Expected,
    rows: Vec<Row>,
    steps: Vec<Step>,
    machine: String,
    is_complete: bool,
    has_expected: bool,
    /// Whether it is about the times of passes and not about outputs.
    is_of_times: bool,
    made_by: String,
}

/// Writes the folder; returns the files, the report last.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write(
    investigation: &mut Investigation,
    question: &Question,
    reduced: &Reduced,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| {
        format!(
            "cannot write to {}; give a writable folder with --out",
            folder.display()
        )
    })?;
    let part = &reduced.candidate;
    let mut files = Vec::new();
    let mut keep = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = folder.join(name);
        regular_file::replace(&path, |new| Ok(fs::write(new, bytes)?))
            .with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
        Ok(())
    };
    keep("model.onnx", &part.bytes())?;
    let inputs = arrays(&part.inputs, "input");
    for (array, tensor) in inputs.iter().zip(part.inputs.values()) {
        keep(&array.file, tensor.data().bytes())?;
    }
    let expected = match &question.reference {
        Some(reference) => investigation.expected(reference, part)?,
        None => None,
    };
    let rows = rows(investigation, question, part, expected.as_ref())?;
    let outputs = arrays(expected.as_ref().unwrap_or(&Tensors::new()), "expected");
    for (array, tensor) in outputs
        .iter()
        .zip(expected.iter().flat_map(Tensors::values))
    {
        keep(&array.file, tensor.data().bytes())?;
    }
    let subject = subject(investigation, &question.symptom);
    let file = &part.file;
    let machine = Machine::observe();
    let binding = &subject.description.engine.binding;
    let shown = Shown {
        model: investigation.description.name.clone(),
        inputs,
        outputs,
        title: plain(&title(subject, question, part)?),
        backend: subject.backend.name.clone(),
        version: plain(&subject.description.engine.version),
        binding_version: plain(binding.split_whitespace().last().unwrap_or_default()),
        nodes: part
            .nodes
            .iter()
            .map(|&at| plain(&called(file, at)))
            .collect(),
        reference: expected_of(investigation, question.reference.as_ref()),
        rows: rows.iter().map(|(row, _)| row.clone()).collect(),
        steps: reduced.steps.clone(),
        machine: format!("{}, {} cores, {}", machine.cpu, machine.cores, machine.os),
        is_complete: reduced.is_complete,
        has_expected: expected.is_some(),
        is_of_times: matches!(question.symptom, Symptom::SlowFirst(_)),
        made_by: format!("Firstpass {}", env!("CARGO_PKG_VERSION")),
    };
    for (name, text) in programs(subject, &shown)? {
        keep(&name, text.as_bytes())?;
    }
    keep("report.md", rendered(REPORT, &shown)?.as_bytes())?;
    let mut answers: Vec<(String, &Tensors)> = vec![("input.npz".into(), &part.inputs)];
    answers.extend(
        expected
            .iter()
            .map(|outputs| ("expected.npz".into(), outputs)),
    );
    for (row, outputs) in &rows {
        if let Some(outputs) = outputs {
            answers.push((format!("got-{}.npz", row.file), outputs));
        }
    }
    for (name, tensors) in answers {
        let path = folder.join(name);
        regular_file::replace(&path, |new| write_npz(new, tensors))
            .with_context(|| format!("cannot write {}", path.display()))?;
        files.push(path);
    }
    Ok(files)
}

fn subject<'a>(investigation: &Investigation<'a>, symptom: &Symptom) -> &'a Engine {
    let place = match symptom {
        Symptom::Differs(place) => *place,
        Symptom::Fails(failed) => failed.keys().next().copied().unwrap_or(0),
        Symptom::SlowFirst(slow) => slow.place,
    };
    &investigation.engines.all[place]
}

/// A name of a file of somebody's, which is printed in programs and pages: on one line, whatever it holds.
fn plain(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() && !is_invisible(c);
    let text = text.chars().map(|c| if is_plain(c) { c } else { ' ' });
    text.collect()
}

/// What every engine gives on the part, each under its usual settings and, where it is the one in question, without its
/// optimizations too.
fn rows(
    investigation: &mut Investigation,
    question: &Question,
    part: &Candidate,
    expected: Option<&Tensors>,
) -> Result<Vec<(Row, Option<Tensors>)>> {
    let engines = investigation.engines;
    let mut rows = Vec::new();
    for (place, engine) in engines.all.iter().enumerate() {
        if !engine
            .description
            .formats
            .contains(&firstpass_probe::Format::ONNX)
        {
            continue;
        }
        let is_subject = match &question.symptom {
            Symptom::Differs(subject) => *subject == place,
            Symptom::Fails(failed) => failed.contains_key(&place),
            Symptom::SlowFirst(slow) => slow.place == place,
        };
        let mut settings = vec![question.knobs.clone()];
        settings.extend(engine.plain.clone().filter(|_| is_subject));
        for (number, knobs) in settings.into_iter().enumerate() {
            let answer = investigation.of_part(engine, &knobs, part)?;
            let failure = answer.failure().map(|why| brief(&plain(&why)));
            let differs = match (&answer, expected) {
                (Answer::Outputs(got), Some(expected)) => {
                    Some(differences(&investigation.description, part, expected, got))
                }
                _ => None,
            };
            let outputs = answer.outputs();
            let times = match &question.symptom {
                Symptom::SlowFirst(_) => investigation.taken_on_part(place, &knobs, part)?,
                Symptom::Differs(_) | Symptom::Fails(_) => None,
            };
            let row = Row {
                engine: engine.versioned(),
                is_plain: number > 0,
                file: match number {
                    0 => engine.backend.name.clone(),
                    _ => format!("{}-without-optimizations", engine.backend.name),
                },
                settings: (knobs != Knobs::default()).then(|| setting(&knobs)),
                failure,
                differs,
                times: times.map(Times::of),
                values: outputs.as_ref().map(beginnings).unwrap_or_default(),
                is_subject,
            };
            rows.push((row, outputs));
        }
    }
    Ok(rows)
}

fn beginnings(tensors: &Tensors) -> Vec<String> {
    let first = |(name, tensor): (&String, &Tensor)| {
        let values = tensor.data().to_f64s();
        let some: Vec<String> = values.iter().take(FEW).map(ToString::to_string).collect();
        let more = if values.len() > FEW { ", …" } else { "" };
        format!("{name}: {}{more}", some.join(", "))
    };
    tensors.iter().map(first).collect()
}

fn arrays(tensors: &Tensors, what: &str) -> Vec<Array> {
    let numbered = tensors.iter().enumerate();
    numbered
        .map(|(number, (name, tensor))| {
            let size = tensor.data().bytes().len() / tensor.data().len().max(1);
            // `b[0], b[1], …`
            let bytes: Vec<String> = (0..size).map(|at| format!("b[{at}]")).collect();
            Array {
                name: name.clone(),
                shape: tensor.shape().to_vec(),
                dtype: in_rust(tensor.dtype()),
                numpy: in_numpy(tensor.dtype()),
                size,
                read: match tensor.dtype() {
                    Dtype::Bool => "b[0] != 0".into(),
                    other => {
                        format!("{}::from_le_bytes([{}])", in_rust(other), bytes.join(", "))
                    }
                },
                file: format!("{what}-{number}.bin"),
                values: tensor.data().len(),
            }
        })
        .collect()
}

fn in_rust(dtype: Dtype) -> &'static str {
    match dtype {
        // The crate `half` has these, and no engine's users need it for what is shown here.
        Dtype::F16 | Dtype::BF16 => "u16",
        other => other.key(),
    }
}

fn in_numpy(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::F64 => "float64",
        Dtype::F16 | Dtype::BF16 => "float16",
        Dtype::I64 => "int64",
        Dtype::I32 => "int32",
        Dtype::I16 => "int16",
        Dtype::I8 => "int8",
        Dtype::U64 => "uint64",
        Dtype::U32 => "uint32",
        Dtype::U16 => "uint16",
        Dtype::U8 => "uint8",
        Dtype::Bool => "bool",
    }
}

/// One line for the head of a bug report, no more than was measured.
fn title(subject: &Engine, question: &Question, part: &Candidate) -> Result<String> {
    let symptom = match (&question.symptom, &question.reference) {
        (Symptom::Fails(failed), _) if failed.len() > 1 => "fails-everywhere",
        (Symptom::Fails(_), _) => "fails",
        (Symptom::Differs(_), Some(Reference::Itself(_))) => "differs-from-itself",
        (Symptom::Differs(_), _) => "differs",
        (Symptom::SlowFirst(_), _) => "slow-first",
    };
    let mut operators = part.operators();
    // A title is one line; the list of nodes below it has all.
    let more = operators.len().saturating_sub(IN_TITLE);
    operators.truncate(IN_TITLE);
    let engine = &subject.called;
    let title = template::render(
        "culprit/title.txt.j2",
        context! { symptom, engine, operators, more },
    )?;
    Ok(title.trim().to_owned())
}

/// Whose outputs are expected.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Expected {
    /// Those of the referee; by no rules where it computes as the standard says.
    Referee { rules: Option<String> },
    /// Those on which engines agree without their optimizations.
    Agreed { engines: Vec<String> },
    /// Those of an engine without its optimizations.
    Itself { engine: String },
    /// None are known.
    Unknown,
}

fn expected_of(investigation: &Investigation, reference: Option<&Reference>) -> Expected {
    let name = |place: &usize| investigation.engines.all[*place].versioned();
    match reference {
        Some(Reference::Referee(rules)) => Expected::Referee {
            rules: rules.settings().next().map(|_| setting(rules)),
        },
        Some(Reference::Agreed(places)) => Expected::Agreed {
            engines: places.iter().map(name).collect(),
        },
        Some(Reference::Itself(place)) => Expected::Itself {
            engine: name(place),
        },
        None => Expected::Unknown,
    }
}

/// The programs that show it, by file: those of the engine where it has some.
fn programs(subject: &Engine, shown: &Shown) -> Result<BTreeMap<String, String>> {
    let folder = subject.backend.dir.join("reproduce");
    let mut programs = BTreeMap::new();
    if shown.is_of_times {
        // The programs of engines print outputs.
        programs.insert("main.rs".into(), rendered(TIMES, shown)?);
        return Ok(programs);
    }
    // Values of 16 bits take a crate that no engine's users need for what is shown here.
    let all = shown.inputs.iter().chain(&shown.outputs);
    let has_halves = all.clone().any(|array| array.numpy == "float16");
    let names: &[&str] = match has_halves {
        true => &["reproduce.py"],
        false => &["main.rs", "Cargo.toml", "reproduce.py"],
    };
    for &name in names {
        let template = folder.join(format!("{name}.j2"));
        if let Ok(text) = fs::read_to_string(&template) {
            let text = rendered(&text, shown)
                .with_context(|| format!("cannot render {}", template.display()))?;
            programs.insert(name.to_owned(), text);
        }
    }
    if !programs.contains_key("main.rs") {
        programs.insert("main.rs".into(), rendered(PROGRAM, shown)?);
    }
    Ok(programs)
}

fn rendered(template: &str, data: impl Serialize) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_keep_trailing_newline(true);
    // A name in a program is a literal, which JSON and both languages write alike.
    environment.add_filter("literal", |text: &str| {
        serde_json::to_string(text).unwrap_or_default()
    });
    let rendered = environment.render_str(template, data);
    rendered.map_err(|error| anyhow!("{error:#}"))
}

/// The beginning of what is left, for a terminal.
pub(crate) fn summary(
    investigation: &Investigation,
    question: &Question,
    reduced: &Reduced,
) -> Result<String> {
    let part = &reduced.candidate;
    let subject = subject(investigation, &question.symptom);
    let inputs = part.inputs.iter().map(|(name, tensor)| {
        let (dtype, shape) = (tensor.dtype().key(), tensor.shape());
        context! { name, dtype, shape }
    });
    let left = context! {
        title => title(subject, question, part)?,
        all => part.file.nodes().len(),
        left => part.nodes.len(),
        inputs => inputs.collect::<Vec<_>>(),
        is_complete => reduced.is_complete,
    };
    let words = template::render("culprit/left.txt.j2", left)?;
    Ok(words.trim_end().to_owned())
}

#[cfg(test)]
mod tests;
