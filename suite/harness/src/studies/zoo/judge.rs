//! Whether the first passes of other models take long as well, engine by engine.

use std::collections::BTreeMap;

use firstpass_probe::Format;
use firstpass_trial::{
    agreement::{Agreement, compare, pairs},
    detection::Detection,
    observation::{Cell, Observation, Process},
    outputs::Outputs,
};

use crate::{
    record::BackendRecord,
    studies::{
        first_passes::judge::{
            first_pass::{FirstPass, FirstPassVerdict},
            latency::{Latency, summarise},
        },
        first_passes::reference::agree,
        zoo::{MeasuredModel, MissingFile, Zoo},
    },
};

/// One engine on one model.
#[derive(Debug)]
pub struct Row<'a> {
    pub model: &'a MeasuredModel,
    pub backend: &'a str,
    /// How a page calls the engine.
    pub label: String,
    /// As its users find the engine.
    pub default: Timed,
    /// With the recommended settings; `None` where there are none.
    pub tuned: Option<Timed>,
    /// Of each output against the golden ones; `None` where there are none of either.
    pub agreement: Option<Vec<Agreement>>,
    /// By photograph, for a detector that gave outputs.
    pub faces: BTreeMap<String, Vec<Detection>>,
    /// Whose outputs its own are, and whose not, of a model without golden ones.
    pub others: Others,
    outputs: Option<Outputs>,
}

impl Row<'_> {
    /// The same with the names of engines by which a page calls them.
    #[must_use]
    pub fn called(mut self, called: &dyn Fn(&str) -> String) -> Self {
        let Others { alike, unlike } = &mut self.others;
        for name in alike.iter_mut().chain(unlike) {
            *name = called(name);
        }
        self.label = called(self.backend);
        self
    }
}

/// The other engines on a model, by whether they agree with one: in integers, and in floats up to rounding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Others {
    pub alike: Vec<String>,
    pub unlike: Vec<String>,
}

/// What an engine took, or why that is not known, in its own words.
#[derive(Debug)]
pub enum Timed {
    MeasuredModel(Box<Latency>),
    Failed(String),
}

impl Timed {
    pub fn latency(&self) -> Option<&Latency> {
        match self {
            Self::MeasuredModel(latency) => Some(latency),
            Self::Failed(_) => None,
        }
    }

    /// Pass 1 in units of the steady time.
    fn first(&self) -> Option<FirstPass> {
        self.latency()?.first_over_steady
    }

    fn second(&self) -> Option<FirstPass> {
        self.latency()?.second_over_steady
    }
}

/// A row for each model and engine, by their names. Engines that did not start have none.
pub fn judge(zoo: &Zoo) -> Vec<Row<'_>> {
    let latencies = summarise(zoo.record.observations());
    let mut models: Vec<&MeasuredModel> = zoo.models.iter().collect();
    models.sort_by(|a, b| a.description.name.cmp(&b.description.name));
    let engines: Vec<(&String, &BackendRecord)> = zoo
        .record
        .backends
        .iter()
        .filter(|(_, record)| record.unavailable.is_none())
        .collect();
    let pairs = models
        .iter()
        .flat_map(|model| engines.iter().map(move |engine| (*model, *engine)));
    let mut rows: Vec<Row> = pairs
        .map(|(model, (backend, record))| row(zoo, model, backend, record, &latencies))
        .collect();
    let others: Vec<Others> = rows.iter().map(|row| others(row, &rows)).collect();
    for (row, others) in rows.iter_mut().zip(others) {
        row.others = others;
    }
    rows
}

fn others(row: &Row, rows: &[Row]) -> Others {
    let mut others = Others::default();
    let Some(own) = row.outputs.as_ref().filter(|_| row.agreement.is_none()) else {
        return others;
    };
    let model = &row.model.description;
    let same_model =
        |other: &&Row| other.model.description.name == model.name && other.backend != row.backend;
    for other in rows.iter().filter(same_model) {
        let Some(outputs) = &other.outputs else {
            continue;
        };
        let side = if agree(model, own, outputs) {
            &mut others.alike
        } else {
            &mut others.unlike
        };
        side.push(other.backend.to_owned());
    }
    others
}

/// A detector that finds another number of faces than all of at least two others, which agree on theirs.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct LoneFaces {
    pub title: String,
    /// The engine as a page calls it.
    pub label: String,
    pub sample: String,
    pub found: usize,
    pub others: usize,
}

/// Every detector that is alone with its faces, the furthest off first.
pub fn lone_faces(rows: &[Row]) -> Vec<LoneFaces> {
    let mut lone = Vec::new();
    for row in rows {
        for (sample, faces) in &row.faces {
            let others = rows.iter().filter(|other| {
                other.model.description.name == row.model.description.name
                    && other.backend != row.backend
            });
            let counts: Vec<usize> = others
                .filter_map(|other| Some(other.faces.get(sample)?.len()))
                .collect();
            let [first, rest @ ..] = &counts[..] else {
                continue;
            };
            let agreed = !rest.is_empty() && rest.iter().all(|count| count == first);
            if agreed && faces.len() != *first {
                lone.push(LoneFaces {
                    title: row.model.description.title.clone(),
                    label: row.label.clone(),
                    sample: sample.clone(),
                    found: faces.len(),
                    others: *first,
                });
            }
        }
    }
    lone.sort_by_key(|one| std::cmp::Reverse(one.found.abs_diff(one.others)));
    lone
}

