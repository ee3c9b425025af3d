//! What the processes of a soak say: a pure function of what was kept.

pub mod beside;
pub mod denormals;
pub mod memory;
pub mod pauses;

use std::collections::BTreeMap;

use firstpass_probe::Pass;
use firstpass_statistics::{comparison::LogSample, growth::Growth, median};

use crate::studies::{
    first_passes::judge::first_pass::FirstPass,
    soak::{
        Batch, Line, Question, SoakProcess, judge::beside::Sharing, judge::denormals::Denormals,
    },
};

/// What was found of one engine.
#[derive(Debug, Default)]
pub struct Found {
    pub backend: String,
    /// Passes of the process whose memory was watched, and what became of it.
    pub memory: Option<(usize, Growth)>,
    /// By the length of the pause, in ms: a pass after it over the passes before it.
    pub pauses: BTreeMap<u64, FirstPass>,
    pub beside: Option<Sharing>,
    pub batch: Option<Batch>,
    pub denormals: Denormals,
    /// What was asked and did not come to an end, in the engine's words.
    pub failures: Vec<(Question, String)>,
}

impl Found {
    /// Whether it does not run the model at all.
    pub fn is_broken(&self) -> bool {
        self.failures
            .iter()
            .any(|(question, _)| *question == Question::Look)
    }
}

/// Judges all engines together: they share a machine, so that each knows from the others how much times vary.
pub fn judge(kept: &BTreeMap<String, Vec<Line>>) -> Vec<Found> {
    let mut found: Vec<Found> = kept
        .iter()
        .map(|(backend, lines)| judge_alone(backend, lines))
        .collect();
    pauses::judge(kept, &mut found);
    beside::judge(kept, &mut found);
    denormals::judge(kept, &mut found);
    found
}

fn judge_alone(backend: &str, lines: &[Line]) -> Found {
    let mut failures: BTreeMap<Question, String> = BTreeMap::new();
    for process in processes(lines).filter(|process| !process.process.completed()) {
        let words = process.process.outcome.to_string();
        failures.entry(process.question).or_insert(words);
    }
    let mut batches = lines.iter().rev().filter_map(|line| match line {
        Line::Batch(batch) => Some(batch.clone()),
        Line::Process(_) => None,
    });
    Found {
        backend: backend.into(),
        memory: memory::judge(lines),
        batch: batches.next(),
        failures: failures.into_iter().collect(),
        ..Found::default()
    }
}

pub(crate) fn processes(lines: &[Line]) -> impl Iterator<Item = &SoakProcess> {
    lines.iter().filter_map(|line| match line {
        Line::Process(process) => Some(&**process),
        Line::Batch(_) => None,
    })
}

/// The processes of a question that came to their end.
fn completed(lines: &[Line], question: Question) -> impl Iterator<Item = &SoakProcess> {
    processes(lines)
        .filter(move |process| process.question == question && process.process.completed())
}

fn milliseconds(pass: &Pass) -> f64 {
    pass.span.wall_ns as f64 / 1e6
}

/// The median of the later half of passes: the first ones warm up.
fn usual<'a>(passes: impl Iterator<Item = &'a Pass>, value: impl Fn(&Pass) -> f64) -> Option<f64> {
    let values: Vec<f64> = passes.map(value).collect();
    median(values[values.len() / 2..].iter().copied())
}

/// Judges whether ratios are above 1: one sample of logarithms for each engine that has any.
fn above_one(samples: &[Option<LogSample>]) -> Vec<Option<FirstPass>> {
    FirstPass::judge_samples(samples)
}

#[cfg(test)]
pub(crate) mod tests {
    use firstpass_probe::{Knobs, Span};
    use firstpass_trial::observation::{Outcome, Process};

    use super::*;

    /// A process of a question with passes of so many ms, each on the input of its number.
    pub(crate) fn process(
        question: Question,
        round: usize,
        passes: &[(usize, f64)],
    ) -> SoakProcess {
        let mut process = Process::new(0);
        process.outcome = Outcome::Completed;
        process.passes = passes
            .iter()
            .map(|(input, ms)| Pass {
                input: *input,
                digest: "same".into(),
                memory_kib: None,
                span: Span {
                    wall_ns: (ms * 1e6) as u64,
                    cpu_ns: (ms * 1e6) as u64,
                    ..Span::default()
                },
            })
            .collect();
        SoakProcess {
            question,
            round,
            knobs: Knobs::default(),
            pauses: BTreeMap::new(),
            process,
        }
    }

    pub(crate) fn kept(processes: Vec<SoakProcess>) -> BTreeMap<String, Vec<Line>> {
        let lines = processes.into_iter();
        let lines = lines.map(|process| Line::Process(Box::new(process)));
        [("x".to_owned(), lines.collect())].into()
    }

    #[test]
    fn what_failed_is_told_once_in_its_own_words() {
        let mut failed = process(Question::Beside, 0, &[]);
        failed.process.outcome = Outcome::NotStarted("no room".into());
        let found = judge(&kept(vec![failed.clone(), failed]));
        assert_eq!(found[0].failures.len(), 1);
        assert!(found[0].failures[0].1.contains("no room"));
        assert!(found[0].memory.is_none() && found[0].beside.is_none());
    }
}
