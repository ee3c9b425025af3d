//! What the page about outputs says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use firstpass_trial::{
    expectation::{ExpectationVerdict, FLOAT_MAX_ABSOLUTE, FLOAT_MAX_RELATIVE},
    model::ModelDescription,
};
use minijinja::Value;
use serde::Serialize;

use super::agreement_tables::{
    arithmetic, declared_of, faces, histogram, outputs, pairwise, repeatability,
};
use crate::{
    page::{markdown::image, table::Table, template::markdown as safe},
    report::picture_path,
    studies::first_passes::{
        analysis::{Analysis, Row},
        extent::{exact, extent},
        picture::pictured_model,
        row::USABLE_DB,
        verdict,
    },
};

/// What the page says.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    /// Whether the models are those of the fixtures, whose golden outputs are PyTorch's own.
    of_fixtures: bool,
    /// The models that the page shows before anything is unfolded.
    shown: Vec<Shown>,
    /// Who agrees, in sentences, by model.
    verdicts: Vec<verdict::Agreement>,
    causes: Vec<Cause>,
    models: Vec<OfModel>,
    pictures: Vec<Picture>,
    /// The model whose boxes the pictures show.
    pictured: Option<String>,
    repeatability: Value,
    /// What engines declare of outputs that depend on the number of threads.
    by_threads: BTreeSet<ByThreads>,
    /// Where the counts of operators come from, by engine.
    sources: BTreeMap<String, String>,
    limits: Limits,
}

/// How far floats may be off.
#[derive(Debug, Serialize)]
struct Limits {
    relative: String,
    absolute: String,
    /// From here on outputs can be used.
    usable_db: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    title: String,
    reference: Option<String>,
    table: Value,
}

/// A declared divergence, and the engines that show it.
#[derive(Debug, Serialize)]
struct Cause {
    name: String,
    labels: Vec<String>,
    /// In markdown, as it is declared.
    reason: Value,
}

#[derive(Debug, Serialize)]
struct OfModel {
    title: String,
    outputs: Option<Value>,
    histogram: Option<Value>,
    pairs: Option<Value>,
    faces: Option<Value>,
    arithmetic: Value,
}

