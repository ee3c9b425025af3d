//! What each setting of an engine does: to the first passes, to the steady state, to the outputs.

use std::collections::{BTreeMap, BTreeSet};

use firstpass_probe::{Description, Knob, Knobs};
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

/// A first pass of at most so many times the steady time is no symptom any more.
pub const FIRST_GOAL: f64 = 1.2;

/// The same for the second.
pub const SECOND_GOAL: f64 = 1.05;

/// So much of the cold start should be gone as well, or the cost is only hidden.
pub const COLD_START_GOAL: f64 = 0.75;

/// A setting may cost so much of the steady time: more is a trade, which is never recommended.
pub const STEADY_ALLOWANCE: f64 = 1.03;

/// A setting that takes so much off something of the start is looked at again.
const PROMISING: f64 = 0.93;

/// Even one that takes somewhat longer to three answers: with another it may be worth it.
const WORST_ANSWERS: f64 = 1.1;

/// Not one whose steady time seems so much worse, even where that could not be told for sure.
const WORST_STEADY: f64 = 1.15;

/// So many knobs are measured by themselves again.
const BEST_SINGLES: usize = 3;

/// So many knobs are combined all at once: each more costs two settings to measure.
const MOST_COMBINED: usize = 5;

/// Passes after which no break-even is of interest.
const FARTHEST_BREAK_EVEN: f64 = 1e6;

/// Of the bootstrap of break-even points.
const DRAWS: usize = 1000;

/// What settings are compared by.
const FIGURES: [Figure; 5] = [
    Figure::Steady,
    Figure::FirstPass,
    Figure::SecondPass,
    Figure::ColdStart,
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
    pub break_even: Option<BreakEven>,
    /// The engine's own words, where it does not run with this setting.
    pub failure: Option<String>,
}

/// After how many passes a setting has taken as much time as the default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BreakEven {
    /// It is ahead from the first answer on and stays so.
    AlwaysAhead,
    NeverAhead,
    /// Ahead until so many passes, with a 95 % interval.
    AheadUntil(f64, (f64, f64)),
    /// Ahead from so many passes on, with a 95 % interval.
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
    /// Of all settings of the engine with each other.
    pub comparisons: Comparisons,
}

impl Setting {
    /// `graph-executor-optimize=off, allocator=keep`
    pub fn name(&self) -> String {
        setting(&self.knobs)
    }

    fn verdict(&self, figure: Figure) -> Option<Verdict> {
        self.against.get(&figure).map(|c| c.verdict)
    }

    /// Whether a figure is slower than with another setting, by ratios within rounds.
    fn is_told_worse_than(&self, other: &Self, comparisons: &Comparisons) -> bool {
        let (Some(own), Some(other)) = (&self.latency, &other.latency) else {
            return true;
        };
        FIGURES.iter().any(|&figure| {
            let comparison = comparisons.get(&own.cell, &other.cell, figure);
            comparison.is_some_and(|c| c.verdict == Verdict::Slower)
        })
    }

