//! Whose first passes are slow, and which setting ends that.

use std::collections::BTreeMap;

use firstpass_probe::warm_up_passes;
use firstpass_statistics::comparison::Verdict;
use firstpass_trial::model::ModelDescription;
use serde::Serialize;

use super::{fewest_threads, timed, typical};
use crate::{
    page::numbers::setting,
    studies::first_passes::{
        analysis::{Analysis, Row},
        judge::{
            first_pass::{FirstPass, FirstPassVerdict},
            latency::{Figure, Latency},
        },
    },
};

/// The engines by what is known of their first pass.
#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    /// Slow ones, the slowest first.
    pub slow: Vec<Slow>,
    /// What makes them faster, in the order of the engines that each helps.
    pub cures: Vec<Cures>,
    pub not_slow: Vec<String>,
    /// Engines that are not among the slow ones, and are with more threads.
    pub with_more_threads: Vec<WithMoreThreads>,
    pub open: Vec<Open>,
}

/// Engines whose first pass is slow only with more threads than the page shows.
#[derive(Debug, Serialize)]
pub(super) struct WithMoreThreads {
    pub threads: usize,
    /// The engines, each with pass 1 over the steady time; the slowest first.
    pub engines: Vec<(String, f64)>,
}

/// An engine whose first pass is slow.
#[derive(Debug, Serialize)]
pub(super) struct Slow {
    pub label: String,
    /// Pass 1 over the steady time, with a 95 % interval.
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
    pub first_ms: f64,
    /// Pass 2, where it is slow as well.
    pub second_ms: Option<f64>,
    pub steady_ms: f64,
    pub cure: Option<Cure>,
}

/// Settings that make pass 1 faster.
#[derive(Debug, Serialize)]
pub(super) struct Cure {
    pub setting: String,
    /// The passes on zeros that it makes before the first real one; 0 where it makes none, or one of another size.
    pub warm_up: usize,
    /// Pass 1 with the settings over the steady time with them, where that is known.
    pub over_steady: Option<f64>,
    /// Whether pass 1 is still slow.
    pub still_slow: bool,
}

/// The engines that the same settings help.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Cures {
    pub setting: String,
    /// As [`Cure::warm_up`].
    pub warm_up: usize,
    /// Those whose pass 1 is not slow with them.
    pub ended: Vec<String>,
    /// Those whose pass 1 is faster and still slow, each with pass 1 over the steady time.
    pub lowered: Vec<(String, f64)>,
}

impl Cures {
    /// By setting, of engines in their order.
    fn of(slow: &[Slow]) -> Vec<Self> {
        let mut cures = Vec::<Self>::new();
        for (label, cure) in slow
            .iter()
            .filter_map(|s| Some((&s.label, s.cure.as_ref()?)))
        {
            let at = cures.iter().position(|other| other.setting == cure.setting);
            let at = at.unwrap_or_else(|| {
                cures.push(Self {
                    setting: cure.setting.clone(),
                    warm_up: cure.warm_up,
                    ended: Vec::new(),
                    lowered: Vec::new(),
                });
                cures.len() - 1
            });
            match cure.over_steady.filter(|_| cure.still_slow) {
                Some(ratio) => cures[at].lowered.push((label.clone(), ratio)),
                None => cures[at].ended.push(label.clone()),
            }
        }
        cures
    }
}

/// An engine of which it is not decided whether its first pass is slow.
#[derive(Debug, Serialize)]
pub(super) struct Open {
    pub label: String,
    pub low: f64,
    pub high: f64,
}

pub(super) fn answer(analysis: &Analysis, model: &ModelDescription) -> Answer {
    let rows = analysis.rows(model);
    let threads = fewest_threads(rows);
    let mut answer = Answer::default();
    for (row, latency) in timed(rows, threads) {
        let Some(first) = latency.first_over_steady else {
            continue;
        };
        match first.verdict() {
            FirstPassVerdict::NotSlow => answer.not_slow.push(row.label.clone()),
            FirstPassVerdict::Open => answer.open.push(Open {
                label: row.label.clone(),
                low: first.interval().0,
                high: first.interval().1,
            }),
            FirstPassVerdict::Slow => {
                answer.slow.extend(slow(analysis, row, latency, &first));
            }
        }
    }
    answer.slow.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
    answer.cures = Cures::of(&answer.slow);
    let others = rows
        .iter()
        .filter(|row| answer.slow.iter().all(|s| s.label != row.label));
    let mut with_more: BTreeMap<usize, Vec<(String, f64)>> = BTreeMap::new();
    for row in others {
        if let Some((more, ratio)) = slow_with_more_threads(row, threads) {
            let engines = with_more.entry(more).or_default();
            engines.push((row.label.clone(), ratio));
        }
    }
    let with_more = with_more.into_iter().map(|(threads, mut engines)| {
        engines.sort_by(|a, b| b.1.total_cmp(&a.1));
        WithMoreThreads { threads, engines }
    });
    answer.with_more_threads = with_more.collect();
    answer
}

/// The fewest threads above these with which pass 1 is slow, and pass 1 over the steady time.
fn slow_with_more_threads(row: &Row, threads: usize) -> Option<(usize, f64)> {
    let mut with_more = row.latency.range(threads + 1..);
    with_more.find_map(|(more, latency)| {
        let first = latency.first_over_steady?;
        let is_slow = first.verdict() == FirstPassVerdict::Slow;
        is_slow.then(|| (*more, first.ratio()))
    })
}