#[derive(Debug, Serialize)]
struct Picture {
    name: String,
    description: String,
    source: String,
    image: Value,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct ByThreads {
    engine: String,
    reason: String,
}

/// What the page says; `shown` are the models that a reader asks for first.
pub(crate) fn agreement(
    analysis: &Analysis,
    of_fixtures: bool,
    shown: &[&ModelDescription],
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> Page {
    let page = |table: Option<Table>| table.map(|table| table.page());
    let rows = || analysis.rows.values().flatten();
    Page {
        of_fixtures,
        shown: shown
            .iter()
            .map(|model| Shown {
                title: model.title.clone(),
                reference: analysis.reference(model),
                table: summary(analysis, model).seen(),
            })
            .collect(),
        verdicts: verdict::of_agreement(analysis),
        causes: causes(rows()),
        models: analysis
            .models()
            .iter()
            .map(|model| {
                let rows = analysis.rows(model);
                OfModel {
                    title: model.title.clone(),
                    outputs: page(outputs(model, rows)),
                    histogram: page(histogram(rows)),
                    pairs: page(pairwise(model, rows)),
                    faces: model
                        .detection
                        .as_ref()
                        .map(|_| faces(analysis, model).page()),
                    arithmetic: arithmetic(analysis, model).page(),
                }
            })
            .collect(),
        pictures: pictures(analysis, files),
        pictured: pictured_model(analysis).map(|model| model.title.clone()),
        repeatability: repeatability(analysis).page(),
        by_threads: by_threads(analysis),
        sources: rows()
            .filter_map(|row| match &row.arithmetic {
                Some(Ok(ran)) => Some((analysis.called(&row.cell.backend), ran.source.clone())),
                _ => None,
            })
            .collect(),
        limits: Limits {
            relative: format!("{FLOAT_MAX_RELATIVE:.0e}"),
            absolute: format!("{FLOAT_MAX_ABSOLUTE:.1e}"),
            usable_db: format!("{USABLE_DB:.0}"),
        },
    }
}

/// One row an engine: by how much it differs, and why.
fn summary(analysis: &Analysis, model: &ModelDescription) -> Table {
    let facts = analysis.of_models.get(&model.name);
    let says_little = facts.is_some_and(|facts| facts.says_little);
    let rows = analysis.rows(model);
    let with_faces = rows.iter().any(|row| row.golden_faces.is_some());
    let with_classes = rows.iter().any(|row| row.golden_classes.is_some());
    let with_exact = rows.iter().any(|row| exact(row).is_some());
    let mut header = vec!["engine"];
    header.extend(with_exact.then_some("exact"));
    header.extend(with_faces.then_some("faces"));
    header.extend(with_classes.then_some("class"));
    header.push("verdict");
    Table::new(header).rows(rows.iter().map(|row| {
        let mut line = vec![row.label.clone()];
        if with_exact {
            line.push(exact(row).unwrap_or_else(|| NONE.into()));
        }
        if with_faces {
            line.push(same_faces(row).unwrap_or_else(|| NONE.into()));
        }
        if with_classes {
            let classes = row.golden_classes.as_ref();
            line.push(classes.map_or_else(
                || NONE.into(),
                |c| format!("{} of {}", c.same_best, c.classifications),
            ));
        }
        line.push(verdict_of(row, says_little).unwrap_or_else(|| NONE.into()));
        line
    }))
}

/// What was not measured.
const NONE: &str = "–";

fn same_faces(row: &Row) -> Option<String> {
    let faces = row.golden_faces.as_ref()?;
    Some(match (faces.missed, faces.extra) {
        (0, 0) => format!("yes, {}", faces.matched),
        (0, extra) => format!("{extra} more"),
        (missed, 0) => format!("{missed} missed"),
        (missed, extra) => format!("{missed} missed, {extra} more"),
    })
}

/// The verdict in a few words; `None` where there is nothing to compare with.
fn verdict_of(row: &Row, says_little: bool) -> Option<String> {
    if !row.not_finite.is_empty() {
        return Some("⚠ NaN or infinite".into());
    }
    let verdict = row.verdict.as_ref()?;
    if let ExpectationVerdict::Declared { name, .. } = verdict {
        let extent = row.agreement.as_deref().and_then(extent);
        return Some(match extent {
            Some(extent) => format!("{extent}: {name}"),
            None => format!("as expected: {name}"),
        });
    }
    if verdict.is_difference() {
        let extent = row.agreement.as_deref().and_then(extent);
        return Some(match (verdict, extent) {
            (ExpectationVerdict::Undecided(_), _) => "⚠ differ".into(),
            (_, Some(extent)) => format!("⚠ differs: {extent}"),
            (_, None) => "⚠ differs".into(),
        });
    }
    if let ExpectationVerdict::OtherRounding { .. } = verdict {
        let extent = row.agreement.as_deref().and_then(extent);
        return Some(match extent {
            Some(extent) => format!("rounding: {extent}"),
            None => "rounding".into(),
        });
    }
    Some(if says_little {
        "⚠ agrees, as on any input".into()
    } else {
        verdict.to_string()
    })
}

/// The causes of declared divergences, each once.
fn causes<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Cause> {
    let mut causes: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for row in rows {
        if let Some(ExpectationVerdict::Declared { name, reason }) = &row.verdict {
            let labels = causes.entry((name, reason)).or_default();
            if !labels.contains(&row.label) {
                labels.push(row.label.clone());
            }
        }
    }
    let causes = causes.into_iter();
    let causes = causes.map(|((name, reason), labels)| Cause {
        name: name.into(),
        labels,
        reason: safe(one_line(reason)),
    });
    causes.collect()
}

fn pictures(analysis: &Analysis, files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<Picture> {
    let shown = analysis.samples().iter().filter_map(|sample| {
        let path = picture_path(&sample.name);
        files.contains_key(&path).then(|| Picture {
            name: sample.name.clone(),
            description: sample.description.clone(),
            source: sample.source.clone(),
            image: safe(image(&path, &format!("faces found in {}", sample.name))),
        })
    });
    shown.collect()
}

/// What was declared in several lines.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn by_threads(analysis: &Analysis) -> BTreeSet<ByThreads> {
    let all = analysis.repeatability.iter().filter(|r| !r.threads_agree);
    let declared = all.filter_map(|r| {
        let reason = &declared_of(analysis, r)?.reason;
        Some(ByThreads {
            engine: analysis.called(&r.backend),
            reason: one_line(reason),
        })
    });
    declared.collect()
}
