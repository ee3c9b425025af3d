//! The tables of models and engines.

use firstpass_statistics::bootstrap::Estimate;
use minijinja::Value;

use super::NONE;
use crate::{
    page::{
        numbers::{brief, milliseconds, names, times},
        table::Table,
    },
    studies::{
        first_passes::{
            judge::{first_pass::FirstPass, latency::Latency},
            words::{ratio, with_verdict},
        },
        zoo::judge::{Others, Row, Timed, Verdicts, answers},
    },
};

pub(super) const TIMES: [&str; 5] = [
    "pass 1",
    "pass 2",
    "steady",
    "pass 1 / steady",
    "pass 2 / steady",
];

pub(super) const OUTPUTS: [&str; 3] = ["cold start, ms", "class", "outputs"];

/// An engine a row: on how many models an early pass is slow.
pub(super) fn summary(rows: &[Row]) -> Table {
    let header = [
        "engine",
        "slow",
        "not slow",
        "open",
        "slowest pass 1",
        "slow, tuned",
    ];
    Table::new(header).rows(answers(rows).into_iter().map(|answer| {
        let Verdicts {
            slow,
            not_slow,
            open,
        } = &answer.first;
        let all = slow.iter().chain(not_slow).chain(open);
        let largest = all.max_by(|a, b| a.pass.ratio().total_cmp(&b.pass.ratio()));
        let tuned = &answer.tuned;
        [
            answer.label,
            slow.len().to_string(),
            not_slow.len().to_string(),
            open.len().to_string(),
            largest.map_or_else(|| NONE.into(), |one| times(one.pass.ratio())),
            match tuned.models() {
                0 => NONE.into(),
                all => format!("{} of {all}", tuned.slow.len()),
            },
        ]
    }))
}

/// A model and engine a row, by default and then tuned; `cells` are what is said of a row that was measured.
/// One that failed has its reason in the last cell, or is left out.
pub(super) fn table<const N: usize>(
    header: &[&str; N],
    cells: fn(&Row, &Latency) -> [String; N],
    rows: &[Row],
    with_failed: bool,
) -> Table {
    let header: Vec<&str> = ["model", "engine"].iter().chain(header).copied().collect();
    let mut table = Table::new(header).keys(2);
    for row in rows {
        let title = &row.model.description.title;
        let mut add = |engine: String, timed: &Timed| {
            let mut line = vec![title.clone(), engine];
            match timed {
                Timed::MeasuredModel(latency) => line.extend(cells(row, latency)),
                Timed::Failed(_) if !with_failed => return,
                Timed::Failed(reason) => {
                    line.extend(vec![NONE.to_owned(); N - 1]);
                    line.push(brief(reason));
                }
            }
            table.row(line);
        };
        add(row.label.clone(), &row.default);
        // What fails by default fails tuned as well, and for the same reason.
        if let Some(tuned) = &row.tuned
            && (tuned.latency().is_some() || row.default.latency().is_some())
        {
            add(format!("{}, tuned", row.label), tuned);
        }
    }
    table
}

pub(super) fn times_of(_: &Row, latency: &Latency) -> [String; 5] {
    [
        median(latency.pass.get(&1)),
        median(latency.pass.get(&2)),
        median(latency.steady.as_ref()),
        over_steady(latency.first_over_steady),
        latency
            .second_over_steady
            .as_ref()
            .map_or_else(|| NONE.into(), ratio),
    ]
}

pub(super) fn median(estimate: Option<&Estimate>) -> String {
    estimate.map_or_else(|| NONE.into(), |e| milliseconds(e.median))
}

pub(super) fn outputs_of(row: &Row, latency: &Latency) -> [String; 3] {
    [
        median(latency.cold_start.as_ref()),
        latency.class(),
        if latency.cell.is_default() {
            agreement(row)
        } else {
            NONE.into()
        },
    ]
}

pub(super) fn over_steady(pass: Option<FirstPass>) -> String {
    pass.as_ref().map_or_else(|| "–".into(), with_verdict)
}

/// The outputs against the golden ones, the worst of them.
pub(super) fn agreement(row: &Row) -> String {
    let Some(agreements) = &row.agreement else {
        return among_others(&row.others);
    };
    if agreements.iter().all(|a| a.bit_equal()) {
        return "the same bits".into();
    }
    let cosine = agreements.iter().map(|a| a.cosine).fold(1.0, f64::min);
    let cosine = format!("cosine {}", rounded_down(cosine));
    // Some outputs of a quantized model may have no steps.
    let steps = agreements.iter().map(|a| a.steps.as_ref().map(|s| s.max));
    match steps
        .collect::<Option<Vec<u64>>>()
        .and_then(|s| s.into_iter().max())
    {
        None => cosine,
        Some(0) => "the same integers".into(),
        Some(1) => format!("{cosine}, ≤ 1 step"),
        Some(most) => format!("{cosine}, ≤ {most} steps"),
    }
}

/// Of a model without golden outputs: who is right is not told.
pub(super) fn among_others(others: &Others) -> String {
    match (&others.alike[..], &others.unlike[..]) {
        ([], []) => "–".into(),
        (alike, []) => format!("agree with {}", names(alike)),
        ([], unlike) => format!("⚠ differ from {}", names(unlike)),
        (alike, unlike) => format!(
            "⚠ differ from {}, agree with {}",
            names(unlike),
            names(alike)
        ),
    }
}

/// Nearly 1 is not 1.
pub(super) fn rounded_down(cosine: f64) -> String {
    format!("{:.5}", (cosine * 1e5).floor() / 1e5)
}

/// How many faces each engine finds on each photograph, of detectors without golden outputs.
pub(super) fn faces(rows: &[Row]) -> Option<Value> {
    let rows: Vec<&Row> = rows.iter().filter(|row| !row.faces.is_empty()).collect();
    let mut samples: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.faces.keys().map(String::as_str))
        .collect();
    samples.sort_unstable();
    samples.dedup();
    if samples.is_empty() {
        return None;
    }
    let mut header = vec!["model", "engine"];
    header.extend(&samples);
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.model.description.title.clone(), row.label.clone()];
        line.extend(samples.iter().map(|sample| {
            let found = row.faces.get(*sample).map(Vec::len);
            found.map_or_else(|| "–".into(), |count| count.to_string())
        }));
        line
    });
    Some(Table::new(header).keys(2).rows(lines).page())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_the_same_is_not_the_same() {
        assert_eq!(rounded_down(0.999_999_9), "0.99999");
        assert_eq!(rounded_down(0.5), "0.50000");
    }
}
