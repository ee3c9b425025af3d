//! Which setting makes a difference or a failure go, at what cost, and by which rule an engine computes.

use anyhow::Result;
use firstpass_probe::{ALLOCATOR, Knob, Knobs, PassPlan, THREADS, Tensor, Trial, WARM_UP};
use firstpass_trial::{
    agreement::{Agreement, compare},
    expectation::differences as beyond_rounding,
    rules::rules,
};
use serde::Serialize;

use crate::culprit::{
    Candidate, Found, Investigation, Reference, Symptom, Tensors, ddmin::ddmin, engines::Answer,
    investigation::Verdict, judge::agreements, reduce::Question,
};

/// Knobs of the process and of files made before, which leave the arithmetic alone.
const NOT_OF_ARITHMETIC: [&str; 4] = [THREADS, ALLOCATOR, WARM_UP, "prepared-file"];

/// So many settings are timed.
const TIMED: usize = 3;

/// Passes that are timed of each setting, one after the other, twice.
const PASSES: PassPlan = PassPlan {
    at_least: 4,
    at_most: 40,
    budget_ms: 300,
};

/// What makes it go.
#[derive(Debug, Clone, PartialEq)]
pub struct Remedy {
    pub knobs: Knobs,
    /// What the knob is, in the engine's words.
    pub help: String,
    /// Passes left out by name, none of which can be put back; empty for other settings.
    pub passes: Vec<String>,
    /// The time of a steady pass with it, over that without; `None` where it was not timed.
    pub cost: Option<f64>,
}

/// What a setting of the referee means, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Meaning {
    pub setting: String,
    pub help: String,
}

/// What was found out of one engine.
#[derive(Debug, Clone, Default)]
pub struct Blame {
    /// Passes by name first, then other settings in the order in which the engine declares them.
    pub remedies: Vec<Remedy>,
    /// Settings that were tried.
    pub tried: usize,
    /// Whether all were.
    pub is_complete: bool,
}

/// Tries every setting of an engine by itself on the whole model, and of passes that can be left out by name the
/// fewest that have to be, by delta debugging. Then times those that help.
///
/// # Errors
/// Fails where files cannot be written.
pub fn settings(investigation: &mut Investigation, found: &Found, place: usize) -> Result<Blame> {
    let declared = investigation.engines.all[place].description.knobs.clone();
    let mut blame = Blame::default();
    let is_arithmetic = |knob: &&Knob| !NOT_OF_ARITHMETIC.contains(&knob.name.as_str());
    for knob in declared.iter().filter(is_arithmetic) {
        if knob.parts().is_empty() {
            continue;
        }
        if investigation.is_out_of_time() {
            break;
        }
        let with = |parts: &[String]| Knobs::default().with(&knob.name, parts.join(","));
        blame.tried += 1;
        if !goes(investigation, found, place, &with(knob.parts())) {
            continue;
        }
        let passes = ddmin(knob.parts(), |parts| {
            blame.tried += 1;
            Ok(!investigation.is_out_of_time() && goes(investigation, found, place, &with(parts)))
        })?;
        blame.remedies.push(Remedy {
            knobs: with(&passes),
            help: knob.help.clone(),
            passes,
            cost: None,
        });
    }
    for knob in declared.iter().filter(is_arithmetic) {
        for word in knob.words().iter().filter(|word| **word != knob.default) {
            if investigation.is_out_of_time() {
                break;
            }
            let knobs = Knobs::default().with(&knob.name, word);
            blame.tried += 1;
            if goes(investigation, found, place, &knobs) {
                blame.remedies.push(Remedy {
                    knobs,
                    help: knob.help.clone(),
                    passes: Vec::new(),
                    cost: None,
                });
            }
        }
    }
    blame.is_complete = !investigation.is_out_of_time();
    for remedy in blame.remedies.iter_mut().take(TIMED) {
        remedy.cost = cost(investigation, place, &remedy.knobs);
    }
    Ok(blame)
}

