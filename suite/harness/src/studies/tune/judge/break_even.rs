//! After how many passes a setting pays.

use std::collections::BTreeMap;

use firstpass_statistics::{
    comparison::{Comparison, Verdict},
    median, quantile,
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::studies::first_passes::judge::latency::{Figure, Latency};

/// Passes after which no break-even is of interest.
const FARTHEST_BREAK_EVEN: f64 = 1e6;

/// Of the bootstrap of break-even points.
const DRAWS: usize = 1000;

/// After how many passes a setting has taken as much time as the default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BreakEven {
    /// It is ahead from the first answer on and stays so.
    AlwaysAhead,
    NeverAhead,
    /// Ahead until this many passes, with a 95 % interval.
    AheadUntil(f64, (f64, f64)),
    /// Ahead from this many passes on, with a 95 % interval.
    AheadFrom(f64, (f64, f64)),
    /// No difference that could be told.
    Untold,
}

/// From the medians over rounds, with an interval by bootstrap over the rounds that both have.
pub(super) fn of(
    setting: &Latency,
    default: &Latency,
    against: &BTreeMap<Figure, Comparison>,
) -> Option<BreakEven> {
    let steady = against.get(&Figure::Steady)?;
    let answers = against.get(&Figure::ThreeAnswers)?;
    let ahead = |verdict| match verdict {
        Verdict::Faster => Some(true),
        Verdict::Slower => Some(false),
        Verdict::NoDifference | Verdict::Open => None,
    };
    let (early, late) = (ahead(answers.verdict), ahead(steady.verdict));
    match (early, late) {
        (None, None) => return Some(BreakEven::Untold),
        (Some(true), Some(true) | None) | (None, Some(true)) => {
            return Some(BreakEven::AlwaysAhead);
        }
        (Some(false), Some(false) | None) | (None, Some(false)) => {
            return Some(BreakEven::NeverAhead);
        }
        (Some(true), Some(false)) | (Some(false), Some(true)) => {}
    }
    let rounds = rounds_of_both(setting, default);
    let crossing = |rounds: &[[f64; 4]]| {
        let of = |at: usize| median(rounds.iter().map(|r| r[at]));
        let (own, own_steady, other, other_steady) = (of(0)?, of(1)?, of(2)?, of(3)?);
        let passes = 3.0 + (other - own) / (own_steady - other_steady);
        (passes.is_finite() && passes > 0.0).then(|| passes.min(FARTHEST_BREAK_EVEN))
    };
    let passes = crossing(&rounds)?;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let draws: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            let drawn: Vec<[f64; 4]> = (0..rounds.len())
                .map(|_| rounds[random.random_range(0..rounds.len())])
                .collect();
            crossing(&drawn)
        })
        .collect();
    let interval = (
        quantile(draws.iter().copied(), 0.025)?,
        quantile(draws.iter().copied(), 0.975)?,
    );
    Some(if early == Some(true) {
        BreakEven::AheadUntil(passes, interval)
    } else {
        BreakEven::AheadFrom(passes, interval)
    })
}

/// Time to three answers and steady time, of the setting and then of the default, by round.
fn rounds_of_both(setting: &Latency, default: &Latency) -> Vec<[f64; 4]> {
    let answers = setting.rounds_with(default, Figure::ThreeAnswers);
    let steady = setting.rounds_with(default, Figure::Steady);
    let both = answers.iter().filter_map(|(round, (own, other))| {
        let (own_steady, other_steady) = steady.get(round)?;
        Some([*own, *own_steady, *other, *other_steady])
    });
    both.collect()
}
