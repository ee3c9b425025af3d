//! The tables about outputs.

use firstpass_trial::{
    agreement::{
        Agreement, DetectionAgreement, HISTOGRAM, against_known_faces, compare, pairs,
        steps_in_words,
    },
    known::Exception,
    model::{ModelDescription, Precision},
    repeatability::Repeatability,
};

use crate::{
    page::{
        numbers::{brief, counted, percent_rounded_down},
        table::Table,
    },
    studies::first_passes::analysis::{Analysis, Row},
};

/// What was not measured.
const NONE: &str = "–";

/// At most this many kinds of operators are named, each with the end of its name where that is long: it says which
/// kernel it is.
const OPERATORS: usize = 4;
/// One row for each output of each engine.
pub(super) fn outputs(model: &ModelDescription, rows: &[Row]) -> Option<Table> {
    let int8 = model.precision == Precision::Int8;
    let mut header = vec!["engine", "output", "same bits"];
    if int8 {
        header.extend(["0 steps", "≤ 1 step", "largest"]);
    } else {
        header.extend(["largest error", "relative"]);
    }
    header.extend(["SQNR, dB", "cosine"]);
    let mut table = Table::new(header).keys(2);
    for row in rows {
        for a in row.agreement.iter().flatten() {
            let same = share(a.same_bits, a.values);
            let mut line = vec![row.label.clone(), a.output.clone(), same];
            line.extend(error_cells(a, int8));
            line.extend([decibel(a.sqnr_db), format!("{:.6}", a.cosine)]);
            table.row(line);
        }
    }
    (!table.is_empty()).then_some(table)
}

fn error_cells(a: &Agreement, int8: bool) -> Vec<String> {
    match (&a.steps, int8) {
        (Some(steps), _) => vec![
            percent_rounded_down(steps.share_within(0)),
            percent_rounded_down(steps.share_within(1)),
            steps.max.to_string(),
        ],
        // An integer model whose outputs are computed from several quantized tensors, or in floats.
        (None, true) => vec![
            "–".into(),
            "–".into(),
            format!("{:.0e} rel.", a.max_relative),
        ],
        (None, false) => vec![
            format!("{:.1e}", a.max_abs),
            format!("{:.1e}", a.max_relative),
        ],
    }
}

