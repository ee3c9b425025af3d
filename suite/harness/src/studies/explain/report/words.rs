//! What is said of one engine, as data: `templates/said/explained.md.j2` says it in words.

use firstpass_probe::{Knobs, ProfiledOperator};
use firstpass_statistics::comparison::Comparison;
use serde::Serialize;

use crate::{
    page::numbers::{milliseconds, setting as name},
    studies::{
        explain::{
            Variant,
            judge::{Count, Estimate, Explanation, FIRST, Failure},
        },
        first_passes::words::EarlyPass,
    },
};

/// How many of those that are slower in a pass are named.
const NAMED_LAYERS: usize = 3;

/// A kind of operators with less of the excess is not named in what remains.
const LEAST_SHARE: f64 = 0.05;

/// What pass 1 takes beyond the steady state and where: `templates/said/remains.md.j2` says it.
#[derive(Debug, Serialize)]
pub(crate) struct Remains {
    excess: Spread,
    steady_ms: f64,
    /// The excess in units of the steady time.
    over: f64,
    /// The largest shares.
    shares: Vec<Share>,
    /// Page faults beyond those of a steady pass.
    faults: Option<f64>,
}

/// A share of an excess.
#[derive(Debug, Serialize)]
struct Share {
    /// `None` for what lies outside of all operators.
    kind: Option<String>,
    share: f64,
}

/// A mean over processes with its interval.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    mean: f64,
    interval: Option<(f64, f64)>,
}

impl From<Estimate> for Spread {
    fn from(estimate: Estimate) -> Self {
        Self {
            mean: estimate.mean,
            interval: estimate.interval,
        }
    }
}

/// What pass 1 takes beyond the steady state and where: the largest shares, and its page faults.
pub(crate) fn remains(explanation: &Explanation) -> Remains {
    let whole = &explanation.whole;
    let excess = explanation.excess(whole, 1);
    let kinds = explanation.kinds.iter();
    let kinds = kinds.map(|(kind, part)| (Some(kind), part));
    let mut shares: Vec<Share> = kinds
        .chain([(None, &explanation.outside)])
        .filter_map(|(kind, part)| {
            let share = explanation.share(part, 1)?;
            Some(Share {
                kind: kind.cloned(),
                share,
            })
        })
        .filter(|share| share.share >= LEAST_SHARE)
        .collect();
    shares.sort_by(|a, b| b.share.total_cmp(&a.share));
    Remains {
        excess: excess.into(),
        steady_ms: whole.steady(),
        over: excess.mean / whole.steady(),
        shares,
        faults: whole.excess_faults(1).map(f64::round),
    }
}

/// Which passes are slow and where, how much of that is explained, and what the hooks cost.
#[derive(Debug, Serialize)]
pub(super) struct Said {
    passes: Vec<OfPass>,
    /// What each page fault more of an operator goes with, in µs.
    fault_us: Option<Spread>,
    /// How many times as long the hooks make pass 1 and a steady pass.
    first: Option<Times>,
    steady: Option<Times>,
    processes: usize,
    /// Of each process.
    of_each: usize,
    source: String,
}

/// One of the first passes.
#[derive(Debug, Serialize)]
struct OfPass {
    pass: usize,
    over_steady: EarlyPass,
    /// Which share of its excess is explained, in %.
    explained: Option<Spread>,
    /// The layers that are told to be slower in it, whatever the whole pass is: those with the most.
    slower: Vec<Layer>,
    /// How many more there are.
    more: usize,
}

/// A layer that is slower in a pass.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    excess: Spread,
}

/// A ratio with its interval.
#[derive(Debug, Serialize)]
struct Times {
    ratio: f64,
    low: f64,
    high: f64,
}

impl From<Comparison> for Times {
    fn from(comparison: Comparison) -> Self {
        Self {
            ratio: comparison.ratio,
            low: comparison.interval.0,
            high: comparison.interval.1,
        }
    }
}

