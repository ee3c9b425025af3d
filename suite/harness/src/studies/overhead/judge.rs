//! What measuring costs: through the trait against the engine called directly.

use std::collections::BTreeMap;

use firstpass_statistics::{
    Spread,
    bootstrap::{Estimate, Sample, estimate},
    median,
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

/// The bootstrap of a median is sure of itself too early with fewer rounds.
const FEWEST_ROUNDS: usize = 8;

/// Of the bootstrap: the same measurements give the same report.
const SEED: u64 = 1;

/// What a comparison says of the probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverheadVerdict {
    /// The whole interval lies below what is allowed.
    Within,
    /// The whole interval lies above.
    Beyond,
    Inconclusive,
}

/// The probe against another variant of the same engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Against {
    pub variant: Variant,
    /// The probe over the other, within rounds: the median, because a single disturbed round must
    /// not decide.
    pub ratio: Estimate,
    pub verdict: OverheadVerdict,
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

impl Cost {
    /// What measuring costs beside a pass, as a share of a steady one.
    pub fn beside_share(&self) -> Option<f64> {
        Some(self.beside_us?.median / 1000.0 / self.steady_ms)
    }
}

/// Judges every backend that was measured.
pub fn judge(overhead: &Overhead) -> Vec<Cost> {
    overhead
        .processes
        .iter()
        .filter_map(|(backend, processes)| cost(backend, processes))
        .collect()
}

/// Whether the probe is compared as precisely as is worth the time, with everything that was measured
/// beside it. This asks for widths only and not for verdicts, so that stopping by it favours none.
pub fn is_precise(backend: &str, processes: &[OverheadProcess]) -> bool {
    let Some(cost) = cost(backend, processes) else {
        return false;
    };
    let precise = |against: &Against| {
        let half_width = against.ratio.relative_half_width();
        against.ratio.processes >= FEWEST_ROUNDS && half_width.is_some_and(|half| half <= PRECISE)
    };
    !cost.against.is_empty() && cost.against.iter().all(precise)
}

fn cost(backend: &str, processes: &[OverheadProcess]) -> Option<Cost> {
    let failures = processes
        .iter()
        .filter_map(|p| Some((p.variant, p.failure.clone()?)))
        .collect();
    let of = |variant: Variant| -> Vec<&OverheadProcess> {
        let complete = processes.iter().filter(|p| p.failure.is_none());
        complete.filter(|p| p.variant == variant).collect()
    };
    let probe = of(Variant::Probe);
    let by_round = |processes: &[&OverheadProcess]| -> BTreeMap<usize, f64> {
        let figures = processes.iter();
        figures
            .filter_map(|p| Some((p.round, fastest_ms(&p.passes_ns)?)))
            .collect()
    };
    let probe_by_round = by_round(&probe);
    let against = [Variant::Direct, Variant::Python]
        .into_iter()
        .filter_map(|variant| {
            let other = of(variant);
            let other_by_round = by_round(&other);
            let ratios: Vec<Sample> = probe_by_round
                .iter()
                .filter_map(|(round, x)| Some(Sample::Value(x / other_by_round.get(round)?)))
                .collect();
            let ratio = estimate(&ratios, SEED)?;
            Some(Against {
                variant,
                verdict: verdict(&ratio),
                ratio,
                same_outputs: same(&probe, &other),
                engines: (engine(&probe), engine(&other)),
            })
        })
        .collect();
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
        against,
        failures,
    })
}

fn verdict(ratio: &Estimate) -> OverheadVerdict {
    match ratio.interval {
        Some(_) if ratio.processes < FEWEST_ROUNDS => OverheadVerdict::Inconclusive,
        Some((_, high)) if high <= 1.0 + ALLOWED => OverheadVerdict::Within,
        Some((low, _)) if low > 1.0 + ALLOWED => OverheadVerdict::Beyond,
        _ => OverheadVerdict::Inconclusive,
    }
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
mod tests {
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
    fn judged(share: f64) -> Cost {
        let level = |round: usize| 20_000_000 + (round as u64 % 3) * 50_000;
        let processes: Vec<OverheadProcess> = (0..10)
            .flat_map(|round| {
                let direct = level(round) / if round == 4 { 2 } else { 1 };
                let probe = (level(round + 1) as f64 * (1.0 + share)) as u64;
                [
                    process(Variant::Direct, round, direct),
                    process(Variant::Probe, round, probe),
                ]
            })
            .collect();
        cost("x", &processes).expect("there are processes")
    }

    #[test]
    fn what_is_within_is_told_from_what_is_beyond() {
        for (share, expected) in [
            (0.0, OverheadVerdict::Within),
            (0.01, OverheadVerdict::Within),
            (0.02, OverheadVerdict::Inconclusive),
            (0.05, OverheadVerdict::Beyond),
        ] {
            assert_eq!(judged(share).against[0].verdict, expected, "{share}");
        }
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
            is_precise("x", &processes)
        };
        assert!(!precise(&[]));
        assert!(!precise(&[0.0; FEWEST_ROUNDS - 1]));
        assert!(precise(&[0.0; FEWEST_ROUNDS]));
        // However slow it is.
        assert!(precise(&[0.5; FEWEST_ROUNDS]));
        let apart = [0.0, 0.1].repeat(FEWEST_ROUNDS);
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
        let cost = cost("x", &[process(Variant::Probe, 0, 1), other, failed]);
        let cost = cost.expect("there are processes");
        assert_eq!(cost.against[0].same_outputs, Some(false));
        assert_eq!(
            cost.failures,
            [(Variant::Python, "no such package".to_owned())]
        );
    }
}
