//! The profiles of one setting, by parts of a pass.

use std::collections::BTreeMap;

use firstpass_probe::{Format, Knobs, Profile, ProfiledOperator, ProfiledPass, Span};
use firstpass_statistics::comparison::{LEAST_DIFFERENCE, LogSample};

use crate::studies::explain::{
    ExplainProcess, Variant,
    counts::is_witnessed,
    part::{FIRST, Levels, Part, add},
};

/// With fewer passes the first would be part of the steady half.
pub const FEWEST_PASSES: usize = 2 * FIRST;

/// The profiles of one setting, not yet judged.
pub(super) struct Profiled<'a> {
    pub backend: &'a str,
    pub model: &'a str,
    pub knobs: &'a Knobs,
    /// With the plain ones.
    pub processes: Vec<&'a ExplainProcess>,
    /// At least one.
    pub profiles: Vec<&'a Profile>,
    pub format: Option<Format>,
    pub threads: usize,
    pub walls: Vec<Levels>,
    pub whole: Part,
    pub outside: Part,
    pub kinds: Vec<(String, Part)>,
    pub operators: Vec<(ProfiledOperator, Part)>,
}

impl<'a> Profiled<'a> {
    /// `None` where there is no usable profile.
    pub fn of(
        backend: &'a str,
        model: &'a str,
        knobs: &'a Knobs,
        processes: Vec<&'a ExplainProcess>,
    ) -> Option<Self> {
        let usable: Vec<(&ExplainProcess, &Profile)> = processes
            .iter()
            .filter_map(|p| Some((*p, p.profile.as_ref()?)))
            .filter(|(_, profile)| profile.passes.len() >= FEWEST_PASSES)
            .collect();
        let profiles: Vec<&Profile> = usable.iter().map(|(_, profile)| *profile).collect();
        let &(first, _) = usable.first()?;
        let series = |figure: &dyn Fn(&ProfiledPass) -> f64| -> Vec<Levels> {
            let figures = profiles
                .iter()
                .map(|profile| profile.passes.iter().map(figure).collect::<Vec<f64>>());
            figures.map(|series| Levels::of(&series)).collect()
        };
        let walls = series(&|pass| milliseconds(pass.span.wall_ns));
        let all_tell = profiles.iter().all(|profile| tells_faults(profile));
        let outside = Part {
            times: series(&|pass| {
                milliseconds(pass.span.wall_ns) - milliseconds(pass.self_ns.iter().sum())
            }),
            faults: if all_tell {
                series(&|pass| {
                    pass.span.minor_faults as f64 - pass.minor_faults.iter().sum::<u64>() as f64
                })
            } else {
                Vec::new()
            },
        };
        let operators = operators(&profiles, all_tell);
        let inside = Part::together(operators.iter().map(|(_, part)| part));
        let whole = Part {
            times: inside.map_or_else(
                || outside.times.clone(),
                |inside| add(&inside.times, &outside.times),
            ),
            faults: series(&|pass| pass.span.minor_faults as f64),
        };
        let mut by_kind: BTreeMap<&str, Vec<&Part>> = BTreeMap::new();
        for (operator, part) in &operators {
            by_kind.entry(&operator.kind).or_default().push(part);
        }
        let kinds = by_kind
            .into_iter()
            .filter_map(|(kind, parts)| Some((kind.to_owned(), Part::together(parts)?)));
        Some(Self {
            backend,
            model,
            knobs,
            format: first.format,
            threads: first.threads,
            kinds: largest_first(kinds.collect()),
            operators: largest_first(operators),
            processes,
            profiles,
            walls,
            whole,
            outside,
        })
    }

    /// Whether a part takes a hundredth of a steady pass, in a pass or in the steady state.
    pub fn is_large(&self, part: &Part, pass: usize) -> bool {
        part.size(pass) >= LEAST_DIFFERENCE * self.whole.steady()
    }

    /// Its layers that are so large. A smaller one can have no excess that matters.
    pub fn large_layers(&self, pass: usize) -> impl Iterator<Item = &(ProfiledOperator, Part)> {
        let layers = self.operators.iter();
        layers.filter(move |(_, part)| self.is_large(part, pass))
    }

