//! Two records side by side: what changed.

use firstpass_trial::observation::Cell;

use crate::{
    compare::changes::{Change, Changes},
    page::{
        numbers::{milliseconds, ratio},
        table::Table,
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
    text(changes, all, Table::terminal)
}

/// For a page or a comment of a code review.
pub fn changes_as_markdown(changes: &Changes, all: bool) -> String {
    let body = text(changes, all, Table::markdown);
    format!("## What changed\n\n{body}\n")
}

fn text(changes: &Changes, all: bool, drawn: impl Fn(&Table) -> String) -> String {
    let mut parts = Vec::new();
    if !changes.circumstances.is_empty() {
        let rows = changes.circumstances.iter();
        let rows = rows.map(|(name, a, b)| [name, a, b]);
        parts.push(drawn(
            &Table::new(["differs", "before", "after"]).rows(rows),
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
            [
                cell_name(&change.cell),
                change.figure.to_string(),
                milliseconds(change.before),
                milliseconds(change.after),
                ratio(Some(change.comparison)),
            ]
        });
        parts.push(drawn(&Table::new(HEADER).rows(rows)));
    }
    if !changes.classes.is_empty() {
        let rows = changes.classes.iter();
        let rows = rows.map(|(cell, a, b)| [cell_name(cell), a.clone(), b.clone()]);
        let table = Table::new(["engine", "class before", "class after"]);
        parts.push(drawn(&table.rows(rows)));
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
    let knobs = cell.knobs.settings();
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
