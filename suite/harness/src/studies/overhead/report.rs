//! The part of the report that says whether measuring disturbs.

use std::collections::BTreeSet;

use anyhow::Result;
use firstpass_statistics::comparison::Comparison;
use minijinja::context;

use crate::{
    page::{
        numbers::{counted, milliseconds, names as named},
        table::Table,
        template,
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
        (!names.is_empty()).then(|| format!("{text} {}", named(&names)))
    });
    format!("Measuring {}.", parts.collect::<Vec<_>>().join("; it "))
}

/// The details: what a probe costs each engine.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn section(overhead: &Overhead, called: &dyn Fn(&str) -> String) -> Result<String> {
    let mut costs = judge(overhead);
    for cost in &mut costs {
        cost.backend = called(&cost.backend);
    }
    let engine = |cost: &Cost| {
        let threads = counted(cost.threads, "thread");
        format!("{} on {}, {threads}", cost.backend, cost.model)
    };
    let header = [
        "engine",
        "probe / called directly",
        "probe / Python package",
    ];
    let ratios = Table::new(header).rows(costs.iter().map(|cost| {
        let [direct, python] = [Variant::Direct, Variant::Python].map(|v| against(cost, v));
        [engine(cost), direct, python]
    }));
    let header = [
        "engine",
        "rounds × passes",
        "steady, ms",
        "beside a pass",
        "same bits",
    ];
    let measured = Table::new(header).rows(costs.iter().map(|cost| {
        [
            engine(cost),
            format!("{} × {}", cost.rounds, cost.passes),
            milliseconds(cost.steady_ms),
            beside(cost),
            same(cost),
        ]
    }));
    let of_cost = |cost: &Cost| {
        cost.against
            .iter()
            .map(|a| sentence(cost, a))
            .collect::<Vec<_>>()
    };
    let failures = costs.iter().flat_map(|cost| {
        let failures = cost.failures.iter();
        failures.map(|(variant, why)| format!("{} ({variant:?}): {why}", cost.backend))
    });
    let data = context! {
        ratios => ratios.page(),
        measured => measured.page(),
        sentences => costs.iter().flat_map(of_cost).collect::<Vec<_>>(),
        failures => failures.collect::<Vec<_>>(),
        allowed => ALLOWED,
        allowed_beside => format!("{:.1} %", 100.0 * ALLOWED_BESIDE),
        clock_ns => format!("{:.0}", overhead.run.clock_read_ns),
    };
    template::render("detail/overhead.md.j2", context! { data })
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
                |rounds| match rounds {
                    1 => "one more round would tell".into(),
                    _ => format!("about {rounds} more rounds would tell"),
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
        "unknown".into()
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
