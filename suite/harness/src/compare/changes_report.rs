//! Two records side by side: what changed.

use firstpass_statistics::comparison::Verdict;
use firstpass_trial::observation::Cell;

use crate::{
    compare::{
        changes::{Change, Changes},
        circumstances::OTHER_MACHINE,
    },
    page::{
        markdown,
        numbers::{milliseconds, times, times_with_interval},
        table::Table,
        terminal,
    },
    studies::first_passes::judge::{first_pass::FirstPass, latency::Figure},
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
    text(changes, all, Table::terminal, cell_name)
}

/// For a page or a comment of a code review.
pub fn changes_as_markdown(changes: &Changes, all: bool) -> String {
    let named = |cell: &Cell| markdown::inline(&cell_name(cell));
    let body = text(changes, all, |table| table.page().to_string(), named);
    format!("## What changed\n\n{body}\n")
}

fn text(
    changes: &Changes,
    all: bool,
    drawn: impl Fn(&Table) -> String,
    named: impl Fn(&Cell) -> String,
) -> String {
    let mut parts = Vec::new();
    let circumstances = &changes.circumstances;
    if !circumstances.differences.is_empty() {
        let rows = circumstances.differences.iter();
        let rows = rows.map(|d| [&d.name, &d.before, &d.after]);
        parts.push(drawn(
            &Table::new(["differs", "before", "after"]).rows(rows),
        ));
    }
    if circumstances.other_machine {
        parts.push(OTHER_MACHINE.to_owned());
    }
    let shown: Vec<&Change> = if all {
        changes.figures.iter().collect()
    } else {
        changes.beyond_noise().collect()
    };
    if !shown.is_empty() {
        let rows = shown.into_iter().map(|change| {
            [
                cell_name(&change.cell),
                change.figure.to_string(),
                milliseconds(change.before),
                milliseconds(change.after),
                in_words(change),
            ]
        });
        parts.push(drawn(&Table::new(HEADER).rows(rows)));
    }
    parts.push(summary(changes, &named));
    if !changes.first_passes.is_empty() {
        let words = |first: &FirstPass| format!("{}, {}", first.verdict(), times(first.ratio()));
        let rows = changes.first_passes.iter();
        let rows = rows.map(|(cell, a, b)| [cell_name(cell), words(a), words(b)]);
        let table = Table::new(["engine", "pass 1 before", "pass 1 after"]);
        parts.push(drawn(&table.rows(rows)));
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
            let names: Vec<String> = cells.iter().map(&named).collect();
            parts.push(format!("{what}: {}.", names.join("; ")));
        }
    }
    parts.join("\n\n")
}

/// `0.30× (0.25–0.38×), faster`; where that is not known, how large a change may be.
fn in_words(change: &Change) -> String {
    let comparison = change.comparison;
    let ratio = times_with_interval(comparison.ratio, comparison.interval);
    match comparison.verdict {
        Verdict::Open => format!(
            "{ratio}, any change is below {}",
            percent_up(change.at_most())
        ),
        Verdict::NoDifference => format!(
            "{ratio}, no change beyond {}",
            percent_up(comparison.resolution)
        ),
        claim => format!("{ratio}, {claim}"),
    }
}

/// What became of all that was compared, figure by figure.
fn summary(changes: &Changes, named: &impl Fn(&Cell) -> String) -> String {
    if changes.figures.is_empty() {
        return "No cell of the one record has a figure in the other: there is nothing to compare."
            .into();
    }
    let of_figure = |figure: Figure| {
        let all: Vec<&Change> = changes
            .figures
            .iter()
            .filter(|c| c.figure == figure)
            .collect();
        (!all.is_empty()).then(|| summary_of(figure, &all, named))
    };
    let lines: Vec<String> = Figure::ALL.into_iter().filter_map(of_figure).collect();
    let none = changes.beyond_noise().next().is_none();
    let none = none.then(|| "No change beyond noise.".to_owned());
    let all: Vec<String> = none.into_iter().chain(lines).collect();
    all.join("\n\n")
}

