//! The part of the report that says whether measuring disturbs.

use crate::{
    page::{numbers::milliseconds, table::Table},
    studies::overhead::{
        Overhead, Variant,
        judge::{ALLOWED, ALLOWED_BESIDE, Against, Cost, OverheadVerdict, judge},
    },
};

pub(crate) fn section(overhead: Option<&Overhead>) -> String {
    let title = "## Does measuring disturb?";
    let Some(overhead) = overhead else {
        return format!(
            "{title}\n\nNot measured for this record: `cargo firstpass overhead` does that."
        );
    };
    let costs = judge(overhead);
    let mut parts = vec![
        title.to_owned(),
        format!(
            "The same passes through the probe, by the engine called in a plain loop from Rust, and \
             by the engine's Python package where it has one, in fresh processes in turns. Compared \
             is the fastest quarter of the second half of the passes, since all do the same work and \
             a disturbance only makes slower, by the median of the ratios within rounds, since a \
             single disturbed round must not decide. The probe is *within* where the whole 95 % interval \
             says that it is slower by at most {:.0} %. One reading of the clock lies inside of a \
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
    let verdict = match against.verdict {
        OverheadVerdict::Within => "within",
        OverheadVerdict::Beyond => "⚠ beyond",
        OverheadVerdict::Inconclusive => "inconclusive",
    };
    let ratio = &against.ratio;
    match ratio.interval {
        Some((low, high)) => format!("{:.3}× ({low:.3}–{high:.3}), {verdict}", ratio.median),
        None => format!("{:.3}×, {verdict}", ratio.median),
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
