//! One engine reading one file of a model: a row of most tables.

use std::collections::BTreeMap;

use anyhow::Result;
use firstpass_probe::{Arithmetic, Format};
use firstpass_trial::{
    agreement::{Agreement, DetectionAgreement, compare, compare_detections, pairs},
    classification::ClassAgreement,
    detection::Detection,
    expectation::{self, ExpectationVerdict, Standard},
    known::Known,
    model::ModelDescription,
    observation::{Cell, Observation, Purpose},
    outputs::Outputs,
};

use crate::{
    record::Record,
    studies::first_passes::{
        judge::latency::Latency,
        reference::{Kind, Reference},
    },
};

/// Outputs whose difference from the reference is above a tenth of them are not those of the model.
pub(crate) const USABLE_DB: f64 = 20.0;

/// One engine reading one file of a model.
#[derive(Debug)]
pub struct Row {
    pub cell: Cell,
    /// The backend's name, with the format where that is not the one its users would choose.
    pub label: String,
    pub outputs: Option<Outputs>,
    pub arithmetic: Option<Result<Arithmetic, String>>,
    /// `None` where the arithmetic is as expected or unknown, else the fault.
    pub arithmetic_fault: Option<String>,
    /// Against the reference, over all photographs of which that has outputs.
    pub agreement: Option<Vec<Agreement>>,
    pub verdict: Option<ExpectationVerdict>,
    /// Outputs of its own that are NaN or infinite, in words; not where those of the reference, or of every
    /// engine, are so as well.
    pub not_finite: Vec<String>,
    /// It differs from the reference and does not without its optimizations.
    pub agrees_unoptimized: bool,
    /// Faces against those of the reference.
    pub golden_faces: Option<DetectionAgreement>,
    /// Classes against those of the reference, for a classifier.
    pub golden_classes: Option<ClassAgreement>,
    /// By photograph, for a detector.
    pub detections: BTreeMap<String, Vec<Detection>>,
    /// By number of threads.
    pub latency: BTreeMap<usize, Latency>,
    /// With the settings that `tuned.toml` recommended, by number of threads.
    pub tuned: BTreeMap<usize, Latency>,
    /// Whether these settings give the same bits; `None` where they were not measured.
    pub tuned_same_bits: Option<bool>,
    /// With cold files, where that was measured.
    pub cold: Option<Latency>,
}

impl Row {
    /// Whether a difference is so large that the engine computes something else: a step here and there is what the
    /// optimizations of many engines cost, and the reader decides about that.
    pub fn is_far(&self) -> bool {
        let mut compared = self.agreement.iter().flatten();
        compared.any(|a| a.other_shape > 0 || a.not_finite > 0 || a.sqnr_db < USABLE_DB)
    }

    /// Of an engine of which nothing else is known.
    #[cfg(test)]
    pub(crate) fn without_outputs(cell: Cell) -> Self {
        Self {
            label: cell.backend.clone(),
            cell,
            outputs: None,
            arithmetic: None,
            arithmetic_fault: None,
            agreement: None,
            verdict: None,
            not_finite: Vec::new(),
            agrees_unoptimized: false,
            golden_faces: None,
            golden_classes: None,
            detections: BTreeMap::new(),
            latency: BTreeMap::new(),
            tuned: BTreeMap::new(),
            tuned_same_bits: None,
            cold: None,
        }
    }

    /// Every number of threads, by default and then tuned.
    pub fn timed(&self) -> impl Iterator<Item = (usize, &Latency)> {
        self.latency.iter().flat_map(|(threads, latency)| {
            let tuned = self.tuned.get(threads);
            [Some(latency), tuned]
                .into_iter()
                .flatten()
                .map(|l| (*threads, l))
        })
    }

    /// The name of its backend, as it is given on the command line, and the format where that is not the one that
    /// the engine's users would choose.
    pub fn name(&self) -> String {
        let format = self.label.rfind(" (").map_or("", |at| &self.label[at..]);
        format!("{}{format}", self.cell.backend)
    }

