//! How often the judging errs, measured on cells and comparisons whose truth is known.

use std::{fmt, panic::resume_unwind, thread};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};

use crate::{
    comparison::{Comparison, LogSample, Rule, STEADY_RESOLUTION, Verdict, control, is_look},
    family,
    moderation::Prior,
    planted::{Noise, Truth, normal, seen},
};

/// One line of the table: what was put, how often the answer was right, and how often it has to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    pub planted: String,
    pub right_is: String,
    pub right: usize,
    pub of: usize,
    /// The least share that must be right.
    pub needed: f64,
}

impl Rate {
    pub fn share(&self) -> f64 {
        self.right as f64 / self.of.max(1) as f64
    }

    pub fn is_kept(&self) -> bool {
        self.share() >= self.needed
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} in {:.1} % ({:.1} % needed)",
            self.planted,
            self.right_is,
            100.0 * self.share(),
            100.0 * self.needed
        )
    }
}

/// So many processes has a planted cell.
const PROCESSES: usize = 5;

/// What is planted, in how many processes and passes, and how often it must be seen.
const CELLS: [(Truth, usize, usize, f64); 21] = [
    (Truth::SlowFirstTwo, PROCESSES, 5, 1.0),
    (Truth::SlowFirstTwo, PROCESSES, 10, 1.0),
    (Truth::SlowFirstTwo, PROCESSES, 50, 1.0),
    (Truth::SlowFirstTwo, 1, 5, 1.0),
    (Truth::SlowFirstTwo, 1, 10, 1.0),
    (Truth::SlowFirstTwo, 1, 50, 1.0),
    (Truth::SlowFirst, PROCESSES, 10, 0.95),
    (Truth::SlowFirst, PROCESSES, 50, 0.95),
    (Truth::SlightlySlowFirst, PROCESSES, 50, 0.9),
    (Truth::Step, PROCESSES, 50, 0.95),
    (Truth::Ramp, PROCESSES, 50, 0.95),
    (Truth::Flipping, PROCESSES, 50, 0.95),
    (Truth::Drift, PROCESSES, 50, 0.95),
    (Truth::TwoKinds, PROCESSES, 50, 0.9),
    (Truth::Flat, PROCESSES, 5, 0.98),
    (Truth::Flat, PROCESSES, 10, 0.98),
    (Truth::Flat, PROCESSES, 50, 0.98),
    (Truth::Flat, PROCESSES, 200, 0.98),
    (Truth::Flat, 1, 10, 0.95),
    (Truth::Flat, 1, 50, 0.95),
    (Truth::Spike, PROCESSES, 50, 0.98),
];

/// Cells of each kind, with the noise of measured series.
pub fn of_cells(noise: &Noise, cells: usize, seed: u64) -> Vec<Rate> {
    let rate = |(truth, processes, passes, needed): (Truth, usize, usize, f64)| Rate {
        planted: format!(
            "{truth}, {processes} process{}, {passes} passes",
            if processes == 1 { "" } else { "es" }
        ),
        right_is: truth.expectation().into(),
        right: seen(truth, processes, passes, noise, cells, seed),
        of: cells,
        needed,
    };
    CELLS.into_iter().map(rate).collect()
}

/// What the noise of a pair of processes in a round is like, as a standard deviation of logarithms.
const PAIR_NOISE: f64 = 0.07;

/// What happens to single processes beside the noise.
#[derive(Clone, Copy)]
enum Machine {
    /// One round in twenty has one of the two disturbed, by up to a half.
    Quiet,
    /// Another tenant slows every tenth process, by 40 % in the mean and without a bound.
    Shared,
}

/// No comparison goes on for more rounds.
const LONGEST: usize = 64;

/// A run that measures and looks until everything is told or its rounds are used up.
struct Run {
    /// The logarithms of the true ratios.
    truths: Vec<f64>,
    noise: f64,
    machine: Machine,
    rounds: usize,
}