    /// Every figure, the outputs and the memory are as they were.
    pub fn does_nothing(&self) -> bool {
        let figures = [
            Figure::ColdStart,
            Figure::FirstPass,
            Figure::SecondPass,
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

    /// Worth a second look, with others: it seems to make the start faster and spoils nothing that
    /// could be told. This only selects; what is recommended is decided by measurements of its own.
    fn is_promising(&self) -> bool {
        let ratio = |figure| {
            self.against
                .get(&figure)
                .map_or(1.0, |c: &Comparison| c.ratio)
        };
        let start = [
            Figure::ColdStart,
            Figure::FirstPass,
            Figure::SecondPass,
            Figure::ThreeAnswers,
        ];
        self.is_harmless()
            && ratio(Figure::Steady) < WORST_STEADY
            && start.into_iter().any(|figure| ratio(figure) < PROMISING)
            && ratio(Figure::ThreeAnswers) < WORST_ANSWERS
    }

    /// Pass 1 and pass 2 in units of the steady time, and the cold start over that of the default.
    pub fn goal_figures(&self) -> Option<(f64, f64, f64)> {
        let latency = self.latency.as_ref()?;
        Some((
            latency.first_over_steady?.ratio(),
            latency.second_over_steady?.ratio(),
            self.against.get(&Figure::ColdStart)?.ratio,
        ))
    }

    /// Which of the three goals are reached: pass 1, pass 2, cold start.
    pub fn goals(&self) -> Option<[bool; 3]> {
        let (first, second, cold) = self.goal_figures()?;
        Some(within_goals([first, second, cold]))
    }

    /// Which of the goals are reached as far as can be told from the noise.
    fn goals_in_reach(&self) -> Option<[bool; 3]> {
        let latency = self.latency.as_ref()?;
        let cold = self.against.get(&Figure::ColdStart)?;
        Some(within_goals([
            latency.first_over_steady?.interval().0,
            latency.second_over_steady?.interval().0,
            cold.interval.0,
        ]))
    }
}

fn within_goals(figures: [f64; 3]) -> [bool; 3] {
    let goals = [FIRST_GOAL, SECOND_GOAL, COLD_START_GOAL];
    std::array::from_fn(|at| figures[at] <= goals[at])
}

/// Every word of every knob but its default, one at a time. A number has none: the number of threads
/// is what settings are compared at.
pub fn one_at_a_time(description: &Description) -> Vec<Knobs> {
    let others = |knob: &Knob| -> Vec<Knobs> {
        let words = knob.words().iter().filter(|word| **word != knob.default);
        words
            .map(|word| Knobs::default().with(&knob.name, word))
            .collect()
    };
    description.knobs.iter().flat_map(others).collect()
}

/// Which combinations are worth measuring, from the settings one at a time, of each promising knob its
/// best value: the best by themselves; the best with each other one, and the best two with each other
/// one, because knobs that mend the same are of no use together; the best all at once, and all but one.
/// With a warm-up pass the best, the best two, and the best all at once: so that a goal which takes one is
/// not reached by many knobs only.
pub fn combinations(ablations: &[&Ablation]) -> Vec<Knobs> {
    let mut best: BTreeMap<String, (f64, Knobs)> = BTreeMap::new();
    for setting in ablations.iter().flat_map(|a| &a.settings) {
        let harmless = ablations.iter().all(|a| {
            let same = a.settings.iter().find(|s| s.knobs == setting.knobs);
            same.is_none_or(|s| s.failure.is_none() && s.is_harmless())
        });
        let Some((knob, _)) = setting.knobs.settings().next() else {
            continue;
        };
        let Some(ratio) = setting.against.get(&Figure::ThreeAnswers).map(|c| c.ratio) else {
            continue;
        };
        if !harmless || !setting.is_promising() {
            continue;
        }
        let entry = best.entry(knob.to_owned());
        let entry = entry.or_insert_with(|| (ratio, setting.knobs.clone()));
        if ratio < entry.0 {
            *entry = (ratio, setting.knobs.clone());
        }
    }
    let mut singles: Vec<(f64, Knobs)> = best.into_values().collect();
    singles.sort_by(|a, b| a.0.total_cmp(&b.0));
    let singles: Vec<Knobs> = singles.into_iter().map(|(_, knobs)| knobs).collect();
    let together = &singles[..singles.len().min(MOST_COMBINED)];
    let all_but = |left_out: Option<usize>| {
        let kept = together.iter().enumerate();
        kept.filter(|(at, _)| Some(*at) != left_out)
            .fold(Knobs::default(), |all, (_, knobs)| all.and(knobs))
    };
    let warmed = |knobs: Knobs| knobs.with(firstpass_probe::WARM_UP, "full");
    let mut found: BTreeSet<Knobs> = singles.iter().take(BEST_SINGLES).cloned().collect();
    if let [first, second, others @ ..] = &singles[..] {
        let both = first.clone().and(second);
        found.insert(both.clone());
        found.insert(warmed(first.clone()));
        found.insert(warmed(both.clone()));
        for other in others {
            found.insert(first.clone().and(other));
            found.insert(both.clone().and(other));
        }
        found.insert(all_but(None));
        found.extend((0..together.len()).map(|at| all_but(Some(at))));
    }
    found.insert(warmed(all_but(None)));
    found.into_iter().collect()
}

/// The setting to recommend. The best is, of those that are harmless and hardly slower to three answers
/// than the fastest, the fastest of those that reach most of the goals. But a further knob is worth its
/// trouble only where what it gives can be told from the noise: recommended is the setting with the fewest
/// knobs that may reach as many goals and than which the best is not better in any figure, as far as that
/// can be told. `None` where nothing beats the default.
pub fn recommended(ablation: &Ablation) -> Option<&Setting> {
    // Faster to the first or to the third answer, and to neither slower.
    let faster = |s: &&Setting| {
        let verdicts = [Figure::ColdStart, Figure::ThreeAnswers].map(|f| s.verdict(f));
        verdicts.contains(&Some(Verdict::Faster)) && !verdicts.contains(&Some(Verdict::Slower))
    };
    let harmless = ablation.settings.iter().filter(|s| s.is_harmless());
    let mut candidates: Vec<&Setting> = harmless.filter(faster).collect();
    let answers = |s: &Setting| {
        s.against
            .get(&Figure::ThreeAnswers)
            .map_or(f64::INFINITY, |c| c.ratio)
    };
    let fastest = |of: &[&Setting]| of.iter().map(|s| answers(s)).reduce(f64::min);
    let limit = fastest(&candidates)? * WORTH_A_GOAL;
    candidates.retain(|s| answers(s) <= limit);
    let count = |goals: Option<[bool; 3]>| goals.map_or(0, |g| g.iter().filter(|r| **r).count());
    let reached = |s: &Setting| count(s.goals());
    let best = *candidates.iter().min_by(|a, b| {
        reached(b)
            .cmp(&reached(a))
            .then(answers(a).total_cmp(&answers(b)))
    })?;
    candidates.retain(|s| {
        count(s.goals_in_reach()) >= reached(best)
            && !s.is_told_worse_than(best, &ablation.comparisons)
    });
    let size = |s: &Setting| s.knobs.settings().count();
    candidates.into_iter().min_by(|a, b| {
        size(a)
            .cmp(&size(b))
            .then(answers(a).total_cmp(&answers(b)))
    })
}

/// Where nothing is recommended, the promising setting that seems fastest to three answers, though that
/// cannot be told from the noise.
pub fn undecided(ablation: &Ablation) -> Option<&Setting> {
    if recommended(ablation).is_some() {
        return None;
    }
    let answers = |s: &Setting| s.against.get(&Figure::ThreeAnswers).map(|c| c.ratio);
    let promising = ablation.settings.iter().filter(|s| {
        let starts = [Figure::ColdStart, Figure::ThreeAnswers];
        let undecided = |f| s.verdict(f) == Some(Verdict::Open);
        s.is_promising() && starts.into_iter().all(undecided)
    });
    let seeming = promising.filter_map(|s| Some((s, answers(s).filter(|ratio| *ratio < 1.0)?)));
    let best = seeming.min_by(|a, b| a.1.total_cmp(&b.1));
    best.map(|(setting, _)| setting)
}

/// Of the settings that are harmless and take no longer to three answers than the default, the fastest
/// whose pass 1 is short enough, and pass 2 as well if there is one: what a short first pass costs where
/// the recommended setting has none.
pub fn shortest_first_pass(ablation: &Ablation) -> Option<&Setting> {
    let answers = |s: &Setting| s.against.get(&Figure::ThreeAnswers).map(|c| c.ratio);
    let fit = ablation.settings.iter().filter(|s| {
        let slower = s.verdict(Figure::ThreeAnswers) == Some(Verdict::Slower);
        s.is_harmless() && !slower && s.goals().is_some_and(|goals| goals[0])
    });
    fit.min_by(|a, b| {
        let misses_second = |s: &Setting| s.goals().is_none_or(|goals| !goals[1]);
        let time = |s: &Setting| answers(s).unwrap_or(f64::INFINITY);
        misses_second(a)
            .cmp(&misses_second(b))
            .then(time(a).total_cmp(&time(b)))
    })
}

/// So much longer to three answers may a setting take that reaches more of the goals.
const WORTH_A_GOAL: f64 = 1.15;

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
    let comparisons = compare_settings(&latencies);
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
        let settings = others.into_iter().map(|other| {
            let latency = latency_of(other);
            let against = FIGURES
                .into_iter()
                .filter_map(|f| Some((f, comparisons.get(&latency?.cell, cell, f)?)));
            let peak = |l: &Latency| l.peak_memory_mib.as_ref().map(|m| m.median);
            Ok(Setting {
                knobs: other.knobs.settings().collect(),
                against: against.collect(),
                outputs: output_change(record, model, other)?,
                memory: latency
                    .and_then(peak)
                    .zip(peak(default))
                    .map(|(a, b)| a / b),
                break_even: latency.and_then(|l| break_even(l, default, &comparisons)),
                failure: failure(record, other),
                latency: latency.cloned(),
            })
        });
        ablations.push(Ablation {
            backend: cell.backend.clone(),
            model: cell.model.clone(),
            settings: settings.collect::<anyhow::Result<_>>()?,
            default: default.clone(),
            comparisons: comparisons.clone(),
        });
    }
    Ok(ablations)
}

