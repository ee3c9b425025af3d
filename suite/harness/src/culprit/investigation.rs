//! What is wrong with a model on one input, and whose outputs are right.

mod found;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use firstpass_onnx::cut::Cuttable;
use firstpass_probe::{Format, Knobs, Model, Tensor};
use firstpass_trial::{
    agreement::{compare, pairs},
    expectation::{ByRule, ExpectationVerdict, apart, differences as beyond_rounding},
    model::{ModelDescription, Precision},
    outputs::Outputs,
    setting::setting,
    workload::{InputFiles, Workload},
};

use crate::{
    culprit::{
        Reference, Symptom, Tensors,
        candidate::{Candidate, ancestors},
        engines::{Answer, Engine, Engines, is_absent, signature},
        judge::{agreements, differences},
    },
    studies::first_passes::reference::{self, Kind, OutputsByRule, StandIns},
};

pub use found::{ByGoldenRule, Found, Verdict};

use found::{against, agreements_of, differences_of, symptoms};

/// The formats of graphs that can be cut, the usual one first.
const GRAPHS: [Format; 2] = [Format::ONNX, Format::ONNX_QOPERATOR];

/// One process may take this share of the time.
const LONGEST_SHARE: u32 = 4;

/// And so may the referee with the whole model by all rules of rounding.
const RULES_SHARE: u32 = 4;

/// A model on one input, the engines, and the time that there is.
pub struct Investigation<'a> {
    pub engines: &'a Engines,
    pub description: ModelDescription,
    /// All of the model, as it is cut down later; `None` where it is no graph that can be cut.
    pub whole: Option<Candidate>,
    /// What each engine reads, in the order of [`Engines::all`], or why it reads nothing.
    pub files: Vec<Result<Model, String>>,
    input: PathBuf,
    sample: String,
    golden: Option<Outputs>,
    folder: InputFiles,
    began: Instant,
    budget: Duration,
    /// When what is being asked has to be done, from the beginning on; after that others have their share.
    share: Option<Duration>,
    /// Processes that were run.
    pub asked: usize,
}

impl<'a> Investigation<'a> {
    /// The first model of a workload on its first input.
    ///
    /// # Errors
    /// Fails where the input or the file cannot be read.
    pub fn new(engines: &'a Engines, workload: &Workload, budget: Duration) -> Result<Self> {
        let model = workload.models.first().context("there is no model")?;
        let sample = workload.samples.first().context("there is no input")?;
        let mut folder = InputFiles::new()?;
        let input = folder.file(sample, model)?;
        let graph = GRAPHS.iter().find_map(|format| model.artifact(*format));
        let graph = graph.map(|file| workload.admit(model, &file)).transpose()?;
        let whole = match &graph {
            Some(file) => {
                let cuttable = Cuttable::read(&file.path)
                    .map_err(|e| anyhow!("{e}"))
                    .with_context(|| format!("cannot read {} as ONNX", model.name))?;
                let inputs = sample.inputs(model)?.into_iter().collect();
                Some(Candidate::whole(cuttable, inputs))
            }
            None => None,
        };
        let files = engines.all.iter().map(|engine| {
            let formats = &engine.description.formats;
            if let Some(file) = graph.as_ref().filter(|file| formats.contains(&file.format)) {
                return Ok(file.clone());
            }
            let own = formats.iter().find_map(|format| model.artifact(*format));
            let own = own.ok_or_else(|| {
                let keys: Vec<&str> = formats.iter().map(|format| format.key()).collect();
                format!("it reads {}", keys.join(" or "))
            })?;
            workload.admit(model, &own).map_err(|e| format!("{e:#}"))
        });
        let files = files.collect();
        let golden = workload.golden(model)?;
        let golden = golden.filter(|golden| golden.contains_key(&sample.name));
        Ok(Self {
            engines,
            description: model.clone(),
            whole,
            files,
            input,
            sample: sample.name.clone(),
            golden,
            folder,
            began: Instant::now(),
            budget,
            share: None,
            asked: 0,
        })
    }