pub(super) fn said(explanation: &Explanation) -> Said {
    let passes = (1..).zip(&explanation.passes_over_steady);
    let passes = passes.filter_map(|(pass, judged)| {
        let slower = &explanation.slower_layers[pass - 1];
        Some(OfPass {
            pass,
            over_steady: judged.as_ref()?.into(),
            explained: explanation.explained[pass - 1]
                .map(|share| share.map(|share| 100.0 * share).into()),
            slower: slower.iter().take(NAMED_LAYERS).map(layer).collect(),
            more: slower.len().saturating_sub(NAMED_LAYERS),
        })
    });
    Said {
        passes: passes.collect(),
        fault_us: explanation
            .fault_ms
            .map(|cost| cost.map(|ms| 1000.0 * ms).into()),
        first: explanation.profiler.first.map(Into::into),
        steady: explanation.profiler.steady.map(Into::into),
        processes: explanation.processes,
        of_each: explanation.passes,
        source: explanation.source.trim_end_matches('.').into(),
    }
}

fn layer((operator, excess): &(ProfiledOperator, Estimate)) -> Layer {
    Layer {
        name: operator.layer.clone(),
        excess: (*excess).into(),
    }
}

/// Why pass 1 of an engine takes longer than later ones, as far as that was measured:
/// `templates/said/why.md.j2` says it.
#[derive(Debug, Serialize)]
pub(super) struct Why {
    engine: String,
    /// Pass 1 against the steady time.
    first: EarlyPass,
    excess_ms: f64,
    /// Where most of the excess lies; `None` where pass 1 is not slow beyond doubt.
    most: Option<Share>,
    /// The layer that is slower by the most, and by how much, in ms.
    slowest: Option<(String, f64)>,
    /// Page faults beyond those of a steady pass.
    faults: Option<f64>,
    /// What they take by what each of them goes with, in ms.
    faults_ms: Option<f64>,
    /// What the engine counts of its state and what changed in the first passes only.
    changed: Vec<Changed>,
}

/// A count that changed in one of the first passes.
#[derive(Debug, PartialEq, Serialize)]
struct Changed {
    name: String,
    pass: usize,
    from: f64,
    to: f64,
}

/// `None` where pass 1 was not judged.
pub(super) fn why(explanation: &Explanation, called: &dyn Fn(&str) -> String) -> Option<Why> {
    let first = explanation.passes_over_steady.first()?.as_ref()?;
    let faults = explanation.whole.excess_faults(1).map(f64::round);
    let slowest = explanation.slower_layers.first()?.first();
    Some(Why {
        engine: called(&explanation.backend),
        first: first.into(),
        excess_ms: explanation.excess(&explanation.whole, 1).mean,
        most: largest_share(explanation).map(|(kind, share)| Share {
            kind: kind.map(Into::into),
            share,
        }),
        slowest: slowest.map(|(operator, excess)| (operator.layer.clone(), excess.mean)),
        faults,
        faults_ms: faults
            .zip(explanation.fault_ms)
            .map(|(faults, each)| faults * each.mean),
        changed: explanation.counts.iter().flat_map(changed).collect(),
    })
}

/// In which of the first two passes a count changed that stays as it is from then on. One that changes in every
/// pass says nothing of the first ones.
fn changed(count: &Count) -> Vec<Changed> {
    let stays = count.after.last() == count.after.get(FIRST - 1);
    let before = [Some(&count.before), count.after.first()];
    let passes = (1..).zip(before.into_iter().zip(&count.after));
    let changed = passes.filter_map(|(pass, (before, after))| {
        let (from, to) = ((*before?)?, (*after)?);
        (stays && from != to).then(|| Changed {
            name: count.name.replace('-', " "),
            pass,
            from,
            to,
        })
    });
    changed.collect()
}