impl Run {
    /// What it says at its end. Each comparison has rounds of its own until it is told.
    fn verdicts(&self, random: &mut ChaCha8Rng) -> Vec<Verdict> {
        let rule = Rule::interleaved(STEADY_RESOLUTION);
        // Some pairs are noisier than others.
        let noises: Vec<f64> = self
            .truths
            .iter()
            .map(|_| self.noise * (0.3 * normal(random)).exp())
            .collect();
        let mut logs: Vec<Vec<f64>> = vec![Vec::new(); self.truths.len()];
        let mut verdicts = vec![Verdict::Open; self.truths.len()];
        for round in 1..=self.rounds {
            for (at, logs) in logs.iter_mut().enumerate() {
                if verdicts[at] == Verdict::Open {
                    logs.push(
                        self.truths[at]
                            + noises[at] * normal(random)
                            + self.machine.disturbance(random),
                    );
                }
            }
            if is_look(round) || round == self.rounds {
                let samples: Vec<LogSample> =
                    family::samples(&logs).into_iter().flatten().collect();
                let prior = Prior::fit(samples.iter().map(|s| (s.variance, s.freedom)));
                let mut compared: Vec<Comparison> = samples
                    .iter()
                    .map(|sample| Comparison::paired(sample, &prior, rule))
                    .collect();
                control(&mut compared);
                verdicts = compared.iter().map(|c| c.verdict).collect();
            }
        }
        verdicts
    }
}

impl Machine {
    /// The logarithm of the factor by which it changes a ratio.
    fn disturbance(self, random: &mut ChaCha8Rng) -> f64 {
        match self {
            Self::Quiet => {
                let (hit, size, sign): (f64, f64, bool) =
                    (random.random(), random.random(), random.random());
                if hit > 0.05 {
                    return 0.0;
                }
                let size = (1.0 + size / 2.0).ln();
                if sign { size } else { -size }
            }
            Self::Shared => {
                let mut slowed = || -> f64 {
                    let (hit, size): (f64, f64) = (random.random(), random.random());
                    if hit > 0.1 {
                        0.0
                    } else {
                        -0.4 * (1.0 - size).ln()
                    }
                };
                slowed() - slowed()
            }
        }
    }
}

/// Comparisons under the very rule that decides when to stop, alone and many at once.
pub fn of_comparisons(runs: usize, seed: u64) -> Vec<Rate> {
    use Machine::{Quiet, Shared};
    let in_families = |of: usize| runs.div_ceil(of).max(20);
    let false_claims = [(Quiet, 1usize), (Quiet, 20), (Quiet, 200), (Shared, 20)];
    let false_claims = false_claims.map(|(machine, family)| {
        let runs = in_families(family);
        let run = Run {
            truths: vec![0.0; family],
            noise: PAIR_NOISE,
            machine,
            rounds: LONGEST,
        };
        let right = count(&run, runs, seed, |verdict| !verdict.is_claim());
        Rate {
            planted: format!(
                "two alike{machine}, looked at for up to {LONGEST} rounds, {family} at once"
            ),
            right_is: "neither faster nor slower".into(),
            right,
            of: runs * family,
            needed: 0.99,
        }
    });
    let told = [
        ("2×", 2f64.ln(), PAIR_NOISE, Quiet, 2, 0.95),
        ("10×", 10f64.ln(), PAIR_NOISE, Quiet, 1, 0.95),
        ("10 %", 1.1f64.ln(), 0.05, Quiet, 10, 0.8),
        ("1.3×", 1.3f64.ln(), PAIR_NOISE, Shared, 8, 0.8),
    ]
    .into_iter()
    .flat_map(|(what, truth, noise, machine, rounds, needed)| {
        [1usize, 20].map(|family| {
            let runs = in_families(family);
            let run = Run {
                truths: vec![truth; family],
                noise,
                machine,
                rounds,
            };
            Rate {
                planted: format!(
                    "a true {what}{machine}, {rounds} round{}, {family} at once",
                    if rounds == 1 { "" } else { "s" }
                ),
                right_is: "slower".into(),
                right: count(&run, runs, seed, |verdict| verdict == Verdict::Slower),
                of: runs * family,
                needed,
            }
        })
    });
    false_claims.into_iter().chain(told).collect()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quiet => "",
            Self::Shared => " on a busy machine",
        })
    }
}

/// How many verdicts of so many runs are right; the runs share all cores.
fn count(run: &Run, runs: usize, seed: u64, right: fn(Verdict) -> bool) -> usize {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let numbers: Vec<u64> = (0..runs as u64).collect();
    thread::scope(|scope| {
        let workers: Vec<_> = numbers
            .chunks(runs.div_ceil(cores).max(1))
            .map(|numbers| {
                scope.spawn(move || {
                    let rightly = |number: &u64| {
                        let mut random = ChaCha8Rng::seed_from_u64(seed ^ (number << 20));
                        let verdicts = run.verdicts(&mut random).into_iter();
                        verdicts.filter(|verdict| right(*verdict)).count()
                    };
                    numbers.iter().map(rightly).sum::<usize>()
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .sum()
    })
}
