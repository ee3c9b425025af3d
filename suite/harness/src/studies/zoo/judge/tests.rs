//! What is judged of made-up measurements, and these for the tests of pages.

use anyhow::{Context, Result, anyhow};
use firstpass_probe::{Description, EngineInfo, Error, Knobs, THREADS, Tensor};

use super::*;
use crate::{
    record::tests::record,
    studies::{
        first_passes::judge::latency::tests::{observation, times},
        zoo::{Made, Missing},
    },
};
use firstpass_trial::{detection::BBox, observation::Outcome};

fn measured(name: &str) -> Result<MeasuredModel> {
    let text = format!(
        "name = {name:?}\ntitle = \"Model {name}\"\ndescription = \"\"\nprecision = \"int8\"\n\
         artifacts = {{ torchscript = \"model.pt\" }}\n\
         input = {{ name = \"image\", shape = [1, 3, 8, 8] }}\n\
         outputs = [{{ name = \"logits\", shape = [1, 2] }}]\n"
    );
    Ok(MeasuredModel {
        description: toml::from_str(&text)?,
        golden: None,
    })
}

fn cell(model: &str, tuned: bool) -> Cell {
    let knobs = Knobs::default().with(THREADS, 1);
    Cell {
        model: model.into(),
        format: Format::TORCHSCRIPT,
        knobs: if tuned { knobs.with("a", "b") } else { knobs },
        ..observation(0, &[1.0]).cell
    }
}

fn processes(cell: &Cell, first: [f64; 5], second: f64) -> Vec<Observation> {
    (0..)
        .zip(first)
        .map(|(round, first)| Observation {
            cell: cell.clone(),
            ..observation(round, &times(&[first, second], 10.0))
        })
        .collect()
}

/// Three models that an engine runs: one slowly at first, one not, and one of which that is open; one on
/// which it fails, and one in a format that it does not read.
pub(crate) fn zoo() -> Result<Zoo> {
    let mut observations = processes(&cell("b", false), [90.0; 5], 40.0);
    observations.extend(processes(&cell("b", true), [10.1; 5], 10.0));
    observations.extend(processes(&cell("a", false), [10.2; 5], 10.0));
    let scattered = [10.0, 14.0, 10.5, 13.0, 11.0];
    observations.extend(processes(&cell("e", false), scattered, 10.0));
    let mut failed = observation(0, &[]);
    failed.cell = cell("c", false);
    failed.process.outcome = Outcome::Failed(Error::engine("no such operator"));
    observations.push(failed);
    let mut record = record(observations);
    for backend in record.backends.values_mut() {
        let engine = EngineInfo::new("1.0", "x");
        let formats = vec![Format::TORCHSCRIPT];
        backend.description = Some(Description::new(engine, formats, Vec::new()));
    }
    let models = ["e", "d", "c", "b", "a"].into_iter().map(measured);
    let mut models = models.collect::<Result<Vec<_>>>()?;
    let only_onnx = [(Format::ONNX, "model.onnx".into())];
    models[1].description.artifacts = only_onnx.into();
    Ok(Zoo {
        record,
        made: Made {
            sources_sha256: String::new(),
            missing: Vec::<Missing>::new(),
        },
        models,
    })
}

#[test]
fn every_model_is_a_row_whatever_came_of_it() -> Result<()> {
    let zoo = zoo()?;
    let rows = judge(&zoo);
    let names: Vec<&str> = rows
        .iter()
        .map(|r| r.model.description.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert!(rows[0].default.latency().is_some() && rows[0].tuned.is_none());
    assert!(
        rows[1]
            .tuned
            .as_ref()
            .is_some_and(|c| c.latency().is_some())
    );
    let words = |row: &Row| match &row.default {
        Timed::Failed(words) => words.clone(),
        Timed::MeasuredModel(_) => String::new(),
    };
    assert!(words(&rows[2]).contains("no such operator"));
    let expected = "reads torchscript, and the model is there as onnx";
    assert_eq!(words(&rows[3]), expected);
    Ok(())
}

/// Engines on model `a` of which each finds so many faces, and gives outputs of which only equal ones agree.
pub(crate) fn detectors<'a>(zoo: &'a Zoo, found: &[(&'a str, usize)]) -> Result<Vec<Row<'a>>> {
    let model = zoo.models.last().context("model a")?;
    let face = Detection {
        bbox: BBox {
            left: 0.0,
            top: 0.0,
            right: 1.0,
            bottom: 1.0,
        },
        score: 0.9,
    };
    let mut rows = Vec::new();
    for (backend, count) in found {
        let tensor = Tensor::new(&[1, 2], vec![1.0, *count as f32]);
        let tensor = tensor.map_err(|error| anyhow!("{error}"))?;
        let sample = || "crowd".to_owned();
        rows.push(Row {
            model,
            backend,
            label: (*backend).to_owned(),
            default: Timed::Failed("not timed".into()),
            tuned: None,
            agreement: None,
            faces: BTreeMap::from([(sample(), vec![face; *count])]),
            others: Others::default(),
            outputs: Some(Outputs::from([(sample(), vec![tensor])])),
        });
    }
    let others: Vec<Others> = rows.iter().map(|row| others(row, &rows)).collect();
    for (row, others) in rows.iter_mut().zip(others) {
        row.others = others;
    }
    Ok(rows)
}

#[test]
fn a_detector_that_is_alone_with_its_faces_is_named() -> Result<()> {
    let zoo = zoo()?;
    let rows = detectors(&zoo, &[("p", 1), ("q", 1320), ("r", 1)])?;
    let lone = lone_faces(&rows);
    let [one] = &lone[..] else {
        panic!("one is alone: {lone:?}");
    };
    assert_eq!((one.label.as_str(), one.found, one.others), ("q", 1320, 1));
    assert_eq!(rows[0].others.alike, ["r"]);
    assert_eq!(rows[1].others.unlike, ["p", "r"]);
    // All alike; and of two that differ neither is alone.
    assert!(lone_faces(&detectors(&zoo, &[("p", 1), ("q", 1), ("r", 1)])?).is_empty());
    assert!(lone_faces(&detectors(&zoo, &[("p", 1), ("q", 2)])?).is_empty());
    assert!(lone_faces(&detectors(&zoo, &[("p", 1), ("q", 2), ("r", 3)])?).is_empty());
    Ok(())
}

#[test]
fn an_answer_is_over_the_models_that_an_engine_runs() -> Result<()> {
    let zoo = zoo()?;
    let answers = answers(&judge(&zoo));
    let [answer] = &answers[..] else {
        panic!("one engine has one answer: {answers:?}");
    };
    let titles =
        |judged: &[Titled]| -> Vec<String> { judged.iter().map(|one| one.title.clone()).collect() };
    assert_eq!((answer.first.models(), answer.not_run), (3, 2));
    assert_eq!(titles(&answer.first.slow), ["Model b"]);
    assert_eq!(titles(&answer.first.not_slow), ["Model a"]);
    assert_eq!(titles(&answer.first.open), ["Model e"]);
    assert_eq!(titles(&answer.second.slow), ["Model b"]);
    assert_eq!(titles(&answer.tuned.not_slow), ["Model b"]);
    let ratio = answer.first.slow[0].pass.ratio();
    assert!((ratio - 9.0).abs() < 0.1, "{ratio}");
    Ok(())
}
