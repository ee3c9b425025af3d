//! Cells whose truth is known, with the noise of series that were measured: what the judging of
//! [`crate::joint`] makes of them shows how far it can be trusted.

use std::{fmt, panic::resume_unwind, thread};

use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    joint::{CellClass, Joint, Passes},
    median,
    outliers::sliding_median,
    steady::Class,
    summary::noise,
};

/// The level around a pass is the median so many passes to either side.
const REACH: usize = 5;

/// Series with fewer passes tell nothing of their noise.
const FEWEST_PASSES: usize = 8;

/// The noise of measured series: its size and the shape of its tails.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// The standard deviation of the noise of the median series, as a share of its level.
    pub level: f64,
    /// How far each pass was from the level around it, in standard deviations of its series.
    residuals: Vec<f64>,
}

impl Noise {
    /// The noise of the steady passes of processes, in any unit; slow changes of the level are taken
    /// out. `None` where there is not enough of it.
    pub fn of<'a>(steady: impl IntoIterator<Item = &'a [f64]>) -> Option<Self> {
        let mut levels = Vec::new();
        let mut residuals = Vec::new();
        for times in steady {
            let usable = times.len() >= FEWEST_PASSES && times.iter().all(|t| *t > 0.0);
            let logs: Vec<f64> = times.iter().map(|t| t.ln()).collect();
            let level = noise(&logs);
            if usable && level > 0.0 {
                levels.push(level);
                let around = sliding_median(&logs, REACH);
                residuals.extend(logs.iter().zip(around).map(|(x, m)| (x - m) / level));
            }
        }
        Some(Self {
            level: median(levels)?,
            residuals,
        })
    }

    /// The same tails at another size.
    #[must_use]
    pub fn times(&self, factor: f64) -> Self {
        Self {
            level: self.level * factor,
            residuals: self.residuals.clone(),
        }
    }

    /// The factor by which noise changes one pass.
    fn draw(&self, random: &mut impl Rng) -> f64 {
        let residual = self.residuals[random.random_range(0..self.residuals.len())];
        (residual * self.level).exp()
    }
}

/// What is planted in the processes of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// Nothing but noise.
    Flat,
    /// One pass in the middle of each process takes three times as long.
    Spike,
    /// 10 % faster or slower from a pass in the middle on.
    Step,
    /// The first pass takes 1.3 times as long.
    SlowFirst,
    /// The first pass takes 1.1 times as long.
    SlightlySlowFirst,
    /// The first passes take 300 and 500 times as long.
    SlowFirstTwo,
    /// From twice the level down to it within about ten passes.
    Ramp,
    /// 20 % up and down again every 5 to 15 passes, other passes in each process.
    Flipping,
    /// 20 % slower from the first to the last pass, evenly.
    Drift,
    /// The first pass of two of five processes takes 1.5 times as long.
    TwoKinds,
}

