//! What `blame` and `reduce` say of small models of kinds that are known from public bug reports.
//!
//! What is wrong with an engine is declared in its `known.toml`, as `[[culprit]]`: it must be found, in these nodes and
//! by this setting; and on a case that is not declared an engine must agree with the referee.

mod models;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use firstpass_harness::{
    culprit::{
        Found, Investigation, Reference, Symptom, Verdict,
        blame::{rule, settings},
        engines::Engines,
        reduce::{Question, reduce},
    },
    user_model::{Inputs, UserModel, lay_out},
};
use firstpass_probe::{Format, Knobs, Tensor};
use firstpass_trial::{
    known::{CulpritVerdict, DeclaredCulprit},
    machine::Machine,
    tensor_files::write_npz,
    workload::{InputFiles, Workload},
    workspace::Workspace,
};
use libtest_mimic::{Arguments, Failed, Trial};
use models::{Case, cases};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match tests() {
        Ok(tests) => libtest_mimic::run(&arguments, tests).exit_code(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tests() -> Result<Vec<Trial>> {
    let workspace = Arc::new(Workspace::find()?);
    let backends = workspace.engines()?;
    let engines = Arc::new(Engines::start(&workspace, &backends)?);
    let mut tests = Vec::new();
    for (name, why) in &engines.absent {
        eprintln!("{name}: ignored: {why}");
        tests.push(Trial::test(name.clone(), || Ok(())).with_ignored_flag(true));
    }
    let flags = Machine::observe().cpu_flags;
    for case in cases() {
        let (workspace, engines, flags) =
            (Arc::clone(&workspace), Arc::clone(&engines), flags.clone());
        tests.push(Trial::test(case.name, move || {
            attempt(&workspace, &engines, &case, &flags).map_err(|e| Failed::from(format!("{e:#}")))
        }));
    }
    let (workspace, engines) = (Arc::clone(&workspace), Arc::clone(&engines));
    tests.push(Trial::test("golden outputs of another rule", move || {
        golden(&workspace, &engines).map_err(|e| Failed::from(format!("{e:#}")))
    }));
    Ok(tests)
}

/// A case as a user's model with an input of their own, and with golden outputs where these are given.
fn laid_out(
    workspace: &Workspace,
    case: &Case,
    folder: &Path,
    golden: Option<PathBuf>,
) -> Result<Workload> {
    fs::create_dir_all(folder)?;
    let path = folder.join("model.onnx");
    fs::write(&path, &case.model)?;
    let sample = folder.join("input.npz");
    let count: usize = case.shape.iter().product();
    // From about -3 to 3, no two alike, and none near the half between two steps of a scale.
    let values: Vec<f32> = (0..count)
        .map(|n| 5.917 * n as f32 / count as f32 - 2.9313)
        .collect();
    let input = Tensor::new(case.shape, values)?;
    write_npz(&sample, &BTreeMap::from([("x".to_owned(), input)]))?;
    let own = UserModel {
        files: vec![path],
        ..UserModel::default()
    };
    let model = own.describe(workspace)?;
    let inputs = Inputs {
        files: vec![sample],
        golden,
    };
    lay_out(workspace, model, &inputs, folder, false)
}

/// Golden outputs that are not what the file defines: by what the referee gives them is told, if it knows that.
fn golden(workspace: &Workspace, engines: &Engines) -> Result<()> {
    let case = models::saturating();
    let folder = tempfile::tempdir()?;
    let workload = laid_out(workspace, &case, &folder.path().join("case"), None)?;
    let (model, sample) = (&workload.models[0], &workload.samples[0]);
    let file = model.artifact(Format::ONNX).context("it is no ONNX")?;
    let file = workload.admit(model, &file)?;
    let mut inputs = InputFiles::new()?;
    let input = inputs.file(sample, model)?;
    let referee = engines.referee.as_ref().context("there is no referee")?;
    let longest = Duration::from_secs(60);
    let mut by_sums = Vec::new();
    for sums in ["exact", "pairs"] {
        let knobs = Knobs::default().with("sums", sums);
        let outputs = referee.answer(&file, &knobs, &input, folder.path(), longest);
        by_sums.push(outputs.outputs().context("the referee gave nothing")?);
    }
    let mut wrong = by_sums[0].clone();
    let y = wrong.get_mut("y").context("there is no y")?;
    let shape = y.shape().to_vec();
    *y = Tensor::new(&shape, vec![1.5_f32; shape.iter().product()])?;
    by_sums.push(wrong);
    ensure!(by_sums[0] != by_sums[1], "no sum saturates");
    let expected = [(false, None), (true, Some("sums=pairs")), (true, None)];
    for (n, (outputs, (is_other, rule))) in by_sums.iter().zip(expected).enumerate() {
        let folder = folder.path().join(n.to_string());
        fs::create_dir(&folder)?;
        let golden = folder.join("golden.npz");
        write_npz(&golden, outputs)?;
        let workload = laid_out(workspace, &case, &folder, Some(golden))?;
        let mut investigation = Investigation::new(engines, &workload, Duration::from_secs(100))?;
        let found = investigation.look()?;
        let differs = !found.golden_against_referee.is_empty();
        ensure!(differs == is_other, "{:?}", found.golden_against_referee);
        let told = found.golden_rule.as_ref().map(|rule| &rule.name);
        let is_told = match (told, rule) {
            (Some(told), Some(rule)) => told.contains(rule),
            (told, rule) => told.is_none() && rule.is_none(),
        };
        ensure!(is_told, "told is {told:?}, and not {rule:?}");
        let is_reference = matches!(found.reference, Some(Reference::Referee(_)));
        ensure!(is_reference == (n < 2), "{:?}", found.reference);
        if n == 1 {
            exact_ones_are_told(&mut investigation, &found)?;
        }
    }
    Ok(())
}

/// Where golden outputs have sums that saturate, and an engine differs because its own are exact, that is its cause.
fn exact_ones_are_told(investigation: &mut Investigation, found: &Found) -> Result<()> {
    let mut told = Vec::new();
    let whole = investigation.whole.clone().context("it is no graph")?;
    for symptom in &found.symptoms {
        let question = Question {
            symptom: symptom.clone(),
            reference: found.reference_of(symptom),
            knobs: Knobs::default(),
        };
        let rule = rule(investigation, &question, &whole)?;
        told.extend(rule.and_then(|(rules, _)| rules.get("sums").map(str::to_owned)));
    }
    ensure!(told.iter().any(|sums| sums == "exact"), "{told:?}");
    Ok(())
}

/// One case on every engine that reads it.
fn attempt(workspace: &Workspace, engines: &Engines, case: &Case, flags: &[String]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let workload = laid_out(workspace, case, folder.path(), None)?;
    let mut investigation = Investigation::new(engines, &workload, Duration::from_secs(100))?;
    let found = investigation.look()?;
    let mut faults = Vec::new();
    for (place, engine) in engines.all.iter().enumerate() {
        let known = engine.backend.known()?;
        let declared = known.culprit(case.name, flags);
        let verdict = &found.verdicts[place];
        let is = match verdict {
            Verdict::NotAsked(_) => continue,
            Verdict::Agrees | Verdict::Rounds { .. } => None,
            Verdict::Differs(_) | Verdict::DiffersFromItself(_) => Some(CulpritVerdict::Differs),
            Verdict::Fails(_) => Some(CulpritVerdict::Fails),
            Verdict::Open => None,
        };
        let name = &engine.called;
        if is != declared.map(|declared| declared.verdict) {
            faults.push(format!("{name}: {verdict:?}, but declared is {declared:?}"));
        }
        let symptom = found.symptoms.iter().find(|symptom| match symptom {
            Symptom::Differs(at) => *at == place,
            Symptom::Fails(failed) => failed.len() == 1 && failed.contains_key(&place),
            Symptom::SlowFirst(_) => false,
        });
        let Some(symptom) = symptom else { continue };
        let question = Question {
            symptom: symptom.clone(),
            reference: found.reference_of(symptom),
            knobs: Knobs::default(),
        };
        let blame = settings(&mut investigation, &found, place)?;
        let remedies: Vec<&Knobs> = blame.remedies.iter().map(|remedy| &remedy.knobs).collect();
        let reduced = reduce(&mut investigation, &question)?;
        let operators = reduced.candidate.operators();
        let checked = declared
            .context("nothing is declared")
            .and_then(|declared| check(declared, &remedies, &operators));
        if let Err(error) = checked {
            faults.push(format!(
                "{name}: {error:#}; it is in {operators:?}, and of {} settings these help: {remedies:?}",
                blame.tried
            ));
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

fn check(declared: &DeclaredCulprit, remedies: &[&Knobs], operators: &[String]) -> Result<()> {
    ensure!(
        operators == declared.operators,
        "it is in {operators:?}, and declared is {:?}",
        declared.operators
    );
    let first = remedies.first();
    match &declared.setting {
        Some((name, value)) => ensure!(
            first.is_some_and(|first| first.get(name) == Some(value)),
            "declared is {name}={value}"
        ),
        None => ensure!(first.is_none(), "declared is that no setting helps"),
    }
    Ok(())
}