    /// The excesses of its large parts over its processes.
    pub fn excesses_of_parts(&self, pass: usize) -> Vec<LogSample> {
        let kinds = self.kinds.iter().map(|(_, part)| part);
        let kinds = kinds.filter(|part| self.is_large(part, pass));
        let layers = self.large_layers(pass).map(|(_, part)| part);
        let parts = [&self.outside].into_iter().chain(kinds).chain(layers);
        parts
            .filter_map(|part| part.relative_excess(pass))
            .collect()
    }

    /// The logarithms of a pass over the steady time.
    pub fn over_steady(&self, pass: usize) -> Option<LogSample> {
        LogSample::of(self.walls.iter().map(|l| (l.at(pass) / l.steady).ln()))
    }

    pub fn profiler_ratios(&self, figure: impl Fn(&Levels) -> f64) -> Option<LogSample> {
        let profiled = by_round(&self.processes, Variant::Profiled, &figure);
        LogSample::of_ratios(
            &profiled,
            &by_round(&self.processes, Variant::Plain, &figure),
        )
    }
}

/// Every operator of any process. One that did not run in a process took no time there.
fn operators(profiles: &[&Profile], with_faults: bool) -> Vec<(ProfiledOperator, Part)> {
    let mut parts: BTreeMap<&ProfiledOperator, Part> = BTreeMap::new();
    let nowhere = vec![Levels::default(); profiles.len()];
    for (process, profile) in profiles.iter().enumerate() {
        for (number, operator) in profile.operators.iter().enumerate() {
            let part = parts.entry(operator).or_insert_with(|| Part {
                times: nowhere.clone(),
                faults: if with_faults {
                    nowhere.clone()
                } else {
                    Vec::new()
                },
            });
            let series = |values: &dyn Fn(&ProfiledPass) -> Option<f64>| -> Levels {
                let passes = profile.passes.iter();
                let series: Vec<f64> = passes.map(|p| values(p).unwrap_or(0.0)).collect();
                Levels::of(&series)
            };
            // Each operator is there once; were one there twice, both would count.
            let time = series(&|pass| Some(milliseconds(*pass.self_ns.get(number)?)));
            part.times[process] = [part.times[process], time].into_iter().sum();
            if let Some(levels) = part.faults.get_mut(process) {
                let faults = series(&|pass| Some(*pass.minor_faults.get(number)? as f64));
                *levels = [*levels, faults].into_iter().sum();
            }
        }
    }
    let parts = parts.into_iter();
    parts
        .map(|(operator, part)| (operator.clone(), part))
        .collect()
}

fn tells_faults(profile: &Profile) -> bool {
    let mut passes = profile.passes.iter();
    passes.all(|pass| pass.minor_faults.len() == profile.operators.len())
}

fn largest_first<T>(parts: Vec<(T, Part)>) -> Vec<(T, Part)> {
    let parts = parts.into_iter();
    let mut with_excess: Vec<(f64, (T, Part))> =
        parts.map(|part| (part.1.all_excess(), part)).collect();
    with_excess.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    with_excess.into_iter().map(|(_, part)| part).collect()
}

/// The excess of a pass is explained as far as operators took it, and what lies outside of them
/// where the engine's own counts say that it did something else than in the steady state. A share for each
/// process that has an excess.
pub(super) fn explained(profiled: &Profiled, pass: usize) -> Option<LogSample> {
    let whole = profiled.whole.times.iter().zip(&profiled.outside.times);
    LogSample::of(
        profiled
            .profiles
            .iter()
            .zip(whole)
            .map(|(profile, (whole, outside))| {
                let unexplained = if is_witnessed(profile, pass) {
                    0.0
                } else {
                    outside.excess(pass)
                };
                let share = unexplained / whole.excess(pass);
                // Not a number where a process has no excess at all.
                if share.is_nan() {
                    share
                } else {
                    1.0 - share.abs().min(1.0)
                }
            }),
    )
}

fn by_round(
    processes: &[&ExplainProcess],
    variant: Variant,
    figure: impl Fn(&Levels) -> f64,
) -> BTreeMap<usize, f64> {
    let of_variant = processes.iter().filter(|p| p.variant == variant);
    of_variant
        .filter(|p| p.failure.is_none())
        .map(|process| {
            let spans: Vec<Span> = match &process.profile {
                Some(profile) => profile.passes.iter().map(|pass| pass.span).collect(),
                None => process.passes.clone(),
            };
            let times: Vec<f64> = spans.iter().map(|s| milliseconds(s.wall_ns)).collect();
            (process.round, figure(&Levels::of(&times)))
        })
        .collect()
}

fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}