fn slow(analysis: &Analysis, row: &Row, latency: &Latency, first: &FirstPass) -> Option<Slow> {
    let second = latency.second_over_steady;
    let second = second.filter(|s| s.verdict() == FirstPassVerdict::Slow);
    Some(Slow {
        label: row.label.clone(),
        ratio: first.ratio(),
        low: first.interval().0,
        high: first.interval().1,
        first_ms: typical(latency.by_round(Figure::FirstPass))?,
        second_ms: second.and_then(|_| typical(latency.by_round(Figure::SecondPass))),
        steady_ms: typical(latency.by_round(Figure::Steady))?,
        cure: cure(analysis, row, latency),
    })
}

/// The tuned times, where they were measured and are claimed to make pass 1 faster.
pub(super) fn faster_when_tuned<'a>(
    analysis: &Analysis,
    row: &'a Row,
    default: &Latency,
) -> Option<&'a Latency> {
    let tuned = row.tuned.get(&default.cell.threads())?;
    let figure = Figure::FirstPass;
    let compared = analysis
        .comparisons
        .get(&tuned.cell, &default.cell, figure)?;
    (compared.verdict == Verdict::Faster).then_some(tuned)
}

fn cure(analysis: &Analysis, row: &Row, default: &Latency) -> Option<Cure> {
    let tuned = faster_when_tuned(analysis, row, default)?;
    let over_steady = tuned.first_over_steady;
    Some(Cure {
        setting: setting(&tuned.cell.knobs),
        warm_up: warm_up_passes(&tuned.cell.knobs).unwrap_or(0),
        over_steady: over_steady.map(|first| first.ratio()),
        still_slow: over_steady.is_some_and(|first| first.verdict() == FirstPassVerdict::Slow),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use minijinja::context;

    use super::*;
    use crate::{
        page::template,
        studies::first_passes::judge::latency::{
            summarise,
            tests::{observation, times},
        },
    };

    /// An engine whose pass 1 takes so many times the steady time with one thread and with two.
    fn row(with_one: f64, with_two: f64) -> Row {
        let latencies = [(1, with_one), (2, with_two)].map(|(threads, ratio)| {
            let processes = (0..8).map(|round| observation(round, &times(&[10.0 * ratio], 10.0)));
            (threads, summarise(&processes.collect::<Vec<_>>()).remove(0))
        });
        Row {
            latency: latencies.into(),
            ..Row::without_outputs(observation(0, &[]).cell)
        }
    }

    #[test]
    fn an_engine_may_be_slow_with_more_threads_only() {
        let (threads, ratio) = slow_with_more_threads(&row(1.0, 3.0), 1).expect("slow with two");
        assert_eq!(threads, 2);
        assert!((ratio - 3.0).abs() < 0.1, "{ratio}");
        assert_eq!(slow_with_more_threads(&row(1.0, 1.0), 1), None);
        // That it is slow with as many is said elsewhere.
        assert_eq!(slow_with_more_threads(&row(3.0, 1.0), 1), None);
    }

    fn said(first: &Answer) -> Result<String> {
        let models = [context! { called => "m", threads => 1, first_passes => first }];
        template::on_terminal("answer/first-passes.md.j2", context! { at => "", models })
    }

    #[test]
    fn that_it_is_slow_with_more_threads_only_is_said_where_it_is() -> Result<()> {
        let mut answer = Answer {
            not_slow: vec!["x".into()],
            ..Answer::default()
        };
        let without = said(&answer)?;
        assert_eq!(without, "- m: are the first passes slow? Not on x.\n");
        answer.with_more_threads = vec![WithMoreThreads {
            threads: 2,
            engines: vec![("x".into(), 1.7), ("y".into(), 1.3)],
        }];
        assert_eq!(
            said(&answer)?,
            "- m: are the first passes slow? Not on x with 1 thread. With 2 threads pass 1 is slow on x (1.70×) and \
             y (1.30×).\n"
        );
        Ok(())
    }

    fn slow_engine(label: &str, ratio: f64, cure: Option<(&str, Option<f64>)>) -> Slow {
        Slow {
            label: label.into(),
            ratio,
            low: ratio,
            high: ratio,
            first_ms: 10.0 * ratio,
            second_ms: None,
            steady_ms: 10.0,
            cure: cure.map(|(setting, still)| Cure {
                setting: setting.into(),
                warm_up: usize::from(setting.contains("warm-up")),
                over_steady: still,
                still_slow: still.is_some(),
            }),
        }
    }

    #[test]
    fn what_a_setting_does_is_said_once_for_all_engines_that_it_helps() -> Result<()> {
        let mut answer = Answer {
            slow: vec![slow_engine("a", 5.0, Some(("s=on", Some(1.2))))],
            ..Answer::default()
        };
        answer.cures = Cures::of(&answer.slow);
        assert_eq!(
            said(&answer)?,
            "- m: are the first passes slow? Yes on a: pass 1 takes 50.0 ms and a steady pass 10.0 ms (5.00×). s=on \
             brings that down to 1.20× on a.\n"
        );
        answer.slow.extend([
            slow_engine("b", 1.5, Some(("s=on", None))),
            slow_engine("c", 1.4, Some(("t=off", None))),
            slow_engine("d", 1.3, None),
        ]);
        answer.cures = Cures::of(&answer.slow);
        let all = said(&answer)?;
        let then = "Less so on b (1.50×), c (1.40×) and d (1.30×). s=on brings that down to 1.20× on a and ends it on b. \
                    t=off ends it on c.";
        assert!(all.contains(then), "{all}");
        // A newcomer does not know the names of settings.
        answer.slow = vec![slow_engine("a", 5.0, Some(("warm-up=full", None)))];
        answer.cures = Cures::of(&answer.slow);
        let warm = said(&answer)?;
        let then = "warm-up=full (1 pass on zeros before the first real one) ends it on a.";
        assert!(warm.contains(then), "{warm}");
        Ok(())
    }
}
