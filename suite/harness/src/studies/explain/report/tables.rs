//! The tables of one engine: its operators by kind and by layer, and what it counts.

use std::collections::BTreeMap;

use firstpass_probe::Format;
use firstpass_trial::model::ModelDescription;

use super::words::with_interval;
use crate::{
    graph::Graph,
    page::{numbers::milliseconds, table::Table},
    studies::explain::judge::{Count, Explanation, FIRST, Part},
};

/// How many kinds of operators are shown each by itself.
pub(super) const KINDS: usize = 8;

/// How many layers are shown.
pub(super) const LAYERS: usize = 5;

/// Operators by kind; by layer only of the default, which has the most to tell.
pub(super) fn tables(explanation: &Explanation) -> Vec<Table> {
    let mut tables = vec![kinds(explanation)];
    if !explanation.is_tuned() {
        tables.push(layers(explanation));
    }
    tables.extend(counts(explanation));
    tables
}

pub(super) fn kinds(explanation: &Explanation) -> Table {
    let (shown, others) = explanation
        .kinds
        .split_at(explanation.kinds.len().min(KINDS));
    let others = Part::together(others.iter().map(|(_, part)| part));
    let kinds = shown.iter().map(|(kind, part)| (kind.as_str(), part));
    let others = others.iter().map(|part| ("*other operators*", part));
    let rest = [
        ("*outside all operators*", &explanation.outside),
        ("**whole pass**", &explanation.whole),
    ];
    let mut header = vec!["operators".to_owned()];
    header.extend(times_header());
    let parts = kinds.chain(others).chain(rest);
    Table::new(header)
        .rows(parts.map(|(name, part)| [vec![name.to_owned()], times(explanation, part)].concat()))
}

pub(super) fn layers(explanation: &Explanation) -> Table {
    let header = [
        "layer",
        "operator",
        "pass 1",
        "pass 2",
        "steady",
        "excess of 1",
        "faults of 1",
    ];
    let shown = explanation.operators.iter().take(LAYERS);
    Table::new(header).rows(shown.map(|(operator, part)| {
        let mut row = vec![operator.layer.clone(), operator.kind.clone()];
        row.extend([1, 2].map(|pass| milliseconds(part.time(pass))));
        row.extend([
            milliseconds(part.steady()),
            excess(explanation, part, 1),
            faults(part),
        ]);
        row
    }))
}

/// The page faults of pass 1.
pub(super) fn faults(part: &Part) -> String {
    let faults = part.faults(1);
    faults.map_or_else(|| "–".into(), |faults| format!("{faults:.0}"))
}

/// How fast convolutions are in the steady state: the longest, and all together. `None` for a model
/// without an ONNX file, and where the engine names its layers otherwise than the file.
pub(super) fn throughput_of(
    models: &[ModelDescription],
    explanation: &Explanation,
) -> Option<Table> {
    let mut models = models.iter();
    let model = models.find(|model| model.name == explanation.model)?;
    let file = model.artifact(Format::ONNX)?;
    let graph = Graph::read(&file.path, &file.inputs).ok()?;
    throughput(explanation, &graph.multiply_adds())
}

/// Of the multiplications with addition of each convolution, by its node.
pub(super) fn throughput(explanation: &Explanation, work: &BTreeMap<&str, u64>) -> Option<Table> {
    if explanation.is_tuned() {
        return None;
    }
    let mut found: Vec<(&str, u64, &Part)> = Vec::new();
    for (&node, count) in work {
        let times = explanation.operators.iter().filter(|(operator, _)| {
            // An engine may add something to the name of a node, but not a whole word before it.
            operator.layer.split(['"', ' ']).any(|word| {
                word.strip_prefix(node)
                    .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
            })
        });
        // Where an engine has several operators for a node, the longest is the convolution.
        let longest = times.max_by(|a, b| a.1.steady().total_cmp(&b.1.steady()));
        if let Some((_, part)) = longest.filter(|(_, part)| part.steady() > 0.0) {
            found.push((node, *count, part));
        }
    }
    if found.len() < work.len() {
        return None;
    }
    found.sort_by(|a, b| b.2.steady().total_cmp(&a.2.steady()));
    let row = |name: String, count: u64, steady: f64| {
        let per_s = count as f64 / steady * 1e3;
        vec![
            name,
            format!("{:.1}", count as f64 / 1e6),
            milliseconds(steady),
            format!("{:.1}", per_s / 1e9),
        ]
    };
    let all = found.iter().fold((0, 0.0), |(count, time), found| {
        (count + found.1, time + found.2.steady())
    });
    let shown = found.iter().take(LAYERS);
    let header = [
        "convolution, steady",
        "million multiply-adds",
        "ms",
        "billions a second",
    ];
    let mut table = Table::new(header)
        .rows(shown.map(|(name, count, part)| row((*name).to_owned(), *count, part.steady())));
    table.row(row(format!("**all {}**", found.len()), all.0, all.1));
    Some(table)
}

