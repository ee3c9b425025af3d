//! What the commands that measure have in common.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use firstpass_trial::{
    affinity::Affinity, engine::Backend, engine_spec::chosen_backends, machine::all_threads,
    model::ModelDescription, own_model, sample::Sample, setup, shape::NamedShape, shell_word,
    tensor_files::is_tensors, workload::Workload, workspace::Workspace,
};

use crate::{
    page::Block,
    record::{RUN, RunSettings},
    studies::first_passes::{judge::headlines::ask, measure as campaign},
};

#[derive(Args, Clone)]
#[group(skip)]
pub struct Arguments {
    /// Only this engine: a name that `firstpass engines` lists, NAME@VERSION, or NAME=PROGRAM; may be repeated
    #[arg(long = "engine", alias = "backend", value_name = "NAME")]
    pub backends: Vec<String>,
    /// Only this model: a name of fixtures/models, or the path of a model file or model.toml of your own; may be
    /// repeated
    #[arg(long = "model", value_name = "NAME|PATH")]
    pub models: Vec<String>,
    /// A photograph of your own instead of those of the fixtures; may be repeated
    #[arg(long = "image", value_name = "FILE")]
    pub images: Vec<PathBuf>,
    /// Tensors to run the model on: .npy, or .npz or .safetensors with an array for each input by name;
    /// may be repeated [default for a model that takes no pictures: made-up inputs]
    #[arg(long = "sample", value_name = "FILE")]
    pub samples: Vec<PathBuf>,
    /// The shape of an input where a model file of your own leaves it open, such as image=1x3x224x224
    #[arg(long = "input", value_name = "NAME=SHAPE:TYPE")]
    pub inputs: Vec<NamedShape>,
    /// Numbers of threads
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    pub threads: Vec<usize>,
    /// The time for all measuring, such as 90s, 5m or 1h; builds are not part of it
    #[arg(long, value_name = "TIME")]
    pub budget: Option<Time>,
    /// Most fresh processes of each engine on each model; fewer where that is enough
    #[arg(long, value_name = "N")]
    pub processes: Option<usize>,
    /// Most passes of a process; slow models do fewer, but at least 10
    #[arg(long, value_name = "N")]
    pub passes: Option<usize>,
    /// Keep each process on as many CPUs as it has threads
    #[arg(long)]
    pub pin: bool,
    /// Run each process with this nice value, from -20 (most urgent; needs the right to it) to 19
    #[arg(long, value_name = "NICE", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// Run TorchScript files outside the fixtures, which are programs: I know where they come from
    #[arg(long)]
    pub trust: bool,
    /// The words of the command that measures, but for its time, where that is to be kept.
    #[arg(skip)]
    pub command: Vec<String>,
}

/// A length of time as people write it.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let time: jiff::SignedDuration = text
            .parse()
            .with_context(|| format!("{text:?} is no length of time, such as 90s, 5m or 1h"))?;
        let time = Duration::try_from(time).unwrap_or_default();
        ensure!(time >= Duration::from_secs(1), "{text:?} is less than 1s");
        Ok(Self(time))
    }
}

impl Arguments {
    /// A preset with what the user asked for instead.
    pub fn settings(&self, preset: RunSettings) -> Result<RunSettings> {
        let mut threads = self.threads.clone();
        if threads.is_empty() {
            threads.clone_from(&preset.threads);
        }
        threads.sort_unstable();
        threads.dedup();
        let processes = self.processes.unwrap_or(preset.processes);
        let settings = RunSettings {
            processes,
            least_processes: preset.least_processes.min(processes),
            passes: self.passes.unwrap_or(preset.passes),
            threads,
            budget_s: self
                .budget
                .map_or(preset.budget_s, |Time(time)| time.as_secs_f64()),
            affinity: Affinity {
                pin: self.pin,
                nice: self.priority,
            },
            command: if self.command.is_empty() {
                preset.command.clone()
            } else {
                self.command.clone()
            },
            ..preset
        };
        ensure!(
            settings.processes > 0 && settings.passes > 0,
            "--processes and --passes must be at least 1"
        );
        check_threads(&settings.threads)?;
        // What the system does not permit is said before anything is measured.
        settings.affinity.spawning(1, || ()).map(drop)?;
        Ok(settings)
    }

    pub fn chosen_backends(&self, workspace: &Workspace) -> Result<Vec<Backend>> {
        chosen_backends(workspace, &self.backends)
    }

    fn named_models(&self, workspace: &Workspace) -> Result<Vec<ModelDescription>> {
        let models = self.models.iter();
        let models = models.map(|name| Workload::find_model(workspace, name));
        models.collect()
    }

    /// Where what is measured goes if it is not the whole.
    pub fn quick(&self, workspace: &Workspace) -> Result<PathBuf> {
        quick(workspace, &self.named_models(workspace)?)
    }

    /// The models and photographs, at most this many of the fixtures' photographs.
    pub fn chosen_workload(&self, workspace: &Workspace, samples: usize) -> Result<Workload> {
        let models = if self.models.is_empty() {
            Workload::fixture_models(workspace)?
        } else {
            self.named_models(workspace)?
        };
        let samples = self.chosen_samples(workspace, &models, samples)?;
        let mut workload = Workload::new(workspace, models, samples)?;
        workload.trust = self.trust;
        // Read here what is needed at the end, so that it does not fail after the measuring.
        for model in &workload.models {
            workload.check_inputs(model)?;
            workload.golden(model)?;
        }
        Ok(workload)
    }

