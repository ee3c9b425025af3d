//! What changed between two records, beyond noise.

use std::collections::BTreeMap;

use firstpass_statistics::{
    comparison::{Comparison, LogSample, Rule, control},
    joint::CellClass,
    moderation::Prior,
};
use firstpass_trial::observation::{Cell, Observation};

use crate::{
    compare::circumstances::Circumstances,
    record::Record,
    studies::first_passes::judge::{
        first_pass::{FirstPass, FirstPassVerdict},
        latency::{Figure, Latency, summarise},
    },
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
    /// The standard error of the logarithm of the figure before: more processes of the later record do
    /// not lessen it.
    pub error_before: f64,
}

impl Change {
    /// By which share the figure changed at most, either way.
    pub fn at_most(&self) -> f64 {
        let (low, high) = self.comparison.interval;
        (high - 1.0).max(1.0 - low)
    }
}

/// Two records compared.
#[derive(Debug)]
pub struct Changes {
    pub figures: Vec<Change>,
    /// Cells whose first pass was slow and is not, or the other way round.
    pub first_passes: Vec<(Cell, FirstPass, FirstPass)>,
    /// Cells whose class is another one, as words before and after.
    pub classes: Vec<(Cell, String, String)>,
    /// Cells whose outputs have other bits for the same photograph.
    pub outputs: Vec<Cell>,
    /// Cells that only one of the records has, or that completed only there.
    pub gone: Vec<Cell>,
    pub new: Vec<Cell>,
    pub circumstances: Circumstances,
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
    let (a, b) = (latencies(before), latencies(after));
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
        first_passes: both()
            .filter_map(|(cell, x, y)| {
                Some((cell.clone(), x.first_over_steady?, y.first_over_steady?))
            })
            .filter(|(_, x, y)| is_another(x, y))
            .collect(),
        classes: both()
            .filter(|(_, x, y)| is_another_class(x, y))
            .map(|(cell, x, y)| (cell.clone(), x.class(), y.class()))
            .collect(),
        outputs: changed_outputs(before, after),
        gone: only_in(&a, &b),
        new: only_in(&b, &a),
        circumstances: Circumstances::between(before, after),
    }
}

/// What is known of each cell of a record.
pub fn latencies(record: &Record) -> BTreeMap<Cell, Latency> {
    let latencies = summarise(record.observations());
    latencies.into_iter().map(|l| (l.cell.clone(), l)).collect()
}

/// Whether one is slow and the other is not. One that is open is no change.
fn is_another(before: &FirstPass, after: &FirstPass) -> bool {
    let (x, y) = (before.verdict(), after.verdict());
    x != y && ![x, y].contains(&FirstPassVerdict::Open)
}

/// Whether the class itself is another: how many processes bear it out is noise, and so is how many of a
/// mixed cell are of which class.
fn is_another_class(before: &Latency, after: &Latency) -> bool {
    let class = |latency: &Latency| latency.joint.as_ref().map(|joint| joint.class.clone());
    match (class(before), class(after)) {
        (Some(CellClass::Mixed(_)), Some(CellClass::Mixed(_))) => false,
        (before, after) => before != after,
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
            let comparison = if values(x) == values(y) {
                // The same processes, as of a record beside itself: not even noise is between them.
                Comparison::with_itself(new.values, rule)
            } else {
                Comparison::unpaired(&new, &old, [&prior_after, &prior_before], rule)
            };
            Some(Change {
                cell: cell.clone(),
                figure,
                before: firstpass_statistics::median(values(x))?,
                after: firstpass_statistics::median(values(y))?,
                comparison,
                error_before: old.error(&prior_before).0.sqrt(),
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

#[cfg(test)]
mod tests {
    use firstpass_statistics::{comparison::Verdict, steady::Class};

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

    /// A slow engine has time for one process; a row went from 3152 to 945 ms between two records. That a single process is a tenth faster may be noise.
    #[test]
    fn a_single_process_is_enough_for_what_is_plain() {
        let one = |level: f64| record(vec![observation(0, &times(&[level], level))]);
        let steady = |before: f64, after: f64| {
            let changes = compare(&one(before), &one(after));
            let steady = changes.figures.iter().find(|c| c.figure == Figure::Steady);
            steady.expect("both have it").comparison.verdict
        };
        assert_eq!(steady(3152.0, 945.0), Verdict::Faster);
        assert_eq!(steady(945.0, 3152.0), Verdict::Slower);
        assert_eq!(steady(1000.0, 900.0), Verdict::Open);
        assert_eq!(steady(1000.0, 1000.0), Verdict::NoDifference);
    }

    #[test]
    fn first_passes_that_became_slow_or_ceased_to_be_are_named() {
        let (slow, flat) = (runs(30.0, 10.0), runs(10.0, 10.0));
        let verdicts = |before: &Record, after: &Record| {
            let first = compare(before, after).first_passes;
            let of_each = first.into_iter();
            of_each
                .map(|(_, x, y)| (x.verdict(), y.verdict()))
                .collect::<Vec<_>>()
        };
        use FirstPassVerdict::{NotSlow, Slow};
        assert_eq!(verdicts(&slow, &flat), [(Slow, NotSlow)]);
        assert_eq!(verdicts(&flat, &slow), [(NotSlow, Slow)]);
        assert_eq!(verdicts(&slow, &runs(35.0, 10.0)), []);
    }

    #[test]
    fn how_many_processes_bear_a_class_out_is_no_change_of_it() {
        let cell = |class: CellClass, agreeing: usize| {
            let latencies = latencies(&runs(10.0, 10.0)).into_values();
            let mut latency = latencies.last().expect("one cell");
            let joint = latency.joint.as_mut().expect("a class");
            (joint.class, joint.agreeing) = (class, agreeing);
            latency
        };
        let (flat, slow) = (Class::Flat, Class::WarmUp);
        let mixed = |flats: usize, slows: usize| {
            cell(CellClass::Mixed(vec![(flat, flats), (slow, slows)]), flats)
        };
        let all = |class: Class, agreeing: usize| cell(CellClass::Of(class), agreeing);
        assert!(!is_another_class(&all(flat, 6), &all(flat, 4)));
        assert!(!is_another_class(&mixed(4, 2), &mixed(2, 4)));
        assert!(is_another_class(&all(flat, 6), &all(slow, 6)));
        assert!(is_another_class(&all(flat, 6), &mixed(4, 2)));
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
