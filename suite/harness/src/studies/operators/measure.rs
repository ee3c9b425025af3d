//! Running cases, and shrinking those at fault.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use firstpass_probe::{Format, Knobs, Model, OutputSpec, Tensor, TensorSpec, write_tensors};
use firstpass_trial::{
    process::{Probe, once, start},
    workspace::{Backend, Workspace},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use crate::{
    progress::progress,
    record::{
        code::{Code, sources_sha256},
        sidecar,
    },
    studies::{
        diverge::Difference,
        operators::{
            Absence, Case, KINDS, Kind, OperatorsRun, SIDECAR, Tried, VERSION,
            case::{INPUT, OUTPUT},
            data::Line,
            standard::Standard,
        },
        referee,
    },
};

/// An engine is asked so often for a smaller case.
const SHRINKING_STEPS: usize = 60;

/// Where cases are kept, below the fixtures.
pub const KEPT: &str = "operators";

/// Of their files.
const EXTENSION: &str = "json";

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct OperatorsSettings {
    /// Cases of each kind.
    pub cases: usize,
    /// Whether cases at fault are shrunk.
    pub shrink: bool,
}

type Tree = Box<dyn ValueTree<Value = Case>>;

/// Tries every kind of cases on every engine; writes it beside a record and returns where. An engine
/// that does not start is a failure in every case.
///
/// # Errors
/// Fails where there is no referee or it does not run a case.
pub fn measure(
    workspace: &Workspace,
    engines: &[Backend],
    settings: OperatorsSettings,
    record: &Path,
) -> Result<PathBuf> {
    let backends = workspace.backends()?;
    let referee = backends.iter().find(|backend| backend.is_referee);
    let referee = referee.context("no backend of this workspace is a referee")?;
    let run = OperatorsRun {
        version: VERSION,
        date: firstpass_trial::machine::now(),
        code: Code::observe(workspace)?,
        referees: BTreeMap::from([(referee.name.clone(), sources_sha256(workspace, referee)?)]),
        cases: settings.cases,
    };
    let kept = kept(&workspace.fixtures().join(KEPT))?;
    let mut recorder = SIDECAR.begin(record, workspace.root(), &run)?;
    recorder.announce_interruption(sidecar::what_next);
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (probe, description) = start(workspace, referee)?;
    let referee = Referee {
        rules: referee::rules(&description.knobs),
        probe,
    };
    let mut started = Vec::new();
    for engine in engines {
        let absence = match start(workspace, engine) {
            Ok((probe, description)) if description.formats.contains(&Format::ONNX) => {
                started.push((engine.name.as_str(), probe));
                continue;
            }
            Ok(_) => Absence {
                reason: "it reads no ONNX".into(),
                is_fault: false,
            },
            Err(reason) => Absence {
                reason: format!("{reason:#}"),
                is_fault: true,
            },
        };
        eprintln!("{}: {}", engine.name, absence.reason);
        recorder.write(&engine.name, &Line::Absent(absence))?;
    }
    let bar = progress("operators", KINDS.len() * settings.cases);
    for kind in &KINDS {
        bar.set_message(kind.name);
        let trees = draw(kind, settings.cases)?;
        let of_fixtures = kept.iter().filter(|kept| kept.kind == kind.name);
        let drawn = trees.iter().map(|tree| tree.current());
        let cases: Vec<Case> = drawn.chain(of_fixtures.map(|k| k.case.clone())).collect();
        let mut at_fault: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, case) in cases.iter().enumerate() {
            let written = Written::new(case, folder.path())?;
            let expected = referee.all(&written)?;
            for (name, probe) in &started {
                let tried = attempt(kind, case, &written, probe, &expected);
                if tried.is_at_fault() {
                    at_fault.entry(*name).or_insert(number);
                }
                recorder.write(name, &Line::Case(Box::new(tried)))?;
            }
            bar.inc(1);
        }
        for (name, probe) in &started {
            let Some(&number) = at_fault.get(name) else {
                continue;
            };
            // Those of the fixtures are small already.
            if settings.shrink && number < settings.cases {
                // Drawn anew: shrinking uses a tree up.
                let tree = draw(kind, number + 1)?
                    .pop()
                    .context("there is a last case")?;
                let tried = shrink(kind, tree, probe, &referee, folder.path())?;
                recorder.write(name, &Line::Case(Box::new(tried)))?;
            }
        }
    }
    bar.finish_and_clear();
    let standard = Standard::collect(workspace)?;
    let bar = progress("tests of the standard", standard.len() * started.len());
    for (name, probe) in &started {
        bar.set_message((*name).to_owned());
        for test in standard.run(probe)? {
            recorder.write(name, &Line::Standard(test))?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    recorder.finish()
}

/// The same cases in every run.
fn draw(kind: &Kind, cases: usize) -> Result<Vec<Tree>> {
    let mut runner = TestRunner::deterministic();
    let strategy = (kind.cases)();
    (0..cases)
        .map(|_| {
            let tree = strategy.new_tree(&mut runner);
            tree.map_err(|reason| anyhow!("no case of {}: {reason}", kind.name))
        })
        .collect()
}

/// The referee with all its rules; the first are those of the file.
struct Referee {
    probe: Probe,
    rules: Vec<Knobs>,
}

impl Referee {
    /// What each set of rules gives, as the file is written first.
    fn all(&self, written: &Written) -> Result<Vec<(&Knobs, Tensor)>> {
        let rules = self.rules.iter();
        rules
            .map(|rules| Ok((rules, written.outputs(&self.probe, rules)?)))
            .collect()
    }
}

/// A case as files.
struct Written {
    model: Model,
    input: PathBuf,
    saved: PathBuf,
    /// Of the output.
    scale: f32,
}

impl Written {
    fn new(case: &Case, folder: &Path) -> Result<Self> {
        let path = folder.join("case.onnx");
        fs::write(&path, case.file())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let values = Tensor::new(&case.shape, case.values())?;
        let input = folder.join("input.safetensors");
        write_tensors(&input, [(INPUT.to_owned(), &values)])?;
        Ok(Self {
            model: Model {
                name: "case".into(),
                format: Format::ONNX,
                path,
                inputs: vec![TensorSpec::f32(INPUT, case.shape)],
                outputs: vec![OutputSpec::new(OUTPUT, case.output_shape())],
            },
            input,
            saved: folder.join("outputs.safetensors"),
            scale: case.output_scale(),
        })
    }

    fn outputs(&self, probe: &Probe, knobs: &Knobs) -> Result<Tensor> {
        let mut found = once(probe, &self.model, knobs, &self.input, &self.saved)?;
        let output = found.remove(OUTPUT);
        output.with_context(|| format!("there is no output {OUTPUT:?}"))
    }
}

/// One case on one engine.
fn attempt(
    kind: &Kind,
    case: &Case,
    written: &Written,
    probe: &Probe,
    expected: &[(&Knobs, Tensor)],
) -> Tried {
    let outputs = written.outputs(probe, &Knobs::default());
    let mut tried = Tried {
        kind: kind.name.into(),
        case: case.clone(),
        shrunk: false,
        failure: None,
        difference: None,
        exact_under: Vec::new(),
    };
    match outputs {
        // Where the file lies is of no interest.
        Err(reason) => {
            let folder = written.saved.parent().unwrap_or(Path::new("")).display();
            tried.failure = Some(format!("{reason:#}").replace(&format!("{folder}/"), ""));
        }
        Ok(found) => {
            let difference = |of: &Tensor| Difference::between(of, &found, written.scale);
            tried.difference = expected.first().map(|(_, of)| difference(of));
            let exact = expected.iter().filter(|(_, of)| difference(of).is_none());
            tried.exact_under = exact.map(|(rules, _)| (*rules).clone()).collect();
        }
    }
    tried
}

/// The smallest case that is at fault like the one it is made from.
fn shrink(
    kind: &Kind,
    mut tree: Tree,
    probe: &Probe,
    referee: &Referee,
    folder: &Path,
) -> Result<Tried> {
    let attempt = |case: &Case, rules: &[Knobs]| -> Result<Tried> {
        let written = Written::new(case, folder)?;
        let expected = rules.iter();
        let expected: Vec<(&Knobs, Tensor)> = expected
            .map(|rules| Ok((rules, written.outputs(&referee.probe, rules)?)))
            .collect::<Result<_>>()?;
        Ok(attempt(kind, case, &written, probe, &expected))
    };
    let first = attempt(&tree.current(), &referee.rules[..1])?;
    let fails = first.failure.is_some();
    let mut smallest = tree.current();
    let mut moved = tree.simplify();
    for _ in 0..SHRINKING_STEPS {
        if !moved {
            break;
        }
        let case = tree.current();
        let tried = attempt(&case, &referee.rules[..1])?;
        // A failure must not become a difference on the way.
        moved = if tried.is_at_fault() && tried.failure.is_some() == fails {
            smallest = case;
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    Ok(Tried {
        shrunk: true,
        ..attempt(&smallest, &referee.rules)?
    })
}

/// A case of the fixtures.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    kind: String,
    case: Case,
}

/// None where the folder is not there.
fn kept(folder: &Path) -> Result<Vec<Kept>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|e| e == EXTENSION));
    paths.sort();
    let read = |path: &PathBuf| -> Result<Kept> {
        let text = fs::read_to_string(path)?;
        Ok(serde_json::from_str(&text)?)
    };
    paths
        .iter()
        .map(|path| read(path).with_context(|| format!("{} is no case", path.display())))
        .collect()
}

