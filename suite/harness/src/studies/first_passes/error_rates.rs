//! `firstpass error-rates`: how often the judging errs, on the noise of records, and what these records
//! themselves leave open.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use firstpass_statistics::{
    error_rates::{self, Rate},
    planted::Noise,
};
use firstpass_trial::workspace::Workspace;
use minijinja::Value;
use serde::Serialize;

use crate::{
    page::table::Table,
    record::Record,
    studies::first_passes::{
        arguments::reported,
        judge::{
            comparisons::Comparisons,
            headlines::{Answer, Question, contradicts, headlines},
            latency::{self, summarise},
        },
    },
};

/// How many cells of each kind are planted, and how many runs of comparisons.
const CELLS: usize = 400;
const RUNS: usize = 1000;

/// The same record gives the same table.
const SEED: u64 = 1;

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
        let asked = headlines(&latencies, &Comparisons::of_run(&latencies));
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
    let rates = error_rates::of_cells(noise, CELLS, SEED);
    let comparisons = error_rates::of_comparisons(RUNS, SEED);
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
