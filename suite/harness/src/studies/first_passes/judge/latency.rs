//! First passes against the steady state.

use std::{collections::BTreeMap, fmt, ops::Range};

use firstpass_probe::Span;
use firstpass_statistics::{
    Spread,
    bootstrap::{Estimate, Sample, estimate},
    comparison::{FIRST_RESOLUTION, STEADY_RESOLUTION},
    joint::{Joint, Passes},
    mean, median,
    planted::Noise,
    steady::{SHORTEST_STEADY, Series},
};
use firstpass_trial::observation::{Cell, Observation, Purpose};

use crate::studies::first_passes::judge::{core_speed::CoreSpeed, first_pass::FirstPass};

/// The passes whose times a table shows, counted from 1.
pub const SHOWN_PASSES: [usize; 5] = [1, 2, 3, 5, 10];

/// Figures of the first passes may be of slowed passes where too few processes have others.
const FIRST_PASSES: usize = 3;

/// With fewer undisturbed processes the disturbed ones are taken as well: better than nothing.
const FEWEST_UNDISTURBED: usize = 3;

/// With fewer rounds in which both were undisturbed, the others are compared as well.
const FEWEST_UNDISTURBED_ROUNDS: usize = 5;

/// With fewer passes no class and no steady time is told: those of a warm-up may look like anything.
pub const LEAST_PASSES: usize = 10;

/// Of the bootstrap: the same record gives the same report.
const SEED: u64 = 1;

/// The figures of one cell, over its processes. Times are in ms.
#[derive(Debug, Clone)]
pub struct Latency {
    pub cell: Cell,
    /// In the order of their rounds.
    pub processes: Vec<ProcessLatency>,
    /// The fewest passes of a process.
    pub passes: usize,
    /// What kind of series they are, together; `None` with cold files, where a process is over before it
    /// could be steady.
    pub joint: Option<Joint>,
    /// By number, from 1; a number that not every process reached is left out.
    pub pass: BTreeMap<usize, Estimate>,
    /// The mean of the steady passes; where there is no steady state, of the second half of the passes.
    pub steady: Option<Estimate>,
    /// Passes 1 and 2 in units of the steady time of their own process, judged over the processes.
    pub first_over_steady: Option<FirstPass>,
    pub second_over_steady: Option<FirstPass>,
    /// Passes before the steady state; `None` where there is none.
    pub warm_up_passes: Option<usize>,
    /// What these passes took beyond the steady time.
    pub warm_up_cost: Option<Estimate>,
    /// From the spawn to the first outputs.
    pub cold_start: Option<Estimate>,
    /// What a user waits for one after the other, each with its median.
    pub phases: Vec<(Phase, f64)>,
    /// CPU time over wall time of the steady passes: how many cores were busy.
    pub steady_cpu_ratio: Option<Spread>,
    /// Page faults of pass 1, and of a steady pass.
    pub first_faults: Option<Spread>,
    pub steady_faults: Option<Spread>,
    pub peak_memory_mib: Option<Spread>,
    /// Whether any process did enough passes for a verdict about what they settle at. With cold files, where
    /// none is wanted, as well.
    pub has_enough_passes: bool,
    /// Fewer than three processes started undisturbed or have a steady state without the passes on a
    /// slowed core, so that these count as well.
    pub too_few_undisturbed: bool,
}

/// The times of one process, in ms, and what they say.
#[derive(Debug, Clone)]
pub struct ProcessLatency {
    pub round: usize,
    pub times: Vec<f64>,
    /// Which passes ran on a slowed core; they enter no figure where there are enough others.
    pub slowed: Vec<bool>,
    /// Whether a step before the first pass did.
    pub slowed_start: bool,
    /// This process by itself.
    pub series: Series,
    /// The times of its steady passes, outliers and slowed ones left out.
    pub steady: Vec<f64>,
    pub steady_mean: Option<f64>,
    /// The passes that its steady figures are of, from 0.
    pub steady_range: Range<usize>,
    pub cold_start: Option<f64>,
    pub phases: BTreeMap<Phase, f64>,
    /// From before its spawn to its end.
    pub wall_ms: f64,
}

