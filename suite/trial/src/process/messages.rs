//! What a probe says, message by message.

use std::{
    io::{BufRead, Read},
    process::ExitStatus,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use firstpass_probe::{Arithmetic, Description, Error, Message, PROTOCOL, Profile, Quantization};

use super::end::{LOOK, silent_end, timed_out, too_much};
use crate::{
    observation::{Outcome, Process},
    patience::TIMEOUT,
};

/// No message is longer; what is longer is not a message. The longest is a profile: a thousand
/// operators in a hundred passes are about 2 MiB.
const LONGEST_LINE: u64 = 1 << 23;

/// More messages are not listened to: no study asks for a tenth of as many passes.
const MOST_MESSAGES: usize = 250_000;

/// More bytes of messages are not listened to either: what a process says is kept in memory.
const MOST_BYTES: usize = 256 << 20;

/// The longest digest, in bytes: each pass has one, in the record.
const LONGEST_DIGEST: usize = 1024;

/// Messages that wait for being looked at; a probe that sends more waits itself.
const WAITING: usize = 1 << 14;

/// What a probe said besides what is timed.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub description: Option<Description>,
    pub arithmetic: Option<Arithmetic>,
    pub profile: Option<Profile>,
    pub quantizations: Option<Vec<Quantization>>,
}

/// Reads messages until the last one (`Some`), the end of the stream (`None`), or a fault. Now and then `ended` is asked
/// whether the process has ended: a process that it has started may keep the stream open.
pub(super) fn parse(
    mut said: impl BufRead + Send + 'static,
    timeout: Duration,
    process: &mut Process,
    answers: &mut Answers,
    mut ended: impl FnMut() -> Result<bool, Outcome>,
) -> Result<Option<Outcome>, Outcome> {
    let (sender, lines) = mpsc::sync_channel(WAITING);
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            match said
                .by_ref()
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)
            {
                Ok(0) | Err(_) => break,
                Ok(_) if sender.send(line).is_err() => break,
                Ok(_) => {}
            }
        }
    });
    let deadline = Instant::now() + timeout;
    let mut next_look = Instant::now() + LOOK;
    let (mut messages, mut bytes) = (0, 0);
    let mut has_ended = false;
    loop {
        let now = Instant::now();
        if now >= next_look {
            has_ended = ended()?;
            next_look = now + LOOK;
        }
        let left = deadline.saturating_duration_since(now);
        let line = match lines.recv_timeout(left.min(LOOK)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) if left <= LOOK => {
                return Err(timed_out(timeout, process));
            }
            // It ended a while ago, and what it said has arrived.
            Err(RecvTimeoutError::Timeout) if has_ended => return Ok(None),
            Err(RecvTimeoutError::Timeout) => continue,
        };
        messages += 1;
        if messages > MOST_MESSAGES {
            return Err(too_much("250,000 messages"));
        }
        bytes += line.len();
        if bytes > MOST_BYTES {
            return Err(too_much("256 MiB of messages"));
        }
        let Ok(message) = serde_json::from_slice(&line) else {
            return Err(garbled(&line, process));
        };
        if let Some(fault) = out_of_turn(&message, process, answers) {
            return Err(Outcome::Failed(Error::engine(format!(
                "{fault}; `firstpass engines test PROGRAM` says what a program must do"
            ))));
        }
        match message {
            Message::Hello {
                protocol, main_ns, ..
            } => {
                if protocol != PROTOCOL {
                    return Err(Outcome::Failed(Error::unsupported(format!(
                        "the probe speaks protocol {protocol}, this harness {PROTOCOL}; \
                         build both from one checkout, or write it after the PROTOCOL.md of this one"
                    ))));
                }
                process.main_ns = Some(main_ns);
            }
            Message::Started { span } => process.started = Some(span),
            Message::Loaded { span } => process.loaded = Some(span),
            Message::Prepared { span } => process.prepared = Some(span),
            Message::WarmedUp { span } => process.warmed_up = Some(span),
            Message::PreparedAgain { span } => process.prepared_again.push(span),
            Message::Pass(pass) => process.passes.push(pass),
            Message::Description(description) => answers.description = Some(description),
            Message::Arithmetic(arithmetic) => answers.arithmetic = Some(arithmetic),
            Message::Profile(profile) => answers.profile = Some(profile),
            Message::Activations { quantizations } => {
                answers.quantizations = Some(quantizations);
            }
            Message::Done {
                peak_memory_kib,
                reference_ns,
            } => {
                process.peak_memory_kib = peak_memory_kib;
                process.last_reference_ns = Some(reference_ns);
                return Ok(Some(Outcome::Completed));
            }
            Message::Failed(mut error) => {
                if error.chain.is_empty() {
                    error.chain.push("it gave no reason".into());
                }
                return Ok(Some(Outcome::Failed(error)));
            }
        }
    }
}

/// What is wrong with a message after those before it: what is told twice, or after what follows it, would be another
/// figure than the one that was told first.
fn out_of_turn(message: &Message, process: &Process, answers: &Answers) -> Option<String> {
    let steps = [
        ("started", process.started.is_some()),
        ("loaded", process.loaded.is_some()),
        ("prepared", process.prepared.is_some()),
        ("warmed-up", process.warmed_up.is_some()),
        ("pass", !process.passes.is_empty()),
    ];
    let greeted = process.main_ns.is_some();
    let (name, is_there) = match message {
        // Another protocol is named as that.
        Message::Hello { protocol, .. } if *protocol != PROTOCOL => return None,
        Message::Hello { .. } => ("hello", greeted),
        // What fails before its first word may say why.
        Message::Failed(_) => return None,
        _ if !greeted => return Some("its first message is not \"hello\"".into()),
        Message::Started { .. } => steps[0],
        Message::Loaded { .. } => steps[1],
        Message::Prepared { .. } => steps[2],
        Message::WarmedUp { .. } => steps[3],
        Message::Description(_) => ("description", answers.description.is_some()),
        Message::Arithmetic(_) => ("arithmetic", answers.arithmetic.is_some()),
        Message::Profile(_) => ("profile", answers.profile.is_some()),
        Message::Activations { .. } => ("activations", answers.quantizations.is_some()),
        Message::Pass(pass) if pass.digest.len() > LONGEST_DIGEST => {
            return Some(format!("a digest is longer than {LONGEST_DIGEST} bytes"));
        }
        Message::PreparedAgain { .. } | Message::Pass(_) | Message::Done { .. } => return None,
    };
    if is_there {
        return Some(format!("it told {name:?} twice"));
    }
    let mut later = steps.iter().skip_while(|(step, _)| *step != name).skip(1);
    let (before, _) = later.find(|(_, is_there)| *is_there)?;
    Some(format!("it told {name:?} after {before:?}"))
}

/// What a process is known by that said this and then ended.
pub fn parse_process(said: impl BufRead + Send + 'static) -> Process {
    let mut process = Process::new(0);
    let answers = &mut Answers::default();
    process.outcome = match parse(said, TIMEOUT, &mut process, answers, || Ok(false)) {
        Ok(Some(outcome)) | Err(outcome) => outcome,
        Ok(None) => silent_end(ExitStatus::default(), &process),
    };
    process
}

fn garbled(line: &[u8], process: &Process) -> Outcome {
    let text: String = String::from_utf8_lossy(line).chars().take(200).collect();
    Outcome::Garbled {
        line: text.trim_end().into(),
        after: process.stage(),
    }
}
