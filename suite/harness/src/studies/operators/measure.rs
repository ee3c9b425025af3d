//! Running cases, and shrinking those at fault.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_probe::{Format, Knobs, Model, Tensor, write_tensors};
use firstpass_trial::{
    engine::Backend,
    process::{Probe, once, start},
    rules::rules,
    small_graphs::{
        Case, Expected, INPUT, KINDS, Kind, OUTPUT, Tree, Tried,
        fixed::{FOLDER, Kept, kept},
        frozen::{self, Frozen},
    },
    workspace::Workspace,
};

use crate::{
    progress::progress,
    record::{
        code::{Code, sources_sha256},
        sidecar,
    },
    studies::operators::{
        Absence, OperatorsRun, SIDECAR, StandardTest, VERSION, data::Line, standard::Standard,
    },
};

/// An engine is asked so often for a smaller case.
const SHRINKING_STEPS: usize = 60;

/// Tries so many cases of each kind on every engine; writes it beside a record and returns where. An engine
/// that does not start is a failure in every case.
///
/// # Errors
/// Fails where there is no referee. What it does not compute is a failure of its own, and of no engine.
pub fn measure(
    workspace: &Workspace,
    engines: &[Backend],
    cases: usize,
    record: &Path,
) -> Result<PathBuf> {
    let backend = Referee::backend(workspace)?;
    let run = OperatorsRun {
        version: VERSION,
        date: firstpass_trial::machine::now(),
        code: Code::observe(workspace)?,
        referees: BTreeMap::from([(backend.name.clone(), sources_sha256(workspace, &backend)?)]),
        cases,
    };
    let folder_of_kept = workspace.fixtures().join(FOLDER);
    let mut recorder = SIDECAR.begin(record, workspace.root(), &run)?;
    recorder.announce_interruption(sidecar::what_next);
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let referee = Referee::start(workspace, &backend)?;
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
    let bar = progress("operators", KINDS.len() * cases);
    for kind in &KINDS {
        bar.set_message(kind.name);
        let trees = kind.draw(cases)?;
        let drawn = trees.iter().map(|tree| tree.current());
        let tried: Vec<Case> = drawn.chain(kept(kind, &folder_of_kept)?).collect();
        let mut at_fault: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, case) in tried.iter().enumerate() {
            let written = Written::new(case, folder.path())?;
            let expected = match referee.expected(&written) {
                Ok(expected) => expected,
                Err(words) => {
                    // Without it nothing can be said of an engine.
                    let refused = Tried::refused(kind.name, case, format!("{words:#}"));
                    recorder.write(&backend.name, &Line::Case(Box::new(refused)))?;
                    bar.inc(1);
                    continue;
                }
            };
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
            if number < cases {
                // Drawn anew: shrinking uses a tree up.
                let tree = kind.draw(number + 1)?.pop();
                let tree = tree.context("there is a last case")?;
                let tried = shrink(kind, tree, probe, &referee, folder.path())?;
                recorder.write(name, &Line::Case(Box::new(tried)))?;
            }
        }
    }
    bar.finish_and_clear();
    standard_tests(workspace, &started, |engine, test| {
        recorder.write(engine, &Line::Standard(test))
    })?;
    recorder.finish()
}

/// The standard's tests on every engine that reads ONNX.
///
/// # Errors
/// Fails where an engine does not start, and where there are no tests.
pub fn measure_standard(
    workspace: &Workspace,
    engines: &[Backend],
) -> Result<BTreeMap<String, Vec<StandardTest>>> {
    let mut started = Vec::new();
    for engine in engines {
        let (probe, description) = start(workspace, engine)?;
        if description.formats.contains(&Format::ONNX) {
            started.push((engine.name.as_str(), probe));
        }
    }
    let mut found: BTreeMap<String, Vec<StandardTest>> = BTreeMap::new();
    standard_tests(workspace, &started, |engine, test| {
        found.entry(engine.to_owned()).or_default().push(test);
        Ok(())
    })?;
    Ok(found)
}

