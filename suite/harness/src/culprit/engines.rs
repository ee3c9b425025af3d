//! The engines that are asked, each in a process of its own for every question.

use std::{path::Path, time::Duration};

use anyhow::Result;
use firstpass_probe::{Description, ErrorKind, Knobs, Model, PassPlan, Trial, read_tensors};
use firstpass_trial::{
    engine::Backend,
    known::{GoldenRule, RoundingRule},
    observation::Outcome,
    process::{Probe, start},
    workspace::Workspace,
};

use crate::culprit::Tensors;

/// An engine that is there.
#[derive(Debug, Clone)]
pub struct Engine {
    pub backend: Backend,
    /// How its rows are called.
    pub called: String,
    pub probe: Probe,
    pub description: Description,
    /// The settings under which it computes the graph as the file has it, an operator at a time.
    pub plain: Option<Knobs>,
    /// How published engines round: what a referee knows of them.
    pub rounding_rules: Vec<RoundingRule>,
    /// By what golden outputs may have been made: what a referee knows of it.
    pub golden_rules: Vec<GoldenRule>,
}

/// The engines of a question. Another version of an engine is one more.
#[derive(Debug, Clone, Default)]
pub struct Engines {
    pub all: Vec<Engine>,
    /// Who says what a file defines.
    pub referee: Option<Engine>,
    /// Those that are not there, and why.
    pub absent: Vec<(String, String)>,
}

/// What an engine made of a model.
#[derive(Debug, Clone)]
pub enum Answer {
    Outputs(Tensors),
    Failure(Outcome),
}

impl Engines {
    /// Builds and starts these backends, and the referee.
    ///
    /// # Errors
    /// Fails on a manifest that cannot be read. An engine that is not there is one of [`Engines::absent`].
    pub fn start(workspace: &Workspace, backends: &[Backend]) -> Result<Self> {
        let referees = workspace.backends()?.into_iter();
        let referees: Vec<Backend> = referees.filter(|backend| backend.is_referee).collect();
        let mut engines = Self::default();
        for backend in backends.iter().filter(|b| !b.is_referee).chain(&referees) {
            match Engine::start(workspace, backend) {
                Ok(engine) if backend.is_referee => engines.referee = Some(engine),
                Ok(engine) => engines.all.push(engine),
                Err(why) => engines
                    .absent
                    .push((backend.name.clone(), format!("{why:#}"))),
            }
        }
        Ok(engines)
    }
}

impl Engine {
    fn start(workspace: &Workspace, backend: &Backend) -> Result<Self> {
        let (probe, description) = start(workspace, backend)?;
        let known = backend.known()?;
        Ok(Self {
            called: known.called.unwrap_or_else(|| backend.name.clone()),
            plain: known.without_optimizations.map(|plain| plain.settings),
            rounding_rules: known.rounding_rule,
            golden_rules: known.golden_rule,
            backend: backend.clone(),
            probe,
            description,
        })
    }

    /// Its name with its version.
    pub fn versioned(&self) -> String {
        let engine = &self.description.engine;
        format!("{} {} ({})", self.called, engine.version, engine.binding)
    }

    /// One pass in a process of its own, of at most `longest`.
    pub fn answer(
        &self,
        model: &Model,
        knobs: &Knobs,
        input: &Path,
        folder: &Path,
        longest: Duration,
    ) -> Answer {
        let saved = folder.join("answer.safetensors");
        let mut trial = Trial::new(
            model.clone(),
            knobs.clone(),
            vec![input.into()],
            PassPlan::exactly(1),
        );
        trial.outputs = Some(saved.clone());
        let mut probe = self.probe.clone();
        probe.timeout = probe.timeout.min(longest);
        let process = probe.trial(&trial);
        if !process.completed() {
            return Answer::Failure(process.outcome);
        }
        match read_tensors(&saved) {
            Ok((tensors, _)) => {
                let named = tensors.into_iter().filter_map(|(key, tensor)| {
                    // The number of the input comes first.
                    let (_, name) = key.split_once('/')?;
                    Some((name.to_owned(), tensor))
                });
                Answer::Outputs(named.collect())
            }
            Err(error) => Answer::Failure(Outcome::Failed(error)),
        }
    }
}

impl Answer {
    pub fn outputs(self) -> Option<Tensors> {
        match self {
            Self::Outputs(outputs) => Some(outputs),
            Self::Failure(_) => None,
        }
    }

    /// In a few words.
    pub fn failure(&self) -> Option<String> {
        match self {
            Self::Outputs(_) => None,
            Self::Failure(outcome) => Some(outcome.to_string()),
        }
    }
}

/// What two failures have in common where they are the same, however the graph around them was cut: what kind they
/// are, when they came, and the words of the innermost cause that name nothing of the file.
pub(crate) fn signature(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed(error) => {
            let cause = error.chain.last().map_or("", String::as_str);
            let plain = |word: &&str| {
                word.chars()
                    .all(|c| c.is_alphabetic() || ",.:;-()".contains(c))
            };
            let words: Vec<&str> = cause.split_whitespace().filter(plain).collect();
            format!("{:?} {:?} {}", error.kind, error.phase, words.join(" "))
        }
        Outcome::Crashed { how, .. } => format!("crashed {how}"),
        Outcome::TimedOut { .. } => "timed out".into(),
        Outcome::Garbled { .. } => "garbled".into(),
        Outcome::NotStarted(_) => "not started".into(),
        Outcome::Completed => "completed".into(),
    }
}

/// Whether an engine failed because it is not here, which says nothing of the model.
pub(crate) fn is_absent(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::NotStarted(_) => true,
        Outcome::Failed(error) => error.kind == ErrorKind::Unavailable,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Error, Phase};
    use firstpass_trial::observation::Stage;

    use super::*;

    fn failed(cause: &str, phase: Phase) -> Outcome {
        let mut error = Error::engine(cause).context("cannot load /a/b/model.onnx");
        error.phase = Some(phase);
        Outcome::Failed(error)
    }

    #[test]
    fn the_same_failure_has_the_same_words_in_another_file() {
        let of = |cause: &str, phase| signature(&failed(cause, phase));
        let whole = of("no kernel for node 'a/Conv' #12 of rank 4", Phase::Load);
        assert_eq!(
            whole,
            of("no kernel for node 'y' #0 of rank 4", Phase::Load)
        );
        assert_ne!(whole, of("no such input 'y' of rank 4", Phase::Load));
        assert_ne!(
            whole,
            of("no kernel for node 'a/Conv' #12 of rank 4", Phase::Pass)
        );
        let crashed = |how: &str, after| {
            signature(&Outcome::Crashed {
                how: how.into(),
                after,
            })
        };
        assert_eq!(
            crashed("signal 11 (SIGSEGV)", Stage::Loaded),
            crashed("signal 11 (SIGSEGV)", Stage::Prepared)
        );
        assert_ne!(
            crashed("signal 11 (SIGSEGV)", Stage::Loaded),
            crashed("signal 6 (SIGABRT)", Stage::Loaded)
        );
    }

    #[test]
    fn an_engine_that_is_not_here_says_nothing_of_a_model() {
        let absent = Outcome::Failed(Error::unavailable("no library"));
        assert!(is_absent(&absent));
        assert!(!is_absent(&failed("no kernel", Phase::Load)));
    }
}
