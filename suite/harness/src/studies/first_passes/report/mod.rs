//! What the page about first passes says, as data. `templates/detail/first-passes.md.j2` says it in words.

mod cold_files;
pub(crate) mod noise;
mod tables;

use std::{collections::BTreeMap, path::PathBuf};

use firstpass_probe::Format;
use firstpass_statistics::steady::DELTA;
use firstpass_trial::{
    model::ModelDescription,
    observation::{Observation, Purpose},
};
use minijinja::Value;
use serde::Serialize;

use crate::{
    page::{markdown, numbers::milliseconds, template::markdown as safe},
    studies::first_passes::{
        analysis::{Analysis, Row, label},
        judge::flipping::flipping,
        plots::{Plot, plot},
        untimed::{Why, untimed},
        verdict,
        words::brief,
    },
};
use cold_files::ColdFiles;
use tables::Timed;

pub(crate) use noise::{Noise, noise};

/// What the page about first passes says.
#[derive(Debug, Serialize)]
pub(crate) struct FirstPasses {
    disturbed: Option<noise::Disturbed>,
    settings: Settings,
    /// The models that the page shows before anything is unfolded.
    shown: Vec<Shown>,
    /// Who is fastest and what is open, by model.
    verdicts: Vec<verdict::Time>,
    models: Vec<OfModel>,
}

/// How it was measured.
#[derive(Debug, Serialize)]
struct Settings {
    passes: usize,
    budget_s: f64,
    /// How near passes are to the steady time, as a share of it.
    steady_within: f64,
}

#[derive(Debug, Serialize)]
struct Shown {
    title: String,
    threads: usize,
    /// `None` where nothing was timed.
    table: Option<Value>,
    untimed: Vec<NotTimed>,
    plot: Option<Value>,
}

/// An engine whose time is not judged.
#[derive(Debug, Serialize)]
struct NotTimed {
    label: String,
    threads: usize,
    /// How few passes its processes did; `None` where the budget ended first.
    passes: Option<usize>,
    /// A first look at pass 1, in ms.
    about_ms: Option<String>,
    remedy: String,
}

/// What is known of one model.
#[derive(Debug, Serialize)]
struct OfModel {
    title: String,
    description: Value,
    threads: Vec<OfThreads>,
    untimed: Vec<NotTimed>,
    /// Engines that read none of its files, with the formats that they do read.
    without_file: Vec<WithoutFile>,
    /// Engines that do not run with the settings of `tuned.toml`.
    without_tuned: Vec<WithoutTuned>,
    cold_files: Option<ColdFiles>,
    plots: Vec<Value>,
}

#[derive(Debug, Serialize)]
struct OfThreads {
    threads: usize,
    passes: Value,
    warm_up: Value,
    cold_start: Value,
    resources: Value,
    pairs: Option<Value>,
    /// Engines whose passes jump between two levels.
    flips: Vec<Flips>,
}

#[derive(Debug, Serialize)]
struct Flips {
    label: String,
    how: Value,
}

