//! What each setting of an engine does: to the first passes, to the steady state, to the outputs.

pub mod candidates;
pub mod race;
pub mod recommend;
#[cfg(test)]
mod simulation;

use std::collections::{BTreeMap, BTreeSet};

use firstpass_probe::Knobs;
use firstpass_statistics::{
    comparison::{Comparison, Verdict},
    median, quantile,
};
use firstpass_trial::{
    agreement::{DetectionAgreement, compare, compare_detections, pairs},
    model::ModelDescription,
    observation::{Cell, Observation, Purpose},
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    page::numbers::setting,
    record::Record,
    studies::first_passes::judge::{
        comparisons::Comparisons,
        latency::{Figure, Latency, summarise},
    },
};

/// A first pass of at most this many times the steady time is no symptom any more.
pub const FIRST_GOAL: f64 = 1.2;

/// The same for the second.
pub const SECOND_GOAL: f64 = 1.05;

/// A cold start of at most this many times that of the default is worth a setting.
pub const COLD_START_GOAL: f64 = 0.75;

/// A setting may cost so much of the steady time: more is a trade, which is never recommended.
pub const STEADY_ALLOWANCE: f64 = 1.03;

/// A setting that takes so much off something of the start is looked at again.
const PROMISING: f64 = 0.93;

/// Even one that takes somewhat longer to three answers: with another it may be worth it.
const WORST_ANSWERS: f64 = 1.1;

/// Not one whose steady time seems so much worse, even where that could not be told for sure.
const WORST_STEADY: f64 = 1.15;

/// Passes after which no break-even is of interest.
const FARTHEST_BREAK_EVEN: f64 = 1e6;

/// Of the bootstrap of break-even points.
const DRAWS: usize = 1000;

/// What settings are compared by.
const FIGURES: [Figure; 6] = [
    Figure::Steady,
    Figure::FirstOverSteady,
    Figure::SecondOverSteady,
    Figure::ColdStart,
    Figure::ThreeAnswers,
    Figure::Ready,
];

/// Of these, what one of two settings may be better in at the start.
const STARTS: [Figure; 4] = [
    Figure::ColdStart,
    Figure::FirstOverSteady,
    Figure::SecondOverSteady,
    Figure::ThreeAnswers,
];

/// What a setting does to the outputs, compared with those of the default.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputChange {
    /// Every bit of every output is the same.
    Same,
    Differs {
        /// The largest difference in quantization steps; `None` for a float model.
        steps: Option<u64>,
        /// The share of the values that are the same.
        same: f64,
        /// Faces of the default that are missed, and new ones, for a detector.
        faces: Option<DetectionAgreement>,
    },
    /// It was not observed.
    Unknown,
}

/// One setting on one model, against the default.
#[derive(Debug, Clone)]
pub struct Setting {
    pub knobs: Knobs,
    pub latency: Option<Latency>,
    /// The setting over the default, by ratios within rounds.
    pub against: BTreeMap<Figure, Comparison>,
    pub outputs: OutputChange,
    /// Peak memory over that of the default.
    pub memory: Option<f64>,
    /// The engine's own words, where it does not run with this setting.
    pub failure: Option<String>,
}

/// After how many passes a setting has taken as much time as the default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BreakEven {
    /// It is ahead from the first answer on and stays so.
    AlwaysAhead,
    NeverAhead,
    /// Ahead until this many passes, with a 95 % interval.
    AheadUntil(f64, (f64, f64)),
    /// Ahead from this many passes on, with a 95 % interval.
    AheadFrom(f64, (f64, f64)),
    /// No difference that could be told.
    Untold,
}

/// All settings of one backend on one model.
#[derive(Debug, Clone)]
pub struct Ablation {
    pub backend: String,
    pub model: String,
    pub default: Latency,
    pub settings: Vec<Setting>,
    /// Of all settings with each other, at the start.
    comparisons: Comparisons,
}

/// One setting as it was measured, not yet compared.
pub(crate) struct Measured {
    pub knobs: Knobs,
    pub latency: Option<Latency>,
    pub outputs: OutputChange,
    pub failure: Option<String>,
}

