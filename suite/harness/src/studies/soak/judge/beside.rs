//! What two sessions of an engine in one process cost each other.

use std::collections::BTreeMap;

use firstpass_probe::Pass;
use firstpass_statistics::{
    comparison::{Comparison, LogSample, Rule, Verdict},
    mean,
    moderation::Prior,
};

use crate::studies::soak::{
    Line, Question,
    judge::{Found, completed, milliseconds, usual},
};

/// *As much* means: no more than this share more or less.
const RESOLUTION: f64 = 0.15;

/// A session with another one beside it, against the same alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Sharing {
    /// The time of a pass with a second session over that of one alone.
    pub slower: Comparison,
    /// What both get done together, over what one gets done alone.
    pub together: Comparison,
    /// Involuntary context switches within the time of one pass, alone and with a second session.
    pub switches: [f64; 2],
    /// Whether the outputs had the same bits.
    pub same_bits: bool,
}

impl Sharing {
    /// Whether two sessions together get more done than one alone, less, or as much; open where that is not told.
    pub fn verdict(&self) -> Verdict {
        self.together.verdict
    }
}

pub(super) fn judge(kept: &BTreeMap<String, Vec<Line>>, found: &mut [Found]) {
    let samples: Vec<Option<LogSample>> = found
        .iter()
        .map(|one| sample(kept.get(&one.backend).map_or(&[][..], Vec::as_slice)))
        .collect();
    let known = samples.iter().flatten();
    let prior = Prior::fit(known.map(|sample| (sample.variance, sample.freedom)));
    for (one, sample) in found.iter_mut().zip(samples) {
        let lines = kept.get(&one.backend).map_or(&[][..], Vec::as_slice);
        one.beside = sample.map(|sample| sharing(lines, &sample, &prior));
    }
}

/// The logarithms of the times of passes with a second session over those of one alone, by round.
fn sample(lines: &[Line]) -> Option<LogSample> {
    let by_round = |question| -> BTreeMap<usize, f64> {
        let processes = completed(lines, question);
        let times = processes
            .filter_map(|p| Some((p.round, usual(p.process.passes.iter(), milliseconds)?)));
        times.collect()
    };
    LogSample::of_ratios(&by_round(Question::Beside), &by_round(Question::Alone))
}

fn sharing(lines: &[Line], slower: &LogSample, prior: &Prior) -> Sharing {
    let rule = Rule {
        looked_at_often: false,
        least_difference: RESOLUTION,
        ..Rule::interleaved(RESOLUTION)
    };
    // Two passes in the time of one that is so much longer.
    let together = LogSample {
        mean: 2_f64.ln() - slower.mean,
        ..*slower
    };
    let switches = |question| {
        let passes = completed(lines, question).flat_map(|p| &p.process.passes);
        let counts: Vec<f64> = passes.map(|p| p.span.involuntary_switches as f64).collect();
        mean(&counts).unwrap_or(0.0)
    };
    let mut passes = [Question::Alone, Question::Beside]
        .into_iter()
        .flat_map(|question| completed(lines, question))
        .flat_map(|p| &p.process.passes);
    let digest = |pass: &Pass| pass.digest.clone();
    let first = passes.next().map(digest);
    Sharing {
        slower: Comparison::paired(slower, prior, rule),
        together: Comparison::paired(&together, prior, rule),
        switches: [switches(Question::Alone), switches(Question::Beside)],
        same_bits: passes.all(|pass| Some(&pass.digest) == first.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::soak::judge::{
        judge,
        tests::{kept, process},
    };

    /// A pass of 10 ms alone, and with a second session so much longer.
    fn found(slower: &[f64]) -> Sharing {
        let mut processes = Vec::new();
        for (round, slower) in slower.iter().enumerate() {
            let alone = 10.0 + 0.1 * round as f64;
            processes.push(process(Question::Alone, round, &[(0, alone); 8]));
            processes.push(process(Question::Beside, round, &[(0, alone * slower); 8]));
        }
        let found = judge(&kept(processes)).remove(0);
        found.beside.expect("both ran")
    }

    #[test]
    fn two_get_more_done_or_less_or_as_much() {
        let more = found(&[1.02, 1.0, 1.01, 1.03]);
        assert_eq!(more.verdict(), Verdict::Slower, "{more:?}");
        assert!((more.together.ratio - 1.97).abs() < 0.05, "{more:?}");
        let as_much = found(&[2.0, 2.02, 1.98, 2.01]);
        assert_eq!(as_much.verdict(), Verdict::NoDifference);
        let less = found(&[5.0, 4.8, 5.2, 5.1]);
        assert_eq!(less.verdict(), Verdict::Faster);
        assert!((less.slower.ratio - 5.0).abs() < 0.2);
        assert_eq!(found(&[1.2, 3.0]).verdict(), Verdict::Open);
    }

    #[test]
    fn other_bits_beside_another_session_are_seen() {
        let alone = process(Question::Alone, 0, &[(0, 1.0); 4]);
        let mut beside = process(Question::Beside, 0, &[(0, 1.0); 4]);
        let same = judge(&kept(vec![alone.clone(), beside.clone()])).remove(0);
        assert!(same.beside.is_some_and(|b| b.same_bits));
        beside.process.passes[2].digest = "other".into();
        let other = judge(&kept(vec![alone, beside])).remove(0);
        assert!(other.beside.is_some_and(|b| !b.same_bits));
    }
}
