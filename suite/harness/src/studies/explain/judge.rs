//! Where the first passes spend their time: their excess over the steady state, by operator.

use std::collections::BTreeMap;

use firstpass_probe::{Format, Knobs, ProfiledOperator};
use firstpass_statistics::{
    comparison::{
        Comparison, FIRST_RESOLUTION, LEAST_DIFFERENCE, LogSample, Rule, STEADY_RESOLUTION,
        Verdict, control,
    },
    moderation::Prior,
};

pub use crate::studies::explain::{
    counts::Count,
    estimate::Estimate,
    part::{FIRST, Part},
    profiled::FEWEST_PASSES,
};
use crate::studies::{
    explain::{
        Explain, ExplainProcess, Variant,
        counts::counts,
        estimate::{against_zero, noise},
        faults::fault_ms,
        part::Levels,
        profiled::{Profiled, explained},
    },
    first_passes::judge::first_pass::{FirstPass, FirstPassVerdict},
};

/// All that was measured, judged.
#[derive(Debug, Default)]
pub struct Judged {
    /// By backend, then by model, then by setting, the default first.
    pub explanations: Vec<Explanation>,
    pub failures: Vec<Failure>,
}

/// What was not profiled, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub backend: String,
    /// `None` where it was none at all.
    pub model: Option<String>,
    /// Nothing for the default.
    pub knobs: Knobs,
    pub variant: Variant,
    pub reason: String,
}

/// The first passes of one model on one engine.
#[derive(Debug)]
pub struct Explanation {
    pub backend: String,
    pub model: String,
    pub format: Option<Format>,
    pub threads: usize,
    /// What was set besides: tuned settings, or nothing.
    pub knobs: Knobs,
    /// The engine's hook, in words.
    pub source: String,
    /// Profiled ones.
    pub processes: usize,
    /// Of each process.
    pub passes: usize,
    /// The whole pass. Its steady state is the sum of those of its parts, so that their excesses add
    /// up to its own; the median of steady passes is higher by what disturbs one operator or other.
    pub whole: Part,
    /// Each of the first passes in units of the steady time of its own process, judged over the processes
    /// with what all engines of the run vary.
    pub passes_over_steady: Vec<Option<FirstPass>>,
    /// For each of the first passes the layers that are told to take longer than in a steady pass by a
    /// hundredth of it or more, that with the largest excess first.
    pub slower_layers: Vec<Vec<(ProfiledOperator, Estimate)>>,
    /// The part of it that no operator took.
    pub outside: Part,
    /// Operators of one kind together, that with the largest excess first.
    pub kinds: Vec<(String, Part)>,
    /// Each operator by itself, that with the largest excess first.
    pub operators: Vec<(ProfiledOperator, Part)>,
    /// What else the engine told about its state.
    pub counts: Vec<Count>,
    /// For each of the first passes which share of its excess is explained; `None` where the pass is not
    /// told to be slow.
    pub explained: Vec<Option<Estimate>>,
    /// What an excess page fault of an operator goes with, in ms; `None` where that is not well
    /// determined.
    pub fault_ms: Option<Estimate>,
    /// Profiled over plain processes, within rounds.
    pub profiler: Profiler,
    noise: Noise,
}

/// How much the excess of a whole pass and that of a part of it vary from process to process in a run. What
/// disturbs one part and not the other evens out in the whole.
#[derive(Debug, Clone, Copy)]
struct Noise {
    whole: Prior,
    part: Prior,
}

impl Noise {
    fn of(profiled: &[Profiled]) -> Self {
        let fitted = |excesses: fn(&Profiled, usize) -> Vec<LogSample>| {
            let of_setting = |p| (1..=FIRST).flat_map(move |pass| excesses(p, pass));
            let all: Vec<LogSample> = profiled.iter().flat_map(of_setting).collect();
            noise(&all)
        };
        Self {
            whole: fitted(|p, pass| p.whole.relative_excess(pass).into_iter().collect()),
            part: fitted(|p, pass| p.excesses_of_parts(pass)),
        }
    }
}