impl ProcessLatency {
    /// The time of a pass, from 1; `None` where there is none or its core was slowed.
    pub fn pass(&self, number: usize) -> Option<f64> {
        let at = number.checked_sub(1)?;
        (!self.slowed.get(at)?).then(|| self.times[at])
    }

    /// From the spawn to the first outputs, on a core that was not slowed.
    pub fn undisturbed_cold_start(&self) -> Option<f64> {
        self.pass(1)?;
        self.cold_start.filter(|_| !self.slowed_start)
    }
}

/// A part of what a user waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From the spawn to `main`: the system starts the process and links its libraries.
    ProcessStart,
    EngineStart,
    Load,
    Prepare,
    /// A pass on zeros before the first real one, where a knob asked for it.
    WarmUp,
    Pass1,
    Pass2,
    /// What passes 3 and later took beyond the steady time until it was reached.
    RestOfWarmUp,
}

impl Phase {
    pub const ALL: [Self; 8] = [
        Self::ProcessStart,
        Self::EngineStart,
        Self::Load,
        Self::Prepare,
        Self::WarmUp,
        Self::Pass1,
        Self::Pass2,
        Self::RestOfWarmUp,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProcessStart => "process start",
            Self::EngineStart => "engine start",
            Self::Load => "load",
            Self::Prepare => "prepare",
            Self::WarmUp => "warm-up pass",
            Self::Pass1 => "pass 1",
            Self::Pass2 => "pass 2",
            Self::RestOfWarmUp => "rest of the warm-up",
        })
    }
}

/// A figure that two cells are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    Steady,
    FirstPass,
    ColdStart,
    SecondPass,
    /// Passes 1 and 2 together.
    FirstTwo,
    /// From the spawn to the third outputs: what a program waits for whose first passes are slow.
    ThreeAnswers,
    /// From the spawn until the first real pass could begin: what a service takes to start.
    Ready,
}

impl Figure {
    /// Those that every pair of engines is compared by.
    pub const ALL: [Self; 3] = [Self::Steady, Self::FirstPass, Self::ColdStart];

    /// Differences below this share are no difference.
    pub fn resolution(self) -> f64 {
        match self {
            Self::Steady => STEADY_RESOLUTION,
            _ => FIRST_RESOLUTION,
        }
    }

    /// On a core that was not slowed meanwhile.
    pub fn of(self, process: &ProcessLatency) -> Option<f64> {
        match self {
            Self::Steady => process.steady_mean,
            Self::FirstPass => process.pass(1),
            Self::ColdStart => process.undisturbed_cold_start(),
            Self::SecondPass => process.pass(2),
            Self::FirstTwo => Some(process.pass(1)? + process.pass(2)?),
            Self::ThreeAnswers => {
                Some(process.undisturbed_cold_start()? + process.pass(2)? + process.pass(3)?)
            }
            Self::Ready => Some(process.undisturbed_cold_start()? - process.pass(1)?),
        }
    }

    /// Whether or not the core was slowed. A steady state knows only undisturbed passes.
    fn of_any(self, process: &ProcessLatency) -> Option<f64> {
        let pass = |number: usize| process.times.get(number - 1).copied();
        match self {
            Self::Steady => process.steady_mean,
            Self::FirstPass => pass(1),
            Self::ColdStart => process.cold_start,
            Self::SecondPass => pass(2),
            Self::FirstTwo => Some(pass(1)? + pass(2)?),
            Self::ThreeAnswers => Some(process.cold_start? + pass(2)? + pass(3)?),
            Self::Ready => Some(process.cold_start? - pass(1)?),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::FirstPass => "pass 1",
            Self::ColdStart => "cold start",
            Self::SecondPass => "pass 2",
            Self::FirstTwo => "passes 1 and 2",
            Self::ThreeAnswers => "three answers",
            Self::Ready => "ready",
        })
    }
}

