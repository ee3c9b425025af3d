//! What changed between two records, beyond noise.

use std::collections::BTreeMap;

use firstpass_statistics::{
    comparison::{Comparison, LogSample, Rule, control},
    moderation::Prior,
};
use firstpass_trial::observation::{Cell, Observation};

use crate::{
    record::Record,
    studies::first_passes::judge::latency::{Figure, Latency, summarise},
};

/// One figure of a cell that both records have.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub cell: Cell,
    pub figure: Figure,
    /// Medians over processes, in ms.
    pub before: f64,
    pub after: f64,
    /// Of after to before: *slower* means that it got slower.
    pub comparison: Comparison,
}

/// Two records compared.
#[derive(Debug)]
pub struct Changes {
    pub figures: Vec<Change>,
    /// Cells whose class is another one, as words before and after.
    pub classes: Vec<(Cell, String, String)>,
    /// Cells whose outputs have other bits for the same photograph.
    pub outputs: Vec<Cell>,
    /// Cells that only one of the records has, or that completed only there.
    pub gone: Vec<Cell>,
    pub new: Vec<Cell>,
    /// What else differs: machine, versions, code. Name, before, after.
    pub circumstances: Vec<(String, String, String)>,
}

impl Changes {
    pub fn beyond_noise(&self) -> impl Iterator<Item = &Change> {
        self.figures
            .iter()
            .filter(|c| c.comparison.verdict.is_claim())
    }
}

/// Compares two records. Their processes were not interleaved, so a change must be larger than the
/// resolution of its figure to be called one.
pub fn compare(before: &Record, after: &Record) -> Changes {
    let of = |record: &Record| -> BTreeMap<Cell, Latency> {
        let latencies = summarise(record.observations());
        latencies.into_iter().map(|l| (l.cell.clone(), l)).collect()
    };
    let (a, b) = (of(before), of(after));
    let both = || {
        a.iter()
            .filter_map(|(cell, x)| Some((cell, x, b.get(cell)?)))
    };
    let only_in = |a: &BTreeMap<Cell, Latency>, b: &BTreeMap<Cell, Latency>| {
        let cells = a.keys().filter(|cell| !b.contains_key(cell));
        cells.cloned().collect()
    };
    Changes {
        figures: Figure::ALL
            .into_iter()
            .flat_map(|figure| changes(&a, &b, figure))
            .collect(),
        classes: both()
            .filter(|(_, x, y)| {
                let class = |l: &Latency| l.joint.as_ref().map(|joint| joint.class.clone());
                class(x) != class(y)
            })
            .map(|(cell, x, y)| (cell.clone(), x.class(), y.class()))
            .collect(),
        outputs: changed_outputs(before, after),
        gone: only_in(&a, &b),
        new: only_in(&b, &a),
        circumstances: circumstances(before, after),
    }
}

/// Compares figures of the cells that both have. Each record knows of all its cells together how much its
/// processes vary, so that a single process can tell what is plain; the cells are one family.
pub fn changes(
    before: &BTreeMap<Cell, Latency>,
    after: &BTreeMap<Cell, Latency>,
    figure: Figure,
) -> Vec<Change> {
    let values = |latency: &Latency| -> Vec<f64> {
        let processes = latency.processes.iter();
        processes.filter_map(|p| figure.of(p)).collect()
    };
    let sample = |latency: &Latency| LogSample::of(values(latency).iter().map(|x| x.ln()));
    let prior = |latencies: &BTreeMap<Cell, Latency>| {
        let samples = latencies.values().filter_map(sample);
        Prior::fit(samples.map(|s| (s.variance, s.freedom)))
    };
    let (prior_before, prior_after) = (prior(before), prior(after));
    let rule = Rule::separate(figure.resolution());
    let mut changes: Vec<Change> = before
        .iter()
        .filter_map(|(cell, x)| Some((cell, x, after.get(cell)?)))
        .filter_map(|(cell, x, y)| {
            let (old, new) = (sample(x)?, sample(y)?);
            Some(Change {
                cell: cell.clone(),
                figure,
                before: firstpass_statistics::median(values(x))?,
                after: firstpass_statistics::median(values(y))?,
                comparison: Comparison::unpaired(&new, &old, [&prior_after, &prior_before], rule),
            })
        })
        .collect();
    control(changes.iter_mut().map(|change| &mut change.comparison));
    changes
}