    /// The label of one of [`Row::timed`].
    pub fn label_of(&self, latency: &Latency) -> String {
        if latency.cell.is_default() {
            self.label.clone()
        } else {
            format!("{}, tuned", self.label)
        }
    }
}

/// One cell, with the fewest threads, for each backend and format that was observed on a model.
pub(crate) fn cells(record: &Record, model: &ModelDescription) -> Vec<Cell> {
    let mut cells: BTreeMap<(String, Format), Cell> = BTreeMap::new();
    let warm = |o: &&Observation| !o.cell.cold_files && o.cell.entry == 0 && o.cell.is_default();
    let of_model = |o: &&Observation| o.cell.model == model.name;
    for observation in record.observations().filter(of_model).filter(warm) {
        let cell = &observation.cell;
        let entry = cells
            .entry((cell.backend.clone(), cell.format))
            .or_insert_with(|| cell.clone());
        if cell.threads() < entry.threads() {
            *entry = cell.clone();
        }
    }
    cells.into_values().collect()
}

/// What ran. The format is part of the name only where it is not the one that the engine's users choose.
pub(crate) fn row_label(
    record: &Record,
    model: &ModelDescription,
    cell: &Cell,
    known: Option<&Known>,
) -> String {
    let name = known.and_then(|known| known.called.as_ref());
    let name = name.unwrap_or(&cell.backend);
    let description = record
        .backends
        .get(&cell.backend)
        .and_then(|b| b.description.as_ref());
    let usual =
        description.and_then(|d| d.formats.iter().find(|f| model.artifacts.contains_key(f)));
    if usual.is_none_or(|f| *f == cell.format) {
        name.clone()
    } else {
        format!("{name} ({})", cell.format.key())
    }
}

/// What the rows of a model have in common.
pub(crate) struct Judging<'a> {
    pub record: &'a Record,
    pub model: &'a ModelDescription,
    pub reference: &'a Reference,
    /// Outputs that nothing is compared in: the reference has no number there, on inputs that were made up.
    pub undefined: &'a [String],
    /// How far rules of rounding move the outputs of the reference.
    pub moved_by_rules: Vec<Vec<Agreement>>,
    pub latencies: &'a [Latency],
    /// Whether all photographs of the fixtures were looked at.
    pub is_complete: bool,
    /// Whether backends may declare something of this model.
    pub is_fixture: bool,
}