fn row<'a>(
    zoo: &'a Zoo,
    model: &'a MeasuredModel,
    backend: &'a str,
    record: &BackendRecord,
    latencies: &[Latency],
) -> Row<'a> {
    let of_model = |cell: &Cell| cell.backend == backend && cell.model == model.description.name;
    let timed = |wanted: &dyn Fn(&Cell) -> bool| -> Option<Timed> {
        let latency = latencies.iter().find(|l| wanted(&l.cell));
        let measured = latency.map(|l| Timed::MeasuredModel(Box::new(l.clone())));
        measured.or_else(|| {
            let observed = record.observations.iter().filter(|o| wanted(&o.cell));
            words(observed).map(Timed::Failed)
        })
    };
    let default = timed(&|cell| of_model(cell) && cell.is_default());
    let outputs = outputs(zoo, model, record);
    let golden = model.golden.as_ref().zip(outputs.as_ref());
    let detection = model.description.detection.as_ref();
    Row {
        model,
        backend,
        label: backend.to_owned(),
        default: default.unwrap_or_else(|| Timed::Failed(unread(zoo, model, record))),
        tuned: timed(&|cell| of_model(cell) && !cell.is_default()),
        agreement: golden
            .map(|(golden, outputs)| compare(&model.description, &pairs(golden, outputs))),
        faces: detection
            .into_iter()
            .flat_map(|spec| outputs.iter().flatten().map(move |found| (spec, found)))
            .map(|(spec, (sample, tensors))| {
                (sample.clone(), spec.detect(&model.description, tensors))
            })
            .collect(),
        others: Others::default(),
        outputs,
    }
}

/// Why a cell was not timed; `None` where it was never observed.
fn words<'a>(observed: impl Iterator<Item = &'a Observation>) -> Option<String> {
    let processes: Vec<&Process> = observed.map(|o| &o.process).collect();
    let failed = processes.iter().find(|process| !process.completed());
    match failed {
        Some(process) => Some(process.outcome.to_string()),
        None if processes.is_empty() => None,
        None => Some("not timed: the budget was used up".into()),
    }
}

/// Why there is nothing of a model that an engine was never asked for.
fn unread(zoo: &Zoo, model: &MeasuredModel, record: &BackendRecord) -> String {
    let formats = record.description.iter().flat_map(|d| &d.formats);
    let keys = |formats: Vec<Format>| {
        let keys: Vec<&str> = formats.iter().map(|f| f.key()).collect();
        keys.join(", ")
    };
    let artifacts = &model.description.artifacts;
    if formats.clone().any(|format| artifacts.contains_key(format)) {
        return "not measured: the run was interrupted".into();
    }
    let name = &model.description.name;
    let mut missing = zoo.made.missing.iter();
    let missing = missing.find(|m| &m.model == name && m.file == MissingFile::Onnx);
    let reason = missing.map_or_else(String::new, |m| format!(" ({})", m.reason));
    format!(
        "reads {}, and the model is there as {}{reason}",
        keys(formats.copied().collect()),
        keys(artifacts.keys().copied().collect())
    )
}

/// Of the default cell.
fn outputs(zoo: &Zoo, model: &MeasuredModel, record: &BackendRecord) -> Option<Outputs> {
    let description = &model.description;
    let names: Vec<String> = description.outputs.iter().map(|o| o.name.clone()).collect();
    let mut cells = record.observations.iter().map(|o| &o.cell);
    let cell = cells.find(|cell| cell.model == description.name && cell.is_default())?;
    zoo.record.outputs(cell, &names).ok().flatten()
}

/// What is to be said of one engine over all models.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The engine as a page calls it.
    pub label: String,
    /// Models that it did not run.
    pub not_run: usize,
    pub first: Verdicts,
    pub second: Verdicts,
    /// Pass 1 with the recommended settings.
    pub tuned: Verdicts,
}

/// An early pass of several models, by verdict. The verdicts on all models and engines of the zoo are one
/// family.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Verdicts {
    pub slow: Vec<Titled>,
    pub not_slow: Vec<Titled>,
    pub open: Vec<Titled>,
}

/// An early pass with the title of its model.
#[derive(Debug, Clone, PartialEq)]
pub struct Titled {
    pub title: String,
    pub pass: FirstPass,
}

impl Verdicts {
    fn of(rows: &[&Row], pass: impl Fn(&Row) -> Option<FirstPass>) -> Self {
        let mut verdicts = Self::default();
        for row in rows {
            let Some(pass) = pass(row) else { continue };
            let same = match pass.verdict() {
                FirstPassVerdict::Slow => &mut verdicts.slow,
                FirstPassVerdict::NotSlow => &mut verdicts.not_slow,
                FirstPassVerdict::Open => &mut verdicts.open,
            };
            same.push(Titled {
                title: row.model.description.title.clone(),
                pass,
            });
        }
        for same in [
            &mut verdicts.slow,
            &mut verdicts.not_slow,
            &mut verdicts.open,
        ] {
            same.sort_by(|a, b| a.pass.ratio().total_cmp(&b.pass.ratio()));
        }
        verdicts
    }

    /// How many models were judged.
    pub fn models(&self) -> usize {
        self.slow.len() + self.not_slow.len() + self.open.len()
    }
}

/// The answer of each engine, by name.
pub fn answers(rows: &[Row]) -> Vec<Answer> {
    let mut by_backend: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_backend.entry(row.backend).or_default().push(row);
    }
    by_backend.into_values().map(|rows| answer(&rows)).collect()
}

fn answer(rows: &[&Row]) -> Answer {
    let first = Verdicts::of(rows, |row| row.default.first());
    Answer {
        label: rows
            .first()
            .map(|row| row.label.clone())
            .unwrap_or_default(),
        not_run: rows.len() - first.models(),
        first,
        second: Verdicts::of(rows, |row| row.default.second()),
        tuned: Verdicts::of(rows, |row| row.tuned.as_ref()?.first()),
    }
}

#[cfg(test)]
pub(crate) mod tests;
