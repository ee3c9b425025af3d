//! First passes against the steady state.

use std::collections::BTreeMap;

use crate::{
    judge::spread::{Spread, median},
    observation::{Cell, Observation, Purpose},
};

/// The passes whose times a table shows, counted from 1.
pub const SHOWN_PASSES: [usize; 5] = [1, 2, 3, 5, 10];

/// The figures of one cell, over its processes. Times are in ms.
#[derive(Debug, Clone)]
pub struct Latency {
    pub cell: Cell,
    pub processes: usize,
    /// The fewest passes of a process.
    pub passes: usize,
    /// By number, from 1; a number that not every process reached is left out.
    pub pass: BTreeMap<usize, Spread>,
    /// The median of the second half of the passes of each process.
    pub steady: Spread,
    /// Pass 1 in units of the steady time of its own process.
    pub first_over_steady: Spread,
    pub second_over_steady: Spread,
    pub process_start: Spread,
    pub engine_start: Spread,
    pub load: Spread,
    pub prepare: Spread,
    pub cold_start: Spread,
    /// CPU time over wall time of the steady passes: how many cores were busy.
    pub steady_cpu_ratio: Spread,
    /// Page faults of pass 1, and of a steady pass.
    pub first_faults: Spread,
    pub steady_faults: Spread,
    pub peak_memory_mib: Spread,
    /// The whole series of each process, in ms, for plots; by round.
    pub series: BTreeMap<usize, Vec<f64>>,
    /// Of each process, by round.
    pub steady_by_round: BTreeMap<usize, f64>,
    pub cold_start_by_round: BTreeMap<usize, f64>,
}

/// What a comparison of two cells says. It holds only where every round says the same, and where
/// that is no matter of chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Comparison {
    /// The first is faster in every round; the median ratio of the second to the first.
    Faster(f64),
    /// The first is slower in every round; the median ratio of the first to the second.
    Slower(f64),
    /// The rounds disagree, or there are too few for so small a difference.
    Inconclusive,
}

/// The passes that count as steady: the second half of the series.
pub fn steady_passes<T>(series: &[T]) -> &[T] {
    &series[series.len() / 2..]
}

/// Summarises the completed latency processes of each cell, in the order of the cells.
pub fn summarise<'a>(observations: impl IntoIterator<Item = &'a Observation>) -> Vec<Latency> {
    let mut by_cell: BTreeMap<&Cell, Vec<&Observation>> = BTreeMap::new();
    for observation in observations {
        let timed = observation.purpose == Purpose::Latency;
        if timed && observation.process.completed() && !observation.process.passes.is_empty() {
            by_cell
                .entry(&observation.cell)
                .or_default()
                .push(observation);
        }
    }
    by_cell
        .into_iter()
        .filter_map(|(cell, processes)| summarise_cell(cell, &processes))
        .collect()
}

fn summarise_cell(cell: &Cell, processes: &[&Observation]) -> Option<Latency> {
    let series: BTreeMap<usize, Vec<f64>> = processes
        .iter()
        .map(|o| {
            (
                o.round,
                o.process
                    .passes
                    .iter()
                    .map(|p| ms(p.span.wall_ns))
                    .collect(),
            )
        })
        .collect();
    let steady_by_round: BTreeMap<usize, f64> = series
        .iter()
        .filter_map(|(round, times)| Some((*round, median(steady_passes(times).iter().copied())?)))
        .collect();
    let passes = series.values().map(Vec::len).min()?;
    let over_steady = |number: usize| {
        Spread::of(series.iter().filter_map(|(round, times)| {
            Some(times.get(number - 1)? / steady_by_round.get(round)?)
        }))
    };
    let each = |figure: &dyn Fn(&Observation) -> Option<f64>| {
        Spread::of(processes.iter().filter_map(|o| figure(o)))
    };
    let steady_median = |o: &Observation, figure: &dyn Fn(&firstpass_probe::Span) -> f64| {
        median(
            steady_passes(&o.process.passes)
                .iter()
                .map(|p| figure(&p.span)),
        )
    };
    let faults = |span: &firstpass_probe::Span| (span.minor_faults + span.major_faults) as f64;
    let cold_start_by_round: BTreeMap<usize, f64> = processes
        .iter()
        .filter_map(|o| Some((o.round, ms(o.process.cold_start_ns()?))))
        .collect();
    Some(Latency {
        cell: cell.clone(),
        processes: processes.len(),
        passes,
        pass: (1..=passes)
            .filter_map(|n| Some((n, Spread::of(series.values().map(|times| times[n - 1]))?)))
            .collect(),
        steady: Spread::of(steady_by_round.values().copied())?,
        first_over_steady: over_steady(1)?,
        second_over_steady: over_steady(2.min(passes))?,
        process_start: each(&|o| o.process.process_start_ns().map(ms))?,
        engine_start: each(&|o| o.process.started.map(|s| ms(s.wall_ns)))?,
        load: each(&|o| o.process.loaded.map(|s| ms(s.wall_ns)))?,
        prepare: each(&|o| o.process.prepared.map(|s| ms(s.wall_ns)))?,
        cold_start: Spread::of(cold_start_by_round.values().copied())?,
        steady_cpu_ratio: each(&|o| {
            steady_median(o, &|s| s.cpu_ns as f64 / s.wall_ns.max(1) as f64)
        })?,
        first_faults: each(&|o| o.process.passes.first().map(|p| faults(&p.span)))?,
        steady_faults: each(&|o| steady_median(o, &faults))?,
        peak_memory_mib: each(&|o| o.process.peak_memory_kib.map(|k| k as f64 / 1024.0))?,
        series,
        steady_by_round,
        cold_start_by_round,
    })
}