impl Truth {
    /// What counts as right.
    pub fn expectation(self) -> &'static str {
        match self {
            Self::Flat | Self::Spike => "flat, no change",
            Self::Step => "a change within 3 passes of the step",
            Self::SlowFirst | Self::SlightlySlowFirst => "a warm-up of 1 pass",
            Self::SlowFirstTwo => "a warm-up of 2 passes",
            Self::Ramp => "a warm-up of 3 to 14 passes",
            Self::Flipping | Self::Drift => "not flat",
            Self::TwoKinds => "mixed",
        }
    }

    /// The passes of each of some processes, and the place of the step. Processes have levels of their
    /// own, which differ by some per cent.
    pub fn plant(
        self,
        processes: usize,
        passes: usize,
        noise: &Noise,
        random: &mut impl Rng,
    ) -> (Vec<Vec<f64>>, usize) {
        let middle = random.random_range(passes / 5..=passes * 4 / 5);
        let step = if random.random() { 1.1 } else { 1.0 / 1.1 };
        let cell = (0..processes).map(|process| {
            let level = (LEVELS * normal(random)).exp();
            let slow = match self {
                Self::TwoKinds => process * 5 < processes * 2,
                _ => true,
            };
            let mut up: bool = random.random();
            let mut dwell = 0;
            let times = (0..passes).map(|at| {
                if dwell == 0 {
                    up = !up;
                    dwell = random.random_range(5..=15);
                }
                dwell -= 1;
                let factor = match (self, at) {
                    (Self::Spike, at) if at == middle => 3.0,
                    (Self::Step, at) if at >= middle => step,
                    (Self::SlowFirst, 0) => 1.3,
                    (Self::SlightlySlowFirst, 0) => 1.1,
                    (Self::TwoKinds, 0) if slow => 1.5,
                    (Self::SlowFirstTwo, 0) => 300.0,
                    (Self::SlowFirstTwo, 1) => 500.0,
                    (Self::Ramp, at) => 1.0 + (-(at as f64) / 3.0).exp(),
                    (Self::Flipping, _) if up => 1.2,
                    (Self::Drift, at) => 1.0 + 0.2 * at as f64 / passes as f64,
                    _ => 1.0,
                };
                level * factor * noise.draw(random)
            });
            times.collect()
        });
        (cell.collect(), middle)
    }

    /// Whether the judging says of a planted cell what is true of it.
    pub fn is_seen_in(self, joint: &Joint, step: usize) -> bool {
        let warm_up = |passes: std::ops::RangeInclusive<usize>| {
            joint.class.is(Class::WarmUp)
                && joint.warm_up_passes().is_some_and(|n| passes.contains(&n))
        };
        match self {
            Self::Flat | Self::Spike => joint.class.is(Class::Flat),
            Self::Step => joint.change_points().any(|at| at.abs_diff(step) <= 3),
            Self::SlowFirst | Self::SlightlySlowFirst => warm_up(1..=1),
            Self::SlowFirstTwo => warm_up(2..=2),
            Self::Ramp => warm_up(3..=14),
            Self::Flipping | Self::Drift => !joint.class.is(Class::Flat),
            Self::TwoKinds => matches!(joint.class, CellClass::Mixed(_)),
        }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "noise alone",
            Self::Spike => "a single pass of 3×",
            Self::Step => "a step of 10 %",
            Self::SlowFirst => "first pass 1.3×",
            Self::SlightlySlowFirst => "first pass 1.1×",
            Self::SlowFirstTwo => "first passes 300× and 500×",
            Self::Ramp => "a ramp from 2× over ten passes",
            Self::Flipping => "flipping between two levels 20 % apart",
            Self::Drift => "a drift of 20 %",
            Self::TwoKinds => "two of five processes start 1.5× slower",
        })
    }
}

/// How much the levels of processes differ, as a standard deviation of logarithms.
const LEVELS: f64 = 0.03;

/// How many of `cells` planted cells the judging saw rightly. They are drawn one after the other, so that
/// a seed says which, and judged on all cores.
pub fn seen(
    truth: Truth,
    processes: usize,
    passes: usize,
    noise: &Noise,
    cells: usize,
    seed: u64,
) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let planted: Vec<_> = (0..cells)
        .map(|_| truth.plant(processes, passes, noise, &mut random))
        .collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = cells.div_ceil(cores).max(1);
    thread::scope(|scope| {
        let judges: Vec<_> = planted
            .chunks(share)
            .map(|share| {
                scope.spawn(move || share.iter().filter(|one| is_seen(truth, one)).count())
            })
            .collect();
        judges
            .into_iter()
            .map(|judge| judge.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .sum()
    })
}

fn is_seen(truth: Truth, (cell, step): &(Vec<Vec<f64>>, usize)) -> bool {
    let passes: Vec<Passes> = cell.iter().map(|times| Passes::of(times)).collect();
    Joint::of(&passes).is_some_and(|joint| truth.is_seen_in(&joint, *step))
}

/// A draw from the standard normal distribution, by Box and Muller.
pub fn normal(random: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