impl Latency {
    /// A figure of each process that has it, by round.
    pub fn by_round(&self, figure: Figure) -> BTreeMap<usize, f64> {
        self.processes
            .iter()
            .filter_map(|p| Some((p.round, figure.of(p)?)))
            .collect()
    }

    /// A figure of this cell and of another of the same run, by the rounds that both have and in
    /// which neither core was slowed; with too few of these by all rounds, whose ratios are wider
    /// spread.
    pub fn rounds_with(&self, other: &Self, figure: Figure) -> BTreeMap<usize, (f64, f64)> {
        let both = |of: &dyn Fn(&ProcessLatency) -> Option<f64>| {
            let others: BTreeMap<usize, f64> = other
                .processes
                .iter()
                .filter_map(|p| Some((p.round, of(p)?)))
                .collect();
            let own = self.processes.iter();
            own.filter_map(|p| Some((p.round, (of(p)?, *others.get(&p.round)?))))
                .collect::<BTreeMap<_, _>>()
        };
        let undisturbed = both(&|process| figure.of(process));
        if undisturbed.len() >= FEWEST_UNDISTURBED_ROUNDS {
            undisturbed
        } else {
            both(&|process| figure.of_any(process))
        }
    }

    /// The median of each pass over the processes, in ms: of those whose core was not slowed, where there are
    /// any.
    pub fn typical_passes(&self) -> Vec<f64> {
        let typical = (0..self.passes).filter_map(|n| {
            let processes = self.processes.iter();
            let undisturbed = median(processes.clone().filter_map(|p| p.pass(n + 1)));
            undisturbed.or_else(|| median(processes.filter_map(|p| p.times.get(n).copied())))
        });
        typical.collect()
    }

    /// The class in words, with how many processes bear it out.
    pub fn class(&self) -> String {
        match &self.joint {
            Some(joint) => joint.to_string(),
            None if self.has_enough_passes => "–".into(),
            None => format!("too few passes ({} of {LEAST_PASSES})", self.passes),
        }
    }

    /// Whether steady times say something: not where what all processes have in common never becomes steady,
    /// but where only single ones are restless, as on a noisy machine.
    pub fn has_steady_times(&self) -> bool {
        let restless = self.joint.as_ref().is_some_and(|joint| joint.restless > 0);
        self.is_steady() || restless
    }

    /// Whether the processes together reach a steady state.
    pub fn is_steady(&self) -> bool {
        self.joint
            .as_ref()
            .is_some_and(|joint| joint.steady.is_some())
    }
}

/// Summarises the completed latency processes of each cell, in the order of the cells.
pub fn summarise<'a>(observations: impl IntoIterator<Item = &'a Observation>) -> Vec<Latency> {
    let observations: Vec<&Observation> = observations.into_iter().collect();
    let speed = CoreSpeed::of(observations.iter().copied());
    let mut by_cell: BTreeMap<&Cell, Vec<&Observation>> = BTreeMap::new();
    for observation in observations {
        let timed = observation.purpose == Purpose::Latency;
        if timed && observation.process.completed() {
            by_cell
                .entry(&observation.cell)
                .or_default()
                .push(observation);
        }
    }
    let mut latencies: Vec<Latency> = by_cell
        .into_iter()
        .filter_map(|(cell, processes)| summarise_cell(cell, &processes, &speed))
        .collect();
    FirstPass::judge(&mut latencies);
    latencies
}

/// The noise of the steady passes of all cells, but of those on a slowed core: these are known, and the
/// judging takes the slowdown that was measured into account.
pub fn noise<'a>(latencies: impl IntoIterator<Item = &'a Latency>) -> Option<Noise> {
    let processes = latencies.into_iter().flat_map(|l| &l.processes);
    let steady: Vec<Vec<f64>> = processes
        .filter_map(|p| {
            let passes = p.series.steady.clone()?;
            let undisturbed = passes.filter(|at| !p.slowed[*at]);
            Some(undisturbed.map(|at| p.times[at]).collect())
        })
        .collect();
    Noise::of(steady.iter().map(Vec::as_slice))
}