fn standard_tests(
    workspace: &Workspace,
    engines: &[(&str, Probe)],
    mut take: impl FnMut(&str, StandardTest) -> Result<()>,
) -> Result<()> {
    let standard = Standard::collect(workspace)?;
    let bar = progress("tests of the standard", standard.len() * engines.len());
    for (name, probe) in engines {
        bar.set_message((*name).to_owned());
        for test in standard.run(probe)? {
            take(name, test)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Writes what the referee gives of the fixed cases into the fixtures; returns the file.
///
/// # Errors
/// Fails where there is no referee or it does not run a case, and where the file cannot be written.
pub fn freeze(workspace: &Workspace) -> Result<PathBuf> {
    let referee = Referee::start(workspace, &Referee::backend(workspace)?)?;
    let files = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = workspace.fixtures().join(FOLDER);
    let frozen = Frozen::compute(&folder, |case| {
        referee.expected(&Written::new(case, files.path())?)
    })?;
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    frozen.write(&folder)?;
    Ok(folder.join(frozen::FILE))
}

/// The referee with all its rules; the first are those of the file.
struct Referee {
    probe: Probe,
    rules: Vec<Knobs>,
}

impl Referee {
    fn backend(workspace: &Workspace) -> Result<Backend> {
        let mut backends = workspace.backends()?.into_iter();
        let referee = backends.find(|backend| backend.is_referee);
        referee.context("no backend of this workspace is a referee")
    }

    fn start(workspace: &Workspace, backend: &Backend) -> Result<Self> {
        let (probe, description) = start(workspace, backend)?;
        Ok(Self {
            rules: rules(&description.knobs),
            probe,
        })
    }

    fn expected(&self, written: &Written) -> Result<Expected> {
        self.expected_under(&self.rules, written)
    }

    fn expected_under(&self, rules: &[Knobs], written: &Written) -> Result<Expected> {
        let outputs = rules
            .iter()
            .map(|rules| Ok((rules.clone(), written.output(&self.probe, rules)?)));
        Ok(Expected::new(outputs.collect::<Result<Vec<_>>>()?))
    }
}

/// A case as files.
struct Written {
    model: Model,
    input: PathBuf,
    saved: PathBuf,
}

impl Written {
    fn new(case: &Case, folder: &Path) -> Result<Self> {
        let input = folder.join("input.safetensors");
        write_tensors(&input, [(INPUT.to_owned(), &case.tensor()?)])?;
        Ok(Self {
            model: case.write(folder)?,
            input,
            saved: folder.join("outputs.safetensors"),
        })
    }

    fn output(&self, probe: &Probe, knobs: &Knobs) -> Result<Tensor> {
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
    expected: &Expected,
) -> Tried {
    let answer = written.output(probe, &Knobs::default());
    let answer = answer.map_err(|reason| {
        // Where the file lies is of no interest.
        let folder = written.saved.parent().unwrap_or(Path::new("")).display();
        format!("{reason:#}").replace(&format!("{folder}/"), "")
    });
    Tried::new(kind.name, case, answer, expected)
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
        let expected = referee.expected_under(rules, &written)?;
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

/// Writes the shrunk cases into a folder; returns their number. Those in [`FOLDER`] of the
/// fixtures are tried in every run.
///
/// # Errors
/// Fails where a file cannot be written.
pub fn keep(folder: &Path, tried: &BTreeMap<String, Vec<Tried>>) -> Result<usize> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut count = 0;
    for (engine, tried) in shrunk(tried) {
        let kept = Kept {
            kind: tried.kind.clone(),
            case: tried.case.clone(),
        };
        kept.write(folder, &file_name(engine, tried))?;
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
        Written::new(&tried.case, &folder)?;
        let said = match (&tried.failure, &tried.difference) {
            (Some(words), _) => words.clone(),
            (None, Some(difference)) => format!(
                "{} of {} values are the same step of {}; the furthest is {} steps away",
                difference.same,
                difference.values,
                tried.case.output_scale(),
                difference.most_steps
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
            let case = kind.draw(1)?.remove(0).current();
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
        let tried = tried()?;
        assert_eq!(keep(folder.path(), &tried)?, KINDS.len());
        for (kind, tried) in KINDS.iter().zip(&tried["x"]) {
            let read = kept(kind, folder.path())?;
            assert_eq!(read, std::slice::from_ref(&tried.case));
        }
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
