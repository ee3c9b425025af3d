//! A record, judged: everything that a report shows, before it has a form.

use std::collections::BTreeMap;

use anyhow::Result;
use firstpass_probe::{Arithmetic, Format};
use firstpass_trial::{
    agreement::{Agreement, DetectionAgreement, compare, compare_detections, pairs},
    classification::ClassAgreement,
    detection::Detection,
    expectation::{self, ExpectationVerdict},
    known::Known,
    model::ModelDescription,
    observation::{Cell, Observation, Outcome, Purpose},
    outputs::Outputs,
    repeatability::{self, Repeatability},
    sample::Sample,
    workload::Workload,
    workspace::Workspace,
};

use crate::{
    record::Record,
    studies::first_passes::judge::{
        comparisons::Comparisons,
        latency::{self, Latency},
    },
};

/// One engine reading one file of a model: a row of most tables.
#[derive(Debug)]
pub struct Row {
    pub cell: Cell,
    /// The backend's name, with the format where that is not the one its users would choose.
    pub label: String,
    pub outputs: Option<Outputs>,
    pub arithmetic: Option<Result<Arithmetic, String>>,
    /// `None` where the arithmetic is as expected or unknown, else the fault.
    pub arithmetic_fault: Option<String>,
    /// Against the golden outputs, over all photographs that have some.
    pub agreement: Option<Vec<Agreement>>,
    pub verdict: Option<ExpectationVerdict>,
    /// Faces against those of the golden outputs.
    pub golden_faces: Option<DetectionAgreement>,
    /// Classes against those of the golden outputs, for a classifier.
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

    /// The label of one of [`Row::timed`].
    pub fn label_of(&self, latency: &Latency) -> String {
        if latency.cell.is_default() {
            self.label.clone()
        } else {
            format!("{}, tuned", self.label)
        }
    }
}

/// A record, judged.
#[derive(Debug)]
pub struct Analysis {
    pub record: Record,
    pub workload: Workload,
    /// By model, in the order of the models.
    pub rows: BTreeMap<String, Vec<Row>>,
    /// With whose outputs those of the engines are compared, by model.
    pub references: BTreeMap<String, String>,
    pub repeatability: Vec<Repeatability>,
    /// Which of two cells is faster.
    pub comparisons: Comparisons,
    /// What each backend declares.
    pub known: BTreeMap<String, Known>,
}

impl Analysis {
    /// # Errors
    /// Fails where models, photographs, golden outputs or declarations cannot be read.
    pub fn new(workspace: &Workspace, record: Record) -> Result<Self> {
        let workload = record.workload(workspace)?;
        let known: BTreeMap<String, Known> = workspace
            .backends()?
            .into_iter()
            .map(|b| Ok((b.name.clone(), b.known()?)))
            .collect::<Result<_>>()?;
        let latencies = latency::summarise(record.observations());
        // What is declared is declared over all photographs of the fixtures, not over some of them.
        let complete = workload.samples.len() >= Sample::fixtures(&workspace.fixtures())?.len();
        let mut rows = BTreeMap::new();
        let mut references = BTreeMap::new();
        for model in &workload.models {
            let cells = cells(&record, model);
            let golden = workload.golden(model)?;
            let is_golden = golden.is_some();
            let (reference, engine) = match golden {
                Some(golden) => (Some(golden), None),
                None => likeliest(&record, model, &cells)?.unzip(),
            };
            let mut of_model = Vec::new();
            for cell in cells {
                let known = known.get(&cell.backend).cloned().unwrap_or_default();
                of_model.push(row(
                    &record,
                    model,
                    cell,
                    reference.as_ref(),
                    &known,
                    &latencies,
                )?);
            }
            if !complete && workload.is_of_fixtures(model)? {
                of_model
                    .iter_mut()
                    .for_each(|row: &mut Row| row.verdict = None);
            }
            if is_golden {
                references.insert(model.name.clone(), model.golden_from.clone());
            } else if let Some(engine) = &engine {
                for row in &mut of_model {
                    row.verdict = match row.verdict.take() {
                        Some(_) if row.cell == *engine => Some(ExpectationVerdict::Reference),
                        verdict => verdict.map(ExpectationVerdict::against_an_engine),
                    };
                }
                let known = known.get(&engine.backend).cloned().unwrap_or_default();
                let label = row_label(&record, model, engine, &known);
                references.insert(model.name.clone(), label);
            }
            rows.insert(model.name.clone(), of_model);
        }
        let repeatability = repeatability::judge(record.observations());
        Ok(Self {
            record,
            workload,
            rows,
            references,
            repeatability,
            comparisons: Comparisons::of_run(&latencies),
            known,
        })
    }

    /// Whose outputs those of the engines are compared with.
    pub fn reference<'a>(&'a self, model: &'a ModelDescription) -> &'a str {
        let known = self.references.get(&model.name);
        known.map_or(model.golden_from.as_str(), String::as_str)
    }

