//! A record, judged: everything that a report shows, before it has a form.

mod numbers;

use std::collections::BTreeMap;

use anyhow::Result;
use firstpass_probe::Format;
use firstpass_trial::{
    agreement::{compare, pairs},
    engine::base,
    expectation::{ExpectationVerdict, apart},
    known::Known,
    model::{ModelDescription, Precision},
    observation::{Cell, Observation, Outcome},
    outputs::Outputs,
    own_model::is_made_up,
    repeatability::{self, Repeatability},
    sample::Sample,
    setting::setting,
    workload::Workload,
    workspace::Workspace,
};

use crate::{
    record::Record,
    studies::first_passes::{
        judge::{
            comparisons::Comparisons,
            latency::{self, Latency},
        },
        reference::{self, Kind, Reference},
        row::{Judging, cells, row_label},
    },
};

pub use crate::studies::first_passes::row::Row;
use numbers::{blame_not_finite, independent, numbers_on, without_numbers};

/// A record, judged.
#[derive(Debug)]
pub struct Analysis {
    pub record: Record,
    pub workload: Workload,
    /// By model, in the order of the models.
    pub rows: BTreeMap<String, Vec<Row>>,
    /// With what the outputs of the engines are compared, by model.
    pub references: BTreeMap<String, Reference>,
    /// What is to be known of a model itself, by its name: it is no engine's fault.
    pub of_models: BTreeMap<String, OfModel>,
    /// Backends that say who is right.
    pub referees: Vec<String>,
    pub repeatability: Vec<Repeatability>,
    /// Which of two cells is faster.
    pub comparisons: Comparisons,
    /// What each backend declares.
    pub known: BTreeMap<String, Known>,
    /// A whole program that runs a backend's engine without Firstpass, from the root of the workspace; by backend.
    pub programs: BTreeMap<String, String>,
}

/// The program that shows how to run an engine without Firstpass, from the root of the workspace.
pub(crate) fn program(workspace: &Workspace, backend: &str) -> Option<String> {
    let path = format!("examples/ship-{backend}/src/main.rs");
    workspace.root().join(&path).is_file().then_some(path)
}

/// What is to be known of a model itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OfModel {
    /// Outputs with values that are NaN or infinite by the model itself, in words.
    pub not_finite: Vec<String>,
    /// Engines that give other values where the model itself gives no number on made-up inputs.
    pub numbers_on: Vec<String>,
    /// Outputs that are the same for all inputs.
    pub independent: Vec<String>,
    /// Whether these are all outputs that it has.
    pub says_little: bool,
}

impl Analysis {
    /// # Errors
    /// Fails where models, photographs, golden outputs or declarations cannot be read.
    pub fn new(workspace: &Workspace, record: Record) -> Result<Self> {
        let workload = record.workload(workspace)?;
        Self::with(workspace, record, workload)
    }

    /// The same for models and inputs that are described elsewhere than the record says, such as with golden outputs
    /// that were written since.
    ///
    /// # Errors
    /// As [`Analysis::new`].
    pub fn with(workspace: &Workspace, record: Record, workload: Workload) -> Result<Self> {
        let backends = workspace.backends()?;
        let programs = backends.iter().filter_map(|backend| {
            let program = program(workspace, &backend.name)?;
            Some((backend.name.clone(), program))
        });
        let programs = programs.collect();
        let referees = backends.iter().filter(|b| b.is_referee);
        let referees: Vec<String> = referees.map(|b| b.name.clone()).collect();
        let mut known: BTreeMap<String, Known> = backends
            .into_iter()
            .map(|b| Ok((b.name.clone(), b.known()?)))
            .collect::<Result<_>>()?;
        for name in record.backends.keys() {
            if let Some(of_base) = known.get(base(name))
                && base(name) != name
            {
                let of_base = of_base.clone();
                let of_this = match record.run.processors.get(name) {
                    Some(processor) => of_base.on_processor(base(name), processor),
                    None => of_base.of_version(name),
                };
                known.insert(name.clone(), of_this);
            }
        }
        let latencies = latency::summarise(record.observations());
        // What is declared is declared over all photographs of the fixtures, not over some of them.
        let is_complete = workload.samples.len() >= Sample::fixtures(&workspace.fixtures())?.len();
        let mut analysis = Self {
            rows: BTreeMap::new(),
            references: BTreeMap::new(),
            of_models: BTreeMap::new(),
            referees,
            repeatability: repeatability::judge(record.observations()),
            comparisons: Comparisons::of_run(&latencies),
            known,
            programs,
            record,
            workload,
        };
        for model in analysis.workload.models.clone() {
            analysis.judge(&model, &latencies, is_complete)?;
        }
        Ok(analysis)
    }

