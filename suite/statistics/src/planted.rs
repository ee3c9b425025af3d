//! Series whose truth is known, with the noise of series that were measured: what the detector of
//! [`crate::steady`] makes of them shows how far it can be trusted.

use std::{fmt, panic::resume_unwind, thread};

use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    median,
    outliers::sliding_median,
    steady::{Class, Series},
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

/// What is planted in a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// Nothing but noise.
    Flat,
    /// One pass in the middle takes three times as long.
    Spike,
    /// 10 % faster or slower from a pass in the middle on.
    Step,
    /// The first pass takes 1.3 times as long.
    SlowFirst,
    /// The first passes take 8 and 5 times as long.
    SlowFirstTwo,
    /// From twice the level down to it within about ten passes.
    Ramp,
    /// 20 % up and down again, every 5 to 15 passes.
    Flipping,
    /// 20 % slower from the first to the last pass, evenly.
    Drift,
}

impl Truth {
    pub const ALL: [Self; 8] = [
        Self::Flat,
        Self::Spike,
        Self::Step,
        Self::SlowFirst,
        Self::SlowFirstTwo,
        Self::Ramp,
        Self::Flipping,
        Self::Drift,
    ];

    /// What counts as right.
    pub fn expectation(self) -> &'static str {
        match self {
            Self::Flat | Self::Spike => "flat, no change",
            Self::Step => "a change within 3 passes of the step",
            Self::SlowFirst => "a warm-up of 1 pass",
            Self::SlowFirstTwo => "a warm-up of 2 passes",
            Self::Ramp => "a warm-up of 3 to 14 passes",
            Self::Flipping | Self::Drift => "not flat",
        }
    }

    /// A series of passes around 1, and the place of its step.
    pub fn plant(self, passes: usize, noise: &Noise, random: &mut impl Rng) -> (Vec<f64>, usize) {
        let middle = random.random_range(passes / 5..=passes * 4 / 5);
        let step = if random.random() { 1.1 } else { 1.0 / 1.1 };
        let mut up = false;
        let mut dwell = 0;
        let times = (0..passes).map(|at| {
            if dwell == 0 {
                up = !up;
                dwell = random.random_range(5..=15);
            }
            dwell -= 1;
            let level = match (self, at) {
                (Self::Spike, at) if at == middle => 3.0,
                (Self::Step, at) if at >= middle => step,
                (Self::SlowFirst, 0) => 1.3,
                (Self::SlowFirstTwo, 0) => 8.0,
                (Self::SlowFirstTwo, 1) => 5.0,
                (Self::Ramp, at) => 1.0 + (-(at as f64) / 3.0).exp(),
                (Self::Flipping, _) if up => 1.2,
                (Self::Drift, at) => 1.0 + 0.2 * at as f64 / passes as f64,
                _ => 1.0,
            };
            level * noise.draw(random)
        });
        (times.collect(), middle)
    }

    /// Whether the detector says of a planted series what is true of it.
    pub fn is_seen_in(self, series: &Series, step: usize) -> bool {
        let warm_up = |passes: std::ops::RangeInclusive<usize>| {
            series.class == Class::WarmUp
                && series.warm_up_passes().is_some_and(|n| passes.contains(&n))
        };
        match self {
            Self::Flat | Self::Spike => series.segments.len() == 1,
            Self::Step => series.change_points().any(|at| at.abs_diff(step) <= 3),
            Self::SlowFirst => warm_up(1..=1),
            Self::SlowFirstTwo => warm_up(2..=2),
            Self::Ramp => warm_up(3..=14),
            Self::Flipping | Self::Drift => series.class != Class::Flat,
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
            Self::SlowFirstTwo => "first passes 8× and 5×",
            Self::Ramp => "a ramp from 2× over ten passes",
            Self::Flipping => "flipping between two levels 20 % apart",
            Self::Drift => "a drift of 20 %",
        })
    }
}

/// How many of `series` planted series the detector saw rightly. They are drawn one after the other,
/// so that a seed says which, and judged on all cores.
pub fn seen(truth: Truth, passes: usize, noise: &Noise, series: usize, seed: u64) -> usize {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let planted: Vec<_> = (0..series)
        .map(|_| truth.plant(passes, noise, &mut random))
        .collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = series.div_ceil(cores).max(1);
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

fn is_seen(truth: Truth, (times, step): &(Vec<f64>, usize)) -> bool {
    Series::of(times).is_some_and(|series| truth.is_seen_in(&series, *step))
}

/// A draw from the standard normal distribution, by Box and Muller.
pub fn normal(random: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (random.random(), random.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}