/// What the hooks cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profiler {
    pub first: Option<Comparison>,
    pub steady: Option<Comparison>,
}

impl Explanation {
    /// The engine as a page calls it, and whether its tuned settings were set.
    pub fn label(&self, called: &dyn Fn(&str) -> String) -> String {
        let engine = called(&self.backend);
        if self.is_tuned() {
            format!("{engine}, tuned")
        } else {
            engine
        }
    }

    pub fn is_tuned(&self) -> bool {
        self.knobs != Knobs::default()
    }

    /// What a pass takes beyond the steady state in a part of it, in ms.
    pub fn excess(&self, part: &Part, pass: usize) -> Estimate {
        let noise = if *part == self.whole {
            &self.noise.whole
        } else {
            &self.noise.part
        };
        part.relative_excess(pass)
            .map_or(Estimate::exact(0.0), |sample| {
                Estimate::of(&sample, part.size(pass), noise)
            })
    }

    /// Whether a pass is told to be slower than the steady state.
    fn is_slow(&self, pass: usize) -> bool {
        let judged = pass
            .checked_sub(1)
            .and_then(|index| self.passes_over_steady.get(index));
        judged
            .copied()
            .flatten()
            .is_some_and(|pass| pass.verdict() == FirstPassVerdict::Slow)
    }

    /// Which share of the excess of a pass a part has; `None` where the pass is not told to be slow.
    pub fn share(&self, part: &Part, pass: usize) -> Option<f64> {
        let share = part.mean_excess(pass) / self.whole.mean_excess(pass);
        (self.is_slow(pass) && share.is_finite()).then_some(share)
    }
}

/// Judges every backend that was profiled.
pub fn judge(explain: &Explain) -> Judged {
    let mut judged = Judged::default();
    let mut profiled = Vec::new();
    for (backend, processes) in &explain.processes {
        let failures = processes.iter().filter_map(|process| {
            Some(Failure {
                backend: backend.clone(),
                model: process.model.clone(),
                knobs: process.knobs.clone(),
                variant: process.variant,
                reason: process.failure.clone()?,
            })
        });
        judged.failures.extend(failures);
        let mut by_setting: BTreeMap<(&String, &Knobs), Vec<&ExplainProcess>> = BTreeMap::new();
        for process in processes {
            if let Some(model) = &process.model {
                let setting = by_setting.entry((model, &process.knobs));
                setting.or_default().push(process);
            }
        }
        for ((model, knobs), processes) in by_setting {
            profiled.extend(Profiled::of(backend, model, knobs, processes));
        }
    }
    judged.explanations = explanations(profiled);
    judged
}

/// Judges all settings together. They share a machine, so that each knows from the others how much processes
/// vary; and the verdicts on one question are a family.
fn explanations(profiled: Vec<Profiled>) -> Vec<Explanation> {
    let passes: Vec<Vec<Option<FirstPass>>> = (1..=FIRST)
        .map(|pass| {
            let samples: Vec<_> = profiled.iter().map(|p| p.over_steady(pass)).collect();
            FirstPass::judge_samples(&samples)
        })
        .collect();
    let noise_of_excess = Noise::of(&profiled);
    let explained: Vec<Vec<Option<LogSample>>> = profiled
        .iter()
        .map(|p| (1..=FIRST).map(|pass| explained(p, pass)).collect())
        .collect();
    let noise_of_shares = noise(explained.iter().flatten().flatten());
    let faults: Vec<Option<LogSample>> = profiled.iter().map(fault_ms).collect();
    let noise_of_faults = noise(faults.iter().flatten());
    let profilers = profilers(&profiled);
    let layers = slower_layers(&profiled, &noise_of_excess.part);
    let mut explanations = Vec::new();
    for (at, (profiled, (slower_layers, profiler))) in profiled
        .into_iter()
        .zip(layers.into_iter().zip(profilers))
        .enumerate()
    {
        let first = profiled.profiles[0];
        let mut explanation = Explanation {
            backend: profiled.backend.into(),
            model: profiled.model.into(),
            format: profiled.format,
            threads: profiled.threads,
            knobs: profiled.knobs.clone(),
            source: first.source.clone(),
            processes: profiled.profiles.len(),
            passes: first.passes.len(),
            passes_over_steady: passes.iter().map(|judged| judged[at]).collect(),
            slower_layers,
            explained: Vec::new(),
            // The logarithms of slopes.
            fault_ms: faults[at].map(|s| Estimate::of(&s, 1.0, &noise_of_faults).map(f64::exp)),
            counts: counts(&profiled.profiles),
            profiler,
            noise: noise_of_excess,
            whole: profiled.whole,
            outside: profiled.outside,
            kinds: profiled.kinds,
            operators: profiled.operators,
        };
        explanation.explained = (1..)
            .zip(&explained[at])
            .map(|(pass, shares)| {
                let shares = shares.filter(|_| explanation.is_slow(pass))?;
                Some(share_estimate(&shares, &noise_of_shares))
            })
            .collect();
        explanations.push(explanation);
    }
    explanations
}