impl Ablation {
    /// Compares settings with the default and with each other. The first is one family, so that false
    /// claims are rare among all that may be recommended of this engine; the second is another, which
    /// only chooses among them.
    pub(crate) fn of(default: Latency, measured: Vec<Measured>) -> Self {
        let latencies = || measured.iter().filter_map(|m| m.latency.as_ref());
        let with_default = latencies().map(|latency| (latency, &default));
        let with_default = Comparisons::of(with_default, &FIGURES);
        let pairs = latencies().enumerate().flat_map(|(at, a)| {
            let others = latencies().skip(at + 1);
            others.map(move |b| (a, b))
        });
        let comparisons = Comparisons::of(pairs, &STARTS);
        let settings = measured.into_iter().map(|measured| {
            let latency = measured.latency.as_ref();
            let against = FIGURES.into_iter().filter_map(|figure| {
                let comparison = with_default.get(&latency?.cell, &default.cell, figure);
                Some((figure, comparison?))
            });
            let against: BTreeMap<Figure, Comparison> = against.collect();
            let peak = |l: &Latency| l.peak_memory_mib.as_ref().map(|m| m.median);
            let memory = latency.and_then(peak).zip(peak(&default));
            Setting {
                memory: memory.map(|(own, default)| own / default),
                against,
                knobs: measured.knobs,
                outputs: measured.outputs,
                failure: measured.failure,
                latency: measured.latency,
            }
        });
        Self {
            backend: default.cell.backend.clone(),
            model: default.cell.model.clone(),
            settings: settings.collect(),
            comparisons,
            default,
        }
    }

    /// Whether any setting was compared with the default.
    pub fn compares(&self) -> bool {
        self.settings.iter().any(|s| !s.against.is_empty())
    }

    /// After how many passes a setting has taken as much time as the default; `None` where it has no figures.
    pub fn break_even(&self, setting: &Setting) -> Option<BreakEven> {
        break_even(setting.latency.as_ref()?, &self.default, &setting.against)
    }

    /// The first of two settings against the second.
    pub fn compared(&self, a: &Setting, b: &Setting, figure: Figure) -> Option<Comparison> {
        let (a, b) = (a.latency.as_ref()?, b.latency.as_ref()?);
        self.comparisons.get(&a.cell, &b.cell, figure)
    }
}

impl Setting {
    /// `graph-executor-optimize=off, allocator=keep`
    pub fn name(&self) -> String {
        setting(&self.knobs)
    }

    pub fn verdict(&self, figure: Figure) -> Option<Verdict> {
        self.against.get(&figure).map(|c| c.verdict)
    }

    /// Told to be worse than the default by a figure. Beside a steady time that became shorter an early pass looks slow
    /// that is as fast as before.
    pub fn is_worse(&self, figure: Figure) -> bool {
        let is_over_steady = matches!(figure, Figure::FirstOverSteady | Figure::SecondOverSteady);
        let steady_is_faster = self.verdict(Figure::Steady) == Some(Verdict::Faster);
        self.verdict(figure) == Some(Verdict::Slower) && !(is_over_steady && steady_is_faster)
    }

    /// Every figure, the outputs and the memory are as they were.
    pub fn does_nothing(&self) -> bool {
        let figures = [
            Figure::ColdStart,
            Figure::FirstOverSteady,
            Figure::SecondOverSteady,
            Figure::Steady,
        ];
        let same = |figure| self.verdict(figure) == Some(Verdict::NoDifference);
        self.outputs == OutputChange::Same && figures.into_iter().all(same)
    }

    /// The outputs are the same, and the steady state is not known to be slower than allowed.
    pub fn is_harmless(&self) -> bool {
        let steady = self.against.get(&Figure::Steady);
        let not_slower =
            steady.is_some_and(|c| c.verdict != Verdict::Slower || c.ratio <= STEADY_ALLOWANCE);
        self.outputs == OutputChange::Same && not_slower
    }

    /// The outputs are the same, and the steady time is no more than allowed, as far as was measured.
    pub fn keeps_steady(&self) -> bool {
        let steady = self.against.get(&Figure::Steady);
        let is_kept = steady.is_some_and(|c| match c.verdict {
            Verdict::Faster | Verdict::NoDifference => true,
            Verdict::Slower | Verdict::Open => c.ratio <= STEADY_ALLOWANCE,
        });
        self.outputs == OutputChange::Same && is_kept
    }

