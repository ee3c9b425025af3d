//! The part of the report that says whether measuring disturbs.

use std::collections::BTreeSet;

use firstpass_statistics::comparison::Comparison;

use crate::{
    page::{
        numbers::{list, milliseconds},
        table::Table,
    },
    studies::overhead::{
        Overhead, Variant,
        judge::{ALLOWED, ALLOWED_BESIDE, Against, Cost, OverheadVerdict, judge},
    },
};

/// Whether measuring through a probe makes passes slower.
pub(crate) fn answer(overhead: &Overhead, called: &dyn Fn(&str) -> String) -> String {
    let costs = judge(overhead);
    let with = |wanted: OverheadVerdict| {
        let against = costs.iter().flat_map(|cost| {
            let direct = cost.against.iter().filter(|a| a.variant == Variant::Direct);
            direct.map(move |against| (cost, against))
        });
        let found = against.filter(|(_, a)| a.verdict() == wanted);
        let names: BTreeSet<String> = found.map(|(cost, _)| called(&cost.backend)).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    let allowed = format!("{:.0} %", 100.0 * ALLOWED);
    let kinds = [
        (
            OverheadVerdict::Within,
            format!("costs at most {allowed} of a pass on"),
        ),
        (
            OverheadVerdict::Open,
            format!("may cost more than {allowed} (open) on"),
        ),
        (
            OverheadVerdict::Beyond,
            format!("⚠ costs more than {allowed} on"),
        ),
    ];
    let parts = kinds.into_iter().filter_map(|(verdict, text)| {
        let names = with(verdict);
        (!names.is_empty()).then(|| format!("{text} {}", list(&names)))
    });
    format!("Measuring {}.", parts.collect::<Vec<_>>().join("; it "))
}

pub(crate) fn section(overhead: &Overhead) -> String {
    let costs = judge(overhead);
    let mut parts = vec![
        "## Does measuring disturb?".to_owned(),
        format!(
            "The same passes through the probe, by the engine called in a plain loop from Rust, and \
             by the engine's Python package where it has one, in fresh processes in turns. Compared \
             is the fastest quarter of the second half of the passes, since all do the same work and \
             a disturbance only makes slower, by the ratios within rounds; what all engines vary \
             together tells how sure each ratio is. The probe is *within* where the whole 95 % interval \
             says that it is slower by at most {:.0} %, and *open* where the interval reaches to both \
             sides of that. One reading of the clock lies inside of a \
             timed pass and takes {:.0} ns; counters, digest and message lie beside it, and are to \
             take at most {:.1} % of a steady pass.",
            100.0 * ALLOWED,
            overhead.run.clock_read_ns,
            100.0 * ALLOWED_BESIDE
        ),
    ];
    let lines = costs.iter().map(|cost| {
        vec![
            format!(
                "{} on {}, {} thread{}",
                cost.backend,
                cost.model,
                cost.threads,
                if cost.threads == 1 { "" } else { "s" }
            ),
            format!("{} × {}", cost.rounds, cost.passes),
            milliseconds(cost.steady_ms),
            beside(cost),
            against(cost, Variant::Direct),
            against(cost, Variant::Python),
            same(cost),
        ]
    });
    parts.push(
        Table::new([
            "engine",
            "rounds × passes",
            "steady, ms",
            "beside a pass",
            "probe / called directly",
            "probe / Python package",
            "same bits",
        ])
        .rows(lines)
        .markdown(),
    );
    let sentences: Vec<String> = costs
        .iter()
        .flat_map(|cost| {
            cost.against
                .iter()
                .map(|a| format!("- {}", sentence(cost, a)))
        })
        .collect();
    if !sentences.is_empty() {
        parts.push(sentences.join("\n"));
    }
    let failures: Vec<String> = costs
        .iter()
        .flat_map(|cost| {
            let failures = cost.failures.iter();
            failures.map(|(variant, why)| format!("- {} ({variant:?}): {why}", cost.backend))
        })
        .collect();
    if !failures.is_empty() {
        parts.push(failures.join("\n"));
    }
    parts.join("\n\n")
}

fn beside(cost: &Cost) -> String {
    match (cost.beside_us, cost.beside_share()) {
        (Some(us), Some(share)) => format!(
            "{:.0} µs, {:.2} %{}",
            us.median,
            100.0 * share,
            if share <= ALLOWED_BESIDE { "" } else { " ⚠" }
        ),
        _ => "–".into(),
    }
}

fn found(cost: &Cost, variant: Variant) -> Option<&Against> {
    cost.against.iter().find(|a| a.variant == variant)
}

fn against(cost: &Cost, variant: Variant) -> String {
    let Some(against) = found(cost, variant) else {
        return "–".into();
    };
    let Comparison {
        ratio,
        interval: (low, high),
        ..
    } = against.comparison;
    let verdict = match against.verdict() {
        OverheadVerdict::Within => "within",
        OverheadVerdict::Beyond => "⚠ beyond",
        OverheadVerdict::Open => "open",
    };
    format!("{ratio:.3}× ({low:.3}–{high:.3}), {verdict}")
}

/// What the trait costs at most or at least, and what it would take to tell where that is open.
fn sentence(cost: &Cost, against: &Against) -> String {
    let (low, high) = against.comparison.interval;
    let percent = |ratio: f64| format!("{:.1} %", 100.0 * (ratio - 1.0));
    let backend = &cost.backend;
    let than = match against.variant {
        Variant::Python => "the Python package",
        Variant::Direct | Variant::Probe => "the engine called directly",
    };
    let allowed = format!("{:.0} %", 100.0 * ALLOWED);
    match against.verdict() {
        OverheadVerdict::Within if high <= 1.0 => {
            format!("{backend}: through the trait a pass takes no longer than by {than}.")
        }
        OverheadVerdict::Within => {
            format!(
                "{backend}: the trait costs at most {} against {than}.",
                percent(high)
            )
        }
        OverheadVerdict::Beyond => {
            format!(
                "{backend}: ⚠ the trait costs at least {} against {than}.",
                percent(low)
            )
        }
        OverheadVerdict::Open => {
            let outlook = against.rounds_missing().map_or_else(
                || "more rounds would hardly tell".to_owned(),
                |rounds| {
                    format!(
                        "about {rounds} more round{} would tell",
                        if rounds == 1 { "" } else { "s" }
                    )
                },
            );
            format!(
                "{backend}: whether the trait costs less than {allowed} against {than} is open; it costs at most {}, \
                 and {outlook}.",
                percent(high)
            )
        }
    }
}

fn same(cost: &Cost) -> String {
    let all: Vec<Option<bool>> = cost.against.iter().map(|a| a.same_outputs).collect();
    if all.contains(&Some(false)) {
        "⚠ no".into()
    } else if all.is_empty() || all.contains(&None) {
        "not told".into()
    } else {
        "yes".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::overhead::judge::{judge_backends, tests::processes};

    #[test]
    fn a_verdict_has_its_bound_in_words() {
        let said = |share: f64| {
            let processes = processes(share, 20);
            let cost = judge_backends([("x", &processes[..])]).remove(0);
            (
                against(&cost, Variant::Direct),
                sentence(&cost, &cost.against[0]),
            )
        };
        let (cell, within) = said(0.005);
        assert!(cell.ends_with("), within"), "{cell}");
        assert!(
            within.starts_with("x: the trait costs at most 1."),
            "{within}"
        );
        let (cell, open) = said(0.015);
        assert!(cell.ends_with("), open"), "{cell}");
        assert!(open.contains("it costs at most 2."), "{open}");
        assert!(open.contains(" more round"), "{open}");
        let (cell, beyond) = said(0.1);
        assert!(cell.ends_with("⚠ beyond"), "{cell}");
        assert!(
            beyond.contains("at least 8.") || beyond.contains("at least 9."),
            "{beyond}"
        );
        let (_, faster) = said(-0.1);
        assert!(
            faster.ends_with("takes no longer than by the engine called directly."),
            "{faster}"
        );
    }
}