/// Whether what is wrong with the whole model is not so under these settings.
fn goes(investigation: &mut Investigation, found: &Found, place: usize, knobs: &Knobs) -> bool {
    let Some(answer) = investigation.of_whole(place, knobs) else {
        return false;
    };
    let Answer::Outputs(outputs) = answer else {
        return false;
    };
    match &found.verdicts[place] {
        Verdict::Fails(_) => true,
        Verdict::Differs(_) => {
            let verdict = investigation.verdict_of_whole(&found.compared, &outputs);
            matches!(verdict, Some(Verdict::Agrees | Verdict::Rounds { .. }))
        }
        Verdict::Rounds { .. } => {
            let verdict = investigation.verdict_of_whole(&found.compared, &outputs);
            verdict == Some(Verdict::Agrees)
        }
        Verdict::DiffersFromItself(_) => {
            let plain = investigation.engines.all[place].plain.clone();
            let own = plain.and_then(|plain| investigation.of_whole(place, &plain));
            let own = own.and_then(Answer::outputs);
            own.is_some_and(|own| investigation.same_of_whole(&own, &outputs))
        }
        Verdict::Agrees | Verdict::Open | Verdict::NotAsked(_) => false,
    }
}

/// The time of a pass with a setting over that without, each the shortest median of two processes in turns: a look,
/// and no verdict.
fn cost(investigation: &mut Investigation, place: usize, knobs: &Knobs) -> Option<f64> {
    let mut shortest = [f64::INFINITY; 2];
    for _ in 0..2 {
        for (own, knobs) in shortest.iter_mut().zip([&Knobs::default(), knobs]) {
            if investigation.is_out_of_time() {
                return None;
            }
            *own = own.min(investigation.steady_ms(place, knobs, PASSES)?);
        }
    }
    Some(shortest[1] / shortest[0])
}

/// The simplest rules of the referee under which it gives the very outputs of an engine on a part that shows a
/// difference, with what each of them means; `None` where there are none, or nothing to tell them by. Of an engine that
/// reads no parts the outputs are those of the whole model, which the part then is.
///
/// # Errors
/// Fails where files cannot be written.
pub fn rule(
    investigation: &mut Investigation,
    question: &Question,
    part: &Candidate,
) -> Result<Option<(Knobs, Vec<Meaning>)>> {
    let engines = investigation.engines;
    let (Symptom::Differs(place), Some(referee), Some(Reference::Referee(as_written))) =
        (&question.symptom, &engines.referee, &question.reference)
    else {
        return Ok(None);
    };
    let engine = &engines.all[*place];
    let Some(got) = investigation
        .of_part(engine, &question.knobs, part)?
        .outputs()
    else {
        return Ok(None);
    };
    let declared = &referee.description.knobs;
    // What golden outputs were made by, an engine need not do: that is the simplest.
    let undone = declared.iter().filter(|knob| {
        let value = as_written.get(&knob.name);
        value.is_some_and(|value| value != knob.default)
    });
    let undone = undone.map(|knob| Knobs::default().with(&knob.name, &knob.default));
    let mut all: Vec<Knobs> = undone.chain(rules(declared)).collect();
    all.sort_by_key(|rules| rules.settings().count());
    for rules in all {
        if investigation.is_out_of_time() {
            break;
        }
        let rules = as_written.clone().and(&rules);
        if rules == *as_written {
            continue;
        }
        let outputs = investigation.of_part(referee, &rules, part)?.outputs();
        let Some(outputs) = outputs else { continue };
        let found = agreements(&investigation.description, part, &outputs, &got);
        // Floats agree by chance, up to rounding; integers do not.
        if is_exact(&found) {
            let own = rules
                .settings()
                .filter(|(name, value)| as_written.get(name) != Some(value));
            let meanings = own.map(|(name, value)| {
                let knob = declared.iter().find(|knob| knob.name == name);
                Meaning {
                    setting: format!("{name}={value}"),
                    help: knob.map_or_else(String::new, |knob| knob.help.clone()),
                }
            });
            let meanings = meanings.collect();
            return Ok(Some((rules, meanings)));
        }
    }
    Ok(None)
}

fn is_exact(agreements: &[Agreement]) -> bool {
    let exact =
        |a: &Agreement| a.steps.as_ref().is_some_and(|steps| steps.max == 0) && a.other_shape == 0;
    !agreements.is_empty() && agreements.iter().all(exact)
}