/// The shrunk cases, each with the engine's name.
fn shrunk(tried: &BTreeMap<String, Vec<Tried>>) -> impl Iterator<Item = (&String, &Tried)> {
    tried
        .iter()
        .flat_map(|(engine, tried)| tried.iter().map(move |t| (engine, t)))
        .filter(|(_, tried)| tried.shrunk)
}

fn file_name(engine: &str, tried: &Tried) -> String {
    let kind: Vec<&str> = tried
        .kind
        .split([' ', ','])
        .filter(|w| !w.is_empty())
        .collect();
    format!("{engine}-{}", kind.join("-").to_lowercase())
}

/// Writes the shrunk cases into a folder; returns their number. Those in [`KEPT`] are tried in every run.
///
/// # Errors
/// Fails where a file cannot be written.
pub fn keep(folder: &Path, tried: &BTreeMap<String, Vec<Tried>>) -> Result<usize> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut count = 0;
    for (engine, tried) in shrunk(tried) {
        let path = folder
            .join(file_name(engine, tried))
            .with_extension(EXTENSION);
        let kept = Kept {
            kind: tried.kind.clone(),
            case: tried.case.clone(),
        };
        let text = serde_json::to_string_pretty(&kept)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        count += 1;
    }
    Ok(count)
}

/// Writes the shrunk cases as model files with their inputs, in a form for the engines' maintainers;
/// returns their number.
///
/// # Errors
/// Fails where a file cannot be written.
pub fn export(folder: &Path, tried: &BTreeMap<String, Vec<Tried>>) -> Result<usize> {
    let mut count = 0;
    for (engine, tried) in shrunk(tried) {
        let folder = folder.join(file_name(engine, tried));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let written = Written::new(&tried.case, &folder)?;
        let said = match (&tried.failure, &tried.difference) {
            (Some(words), _) => words.clone(),
            (None, Some(difference)) => format!(
                "{} of {} values are the same step of {}; the furthest is {} steps away",
                difference.same, difference.values, written.scale, difference.most_steps
            ),
            (None, None) => String::new(),
        };
        let path = folder.join("README.md");
        let text = format!("# {engine}: {}\n\n```text\n{said}\n```\n", tried.kind);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shrunk case of each kind.
    fn tried() -> Result<BTreeMap<String, Vec<Tried>>> {
        let shrunk = |kind: &Kind| {
            let case = draw(kind, 1)?.remove(0).current();
            Ok(Tried {
                kind: kind.name.into(),
                case,
                shrunk: true,
                failure: Some("no such operator".into()),
                difference: None,
                exact_under: Vec::new(),
            })
        };
        let of_engine: Vec<Tried> = KINDS.iter().map(shrunk).collect::<Result<_>>()?;
        Ok(BTreeMap::from([("x".to_owned(), of_engine)]))
    }

    #[test]
    fn kept_cases_are_read_again() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(kept(&folder.path().join("none"))?.is_empty());
        let tried = tried()?;
        assert_eq!(keep(folder.path(), &tried)?, KINDS.len());
        let read = kept(folder.path())?;
        assert_eq!(read.len(), KINDS.len());
        for kept in read {
            let of_kind = tried["x"].iter().find(|t| t.kind == kept.kind);
            assert_eq!(of_kind.map(|t| &t.case), Some(&kept.case));
        }
        fs::write(folder.path().join("other.json"), "{}")?;
        let error = kept(folder.path()).err().context("it is no case")?;
        assert!(format!("{error:#}").contains("other.json"), "{error:#}");
        Ok(())
    }

    #[test]
    fn an_export_is_a_model_with_its_input_and_what_was_said() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert_eq!(export(folder.path(), &tried()?)?, KINDS.len());
        let of_case = folder.path().join("x-conv-i32-bias");
        for file in ["case.onnx", "input.safetensors"] {
            assert!(of_case.join(file).is_file(), "{file}");
        }
        let text = fs::read_to_string(of_case.join("README.md"))?;
        assert!(text.contains("no such operator"), "{text}");
        Ok(())
    }
}
