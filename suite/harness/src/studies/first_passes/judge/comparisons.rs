//! Which of two cells of a run is faster: each pair by its ratios within rounds, with what all pairs of the
//! run know of its noise, and as one family.

use std::collections::BTreeMap;

use firstpass_statistics::{
    comparison::{Comparison, LogSample, Rule, control},
    family,
    moderation::Prior,
};
use firstpass_trial::observation::Cell;

use crate::studies::first_passes::judge::latency::{Figure, Latency};

/// The pairs of a run, compared.
#[derive(Debug, Clone, Default)]
pub struct Comparisons(BTreeMap<(Figure, Cell, Cell), Comparison>);

impl Comparisons {
    /// Compares these pairs by these figures. Each figure has a noise of its own, which its pairs share,
    /// and is a family of its own.
    pub fn of<'a>(
        pairs: impl IntoIterator<Item = (&'a Latency, &'a Latency)>,
        figures: &[Figure],
    ) -> Self {
        let pairs: Vec<(&Latency, &Latency)> = pairs.into_iter().collect();
        let mut all = BTreeMap::new();
        for &figure in figures {
            let rounds = pairs.iter().map(|(a, b)| a.rounds_with(b, figure));
            let rounds: Vec<Vec<(f64, f64)>> = rounds
                .map(|rounds| rounds.into_values().collect())
                .collect();
            for ((a, b), comparison) in pairs.iter().zip(compare_family(&rounds, figure)) {
                let key = (figure, a.cell.clone(), b.cell.clone());
                all.extend(comparison.map(|comparison| (key, comparison)));
            }
        }
        Self(all)
    }

    /// Compares all cells of a run that run the same model with the same number of threads, and the tuned
    /// ones with their own default.
    pub fn of_run(latencies: &[Latency]) -> Self {
        let comparable = |a: &Cell, b: &Cell| {
            let same = a.model == b.model && a.threads() == b.threads();
            let tuned = a.default_of() == b.default_of();
            same && a.cold_files == b.cold_files && (tuned || a.is_default() && b.is_default())
        };
        let pairs = latencies.iter().enumerate().flat_map(|(at, a)| {
            let others = latencies[at + 1..].iter();
            let others = others.filter(move |b| comparable(&a.cell, &b.cell));
            others.map(move |b| (a, b))
        });
        Self::of(pairs, &Figure::ALL)
    }

    /// The first of two against the second; `None` where they were not compared.
    pub fn get(&self, a: &Cell, b: &Cell, figure: Figure) -> Option<Comparison> {
        let key = |a: &Cell, b: &Cell| (figure, a.clone(), b.clone());
        let found = self.0.get(&key(a, b)).copied();
        found.or_else(|| self.0.get(&key(b, a)).map(Comparison::inverted))
    }

    /// Every comparison with its figure and cells.
    pub fn iter(&self) -> impl Iterator<Item = (Figure, &Cell, &Cell, &Comparison)> {
        let all = self.0.iter();
        all.map(|((figure, a, b), comparison)| (*figure, a, b, comparison))
    }
}

/// Compares the two figures of each pair, round by round. All pairs share the noise of their figure and are
/// one family. `None` for a pair without rounds.
pub fn compare_family(pairs: &[Vec<(f64, f64)>], figure: Figure) -> Vec<Option<Comparison>> {
    let logs = |rounds: &Vec<(f64, f64)>| rounds.iter().map(|(x, y)| (x / y).ln()).collect();
    let samples = family::samples(&pairs.iter().map(logs).collect::<Vec<_>>());
    let known = samples.iter().flatten();
    let prior = Prior::fit(known.map(|s| (s.variance, s.freedom)));
    let rule = Rule::interleaved(figure.resolution());
    let compare = |sample: &LogSample| Comparison::paired(sample, &prior, rule);
    let mut compared: Vec<Option<Comparison>> =
        samples.iter().map(|s| s.as_ref().map(compare)).collect();
    control(compared.iter_mut().flatten());
    compared
}