/// Subnormal weights of a model, and how many times as long a pass of each engine takes with them as with zeros in
/// their place.
#[derive(Debug, Clone, PartialEq)]
pub struct Subnormals {
    pub constants: Vec<String>,
    pub values: usize,
    /// By engine, as [`super::engines::Engines::all`]; engines that give no time are left out.
    pub slower: Vec<(usize, f64)>,
}

/// Looks for weights between 0 and the smallest normal number of f32, on which many processors compute a hundred times
/// slower.
///
/// # Errors
/// Fails where files cannot be written.
pub fn subnormals(investigation: &mut Investigation) -> Result<Option<Subnormals>> {
    let Some(whole) = investigation.whole.clone() else {
        return Ok(None);
    };
    let mut flushed = (*whole.file).clone();
    let mut found = Subnormals {
        constants: Vec::new(),
        values: 0,
        slower: Vec::new(),
    };
    for name in whole.file.constants() {
        let Ok(Some(constant)) = whole.file.constant(name) else {
            continue;
        };
        let firstpass_onnx::Values::F32(values) = &constant.values else {
            continue;
        };
        let count = values.iter().filter(|value| value.is_subnormal()).count();
        if count == 0 {
            continue;
        }
        found.constants.push(name.to_owned());
        found.values += count;
        let zeros = values
            .iter()
            .map(|&v| if v.is_subnormal() { 0.0 } else { v });
        let zeros: Vec<f32> = zeros.collect();
        let tensor = firstpass_onnx::write::constant(name, &constant.dims, &zeros);
        flushed = flushed.with_constant(&tensor);
    }
    if found.constants.is_empty() {
        return Ok(None);
    }
    let flushed = Candidate {
        file: flushed.into(),
        ..whole.clone()
    };
    for place in 0..investigation.engines.all.len() {
        if investigation.is_out_of_time() {
            break;
        }
        let with = investigation.steady_of_part(place, &whole, PASSES)?;
        let without = investigation.steady_of_part(place, &flushed, PASSES)?;
        found.slower.extend(
            with.zip(without)
                .map(|(with, without)| (place, with / without)),
        );
    }
    Ok(Some(found))
}

impl Investigation<'_> {
    /// Whether two answers to the whole model are the same up to rounding.
    fn same_of_whole(&self, a: &Tensors, b: &Tensors) -> bool {
        let ordered = |tensors: &Tensors| -> Option<Vec<Tensor>> {
            let outputs = self.description.outputs.iter();
            outputs
                .map(|output| tensors.get(&output.name).cloned())
                .collect()
        };
        let (Some(a), Some(b)) = (ordered(a), ordered(b)) else {
            return false;
        };
        beyond_rounding(&compare(&self.description, &[(&a, &b)])).is_empty()
    }

    /// The median of the later half of the passes of a process, in ms.
    fn steady_ms(&mut self, place: usize, knobs: &Knobs, passes: PassPlan) -> Option<f64> {
        let model = self.files[place].as_ref().ok()?.clone();
        let input = self.input_file().to_owned();
        self.asked += 1;
        let trial = Trial::new(model, knobs.clone(), vec![input], passes);
        self.steady_of(place, &trial)
    }

    fn steady_of_part(
        &mut self,
        place: usize,
        part: &Candidate,
        passes: PassPlan,
    ) -> Result<Option<f64>> {
        let (model, input) = part.write(self.files_folder(), "timed")?;
        self.asked += 1;
        let trial = Trial::new(model, Knobs::default(), vec![input], passes);
        Ok(self.steady_of(place, &trial))
    }

    fn steady_of(&self, place: usize, trial: &Trial) -> Option<f64> {
        let mut probe = self.engines.all[place].probe.clone();
        probe.timeout = probe.timeout.min(self.longest());
        let process = probe.trial(trial);
        if !process.completed() {
            return None;
        }
        let later = process.passes.len() / 2;
        let mut times: Vec<u64> = process.passes[later..]
            .iter()
            .map(|pass| pass.span.wall_ns)
            .collect();
        times.sort_unstable();
        times.get(times.len() / 2).map(|&ns| ns as f64 / 1e6)
    }
}
