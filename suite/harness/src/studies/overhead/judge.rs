//! What measuring costs: through the trait against the engine called directly.

use std::collections::BTreeMap;

use firstpass_statistics::{
    Spread,
    comparison::{Comparison, LogSample, Rule},
    median,
    moderation::Prior,
};

use crate::studies::overhead::{Overhead, OverheadProcess, Variant};

/// The probe may be slower than the engine called directly by this share.
pub const ALLOWED: f64 = 0.02;

/// What measuring costs beside a pass may be this share of the shortest steady pass.
pub const ALLOWED_BESIDE: f64 = 0.005;

/// Intervals that reach so far to both sides are precise: what is within or beyond is told by then, unless
/// it is just at the border.
const PRECISE: f64 = ALLOWED / 2.0;

/// Of the steady passes of a process the fastest quarter is compared. All variants do the same
/// work, so that a disturbance only ever makes one slower (Chen and Revels, "Robust benchmarking in
/// noisy environments", 2016).
const FASTEST: usize = 4;

/// No forecast goes further.
const MOST_ROUNDS: f64 = 1000.0;

/// What a comparison says of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverheadVerdict {
    /// The whole interval lies below what is allowed.
    Within,
    /// The whole interval lies above.
    Beyond,
    /// The interval holds the border.
    Open,
}

/// The probe against another variant of the same engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Against {
    pub variant: Variant,
    /// The probe against the other, within rounds, with what all engines of the run know of its noise.
    pub comparison: Comparison,
    /// Whether both gave the same bits; `None` where one does not tell.
    pub same_outputs: Option<bool>,
    /// As each says itself: probe, other.
    pub engines: (String, String),
}

/// What measuring costs on one backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Cost {
    pub backend: String,
    pub model: String,
    pub threads: usize,
    pub rounds: usize,
    pub passes: usize,
    /// Of the fastest quarter of the steady passes, median over processes, in ms.
    pub steady_ms: f64,
    /// Between the timed spans of two passes: counters, digest and message, in µs.
    pub beside_us: Option<Spread>,
    pub against: Vec<Against>,
    /// What could not be measured, and why.
    pub failures: Vec<(Variant, String)>,
}

impl Against {
    pub fn verdict(&self) -> OverheadVerdict {
        let (low, high) = self.comparison.interval;
        if high <= 1.0 + ALLOWED {
            OverheadVerdict::Within
        } else if low > 1.0 + ALLOWED {
            OverheadVerdict::Beyond
        } else {
            OverheadVerdict::Open
        }
    }

    /// About how many more rounds would tell on which side of the border the probe is; `None` where it is
    /// told, and where more than [`MOST_ROUNDS`] would not.
    pub fn rounds_missing(&self) -> Option<usize> {
        if self.verdict() != OverheadVerdict::Open {
            return None;
        }
        let comparison = &self.comparison;
        let distance = (comparison.ratio.ln() - ALLOWED.ln_1p()).abs();
        let half_width = comparison.half_width().ln_1p();
        // An interval is narrower by the root of the number of rounds.
        let times = (half_width / distance).powi(2);
        let rounds = (comparison.samples as f64 * times).ceil();
        let missing = (rounds - comparison.samples as f64).max(1.0);
        (missing <= MOST_ROUNDS).then_some(missing as usize)
    }

    /// See [`PRECISE`].
    fn is_precise(&self) -> bool {
        self.comparison.half_width() <= PRECISE
    }
}

/// Judges every backend that was measured.
pub fn judge(overhead: &Overhead) -> Vec<Cost> {
    let processes = overhead.processes.iter();
    judge_backends(processes.map(|(backend, processes)| (backend.as_str(), &processes[..])))
}

/// Judges these backends, all of which know together how much a round varies.
pub fn judge_backends<'a>(
    backends: impl IntoIterator<Item = (&'a str, &'a [OverheadProcess])>,
) -> Vec<Cost> {
    let backends: Vec<(&str, &[OverheadProcess])> = backends.into_iter().collect();
    let ratios = backends
        .iter()
        .flat_map(|(_, processes)| OTHERS.map(|other| ratios(processes, other)));
    let prior = Prior::fit(ratios.flatten().map(|r| (r.variance, r.freedom)));
    backends
        .iter()
        .filter_map(|(backend, processes)| cost(backend, processes, &prior))
        .collect()
}

/// What the probe is compared with.
const OTHERS: [Variant; 2] = [Variant::Direct, Variant::Python];