fn summarise_cell(
    cell: &Cell,
    observations: &[&Observation],
    speed: &CoreSpeed,
) -> Option<Latency> {
    let mut in_order: Vec<&Observation> = observations
        .iter()
        .copied()
        .filter(|o| {
            !o.process.passes.is_empty() && o.process.passes.iter().all(|p| p.span.wall_ns > 0)
        })
        .collect();
    in_order.sort_by_key(|o| o.round);
    let times: Vec<Vec<f64>> = in_order
        .iter()
        .map(|o| {
            o.process
                .passes
                .iter()
                .map(|p| ms(p.span.wall_ns))
                .collect()
        })
        .collect();
    let slowdown: Vec<Vec<f64>> = in_order.iter().map(|o| speed.slowdown(o)).collect();
    let passes: Vec<Passes> = times
        .iter()
        .zip(&slowdown)
        .map(|(times, slowdown)| Passes { times, slowdown })
        .collect();
    let joint = Joint::of(&passes)?;
    let most_passes = times.iter().map(Vec::len).max().unwrap_or_default();
    let has_enough_passes = cell.cold_files || most_passes >= LEAST_PASSES;
    let mut observed: Vec<(&Observation, ProcessLatency)> = in_order
        .iter()
        .zip(&passes)
        .zip(&joint.each)
        .map(|((o, passes), own)| (*o, process(o, passes, own, &joint, speed.slowed_start(o))))
        .collect();
    let undisturbed = observed
        .iter()
        .filter(|(_, p)| p.undisturbed_cold_start().is_some())
        .count();
    let too_few_undisturbed = undisturbed < FEWEST_UNDISTURBED.min(observed.len());
    if too_few_undisturbed {
        for (_, process) in &mut observed {
            process.slowed_start = false;
            let first = process.slowed.iter_mut().take(FIRST_PASSES);
            first.for_each(|slowed| *slowed = false);
        }
    }
    if !has_enough_passes {
        for (_, process) in &mut observed {
            process.steady.clear();
            process.steady_mean = None;
        }
    }
    let processes: Vec<ProcessLatency> = observed.iter().map(|(_, p)| p.clone()).collect();
    let passes = processes.iter().map(|p| p.times.len()).min()?;
    let joint = Some(joint).filter(|_| !cell.cold_files && has_enough_passes);
    let warm_up_passes = joint.as_ref().and_then(Joint::warm_up_passes);

    let over_processes = |sample: &dyn for<'p> Fn(&'p ProcessLatency) -> Option<Sample<'p>>| {
        let samples: Vec<Sample> = processes.iter().filter_map(sample).collect();
        estimate(&samples, SEED)
    };
    let value = |figure: &dyn Fn(&ProcessLatency) -> Option<f64>| {
        over_processes(&|p| figure(p).map(Sample::Value))
    };
    let spread = |figure: &dyn Fn(&Observation, &ProcessLatency) -> Option<f64>| {
        Spread::of(observed.iter().filter_map(|(o, p)| figure(o, p)))
    };
    let steady_median = |figure: fn(&Span) -> f64| {
        spread(&move |o, p| {
            let passes = o.process.passes.get(p.steady_range.clone())?;
            median(passes.iter().map(|pass| figure(&pass.span)))
        })
    };
    let phases = Phase::ALL.into_iter().filter_map(|phase| {
        let whole = processes
            .iter()
            .filter(|p| p.undisturbed_cold_start().is_some());
        let times = whole.filter_map(|p| p.phases.get(&phase));
        Some((phase, median(times.copied())?))
    });
    Some(Latency {
        cell: cell.clone(),
        passes,
        pass: SHOWN_PASSES
            .into_iter()
            .filter(|n| *n <= passes)
            .filter_map(|n| Some((n, value(&|p| p.pass(n))?)))
            .collect(),
        steady: over_processes(&|p| Some(Sample::Passes(&p.steady))),
        first_over_steady: None,
        second_over_steady: None,
        warm_up_passes,
        warm_up_cost: value(&|p| {
            let before = p.times.get(..warm_up_passes?)?.iter();
            let steady = p.steady_mean?;
            Some(before.map(|t| t - steady).sum())
        }),
        joint,
        cold_start: value(&ProcessLatency::undisturbed_cold_start),
        phases: phases.collect(),
        steady_cpu_ratio: steady_median(|s| s.cpu_ns as f64 / s.wall_ns.max(1) as f64)
            // A probe that does not count it says 0.
            .filter(|ratio| ratio.median > 0.0),
        first_faults: spread(&|o, _| o.process.passes.first().map(|p| faults(&p.span))),
        steady_faults: steady_median(faults),
        peak_memory_mib: spread(&|o, _| o.process.peak_memory_kib.map(|k| k as f64 / 1024.0)),
        too_few_undisturbed,
        has_enough_passes,
        processes,
    })
}