    /// Leaves for what is asked next its part of the time that is left: `own` of `all`.
    pub(crate) fn share(&mut self, own: u32, all: u32) {
        self.share = None;
        let part = self.left() * own / all.max(1);
        self.share = Some(self.began.elapsed() + part);
    }

    /// What is asked next may take all that is left.
    pub(crate) fn share_no_more(&mut self) {
        self.share = None;
    }

    /// What is left of the time.
    pub fn left(&self) -> Duration {
        let end = self.share.unwrap_or(self.budget).min(self.budget);
        end.saturating_sub(self.began.elapsed())
    }

    pub fn is_out_of_time(&self) -> bool {
        self.left().is_zero()
    }

    pub fn spent(&self) -> Duration {
        self.began.elapsed()
    }

    /// The file of the input.
    pub(crate) fn input_file(&self) -> &Path {
        &self.input
    }

    /// Whether an engine reads files such as parts are.
    pub(crate) fn reads_parts(&self, place: usize) -> bool {
        let file = self.files[place].as_ref();
        file.is_ok_and(|file| file.format.is_onnx())
    }

    /// For files that are of no use afterwards.
    pub(crate) fn files_folder(&self) -> &Path {
        self.folder.folder()
    }

    /// One process may take so long.
    pub(crate) fn longest(&self) -> Duration {
        let share = self.budget / LONGEST_SHARE;
        share.min(self.left()).max(Duration::from_secs(1))
    }

    /// What an engine makes of the whole model, in the file that it reads.
    pub fn of_whole(&mut self, place: usize, knobs: &Knobs) -> Option<Answer> {
        let engine = &self.engines.all[place];
        let file = self.files[place].as_ref().ok()?;
        self.asked += 1;
        let folder = self.folder.folder();
        Some(engine.answer(file, knobs, &self.input, folder, self.longest()))
    }

    /// What an engine makes of a part.
    ///
    /// # Errors
    /// Fails where its file cannot be written.
    pub fn of_part(&mut self, engine: &Engine, knobs: &Knobs, part: &Candidate) -> Result<Answer> {
        self.asked += 1;
        let folder = self.folder.folder();
        let (model, input) = part.write(folder, "part")?;
        Ok(engine.answer(&model, knobs, &input, folder, self.longest()))
    }

    /// What the outputs of a part should be; `None` where the reference does not give them.
    ///
    /// # Errors
    /// As of [`Self::of_part`].
    pub fn expected(&mut self, reference: &Reference, part: &Candidate) -> Result<Option<Tensors>> {
        let engines = self.engines;
        match reference {
            Reference::Referee(rules) => {
                let Some(referee) = &engines.referee else {
                    return Ok(None);
                };
                Ok(self.of_part(referee, rules, part)?.outputs())
            }
            Reference::Itself(place) => self.without_optimizations(*place, part),
            Reference::Agreed(places) => {
                let mut agreed: Option<Tensors> = None;
                for &place in places {
                    let own = self.without_optimizations(place, part)?;
                    let Some(own) = own else { return Ok(None) };
                    match &agreed {
                        None => agreed = Some(own),
                        Some(first)
                            if differences(&self.description, part, first, &own).is_empty() => {}
                        Some(_) => return Ok(None),
                    }
                }
                Ok(agreed)
            }
        }
    }

    fn without_optimizations(&mut self, place: usize, part: &Candidate) -> Result<Option<Tensors>> {
        let engines = self.engines;
        let engine = &engines.all[place];
        match &engine.plain {
            Some(plain) => Ok(self.of_part(engine, plain, part)?.outputs()),
            None => Ok(None),
        }
    }