/// A share is between nothing and all. Where every process explains all of the excess, it does not vary.
fn share_estimate(shares: &LogSample, noise: &Prior) -> Estimate {
    if shares.variance == 0.0 && shares.mean == 1.0 {
        return Estimate::exact(1.0);
    }
    Estimate::of(shares, 1.0, noise).map(|share| share.clamp(0.0, 1.0))
}

/// For each setting and pass the layers that are told to take longer than in the steady state. Those of all
/// settings and passes are one family.
fn slower_layers(
    profiled: &[Profiled],
    noise: &Prior,
) -> Vec<Vec<Vec<(ProfiledOperator, Estimate)>>> {
    let mut all = Vec::new();
    for (at, one) in profiled.iter().enumerate() {
        for pass in 1..=FIRST {
            for (operator, part) in one.large_layers(pass) {
                let sample = part.relative_excess(pass);
                let compared = sample.and_then(|s| Some((s, against_zero(&s, noise)?)));
                all.extend(compared.map(|(sample, comparison)| {
                    let excess = Estimate::of(&sample, part.size(pass), noise);
                    (at, pass, operator, excess, comparison)
                }));
            }
        }
    }
    control(all.iter_mut().map(|(.., comparison)| comparison));
    let mut slower = vec![vec![Vec::new(); FIRST]; profiled.len()];
    for (at, pass, operator, excess, comparison) in all {
        let least = LEAST_DIFFERENCE * profiled[at].whole.steady();
        if comparison.verdict == Verdict::Slower && excess.mean >= least {
            slower[at][pass - 1].push((operator.clone(), excess));
        }
    }
    for layers in slower.iter_mut().flatten() {
        layers.sort_by(|(_, a), (_, b)| b.mean.total_cmp(&a.mean));
    }
    slower
}

/// What the hooks cost in each setting, by what all of them vary.
fn profilers(profiled: &[Profiled]) -> Vec<Profiler> {
    let compared = |figure: &dyn Fn(&Levels) -> f64, resolution: f64| -> Vec<Option<Comparison>> {
        let ratios: Vec<_> = profiled.iter().map(|p| p.profiler_ratios(figure)).collect();
        let noise = noise(ratios.iter().flatten());
        let rule = Rule::interleaved(resolution);
        let compare = |ratios: LogSample| Comparison::paired(&ratios, &noise, rule);
        ratios
            .into_iter()
            .map(|ratios| ratios.map(compare))
            .collect()
    };
    let first = compared(&|levels| levels.at(1), FIRST_RESOLUTION);
    let steady = compared(&|levels| levels.steady, STEADY_RESOLUTION);
    let both = first.into_iter().zip(steady);
    both.map(|(first, steady)| Profiler { first, steady })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