    pub fn models(&self) -> &[ModelDescription] {
        &self.workload.models
    }

    pub fn samples(&self) -> &[Sample] {
        &self.workload.samples
    }

    pub fn rows(&self, model: &ModelDescription) -> &[Row] {
        self.rows.get(&model.name).map_or(&[], Vec::as_slice)
    }

    /// Every backend that could not be measured at all, and why.
    pub fn unavailable(&self) -> impl Iterator<Item = (&str, &str)> {
        let backends = self.record.backends.iter();
        backends.filter_map(|(name, b)| Some((name.as_str(), b.unavailable.as_deref()?)))
    }

    /// Every process that did not complete.
    pub fn incidents(&self) -> impl Iterator<Item = &Observation> {
        self.record
            .observations()
            .filter(|o| !o.process.completed())
    }

    /// Those of them in which the engine refuses tuned settings for this file.
    pub fn without_tuned(&self) -> impl Iterator<Item = &Observation> {
        self.incidents().filter(|o| self.is_refused(o))
    }

    /// Whether the engine itself says that it does not run with the settings of the cell, never does, and
    /// runs by default. Anything else, such as a crash or what works only sometimes, is a fault.
    fn is_refused(&self, observation: &Observation) -> bool {
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

    /// Everything that is not as expected, in words: empty where all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .unavailable()
            .map(|(backend, reason)| format!("{backend} was not measured: {reason}"))
            .collect();
        for (model, rows) in &self.rows {
            for row in rows {
                if let Some(verdict @ ExpectationVerdict::Unexpected(_)) = &row.verdict {
                    faults.push(format!("{} on {model}: {verdict}", row.label));
                }
                if let Some(fault) = &row.arithmetic_fault {
                    faults.push(format!("{} on {model}: {fault}", row.label));
                }
            }
        }
        for r in &self.repeatability {
            let known = self.known.get(&r.backend);
            if let Some(fault) = r.fault(known.unwrap_or(&Known::default())) {
                let label = label(&r.backend, &r.model, r.format, self);
                faults.push(format!("{label} on {}: {fault}", r.model));
            }
        }
        let incidents = self.incidents();
        let incidents = incidents.filter(|o| !self.is_refused(o));
        faults.extend(incidents.map(|o| {
            format!(
                "{} on {}: {}",
                o.cell.backend, o.cell.model, o.process.outcome
            )
        }));
        faults
    }
}

/// How a backend is called in the rows of a model.
pub(crate) fn label(backend: &str, model: &str, format: Format, analysis: &Analysis) -> String {
    let rows = analysis.rows.get(model).map_or(&[][..], Vec::as_slice);
    rows.iter()
        .find(|r| r.cell.backend == backend && r.cell.format == format)
        .map_or_else(|| backend.into(), |r| r.label.clone())
}

/// One cell, with the fewest threads, for each backend and format that was observed on a model.
fn cells(record: &Record, model: &ModelDescription) -> Vec<Cell> {
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

/// The engine that the others are nearest to, with its outputs: without golden ones it is likelier than
/// any other to be right. `None` where fewer than two gave outputs.
fn likeliest(
    record: &Record,
    model: &ModelDescription,
    cells: &[Cell],
) -> Result<Option<(Outputs, Cell)>> {
    let names: Vec<String> = model.outputs.iter().map(|o| o.name.clone()).collect();
    let mut found = Vec::new();
    for cell in cells {
        if let Some(outputs) = record.outputs(cell, &names)? {
            found.push((outputs, cell));
        }
    }
    if found.len() < 2 {
        return Ok(None);
    }
    let distance = |a: &Outputs| -> f64 {
        let others = found.iter().flat_map(|(b, _)| compare(model, &pairs(b, a)));
        others.map(|a| a.distance()).sum()
    };
    let distances: Vec<f64> = found.iter().map(|(outputs, _)| distance(outputs)).collect();
    let nearest = (0..found.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b]));
    Ok(nearest.map(|place| {
        let (outputs, cell) = found.swap_remove(place);
        (outputs, cell.clone())
    }))
}

