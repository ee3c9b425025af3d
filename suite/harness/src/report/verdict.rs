//! The verdict in plain words: who agrees, how slow the first passes are, who is fastest.

use std::collections::BTreeMap;

use crate::{
    judge::{
        expectation::Verdict,
        latency::{Comparison, Latency, compare},
    },
    report::analysis::{Analysis, Row},
};

/// One paragraph a model.
pub(super) fn paragraphs(analysis: &Analysis) -> Vec<String> {
    analysis
        .models()
        .iter()
        .map(|model| {
            let rows = analysis.rows(model);
            let mut sentences = agreement(rows);
            sentences.extend(first_passes(rows));
            sentences.extend(fastest(rows));
            format!("**{}.** {}", model.title, sentences.join(" "))
        })
        .collect()
}

/// What is wrong, in one sentence.
pub(super) fn health(analysis: &Analysis) -> String {
    let faults = analysis.faults();
    if faults.is_empty() {
        let rows = analysis.rows.values().map(Vec::len).sum::<usize>();
        return format!(
            "Everything is as expected: all {rows} rows gave outputs, the same input gave the same \
             bits in every pass of every process, and whatever differs is declared with its cause."
        );
    }
    let list: Vec<String> = faults.iter().map(|fault| format!("- ⚠ {fault}")).collect();
    format!("Not everything is as expected:\n\n{}", list.join("\n"))
}

fn agreement(rows: &[Row]) -> Vec<String> {
    let labels = |wanted: &dyn Fn(&Verdict) -> bool| -> Vec<&str> {
        rows.iter()
            .filter(|r| r.verdict.as_ref().is_some_and(wanted))
            .map(|r| r.label.as_str())
            .collect()
    };
    let mut sentences = Vec::new();
    let exact = labels(&|v| *v == Verdict::Exact);
    if !exact.is_empty() {
        let verb = if exact.len() == 1 { "gives" } else { "give" };
        sentences.push(format!(
            "{} {verb} exactly the integers of PyTorch's own run.",
            list(&exact)
        ));
    }
    let rounded = labels(&|v| *v == Verdict::FloatRounding);
    if !rounded.is_empty() {
        let verb = if rounded.len() == 1 {
            "agrees"
        } else {
            "agree"
        };
        sentences.push(format!(
            "{} {verb} with PyTorch's own run up to the rounding of f32.",
            list(&rounded)
        ));
    }
    for row in rows {
        match &row.verdict {
            Some(Verdict::Declared { name, .. }) => {
                let steps = row
                    .agreement
                    .iter()
                    .flatten()
                    .filter_map(|a| a.steps.as_ref());
                let (max, exact) = steps.fold((0, 1f64), |(max, exact), s| {
                    (max.max(s.max), exact.min(s.share_within(0)))
                });
                sentences.push(format!(
                    "{} is off by up to {max} quantization steps ({:.0} % of the values exact; \
                     cause: {name}).",
                    row.label,
                    100.0 * exact
                ));
            }
            Some(Verdict::Unexpected(_)) => {
                sentences.push(format!("⚠ {} is **not as expected**.", row.label));
            }
            _ => {}
        }
    }
    let faces = |same: bool| -> Vec<&Row> {
        let of = rows.iter().filter(|r| r.golden_faces.is_some());
        of.filter(|r| {
            r.golden_faces
                .as_ref()
                .is_some_and(|f| f.same_faces() == same)
        })
        .collect()
    };
    if !faces(true).is_empty() && faces(false).is_empty() {
        sentences.push("All find the same faces as PyTorch.".into());
    }
    for row in faces(false) {
        if let Some(found) = &row.golden_faces {
            sentences.push(format!(
                "Of the {} faces that PyTorch finds {} misses {}, and it finds {} more.",
                found.matched + found.missed,
                row.label,
                found.missed,
                found.extra
            ));
        }
    }
    sentences
}

fn first_passes(rows: &[Row]) -> Option<String> {
    let mut slow: Vec<(&str, &Latency)> = rows
        .iter()
        .filter_map(|r| Some((r.label.as_str(), r.latency.first_key_value()?.1)))
        .collect();
    slow.sort_by(|a, b| {
        b.1.first_over_steady
            .median
            .total_cmp(&a.1.first_over_steady.median)
    });
    let (worst_label, worst) = slow.first()?;
    let of = |l: &Latency| {
        format!(
            "{} its steady time in pass 1 and {} in pass 2",
            times(l.first_over_steady.median),
            times(l.second_over_steady.median)
        )
    };
    let mut sentence = format!("{worst_label} takes {}", of(worst));
    if let (Some((label, best)), true) = (slow.last(), slow.len() > 1) {
        sentence += &format!(", {label} {}", of(best));
    }
    Some(sentence + ".")
}

fn fastest(rows: &[Row]) -> Vec<String> {
    let mut threads: Vec<usize> = rows
        .iter()
        .flat_map(|r| r.latency.keys().copied())
        .collect();
    threads.sort_unstable();
    threads.dedup();
    let mut sentences = Vec::new();
    for n in threads {
        let with = format!("{n} thread{}", if n == 1 { "" } else { "s" });
        let figures: [(&str, Figure); 2] = [
            ("to the first answer", |l| &l.cold_start_by_round),
            ("in the steady state", |l| &l.steady_by_round),
        ];
        let parts: Vec<String> = figures
            .into_iter()
            .filter_map(|(what, figure)| first_of(rows, n, what, figure))
            .collect();
        if !parts.is_empty() {
            sentences.push(format!("With {with}, {}.", parts.join("; ")));
        }
    }
    sentences
}

type Figure = fn(&Latency) -> &BTreeMap<usize, f64>;

/// Who is first in a figure, and by how much, or that it cannot be told.
fn first_of(rows: &[Row], threads: usize, what: &str, figure: Figure) -> Option<String> {
    let mut ranked: Vec<(&str, &BTreeMap<usize, f64>, f64)> = rows
        .iter()
        .filter_map(|r| {
            let by_round = figure(r.latency.get(&threads)?);
            let median = crate::judge::spread::median(by_round.values().copied())?;
            Some((r.label.as_str(), by_round, median))
        })
        .collect();
    ranked.sort_by(|a, b| a.2.total_cmp(&b.2));
    let [(best, a, time), (second, b, other), ..] = ranked[..] else {
        return None;
    };
    let (time, other) = (milliseconds(time), milliseconds(other));
    Some(match compare(a, b) {
        Comparison::Faster(ratio) => format!(
            "{best} is fastest {what} ({time} ms, {} faster than {second})",
            times(ratio)
        ),
        _ => format!(
            "{best} ({time} ms) and {second} ({other} ms) are first {what}, which of them is \
             inconclusive"
        ),
    })
}

/// `a`, `a and b`, `a, b and c`.
fn list(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [one] => (*one).into(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// `1.24×`, `12×`.
pub(super) fn times(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}×")
    } else {
        format!("{ratio:.0}×")
    }
}

/// Three significant digits, in ms.
pub(super) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}
