//! What a probe is asked, as its argument, and where it writes outputs.

use std::{ffi::OsString, io::Write, path::Path};

use anyhow::{Context, Result};
use firstpass_probe::{Error, Phase, Request, Trial, monotonic_ns, read_tensors};
use tempfile::NamedTempFile;

use crate::{observation::Process, regular_file, tensor_files};

/// Removes what another process has left where outputs are to be: they would be taken for those of the next, if that
/// writes none.
pub(super) fn clear(outputs: &Path) -> Result<()> {
    let removed = match outputs.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(outputs),
        Ok(_) => std::fs::remove_file(outputs),
    };
    removed.with_context(|| format!("cannot remove {}", outputs.display()))
}

/// Whether a process that says it is done has written tensors where it was asked to. Only a file is read: a link leads
/// to what is none of its own.
pub(super) fn check_outputs(file: &Path) -> Result<(), Error> {
    let in_words = |what: String| Error::engine(what).in_phase(Phase::Output);
    let is_file = file.symlink_metadata().is_ok_and(|at| at.is_file());
    if !is_file {
        return Err(in_words("it wrote no file of outputs".into()));
    }
    if let Err(why) = regular_file::check_size(file, tensor_files::MOST_BYTES) {
        return Err(in_words(format!(
            "the outputs that it wrote are too large: {why}"
        )));
    }
    match read_tensors(file) {
        Ok(_) => Ok(()),
        Err(why) => Err(in_words(format!(
            "the outputs that it wrote cannot be read: {}",
            why.chain
                .last()
                .map_or("no reason is known", String::as_str)
        ))),
    }
}

/// Whether a process that says it is done has told its steps and done the passes that it was asked for: a figure of
/// fewer would be called one of too little time.
pub(super) fn check_passes(trial: &Trial, process: &Process) -> Result<(), Error> {
    let in_words = |what: String| {
        Err(Error::engine(format!(
            "{what}; `firstpass engines test PROGRAM` says what a program must do"
        ))
        .in_phase(Phase::Pass))
    };
    for (step, span) in [
        ("started", process.started),
        ("loaded", process.loaded),
        ("prepared", process.prepared),
    ] {
        if span.is_none() {
            return in_words(format!("it did not tell the step {step:?}"));
        }
    }
    if let Some(fault) = other_clock(process, monotonic_ns()) {
        return in_words(fault);
    }
    let given = trial.inputs.len();
    let mut done = vec![0; given];
    for pass in &process.passes {
        match done.get_mut(pass.input) {
            Some(done) => *done += 1,
            None => {
                return in_words(format!(
                    "it did a pass on input {}, counted from 0, and was given {given}",
                    pass.input
                ));
            }
        }
    }
    let least = trial.passes.at_least;
    match done.iter().position(|done| *done < least) {
        Some(input) => in_words(format!(
            "it did too few passes on input {input}: {} of at least {least}",
            done[input]
        )),
        None => Ok(()),
    }
}

/// What is wrong with the times of a process that was spawned when it says and has ended `now`: those of another clock,
/// such as the one that tells the date, would be figures of decades.
fn other_clock(process: &Process, now: u64) -> Option<String> {
    let steps = [
        ("started", process.started),
        ("loaded", process.loaded),
        ("prepared", process.prepared),
        ("warmed-up", process.warmed_up),
    ];
    let steps = steps
        .into_iter()
        .filter_map(|(name, span)| Some((name, span?)));
    let passes = process.passes.iter().map(|pass| ("pass", pass.span));
    let spans = steps.chain(passes).map(|(name, span)| {
        (
            name,
            span.start_ns,
            span.start_ns.saturating_add(span.wall_ns),
        )
    });
    let main = process.main_ns.map(|main| ("hello", main, main));
    let mut all = main.into_iter().chain(spans);
    let alive = process.spawned_ns..=now;
    let (name, ..) = all.find(|(_, from, to)| !alive.contains(from) || !alive.contains(to))?;
    Some(format!(
        "the times of {name:?} are not within those of its process: they must be of the monotonic clock, in nanoseconds"
    ))
}

/// Bytes of a request that is an argument. Linux starts no process with one of 128 KiB, which a model of some
/// thousands of outputs takes.
pub(super) const LONGEST_ARGUMENT: usize = 64 << 10;

/// What precedes the path of a file with a request.
pub(super) const IN_FILE: &str = "@";

/// A request as the only argument of a probe.
pub(super) struct Argument {
    pub text: OsString,
    /// The file that the argument names, removed when this is dropped.
    _file: Option<NamedTempFile>,
}

impl Argument {
    pub fn of(request: &Request) -> Result<Self> {
        let json = serde_json::to_string(request)?;
        if json.len() <= LONGEST_ARGUMENT {
            return Ok(Self {
                text: json.into(),
                _file: None,
            });
        }
        let mut file = NamedTempFile::new()?;
        file.write_all(json.as_bytes())
            .with_context(|| format!("cannot write a request to {}", file.path().display()))?;
        let mut text = OsString::from(IN_FILE);
        text.push(file.path());
        Ok(Self {
            text,
            _file: Some(file),
        })
    }
}
