//! `firstpass error-rates`: how often the judging errs, on the noise of records, and what these records
//! themselves leave open.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args;
use firstpass_probe::{cache_folder, private_folder};
use firstpass_statistics::{
    SOURCES,
    error_rates::{self, Rate},
    planted::Noise,
};
use firstpass_trial::workspace::Workspace;
use minijinja::Value;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::{
    page::table::Table,
    record::Record,
    studies::first_passes::{
        arguments::reported,
        judge::{
            comparisons::Comparisons,
            headlines::{Answer, Question, contradicts, headlines},
            latency::{self, summarise},
            no_choice::NoChoice,
        },
    },
};

/// How many cells of each kind are planted, and how many runs of comparisons.
const CELLS: usize = 400;
const RUNS: usize = 1000;

/// The same record gives the same table.
const SEED: u64 = 1;

/// Tables are kept of so many records.
const MOST_KEPT: usize = 32;

#[derive(Args)]
pub struct Arguments {
    /// Records whose noise is planted with, and whose answers must not contradict each other; without one,
    /// the record of the report
    #[arg(value_name = "RECORD")]
    records: Vec<PathBuf>,
}

/// Fails where the judging errs more often than it may, or where records contradict each other.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let mut folders = arguments.records.clone();
    if folders.is_empty() {
        folders.push(reported(workspace, "a RECORD")?);
    }
    let mut kept = true;
    let mut answers: Vec<(PathBuf, BTreeMap<Question, Answer>)> = Vec::new();
    for folder in folders {
        let record = Record::read(&folder)?;
        let latencies = summarise(record.observations());
        let noise = latency::noise(&latencies).with_context(|| {
            format!("{} has too few passes to know its noise", folder.display())
        })?;
        let rates = error_rates::of_cells(&noise, CELLS, SEED);
        println!("{}: {}\n", folder.display(), noise_in_words(&noise));
        println!("{}\n", table(&rates).terminal());
        kept &= rates.iter().all(Rate::is_kept);
        // Times alone are judged here, whatever the outputs are.
        let comparisons = Comparisons::of_run(&latencies);
        let asked = headlines(&latencies, &comparisons, &NoChoice::default());
        let open = asked.values().filter(|answer| answer.is_open()).count();
        println!("{open} of {} headline questions are open\n", asked.len());
        answers.push((folder, asked));
    }
    let rates = error_rates::of_comparisons(RUNS, SEED);
    println!("{}", table(&rates).terminal());
    kept &= rates.iter().all(Rate::is_kept);
    for (at, (folder, asked)) in answers.iter().enumerate() {
        for (other, also_asked) in &answers[at + 1..] {
            let pairs = asked
                .iter()
                .filter_map(|(q, a)| Some((q, a, also_asked.get(q)?)));
            let contradictions: Vec<_> = pairs.filter(|(_, a, b)| contradicts(a, b)).collect();
            println!(
                "\n{} and {} contradict each other in {} of the questions that both were asked",
                folder.display(),
                other.display(),
                contradictions.len()
            );
            for (question, one, another) in &contradictions {
                println!("- {}", contradiction(question, one, another));
            }
            kept &= contradictions.is_empty();
        }
    }
    Ok(if kept {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A question with two answers, in words.
fn contradiction(question: &Question, one: &Answer, another: &Answer) -> String {
    format!("{question}: {one} in one, {another} in the other")
}

/// What a report says of it.
#[derive(Debug, Serialize)]
pub(crate) struct Judging {
    /// How many kinds of series are judged as rightly as they must be, of how many.
    kept: usize,
    all: usize,
    /// Cells of each kind.
    cells: usize,
    noise: String,
    of_cells: Value,
    of_comparisons: Value,
}

/// How often the judging errs on noise like this.
pub(crate) fn judging(noise: &Noise) -> Judging {
    let [rates, comparisons] = rates(noise);
    let all = rates.iter().chain(&comparisons);
    Judging {
        kept: all.clone().filter(|rate| rate.is_kept()).count(),
        all: all.count(),
        cells: CELLS,
        noise: noise_in_words(noise),
        of_cells: table(&rates).page(),
        of_comparisons: table(&comparisons).page(),
    }
}

/// The rates of cells and of comparisons. They take longer than all else of a report, and follow from the noise and
/// from the sources of the judging alone; so they are kept by these, and read where they are there.
fn rates(noise: &Noise) -> [Vec<Rate>; 2] {
    let compute = || {
        [
            error_rates::of_cells(noise, CELLS, SEED),
            error_rates::of_comparisons(RUNS, SEED),
        ]
    };
    // Without a folder for it nothing is kept.
    let folder = cache_folder().and_then(|cache| private_folder(&cache.join("error-rates")));
    folder.map_or_else(|_| compute(), |folder| kept_in(&folder, noise, compute))
}

/// What was computed of this noise before, or else is now.
fn kept_in(
    folder: &Path,
    noise: &Noise,
    compute: impl FnOnce() -> [Vec<Rate>; 2],
) -> [Vec<Rate>; 2] {
    let from = format!("{SOURCES} {CELLS} {RUNS} {SEED} {noise:?}");
    let digest = Sha256::digest(from.as_bytes());
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(name + ".json");
    let read = |path: &Path| serde_json::from_slice(&fs::read(path).ok()?).ok();
    if let Some(kept) = read(&path) {
        return kept;
    }
    let rates = compute();
    // They are computed again where they cannot be kept.
    let _ = keep(folder, &path, &rates);
    rates
}

/// Keeps them in the place of those of other noise that were not asked for of late.
fn keep(folder: &Path, path: &Path, rates: &[Vec<Rate>; 2]) -> Result<()> {
    let entries = fs::read_dir(folder)?.flatten();
    let mut others: Vec<_> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    others.sort();
    let superfluous = (others.len() + 1).saturating_sub(MOST_KEPT);
    for (_, other) in &others[..superfluous] {
        fs::remove_file(other)?;
    }
    let mut file = NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut file, rates)?;
    file.persist(path)?;
    Ok(())
}

fn noise_in_words(noise: &Noise) -> String {
    format!(
        "standard deviation {:.1} % of a pass, with its tails",
        100.0 * noise.level
    )
}

fn table(rates: &[Rate]) -> Table {
    let mut table = Table::new(["planted", "right is", "judged rightly", "at least"]);
    for rate in rates {
        let mark = if rate.is_kept() { "" } else { "⚠ " };
        table.row([
            rate.planted.clone(),
            rate.right_is.clone(),
            format!("{mark}{:.1} %", 100.0 * rate.share()),
            format!("{:.0} %", 100.0 * rate.needed),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_computed_of_the_same_noise_is_not_computed_again() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let steady: Vec<f64> = (0..20).map(|n| 10.0 + f64::from(n % 3)).collect();
        let noise = Noise::of([&steady[..]]).context("there is noise")?;
        let rate = |right| Rate {
            planted: "x".into(),
            right_is: "y".into(),
            right,
            of: 10,
            needed: 0.95,
        };
        let computed = |noise: &Noise, right| {
            kept_in(folder.path(), noise, || [vec![rate(right)], Vec::new()])
        };
        let first = computed(&noise, 1);
        assert_eq!(computed(&noise, 2), first);
        assert_eq!(computed(&noise.times(2.0), 3)[0], [rate(3)]);
        for number in 0..2 * MOST_KEPT {
            computed(&noise.times(3.0 + number as f64), 4);
        }
        assert_eq!(fs::read_dir(folder.path())?.count(), MOST_KEPT);
        Ok(())
    }
}
