//! `firstpass test` and `firstpass bench`: cargo on every package, with its native library.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use firstpass_trial::{
    engine::Backend,
    process::{cargo, environment, features},
    setup,
    workspace::Workspace,
};

use crate::{record::begin_measuring, studies::operators::command::check_standard};

/// Set for the tests: an engine that cannot run is a failure then, and not an ignored test.
const REQUIRE_ALL: &str = "FIRSTPASS_REQUIRE_ALL";

/// Set for the benchmarks: those that take minutes are measured as well.
const BENCH_ALL: &str = "FIRSTPASS_BENCH_ALL";

/// While one job tests, another compiles. Tests time nothing.
const AT_ONCE: usize = 2;

#[derive(Args)]
pub struct Arguments {
    /// Only those whose names contain this
    filter: Option<String>,
}

#[derive(Args)]
pub struct BenchArguments {
    /// Only benchmarks whose names, like `cold/MODEL/ENGINE`, match this regular expression
    filter: Option<String>,
    /// Measure models as well whose first passes take so long that their benchmarks last minutes
    #[arg(long)]
    all: bool,
}

/// One run of cargo.
struct Job {
    name: String,
    /// `--package …`, and `--features …` where a native library is there.
    selection: Vec<String>,
    environment: Vec<(String, PathBuf)>,
}

/// Runs all tests: those of the suite itself, then the suite on each backend, then the ONNX standard's.
pub fn test(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    workspace.needs_checkout("test")?;
    let packages = suite_packages(workspace)?.into_iter();
    let mut jobs = vec![Job {
        name: "suite".into(),
        selection: packages
            .flat_map(|name| ["--package".into(), name])
            .collect(),
        environment: Vec::new(),
    }];
    jobs.extend(backend_jobs(workspace, workspace.backends()?)?);
    // A user's crate: it builds and measures in its turn, so it comes after the engines.
    jobs.push(Job {
        name: "examples".into(),
        selection: vec!["--package".into(), "own-model".into()],
        environment: Vec::new(),
    });
    let tested = run_all(
        workspace,
        &["test", "--locked", "--release", "--no-fail-fast"],
        &jobs,
        arguments,
    )?;
    // These need Python, which no engine's own tests do.
    if arguments.filter.is_some() {
        eprintln!("the ONNX standard's tests: not run, because only some tests were asked for");
    } else if !tested.is_empty() {
        eprintln!("the ONNX standard's tests: not run, because tests failed");
    } else {
        eprintln!("\n== the ONNX standard's tests");
        return check_standard(workspace, &workspace.engines()?);
    }
    Ok(exit_code(&tested))
}