    fn judge(
        &mut self,
        model: &ModelDescription,
        latencies: &[Latency],
        is_complete: bool,
    ) -> Result<()> {
        let record = &self.record;
        let cells = cells(record, model);
        let label = |cell: &Cell| {
            row_label(
                record,
                model,
                &cell.default_of(),
                self.known.get(&cell.backend),
            )
        };
        let halves = |referee: &str, rule: &str| {
            let known = self.known.get(referee);
            let mut rules = known.iter().flat_map(|known| &known.rounding_rule);
            rules.any(|known| known.halves && setting(&known.settings) == rule)
        };
        let found = reference::stand_ins(record, model, &self.referees, label, halves)?;
        let plain = found.plain.clone();
        let reference = match self.workload.golden(model)? {
            Some(golden) => Reference::golden(&model.golden_from, golden),
            None => {
                let names: Vec<String> = model.outputs.iter().map(|o| o.name.clone()).collect();
                let mut engines = 0;
                for cell in &cells {
                    engines += usize::from(record.outputs(cell, &names)?.is_some());
                }
                Reference::of(model, found, engines)
            }
        };
        let undefined = match self.are_made_up() {
            true => without_numbers(model, &reference),
            false => Vec::new(),
        };
        let judging = Judging {
            record,
            model,
            reference: &reference,
            undefined: &undefined,
            moved_by_rules: reference.moved_by_rules(model),
            latencies,
            is_complete,
            is_fixture: self.workload.is_of_fixtures(model)?,
        };
        let mut rows = Vec::new();
        for cell in cells {
            let known = self.known.get(&cell.backend).cloned().unwrap_or_default();
            rows.push(judging.row(cell, &known)?);
        }
        blame_optimizations(model, &reference, &plain, &mut rows);
        if matches!(reference.kind, Kind::Undecided { .. }) {
            set_apart(model, &mut rows);
        }
        let of_model = OfModel {
            not_finite: blame_not_finite(model, &reference, &mut rows),
            numbers_on: numbers_on(model, &reference, &undefined, &rows),
            ..independent(model, &reference, &undefined, &rows)
        };
        self.of_models.insert(model.name.clone(), of_model);
        self.references.insert(model.name.clone(), reference);
        self.rows.insert(model.name.clone(), rows);
        Ok(())
    }

    /// Whose outputs those of the engines are compared with; `None` where there are none.
    pub fn reference(&self, model: &ModelDescription) -> Option<String> {
        self.references.get(&model.name)?.name()
    }

    /// Why the referee gives nothing for a model.
    pub fn refusal(&self, model: &str) -> Option<(&str, &Outcome)> {
        reference::refusal(&self.record, model, &self.referees)
    }

    pub fn models(&self) -> &[ModelDescription] {
        &self.workload.models
    }

    /// What a reader calls a model.
    pub fn title<'a>(&'a self, model: &'a str) -> &'a str {
        let mut models = self.models().iter();
        let known = models.find(|known| known.name == model);
        known.map_or(model, |known| &known.title)
    }

    pub fn samples(&self) -> &[Sample] {
        &self.workload.samples
    }

    /// Whether the referee computed a quantized model, and by none of the rules of rounding that it knows: then
    /// nobody knows how far these move its outputs.
    pub fn rounding_is_open(&self, model: &str) -> bool {
        let is_quantized = |m: &ModelDescription| m.name == model && m.precision == Precision::Int8;
        let Some(reference) = self.references.get(model) else {
            return false;
        };
        let Kind::Referee(name) = &reference.kind else {
            return false;
        };
        let known = self.known.get(name);
        let has_rules = known.is_some_and(|known| !known.rounding_rule.is_empty());
        has_rules && reference.by_rules.is_empty() && self.models().iter().any(is_quantized)
    }

    /// Whether no input is of a user or of the fixtures.
    pub fn are_made_up(&self) -> bool {
        self.samples().iter().all(|s| is_made_up(&s.file))
    }

    pub fn rows(&self, model: &ModelDescription) -> &[Row] {
        self.rows.get(&model.name).map_or(&[], Vec::as_slice)
    }

    /// Every backend that could not be measured at all, and why.
    pub fn unavailable(&self) -> impl Iterator<Item = (&str, &str)> {
        let backends = self.record.backends.iter();
        backends.filter_map(|(name, b)| Some((name.as_str(), b.unavailable.as_deref()?)))
    }

    /// Whether a process failed as its engine declares that it fails on this model of the fixtures, in these words.
    pub fn is_declared_refusal(&self, observation: &Observation) -> bool {
        let cell = &observation.cell;
        let mut models = self.models().iter();
        let model = models.find(|model| model.name == cell.model);
        let is_fixture = model.is_some_and(|m| self.workload.is_of_fixtures(m).unwrap_or(false));
        let known = self.known.get(&cell.backend).filter(|_| is_fixture);
        let declared = known.and_then(|known| known.refusal(&cell.model, cell.format));
        declared.is_some_and(|refusal| {
            let outcome = observation.process.outcome.to_string();
            outcome.contains(&refusal.words)
        })
    }