/// How many values differ by how many steps, all outputs together.
pub(super) fn histogram(rows: &[Row]) -> Option<Table> {
    let lines: Vec<Vec<String>> = rows
        .iter()
        .filter_map(|row| {
            let steps: Vec<_> = row
                .agreement
                .iter()
                .flatten()
                .filter_map(|a| a.steps.as_ref())
                .collect();
            if steps.is_empty() || steps.iter().all(|s| s.max == 0) {
                return None;
            }
            let counts =
                (0..=HISTOGRAM).map(|n| steps.iter().map(|s| s.histogram[n]).sum::<usize>());
            let mut line = vec![row.label.clone()];
            line.extend(counts.map(|count| count.to_string()));
            Some(line)
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    let mut header = vec!["values off by … steps".to_owned()];
    header.extend((0..HISTOGRAM).map(|n| n.to_string()));
    header.push(format!("≥ {HISTOGRAM}"));
    Some(Table::new(header).rows(lines))
}

/// Each pair of engines, all outputs together.
pub(super) fn pairwise(model: &ModelDescription, rows: &[Row]) -> Option<Table> {
    let with_outputs: Vec<(&Row, _)> = rows
        .iter()
        .filter_map(|row| Some((row, row.outputs.as_ref()?)))
        .collect();
    let header = ["engine", "and", "difference", "exact", "SQNR, dB", "cosine"];
    let mut table = Table::new(header).keys(2);
    for (at, (a, x)) in with_outputs.iter().enumerate() {
        for (b, y) in &with_outputs[at + 1..] {
            let names = [a.label.clone(), b.label.clone()];
            table.row([&names[..], &pair(&compare(model, &pairs(x, y)))].concat());
        }
    }
    (!table.is_empty()).then_some(table)
}

/// The largest difference of two engines, the share of values that are the same, and what both say of the noise.
fn pair(agreements: &[Agreement]) -> [String; 4] {
    let sqnr = agreements
        .iter()
        .map(|a| a.sqnr_db)
        .fold(f64::INFINITY, f64::min);
    let cosine = agreements.iter().map(|a| a.cosine).fold(1.0, f64::min);
    let steps: Vec<_> = agreements.iter().filter_map(|a| a.steps.as_ref()).collect();
    let (difference, exact) = if steps.is_empty() {
        let relative = agreements
            .iter()
            .map(|a| a.max_relative)
            .fold(0.0, f64::max);
        let same: usize = agreements.iter().map(|a| a.same_bits).sum();
        let all: usize = agreements.iter().map(|a| a.values).sum();
        (format!("{relative:.0e} rel."), share(same, all))
    } else {
        let max = steps.iter().map(|s| s.max).max().unwrap_or(0);
        let exact: usize = steps.iter().map(|s| s.histogram[0]).sum();
        let all: usize = steps
            .iter()
            .map(|s| s.histogram.iter().sum::<usize>())
            .sum();
        (format!("≤ {}", steps_in_words(max)), share(exact, all))
    };
    let difference = if agreements.iter().all(Agreement::bit_equal) {
        "none".into()
    } else {
        difference
    };
    [difference, exact, decibel(sqnr), format!("{cosine:.6}")]
}

fn decibel(sqnr: f64) -> String {
    if sqnr.is_finite() {
        format!("{sqnr:.1}")
    } else {
        "∞".into()
    }
}

/// What each engine finds of the known faces of each photograph: an engine a row.
pub(super) fn faces(analysis: &Analysis, model: &ModelDescription) -> Table {
    let samples = analysis.samples();
    let header = ["engine", "least overlap", "largest score difference"].map(String::from);
    let header = header.into_iter();
    let mut table = Table::new(header.chain(samples.iter().map(|sample| sample.name.clone())));
    for row in analysis.rows(model) {
        let golden = |cell: fn(&DetectionAgreement) -> Option<f32>| {
            let value = row.golden_faces.as_ref().and_then(cell);
            value.map_or_else(|| NONE.into(), |value| format!("{value:.3}"))
        };
        let found =
            samples.iter().map(
                |sample| match (row.detections.get(&sample.name), &sample.faces) {
                    (None, _) => NONE.into(),
                    (Some(detections), None) => format!("{} found", detections.len()),
                    (Some(detections), Some(known)) => {
                        let (hit, missed, extra) = against_known_faces(known, detections);
                        format!("{hit} / {missed} / {extra}")
                    }
                },
            );
        let compared = [
            row.label.clone(),
            golden(|faces| faces.least_iou),
            golden(|faces| Some(faces.max_score_difference)),
        ];
        table.row(compared.into_iter().chain(found));
    }
    table
}

/// Whether the bits of all outputs for the same input are the same.
pub(super) fn repeatability(analysis: &Analysis) -> Table {
    let yes = |holds: bool| if holds { "equal" } else { "⚠ different" };
    let header = [
        "model",
        "engine",
        "pass to pass",
        "between processes",
        "between numbers of threads",
    ];
    Table::new(header)
        .keys(2)
        .rows(analysis.repeatability.iter().map(|r| {
            let threads: Vec<String> = r.threads.iter().map(ToString::to_string).collect();
            let passes = match r.differs_from_pass {
                None => format!("equal in {}", counted(r.passes, "pass")),
                Some(pass) => format!("⚠ different from pass {pass} on"),
            };
            let processes = counted(r.processes, "process");
            let between_threads = match declared_of(analysis, r) {
                _ if r.threads.len() < 2 => NONE.into(),
                Some(_) if !r.threads_agree => "different, as declared".into(),
                _ => format!("{} with {}", yes(r.threads_agree), threads.join(" and ")),
            };
            vec![
                r.model.clone(),
                format!("{} ({})", analysis.called(&r.backend), r.format.key()),
                passes,
                format!("{} in {processes}", yes(r.processes_agree)),
                between_threads,
            ]
        }))
}

/// What an engine declares of outputs that depend on the number of threads.
pub(super) fn declared_of<'a>(analysis: &'a Analysis, r: &Repeatability) -> Option<&'a Exception> {
    analysis
        .known
        .get(&r.backend)?
        .thread_dependent(&r.model, r.format)
}

/// What the engines say that they ran: how often they multiplied by weights, and their most frequent operators.
pub(super) fn arithmetic(analysis: &Analysis, model: &ModelDescription) -> Table {
    let mut table = Table::new(["engine", "on integers", "on floats", "operators"]);
    for row in analysis.rows(model) {
        let line = match &row.arithmetic {
            Some(Ok(ran)) => {
                let mut operators: Vec<_> = ran.operators.iter().collect();
                operators.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
                let operators: Vec<String> = operators
                    .iter()
                    .take(OPERATORS)
                    .map(|(name, count)| format!("{count} {name}"))
                    .collect();
                [
                    ran.integer.to_string(),
                    ran.float.to_string(),
                    operators.join(", "),
                ]
            }
            Some(Err(reason)) => [NONE.into(), NONE.into(), brief(reason)],
            None => [NONE.into(), NONE.into(), "not asked".into()],
        };
        table.row([&[row.label.clone()][..], &line].concat());
    }
    table
}

/// `99.9 %` of a whole, rounded down.
pub(super) fn share(part: usize, whole: usize) -> String {
    percent_rounded_down(if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    })
}