    /// Worth a second look, with others: it seems to make the start faster and spoils nothing that
    /// could be told. This only selects; what is recommended is decided by measurements of its own.
    pub fn is_promising(&self) -> bool {
        let ratio = |figure| {
            self.against
                .get(&figure)
                .map_or(1.0, |c: &Comparison| c.ratio)
        };
        self.is_harmless()
            && ratio(Figure::Steady) < WORST_STEADY
            && STARTS.into_iter().any(|figure| ratio(figure) < PROMISING)
            && ratio(Figure::ThreeAnswers) < WORST_ANSWERS
    }
}

/// The settings that no other beats in cold start and steady time at once, with the default among
/// them (`None`): the Pareto front, fastest cold start first.
pub fn pareto(ablation: &Ablation) -> Vec<Option<&Setting>> {
    let place = |latency: &Latency| {
        Some((
            latency.cold_start.as_ref()?.median,
            latency.steady.as_ref()?.median,
        ))
    };
    let mut points: Vec<(Option<&Setting>, (f64, f64))> = Vec::new();
    points.extend(place(&ablation.default).map(|at| (None, at)));
    for setting in &ablation.settings {
        let same = setting.outputs == OutputChange::Same;
        let at = setting.latency.as_ref().and_then(place).filter(|_| same);
        points.extend(at.map(|at| (Some(setting), at)));
    }
    points.sort_by(|a, b| a.1.0.total_cmp(&b.1.0));
    let mut front = Vec::new();
    let mut best_steady = f64::INFINITY;
    for (setting, (_, steady)) in points {
        if steady < best_steady {
            best_steady = steady;
            front.push(setting);
        }
    }
    front
}

/// Judges every setting of every backend and model of a record, in the order of the backends.
///
/// # Errors
/// Fails where outputs of the record cannot be read.
pub fn judge(record: &Record, models: &[ModelDescription]) -> anyhow::Result<Vec<Ablation>> {
    let latencies = summarise(record.observations());
    let latency_of = |cell: &Cell| latencies.iter().find(|l| l.cell == *cell);
    let mut ablations = Vec::new();
    for default in latencies.iter().filter(|l| l.cell.is_default()) {
        let cell = &default.cell;
        let Some(model) = models.iter().find(|m| m.name == cell.model) else {
            continue;
        };
        let others: BTreeSet<&Cell> = record
            .observations()
            .map(|o| &o.cell)
            .filter(|c| !c.is_default() && c.default_of() == *cell)
            .collect();
        let measured = others.into_iter().map(|other| {
            Ok(Measured {
                knobs: other.knobs.settings().collect(),
                latency: latency_of(other).cloned(),
                outputs: output_change(record, model, other)?,
                failure: failure(record, other),
            })
        });
        let measured = measured.collect::<anyhow::Result<_>>()?;
        ablations.push(Ablation::of(default.clone(), measured));
    }
    Ok(ablations)
}

/// Why a cell has no figures: the outcome of the first process that did not complete.
fn failure(record: &Record, cell: &Cell) -> Option<String> {
    let failed = |o: &&Observation| o.cell == *cell && !o.process.completed();
    let observation = record.observations().find(failed)?;
    Some(observation.process.outcome.to_string())
}