pub(super) fn times_header() -> Vec<String> {
    let mut header: Vec<String> = (1..=FIRST).map(|pass| format!("pass {pass}")).collect();
    let rest = ["steady", "excess of 1", "excess of 2", "faults of 1"];
    header.extend(rest.map(String::from));
    header
}

pub(super) fn times(explanation: &Explanation, part: &Part) -> Vec<String> {
    let mut cells: Vec<String> = (1..=FIRST)
        .map(|pass| milliseconds(part.time(pass)))
        .collect();
    cells.push(milliseconds(part.steady()));
    cells.extend([1, 2].map(|pass| excess(explanation, part, pass)));
    cells.push(faults(part));
    cells
}

pub(super) fn excess(explanation: &Explanation, part: &Part, pass: usize) -> String {
    let time = with_interval(explanation.excess(part, pass));
    match explanation.share(part, pass) {
        // What rounds to nothing has no sign.
        Some(share) if share.abs() < 0.005 => format!("{time}, 0 %"),
        Some(share) => format!("{time}, {:.0} %", 100.0 * share),
        None => time,
    }
}

/// What the engine tells about its state, where it tells anything.
pub(super) fn counts(explanation: &Explanation) -> Option<Table> {
    let Count { after, .. } = explanation.counts.first()?;
    let mut header = vec![
        "as the engine counts".to_owned(),
        "before pass 1".to_owned(),
    ];
    header.extend((1..after.len()).map(|pass| format!("after pass {pass}")));
    header.push("after the last".into());
    let number = |value: Option<f64>| value.map_or_else(|| "–".into(), |n| format!("{n:.0}"));
    let rows = explanation.counts.iter().map(|count| {
        let mut row = vec![count.name.clone(), number(count.before)];
        row.extend(count.after.iter().map(|value| number(*value)));
        row
    });
    Some(Table::new(header).rows(rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::explain::judge::{
        judge,
        tests::{explain, processes, profile},
    };

    #[test]
    fn the_kinds_beyond_the_largest_are_one_row() {
        let judged = judge(&explain(processes(|round| {
            let mut profile = profile(round);
            for number in 0..KINDS {
                let kind = format!("kind {number}");
                profile
                    .operators
                    .push(crate::studies::explain::tests::operator("a layer", &kind));
                for pass in &mut profile.passes {
                    pass.self_ns.push(1_000_000);
                }
            }
            profile
        })));
        let kinds = kinds(&judged.explanations[0]);
        let rows = kinds.cells();
        assert_eq!(rows.len(), KINDS + 3);
        assert_eq!(rows[KINDS][..2], ["*other operators*", "2.00"]);
        assert_eq!(layers(&judged.explanations[0]).cells().len(), LAYERS);
    }

    #[test]
    fn the_speed_of_convolutions_is_shown_where_all_are_named() {
        let judged = judge(&explain(processes(profile)));
        let work = BTreeMap::from([("first", 1_000_000_000)]);
        let table = throughput(&judged.explanations[0], &work).expect("all layers are named");
        assert_eq!(table.cells()[0], ["first", "1000.0", "20.0", "50.0"]);
        let unknown = BTreeMap::from([("another", 1)]);
        assert!(throughput(&judged.explanations[0], &unknown).is_none());
    }
}