/// Rounds that agree by chance with a probability of at most 1 in 16: 2 · ½⁵.
const ENOUGH_ROUNDS: usize = 5;

/// A ratio this far from 1 in every round is believed of fewer rounds, too: rounds of one run differ
/// by less.
const CLEAR_RATIO: f64 = 1.25;

/// Compares two cells by the ratios of their figures within rounds.
pub fn compare(a: &BTreeMap<usize, f64>, b: &BTreeMap<usize, f64>) -> Comparison {
    let ratios = Spread::of(a.iter().filter_map(|(round, x)| Some(b.get(round)? / x)));
    let rounds = a.keys().filter(|round| b.contains_key(round)).count();
    let Some(ratios) = ratios.filter(|_| rounds > 1) else {
        return Comparison::Inconclusive;
    };
    let beyond = if rounds >= ENOUGH_ROUNDS {
        1.0
    } else {
        CLEAR_RATIO
    };
    if ratios.low > beyond {
        Comparison::Faster(ratios.median)
    } else if ratios.high < 1.0 / beyond {
        Comparison::Slower(1.0 / ratios.median)
    } else {
        Comparison::Inconclusive
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Format, Knobs, Pass, Span};

    use super::*;
    use crate::observation::Process;

    fn observation(round: usize, times_ms: &[u64]) -> Observation {
        let span = |wall_ms: u64| Span {
            wall_ns: wall_ms * 1_000_000,
            cpu_ns: wall_ms * 2_000_000,
            ..Span::default()
        };
        let mut process = Process::new(0);
        process.main_ns = Some(5_000_000);
        process.started = Some(span(10));
        process.loaded = Some(span(20));
        process.prepared = Some(span(0));
        process.peak_memory_kib = Some(2048);
        process.passes = times_ms
            .iter()
            .map(|t| Pass {
                input: 0,
                digest: String::new(),
                span: span(*t),
            })
            .collect();
        Observation {
            cell: Cell {
                backend: "x".into(),
                model: "m".into(),
                format: Format::Onnx,
                knobs: Knobs::default(),
            },
            purpose: Purpose::Latency,
            round,
            images: Vec::new(),
            load_average: 0.0,
            process,
        }
    }

    #[test]
    fn first_passes_do_not_enter_the_steady_figure() {
        let latencies = summarise(&[
            observation(0, &[900, 100, 10, 10, 10, 12]),
            observation(1, &[1100, 100, 10, 10, 10, 10, 10, 10]),
        ]);
        let [latency] = &latencies[..] else {
            panic!("one cell gives one summary")
        };
        assert_eq!(latency.steady.median, 10.0);
        assert_eq!(latency.pass[&1].median, 1000.0);
        assert_eq!(latency.first_over_steady.median, 100.0);
        assert_eq!(latency.passes, 6);
        assert_eq!(latency.steady_cpu_ratio.median, 2.0);
        // 5 to main, 10 start, 20 load, then pass 1.
        assert_eq!(latency.cold_start.low, 5.0 + 10.0 + 20.0 + 900.0);
    }

    #[test]
    fn failed_processes_are_left_out() {
        let mut failed = observation(1, &[1, 1]);
        failed.process.outcome = crate::observation::Outcome::NotStarted("x".into());
        let latencies = summarise(&[observation(0, &[8, 4, 4, 4]), failed]);
        assert_eq!(latencies[0].processes, 1);
    }

    #[test]
    fn a_comparison_needs_every_round() {
        let by_round = |values: &[f64]| values.iter().copied().enumerate().collect();
        let a = by_round(&[10.0, 10.0, 10.0]);
        assert_eq!(
            compare(&a, &by_round(&[20.0, 30.0, 20.0])),
            Comparison::Faster(2.0)
        );
        assert_eq!(
            compare(&a, &by_round(&[5.0, 5.0, 5.0])),
            Comparison::Slower(2.0)
        );
        assert_eq!(
            compare(&a, &by_round(&[20.0, 9.0, 20.0])),
            Comparison::Inconclusive
        );
        assert_eq!(compare(&a, &by_round(&[20.0])), Comparison::Inconclusive);
        // Three rounds that agree on a tenth may do so by chance; five hardly.
        assert_eq!(compare(&a, &by_round(&[11.0; 3])), Comparison::Inconclusive);
        let five = by_round(&[10.0; 5]);
        assert_eq!(
            compare(&five, &by_round(&[11.0; 5])),
            Comparison::Faster(1.1)
        );
    }
}
