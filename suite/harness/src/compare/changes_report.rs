//! Two records side by side: what changed.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use firstpass_trial::observation::Cell;

use crate::{
    compare::changes::{Change, Changes},
    page::{
        markdown,
        numbers::{milliseconds, ratio},
    },
};

const HEADER: [&str; 5] = [
    "engine",
    "figure",
    "before, ms",
    "after, ms",
    "after / before",
];

/// For a terminal.
pub fn changes_on_terminal(changes: &Changes, all: bool) -> String {
    text(changes, all, |header, rows| {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(header);
        table.add_rows(rows);
        table.to_string()
    })
}

/// For a page or a comment of a code review.
pub fn changes_as_markdown(changes: &Changes, all: bool) -> String {
    let body = text(changes, all, markdown::table);
    format!("## What changed\n\n{body}\n")
}

fn text(
    changes: &Changes,
    all: bool,
    table: impl Fn(Vec<String>, Vec<Vec<String>>) -> String,
) -> String {
    let owned = |header: &[&str]| header.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut parts = Vec::new();
    if !changes.circumstances.is_empty() {
        let rows = changes.circumstances.iter();
        let rows = rows.map(|(name, a, b)| vec![name.clone(), a.clone(), b.clone()]);
        parts.push(table(
            owned(&["differs", "before", "after"]),
            rows.collect(),
        ));
    }
    if changes
        .circumstances
        .iter()
        .any(|(name, ..)| name == "processor")
    {
        parts.push("The processors differ: what follows compares machines, not code.".to_owned());
    }
    let shown: Vec<&Change> = if all {
        changes.figures.iter().collect()
    } else {
        changes.beyond_noise().collect()
    };
    if shown.is_empty() {
        parts.push(format!(
            "No figure changed beyond noise, of {} that were compared.",
            changes.figures.len()
        ));
    } else {
        let rows = shown.into_iter().map(|change| {
            vec![
                cell_name(&change.cell),
                change.figure.to_string(),
                milliseconds(change.before),
                milliseconds(change.after),
                ratio(Some(change.comparison)),
            ]
        });
        parts.push(table(owned(&HEADER), rows.collect()));
    }
    if !changes.classes.is_empty() {
        let rows = changes.classes.iter();
        let rows = rows.map(|(cell, a, b)| vec![cell_name(cell), a.clone(), b.clone()]);
        parts.push(table(
            owned(&["engine", "class before", "class after"]),
            rows.collect(),
        ));
    }
    for (what, cells) in [
        ("Other outputs for the same photograph", &changes.outputs),
        (
            "Only in the earlier record, or failed in the later",
            &changes.gone,
        ),
        (
            "Only in the later record, or failed in the earlier",
            &changes.new,
        ),
    ] {
        if !cells.is_empty() {
            let names: Vec<String> = cells.iter().map(cell_name).collect();
            parts.push(format!("{what}: {}.", names.join("; ")));
        }
    }
    parts.join("\n\n")
}

/// `engine (onnx) on faceboxes-fp32, 1 thread`, with its settings where it has some.
pub fn cell_name(cell: &Cell) -> String {
    let threads = cell.threads();
    let knobs = cell.knobs.iter_except_threads();
    let settings: String = knobs
        .map(|(name, value)| format!(", {name}={value}"))
        .collect();
    format!(
        "{} ({}) on {}, {threads} thread{}{}{settings}",
        cell.backend,
        cell.format.key(),
        cell.model,
        if threads == 1 { "" } else { "s" },
        if cell.cold_files { ", cold files" } else { "" }
    )
}