/// Every setting of a file on an engine with every other, the default among them.
fn compare_settings(latencies: &[Latency]) -> Comparisons {
    let pairs = latencies.iter().enumerate().flat_map(|(at, a)| {
        let others = latencies[at + 1..].iter();
        let same_file = others.filter(|b| a.cell.default_of() == b.cell.default_of());
        same_file.map(move |b| (a, b))
    });
    Comparisons::of(pairs, &FIGURES)
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
    let process = |cell: &Cell| {
        let agreement = |o: &&Observation| {
            o.purpose == Purpose::Agreement && o.cell == *cell && o.process.completed()
        };
        record.observations().find(agreement).map(|o| &o.process)
    };
    let default = cell.default_of();
    let same = process(cell).zip(process(&default));
    match same.and_then(|(own, other)| own.same_bits(other)) {
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
    comparisons: &Comparisons,
) -> Option<BreakEven> {
    let compared = |figure| comparisons.get(&setting.cell, &default.cell, figure);
    let steady = compared(Figure::Steady)?;
    let answers = compared(Figure::ThreeAnswers)?;
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
mod tests {
    use firstpass_probe::{EngineInfo, THREADS};

    use super::*;
    use crate::studies::first_passes::judge::latency::tests::{observation, times};

    /// Ten rounds of a setting: its first pass and its steady time in ms.
    fn cell(knobs: &Knobs, first: f64, steady: f64, digest: &str) -> Vec<Observation> {
        let mut observations: Vec<Observation> = (0..10)
            .map(|round| {
                let jitter = 1.0 + 0.004 * (round % 3) as f64;
                observation(round, &times(&[first * jitter], steady * jitter))
            })
            .collect();
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

    fn ablation(cells: &[(&str, f64, f64, &str)]) -> Ablation {
        let observations: Vec<Observation> = cells
            .iter()
            .flat_map(|(setting, first, steady, digest)| {
                let pairs = setting.split(',').filter_map(|pair| pair.split_once('='));
                let knobs = pairs.fold(Knobs::default(), |all, (k, v)| all.with(k, v));
                cell(&knobs, *first, *steady, digest)
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
        let even = |name| setting(&judged, name).break_even;
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
        assert_eq!(
            recommended(&judged).map(Setting::name).as_deref(),
            Some("a=tuning")
        );
        // Its first pass is twice the steady time.
        assert!(shortest_first_pass(&judged).is_none());
        let front: Vec<String> = pareto(&judged)
            .into_iter()
            .map(|s| s.map_or_else(|| "default".into(), Setting::name))
            .collect();
        assert_eq!(front, ["a=tuning"]);
    }

    #[test]
    fn nothing_is_recommended_where_nothing_helps() {
        let judged = ablation(&[("", 100.0, 10.0, "same"), ("a=x", 100.0, 10.0, "same")]);
        assert!(recommended(&judged).is_none());
        assert_eq!(combinations(&[&judged]).len(), 1, "only a warm-up pass");
    }

    #[test]
    fn what_cannot_be_told_is_no_recommendation_and_is_named() {
        let cells = [
            ("", 100.0, 10.0, "same"),
            ("a=maybe", 60.0, 10.0, "same"),
            ("b=less", 80.0, 10.0, "same"),
        ];
        let mut judged = ablation(&cells);
        assert!(undecided(&judged).is_none(), "it is told");
        let all = judged.settings.iter_mut();
        for comparison in all.flat_map(|s| s.against.values_mut()) {
            comparison.verdict = Verdict::Open;
        }
        assert!(recommended(&judged).is_none());
        assert_eq!(
            undecided(&judged).map(Setting::name).as_deref(),
            Some("a=maybe")
        );
    }

    #[test]
    fn what_a_short_first_pass_costs_is_told() {
        let judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=x", 20.0, 10.0, "same"),
            ("a=x,b=short", 11.0, 10.0, "same"),
            ("c=wrong", 11.0, 10.0, "other"),
        ]);
        let found = shortest_first_pass(&judged).map(Setting::name);
        assert_eq!(found.as_deref(), Some("a=x, b=short"));
    }

    #[test]
    fn of_two_that_are_as_fast_the_simpler_is_recommended() {
        let judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=x", 20.0, 10.0, "same"),
            ("a=x,b=y", 19.9, 10.0, "same"),
        ]);
        let found = recommended(&judged).map(Setting::name);
        assert_eq!(found.as_deref(), Some("a=x"));
    }

    #[test]
    fn a_knob_whose_use_can_be_told_is_recommended() {
        let judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=x", 20.0, 10.0, "same"),
            ("a=x,b=y", 15.0, 10.0, "same"),
            ("a=x,b=y,c=z", 14.9, 10.0, "same"),
        ]);
        let found = recommended(&judged).map(Setting::name);
        assert_eq!(found.as_deref(), Some("a=x, b=y"));
    }

    #[test]
    fn promising_knobs_are_combined() {
        let judged = ablation(&[
            ("", 100.0, 10.0, "same"),
            ("a=good", 40.0, 10.0, "same"),
            ("a=better", 30.0, 10.0, "same"),
            ("b=good", 50.0, 10.0, "same"),
            ("c=wrong", 20.0, 10.0, "other"),
        ]);
        let names: Vec<String> = combinations(&[&judged])
            .iter()
            .map(crate::page::numbers::setting)
            .collect();
        assert_eq!(
            names,
            [
                "a=better",
                "a=better, b=good",
                "a=better, b=good, warm-up=full",
                "a=better, warm-up=full",
                "b=good"
            ]
        );
    }

    #[test]
    fn every_value_but_the_default_is_tried_by_itself() {
        let knobs = vec![
            Knob::threads(""),
            Knob::choice("fusion", &["on", "off", "some"], ""),
        ];
        let description = Description::new(EngineInfo::new("1", "x 1"), Vec::new(), knobs);
        let names: Vec<String> = one_at_a_time(&description)
            .iter()
            .map(crate::page::numbers::setting)
            .collect();
        assert_eq!(names, ["fusion=off", "fusion=some"]);
    }
}