/// One process with the figures that its cell gives it.
fn process(
    observation: &Observation,
    passes: &Passes,
    own: &Series,
    joint: &Joint,
    slowed_start: bool,
) -> ProcessLatency {
    let process = &observation.process;
    let times = passes.times;
    let slowed: Vec<bool> = (0..times.len())
        .map(|at| passes.slowdown.get(at).is_some_and(|factor| *factor > 1.0))
        .collect();
    let second_half = times.len() / 2..times.len();
    let common = joint
        .steady
        .as_ref()
        .map(|steady| steady.start..times.len());
    // A shorter process than the others may end before the steady state.
    let steady_range = common
        .filter(|range| !range.is_empty())
        .unwrap_or(second_half);
    let is_steady = |at: &usize| own.outliers.binary_search(at).is_err();
    let undisturbed: Vec<usize> = steady_range
        .clone()
        .filter(|at| is_steady(at) && !slowed[*at])
        .collect();
    let kept = if undisturbed.len() < SHORTEST_STEADY {
        // A steady time of a disturbed machine is better than none.
        steady_range.clone().filter(is_steady).collect()
    } else {
        undisturbed
    };
    let mut steady: Vec<f64> = kept.iter().map(|at| times[*at]).collect();
    if observation.cell.cold_files {
        // It is over before it could be steady: it was run for its cold start.
        steady.clear();
    }
    let steady_mean = mean(&steady);
    let span = |span: Option<Span>| span.map(|s| ms(s.wall_ns));
    let rest = || {
        let mean = steady_mean?;
        let beyond = times.get(2..joint.warm_up_passes()?).unwrap_or_default();
        Some(beyond.iter().map(|t| t - mean).sum::<f64>().max(0.0))
    };
    let phases = [
        (Phase::ProcessStart, process.process_start_ns().map(ms)),
        (Phase::EngineStart, span(process.started)),
        (Phase::Load, span(process.loaded)),
        (Phase::Prepare, span(process.prepared)),
        (Phase::WarmUp, span(process.warmed_up)),
        (Phase::Pass1, times.first().copied()),
        (Phase::Pass2, times.get(1).copied()),
        (Phase::RestOfWarmUp, rest()),
    ];
    ProcessLatency {
        round: observation.round,
        slowed,
        slowed_start,
        steady,
        steady_mean,
        steady_range,
        cold_start: process.cold_start_ns().map(ms),
        phases: phases
            .into_iter()
            .filter_map(|(phase, time)| Some((phase, time?)))
            .collect(),
        series: own.clone(),
        times: times.to_vec(),
        wall_ms: observation.system_counters.wall_ms,
    }
}

/// Page faults of a span, of either kind.
pub fn faults(span: &Span) -> f64 {
    (span.minor_faults + span.major_faults) as f64
}

pub(crate) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
pub(crate) mod tests {
    use firstpass_probe::{Format, Knobs, Pass};
    use firstpass_statistics::comparison::Verdict;

    use super::*;
    use crate::studies::first_passes::judge::comparisons::Comparisons;
    use firstpass_trial::{observation::Process, system_counters::SystemCounters};