    /// Whether a part shows a symptom, with an engine that differs under these settings.
    ///
    /// # Errors
    /// As of [`Self::of_part`].
    pub fn shows(
        &mut self,
        part: &Candidate,
        symptom: &Symptom,
        reference: Option<&Reference>,
        knobs: &Knobs,
    ) -> Result<bool> {
        let engines = self.engines;
        match symptom {
            Symptom::Fails(failures) => {
                for (&place, words) in failures {
                    match self.of_part(&engines.all[place], knobs, part)? {
                        Answer::Failure(outcome) if signature(&outcome) == *words => {}
                        _ => return Ok(false),
                    }
                }
                Ok(true)
            }
            Symptom::SlowFirst(slow) => self.is_slow(*slow, knobs, part),
            Symptom::Differs(place) => {
                let got = self.of_part(&engines.all[*place], knobs, part)?.outputs();
                let (Some(got), Some(reference)) = (got, reference) else {
                    return Ok(false);
                };
                let Some(expected) = self.expected(reference, part)? else {
                    return Ok(false);
                };
                let how = differences(&self.description, part, &expected, &got);
                if how.is_empty() {
                    return Ok(false);
                }
                Ok(!self.is_rounding(reference, part, [&expected, &got], how)?)
            }
        }
    }

    /// Whether a part is off by no more than rules of rounding make there: who looks for a fault must not be led to
    /// where an engine only rounds in its own way.
    fn is_rounding(
        &mut self,
        reference: &Reference,
        part: &Candidate,
        [expected, got]: [&Tensors; 2],
        differences: Vec<String>,
    ) -> Result<bool> {
        let engines = self.engines;
        let (Reference::Referee(as_written), Some(referee)) = (reference, &engines.referee) else {
            return Ok(false);
        };
        let precision = self.description.precision;
        if precision != Precision::Int8 {
            return Ok(false);
        }
        let own = agreements(&self.description, part, expected, got);
        let differs = ExpectationVerdict::Differs(differences);
        let mut moved = Vec::new();
        for known in &referee.rounding_rules {
            let rule = as_written.clone().and(&known.settings);
            if rule == *as_written || self.is_out_of_time() {
                continue;
            }
            let Some(by_rule) = self.of_part(referee, &rule, part)?.outputs() else {
                continue;
            };
            let apart =
                |from: &Tensors, to: &Tensors| agreements(&self.description, part, from, to);
            moved.push(ByRule {
                moved: apart(expected, &by_rule),
                left: known.halves.then(|| apart(&by_rule, got)),
            });
            let verdict = differs.clone().within_rules(precision, &own, &moved);
            if !verdict.is_difference() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How the outputs of the whole model differ from those of the reference; `None` where an engine gave none.
    pub fn difference_of_whole(
        &self,
        compared: &reference::Reference,
        got: &Tensors,
    ) -> Option<Vec<String>> {
        let agreements = agreements_of(&self.description, compared, &self.ordered(got)?)?;
        Some(differences_of(&self.description, compared, &agreements))
    }

    /// How outputs of the whole model compare with those of the reference; `None` where there is nothing to compare.
    pub fn verdict_of_whole(
        &self,
        compared: &reference::Reference,
        got: &Tensors,
    ) -> Option<Verdict> {
        against(&self.description, compared, &self.ordered(got)?)
    }

    /// What the referee gives for the whole of a quantized model by each rule of rounding, as far as the time that is
    /// for it reaches.
    fn by_rules(&mut self, as_written: &Knobs) -> Result<Vec<OutputsByRule>> {
        let engines = self.engines;
        let (Some(referee), Some(whole)) = (&engines.referee, self.whole.clone()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        if self.description.precision != Precision::Int8 {
            return Ok(found);
        }
        let began = Instant::now();
        for rule in &referee.rounding_rules {
            let asked = Instant::now();
            let rules = as_written.clone().and(&rule.settings);
            if rules == *as_written {
                continue;
            }
            if let Some(outputs) = self.of_part(referee, &rules, &whole)?.outputs() {
                let outputs = self.ordered(&outputs).map(|outputs| OutputsByRule {
                    name: setting(&rule.settings),
                    halves: rule.halves,
                    outputs,
                });
                found.extend(outputs);
            }
            if began.elapsed() + asked.elapsed() > self.budget / RULES_SHARE {
                break;
            }
        }
        Ok(found)
    }

    /// By what the referee gives the golden outputs, where it does not as the file is written; as far as the time that
    /// is for it reaches.
    fn golden_rule(&mut self, as_written: &Knobs) -> Result<Option<ByGoldenRule>> {
        let engines = self.engines;
        let (Some(golden), Some(referee), Some(whole)) =
            (self.golden.clone(), &engines.referee, self.whole.clone())
        else {
            return Ok(None);
        };
        let until = self.began.elapsed() + self.budget / RULES_SHARE;
        for rule in &referee.golden_rules {
            if self.began.elapsed() > until {
                break;
            }
            let rules = as_written.clone().and(&rule.settings);
            let outputs = self.of_part(referee, &rules, &whole)?.outputs();
            let Some(outputs) = outputs.and_then(|outputs| self.ordered(&outputs)) else {
                continue;
            };
            let agreements = compare(&self.description, &pairs(&golden, &outputs));
            if beyond_rounding(&agreements).is_empty() {
                return Ok(Some(ByGoldenRule {
                    name: setting(&rule.settings),
                    reason: rule.reason.clone(),
                    rules,
                }));
            }
        }
        Ok(None)
    }

    /// As records keep outputs.
    fn ordered(&self, tensors: &Tensors) -> Option<Outputs> {
        let outputs = self.description.outputs.iter();
        let outputs: Option<Vec<Tensor>> = outputs
            .map(|output| tensors.get(&output.name).cloned())
            .collect();
        Some(Outputs::from([(self.sample.clone(), outputs?)]))
    }

    /// Asks every engine, the referee, and every engine without its optimizations.
    ///
    /// # Errors
    /// Fails where files cannot be written.
    pub fn look(&mut self) -> Result<Found> {
        let places = 0..self.engines.all.len();
        let answers: Vec<Option<Answer>> = places
            .clone()
            .map(|place| self.of_whole(place, &Knobs::default()))
            .collect();
        let mut plain: Vec<(usize, Tensors)> = Vec::new();
        for place in places.clone() {
            let knobs = self.engines.all[place].plain.clone();
            let answer = knobs.and_then(|knobs| self.of_whole(place, &knobs));
            if let Some(outputs) = answer.and_then(Answer::outputs) {
                plain.push((place, outputs));
            }
        }
        let rules = self.rules();
        let referee = match (&self.engines.referee, &self.whole, &rules) {
            (Some(referee), Some(whole), Some(rules)) => {
                let whole = whole.clone();
                self.of_part(referee, rules, &whole)?.outputs()
            }
            _ => None,
        };
        let of_referee = referee.as_ref().and_then(|outputs| self.ordered(outputs));
        let stand_ins = StandIns {
            // They are asked for where an engine differs.
            by_rules: Vec::new(),
            referee: of_referee.clone().map(|outputs| {
                let referee = self.engines.referee.as_ref();
                (
                    referee.map_or_else(String::new, |r| r.called.clone()),
                    outputs,
                )
            }),
            plain: plain
                .iter()
                .filter_map(|(place, outputs)| {
                    let called = self.engines.all[*place].called.clone();
                    Some((called, self.ordered(outputs)?))
                })
                .collect(),
        };
        let gave = answers.iter().flatten();
        let gave = gave
            .filter(|answer| matches!(answer, Answer::Outputs(_)))
            .count();
        let mut compared = match &self.golden {
            Some(golden) => {
                reference::Reference::golden(&self.description.golden_from, golden.clone())
            }
            None => reference::Reference::of(&self.description, stand_ins, gave),
        };
        let differs = |answer: &Option<Answer>| match answer {
            Some(Answer::Outputs(got)) => {
                let found = self.difference_of_whole(&compared, got);
                found.is_some_and(|found| !found.is_empty())
            }
            _ => false,
        };
        let any_differs = answers.iter().any(differs);
        if let (Kind::Referee(_), Some(rules), true) = (&compared.kind, &rules, any_differs) {
            compared.by_rules = self.by_rules(rules)?;
        }
        let golden_against_referee = match (&self.golden, &of_referee) {
            (Some(golden), Some(referee)) => {
                beyond_rounding(&compare(&self.description, &pairs(golden, referee)))
            }
            _ => Vec::new(),
        };
        let golden_rule = match &rules {
            Some(rules) if !golden_against_referee.is_empty() => self.golden_rule(rules)?,
            _ => None,
        };
        let supporting: Vec<usize> = plain
            .iter()
            .filter(|(_, outputs)| {
                let difference = self.difference_of_whole(&compared, outputs);
                difference.is_some_and(|difference| difference.is_empty())
            })
            .map(|(place, _)| *place)
            .collect();
        let by_golden_rule = golden_rule.as_ref().map(|rule| rule.rules.clone());
        let reference = match (&compared.kind, rules) {
            (Kind::Golden(_), _) if by_golden_rule.is_some() => {
                by_golden_rule.map(Reference::Referee)
            }
            (Kind::Referee(_), Some(rules)) => Some(Reference::Referee(rules)),
            (Kind::Golden(_), Some(rules))
                if of_referee.is_some() && golden_against_referee.is_empty() =>
            {
                Some(Reference::Referee(rules))
            }
            (Kind::Golden(_) | Kind::Agreed { .. }, _) if supporting.len() > 1 => {
                Some(Reference::Agreed(supporting))
            }
            _ => None,
        };
        let mut verdicts = Vec::new();
        for (place, answer) in places.zip(answers) {
            verdicts.push(match answer {
                None => {
                    let why = self.files[place].as_ref().err();
                    Verdict::NotAsked(why.cloned().unwrap_or_default())
                }
                Some(Answer::Failure(outcome)) if is_absent(&outcome) => {
                    Verdict::NotAsked(outcome.to_string())
                }
                Some(Answer::Failure(outcome)) => Verdict::Fails(outcome),
                Some(Answer::Outputs(got)) => match self.verdict_of_whole(&compared, &got) {
                    Some(verdict) => verdict,
                    None => self.against_itself(&plain, place, &got),
                },
            });
        }
        let symptoms = symptoms(&verdicts);
        Ok(Found {
            verdicts,
            compared,
            reference,
            symptoms,
            golden_against_referee,
            golden_rule,
        })
    }

    fn against_itself(&self, plain: &[(usize, Tensors)], place: usize, got: &Tensors) -> Verdict {
        let own = plain.iter().find(|(other, _)| *other == place);
        let own = own.and_then(|(_, outputs)| self.ordered(outputs));
        let Some((own, got)) = own.zip(self.ordered(got)) else {
            return Verdict::Open;
        };
        let found = compare(&self.description, &pairs(&own, &got));
        let found = apart(self.description.precision, &found);
        if found.is_empty() {
            Verdict::Open
        } else {
            Verdict::DiffersFromItself(found)
        }
    }

    /// The rules by which the referee computes the whole file, so that it computes each part alike; `None` where it
    /// does not compute it.
    fn rules(&mut self) -> Option<Knobs> {
        let engines = self.engines;
        let referee = engines.referee.as_ref()?;
        let whole = self.whole.clone()?;
        let folder = self.folder.folder();
        let (model, input) = whole.write(folder, "part").ok()?;
        self.asked += 1;
        let mut probe = referee.probe.clone();
        probe.timeout = probe.timeout.min(self.longest());
        let arithmetic = probe.inspect(&model, &Knobs::default(), &input).ok()?;
        Some(arithmetic.rules.unwrap_or_default())
    }
}

impl Candidate {
    fn whole(file: Cuttable, inputs: Tensors) -> Self {
        let outputs: Vec<String> = file.outputs().to_vec();
        Self {
            nodes: (0..file.nodes().len()).collect(),
            file: Arc::new(file),
            inputs,
            outputs,
            declared: true,
        }
    }

    /// The same with only what these outputs need.
    #[must_use]
    pub fn for_outputs(&self, outputs: Vec<String>) -> Self {
        Self {
            nodes: ancestors(&self.file, &outputs),
            outputs,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests;
