//! What each setting of an engine does: to the first passes, to the steady state, to the outputs.

mod break_even;
pub mod candidates;
pub mod race;
pub mod recommend;
#[cfg(test)]
mod simulation;

pub use break_even::BreakEven;

use std::collections::{BTreeMap, BTreeSet};

use firstpass_probe::Knobs;
use firstpass_statistics::comparison::{Comparison, Verdict};
use firstpass_trial::{
    agreement::{DetectionAgreement, compare, compare_detections, pairs},
    model::ModelDescription,
    observation::{Cell, Observation, Purpose},
};

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
        break_even::of(setting.latency.as_ref()?, &self.default, &setting.against)
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

#[cfg(test)]
pub(crate) mod tests;