fn changed_outputs(before: &Record, after: &Record) -> Vec<Cell> {
    /// The first digest of each photograph of each cell.
    fn digests(record: &Record) -> BTreeMap<(&Cell, &str), &str> {
        let mut digests = BTreeMap::new();
        let completed = |o: &&Observation| o.process.completed();
        for observation in record.observations().filter(completed) {
            for pass in &observation.process.passes {
                if let Some(image) = observation.images.get(pass.input) {
                    digests
                        .entry((&observation.cell, image.as_str()))
                        .or_insert(pass.digest.as_str());
                }
            }
        }
        digests
    }
    let (a, b) = (digests(before), digests(after));
    let mut changed: Vec<Cell> = a
        .iter()
        .filter(|(key, digest)| b.get(key).is_some_and(|other| other != *digest))
        .map(|((cell, _), _)| (*cell).clone())
        .collect();
    changed.dedup();
    changed
}

fn circumstances(before: &Record, after: &Record) -> Vec<(String, String, String)> {
    let facts = |record: &Record| -> BTreeMap<String, String> {
        let run = &record.run;
        let mut facts = BTreeMap::from([
            ("date".to_owned(), run.date.clone()),
            (
                "processor".into(),
                format!("{}, {} cores", run.machine.cpu, run.machine.cores),
            ),
            (
                "system".into(),
                format!("{}, kernel {}", run.machine.os, run.machine.kernel),
            ),
            ("compiler".into(), run.machine.rustc.clone()),
            (
                "commit".into(),
                run.code.commit.clone().unwrap_or_else(|| "unknown".into()),
            ),
            (
                "measured sources".into(),
                run.code.measured_sha256.chars().take(16).collect(),
            ),
        ]);
        for (name, backend) in &record.backends {
            let version = match (&backend.description, &backend.unavailable) {
                (Some(description), _) => description.engine.version.clone(),
                (None, Some(_)) => "unavailable".into(),
                (None, None) => continue,
            };
            facts.insert(name.clone(), version);
        }
        facts
    };
    let (a, b) = (facts(before), facts(after));
    let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
    names.sort();
    names.dedup();
    let of = |facts: &BTreeMap<String, String>, name: &String| {
        facts.get(name).cloned().unwrap_or_else(|| "–".into())
    };
    names
        .into_iter()
        .map(|name| (name.clone(), of(&a, name), of(&b, name)))
        .filter(|(_, x, y)| x != y)
        .collect()
}

#[cfg(test)]
mod tests {
    use firstpass_statistics::comparison::Verdict;

    use super::*;
    use crate::{
        record::tests::record,
        studies::first_passes::judge::latency::tests::{observation, times},
    };

    fn runs(first: f64, level: f64) -> Record {
        let noise = [1.0, 1.01, 0.99, 1.005, 0.995, 1.0];
        let observations = noise.iter().enumerate();
        record(
            observations
                .map(|(round, factor)| observation(round, &times(&[first], level * factor)))
                .collect(),
        )
    }

    #[test]
    fn nothing_changes_against_itself() {
        let changes = compare(&runs(100.0, 10.0), &runs(100.0, 10.0));
        assert_eq!(changes.beyond_noise().count(), 0);
        assert_eq!(changes.figures.len(), Figure::ALL.len());
        assert!(changes.classes.is_empty() && changes.gone.is_empty());
    }

    #[test]
    fn what_became_slower_is_named() {
        let changes = compare(&runs(100.0, 10.0), &runs(100.0, 12.0));
        let found: Vec<_> = changes
            .beyond_noise()
            .map(|c| (c.figure, c.comparison.verdict))
            .collect();
        assert_eq!(found, [(Figure::Steady, Verdict::Slower)]);
    }

    #[test]
    fn what_is_gone_new_or_other_is_named() {
        let mut other = runs(10.0, 10.0);
        for observation in &mut other
            .backends
            .get_mut("x")
            .expect("it is there")
            .observations
        {
            observation.images = vec!["photo".into()];
        }
        let mut same = runs(100.0, 10.0);
        for observation in &mut same
            .backends
            .get_mut("x")
            .expect("it is there")
            .observations
        {
            observation.images = vec!["photo".into()];
            for pass in &mut observation.process.passes {
                pass.digest = "other bits".into();
            }
        }
        let changes = compare(&same, &other);
        assert_eq!(changes.outputs.len(), 1);
        assert_eq!(changes.classes.len(), 1, "a warm-up became flat");
        let gone = compare(&same, &record(Vec::new()));
        assert_eq!((gone.gone.len(), gone.new.len()), (1, 0));
        assert_eq!(compare(&record(Vec::new()), &same).new.len(), 1);
    }
}
