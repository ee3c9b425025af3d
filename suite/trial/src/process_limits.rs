//! What the system holds a process to that this one has started.

use std::process::{Child, Command};

#[cfg(target_os = "linux")]
use anyhow::Context;
use anyhow::Result;
#[cfg(target_os = "linux")]
use rustix::{
    io::Errno,
    process::{Pid, Resource, Rlimit, prlimit},
};

/// No file that a process writes grows beyond this, in bytes: outputs and prepared models are smaller, and a
/// program that never stops writing fills no disk. One that tries is ended by `SIGXFSZ`.
pub const LARGEST_FILE: u64 = 16 << 30;

/// Limits the memory of a process, and the size of the files that it writes. What it starts has the same limits.
///
/// # Errors
/// Fails where the system refuses.
#[cfg(target_os = "linux")]
pub(crate) fn limit(child: &Child, memory_bytes: u64) -> Result<()> {
    for (resource, bytes, what) in [
        (Resource::Data, memory_bytes, "memory"),
        (Resource::Fsize, LARGEST_FILE, "files"),
    ] {
        let limit = Rlimit {
            current: Some(bytes),
            maximum: Some(bytes),
        };
        match prlimit(Some(Pid::from_child(child)), resource, limit) {
            // It has ended already, or a stricter limit of the user's is in force.
            Ok(_) | Err(Errno::SRCH) => {}
            Err(Errno::PERM) if is_stricter(resource, bytes) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot limit the {what} of a process"));
            }
        }
    }
    Ok(())
}

/// Whether this process, and so what it has started, is held to less already.
#[cfg(target_os = "linux")]
fn is_stricter(resource: Resource, bytes: u64) -> bool {
    let limit = rustix::process::getrlimit(resource);
    limit.maximum.is_some_and(|maximum| maximum < bytes)
}

/// Only Linux sets limits of another process.
#[cfg(not(target_os = "linux"))]
pub(crate) fn limit(_: &Child, _: u64) -> Result<()> {
    Ok(())
}

/// The process of this command will die when the thread dies that starts it, also where this process is killed. A
/// probe of this project asks for that itself; a program of the user's own need not know of it.
#[cfg(target_os = "linux")]
pub(crate) fn die_with_this_process(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use nix::{
        sys::{prctl, signal::Signal},
        unistd::{Pid, getppid},
    };

    let this = Pid::this();
    let ask = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // It may have died before.
        if getppid() == this {
            Ok(())
        } else {
            Err(std::io::ErrorKind::NotFound.into())
        }
    };
    // SAFETY: between fork and exec only two system calls are made, which are safe to make there; no memory is
    // allocated and no lock taken.
    unsafe {
        command.pre_exec(ask);
    }
}

/// Elsewhere a program ends when it has nobody left to send a message to.
#[cfg(not(target_os = "linux"))]
pub(crate) fn die_with_this_process(_: &mut Command) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::Stdio};

    use super::*;

    #[test]
    fn no_file_grows_beyond_the_limit() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("file");
        // One byte behind a hole takes no room.
        let write = |at: u64| -> Result<Option<i32>> {
            let mut child = Command::new("/bin/sh")
                .arg("-c")
                .arg(
                    "read go; exec dd if=/dev/zero of=\"$0\" bs=1 count=1 conv=notrunc seek=\"$1\"",
                )
                .arg(&file)
                .arg(at.to_string())
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            limit(&child, 1 << 40)?;
            drop(child.stdin.take());
            Ok(child.wait()?.signal())
        };
        assert_eq!(write(LARGEST_FILE - 1)?, None);
        assert_eq!(write(LARGEST_FILE)?, Some(25), "SIGXFSZ");
        Ok(())
    }

    #[test]
    fn a_program_dies_with_the_thread_that_started_it() -> Result<()> {
        let started = std::thread::spawn(|| {
            let mut command = Command::new("sleep");
            die_with_this_process(command.arg("100"));
            command.spawn()
        });
        let joined = started.join();
        let mut child = joined.unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()))?;
        assert_eq!(child.wait()?.signal(), Some(9));
        Ok(())
    }
}