    /// How an engine is called, by what runs.
    pub fn called(&self, backend: &str) -> String {
        let known = self.known.get(backend);
        let called = known.and_then(|known| known.called.clone());
        called.unwrap_or_else(|| backend.into())
    }

    /// Engines that are here and were not asked in a record of the fixtures, which is of all that there were then.
    ///
    /// # Errors
    /// Fails where the description of a model is no longer there.
    pub fn not_asked(&self) -> Result<Vec<String>> {
        for model in self.models() {
            if !self.workload.is_of_fixtures(model)? {
                return Ok(Vec::new());
            }
        }
        let backends = self.known.keys();
        let missing = backends.filter(|name| {
            !self.record.backends.contains_key(*name) && !self.referees.contains(name)
        });
        Ok(missing.map(|name| self.called(name)).collect())
    }

    /// Every process of an engine that did not complete.
    pub fn incidents(&self) -> impl Iterator<Item = &Observation> {
        let all = self.record.observations();
        all.filter(|o| !o.process.completed())
    }

    /// Those of them in which the engine refuses tuned settings for this file.
    pub fn without_tuned(&self) -> impl Iterator<Item = &Observation> {
        self.incidents().filter(|o| self.is_refused(o))
    }

    /// Whether the engine itself says that it does not run with the settings of the cell, never does, and
    /// runs by default. Anything else, such as a crash or what works only sometimes, is a fault.
    pub(crate) fn is_refused(&self, observation: &Observation) -> bool {
        let cell = &observation.cell;
        let completes = |cell: &Cell| {
            let mut others = self.record.observations();
            others.any(|o| o.cell == *cell && o.process.completed())
        };
        !cell.is_default()
            && matches!(observation.process.outcome, Outcome::Failed(_))
            && !completes(cell)
            && completes(&cell.default_of())
    }

    /// Whether any engine gave outputs.
    pub fn gave_outputs(&self) -> bool {
        self.rows
            .values()
            .flatten()
            .any(|row| row.outputs.is_some())
    }

    /// Where no engine gave outputs, and all inputs were made up: that this may be why, and what to give instead.
    pub fn only_made_up_inputs_failed(&self) -> Option<String> {
        // Where every engine failed before it was given any, they are not why.
        let mut observations = self.record.observations();
        let is_asked = observations.any(|one| one.process.loaded.is_some());
        if self.gave_outputs() || !self.are_made_up() || self.samples().is_empty() || !is_asked {
            return None;
        }
        let inputs = self.models().iter().flat_map(|model| &model.inputs);
        let inputs: Vec<String> = inputs
            .map(|input| {
                format!(
                    "{:?} of {} {:?}",
                    input.name,
                    input.dtype.key(),
                    input.shape
                )
            })
            .collect();
        Some(format!(
            "The inputs were made up, and no engine ran on them: they may be none that the model can take. Give \
             inputs of your own with --sample FILE.npz, which holds an array for each input: {}.",
            inputs.join(", ")
        ))
    }
}

/// How a backend is called in the rows of a model.
pub(crate) fn label(backend: &str, model: &str, format: Format, analysis: &Analysis) -> String {
    let rows = analysis.rows.get(model).map_or(&[][..], Vec::as_slice);
    rows.iter()
        .find(|r| r.cell.backend == backend && r.cell.format == format)
        .map_or_else(|| backend.into(), |r| r.label.clone())
}

/// Which engines compute what the reference does as soon as they optimize nothing.
fn blame_optimizations(
    model: &ModelDescription,
    reference: &Reference,
    plain: &[(String, Outputs)],
    rows: &mut [Row],
) {
    let Some(outputs) = &reference.outputs else {
        return;
    };
    for row in rows {
        let differs = row
            .verdict
            .as_ref()
            .is_some_and(ExpectationVerdict::is_difference);
        let own = plain.iter().find(|(label, _)| *label == row.label);
        row.agrees_unoptimized =
            differs && own.is_some_and(|(_, own)| reference::agree(model, outputs, own));
    }
}

/// How far each engine is from each other, where there is nothing that all are compared with.
fn set_apart(model: &ModelDescription, rows: &mut [Row]) {
    let verdicts: Vec<Option<ExpectationVerdict>> = rows
        .iter()
        .map(|row| {
            let own = row.outputs.as_ref()?;
            let others = rows.iter().filter(|other| other.cell != row.cell);
            let apart = others.filter_map(|other| {
                let both = pairs(other.outputs.as_ref()?, own);
                let found = apart(model.precision, &compare(model, &both));
                (!found.is_empty())
                    .then(|| format!("differs from {}: {}", other.label, found.join("; ")))
            });
            Some(ExpectationVerdict::Undecided(apart.collect()))
        })
        .collect();
    for (row, verdict) in rows.iter_mut().zip(verdicts) {
        row.verdict = verdict;
    }
}

#[cfg(test)]
mod tests;
