use firstpass_probe::{Format, Knobs};
use firstpass_trial::{affinity::Affinity, machine::Machine};

use super::{code::Code, *};

/// A record of these observations that is nowhere on a disk.
pub(crate) fn record(observations: Vec<Observation>) -> Record {
    let mut backends: BTreeMap<String, BackendRecord> = BTreeMap::new();
    for observation in observations {
        let backend = backends
            .entry(observation.cell.backend.clone())
            .or_default();
        backend.observations.push(observation);
    }
    Record {
        folder: PathBuf::new(),
        run: run(),
        places: Places::default(),
        backends,
    }
}

pub(crate) fn run() -> Run {
    Run {
        version: VERSION,
        date: "2026-01-01T00:00:00Z".into(),
        machine: Machine::observe(),
        code: Code::default(),
        settings: RunSettings {
            processes: 1,
            least_processes: 1,
            passes: 10,
            agreement_passes: 1,
            skip_arithmetic: false,
            threads: vec![1],
            budget_s: 1.0,
            process_budget_ms: 1,
            target: Target {
                steady: 0.03,
                first_pass: 0.1,
            },
            affinity: Affinity::default(),
            cold_files: false,
            entries: 1,
            variants: BTreeMap::new(),
            first_format_only: false,
            agreement_only: BTreeSet::new(),
            seek_reference: false,
            asked_budget_s: None,
            command: Vec::new(),
        },
        models: Vec::new(),
        samples: Vec::new(),
        files: BTreeMap::new(),
        engines: BTreeMap::new(),
        processors: BTreeMap::new(),
        duration_s: Some(1.0),
    }
}

fn unavailable() -> Line {
    Line::Unavailable {
        reason: "not here".into(),
    }
}

fn begin(folder: &Path) -> Result<Recorder> {
    Recorder::begin(folder, folder, &run())
}

#[test]
fn what_was_written_can_be_read() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut recorder = begin(&dir.path().join("2026-01-01-cpu"))?;
    recorder.write("x", &unavailable())?;
    let cell = Cell {
        backend: "x".into(),
        model: "m".into(),
        format: Format::ONNX,
        knobs: Knobs::default(),
        cold_files: false,
        entry: 0,
    };
    let tensor = Tensor::new(&[2], vec![1.0, 2.0])?;
    let outputs = Outputs::from([("photo".to_string(), vec![tensor])]);
    write_outputs(recorder.folder(), &cell, &["y".into()], &outputs)?;
    let record = Record::read(&recorder.finish()?)?;
    assert_eq!(
        record.backends["x"].unavailable.as_deref(),
        Some("not here")
    );
    assert_eq!(record.outputs(&cell, &["y".into()])?, Some(outputs));
    Ok(())
}

#[test]
fn an_interrupted_run_is_readable_without_the_line_that_was_cut_off() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut recorder = begin(&dir.path().join("2026-01-01-cpu"))?;
    recorder.write("x", &unavailable())?;
    let partial = recorder.folder().to_owned();
    drop(recorder);
    let path = lines::plain(&partial, "x");
    let written = std::fs::read_to_string(&path)?;
    std::fs::write(&path, written + "{\"record\":\"unavai")?;
    assert!(Record::read(&partial)?.backends["x"].unavailable.is_some());
    Ok(())
}
