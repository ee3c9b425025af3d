//! Ends of processes.

use std::{
    fs,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Lets each command that is started from now on be ended by these signals, whatever this process was started
/// to ignore: a job in the background ignores `SIGINT`, one under `nohup` `SIGHUP`, and the commands of either
/// would too. Signals with a handler, as here, have their defaults in a new program.
pub fn as_from_a_terminal() -> Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let ends = Arc::new(AtomicBool::new(true));
        flag::register_conditional_shutdown(signal, 128 + signal, ends)?;
    }
    Ok(())
}

/// Sends a signal to a process.
pub fn send(pid: u32, signal: Signal) -> Result<()> {
    Ok(signal::kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

pub fn kill(pid: u32) -> Result<()> {
    send(pid, Signal::SIGKILL)
}

/// The processes that this one has started and that run.
pub fn children(parent: u32) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // `pid (name) state parent …`; the name may hold spaces.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let mut fields = rest.split_whitespace();
        let (state, its_parent) = (fields.next(), fields.next());
        if its_parent == Some(&parent.to_string()) && state != Some("Z") {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Waits for a process that this one has started.
pub fn child(parent: u32) -> Result<u32> {
    let began = Instant::now();
    loop {
        if let Some(&child) = children(parent)?.first() {
            return Ok(child);
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "it starts none");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for a process that this one has started and that runs this command line.
pub fn child_that_runs(parent: u32, command: &str) -> Result<u32> {
    let began = Instant::now();
    loop {
        for child in children(parent)? {
            let line = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&line).replace('\0', " ");
            if words.trim() == command {
                return Ok(child);
            }
        }
        ensure!(
            began.elapsed() < Duration::from_secs(60),
            "it does not run {command:?}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until a process has ended.
pub fn gone(pid: u32) -> Result<()> {
    let began = Instant::now();
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status"));
        let state = status.ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("State:"))?;
            line.split_whitespace().nth(1).map(str::to_owned)
        });
        // A zombie runs no more: nobody has asked yet how it ended.
        if state.is_none_or(|state| state == "Z" || state == "X") {
            return Ok(());
        }
        ensure!(
            began.elapsed() < Duration::from_secs(5),
            "process {pid} goes on"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether the process could have been left: the one that was seen last.
pub fn probe_of(parent: u32) -> Result<u32> {
    child(parent).context("no probe was seen")
}
