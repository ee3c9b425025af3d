//! Series in which the shape of the inputs changes.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{
    page::{
        numbers::{milliseconds, times},
        table::Table,
        write_file,
    },
    studies::{
        first_passes::judge::latency::{Latency, Phase},
        shapes::{Found, Shape, ShapesRun},
    },
};

/// Beside the record of the measurements.
const PAGE: &str = "shapes.md";

/// A pass that takes so many times the steady time is a warm-up.
const WARM_UP: f64 = 1.5;

const HEADER: [&str; 8] = [
    "engine",
    "model",
    "shape",
    "prepare, ms",
    "pass 1, ms",
    "pass 2, ms",
    "steady, ms",
    "pass 1 / steady",
];

/// The table, and what it says.
pub fn shapes_on_terminal(shapes: &[Shape], found: &[Found]) -> String {
    let table = table(shapes, found).terminal();
    format!("{table}\n{}", sentences(shapes, found).join("\n"))
}

/// Writes the page into `folder`; returns where.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write_shapes(
    shapes: &[Shape],
    found: &[Found],
    run: &ShapesRun,
    folder: &Path,
) -> Result<PathBuf> {
    let settings = run.settings;
    let names: Vec<&str> = shapes.iter().map(|shape| shape.text.as_str()).collect();
    let lines: Vec<String> = sentences(shapes, found)
        .into_iter()
        .map(|sentence| format!("- {sentence}"))
        .collect();
    let text = format!(
        "# A new shape\n\nEach of {} fresh processes ran {} passes on made-up inputs of each shape, {}, \
         with {} thread{}. Medians over processes; {}, {} cores, {}, code {}.\n\n{}\n\n{}\n",
        settings.rounds,
        settings.passes,
        names.join(", then "),
        settings.threads,
        if settings.threads == 1 { "" } else { "s" },
        run.machine.cpu,
        run.machine.cores,
        run.date,
        run.code.commit.as_deref().unwrap_or("without a commit"),
        table(shapes, found).markdown(),
        lines.join("\n")
    );
    let path = folder.join(PAGE);
    write_file(&path, text.as_bytes())?;
    Ok(path)
}

fn table(shapes: &[Shape], found: &[Found]) -> Table {
    let mut table = Table::new(HEADER);
    for one in found {
        for (shape, latency) in shapes.iter().zip(&one.latencies) {
            let Some(latency) = latency else { continue };
            let figure = |ms: Option<f64>| ms.map_or_else(|| "–".into(), milliseconds);
            let median = |estimate: Option<&firstpass_statistics::bootstrap::Estimate>| {
                figure(estimate.map(|e| e.median))
            };
            let prepared = latency.processes.iter();
            let prepared = prepared.filter_map(|p| p.phases.get(&Phase::Prepare).copied());
            table.row([
                one.backend.clone(),
                one.model.clone(),
                shape.text.clone(),
                figure(firstpass_statistics::median(prepared)),
                median(latency.pass.get(&1)),
                median(latency.pass.get(&2)),
                median(latency.steady.as_ref()),
                ratio(latency).map_or_else(|| "–".into(), times),
            ]);
        }
        if let Some(failure) = &one.failure {
            table.row([&one.backend, &one.model, failure]);
        }
    }
    table
}

fn ratio(latency: &Latency) -> Option<f64> {
    latency.first_over_steady.map(|first| first.ratio())
}

/// For each engine and model that came to a second shape: whether it warmed up again.
fn sentences(shapes: &[Shape], found: &[Found]) -> Vec<String> {
    let mut sentences = Vec::new();
    for one in found {
        for (shape, latency) in shapes.iter().zip(&one.latencies).skip(1) {
            let Some(found) = latency.as_ref().and_then(ratio) else {
                continue;
            };
            let again = if found > WARM_UP {
                "warms up again"
            } else {
                "does not warm up again"
            };
            sentences.push(format!(
                "{} on {} {again} at {}: pass 1 takes {} the steady time.",
                one.backend,
                one.model,
                shape.text,
                times(found)
            ));
        }
    }
    sentences
}