impl Judging<'_> {
    pub fn row(&self, cell: Cell, known: &Known) -> Result<Row> {
        let undeclared = Known::default();
        let label = row_label(self.record, self.model, &cell, Some(known));
        let known = if self.is_fixture { known } else { &undeclared };
        let Self { record, model, .. } = self;
        let names: Vec<String> = model.outputs.iter().map(|o| o.name.clone()).collect();
        let outputs = record.outputs(&cell, &names)?;
        let detections: BTreeMap<String, Vec<Detection>> = match (&model.detection, &outputs) {
            (Some(spec), Some(outputs)) => outputs
                .iter()
                .map(|(image, tensors)| (image.clone(), spec.detect(model, tensors)))
                .collect(),
            _ => BTreeMap::new(),
        };
        let compared = outputs.as_ref().zip(self.reference.outputs.as_ref());
        let agreement = compared.and_then(|(own, reference)| {
            let pairs = pairs(reference, own);
            let mut found = compare(model, &pairs);
            found.retain(|agreement| !self.undefined.contains(&agreement.output));
            (!pairs.is_empty()).then_some(found)
        });
        let faces = compared.and_then(|(_, reference)| self.faces(reference, &detections));
        let classes = compared.and_then(|(own, reference)| self.classes(reference, own));
        let is_complete = self.is_complete && compared.is_some_and(|(o, r)| o.len() >= r.len());
        let verdict = agreement.as_ref().map(|agreement| {
            let standard = Standard {
                known,
                cpu_flags: &record.run.machine.cpu_flags,
                is_complete,
            };
            let verdict =
                expectation::judge(model, cell.format, agreement, faces.as_ref(), standard);
            let rules = match &outputs {
                Some(own) if verdict.is_difference() => {
                    self.reference.rules_for(model, &self.moved_by_rules, own)
                }
                _ => Vec::new(),
            };
            match self.reference.kind {
                Kind::Golden(_) => verdict,
                _ => verdict
                    .without_golden(model.precision, agreement)
                    .within_rules(model.precision, agreement, &rules)
                    .following(outputs.as_ref().and_then(|own| self.reference.rule_of(own))),
            }
        });
        let arithmetic = record.backends.get(&cell.backend).and_then(|backend| {
            let found = backend
                .arithmetic
                .iter()
                .find(|(of, _)| of.model == cell.model && of.format == cell.format);
            found.map(|(_, arithmetic)| arithmetic.clone())
        });
        let arithmetic_fault = match &arithmetic {
            // What an engine may compute on floats is declared of the fixtures, and of nothing else.
            Some(Ok(ran)) if self.is_fixture => {
                expectation::judge_arithmetic(model, cell.format, ran, known).err()
            }
            _ => None,
        };
        let same_file = |l: &&Latency| {
            l.cell.backend == cell.backend
                && l.cell.model == cell.model
                && l.cell.format == cell.format
        };
        let of_file = || self.latencies.iter().filter(same_file);
        let usual = |l: &&Latency| !l.cell.cold_files && l.cell.entry == 0 && l.cell.is_default();
        let by_threads = |l: &Latency| (l.cell.threads(), l.clone());
        Ok(Row {
            label,
            outputs,
            arithmetic,
            arithmetic_fault,
            agreement,
            verdict,
            not_finite: Vec::new(),
            agrees_unoptimized: false,
            golden_faces: faces,
            golden_classes: classes,
            detections,
            latency: of_file().filter(usual).map(by_threads).collect(),
            tuned: of_file()
                .filter(|l| !l.cell.is_default())
                .map(by_threads)
                .collect(),
            tuned_same_bits: same_bits(record, &cell),
            cold: of_file().find(|l| l.cell.cold_files).cloned(),
            cell,
        })
    }

    fn faces(
        &self,
        reference: &Outputs,
        detections: &BTreeMap<String, Vec<Detection>>,
    ) -> Option<DetectionAgreement> {
        let spec = self.model.detection.as_ref()?;
        let both = reference.iter().filter_map(|(image, tensors)| {
            let own = detections.get(image)?;
            Some(compare_detections(&spec.detect(self.model, tensors), own))
        });
        Some(both.fold(DetectionAgreement::default(), |all, one| all.and(&one)))
    }

    fn classes(&self, reference: &Outputs, own: &Outputs) -> Option<ClassAgreement> {
        let spec = self.model.classification.as_ref()?;
        let both = reference.iter().filter_map(|(image, tensors)| {
            Some(spec.compare(self.model, tensors, own.get(image)?))
        });
        Some(both.fold(ClassAgreement::default(), ClassAgreement::and))
    }
}

/// Whether the tuned cell gave the same bits as this default one, photograph by photograph.
fn same_bits(record: &Record, default: &Cell) -> Option<bool> {
    let process = |wanted: &dyn Fn(&Cell) -> bool| {
        let agreement = |o: &&Observation| {
            o.purpose == Purpose::Agreement && o.process.completed() && wanted(&o.cell)
        };
        record.observations().find(agreement).map(|o| &o.process)
    };
    let own = process(&|cell| cell == default)?;
    let tuned = process(&|cell| !cell.is_default() && cell.default_of() == *default)?;
    own.same_bits(tuned)
}
