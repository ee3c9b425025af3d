//! What is said of one engine, in sentences.

use firstpass_probe::{Knobs, ProfiledOperator};
use firstpass_statistics::comparison::Comparison;

use crate::{
    page::numbers::{counted, end_of, list, milliseconds, setting as name, times_with_interval},
    studies::{
        explain::{
            Variant,
            judge::{Estimate, Explanation, Failure},
        },
        first_passes::{
            judge::first_pass::{FirstPass, FirstPassVerdict},
            words::{bounds, outlook, ratio},
        },
    },
};

/// How many of those that are slower in a pass are named.
pub(super) const NAMED_LAYERS: usize = 3;

/// A kind of operators with less of the excess is not named in what remains.
pub(super) const LEAST_SHARE: f64 = 0.05;

/// The name of a layer is shortened to so many characters.
pub(super) const LAYER: usize = 40;

/// What pass 1 takes beyond the steady state and where: the largest shares, and its page faults.
pub(crate) fn remains(explanation: &Explanation) -> String {
    let whole = &explanation.whole;
    let excess = explanation.excess(whole, 1);
    let over = excess.mean / whole.steady();
    let mut text = format!(
        "Pass 1 takes {} ms beyond the steady {} ms ({}{:.0} %)",
        with_interval(excess, milliseconds),
        milliseconds(whole.steady()),
        if over < 0.0 { "" } else { "+" },
        100.0 * over,
    );
    let kinds = explanation
        .kinds
        .iter()
        .map(|(kind, part)| (kind.as_str(), part));
    let outside = ("no operator", &explanation.outside);
    let mut shares: Vec<(&str, f64)> = kinds
        .chain([outside])
        .filter_map(|(kind, part)| Some((kind, explanation.share(part, 1)?)))
        .filter(|(_, share)| *share >= LEAST_SHARE)
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shares: Vec<String> = shares
        .iter()
        .map(|(kind, share)| format!("{kind} {:.0} %", 100.0 * share))
        .collect();
    if !shares.is_empty() {
        text += &format!("; the largest shares are {}", shares.join(", "));
    }
    if let Some(faults) = whole.excess_faults(1) {
        text += &format!("; it has {faults:.0} page faults more than a steady pass");
    }
    text + "."
}

/// `1.5 (-0.2 to 3.2)`: a figure may be negative, so that a dash would be ambiguous.
pub(super) fn with_interval(estimate: Estimate, number: impl Fn(f64) -> String) -> String {
    match estimate.interval {
        Some((low, high)) => format!(
            "{} ({} to {})",
            number(estimate.mean),
            number(low),
            number(high)
        ),
        None => number(estimate.mean),
    }
}

/// Which passes are slow and where, how much of that is explained, and what the hooks cost.
pub(super) fn sentence(explanation: &Explanation) -> String {
    sentences(explanation).join(" ")
}

/// The same, sentence by sentence.
pub(super) fn sentences(explanation: &Explanation) -> Vec<String> {
    let mut sentences = Vec::new();
    for (pass, judged) in (1..).zip(&explanation.passes_over_steady) {
        if let Some(judged) = judged {
            sentences.push(slowness(pass, judged, explanation.explained[pass - 1]));
            sentences.extend(layers_said(pass, &explanation.slower_layers[pass - 1]));
        }
    }
    if let Some(cost) = explanation.fault_ms {
        let microseconds = |ms: f64| format!("{:.2}", 1000.0 * ms);
        sentences.push(format!(
            "In pass 1, each page fault more of an operator goes with {} µs more.",
            with_interval(cost, microseconds)
        ));
    }
    let ratio = |comparison: Option<Comparison>| {
        comparison.map_or_else(
            || "an unknown multiple".to_owned(),
            |c| times_with_interval(c.ratio, c.interval),
        )
    };
    sentences.push(format!(
        "Profiling makes pass 1 {} as long, and a steady pass {}.",
        ratio(explanation.profiler.first),
        ratio(explanation.profiler.steady),
    ));
    sentences.push(format!(
        "Measured in {} of {} by {}.",
        counted(explanation.processes, "process"),
        counted(explanation.passes, "pass"),
        explanation.source.trim_end_matches('.'),
    ));
    sentences
}

/// Whether a pass is slow.
pub(super) fn slowness(pass: usize, judged: &FirstPass, explained: Option<Estimate>) -> String {
    match judged.verdict() {
        FirstPassVerdict::Slow => {
            let explained = explained.map_or_else(String::new, |share| {
                let percent = |share: f64| format!("{:.0}", 100.0 * share);
                format!(
                    "; {} % of its excess is explained",
                    with_interval(share, percent)
                )
            });
            format!(
                "Pass {pass} takes {} the steady time{explained}.",
                ratio(judged)
            )
        }
        FirstPassVerdict::NotSlow => {
            format!(
                "Pass {pass} is not slow: {} the steady time.",
                ratio(judged)
            )
        }
        FirstPassVerdict::Open => format!(
            "Whether pass {pass} is slow is open: it takes {} the steady time, and {}.",
            bounds(judged),
            outlook([&judged.0])
        ),
    }
}

/// The layers that are told to be slower in a pass, whatever the whole pass is.
pub(super) fn layers_said(pass: usize, layers: &[(ProfiledOperator, Estimate)]) -> Option<String> {
    let named = layers.iter().take(NAMED_LAYERS).map(|(operator, excess)| {
        format!(
            "{} by {} ms",
            shortened(&operator.layer),
            with_interval(*excess, milliseconds)
        )
    });
    let mut named: Vec<String> = named.collect();
    match layers.len().saturating_sub(NAMED_LAYERS) {
        0 => {}
        more => named.push(format!("{more} more")),
    }
    (!named.is_empty()).then(|| format!("Slower in pass {pass} than later: {}.", list(&named)))
}

pub(super) fn failure(failure: &Failure, called: &dyn Fn(&str) -> String) -> String {
    let what = match failure.variant {
        Variant::Profiled => "not profiled",
        Variant::Plain => "not run without hooks",
    };
    let model = failure.model.as_deref();
    let on = model.map_or_else(String::new, |model| format!(" on {model}"));
    let with = if failure.knobs == Knobs::default() {
        String::new()
    } else {
        format!(" with `{}`", name(&failure.knobs))
    };
    format!(
        "- {}{on}{with} was {what}: {}",
        called(&failure.backend),
        failure.reason
    )
}

/// The end of a long name tells layers apart.
pub(super) fn shortened(name: &str) -> String {
    end_of(name, LAYER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::explain::judge::{
        judge,
        tests::{explain, processes, profile},
    };

    #[test]
    fn what_is_open_of_a_pass_is_said_with_its_bounds() {
        let judged = judge(&explain(processes(|round| {
            let mut profile = profile(round);
            let longer = [0, 30, 2, 25, 4][round as usize] * 1_000_000;
            profile.passes[2].self_ns[0] += longer;
            profile.passes[2].span.wall_ns += longer;
            profile
        })));
        let text = sentence(&judged.explanations[0]);
        assert!(
            text.contains("Whether pass 3 is slow is open: it takes between "),
            "{text}"
        );
        assert!(text.contains("× the steady time, and "), "{text}");
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("short"), "short");
        let long = format!("{}end", "x".repeat(100));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), LAYER);
        assert!(short.starts_with('…') && short.ends_with("end"));
    }
}
