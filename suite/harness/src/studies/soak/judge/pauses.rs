//! Is a pass slow after the process has slept?

use std::collections::{BTreeMap, BTreeSet};

use firstpass_statistics::{comparison::LogSample, median};

use crate::studies::soak::{
    Line, Question, SoakProcess,
    judge::{Found, above_one, completed, milliseconds},
};

/// A pass after a pause is compared with so many before it.
pub const BEFORE: usize = 5;

/// All lengths of all engines are one family.
pub(super) fn judge(kept: &BTreeMap<String, Vec<Line>>, found: &mut [Found]) {
    let mut asked: Vec<(usize, u64)> = Vec::new();
    let mut samples = Vec::new();
    for (place, one) in found.iter().enumerate() {
        let lines = kept.get(&one.backend).map_or(&[][..], Vec::as_slice);
        let ratios: Vec<(u64, f64)> = completed(lines, Question::Pauses)
            .flat_map(ratios)
            .collect();
        let lengths: BTreeSet<u64> = ratios.iter().map(|(length, _)| *length).collect();
        for length in lengths {
            let of_length = ratios.iter().filter(|(l, _)| *l == length);
            asked.push((place, length));
            samples.push(LogSample::of(of_length.map(|(_, ratio)| ratio.ln())));
        }
    }
    for ((place, length), judged) in asked.into_iter().zip(above_one(&samples)) {
        if let Some(judged) = judged {
            found[place].pauses.insert(length, judged);
        }
    }
}

/// Each pass after a pause, over the passes before the pause.
fn ratios(process: &SoakProcess) -> Vec<(u64, f64)> {
    let passes = &process.process.passes;
    let ratio = |(number, length): (&usize, &u64)| {
        let before = passes.get(number.checked_sub(BEFORE)?..*number)?;
        let usual = median(before.iter().map(milliseconds))?;
        Some((*length, milliseconds(passes.get(*number)?) / usual))
    };
    process.pauses.iter().filter_map(ratio).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::{
        first_passes::judge::first_pass::FirstPassVerdict,
        soak::judge::{
            judge,
            tests::{kept, process},
        },
    };

    /// Five pauses of each length; a pass takes so much longer after it.
    fn found(slower: &[(u64, f64)]) -> BTreeMap<u64, FirstPassVerdict> {
        let noise = |n: usize| 1.0 + 0.01 * ((n * 7) % 5) as f64;
        let mut passes = vec![(0, 50.0)];
        let mut pauses = BTreeMap::new();
        for repeat in 0..5 {
            for (length, factor) in slower {
                passes.extend((0..BEFORE).map(|n| (0, 10.0 * noise(n + repeat))));
                pauses.insert(passes.len(), *length);
                passes.push((0, 10.0 * factor * noise(repeat)));
            }
        }
        let mut one = process(Question::Pauses, 0, &passes);
        one.pauses = pauses;
        let found = judge(&kept(vec![one])).remove(0).pauses;
        found
            .into_iter()
            .map(|(l, pass)| (l, pass.verdict()))
            .collect()
    }

    #[test]
    fn a_pass_after_a_pause_is_slow_or_not() {
        let verdicts = found(&[(100, 1.0), (1000, 1.02), (10_000, 1.8)]);
        assert_eq!(verdicts[&100], FirstPassVerdict::NotSlow);
        assert_eq!(verdicts[&1000], FirstPassVerdict::NotSlow);
        assert_eq!(verdicts[&10_000], FirstPassVerdict::Slow);
    }

    #[test]
    fn a_single_pause_tells_little() {
        let mut one = process(Question::Pauses, 0, &[(0, 10.0); 6]);
        one.process.passes[5].span.wall_ns = 12_000_000;
        one.pauses = [(5, 1000)].into();
        let found = judge(&kept(vec![one])).remove(0).pauses;
        assert_eq!(found[&1000].verdict(), FirstPassVerdict::Open);
    }
}