/// The kind of operators with the largest share of the excess of pass 1, or `None` for what lies outside of all
/// operators; nothing where pass 1 is not told to be slow.
pub(super) fn largest_share(explanation: &Explanation) -> Option<(Option<&str>, f64)> {
    let kinds = explanation.kinds.iter();
    let kinds = kinds.map(|(kind, part)| (Some(kind.as_str()), part));
    let shares = kinds.chain([(None, &explanation.outside)]);
    let shares = shares.filter_map(|(kind, part)| Some((kind, explanation.share(part, 1)?)));
    shares.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// What was not profiled, and why: `templates/said/not-profiled.md.j2` says it.
#[derive(Debug, Serialize)]
pub(super) struct NotProfiled {
    engine: String,
    model: Option<String>,
    /// What was set besides.
    setting: Option<String>,
    /// Whether it was to run without hooks.
    is_plain: bool,
    reason: String,
}

pub(super) fn not_profiled(failure: &Failure, called: &dyn Fn(&str) -> String) -> NotProfiled {
    let is_default = failure.knobs == Knobs::default();
    NotProfiled {
        engine: called(&failure.backend),
        model: failure.model.clone(),
        setting: (!is_default).then(|| name(&failure.knobs)),
        is_plain: match failure.variant {
            Variant::Profiled => false,
            Variant::Plain => true,
        },
        reason: failure.reason.clone(),
    }
}

/// `1.5 (-0.2 to 3.2)`, for a cell: a figure may be negative, so that a dash would be ambiguous.
pub(super) fn with_interval(estimate: Estimate) -> String {
    let mean = milliseconds(estimate.mean);
    match estimate.interval {
        Some((low, high)) => format!("{mean} ({} to {})", milliseconds(low), milliseconds(high)),
        None => mean,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use minijinja::context;

    use super::*;
    use crate::{
        page::template,
        studies::explain::judge::{
            judge,
            tests::{explain, processes, profile},
        },
    };

    #[test]
    fn what_is_open_of_a_pass_is_said_with_its_bounds() -> Result<()> {
        let judged = judge(&explain(processes(|round| {
            let mut profile = profile(round);
            let longer = [0, 30, 2, 25, 4][round as usize] * 1_000_000;
            profile.passes[2].self_ns[0] += longer;
            profile.passes[2].span.wall_ns += longer;
            profile
        })));
        let said = said(&judged.explanations[0]);
        let text = template::on_terminal("said/explained.md.j2", context! { said })?;
        assert!(
            text.contains("Whether pass 3 is slow is open: it takes between "),
            "{text}"
        );
        assert!(text.contains("× the steady time, and "), "{text}");
        Ok(())
    }

    #[test]
    fn why_a_pass_is_slow_is_said_as_far_as_it_was_measured() -> Result<()> {
        let judged = judge(&explain(processes(profile)));
        let of = |change: fn(&mut Why)| {
            let mut why: Vec<Why> = why(&judged.explanations[0], &str::to_owned)
                .into_iter()
                .collect();
            why.iter_mut().for_each(change);
            let models = [context! { title => "m", why }];
            template::on_terminal("said/why.md.j2", context! { data => context! { models } })
        };
        let said = of(|_| ())?;
        for expected in [
            "x takes 70.0 ms longer in pass 1 than later",
            "50 % of that lies in quantize",
            "The layer last alone takes 35.0 ms more",
            "990 page faults more",
            "nodes from 10 to 400 in pass 2",
        ] {
            assert!(said.contains(expected), "{expected} in {said}");
        }
        let outside = of(|why| {
            why.most = Some(Share {
                kind: None,
                share: 0.9,
            });
            why.faults = Some(-3.0);
        })?;
        assert!(
            outside.contains("90 % of that lies outside of all operators"),
            "{outside}"
        );
        assert!(!outside.contains("page fault"), "{outside}");
        let open = of(|why| why.most = None)?;
        assert!(!open.contains("takes 70.0 ms longer"), "{open}");
        let of_verdict = |change: fn(&mut Why)| -> Result<String> {
            let said = of(change)?;
            assert!(!said.contains("takes 70.0 ms longer"), "{said}");
            Ok(said)
        };
        let open = of_verdict(|why| {
            why.most = None;
            why.first.verdict = "open".into();
        })?;
        assert!(
            open.contains("leave open whether") && open.contains("certainly takes 35.0 ms more"),
            "{open}"
        );
        let quick = of_verdict(|why| {
            why.most = None;
            why.first.verdict = "not slow".into();
        })?;
        assert_eq!(
            quick.trim(),
            "- Pass 1 is not slow on x (m): nothing there needs an explanation."
        );
        Ok(())
    }

    #[test]
    fn a_count_that_changes_in_every_pass_says_nothing_of_the_first_ones() {
        let count = |before, after: [u32; 4]| Count {
            name: "graph-nodes".into(),
            before,
            after: after.map(|n| Some(f64::from(n))).into(),
        };
        let change = |pass, from, to| Changed {
            name: "graph nodes".into(),
            pass,
            from,
            to,
        };
        assert_eq!(
            changed(&count(Some(0.0), [5, 3, 3, 3])),
            [change(1, 0.0, 5.0), change(2, 5.0, 3.0)]
        );
        assert_eq!(changed(&count(None, [5, 3, 3, 3])), [change(2, 5.0, 3.0)]);
        assert_eq!(changed(&count(Some(0.0), [1, 2, 3, 12])), []);
        assert_eq!(changed(&count(Some(3.0), [3, 3, 3, 3])), []);
    }
}
