//! Records that no engine made, for tests of what is said about them.

use std::path::Path;

use anyhow::{Result, anyhow};
use firstpass_probe::{Format, Knobs, Pass, Span, THREADS, Tensor};
use firstpass_trial::{
    observation::{Cell, Observation, Purpose},
    outputs::Outputs,
    workload::Workload,
    workspace::Workspace,
};

use crate::{
    record::{Line, Record, Recorder, Run, tests::run, write_outputs},
    studies::first_passes::{
        analysis::Analysis,
        judge::latency::tests::{observation, times},
    },
};

/// An engine that multiplies its only input by a number of its own.
pub(crate) struct Multiplied<'a> {
    pub engine: &'a str,
    pub weight: f32,
    /// The number by which it multiplies without its optimizations.
    pub unoptimized: f32,
}

/// What it gives for the samples, as it was observed.
pub(crate) fn observed(
    workload: &Workload,
    cell: &Cell,
    purpose: Purpose,
    weight: f32,
) -> Result<(Observation, Outputs)> {
    let model = &workload.models[0];
    let mut outputs = Outputs::new();
    let mut seen = Observation {
        cell: cell.clone(),
        purpose,
        images: workload.samples.iter().map(|p| p.name.clone()).collect(),
        ..observation(0, &[])
    };
    for (number, sample) in workload.samples.iter().enumerate() {
        let (_, x) = sample.inputs(model)?.remove(0);
        let values = x.f32s().map_err(|e| anyhow!("{e}"))?;
        let values: Vec<f32> = values.iter().map(|x| x * weight).collect();
        let y = Tensor::new(&model.inputs[0].shape, values).map_err(|e| anyhow!("{e}"))?;
        seen.process.passes.push(Pass {
            input: number,
            digest: y.sha256(),
            memory_kib: None,
            span: Span {
                wall_ns: 1_000_000,
                ..Span::default()
            },
        });
        outputs.insert(sample.name.clone(), vec![y]);
    }
    Ok((seen, outputs))
}

/// A cell of an engine on the only model, with one thread.
pub(crate) fn cell(workload: &Workload, engine: &str, knobs: Knobs) -> Cell {
    Cell {
        backend: engine.into(),
        model: workload.models[0].name.clone(),
        format: Format::ONNX,
        knobs: knobs.with(THREADS, 1),
        cold_files: false,
        entry: 0,
    }
}

/// What is to be recorded of each engine; `more` is recorded after it.
pub(crate) fn analysis_with(
    workload: &Workload,
    folder: &Path,
    engines: &[Multiplied],
    more: impl FnOnce(&mut Recorder) -> Result<()>,
) -> Result<Analysis> {
    let about = run();
    analysis_of(about, workload, folder, engines, more)
}

/// The same in a run of which more is known.
pub(crate) fn analysis_of(
    mut about: Run,
    workload: &Workload,
    folder: &Path,
    engines: &[Multiplied],
    more: impl FnOnce(&mut Recorder) -> Result<()>,
) -> Result<Analysis> {
    let workspace = Workspace::find()?;
    about.models = workload.models.iter().map(|m| m.file.clone()).collect();
    about.samples = workload.samples.iter().map(|p| p.file.clone()).collect();
    about.duration_s = Some(1.0);
    let mut recorder = Recorder::begin(&folder.join("record"), folder, &about)?;
    let names = ["y".to_owned()];
    for engine in engines {
        let plain = Knobs::default().with("optimizations", "off");
        let default = cell(workload, engine.engine, Knobs::default());
        let kept = [
            (default.clone(), Purpose::Agreement, engine.weight),
            (
                cell(workload, engine.engine, plain),
                Purpose::Reference,
                engine.unoptimized,
            ),
        ];
        let (seen, _) = observed(workload, &default, Purpose::Agreement, engine.weight)?;
        let digest = seen.process.passes[0].digest.clone();
        for (cell, purpose, weight) in kept {
            let (seen, outputs) = observed(workload, &cell, purpose, weight)?;
            recorder.write(engine.engine, &Line::Observation(Box::new(seen)))?;
            write_outputs(recorder.folder(), &cell, &names, &outputs)?;
        }
        let mut timed = Observation {
            cell: default,
            images: vec![workload.samples[0].name.clone()],
            ..observation(0, &times(&[2.0], 1.0))
        };
        for pass in &mut timed.process.passes {
            pass.digest.clone_from(&digest);
        }
        recorder.write(engine.engine, &Line::Observation(Box::new(timed)))?;
    }
    more(&mut recorder)?;
    Analysis::new(&workspace, Record::read(&recorder.finish()?)?)
}

/// The same and nothing else.
pub(crate) fn analysis(
    workload: &Workload,
    folder: &Path,
    engines: &[Multiplied],
) -> Result<Analysis> {
    analysis_with(workload, folder, engines, |_| Ok(()))
}
