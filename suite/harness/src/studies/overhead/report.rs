//! The part of the report that says whether measuring disturbs.

use std::collections::BTreeSet;

use anyhow::Result;
use firstpass_statistics::comparison::Comparison;
use minijinja::context;
use serde::Serialize;

use crate::{
    page::{
        numbers::{counted, milliseconds},
        table::Table,
        template,
    },
    studies::overhead::{
        Overhead, Variant,
        judge::{ALLOWED, ALLOWED_BESIDE, Against, Cost, OverheadVerdict, judge},
    },
};

/// Whether measuring through a probe makes passes slower.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(overhead: &Overhead, called: &dyn Fn(&str) -> String) -> Result<String> {
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
    let data = context! {
        allowed => ALLOWED,
        within => with(OverheadVerdict::Within),
        open => with(OverheadVerdict::Open),
        beyond => with(OverheadVerdict::Beyond),
    };
    template::answer("overhead.md.j2", data)
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
    let has_python = has_python(&costs);
    let mut header = vec!["engine", "probe / called directly"];
    header.extend(has_python.then_some("probe / Python package"));
    let ratios = Table::new(header).rows(timed(&costs).map(|cost| {
        let mut row = vec![engine(cost), against(cost, Variant::Direct)];
        row.extend(has_python.then(|| against(cost, Variant::Python)));
        row
    }));
    let header = [
        "engine",
        "rounds × passes",
        "steady, ms",
        "beside a pass",
        "same bits",
    ];
    let measured = Table::new(header).rows(timed(&costs).map(|cost| {
        [
            engine(cost),
            format!("{} × {}", cost.rounds, cost.passes),
            milliseconds(cost.steady_ms),
            beside(cost),
            same(cost),
        ]
    }));
    let compared = costs.iter().flat_map(|cost| {
        let against = cost.against.iter();
        against.map(|against| Compared::of(cost, against))
    });
    let failures = costs.iter().flat_map(|cost| {
        let failures = cost.failures.iter();
        failures.map(|(variant, why)| Failed {
            engine: cost.backend.clone(),
            by: by(*variant),
            why: why.clone(),
        })
    });
    let data = context! {
        has_python,
        ratios => ratios.page(),
        measured => measured.page(),
        compared => compared.collect::<Vec<_>>(),
        failures => failures.collect::<Vec<_>>(),
        allowed => ALLOWED,
        allowed_beside => format!("{:.1} %", 100.0 * ALLOWED_BESIDE),
        clock_ns => format!("{:.0}", overhead.run.clock_read_ns),
    };
    template::render("detail/overhead.md.j2", context! { data })
}

/// Those of which there is a figure: why there is none of the others is said in words.
fn timed(costs: &[Cost]) -> impl Iterator<Item = &Cost> {
    costs.iter().filter(|cost| cost.rounds > 0)
}

/// Whether an engine was to run by its Python package.
fn has_python(costs: &[Cost]) -> bool {
    let compared = costs.iter().flat_map(|c| &c.against).map(|a| a.variant);
    let failed = costs
        .iter()
        .flat_map(|c| c.failures.iter().map(|(v, _)| *v));
    compared.chain(failed).any(|v| v == Variant::Python)
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

/// A pass through the probe against the same pass without it: `templates/said/overhead.md.j2` says it.
#[derive(Debug, Serialize)]
struct Compared {
    engine: String,
    /// `direct`, `python` or `probe`.
    by: &'static str,
    /// `within`, `beyond` or `open`.
    verdict: &'static str,
    /// The interval of what the probe costs, as shares of a pass.
    low: f64,
    high: f64,
    /// How many more rounds would tell what is open.
    more: Option<usize>,
}

/// What did not run.
#[derive(Debug, Serialize)]
struct Failed {
    engine: String,
    by: &'static str,
    why: String,
}

impl Compared {
    fn of(cost: &Cost, against: &Against) -> Self {
        let (low, high) = against.comparison.interval;
        Self {
            engine: cost.backend.clone(),
            by: by(against.variant),
            verdict: match against.verdict() {
                OverheadVerdict::Within => "within",
                OverheadVerdict::Beyond => "beyond",
                OverheadVerdict::Open => "open",
            },
            low: low - 1.0,
            high: high - 1.0,
            more: against.rounds_missing(),
        }
    }
}

fn by(variant: Variant) -> &'static str {
    match variant {
        Variant::Python => "python",
        Variant::Direct => "direct",
        Variant::Probe => "probe",
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

    /// No empty name, no NaN, no column of dashes.
    #[test]
    fn an_engine_that_did_not_run_is_in_no_table() {
        let ran = processes(0.005, 20);
        let mut failed = processes(0.005, 1);
        failed.retain(|p| p.variant == Variant::Probe);
        failed[0].failure = Some("no".into());
        let costs = judge_backends([("x", &ran[..]), ("y", &failed[..])]);
        assert_eq!(costs.len(), 2);
        let names: Vec<&str> = timed(&costs).map(|c| c.backend.as_str()).collect();
        assert_eq!(names, ["x"]);
        assert!(!has_python(&costs));
        failed[0].variant = Variant::Python;
        assert!(has_python(&judge_backends([("y", &failed[..])])));
    }

    #[test]
    fn a_verdict_has_its_bound_in_words() -> Result<()> {
        let said = |share: f64| {
            let processes = processes(share, 20);
            let cost = judge_backends([("x", &processes[..])]).remove(0);
            let compared = [Compared::of(&cost, &cost.against[0])];
            let data = context! { compared, failures => [""; 0], allowed => ALLOWED };
            let text = template::on_terminal("said/overhead.md.j2", context! { data })?;
            Ok::<_, anyhow::Error>((against(&cost, Variant::Direct), text.trim_end().to_owned()))
        };
        let (cell, within) = said(0.005)?;
        assert!(cell.ends_with("), within"), "{cell}");
        assert!(
            within.starts_with("- x: the probe costs at most 1."),
            "{within}"
        );
        let (cell, open) = said(0.015)?;
        assert!(cell.ends_with("), open"), "{cell}");
        assert!(open.contains("it costs at most 2."), "{open}");
        assert!(open.contains(" more round"), "{open}");
        let (cell, beyond) = said(0.1)?;
        assert!(cell.ends_with("⚠ beyond"), "{cell}");
        assert!(
            beyond.contains("at least 8.") || beyond.contains("at least 9."),
            "{beyond}"
        );
        let (_, faster) = said(-0.1)?;
        assert!(
            faster.ends_with("takes no longer than by the engine called directly."),
            "{faster}"
        );
        Ok(())
    }
}
