//! Races of planted settings whose truth is known: how often is a recommendation wrong, and do two runs
//! contradict each other?

use std::{collections::BTreeMap, sync::LazyLock};

use firstpass_probe::{Knobs, Need, THREADS};
use firstpass_statistics::{comparison::Verdict, planted::normal};
use firstpass_trial::observation::Cell;
use rand::{SeedableRng, rngs::ChaCha8Rng};

use super::{
    Ablation, Measured, OutputChange, STEADY_ALLOWANCE,
    race::{LOOKS, still_in_the_race},
    recommend::{figures, recommended},
};
use crate::studies::first_passes::judge::latency::{
    Figure, Latency, ProcessLatency, summarise,
    tests::{observation, times},
};

/// Of each time of each process, so that a ratio varies by 10 % in a round.
const NOISE: f64 = 0.07;

const SEEDS: u64 = 200;

/// What a setting really takes, in ms.
#[derive(Clone, Copy)]
struct Truth {
    ready: f64,
    first: f64,
    second: f64,
    steady: f64,
}

const DEFAULT: Truth = Truth {
    ready: 100.0,
    first: 60.0,
    second: 20.0,
    steady: 10.0,
};

/// Good ones, useless ones, harmful ones, and trades of one figure for another.
fn planted() -> Vec<(&'static str, Truth)> {
    let slower = |share: f64| Truth {
        ready: DEFAULT.ready * share,
        first: DEFAULT.first * share,
        second: DEFAULT.second * share,
        steady: DEFAULT.steady,
    };
    vec![
        ("nothing=on", DEFAULT),
        ("slightly-worse=on", slower(1.03)),
        ("worse=on", slower(1.15)),
        ("hopeless=on", slower(4.0)),
        ("cold=on", slower(0.6)),
        ("slightly-cold=on", slower(0.93)),
        (
            "trade=on",
            Truth {
                steady: 11.0,
                ..slower(0.5)
            },
        ),
        (
            "warm-up=full",
            Truth {
                ready: 160.0,
                first: 12.0,
                second: 10.0,
                steady: 10.0,
            },
        ),
        (
            "warm-up=full-2",
            Truth {
                ready: 180.0,
                first: 10.0,
                second: 10.0,
                steady: 10.0,
            },
        ),
    ]
}

impl Truth {
    fn figure(&self, figure: Figure) -> f64 {
        match figure {
            Figure::ColdStart => self.ready + self.first,
            Figure::ThreeAnswers => self.ready + self.first + self.second + self.steady,
            Figure::FirstPass => self.first,
            Figure::SecondPass => self.second,
            Figure::FirstTwo => self.first + self.second,
            Figure::FirstOverSteady => self.first / self.steady,
            Figure::SecondOverSteady => self.second / self.steady,
            Figure::Steady => self.steady,
            Figure::Ready => self.ready,
        }
    }

    /// No figure of the need is worse than that of the default, and the steady time is within twice what
    /// is allowed: nearer to the border no number of rounds tells.
    fn is_no_worse(&self, need: Need) -> bool {
        let kept = 1.0 + 2.0 * (STEADY_ALLOWANCE - 1.0);
        let mut figures = figures(need).into_iter();
        self.steady <= DEFAULT.steady * kept
            && figures.all(|figure| self.figure(figure) <= DEFAULT.figure(figure))
    }

    fn observe(
        &self,
        round: usize,
        like: &ProcessLatency,
        random: &mut ChaCha8Rng,
    ) -> ProcessLatency {
        let mut noisy = |ms: f64| ms * (NOISE * normal(random)).exp();
        let times = vec![noisy(self.first), noisy(self.second), noisy(self.steady)];
        ProcessLatency {
            round,
            slowed: vec![false; times.len()],
            cold_start: Some(noisy(self.ready) + times[0]),
            steady_mean: Some(noisy(self.steady)),
            times,
            ..like.clone()
        }
    }
}