/// Runs the criterion benchmarks of all engines, in one program that builds and runs their probes.
pub fn bench(workspace: &Workspace, arguments: &BenchArguments) -> Result<ExitCode> {
    workspace.needs_checkout("bench")?;
    setup::attempt(workspace, &workspace.backends()?);
    let bench = |options: &[&str]| {
        let mut command = Command::new(cargo());
        command
            .current_dir(workspace.root())
            .args(["bench", "--locked", "--package", "firstpass-bench", "--"])
            .args(options)
            .args(&arguments.filter);
        if arguments.all {
            command.env(BENCH_ALL, "1");
        }
        command
    };
    if let Some(filter) = &arguments.filter {
        let listed = listed(&mut bench(&["--list"]))?;
        ensure!(listed != Some(0), "no benchmark matches {filter:?}");
    }
    let _measuring = begin_measuring();
    let status = bench(&[]).status().context("cannot run cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The packages of the folders of `suite`.
fn suite_packages(workspace: &Workspace) -> Result<Vec<String>> {
    packages_in(&workspace.root().join("suite"))
}

/// The packages of the folders in `folder`, but for fuzz targets and benchmarks, which have no tests.
fn packages_in(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let dir = entry?.path();
        let has_tests = dir.join("src").is_dir() && !dir.join("fuzz_targets").is_dir();
        if dir.join("Cargo.toml").is_file() && has_tests {
            names.push(Backend::read(&dir)?.package);
        }
    }
    names.sort();
    Ok(names)
}

/// The backends, each by itself: cargo unifies features over the packages of one build.
fn backend_jobs(workspace: &Workspace, backends: Vec<Backend>) -> Result<Vec<Job>> {
    // What cannot be set up fails in its own tests; the others run all the same.
    setup::attempt(workspace, &backends);
    let jobs = backends.into_iter().map(|backend| {
        // What a backend is made of may be a crate of its own, which it links.
        let packages = [vec![backend.package.clone()], packages_in(&backend.dir)?].concat();
        let packages = packages.into_iter();
        let mut selection: Vec<String> = packages
            .flat_map(|name| ["--package".into(), name])
            .collect();
        // Neither examples nor documentation: clippy compiles the former, and each links the engine.
        selection.push("--tests".into());
        selection.extend(features(workspace, &backend));
        Ok(Job {
            environment: environment(workspace, &backend),
            name: backend.name,
            selection,
        })
    });
    jobs.collect()
}

/// Runs each job; returns the names of those that failed.
///
/// # Errors
/// Fails where no job has a test that the filter names: nothing was tested then.
fn run_all(
    workspace: &Workspace,
    command: &[&str],
    jobs: &[Job],
    arguments: &Arguments,
) -> Result<Vec<String>> {
    let of_job = |job: &Job, options: &[&str]| {
        let mut cargo = Command::new(cargo());
        cargo
            .current_dir(workspace.root())
            .args(command)
            .args(&job.selection)
            .arg("--")
            .args(options)
            .args(&arguments.filter)
            .env(REQUIRE_ALL, "1")
            .envs(job.environment.iter().map(|(name, path)| (name, path)));
        cargo
    };
    let chosen = match &arguments.filter {
        Some(filter) => matching(jobs, filter, |job| listed(&mut of_job(job, &["--list"])))?,
        None => jobs.iter().collect(),
    };
    let failed = at_once(&chosen, &Mutex::new(io::stderr()), |job, output| {
        let mut command = of_job(job, &[]);
        if let Some(output) = output {
            let errors = output.try_clone()?;
            command.stdout(output).stderr(errors).stdin(Stdio::null());
        }
        let status = command.status().context("cannot run cargo")?;
        Ok(status.success())
    })?;
    if failed.is_empty() {
        eprintln!("\nall passed");
    } else {
        eprintln!("\nfailed: {}", failed.join(", "));
    }
    Ok(failed)
}

/// Runs the jobs in their order, [`AT_ONCE`] at a time; `run` says whether one passed. The first writes as it goes. What
/// the others write goes to a file and is shown in one piece on `screen`, when those before have been shown. Returns the
/// names of those that failed.
fn at_once(
    jobs: &[&Job],
    screen: &Mutex<impl Write + Send>,
    run: impl Fn(&Job, Option<File>) -> Result<bool> + Sync,
) -> Result<Vec<String>> {
    let next = AtomicUsize::new(0);
    let shown = Mutex::new(Shown::default());
    let work = || -> Result<()> {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(at) else {
                return Ok(());
            };
            let written = if at == 0 {
                writeln!(locked(screen), "\n== {}", job.name)?;
                None
            } else {
                Some(tempfile::tempfile().context("cannot make a temporary file")?)
            };
            let output = written.as_ref().map(File::try_clone).transpose()?;
            let passed = run(job, output)?;
            let mut shown = locked(&shown);
            shown.done.insert(at, (written, passed));
            shown.show(jobs, &mut *locked(screen))?;
        }
    };
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| anyhow!("a job panicked"))??;
        }
        Ok(())
    })?;
    Ok(shown
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
        .failed)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has been shown of jobs that run side by side.
#[derive(Default)]
struct Shown {
    /// Jobs that are done, with what they wrote, and whether they passed.
    done: BTreeMap<usize, (Option<File>, bool)>,
    /// How many have been shown.
    jobs: usize,
    failed: Vec<String>,
}

impl Shown {
    /// Shows every job that is done and follows what has been shown.
    fn show(&mut self, jobs: &[&Job], screen: &mut impl Write) -> Result<()> {
        while let Some((written, passed)) = self.done.remove(&self.jobs) {
            let name = &jobs[self.jobs].name;
            if let Some(mut written) = written {
                writeln!(screen, "\n== {name}")?;
                written.rewind()?;
                io::copy(&mut written, screen)?;
            }
            if !passed {
                self.failed.push(name.clone());
            }
            self.jobs += 1;
        }
        Ok(())
    }
}

/// The jobs that have something of this name. One that cannot say so has: running it shows why.
fn matching<'a>(
    jobs: &'a [Job],
    filter: &str,
    listed: impl Fn(&Job) -> Result<Option<usize>>,
) -> Result<Vec<&'a Job>> {
    let mut matching = Vec::new();
    for job in jobs {
        if listed(job)? != Some(0) {
            matching.push(job);
        }
    }
    ensure!(!matching.is_empty(), "no test has {filter:?} in its name");
    Ok(matching)
}

