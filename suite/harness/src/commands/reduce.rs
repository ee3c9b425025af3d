//! `firstpass reduce`: the smallest part of a model that shows what is wrong with it.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_trial::{
    engine_spec::chosen_backends, model::ModelDescription, own_model, workload::Workload,
    workspace::Workspace,
};
use minijinja::context;

use crate::{
    commands::one_model::{self, engines},
    compare::limits::Times,
    culprit::{
        Found, Investigation, Verdict,
        engines::Engines,
        first_pass::{self, Taken},
        investigation_words, reduce, write,
    },
    page::{
        numbers::{counted, times as in_times},
        template,
        terminal::text as shown,
    },
    record::check_outside_records,
};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: one_model::Arguments,
    /// Look for the part whose first pass takes at least so many times as long as a steady one, such as 3x, instead of
    /// wrong outputs and failures
    #[arg(long, value_name = "TIMES")]
    slow_first_pass: Option<Times>,
    /// Where the folder goes [default: reports/reduce/NAME]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Succeeds where something was wrong and a part of the model shows it.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let chosen = arguments.model.chosen(workspace)?;
    if let Some(out) = &arguments.out {
        let model = chosen
            .workload
            .models
            .first()
            .context("there is no model")?;
        check_free(
            &std::path::absolute(out)?,
            &source(arguments, model)?,
            model,
        )?;
    }
    let backends = chosen_backends(workspace, &arguments.model.backends)?;
    let engines = engines(workspace, &backends)?;
    let mut investigation =
        Investigation::new(&engines, &chosen.workload, arguments.model.budget())?;
    let found = investigation.look()?;
    println!("{}", shown(&investigation_words(&investigation, &found)?));
    let symptom = match arguments.slow_first_pass {
        Some(Times(times)) => {
            let knobs = arguments.model.knobs()?;
            let (taken, symptom) = first_pass::slowest(&mut investigation, times, &knobs);
            println!("{}", shown(&first_passes(&engines, &taken, times)?));
            symptom
        }
        None => {
            let symptom = found.symptoms.first().cloned();
            if symptom.is_none() {
                println!("{}", nothing_to_cut(&found));
            }
            symptom
        }
    };
    let Some(symptom) = symptom else {
        return Ok(ExitCode::FAILURE);
    };
    let question = arguments.model.question(&found, symptom)?;
    let reduced = reduce::reduce(&mut investigation, &question)?;
    let spent = investigation.spent();
    let folder = folder(workspace, arguments, &chosen.workload)?;
    let files = write::write(&mut investigation, &question, &reduced, &folder)?;
    println!(
        "{}",
        shown(&write::summary(&investigation, &question, &reduced)?)
    );
    eprintln!(
        "{} in {:.0} s",
        counted(investigation.asked, "process"),
        spent.as_secs_f64()
    );
    for file in files {
        println!("  {}", file.display());
    }
    println!("report: {}", folder.join("report.md").display());
    Ok(ExitCode::SUCCESS)
}

/// What the first passes of all engines take, and whether one of them is slow.
fn first_passes(engines: &Engines, taken: &[Option<Taken>], limit: f64) -> Result<String> {
    let ms = |ns: u64| format!("{:.3}", ns as f64 / 1e6);
    let rows = engines.all.iter().zip(taken).filter_map(|(engine, taken)| {
        let taken = (*taken)?;
        let (first, steady) = (ms(taken.first_ns), ms(taken.steady_ns));
        let ratio = in_times(taken.ratio());
        Some(context! { called => engine.called, first, steady, ratio, is_slow => taken.ratio() >= limit })
    });
    let rows: Vec<_> = rows.collect();
    let limit = in_times(limit);
    let words = template::render("culprit/first_passes.txt.j2", context! { rows, limit })?;
    Ok(words.trim_end().to_owned())
}

/// Why there is nothing to cut out of a model.
fn nothing_to_cut(found: &Found) -> &'static str {
    let rounds = |verdict: &Verdict| matches!(verdict, Verdict::Rounds { .. });
    if found.verdicts.iter().any(rounds) {
        "engines differ by their rounding alone, which is no fault that could be cut out of the model; `firstpass blame` \
         says by which rule each rounds"
    } else {
        "nothing is wrong with this model that could be cut out of it; `--slow-first-pass 3x` looks for what makes a first pass \
         slow"
    }
}

/// Whether nothing in a folder is lost by what is written there: among it is a file that is called `model.onnx`.
///
/// # Errors
/// Says what lies there.
fn check_free(folder: &Path, source: &Path, model: &ModelDescription) -> Result<()> {
    check_outside_records(folder)?;
    let real = folder.canonicalize().ok();
    let files = model.artifacts.values().map(|file| model.path(file));
    let files = files.filter_map(|file| file.canonicalize().ok());
    let holds_model = files
        .into_iter()
        .any(|file| file.parent() == real.as_deref());
    let is_new = !folder.exists() || own_model::belongs_to(folder, source);
    ensure!(
        is_new && (real.is_none() || !holds_model),
        "{} holds {}, which a smaller model.onnx might replace; give another folder with --out",
        folder.display(),
        if holds_model {
            "the model itself"
        } else {
            "other files"
        }
    );
    Ok(())
}

/// Where the result goes, which belongs to this model alone.
fn folder(workspace: &Workspace, arguments: &Arguments, workload: &Workload) -> Result<PathBuf> {
    let model = workload.models.first().context("there is no model")?;
    let source = source(arguments, model)?;
    let folder = match &arguments.out {
        Some(folder) => std::path::absolute(folder)?,
        None => own_model::claimed(&workspace.reports().join("reduce"), &model.name, &source)?,
    };
    own_model::claim(&folder, &source)?;
    Ok(folder)
}

/// The file that the model is known by.
fn source(arguments: &Arguments, model: &ModelDescription) -> Result<PathBuf> {
    let named = PathBuf::from(arguments.model.source()?);
    Ok(if named.exists() {
        named
    } else {
        model.file.clone()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use firstpass_probe::Format;
    use firstpass_trial::model::Precision;

    use super::*;

    #[test]
    fn a_folder_with_the_model_or_with_other_files_is_not_written_into() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (own, other) = (dir.path().join("own"), dir.path().join("other"));
        fs::create_dir(&own)?;
        fs::create_dir(&other)?;
        let source = own.join("model.onnx");
        fs::write(&source, "the model")?;
        let mut model = ModelDescription::for_tests(Precision::Fp32);
        model.artifacts.insert(Format::ONNX, source.clone());
        let said = |folder: &Path| {
            let error = check_free(folder, &source, &model).err();
            error.map_or_else(String::new, |error| error.to_string())
        };
        for (folder, words) in [
            (own.clone(), "holds the model itself"),
            (own.join("../own"), "holds the model itself"),
            (other.clone(), ""),
            (dir.path().join("new"), ""),
        ] {
            let said = said(&folder);
            assert!(
                said.contains(words) && said.is_empty() == words.is_empty(),
                "{said}"
            );
        }
        fs::write(other.join("notes"), "")?;
        assert!(said(&other).contains("holds other files"));
        // What an earlier command has written of this model.
        own_model::claim(&other, &source)?;
        assert_eq!(said(&other), "");
        // Even where one has written beside the model.
        own_model::claim(&own, &source)?;
        assert!(said(&own).contains("holds the model itself"));
        Ok(())
    }
}