/// A run: heats of the planted settings, each of those that the last look left in the race.
pub(super) fn race(seed: u64) -> Ablation {
    // What is planted are the figures of processes; all else of a cell is that of some cell.
    static LIKE: LazyLock<Latency> =
        LazyLock::new(|| summarise(&[observation(0, &times(&[20.0], 10.0))]).remove(0));
    let like = &LIKE.processes[0];
    let cell = |knobs: &Knobs| Latency {
        cell: Cell {
            knobs: knobs.clone().with(THREADS, 1),
            ..LIKE.cell.clone()
        },
        processes: Vec::new(),
        ..LIKE.clone()
    };
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut default = cell(&Knobs::default());
    let mut settings: BTreeMap<Knobs, (Truth, Latency)> = planted()
        .into_iter()
        .map(|(pair, truth)| {
            let (name, value) = pair.split_once('=').expect("a knob and a value");
            let knobs = Knobs::default().with(name, value);
            let latency = cell(&knobs);
            (knobs, (truth, latency))
        })
        .collect();
    let mut racing: Vec<Knobs> = settings.keys().cloned().collect();
    let mut done = 0;
    loop {
        let look = LOOKS.into_iter().find(|look| *look > done);
        for round in done..look.unwrap_or(done) {
            let process = DEFAULT.observe(round, like, &mut random);
            default.processes.push(process);
            for knobs in &racing {
                if let Some((truth, latency)) = settings.get_mut(knobs) {
                    let process = truth.observe(round, like, &mut random);
                    latency.processes.push(process);
                }
            }
        }
        let measured = settings.iter().map(|(knobs, (_, latency))| Measured {
            knobs: knobs.clone(),
            latency: Some(latency.clone()),
            outputs: OutputChange::Same,
            failure: None,
        });
        let judged = Ablation::of(default.clone(), measured.collect());
        racing = still_in_the_race(&judged)
            .into_iter()
            .map(|s| s.knobs.clone())
            .collect();
        match look {
            Some(look) if !racing.is_empty() => done = look,
            _ => return judged,
        }
    }
}

/// Two runs of the same settings, many times.
#[test]
fn recommendations_are_true_and_two_runs_do_not_contradict_each_other() {
    let truths: BTreeMap<String, Truth> = planted()
        .into_iter()
        .map(|(name, truth)| (name.to_owned(), truth))
        .collect();
    let (mut made, mut wrong, mut contradicted) = (0, 0, 0);
    let mut good = BTreeMap::from([(Need::Cold, 0), (Need::Serve, 0)]);
    for seed in 0..SEEDS {
        let runs = [race(2 * seed), race(2 * seed + 1)];
        for (run, other) in [(&runs[0], &runs[1]), (&runs[1], &runs[0])] {
            for need in Need::ALL {
                let Some(setting) = recommended(run, need) else {
                    continue;
                };
                made += 1;
                wrong += usize::from(!truths[&setting.name()].is_no_worse(need));
                let mut same = other.settings.iter().filter(|s| s.knobs == setting.knobs);
                let is_slower = |figure| {
                    let judged = same.clone().next();
                    judged.and_then(|s| s.verdict(figure)) == Some(Verdict::Slower)
                };
                contradicted += usize::from(figures(need).into_iter().any(is_slower));
                let is_known = same.next().is_some();
                assert!(is_known, "both runs try all");
                let found = ["cold=on", "warm-up=full", "warm-up=full-2"];
                if found.contains(&&*setting.name()) {
                    *good.entry(need).or_default() += 1;
                }
            }
        }
    }
    let all = 2 * SEEDS as usize;
    assert!(
        wrong * 100 <= made,
        "{wrong} of {made} are worse than the default"
    );
    assert!(contradicted * 100 <= made, "{contradicted} of {made}");
    // Recommending nothing would be true as well.
    for (need, found) in good {
        assert!(found * 100 >= 95 * all, "{need}: {found} of {all}");
    }
}