    /// A completed process whose passes took these times.
    pub(crate) fn observation(round: usize, times_ms: &[f64]) -> Observation {
        let span = |wall_ms: f64| Span {
            wall_ns: (wall_ms * 1e6) as u64,
            cpu_ns: (wall_ms * 2e6) as u64,
            ..Span::default()
        };
        let mut process = Process::new(0);
        process.main_ns = Some(5_000_000);
        process.started = Some(span(10.0));
        process.loaded = Some(span(20.0));
        process.prepared = Some(span(0.0));
        process.peak_memory_kib = Some(2048);
        process.passes = times_ms
            .iter()
            .map(|t| Pass {
                input: 0,
                digest: String::new(),
                memory_kib: None,
                span: span(*t),
            })
            .collect();
        Observation {
            cell: Cell {
                backend: "x".into(),
                model: "m".into(),
                format: Format::ONNX,
                knobs: Knobs::default(),
                cold_files: false,
                entry: 0,
            },
            purpose: Purpose::Latency,
            round,
            images: Vec::new(),
            system_counters: SystemCounters {
                load_average: 0.0,
                wall_ms: 0.0,
                others_cpu_ms: None,
                steal_ms: None,
                iowait_ms: None,
                temperature_c: None,
                frequency_mhz: None,
            },
            eviction: None,
            process,
        }
    }

    /// First passes, then many at one level with a little noise.
    pub(crate) fn times(first: &[f64], level: f64) -> Vec<f64> {
        let steady = (0..30).map(|n| level * [1.0, 1.01, 0.99, 1.005, 0.995][n % 5]);
        first.iter().copied().chain(steady).collect()
    }

    fn one(observations: &[Observation]) -> Latency {
        let mut latencies = summarise(observations);
        assert_eq!(latencies.len(), 1, "one cell gives one summary");
        latencies.remove(0)
    }

    #[test]
    fn first_passes_do_not_enter_the_steady_figure() {
        let latency = one(&[
            observation(0, &times(&[900.0, 100.0], 10.0)),
            observation(1, &times(&[1100.0, 100.0], 10.0)),
        ]);
        let close = |found: Option<Estimate>, expected: f64| {
            let found = found.expect("a figure").median;
            assert!((found / expected - 1.0).abs() < 0.01, "{found}, {expected}");
        };
        close(latency.steady, 10.0);
        close(latency.pass.get(&1).copied(), 1000.0);
        let first = latency.first_over_steady.expect("a first pass");
        assert!((first.ratio() / 100.0 - 1.0).abs() < 0.01);
        assert_eq!(latency.warm_up_passes, Some(2));
        close(latency.warm_up_cost, 1080.0);
        // 5 to main, 10 start, 20 load, then pass 1.
        close(latency.cold_start, 1035.0);
        assert_eq!(latency.class(), "warm-up");
        assert_eq!(latency.steady_cpu_ratio.map(|s| s.median), Some(2.0));
        assert_eq!(latency.phases.last(), Some(&(Phase::RestOfWarmUp, 0.0)));
    }

    /// Processes whose passes take 10 ms after a first one of 50; where one was slowed, it took 1.5
    /// times as long, and so did the reference work before it.
    fn slowed(rounds: &[&[usize]]) -> Vec<Observation> {
        let of_round = |(round, slow): (usize, &&[usize])| {
            let mut observation = observation(round, &times(&[50.0], 10.0));
            let process = &mut observation.process;
            for (at, pass) in process.passes.iter_mut().enumerate() {
                let is_slow = slow.contains(&at);
                pass.span.reference_ns = if is_slow { 15_000 } else { 10_000 };
                if is_slow {
                    pass.span.wall_ns += pass.span.wall_ns / 2;
                }
            }
            process.last_reference_ns = Some(10_000);
            observation
        };
        rounds.iter().enumerate().map(of_round).collect()
    }