fn output_change(
    record: &Record,
    model: &ModelDescription,
    cell: &Cell,
) -> anyhow::Result<OutputChange> {
    let process = |cell: &Cell, purpose| {
        let of_cell =
            |o: &&Observation| o.purpose == purpose && o.cell == *cell && o.process.completed();
        record.observations().find(of_cell).map(|o| &o.process)
    };
    let default = cell.default_of();
    // Where the time was short, only timed passes tell, of one photograph.
    let same = [Purpose::Agreement, Purpose::Latency]
        .into_iter()
        .find_map(|purpose| {
            let (own, other) = process(cell, purpose).zip(process(&default, purpose))?;
            own.same_bits(other)
        });
    match same {
        None => return Ok(OutputChange::Unknown),
        Some(true) => return Ok(OutputChange::Same),
        Some(false) => {}
    }
    let names: Vec<String> = model.outputs.iter().map(|o| o.name.clone()).collect();
    let (Some(own), Some(other)) = (
        record.outputs(cell, &names)?,
        record.outputs(&default, &names)?,
    ) else {
        return Ok(OutputChange::Unknown);
    };
    let agreement = compare(model, &pairs(&other, &own));
    let sum = |figure: fn(&firstpass_trial::agreement::Agreement) -> usize| {
        agreement.iter().map(figure).sum::<usize>() as f64
    };
    let faces = model.detection.as_ref().map(|spec| {
        let of_photos = other.iter().filter_map(|(sample, tensors)| {
            let own = spec.detect(model, own.get(sample)?);
            Some(compare_detections(&spec.detect(model, tensors), &own))
        });
        of_photos.fold(DetectionAgreement::default(), |all, one| all.and(&one))
    });
    Ok(OutputChange::Differs {
        steps: agreement
            .iter()
            .filter_map(|a| Some(a.steps.as_ref()?.max))
            .max(),
        same: sum(|a| a.same_bits) / sum(|a| a.values).max(1.0),
        faces,
    })
}

/// From the medians over rounds, with an interval by bootstrap over the rounds that both have.
fn break_even(
    setting: &Latency,
    default: &Latency,
    against: &BTreeMap<Figure, Comparison>,
) -> Option<BreakEven> {
    let steady = against.get(&Figure::Steady)?;
    let answers = against.get(&Figure::ThreeAnswers)?;
    let ahead = |verdict| match verdict {
        Verdict::Faster => Some(true),
        Verdict::Slower => Some(false),
        Verdict::NoDifference | Verdict::Open => None,
    };
    let (early, late) = (ahead(answers.verdict), ahead(steady.verdict));
    match (early, late) {
        (None, None) => return Some(BreakEven::Untold),
        (Some(true), Some(true) | None) | (None, Some(true)) => {
            return Some(BreakEven::AlwaysAhead);
        }
        (Some(false), Some(false) | None) | (None, Some(false)) => {
            return Some(BreakEven::NeverAhead);
        }
        (Some(true), Some(false)) | (Some(false), Some(true)) => {}
    }
    let rounds = rounds_of_both(setting, default);
    let crossing = |rounds: &[[f64; 4]]| {
        let of = |at: usize| median(rounds.iter().map(|r| r[at]));
        let (own, own_steady, other, other_steady) = (of(0)?, of(1)?, of(2)?, of(3)?);
        let passes = 3.0 + (other - own) / (own_steady - other_steady);
        (passes.is_finite() && passes > 0.0).then(|| passes.min(FARTHEST_BREAK_EVEN))
    };
    let passes = crossing(&rounds)?;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let draws: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            let drawn: Vec<[f64; 4]> = (0..rounds.len())
                .map(|_| rounds[random.random_range(0..rounds.len())])
                .collect();
            crossing(&drawn)
        })
        .collect();
    let interval = (
        quantile(draws.iter().copied(), 0.025)?,
        quantile(draws.iter().copied(), 0.975)?,
    );
    Some(if early == Some(true) {
        BreakEven::AheadUntil(passes, interval)
    } else {
        BreakEven::AheadFrom(passes, interval)
    })
}

