//! Are passes on denormal numbers slower, and does the engine's switch end that?

use std::collections::BTreeMap;

use firstpass_statistics::comparison::LogSample;

use crate::studies::{
    first_passes::judge::first_pass::FirstPass,
    soak::{
        Line, Question, SoakProcess,
        judge::{Found, above_one, completed, milliseconds, usual},
    },
};

/// What denormal numbers cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Denormals {
    /// A pass on denormal inputs over one on ordinary inputs.
    pub inputs: Option<FirstPass>,
    /// The same where the engine takes denormal numbers as 0.
    pub inputs_as_zero: Option<FirstPass>,
    /// A pass on ordinary inputs as usual, over one where the engine takes denormal numbers as 0: above 1 where
    /// weights, or what comes of them, are denormal.
    pub within: Option<FirstPass>,
}

/// All ratios of all engines are one family.
pub(super) fn judge(kept: &BTreeMap<String, Vec<Line>>, found: &mut [Found]) {
    let mut samples = Vec::new();
    for one in found.iter() {
        let lines = kept.get(&one.backend).map_or(&[][..], Vec::as_slice);
        let of_inputs = |question| LogSample::of(completed(lines, question).flat_map(ratios));
        let ordinary = |question| -> BTreeMap<usize, f64> {
            let processes = completed(lines, question);
            processes
                .filter_map(|p| Some((p.round, ordinary(p)?)))
                .collect()
        };
        samples.push(of_inputs(Question::Denormals));
        samples.push(of_inputs(Question::DenormalsAsZero));
        samples.push(LogSample::of_ratios(
            &ordinary(Question::Denormals),
            &ordinary(Question::DenormalsAsZero),
        ));
    }
    let judged = above_one(&samples);
    for (one, judged) in found.iter_mut().zip(judged.chunks_exact(3)) {
        one.denormals = Denormals {
            inputs: judged[0],
            inputs_as_zero: judged[1],
            within: judged[2],
        };
    }
}

/// The usual time on the input of this number.
fn on_input(process: &SoakProcess, number: usize) -> Option<f64> {
    let passes = process.process.passes.iter();
    usual(passes.filter(|pass| pass.input == number), milliseconds)
}

/// The logarithms of the times on denormal inputs, which have odd numbers, over those on the ordinary ones that
/// follow; the first of those warm up.
fn ratios(process: &SoakProcess) -> Vec<f64> {
    let inputs = process.process.passes.iter().map(|pass| pass.input);
    let last = inputs.max().unwrap_or(0);
    let ratio = |number: usize| {
        let (denormal, ordinary) = (on_input(process, number)?, on_input(process, number + 1)?);
        Some((denormal / ordinary).ln())
    };
    (1..last).step_by(2).filter_map(ratio).collect()
}

/// The usual time of all ordinary inputs but the first, on which the process warms up, unless it is the only one.
fn ordinary(process: &SoakProcess) -> Option<f64> {
    let passes = &process.process.passes;
    let alone = passes.iter().all(|pass| pass.input == 0);
    let is_ordinary = |input: usize| input.is_multiple_of(2) && (input > 0 || alone);
    usual(
        passes.iter().filter(|pass| is_ordinary(pass.input)),
        milliseconds,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::{
        first_passes::judge::first_pass::FirstPassVerdict::{self, NotSlow, Slow},
        soak::judge::{
            judge,
            tests::{kept, process},
        },
    };

    /// Three rounds by default and as zero, with the times on ordinary and on denormal inputs.
    fn found(default: [f64; 2], as_zero: [f64; 2]) -> [Option<FirstPassVerdict>; 3] {
        let mut processes = Vec::new();
        for round in 0..3 {
            for (question, times) in [
                (Question::Denormals, default),
                (Question::DenormalsAsZero, as_zero),
            ] {
                let noise = 1.0 + 0.01 * round as f64;
                let passes = (0..7).flat_map(|input| [(input, times[input % 2] * noise); 4]);
                processes.push(process(question, round, &passes.collect::<Vec<_>>()));
            }
        }
        let of = judge(&kept(processes)).remove(0).denormals;
        [of.inputs, of.inputs_as_zero, of.within].map(|f| f.map(|f| f.verdict()))
    }

    #[test]
    fn slow_inputs_are_told_and_whether_the_switch_ends_it() {
        let slow_inputs = found([10.0, 60.0], [10.0, 10.0]);
        assert_eq!(slow_inputs, [Some(Slow), Some(NotSlow), Some(NotSlow)]);
        let nothing = found([10.0, 10.1], [10.0, 10.0]);
        assert_eq!(nothing, [Some(NotSlow); 3]);
        let no_use = found([10.0, 60.0], [10.0, 58.0]);
        assert_eq!(no_use, [Some(Slow), Some(Slow), Some(NotSlow)]);
    }

    #[test]
    fn slow_weights_are_told_by_the_switch() {
        let weights = found([400.0, 400.0], [4.0, 4.0]);
        assert_eq!(weights, [Some(NotSlow), Some(NotSlow), Some(Slow)]);
    }
}
