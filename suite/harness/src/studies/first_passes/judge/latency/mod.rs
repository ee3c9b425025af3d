//! First passes against the steady state.

mod figure;
mod phase;
mod summary;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, ops::Range};

use firstpass_statistics::{Spread, bootstrap::Estimate, joint::Joint, median, steady::Series};
use firstpass_trial::observation::Cell;

use crate::studies::first_passes::judge::{core_speed::CoreCourse, first_pass::FirstPass};

pub use figure::Figure;
pub use phase::Phase;
pub(crate) use summary::ms;
pub use summary::{faults, noise, summarise};

/// The passes whose times a table shows, counted from 1.
pub const SHOWN_PASSES: [usize; 5] = [1, 2, 3, 5, 10];

/// With fewer rounds in which both were undisturbed, the others are compared as well.
const FEWEST_UNDISTURBED_ROUNDS: usize = 5;

/// With fewer passes no class and no steady time is told: those of a warm-up may look like anything.
pub const LEAST_PASSES: usize = 10;

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
    /// How slow the core was; `None` where it was not measured.
    pub core: Option<CoreCourse>,
    /// By figure, the factor that brings it to the fastest core that the cell had; empty where nothing is known.
    pub core_correction: BTreeMap<Figure, f64>,
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

impl Latency {
    /// A figure of each process that has it, by round.
    pub fn by_round(&self, figure: Figure) -> BTreeMap<usize, f64> {
        self.processes
            .iter()
            .filter_map(|p| Some((p.round, figure.of(p)?)))
            .collect()
    }

    /// A figure of this cell and of another of the same run, on the fastest core that each had, by the rounds that both have
    /// and in which neither core was slowed; with too few of these by all rounds, whose ratios are wider
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
        let undisturbed = both(&|process| figure.corrected(process));
        if undisturbed.len() >= FEWEST_UNDISTURBED_ROUNDS {
            undisturbed
        } else {
            both(&|process| figure.any_corrected(process))
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
