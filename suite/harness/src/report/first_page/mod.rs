//! The first page of a report: what an engineer needs to choose an engine, within two screens.
//!
//! Here it is data. `templates/first-page.md.j2` and `templates/summary.md.j2` say it in words, for a page
//! and for a terminal.

mod agreement;
mod first_passes;
mod open;
mod processors;
mod ship;
mod table;
mod versions;

use std::collections::BTreeMap;

use firstpass_probe::Format;
use firstpass_statistics::median;
use firstpass_trial::model::{ModelDescription, Precision};
use serde::Serialize;

use crate::{
    page::{
        markdown,
        numbers::{brief, counted},
        template,
    },
    studies::first_passes::{
        analysis::{Analysis, Row},
        findings::{Finding, Harm},
        judge::latency::Latency,
        report::noise::{Disturbed, disturbed},
        verdict,
    },
};

/// At most this many models have rows on the first page.
const MODELS: usize = 2;

/// What the first page says.
#[derive(Debug, Serialize)]
pub(crate) struct FirstPage {
    run: RunFacts,
    /// Why nothing may have run: the inputs were made up.
    hint: Option<String>,
    /// What is wrong, the worst first.
    findings: Vec<minijinja::Value>,
    /// What has no verdict because too little was measured.
    too_short: Vec<minijinja::Value>,
    /// What holds, where nothing is wrong.
    holds: Option<verdict::Holds>,
    models: Vec<ModelAnswers>,
    /// Whether a row is called after the format of quantized operators, which not every reader knows.
    has_quantized_operators: bool,
    open: Option<open::Open>,
}

impl FirstPage {
    /// The table of the model that a reader asks for first, for a terminal.
    pub(crate) fn first_table(&self) -> Option<String> {
        let model = self.models.first()?;
        let reference = model.agreement.reference.as_deref().unwrap_or("each other");
        Some(format!(
            "{}, {}, times in ms, outputs against {reference}\n{}",
            model.title,
            counted(model.threads, "thread"),
            model.table.terminal()
        ))
    }
}

/// What was measured, where and when.
#[derive(Debug, Serialize)]
struct RunFacts {
    processor: String,
    cores: usize,
    date: String,
    /// How long measuring took, in minutes; `None` where it was interrupted.
    minutes: Option<f64>,
    processes: usize,
    samples: usize,
    /// Whether nobody gave an input.
    are_made_up: bool,
    /// Where more than one process in five was disturbed, and how many were.
    busy: Option<Disturbed>,
    /// Engines that are here and were not asked.
    not_asked: Vec<String>,
    /// Titles of models that have rows on other pages only.
    others: Vec<String>,
}

/// The answers for one model.
#[derive(Debug, Serialize)]
struct ModelAnswers {
    title: String,
    /// `int8` or `float`, where the page has one model of each; else the title.
    called: String,
    threads: usize,
    agreement: agreement::Answer,
    ship: Option<ship::Ship>,
    upgrades: Vec<versions::Upgrade>,
    processors: Option<processors::Answer>,
    first_passes: first_passes::Answer,
    table: table::EngineTable,
}

/// The first page of a judged record.
pub(crate) fn first_page(analysis: &Analysis) -> FirstPage {
    let shown = shown(analysis);
    let of_each = shown.len() > 1
        && shown.iter().all(|model| {
            let same = shown.iter().filter(|m| m.precision == model.precision);
            same.count() == 1
        });
    let models = shown
        .iter()
        .map(|model| {
            let rows = analysis.rows(model);
            let threads = fewest_threads(rows);
            ModelAnswers {
                title: model.title.clone(),
                called: match model.precision {
                    _ if !of_each => model.title.clone(),
                    Precision::Int8 => "int8".into(),
                    Precision::Fp32 => "float".into(),
                },
                threads,
                agreement: agreement::answer(analysis, model),
                ship: ship::ship(analysis, model, threads),
                processors: processors::answer(analysis, model),
                upgrades: versions::upgrades(analysis, model, threads),
                first_passes: first_passes::answer(analysis, model),
                table: table::engine_table(analysis, model),
            }
        })
        .collect();
    let mut rows = shown.iter().flat_map(|model| analysis.rows(model));
    let has_quantized_operators = rows.any(|row| row.label.contains(Format::ONNX_QOPERATOR.key()));
    let run = &analysis.record.run;
    let others = analysis.models().iter();
    let others = others.filter(|m| shown.iter().all(|s| s.name != m.name));
    let all = analysis.findings();
    let is_short = |finding: &&Finding| finding.harm == Harm::TooShort;
    let too_short = all.iter().filter(is_short);
    let findings = all.iter().filter(|finding| !is_short(finding));
    let said = |finding: &Finding| template::markdown(markdown::sentence(&brief(&finding.text)));
    FirstPage {
        run: RunFacts {
            processor: run.machine.cpu.clone(),
            cores: run.machine.cores,
            date: run.date.split('T').next().unwrap_or_default().into(),
            minutes: run.duration_s.map(|s| s / 60.0),
            processes: analysis.record.observations().count(),
            samples: analysis.samples().len(),
            are_made_up: analysis.are_made_up(),
            busy: disturbed(analysis),
            // What cannot be read is said where it is needed.
            not_asked: analysis.not_asked().unwrap_or_default(),
            others: others.map(|m| m.title.clone()).collect(),
        },
        hint: analysis.only_made_up_inputs_failed(),
        findings: findings.map(said).collect(),
        too_short: too_short.map(said).collect(),
        holds: verdict::what_holds(analysis),
        models,
        has_quantized_operators,
        open: open::open(analysis),
    }
}

/// The models that a reader asks for first: all of a few, and of many the first of each precision, integers
/// before floats.
pub(crate) fn shown(analysis: &Analysis) -> Vec<&ModelDescription> {
    let timed = |m: &&ModelDescription| !m.latency_on_request;
    let models: Vec<&ModelDescription> = analysis.models().iter().filter(timed).collect();
    let models = if models.is_empty() {
        analysis.models().iter().collect()
    } else {
        models
    };
    if models.len() <= MODELS {
        return models;
    }
    let first = |precision| models.iter().find(|m| m.precision == precision).copied();
    let of_each = [first(Precision::Int8), first(Precision::Fp32)];
    of_each.into_iter().flatten().collect()
}

fn fewest_threads<'a>(rows: impl IntoIterator<Item = &'a Row>) -> usize {
    let threads = rows.into_iter().flat_map(|r| r.latency.keys().copied());
    threads.min().unwrap_or(1)
}

/// The rows of a model that were timed with this number of threads, each by default.
fn timed(rows: &[Row], threads: usize) -> impl Iterator<Item = (&Row, &Latency)> {
    rows.iter()
        .filter_map(move |row| Some((row, row.latency.get(&threads)?)))
}

/// The median of a figure over the processes, in ms.
fn typical(by_round: BTreeMap<usize, f64>) -> Option<f64> {
    median(by_round.into_values())
}