fn row(
    record: &Record,
    model: &ModelDescription,
    cell: Cell,
    golden: Option<&Outputs>,
    known: &Known,
    latencies: &[Latency],
) -> Result<Row> {
    let names: Vec<String> = model.outputs.iter().map(|o| o.name.clone()).collect();
    let outputs = record.outputs(&cell, &names)?;
    let agreement = outputs.as_ref().zip(golden).map(|(outputs, golden)| {
        let pairs = pairs(golden, outputs);
        compare(model, &pairs)
    });
    let detections: BTreeMap<String, Vec<Detection>> = match (&model.detection, &outputs) {
        (Some(spec), Some(outputs)) => outputs
            .iter()
            .map(|(image, tensors)| (image.clone(), spec.detect(model, tensors)))
            .collect(),
        _ => BTreeMap::new(),
    };
    let golden_faces = model.detection.as_ref().zip(golden).map(|(spec, golden)| {
        golden
            .iter()
            .filter_map(|(image, tensors)| {
                Some(compare_detections(
                    &spec.detect(model, tensors),
                    detections.get(image)?,
                ))
            })
            .fold(DetectionAgreement::default(), |all, one| all.and(&one))
    });
    let golden_faces = golden_faces.filter(|_| outputs.is_some());
    let golden_classes = model
        .classification
        .as_ref()
        .zip(golden)
        .map(|(spec, golden)| {
            golden
                .iter()
                .filter_map(|(image, tensors)| {
                    let own = outputs.as_ref()?.get(image)?;
                    Some(spec.compare(model, tensors, own))
                })
                .fold(ClassAgreement::default(), ClassAgreement::and)
        });
    let golden_classes = golden_classes.filter(|_| outputs.is_some());
    let flags = &record.run.machine.cpu_flags;
    // What is declared is declared over all photographs.
    let seen_all = outputs
        .as_ref()
        .zip(golden)
        .is_some_and(|(o, g)| o.len() >= g.len());
    let verdict = agreement.as_ref().filter(|_| seen_all).map(|agreement| {
        expectation::judge(
            model,
            cell.format,
            agreement,
            golden_faces.as_ref(),
            known,
            flags,
        )
    });
    let arithmetic = record.backends.get(&cell.backend).and_then(|backend| {
        let found = backend
            .arithmetic
            .iter()
            .find(|(of, _)| of.model == cell.model && of.format == cell.format);
        found.map(|(_, arithmetic)| arithmetic.clone())
    });
    let arithmetic_fault = match &arithmetic {
        Some(Ok(ran)) => expectation::judge_arithmetic(model, cell.format, ran, known).err(),
        _ => None,
    };
    let same_file = |l: &&Latency| {
        l.cell.backend == cell.backend && l.cell.model == cell.model && l.cell.format == cell.format
    };
    Ok(Row {
        label: row_label(record, model, &cell, known),
        outputs,
        arithmetic,
        arithmetic_fault,
        agreement,
        verdict,
        golden_faces,
        golden_classes,
        detections,
        latency: latencies
            .iter()
            .filter(same_file)
            .filter(|l| !l.cell.cold_files && l.cell.entry == 0 && l.cell.is_default())
            .map(|l| (l.cell.threads(), l.clone()))
            .collect(),
        tuned: latencies
            .iter()
            .filter(same_file)
            .filter(|l| !l.cell.is_default())
            .map(|l| (l.cell.threads(), l.clone()))
            .collect(),
        tuned_same_bits: same_bits(record, &cell),
        cold: latencies
            .iter()
            .filter(same_file)
            .find(|l| l.cell.cold_files)
            .cloned(),
        cell,
    })
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

/// What ran. The format is part of the name only where it is not the one that the engine's users choose.
fn row_label(record: &Record, model: &ModelDescription, cell: &Cell, known: &Known) -> String {
    let name = known.called.as_ref().unwrap_or(&cell.backend);
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

#[cfg(test)]
mod tests {
    use firstpass_probe::Error;

    use super::*;
    use crate::studies::first_passes::judge::latency::tests::observation;

    #[test]
    fn a_setting_that_does_not_run_is_no_fault_where_the_default_does() -> Result<()> {
        let mut works = observation(0, &[1.0]);
        works.cell = works.cell.default_of();
        works.process.outcome = Outcome::Completed;
        let mut tuned = works.clone();
        tuned.process.outcome = Outcome::Failed(Error::unsupported("x"));
        tuned.cell.knobs = tuned.cell.knobs.with("fusion", "off");
        let workspace = Workspace::find()?;
        let counts = |observations: &[&Observation]| -> Result<[usize; 2]> {
            let observations = observations.iter().copied().cloned().collect();
            let record = crate::record::tests::record(observations);
            let analysis = Analysis::new(&workspace, record)?;
            Ok([analysis.faults().len(), analysis.without_tuned().count()])
        };
        assert_eq!(counts(&[&works, &tuned])?, [0, 1]);
        assert_eq!(counts(&[&tuned])?, [1, 0]);
        let mut fails = works.clone();
        fails.process.outcome = Outcome::Failed(Error::unsupported("x"));
        assert_eq!(counts(&[&fails, &tuned])?, [2, 0]);
        // What works only sometimes, or ends without a word, is no refusal.
        let mut sometimes = tuned.clone();
        sometimes.process.outcome = Outcome::Completed;
        assert_eq!(counts(&[&works, &tuned, &sometimes])?, [1, 0]);
        let mut crashed = tuned.clone();
        crashed.process.outcome = Outcome::Crashed {
            how: "signal 11".into(),
            after: crashed.process.stage(),
        };
        assert_eq!(counts(&[&works, &crashed])?, [1, 0]);
        Ok(())
    }
}
