//! How one process of a variant is run: through the probe, by a program that calls the engine, or by a script.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use firstpass_probe::{Request, Tensor, Trial, read_tensors};
use firstpass_trial::{
    direct_program::Program,
    engine::Backend,
    patience::TIMEOUT,
    process::{Probe, build_example},
    workspace::Workspace,
};

use crate::python;

/// How one variant is run.
pub(super) enum Runner {
    Probe { probe: Probe, engine: String },
    Program(Program),
}

/// What a process measured.
pub(super) struct MeasuredProcess {
    pub(super) engine: String,
    pub(super) passes_ns: Vec<u64>,
    pub(super) gaps_ns: Vec<u64>,
    pub(super) outputs_sha256: String,
}

/// The example that calls the engine directly; `None` where the backend has none.
pub(super) fn direct(workspace: &Workspace, backend: &Backend) -> Option<Result<Runner>> {
    // Executables of all packages lie in one folder, so that each needs a name of its own.
    let name = format!("direct-{}", backend.name);
    let source = backend.dir.join("examples").join(format!("{name}.rs"));
    source.is_file().then(|| {
        Ok(Runner::Program(Program {
            binary: build_example(workspace, backend, &name)?,
            arguments: Vec::new(),
            environment: firstpass_trial::process::environment(workspace, backend),
            timeout: TIMEOUT,
        }))
    })
}

/// The script that runs the engine's Python package; `None` where the backend has none.
pub(super) fn python(workspace: &Workspace, backend: &Backend) -> Option<Result<Runner>> {
    let script = backend.dir.join("python").join("direct.py");
    script.is_file().then(|| {
        let folder = workspace.native().join(format!("python-{}", backend.name));
        let requirements = backend.dir.join("python").join("requirements.txt");
        Ok(Runner::Program(Program {
            binary: python::set_up(&python::interpreter(), &folder, &requirements)?,
            // Isolated: neither variables nor packages of the user change what is measured.
            arguments: vec!["-I".into(), script.into()],
            environment: Vec::new(),
            timeout: TIMEOUT,
        }))
    })
}

impl Runner {
    /// One process of the variant.
    pub(super) fn run(&self, trial: &Trial) -> Result<MeasuredProcess> {
        let measured = match self {
            Self::Probe { probe, engine } => run_probe(probe, engine, trial)?,
            Self::Program(program) => {
                let answer = program.ask(&Request::Trial(trial.clone()))?;
                MeasuredProcess {
                    engine: answer.engine,
                    passes_ns: answer.passes_ns,
                    gaps_ns: Vec::new(),
                    outputs_sha256: answer.outputs_sha256,
                }
            }
        };
        let (found, wanted) = (measured.passes_ns.len(), trial.passes.at_least);
        anyhow::ensure!(found == wanted, "it ran {found} passes instead of {wanted}");
        Ok(measured)
    }
}

fn run_probe(probe: &Probe, engine: &str, trial: &Trial) -> Result<MeasuredProcess> {
    // Written after the last pass.
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let saved = folder.path().join("outputs.safetensors");
    let mut trial = trial.clone();
    trial.outputs = Some(saved.clone());
    let process = probe.trial(&trial);
    if !process.completed() {
        let wrote = process.stderr.trim();
        return Err(match wrote {
            "" => anyhow!("{}", process.outcome),
            _ => anyhow!("{}; it wrote: {wrote}", process.outcome),
        });
    }
    // The probe keeps the outputs of the first pass; the last gave the same bits.
    let mut pairs = process.passes.windows(2);
    anyhow::ensure!(
        pairs.all(|pair| pair[0].digest == pair[1].digest),
        "its passes gave different outputs for the same input"
    );
    let spans: Vec<_> = process.passes.iter().map(|pass| pass.span).collect();
    let gaps = spans
        .windows(2)
        .map(|pair| pair[1].start_ns.saturating_sub(pair[0].end_ns()));
    Ok(MeasuredProcess {
        engine: engine.into(),
        passes_ns: spans.iter().map(|span| span.wall_ns).collect(),
        gaps_ns: gaps.collect(),
        outputs_sha256: sha256_of_outputs(&saved, &trial)?,
    })
}

fn sha256_of_outputs(saved: &Path, trial: &Trial) -> Result<String> {
    let (tensors, _) = read_tensors(saved)?;
    let mut values = Vec::new();
    for output in &trial.model.outputs {
        let tensor = tensors
            .get(&format!("0/{}", output.name))
            .with_context(|| format!("the probe gave no output {:?}", output.name))?;
        values.extend_from_slice(tensor.f32s()?);
    }
    let all = Tensor::new(&[values.len()], values)?;
    Ok(all.sha256())
}