impl Cost {
    /// What measuring costs beside a pass, as a share of a steady one.
    pub fn beside_share(&self) -> Option<f64> {
        Some(self.beside_us?.median / 1000.0 / self.steady_ms)
    }

    /// Whether the probe is compared as precisely as is worth the time, with everything that was measured
    /// beside it. This asks for widths only and not for verdicts, so that stopping by it favours none.
    pub fn is_precise(&self) -> bool {
        !self.against.is_empty() && self.against.iter().all(Against::is_precise)
    }
}

fn completed(
    processes: &[OverheadProcess],
    variant: Variant,
) -> impl Iterator<Item = &OverheadProcess> {
    let complete = processes.iter().filter(|p| p.failure.is_none());
    complete.filter(move |p| p.variant == variant)
}

fn by_round(processes: &[OverheadProcess], variant: Variant) -> BTreeMap<usize, f64> {
    completed(processes, variant)
        .filter_map(|p| Some((p.round, fastest_ms(&p.passes_ns)?)))
        .collect()
}

/// The probe over another variant, within rounds.
fn ratios(processes: &[OverheadProcess], other: Variant) -> Option<LogSample> {
    let probe = by_round(processes, Variant::Probe);
    LogSample::of_ratios(&probe, &by_round(processes, other))
}

fn cost(backend: &str, processes: &[OverheadProcess], prior: &Prior) -> Option<Cost> {
    let failures = processes
        .iter()
        .filter_map(|p| Some((p.variant, p.failure.clone()?)))
        .collect();
    let probe: Vec<&OverheadProcess> = completed(processes, Variant::Probe).collect();
    let probe_by_round = by_round(processes, Variant::Probe);
    let against = OTHERS.into_iter().filter_map(|variant| {
        let ratios = ratios(processes, variant)?;
        let other: Vec<&OverheadProcess> = completed(processes, variant).collect();
        Some(Against {
            variant,
            comparison: Comparison::paired(&ratios, prior, Rule::interleaved(ALLOWED)),
            same_outputs: same(&probe, &other),
            engines: (engine(&probe), engine(&other)),
        })
    });
    let gaps = probe.iter().flat_map(|p| steady(&p.gaps_ns));
    let first = processes.first()?;
    Some(Cost {
        backend: backend.into(),
        model: first.model.clone().unwrap_or_default(),
        threads: first.threads,
        rounds: probe_by_round.len(),
        passes: probe.first().map_or(0, |p| p.passes_ns.len()),
        steady_ms: median(probe_by_round.values().copied()).unwrap_or(f64::NAN),
        beside_us: Spread::of(gaps.map(|ns| *ns as f64 / 1000.0)),
        against: against.collect(),
        failures,
    })
}

/// The second half of the passes: all engines have left their warm-up by then.
fn steady<T>(passes: &[T]) -> &[T] {
    &passes[passes.len() / 2..]
}

fn fastest_ms(passes_ns: &[u64]) -> Option<f64> {
    let mut steady = steady(passes_ns).to_vec();
    steady.sort_unstable();
    let fastest = steady.len().div_ceil(FASTEST);
    let times: Vec<f64> = steady[..fastest]
        .iter()
        .map(|ns| *ns as f64 / 1e6)
        .collect();
    firstpass_statistics::mean(&times)
}

fn same(a: &[&OverheadProcess], b: &[&OverheadProcess]) -> Option<bool> {
    let first = a.first()?.outputs_sha256.as_ref()?;
    let all = a.iter().chain(b);
    let digests: Option<Vec<&String>> = all.map(|p| p.outputs_sha256.as_ref()).collect();
    Some(digests?.into_iter().all(|digest| digest == first))
}

