//! Whether the machine was quiet, and how far the judging can be trusted on its noise.

use firstpass_statistics::Spread;
use minijinja::Value;
use serde::Serialize;

use crate::{
    page::table::Table,
    studies::first_passes::{
        analysis::Analysis,
        error_rates,
        judge::{disturbance, latency},
    },
};

/// What a page says of noise.
#[derive(Debug, Serialize)]
pub(crate) struct Noise {
    disturbed: usize,
    processes: usize,
    /// The share of passes beside which the core was slow.
    slowed: f64,
    /// Rows that have too few first passes without those, so that these count as well.
    too_few: Vec<TooFew>,
    /// What disturbed how many processes.
    kinds: Option<Value>,
    /// What the hypervisor took of each process, in percent of a CPU.
    steal: Option<Steal>,
    /// `None` where there are too few passes to know their noise.
    judging: Option<error_rates::Judging>,
}

#[derive(Debug, Serialize)]
struct TooFew {
    label: String,
    model: String,
    threads: usize,
}

#[derive(Debug, Serialize)]
struct Steal {
    median: f64,
    most: f64,
}

/// A run in which many processes were disturbed.
#[derive(Debug, Serialize)]
pub(crate) struct Disturbed {
    disturbed: usize,
    processes: usize,
}

fn summary(analysis: &Analysis) -> disturbance::Summary {
    let record = &analysis.record;
    disturbance::summarise(record.observations(), record.run.machine.cores)
}

/// `None` where the machine was quiet enough.
pub(crate) fn disturbed(analysis: &Analysis) -> Option<Disturbed> {
    let summary = summary(analysis);
    summary.is_disturbed().then_some(Disturbed {
        disturbed: summary.disturbed,
        processes: summary.processes,
    })
}

/// What is known of the noise of a record.
pub(crate) fn noise(analysis: &Analysis) -> Noise {
    let summary = summary(analysis);
    let rows = analysis.rows.iter();
    let rows = rows.flat_map(|(model, rows)| rows.iter().map(move |row| (model, row)));
    let too_few = rows.clone().flat_map(|(model, row)| {
        let latencies = row.latency.iter().filter(|(_, l)| l.too_few_undisturbed);
        latencies.map(move |(threads, _)| TooFew {
            label: row.label.clone(),
            model: model.clone(),
            threads: *threads,
        })
    });
    let kinds = summary.kinds.iter();
    let kinds = kinds.map(|(count, worst)| [count.to_string(), worst.to_string()]);
    let kinds = Table::new(["processes", "disturbed by, in the strongest case"]).rows(kinds);
    let steal = Spread::of(analysis.record.observations().filter_map(|o| {
        let counters = &o.system_counters;
        Some(100.0 * counters.steal_ms? / counters.wall_ms.max(1.0))
    }));
    let latencies = rows.flat_map(|(_, row)| row.latency.values());
    Noise {
        disturbed: summary.disturbed,
        processes: summary.processes,
        slowed: summary.slowed_share(),
        too_few: too_few.collect(),
        kinds: (!kinds.is_empty()).then(|| kinds.page()),
        steal: steal.map(|s| Steal {
            median: s.median,
            most: s.high,
        }),
        judging: latency::noise(latencies).map(|noise| error_rates::judging(&noise)),
    }
}