/// How many tests or benchmarks a run of cargo with `--list` names; `None` where it fails.
fn listed(command: &mut Command) -> Result<Option<usize>> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.context("cannot run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(output.status.success().then(|| names_in(&text)))
}

/// `a::test: test` and `cold/model: benchmark` are lines of a list.
fn names_in(list: &str) -> usize {
    let is_name = |line: &&str| line.ends_with(": test") || line.ends_with(": benchmark");
    list.lines().filter(is_name).count()
}

fn exit_code(failed: &[String]) -> ExitCode {
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str) -> Job {
        Job {
            name: name.into(),
            selection: Vec::new(),
            environment: Vec::new(),
        }
    }

    #[test]
    fn a_filter_that_nothing_matches_is_an_error() -> Result<()> {
        let jobs = [job("suite"), job("engine"), job("broken")];
        let none = matching(&jobs[..2], "nosuch", |_| Ok(Some(0)));
        let error = none.err().context("nothing matches")?;
        assert!(error.to_string().contains("nosuch"), "{error}");
        let tests = |job: &Job| {
            Ok(match job.name.as_str() {
                "suite" => Some(0),
                "engine" => Some(2),
                _ => None,
            })
        };
        let chosen = matching(&jobs, "some", tests)?;
        let names: Vec<&str> = chosen.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["engine", "broken"]);
        Ok(())
    }

    #[test]
    fn a_crate_in_the_folder_of_an_engine_is_tested_but_no_fuzz_target_and_no_benchmark()
    -> Result<()> {
        let folder = tempfile::tempdir()?;
        for (name, parts) in [
            ("own-crate", &["src", "benches"][..]),
            ("fuzz", &["src", "fuzz_targets"]),
            ("bench", &["benches"]),
        ] {
            let package = folder.path().join(name);
            for part in parts {
                std::fs::create_dir_all(package.join(part))?;
            }
            let manifest = format!("[package]\nname = \"of-{name}\"\n");
            std::fs::write(package.join("Cargo.toml"), manifest)?;
        }
        std::fs::create_dir(folder.path().join("src"))?;
        assert_eq!(packages_in(folder.path())?, ["of-own-crate"]);
        Ok(())
    }

    #[test]
    fn jobs_run_side_by_side_and_the_failed_are_named_in_order() -> Result<()> {
        let jobs: Vec<Job> = ["suite", "slow", "broken", "good", "bad"].map(job).into();
        let jobs: Vec<&Job> = jobs.iter().collect();
        // The first is done only when another has begun.
        let begun = std::sync::Barrier::new(2);
        let screen = Mutex::new(Vec::new());
        let failed = at_once(&jobs, &screen, |job, output| {
            assert_eq!(output.is_none(), job.name == "suite");
            if ["suite", "slow"].contains(&job.name.as_str()) {
                begun.wait();
            }
            Ok(!["broken", "bad"].contains(&job.name.as_str()))
        })?;
        assert_eq!(failed, ["broken", "bad"]);
        let screen = String::from_utf8(screen.into_inner()?)?;
        let names: Vec<&str> = screen.split_whitespace().filter(|w| *w != "==").collect();
        assert_eq!(names, ["suite", "slow", "broken", "good", "bad"]);
        Ok(())
    }

    #[test]
    fn what_a_later_job_writes_waits_for_those_before() -> Result<()> {
        let jobs: Vec<Job> = ["first", "second"].map(job).into();
        let jobs: Vec<&Job> = jobs.iter().collect();
        let mut shown = Shown::default();
        let mut written = tempfile::tempfile()?;
        written.write_all(b"of the second\n")?;
        shown.done.insert(1, (Some(written), false));
        let mut screen = Vec::new();
        shown.show(&jobs, &mut screen)?;
        assert!(screen.is_empty());
        shown.done.insert(0, (None, true));
        shown.show(&jobs, &mut screen)?;
        assert_eq!(String::from_utf8(screen)?, "\n== second\nof the second\n");
        assert_eq!(shown.failed, ["second"]);
        Ok(())
    }

    /// What libtest, libtest-mimic and criterion print.
    #[test]
    fn names_of_a_list_are_counted() {
        let nothing = "\n0 tests, 0 benchmarks\n";
        assert_eq!(names_in(nothing), 0);
        let some = "tests::a: test\n[unavailable] the engine says what it is: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(names_in(some), 2);
        assert_eq!(names_in("cold/model/engine: benchmark\n"), 1);
    }
}
