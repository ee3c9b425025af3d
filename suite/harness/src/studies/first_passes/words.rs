//! What is said of an early pass, in a table and in a sentence.

pub(crate) use crate::page::numbers::{brief, list};

use firstpass_statistics::{
    comparison::Comparison,
    joint::{CellClass, Joint},
    steady::Class,
};
use serde::Serialize;

use crate::{
    page::numbers::times_with_interval,
    studies::first_passes::judge::{first_pass::FirstPass, latency::Latency},
};

/// `1.39× (1.33–1.45×)`
pub(crate) fn ratio(pass: &FirstPass) -> String {
    times_with_interval(pass.ratio(), pass.interval())
}

/// `1.39× (1.33–1.45×), slow`
pub(crate) fn with_verdict(pass: &FirstPass) -> String {
    format!("{}, {}", ratio(pass), pass.verdict())
}

/// How many more processes it would take to tell what is open; `None` where a thousand would hardly tell.
pub(crate) fn missing<'a>(open: impl IntoIterator<Item = &'a Comparison>) -> Option<usize> {
    let more = open.into_iter().map(|comparison| {
        let needed = comparison.rounds_needed()?;
        Some(needed.saturating_sub(comparison.samples).max(1))
    });
    let most = more.collect::<Option<Vec<usize>>>();
    most.and_then(|more| more.into_iter().max())
}

/// An early pass in units of the steady time, as templates say it: `templates/said/words.md.j2`.
#[derive(Debug, Serialize)]
pub(crate) struct EarlyPass {
    /// `slow`, `not slow` or `open`.
    pub(crate) verdict: String,
    ratio: f64,
    low: f64,
    high: f64,
    /// How many processes more would tell what is open.
    more: Option<usize>,
    /// How often it was measured.
    samples: usize,
}

impl From<&FirstPass> for EarlyPass {
    fn from(pass: &FirstPass) -> Self {
        let (low, high) = pass.interval();
        Self {
            verdict: pass.verdict().to_string(),
            ratio: pass.ratio(),
            low,
            high,
            more: missing([&pass.0]),
            samples: pass.0.samples,
        }
    }
}

/// Whether something else on the machine may have made a class of what is flat by itself.
pub(crate) fn is_in_doubt(joint: &Joint) -> bool {
    let class = &joint.class;
    let is_unsteady = matches!(class, CellClass::Mixed(_)) || class.is(Class::NoSteadyState);
    is_unsteady && joint.restless > 0
}

/// `mixed (5 flat, 2 no steady state)?`: with a question mark where the machine may be the cause
pub(crate) fn class(latency: &Latency) -> String {
    let in_doubt = latency.joint.as_ref().is_some_and(is_in_doubt);
    let doubt = if in_doubt { "?" } else { "" };
    latency.class() + doubt
}

#[cfg(test)]
mod tests {
    use firstpass_statistics::comparison::Verdict;

    use super::*;
    use crate::studies::first_passes::judge::latency::{
        summarise,
        tests::{observation, times as series},
    };

    fn judged(first: &[f64]) -> FirstPass {
        let processes: Vec<_> = first
            .iter()
            .enumerate()
            .map(|(round, first)| observation(round, &series(&[*first], 10.0)))
            .collect();
        let judged = summarise(&processes).remove(0).first_over_steady;
        judged.expect("a first pass")
    }

    #[test]
    fn a_verdict_has_its_figure_and_what_is_open_says_what_would_tell() {
        let slow = with_verdict(&judged(&[40.0; 5]));
        assert!(
            slow.starts_with("4.00× (3.") && slow.ends_with(", slow"),
            "{slow}"
        );
        let open = judged(&[10.0, 14.0, 11.0]);
        assert!(missing([&open.0]).is_some());
        // ln 1.3 is 0.262. With 19 processes a claim takes 3.5 × 0.3 / √19 = 0.24, with fewer more than 0.262.
        assert_eq!(missing([&slow_to_tell(0.3).0]), Some(16));
        assert_eq!(missing([&slow_to_tell(0.3).0, &slow_to_tell(9.0).0]), None);
    }

    fn joint(class: CellClass, restless: usize) -> Joint {
        Joint {
            class,
            agreeing: 5,
            processes: 7,
            restless,
            segments: Vec::new(),
            steady: None,
            noise: 0.01,
            each: Vec::new(),
        }
    }

    #[test]
    fn what_single_processes_did_may_be_the_machines_doing() {
        let mixed = || CellClass::Mixed(vec![(Class::Flat, 5), (Class::NoSteadyState, 2)]);
        assert!(is_in_doubt(&joint(mixed(), 2)));
        let none = CellClass::Of(Class::NoSteadyState);
        assert!(is_in_doubt(&joint(none.clone(), 4)));
        // What all have in common is the engine's.
        assert!(!is_in_doubt(&joint(none, 0)));
        assert!(!is_in_doubt(&joint(mixed(), 0)));
        let flat = CellClass::Of(Class::Flat);
        assert!(!is_in_doubt(&joint(flat, 1)));
    }

    /// A ratio of 1.3 of three processes whose logarithms have this standard deviation.
    fn slow_to_tell(deviation: f64) -> FirstPass {
        FirstPass(Comparison {
            verdict: Verdict::Open,
            ratio: 1.3,
            interval: (0.9, 1.9),
            p: 0.5,
            deviation,
            freedom: 2.0,
            samples: 3,
            resolution: 0.15,
        })
    }
}