    #[test]
    fn passes_on_a_slowed_core_enter_no_figure() {
        let middle: Vec<usize> = (10..20).collect();
        let latency = one(&slowed(&[&[], &[0], &middle, &[]]));
        let median = |estimate: Option<&Estimate>| estimate.expect("a figure").median;
        assert!((median(latency.pass.get(&1)) - 50.0).abs() < 1e-9);
        let first: Vec<f64> = latency.by_round(Figure::FirstPass).into_values().collect();
        assert_eq!(first, [50.0; 3], "that of 75 ms is left out");
        assert!((median(latency.steady.as_ref()) - 10.0).abs() < 0.1);
        assert!(!latency.too_few_undisturbed);
        assert_eq!(latency.processes.len(), 4, "nothing is lost");
    }

    #[test]
    fn without_enough_others_slowed_passes_count() {
        let latency = one(&slowed(&[&[0], &[0]]));
        assert!(latency.too_few_undisturbed);
        assert_eq!(latency.by_round(Figure::FirstPass).len(), 2);

        // Three rounds without a disturbance are too few to compare by, so that all six count.
        let rounds: [&[usize]; 6] = [&[], &[0], &[], &[0], &[], &[0]];
        let (a, mut b) = (slowed(&rounds), slowed(&rounds));
        b.iter_mut().for_each(|o| o.cell.backend = "y".into());
        let both = summarise(a.iter().chain(&b));
        assert_eq!(both[0].by_round(Figure::FirstPass).len(), 3);
        assert_eq!(both[0].rounds_with(&both[1], Figure::FirstPass).len(), 6);
        assert_eq!(both[0].rounds_with(&both[1], Figure::Steady).len(), 6);
    }

    #[test]
    fn failed_processes_are_left_out() {
        let mut failed = observation(1, &[1.0, 1.0]);
        failed.process.outcome = firstpass_trial::observation::Outcome::NotStarted("x".into());
        let latency = one(&[observation(0, &times(&[20.0], 4.0)), failed]);
        assert_eq!(latency.processes.len(), 1);
    }

    #[test]
    fn a_process_with_cold_files_has_no_steady_state() {
        let mut cold = observation(0, &[90.0, 50.0, 10.0]);
        cold.cell.cold_files = true;
        let latency = one(&[cold]);
        assert!(latency.steady.is_none() && latency.first_over_steady.is_none());
        assert!(latency.cold_start.is_some());
    }

    #[test]
    fn processes_that_provably_differ_are_mixed() {
        let latency = one(&[
            observation(0, &times(&[], 10.0)),
            observation(1, &times(&[90.0], 10.0)),
            observation(2, &times(&[], 10.0)),
            observation(3, &times(&[80.0], 10.0)),
        ]);
        assert_eq!(latency.class(), "mixed (2 flat, 2 warm-up)");
    }

    #[test]
    fn cells_are_compared_within_rounds() {
        let rounds = |level: f64| -> Vec<Observation> {
            // Round 2 is disturbed, for all.
            let levels = [1.0, 1.01, 3.0, 0.99, 1.0];
            (0..5)
                .map(|round| observation(round, &times(&[], level * levels[round])))
                .collect()
        };
        let other = |level: f64| {
            let mut rounds = rounds(level);
            rounds
                .iter_mut()
                .for_each(|o| o.cell.backend = format!("y{level}"));
            rounds
        };
        let all: Vec<Observation> = [rounds(10.0), other(13.0), other(10.0)].concat();
        let latencies = summarise(&all);
        let comparisons = Comparisons::of_run(&latencies);
        let [a, alike, slower] = &latencies[..] else {
            panic!("three cells")
        };
        let verdict = |a: &Latency, b: &Latency, figure| {
            comparisons.get(&a.cell, &b.cell, figure).map(|c| c.verdict)
        };
        assert_eq!(verdict(a, slower, Figure::Steady), Some(Verdict::Faster));
        assert_eq!(verdict(slower, a, Figure::Steady), Some(Verdict::Slower));
        assert_eq!(
            verdict(a, alike, Figure::ColdStart),
            Some(Verdict::NoDifference)
        );
    }
}