fn summary_of(figure: Figure, all: &[&Change], named: &impl Fn(&Cell) -> String) -> String {
    let count = |wanted: fn(Verdict) -> bool| {
        let verdicts = all.iter().map(|c| c.comparison.verdict);
        verdicts.filter(|verdict| wanted(*verdict)).count()
    };
    let mut words = format!(
        "{figure}: of {} cells {} changed",
        all.len(),
        count(Verdict::is_claim)
    );
    let same = count(|verdict| verdict == Verdict::NoDifference);
    if same > 0 {
        let resolution = percent_up(figure.resolution());
        words += &format!(", {same} did not (none beyond {resolution})");
    }
    let mut open: Vec<&&Change> = all
        .iter()
        .filter(|c| c.comparison.verdict == Verdict::Open)
        .collect();
    open.sort_by(|a, b| a.at_most().total_cmp(&b.at_most()));
    let middle = open.get(open.len() / 2);
    if let (Some(middle), Some(widest)) = (middle, open.last()) {
        words += &format!(
            ", and of {} it cannot be told: any change of {} is below {}, of half of them below {}",
            open.len(),
            named(&widest.cell),
            percent_up(widest.at_most()),
            percent_up(middle.at_most()),
        );
    }
    words + "."
}

/// `13 %`, rounded up: it is a bound.
fn percent_up(share: f64) -> String {
    // What is off by the last bit of a float is no further percent.
    format!("{:.0} %", (100.0 * share - 1e-9).ceil())
}

/// `engine (onnx) on faceboxes-fp32, 1 thread`, with its settings where it has some.
pub fn cell_name(cell: &Cell) -> String {
    let threads = cell.threads();
    let knobs = cell.knobs.settings();
    let settings: String = knobs
        .map(|(name, value)| format!(", {name}={value}"))
        .collect();
    let name = format!(
        "{} ({}) on {}, {threads} thread{}{}{settings}",
        cell.backend,
        cell.format.key(),
        cell.model,
        if threads == 1 { "" } else { "s" },
        if cell.cold_files { ", cold files" } else { "" }
    );
    terminal::line(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::changes::compare,
        record::{Record, tests::record},
        studies::first_passes::judge::latency::tests::{observation, times},
    };

    fn one(level: f64) -> Record {
        record(vec![observation(0, &times(&[level], level))])
    }

    #[test]
    fn circumstances_come_before_figures() {
        let (before, mut after) = (one(3152.0), one(945.0));
        let caution = |after: &Record| {
            let text = changes_on_terminal(&compare(&before, after), false);
            let figures = text.find("945").expect("the change is there");
            text.find(OTHER_MACHINE).map(|at| at < figures)
        };
        assert_eq!(caution(&after), None, "it is the same machine");
        after.run.machine.cpu_flags.push("amx_of_tomorrow".into());
        assert_eq!(caution(&after), Some(true));
    }

    #[test]
    fn no_change_is_said_only_of_what_was_compared() {
        let text =
            |before: &Record, after: &Record| changes_on_terminal(&compare(before, after), false);
        let same = text(&one(10.0), &one(10.0));
        assert!(same.contains("No change beyond noise"), "{same}");
        let nothing = text(&one(10.0), &record(Vec::new()));
        assert!(!nothing.contains("No change"), "{nothing}");
        assert!(nothing.contains("nothing to compare"), "{nothing}");
    }

    #[test]
    fn names_of_a_record_begin_no_line() {
        let mut odd = observation(0, &times(&[10.0], 10.0));
        odd.cell.model = "m\ngate: kept\n# <b>`x`".into();
        odd.cell.knobs = odd.cell.knobs.with("k", "v\n# y");
        let (before, after) = (one(10.0), record(vec![odd]));
        for (before, after) in [(&before, &after), (&after, &before), (&after, &after)] {
            let changes = compare(before, after);
            let markdown = changes_as_markdown(&changes, true);
            for text in [&changes_on_terminal(&changes, true), &markdown] {
                assert!(text.contains("gate: kept"), "{text}");
                let begins = |words: &str| text.lines().any(|l| l.trim().starts_with(words));
                assert!(!begins("gate: kept") && !begins("# "), "{text}");
            }
            assert!(!markdown.contains("<b>"), "{markdown}");
        }
    }

    #[test]
    fn what_cannot_be_told_has_a_bound() {
        let changes = compare(&one(10.0), &one(11.0));
        let steady = changes.figures.iter().find(|c| c.figure == Figure::Steady);
        let bound = percent_up(steady.expect("it is there").at_most());
        for all in [true, false] {
            let text = changes_as_markdown(&changes, all);
            assert!(text.contains(&format!("is below {bound}")), "{text}");
        }
        assert_eq!(percent_up(0.05), "5 %");
        assert_eq!(percent_up(0.0501), "6 %");
    }
}