    /// The named photographs and tensors, or at most this many of the usual ones of these models.
    pub fn chosen_samples(
        &self,
        workspace: &Workspace,
        models: &[ModelDescription],
        most: usize,
    ) -> Result<Vec<Sample>> {
        named_samples(&self.images, &self.samples).map(|named| match named {
            Some(named) => Ok(named),
            None => Workload::usual_samples(workspace, models, most),
        })?
    }
}

/// The photographs and files of tensors that were named; `None` where none were.
///
/// # Errors
/// Fails on a file that holds no tensors, by its name.
pub fn named_samples(images: &[PathBuf], tensors: &[PathBuf]) -> Result<Option<Vec<Sample>>> {
    for file in tensors {
        ensure!(
            is_tensors(file),
            "{} is no .npy, .npz or .safetensors file",
            file.display()
        );
    }
    let all = images.iter().chain(tensors);
    let samples: Vec<Sample> = all.map(|file| Sample::from_file(file)).collect();
    Ok((!samples.is_empty()).then_some(samples))
}

/// These models on the one photograph or file of tensors that was named, or on the first of the usual ones; read
/// once, so that what is wrong with an input is said before anything takes time.
pub fn on_one_sample(
    workspace: &Workspace,
    models: Vec<ModelDescription>,
    images: &[PathBuf],
    tensors: &[PathBuf],
) -> Result<Workload> {
    let samples = match named_samples(images, tensors)? {
        Some(named) => named,
        None => Workload::usual_samples(workspace, &models, 1)?,
    };
    ensure!(
        !samples.is_empty(),
        "the fixtures have no photograph; give one with --image"
    );
    let workload = Workload::new(workspace, models, samples)?;
    for model in &workload.models {
        workload.check_inputs(model)?;
    }
    Ok(workload)
}

/// Where what is not of the whole goes: `reports/quick`, and for models of the user's own a folder of these alone, so
/// that what is measured of one model takes no place of what was measured of another.
pub fn quick(workspace: &Workspace, models: &[ModelDescription]) -> Result<PathBuf> {
    let own = own_model::place(workspace, models)?;
    Ok(own.unwrap_or_else(|| workspace.reports().join("quick")))
}

/// The record beside which a study of these models is kept where none is named: that of the report for models of
/// the fixtures. What is of other models is no part of that.
pub fn record_of(workspace: &Workspace, workload: &Workload) -> Result<PathBuf> {
    for model in &workload.models {
        if !workload.is_of_fixtures(model)? {
            return quick(workspace, &workload.models);
        }
    }
    reported(workspace, "--record")
}

/// Says how what was measured beside a record becomes part of a report, where it does.
pub fn say_what_next(record: &Path) {
    if record.join(RUN).is_file() {
        println!(
            "`cargo firstpass report --from {}` puts them into a report",
            shell_word::path(record)
        );
    }
}

/// How many times as many threads as cores an engine may be given: more show nothing but switches, and take
/// memory for each.
const THREADS_A_CORE: usize = 4;

/// # Errors
/// Fails on no threads, and on many times more than there are cores.
pub fn check_threads(threads: &[usize]) -> Result<()> {
    let most = THREADS_A_CORE * all_threads();
    for &threads in threads {
        ensure!(threads > 0, "--threads must be at least 1");
        ensure!(
            threads <= most,
            "--threads {threads} is more than {THREADS_A_CORE} times as many as this machine has cores ({}); give at most {most}",
            all_threads()
        );
    }
    Ok(())
}

/// The record that the report of the workspace was made from; another is named with `option`.
pub fn reported(workspace: &Workspace, option: &str) -> Result<PathBuf> {
    let folder = workspace.reports();
    let page = folder.join("README.md");
    let text = std::fs::read_to_string(&page).unwrap_or_default();
    let source = Block::source_of(&text).with_context(|| {
        format!(
            "{} names no record; run `cargo firstpass report` first, or give one with {option}",
            page.display()
        )
    })?;
    Ok(folder.join(source))
}

/// Sets up what is missing, measures, and returns the folder of the record.
pub fn run(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    settings: &RunSettings,
    record: &Path,
) -> Result<PathBuf> {
    run_asking(workspace, backends, workload, settings, record, &ask)
}

/// The same until these questions are answered.
pub fn run_asking(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    settings: &RunSettings,
    record: &Path,
    asks: campaign::Asks,
) -> Result<PathBuf> {
    writable(record.parent().unwrap_or(record))?;
    setup::attempt(workspace, backends);
    campaign::run_asking(workspace, backends, workload, settings, record, asks)
}

/// Fails before minutes are spent on a record that cannot be written.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_at_most_some_times_the_cores() {
        assert!(check_threads(&[1, all_threads(), 4 * all_threads()]).is_ok());
        for wrong in [0, 4 * all_threads() + 1, 100_000, usize::MAX] {
            let error = check_threads(&[1, wrong]).expect_err("too many");
            assert!(error.to_string().contains("--threads"), "{error}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() -> Result<()> {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h", 3600), ("1m30s", 90)] {
            assert_eq!(text.parse::<Time>()?.0, Duration::from_secs(seconds));
        }
        for wrong in ["", "5", "soon", "0s", "-5m", "999999999999999999999h"] {
            assert!(wrong.parse::<Time>().is_err(), "{wrong}");
        }
        Ok(())
    }
}
