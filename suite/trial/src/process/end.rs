//! How a process ends, by itself or because it is ended.

use std::{
    os::unix::process::ExitStatusExt,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::Result;
use firstpass_probe::Error;
use nix::sys::signal::Signal;

use crate::{
    observation::{Outcome, Process},
    standard_error::StandardError,
};

/// How often it is looked whether a process is still there.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// More bytes of standard error are not taken: reading them takes time that is measured.
pub(super) const MOST_STDERR: u64 = 256 << 20;

/// How long a probe may take to end after its last message.
pub(crate) const GRACE: Duration = Duration::from_secs(20);

pub(super) fn timed_out(limit: Duration, process: &Process) -> Outcome {
    Outcome::TimedOut {
        seconds: limit.as_secs(),
        after: process.stage(),
    }
}

pub(super) fn too_much(what: &str) -> Outcome {
    Outcome::Failed(Error::engine(format!(
        "it wrote more than {what}, and was ended"
    )))
}

pub(super) fn silent_end(status: ExitStatus, process: &Process) -> Outcome {
    Outcome::Crashed {
        how: ended(status),
        after: process.stage(),
    }
}

/// How a process ended, in words.
pub(crate) fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match Signal::try_from(signal) {
            Ok(name) => format!("signal {signal} ({name})"),
            Err(_) => format!("signal {signal}"),
        },
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "an unknown status".into(),
    }
}

pub(super) fn kill(child: &mut Child, outcome: Outcome) -> Outcome {
    reap(child);
    outcome
}

/// Waits for the end of a process that says no more: its status, `None` where it does not come in time, or an outcome
/// where it floods standard error meanwhile.
pub(super) fn end(
    child: &mut Child,
    stderr: &StandardError,
) -> Result<Result<Option<ExitStatus>, Outcome>> {
    let deadline = Instant::now() + GRACE;
    loop {
        if let Some(status) = wait(child, LOOK)? {
            return Ok(Ok(Some(status)));
        }
        if stderr.written() > MOST_STDERR {
            return Ok(Err(too_much("256 MiB to standard error")));
        }
        if Instant::now() >= deadline {
            return Ok(Ok(None));
        }
    }
}

/// Kills a process.
pub(crate) fn reap(child: &mut Child) {
    // The child may be gone already; either way it is reaped.
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits for the end of the process; `None` if it does not come in time.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