fn engine(processes: &[&OverheadProcess]) -> String {
    let first = processes.first().and_then(|p| p.engine.clone());
    first.unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn process(variant: Variant, round: usize, level_ns: u64) -> OverheadProcess {
        OverheadProcess {
            variant,
            round,
            model: Some("m".into()),
            format: None,
            threads: 1,
            engine: Some("1".into()),
            load_average: 0.0,
            passes_ns: (0..40).map(|n| level_ns + (n % 5) * 10_000).collect(),
            gaps_ns: if variant == Variant::Probe {
                vec![40_000; 39]
            } else {
                Vec::new()
            },
            outputs_sha256: Some("a".into()),
            failure: None,
        }
    }

    /// The probe slower than the engine called directly by `share`; one round is disturbed.
    pub(crate) fn processes(share: f64, rounds: usize) -> Vec<OverheadProcess> {
        let level = |round: usize| 20_000_000 + (round as u64 % 3) * 50_000;
        (0..rounds)
            .flat_map(|round| {
                let direct = level(round) / if round == 4 { 2 } else { 1 };
                let probe = (level(round + 1) as f64 * (1.0 + share)) as u64;
                [
                    process(Variant::Direct, round, direct),
                    process(Variant::Probe, round, probe),
                ]
            })
            .collect()
    }

    fn judged(share: f64) -> Cost {
        judge_backends([("x", &processes(share, 20)[..])]).remove(0)
    }

    #[test]
    fn what_is_within_is_told_from_what_is_beyond() {
        for (share, expected) in [
            (0.0, OverheadVerdict::Within),
            (0.005, OverheadVerdict::Within),
            (0.02, OverheadVerdict::Open),
            (0.05, OverheadVerdict::Beyond),
        ] {
            let against = &judged(share).against[0];
            assert_eq!(against.verdict(), expected, "{share}: {against:?}");
        }
    }

    /// Three rounds of an engine are judged by what the others vary in the same run.
    #[test]
    fn few_rounds_are_judged_by_what_the_run_knows() {
        let verdict = |noise: &[f64]| {
            let round = |(round, noise): (usize, &f64)| {
                let probe = (20e6 * (1.0 + noise)) as u64;
                [
                    process(Variant::Direct, round, 20_000_000),
                    process(Variant::Probe, round, probe),
                ]
            };
            let others: Vec<OverheadProcess> = noise.iter().enumerate().flat_map(round).collect();
            let few: Vec<OverheadProcess> = [0.0, 0.001, -0.001]
                .iter()
                .enumerate()
                .flat_map(round)
                .collect();
            let others = [
                ("a", &others[..]),
                ("b", &others),
                ("c", &others),
                ("d", &others),
            ];
            let run = [("few", &few[..])].into_iter().chain(others);
            judge_backends(run)[0].against[0].verdict()
        };
        let quiet = [0.002, -0.002, 0.001, 0.0, -0.001, 0.002];
        assert_eq!(verdict(&quiet), OverheadVerdict::Within);
        assert_eq!(verdict(&quiet.map(|x| 50.0 * x)), OverheadVerdict::Open);
    }

    #[test]
    fn what_is_open_says_what_it_would_take() {
        let open = judged(0.015);
        let against = &open.against[0];
        assert_eq!(against.verdict(), OverheadVerdict::Open, "{against:?}");
        let missing = against.rounds_missing().expect("it is not at the border");
        let rounds = 20 + missing;
        // Somewhat more rounds than that do tell.
        let longer = processes(0.015, rounds + rounds / 2);
        let longer = judge_backends([("x", &longer[..])]).remove(0);
        assert_eq!(longer.against[0].verdict(), OverheadVerdict::Within);
        assert_eq!(longer.against[0].rounds_missing(), None);
    }

    #[test]
    fn rounds_that_agree_are_precise_when_there_are_enough() {
        // The probe takes this much longer than the engine called directly, round by round.
        let precise = |shares: &[f64]| {
            let processes: Vec<OverheadProcess> = shares
                .iter()
                .enumerate()
                .flat_map(|(round, share)| {
                    let probe = (20e6 * (1.0 + share)) as u64;
                    [
                        process(Variant::Direct, round, 20_000_000),
                        process(Variant::Probe, round, probe),
                    ]
                })
                .collect();
            let costs = judge_backends([("x", &processes[..])]);
            costs.iter().any(Cost::is_precise)
        };
        assert!(!precise(&[]));
        assert!(!precise(&[0.0; 3]));
        assert!(precise(&[0.0; 20]));
        // However slow it is.
        assert!(precise(&[0.5; 20]));
        let apart = [0.0, 0.1].repeat(10);
        assert!(!precise(&apart));
    }

    #[test]
    fn the_cost_beside_a_pass_is_a_share_of_it() {
        let share = judged(0.0).beside_share().expect("the probe has gaps");
        assert!((share - 0.002).abs() < 1e-4, "{share}");
    }

    #[test]
    fn other_bits_are_seen_and_failures_are_kept() {
        let mut other = process(Variant::Direct, 0, 1);
        other.outputs_sha256 = Some("b".into());
        let mut failed = process(Variant::Python, 0, 1);
        failed.failure = Some("no such package".into());
        let processes = [process(Variant::Probe, 0, 1), other, failed];
        let cost = judge_backends([("x", &processes[..])]).remove(0);
        assert_eq!(cost.against[0].same_outputs, Some(false));
        assert_eq!(
            cost.failures,
            [(Variant::Python, "no such package".to_owned())]
        );
    }
}