/// Time to three answers and steady time, of the setting and then of the default, by round.
fn rounds_of_both(setting: &Latency, default: &Latency) -> Vec<[f64; 4]> {
    let answers = setting.rounds_with(default, Figure::ThreeAnswers);
    let steady = setting.rounds_with(default, Figure::Steady);
    let both = answers.iter().filter_map(|(round, (own, other))| {
        let (own_steady, other_steady) = steady.get(round)?;
        Some([*own, *own_steady, *other, *other_steady])
    });
    both.collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use firstpass_probe::THREADS;

    use super::*;
    use crate::studies::first_passes::judge::latency::tests::{observation, times};

    /// How much longer everything takes in ten rounds.
    const QUIET: [f64; 10] = [1.0, 1.004, 1.008, 1.0, 1.004, 1.008, 1.0, 1.004, 1.008, 1.0];

    /// Rounds of a setting: its first pass and its steady time in ms, and how much longer both take in each round.
    fn cell(
        knobs: &Knobs,
        first: f64,
        steady: f64,
        digest: &str,
        rounds: &[f64],
    ) -> Vec<Observation> {
        let round = |(round, factor): (usize, &f64)| {
            observation(round, &times(&[first * factor], steady * factor))
        };
        let mut observations: Vec<Observation> = rounds.iter().enumerate().map(round).collect();
        let mut agreement = observation(0, &times(&[first], steady));
        agreement.purpose = Purpose::Agreement;
        observations.push(agreement);
        for observation in &mut observations {
            observation.cell.knobs = knobs.clone().with(THREADS, 1);
            for pass in &mut observation.process.passes {
                pass.digest = digest.into();
            }
        }
        observations
    }

    /// What is judged of such settings, each `knob=value,knob=value`.
    pub(crate) fn ablation(cells: &[(&str, f64, f64, &str)]) -> Ablation {
        let cells = cells.iter();
        let quiet = cells.map(|(setting, first, steady, digest)| {
            (*setting, *first, *steady, *digest, &QUIET[..])
        });
        ablation_of_rounds(quiet)
    }

    /// The same of rounds that take longer by these factors.
    pub(crate) fn ablation_of_rounds<'a>(
        cells: impl IntoIterator<Item = (&'a str, f64, f64, &'a str, &'a [f64])>,
    ) -> Ablation {
        let observations: Vec<Observation> = cells
            .into_iter()
            .flat_map(|(setting, first, steady, digest, rounds)| {
                let pairs = setting.split(',').filter_map(|pair| pair.split_once('='));
                let knobs = pairs.fold(Knobs::default(), |all, (k, v)| all.with(k, v));
                cell(&knobs, first, steady, digest, rounds)
            })
            .collect();
        let mut record = crate::record::tests::record(observations);
        record.folder = "/nonexistent".into();
        let model = firstpass_trial::model::ModelDescription::for_tests(
            firstpass_trial::model::Precision::Int8,
        );
        let mut judged = judge(&record, &[model]).expect("no outputs are read");
        assert_eq!(judged.len(), 1);
        judged.remove(0)
    }

    fn setting<'a>(ablation: &'a Ablation, name: &str) -> &'a Setting {
        let found = ablation.settings.iter().find(|s| s.name() == name);
        found.unwrap_or_else(|| panic!("no setting {name}"))
    }

    #[test]
    fn each_setting_is_seen_for_what_it_does() {
        let judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=tuning", 20.0, 10.0, "same"),
            ("b=nothing", 100.0, 10.0, "same"),
            ("c=wrong", 20.0, 10.0, "other"),
            ("d=trade", 20.0, 15.0, "same"),
            ("e=worse", 150.0, 12.0, "same"),
        ]);
        assert!(setting(&judged, "b=nothing").does_nothing());
        assert!(!setting(&judged, "a=tuning").does_nothing());
        assert!(setting(&judged, "a=tuning").is_harmless());
        assert_eq!(setting(&judged, "c=wrong").outputs, OutputChange::Unknown);
        assert!(!setting(&judged, "c=wrong").is_harmless());
        assert!(!setting(&judged, "d=trade").is_harmless());
        let even = |name| judged.break_even(setting(&judged, name));
        assert_eq!(even("a=tuning"), Some(BreakEven::AlwaysAhead));
        assert_eq!(even("b=nothing"), Some(BreakEven::Untold));
        assert_eq!(even("e=worse"), Some(BreakEven::NeverAhead));
        // 80 ms ahead after pass 1, 5 ms lost with each further pass.
        match even("d=trade") {
            Some(BreakEven::AheadUntil(passes, _)) => {
                assert!((16.0..=18.0).contains(&passes), "{passes}");
            }
            other => panic!("{other:?}"),
        }
        let front: Vec<String> = pareto(&judged)
            .into_iter()
            .map(|s| s.map_or_else(|| "default".into(), Setting::name))
            .collect();
        assert_eq!(front, ["a=tuning"]);
    }
}
