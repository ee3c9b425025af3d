//! The verdict in plain words: who agrees, how slow the first passes are, who is fastest.

use firstpass_statistics::comparison::Verdict as Comparing;
use firstpass_trial::expectation::ExpectationVerdict;

use crate::{
    page::numbers::{milliseconds, times},
    studies::first_passes::{
        analysis::{Analysis, Row},
        judge::{
            comparisons::Comparisons,
            latency::{Figure, Latency},
        },
    },
};

/// One paragraph a model.
pub(crate) fn paragraphs(analysis: &Analysis) -> Vec<String> {
    analysis
        .models()
        .iter()
        .map(|model| {
            let rows = analysis.rows(model);
            let mut sentences = agreement(analysis.reference(model), rows);
            sentences.extend(first_passes(rows));
            sentences.extend(unsteady(rows));
            sentences.extend(fastest(&analysis.comparisons, rows));
            format!("**{}.** {}", model.title, sentences.join(" "))
        })
        .collect()
}

/// What is wrong, in one sentence.
pub(crate) fn health(analysis: &Analysis) -> String {
    let faults = analysis.faults();
    let differing: Vec<&str> = analysis
        .rows
        .values()
        .flatten()
        .filter(|row| matches!(row.verdict, Some(ExpectationVerdict::Differs(_))))
        .map(|row| row.label.as_str())
        .collect();
    if faults.is_empty() && !differing.is_empty() {
        return format!(
            "Nothing failed, and the same input gave the same bits in every pass of every process. But \
             other outputs than those of the engine that the others are nearest to come from {}; which \
             are right only golden outputs can tell.",
            list(&differing)
        );
    }
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

fn agreement(reference: &str, rows: &[Row]) -> Vec<String> {
    let labels = |wanted: &dyn Fn(&ExpectationVerdict) -> bool| -> Vec<&str> {
        rows.iter()
            .filter(|r| r.verdict.as_ref().is_some_and(wanted))
            .map(|r| r.label.as_str())
            .collect()
    };
    let mut sentences = Vec::new();
    let exact = labels(&|v| *v == ExpectationVerdict::Exact);
    if !exact.is_empty() {
        let verb = if exact.len() == 1 { "gives" } else { "give" };
        sentences.push(format!(
            "{} {verb} exactly the integers of {reference}.",
            list(&exact)
        ));
    }
    let rounded = labels(&|v| *v == ExpectationVerdict::FloatRounding);
    if !rounded.is_empty() {
        let verb = if rounded.len() == 1 {
            "agrees"
        } else {
            "agree"
        };
        sentences.push(format!(
            "{} {verb} with {reference} up to the rounding of f32.",
            list(&rounded)
        ));
    }
    for row in rows {
        match &row.verdict {
            Some(ExpectationVerdict::Declared { name, .. }) => {
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
            Some(ExpectationVerdict::Differs(how)) => {
                sentences.push(format!("{} differs: {}.", row.label, how.join("; ")));
            }
            Some(ExpectationVerdict::Unexpected(_)) => {
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
        sentences.push(format!("All find the same faces as {reference}."));
    }
    for row in faces(false) {
        if let Some(found) = &row.golden_faces {
            sentences.push(format!(
                "Of the {} faces that {reference} finds {} misses {}, and it finds {} more.",
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
    let mut slow: Vec<(&str, f64, &Latency)> = rows
        .iter()
        .filter_map(|r| {
            let latency = r.latency.first_key_value()?.1;
            let ratio = latency.first_over_steady?.ratio();
            Some((r.label.as_str(), ratio, latency))
        })
        .collect();
    slow.sort_by(|a, b| b.1.total_cmp(&a.1));
    let of = |(label, first, latency): &(&str, f64, &Latency)| {
        let second = latency
            .second_over_steady
            .map_or_else(String::new, |second| {
                format!(" and {} in pass 2", times(second.ratio()))
            });
        format!(
            "{label} takes {} its steady time in pass 1{second}",
            times(*first)
        )
    };
    let mut sentence = of(slow.first()?);
    if let [_, .., best] = &slow[..] {
        sentence += &format!(", {}", of(best).replacen(" takes", "", 1));
    }
    Some(sentence + ".")
}

/// Which rows are of processes that do not agree on their class, or have no steady state.
fn unsteady(rows: &[Row]) -> Vec<String> {
    let mut sentences = Vec::new();
    for row in rows {
        for (threads, latency) in &row.latency {
            if !latency.is_steady() {
                sentences.push(format!(
                    "{} reaches no steady state with {}.",
                    row.label,
                    with_threads(*threads)
                ));
            }
        }
    }
    sentences
}

fn with_threads(n: usize) -> String {
    format!("{n} thread{}", if n == 1 { "" } else { "s" })
}

fn fastest(comparisons: &Comparisons, rows: &[Row]) -> Vec<String> {
    let mut threads: Vec<usize> = rows
        .iter()
        .flat_map(|r| r.latency.keys().copied())
        .collect();
    threads.sort_unstable();
    threads.dedup();
    let mut sentences = Vec::new();
    for n in threads {
        let figures = [
            ("to the first answer", Figure::ColdStart),
            ("in the steady state", Figure::Steady),
        ];
        let parts: Vec<String> = figures
            .into_iter()
            .filter_map(|(what, figure)| first_of(comparisons, rows, n, what, figure))
            .collect();
        if !parts.is_empty() {
            sentences.push(format!("With {}, {}.", with_threads(n), parts.join("; ")));
        }
    }
    sentences
}

/// Who is first in a figure, and by how much, or that it cannot be told.
fn first_of(
    comparisons: &Comparisons,
    rows: &[Row],
    threads: usize,
    what: &str,
    figure: Figure,
) -> Option<String> {
    let mut ranked: Vec<(&str, &Latency, f64)> = rows
        .iter()
        .filter_map(|r| {
            let latency = r.latency.get(&threads)?;
            let median = firstpass_statistics::median(latency.by_round(figure).into_values())?;
            Some((r.label.as_str(), latency, median))
        })
        .collect();
    ranked.sort_by(|a, b| a.2.total_cmp(&b.2));
    let [(best, a, time), (second, b, other), ..] = ranked[..] else {
        return None;
    };
    let (time, other) = (milliseconds(time), milliseconds(other));
    let compared = comparisons.get(&a.cell, &b.cell, figure);
    Some(match compared.map(|c| (c.verdict, c)) {
        Some((Comparing::Faster, c)) => format!(
            "{best} is fastest {what} ({time} ms, {} faster than {second})",
            times(1.0 / c.ratio)
        ),
        Some((Comparing::NoDifference, _)) => format!(
            "{best} ({time} ms) and {second} ({other} ms) are first {what}, with no difference \
             between them"
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