#[derive(Debug, Serialize)]
struct WithoutFile {
    /// Those that read the same formats.
    engines: Vec<String>,
    formats: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct WithoutTuned {
    label: String,
    why: String,
}

/// What the page says; `shown` are the models that a reader asks for first.
pub(crate) fn first_passes(
    analysis: &Analysis,
    shown: &[&ModelDescription],
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> FirstPasses {
    let settings = &analysis.record.run.settings;
    FirstPasses {
        disturbed: noise::disturbed(analysis),
        settings: Settings {
            passes: settings.passes,
            budget_s: settings.budget_s,
            steady_within: DELTA,
        },
        shown: shown
            .iter()
            .map(|model| self::shown(analysis, model, files))
            .collect(),
        verdicts: verdict::of_time(analysis),
        models: analysis
            .models()
            .iter()
            .map(|model| {
                let is_shown = shown.iter().any(|shown| shown.name == model.name);
                of_model(analysis, model, is_shown, files)
            })
            .collect(),
    }
}

fn shown(
    analysis: &Analysis,
    model: &ModelDescription,
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> Shown {
    let rows = analysis.rows(model);
    let threads = rows.iter().flat_map(|row| row.latency.keys().copied());
    let threads = threads.min().unwrap_or(1);
    let table = tables::summary(&timed(rows, threads));
    let mut untimed = not_timed(analysis, rows);
    untimed.retain(|row| row.threads == threads);
    Shown {
        title: model.title.clone(),
        threads,
        table: (!table.is_empty()).then(|| table.seen()),
        untimed,
        plot: plot(Plot::FirstPasses, model, files).map(safe),
    }
}

/// The rows that were timed with this number of threads, each by default and then tuned.
fn timed(rows: &[Row], threads: usize) -> Vec<Timed<'_>> {
    let all = rows
        .iter()
        .flat_map(|row| row.timed().map(move |(n, latency)| (n, row, latency)));
    let of_threads = all.filter(|(n, _, _)| *n == threads);
    of_threads.map(|(_, row, latency)| (row, latency)).collect()
}

fn not_timed(analysis: &Analysis, rows: &[Row]) -> Vec<NotTimed> {
    let of_row = |row| {
        untimed(analysis, row)
            .into_iter()
            .map(move |found| (row, found))
    };
    let all = rows.iter().flat_map(of_row);
    all.map(|(row, found): (&Row, _)| NotTimed {
        label: row.label.clone(),
        threads: found.threads,
        passes: match found.why {
            Why::Passes(passes) => Some(passes),
            Why::Budget(_) => None,
        },
        about_ms: found.look.first_pass.map(milliseconds),
        remedy: found.remedy(),
    })
    .collect()
}

fn of_model(
    analysis: &Analysis,
    model: &ModelDescription,
    is_shown: bool,
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> OfModel {
    let rows = analysis.rows(model);
    let threads = analysis.record.run.settings.threads.iter();
    let threads = threads.filter_map(|&threads| {
        let latencies = timed(rows, threads);
        (!latencies.is_empty()).then(|| OfThreads {
            threads,
            passes: tables::passes(&latencies),
            warm_up: tables::warm_up(&latencies),
            cold_start: tables::cold_start(&latencies),
            resources: tables::resources(analysis, &latencies),
            pairs: tables::pairs(&analysis.comparisons, &latencies),
            flips: flips(analysis, &latencies),
        })
    });
    // Nothing is shown twice.
    let first = (!is_shown).then_some(Plot::FirstPasses);
    let further = [Plot::FirstPassDistribution, Plot::Phases];
    let plots = first.into_iter().chain(further);
    let plots = plots.filter_map(|kind| plot(kind, model, files));
    OfModel {
        title: model.title.clone(),
        description: safe(markdown::lines(&model.description)),
        threads: threads.collect(),
        untimed: not_timed(analysis, rows),
        without_file: without_file(analysis, model),
        without_tuned: without_tuned(analysis, model),
        cold_files: cold_files::cold_files(analysis, rows),
        plots: plots.map(safe).collect(),
    }
}

/// The engines that have no row because the model has no file that they read.
fn without_file(analysis: &Analysis, model: &ModelDescription) -> Vec<WithoutFile> {
    let backends = analysis.record.backends.iter();
    let mut without: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, backend) in backends {
        let Some(description) = &backend.description else {
            continue;
        };
        let formats = &description.formats;
        let reads = |format: &Format| model.artifacts.contains_key(format);
        if !formats.iter().any(reads) {
            let keys: Vec<&str> = formats.iter().map(|format| format.key()).collect();
            let engines = without.entry(keys.join(" or ")).or_default();
            engines.push(analysis.called(name));
        }
    }
    let without = without.into_iter();
    without
        .map(|(formats, engines)| WithoutFile { engines, formats })
        .collect()
}

/// The rows that have no tuned figures because the engine does not run with these settings.
fn without_tuned(analysis: &Analysis, model: &ModelDescription) -> Vec<WithoutTuned> {
    let of_model = analysis
        .without_tuned()
        .filter(|o| o.cell.model == model.name);
    let mut without: Vec<WithoutTuned> = of_model
        .map(|o| WithoutTuned {
            label: label(&o.cell.backend, &o.cell.model, o.cell.format, analysis),
            why: brief(&o.process.outcome.to_string()),
        })
        .collect();
    without.sort();
    without.dedup_by(|a, b| a.label == b.label);
    without
}

fn flips(analysis: &Analysis, latencies: &[Timed]) -> Vec<Flips> {
    let found = latencies.iter().filter_map(|(row, latency)| {
        let of_cell = |o: &&Observation| {
            o.cell == latency.cell && o.purpose == Purpose::Latency && o.process.completed()
        };
        let observations: Vec<&Observation> =
            analysis.record.observations().filter(of_cell).collect();
        Some(Flips {
            label: row.label_of(latency),
            how: safe(flipping(&observations)?.to_string()),
        })
    });
    found.collect()
}
