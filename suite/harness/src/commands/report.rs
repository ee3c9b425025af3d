//! `firstpass report`: the main job.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_harness::{
    campaign,
    machine::all_threads,
    photo::Photo,
    record::Settings,
    report,
    subject::Subject,
    workspace::{Backend, Workspace},
};

use crate::commands::setup;

/// Photographs of the fixtures that a quick report looks at.
const QUICK_PHOTOS: usize = 3;

#[derive(Args)]
pub struct Arguments {
    /// A look within two minutes: fewer processes, passes and photographs, one thread; written to reports/quick
    #[arg(long)]
    quick: bool,
    /// Measure nothing; fail if the report is out of date with its record or the code
    #[arg(long, conflicts_with_all = ["quick", "from"])]
    check: bool,
    /// Measure nothing; render this record
    #[arg(long, value_name = "RECORD", conflicts_with = "quick")]
    from: Option<PathBuf>,
    /// Only this backend (a folder of backends/); may be repeated
    #[arg(long = "backend", value_name = "NAME")]
    backends: Vec<String>,
    /// Only this model: a name of fixtures/models, or the path of a model.toml of your own; may be
    /// repeated
    #[arg(long = "model", value_name = "NAME|PATH")]
    models: Vec<String>,
    /// A photograph of your own instead of those of the fixtures; may be repeated
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// Numbers of threads [default: 1 and all]
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    threads: Vec<usize>,
    /// Fresh processes of each engine on each model [default: 5]
    #[arg(long, value_name = "N")]
    processes: Option<usize>,
    /// Most passes of a process; slow models do fewer, but at least 10 [default: 60]
    #[arg(long, value_name = "N")]
    passes: Option<usize>,
    /// Where the report goes [default: reports, or reports/quick for what is not the whole]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Arguments {
    /// Whether all engines are measured on all fixtures, so that the report is *the* report.
    fn is_whole(&self) -> bool {
        !self.quick && self.backends.is_empty() && self.models.is_empty() && self.images.is_empty()
    }

    fn folder(&self, workspace: &Workspace) -> PathBuf {
        match &self.out {
            Some(folder) => folder.clone(),
            None if self.is_whole() => workspace.reports(),
            None => workspace.reports().join("quick"),
        }
    }

    fn settings(&self) -> Settings {
        let preset = if self.quick {
            Settings {
                processes: 2,
                least_processes: 1,
                passes: 20,
                // Two show a pass that depends on the one before, but take twice the time.
                agreement_passes: 1,
                skip_arithmetic: true,
                threads: vec![1],
                budget_s: 30,
                cell_budget_s: 4,
                process_budget_ms: 500,
            }
        } else {
            Settings {
                processes: 5,
                least_processes: 2,
                passes: 60,
                agreement_passes: 2,
                skip_arithmetic: false,
                threads: vec![1, all_threads()],
                budget_s: 430,
                cell_budget_s: 25,
                process_budget_ms: 1200,
            }
        };
        let mut threads = self.threads.clone();
        if threads.is_empty() {
            threads.clone_from(&preset.threads);
        }
        threads.sort_unstable();
        threads.dedup();
        Settings {
            processes: self.processes.unwrap_or(preset.processes),
            passes: self.passes.unwrap_or(preset.passes),
            threads,
            ..preset
        }
    }
}

/// Succeeds where the report was written, whatever it says; `--check` where it is up to date.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folder = arguments.folder(workspace);
    let folder = std::path::absolute(&folder)?;
    if arguments.check {
        report::check(workspace, &folder)?;
        println!("{} is up to date", folder.join("README.md").display());
        return Ok(ExitCode::SUCCESS);
    }
    let record = match &arguments.from {
        Some(record) => record.clone(),
        None => measure(workspace, arguments, &folder)?,
    };
    let record = record
        .canonicalize()
        .with_context(|| format!("there is no record {}", record.display()))?;
    let analysis = report::write(workspace, &folder, &record)?;
    println!("{}", report::summary(&analysis));
    println!("report: {}", folder.join("README.md").display());
    println!("record: {}", record.display());
    Ok(ExitCode::SUCCESS)
}

fn measure(workspace: &Workspace, arguments: &Arguments, folder: &Path) -> Result<PathBuf> {
    // What the user named is checked before anything that takes time.
    let backends = chosen_backends(workspace, &arguments.backends)?;
    let subject = chosen_subject(workspace, arguments)?;
    let settings = arguments.settings();
    ensure!(
        settings.processes > 0 && settings.passes > 0 && !settings.threads.contains(&0),
        "--processes, --passes and --threads must be at least 1"
    );
    writable(folder)?;
    // Without a library its engine is a row that says so; the others are measured.
    if let Err(error) = setup::run(workspace) {
        eprintln!("error: {error:#}");
    }
    campaign::run(
        workspace,
        &backends,
        &subject,
        &settings,
        &folder.join("records"),
    )
}

/// The backends of these names, or all.
pub fn chosen_backends(workspace: &Workspace, names: &[String]) -> Result<Vec<Backend>> {
    let all = workspace.backends()?;
    for name in names {
        let known: Vec<&str> = all.iter().map(|b| b.name.as_str()).collect();
        ensure!(
            known.contains(&name.as_str()),
            "no backend {name:?}; there are: {}",
            known.join(", ")
        );
    }
    Ok(all
        .into_iter()
        .filter(|b| names.is_empty() || names.contains(&b.name))
        .collect())
}

fn chosen_subject(workspace: &Workspace, arguments: &Arguments) -> Result<Subject> {
    let models = if arguments.models.is_empty() {
        Subject::fixture_models(workspace)?
    } else {
        let models = arguments
            .models
            .iter()
            .map(|name| Subject::find_model(workspace, name));
        models.collect::<Result<_>>()?
    };
    let photos = if arguments.images.is_empty() {
        let mut photos = Photo::fixtures(&workspace.fixtures())?;
        if arguments.quick {
            photos.truncate(QUICK_PHOTOS);
        }
        photos
    } else {
        arguments
            .images
            .iter()
            .map(|file| Photo::from_file(file))
            .collect()
    };
    let subject = Subject::new(workspace, models, photos)?;
    // Read here what the report needs at its end, so that it does not fail after the measuring.
    for model in &subject.models {
        subject.pictures(model)?;
        subject.golden(model)?;
    }
    Ok(subject)
}

/// Fails before minutes are spent on a report that cannot be written.
fn writable(folder: &Path) -> Result<()> {
    let unwritable = || {
        format!(
            "cannot write to {}; give a writable folder with --out",
            folder.display()
        )
    };
    std::fs::create_dir_all(folder).with_context(unwritable)?;
    tempfile::tempfile_in(folder).with_context(unwritable)?;
    Ok(())
}
