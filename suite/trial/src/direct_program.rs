//! A program that calls an engine directly, in a plain loop, and answers with one line.

use std::{
    ffi::OsString,
    io::Read,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use firstpass_probe::{Request, Trial};
use serde::{Deserialize, Serialize};

use crate::{
    process::{GRACE, ended, reap, wait},
    standard_error::StandardError,
};

/// What an example or a script prints as its last line: one process, one plain loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The engine's version, as it says itself.
    pub engine: String,
    /// The wall time of each pass, in ns.
    pub passes_ns: Vec<u64>,
    /// SHA-256 over the little-endian f32 values of all outputs of the last pass, in hexadecimal.
    pub outputs_sha256: String,
}

impl Answer {
    /// The answer as it is printed.
    ///
    /// # Errors
    /// Fails where a value cannot be written as JSON.
    pub fn to_line(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

/// Reads the request in the argument of an example.
///
/// # Errors
/// Fails on what is no request to run passes.
pub fn request(argument: &str) -> Result<Trial> {
    match serde_json::from_str(argument) {
        Ok(Request::Trial(trial)) => Ok(trial),
        Ok(_) => bail!("only a trial can be run, not another request"),
        Err(error) => {
            Err(error).context("the only argument must be a request for a trial, as JSON")
        }
    }
}

/// An example or a script with what it needs to run.
#[derive(Debug)]
pub struct Program {
    pub binary: PathBuf,
    /// What stands before the request.
    pub arguments: Vec<OsString>,
    pub environment: Vec<(String, PathBuf)>,
    /// After this a process without an end is killed.
    pub timeout: Duration,
}

impl Program {
    /// Runs the program on a request, in a fresh process.
    ///
    /// # Errors
    /// Fails where the process cannot be started, does not end in time or well, and where its last
    /// line is no answer; the message ends with what it wrote to standard error.
    pub fn ask(&self, request: &Request) -> Result<Answer> {
        let mut child = Command::new(&self.binary)
            .args(&self.arguments)
            .arg(serde_json::to_string(request)?)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        let stderr = StandardError::of(child.stderr.take());
        self.hear(&mut child).map_err(|error| {
            let text = stderr.tail();
            match text.trim() {
                "" => error,
                text => anyhow::anyhow!("{error:#}; it wrote: {text}"),
            }
        })
    }

    /// The answer of a process that was started.
    fn hear(&self, child: &mut Child) -> Result<Answer> {
        let stdout = child.stdout.take();
        let (sender, all) = mpsc::channel();
        // The program writes one line, after its last pass: reading it disturbs none.
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.map(|mut s| s.read_to_end(&mut bytes)).transpose();
            // Nobody listens any more after the time limit.
            let _ = sender.send(read.map(|_| bytes));
        });
        let bytes = match all.recv_timeout(self.timeout) {
            Ok(read) => read.context("cannot read its standard output")?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                reap(child);
                bail!("killed after {} s without an end", self.timeout.as_secs());
            }
        };
        match wait(child, GRACE)? {
            Some(status) if status.success() => {}
            Some(status) => bail!("it ended with {}", ended(status)),
            None => {
                reap(child);
                bail!("killed: it did not end after its last line");
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        // An engine may have printed something before.
        let line = text.lines().last().unwrap_or_default();
        serde_json::from_str(line).with_context(|| {
            let shown: String = line.chars().take(200).collect();
            format!("its last line is no answer: {shown:?}")
        })
    }
}

#[cfg(test)]
mod tests {
    use firstpass_probe::Request;

    use super::*;

    fn shell(script: &str, timeout: Duration) -> Result<Answer> {
        let program = Program {
            binary: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: Vec::new(),
            timeout,
        };
        program.ask(&Request::Describe)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn takes_the_last_line_as_the_answer() -> Result<()> {
        let answer = shell(
            r#"echo chatter; echo '{"engine":"1","passes_ns":[5,4],"outputs_sha256":"ab"}'"#,
            LONG,
        )?;
        assert_eq!(answer.passes_ns, [5, 4]);
        Ok(())
    }

    #[test]
    fn a_failure_says_how_it_ended_and_what_it_wrote() {
        for (script, expected) in [
            ("echo lost >&2; exit 3", "exit code 3; it wrote: lost"),
            ("kill -9 $$", "SIGKILL"),
            ("echo nonsense", "nonsense"),
            ("exit 0", "no answer"),
        ] {
            let error = shell(script, LONG).expect_err("must fail");
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
    }

    #[test]
    fn a_hanging_program_is_killed() {
        let error = shell("exec sleep 60", Duration::from_millis(200)).expect_err("must fail");
        assert!(format!("{error:#}").contains("killed"), "{error:#}");
    }
}
