//! What all tests of one backend share.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result};
use firstpass_probe::{Knobs, Model, PassPlan, THREADS, Trial};
use firstpass_trial::{
    engine::Backend,
    known::Known,
    model::{ModelDescription, Precision},
    process::Probe,
    small_graphs::fixed,
    workload::{InputFiles, Workload},
    workspace::Workspace,
};

/// The backend, the fixtures, and a place for files.
#[derive(Clone)]
pub struct Context {
    pub probe: Probe,
    pub backend: Arc<Backend>,
    pub known: Arc<Known>,
    pub workload: Arc<Workload>,
    /// Where the kept and the frozen small graphs lie.
    pub small_graphs: Arc<Path>,
    inputs: Arc<Mutex<InputFiles>>,
}

/// One file of a model.
#[derive(Clone)]
pub struct Artifact {
    pub description: Arc<ModelDescription>,
    pub file: Model,
    /// Whether it is in the format that the backend prefers.
    pub is_usual: bool,
}

impl Context {
    pub fn new(probe: &str, folder: &str) -> Result<Self> {
        let workspace = Workspace::find()?;
        let backend = Backend::read(Path::new(folder))?;
        Ok(Self {
            probe: Probe::at(Path::new(probe)),
            known: Arc::new(backend.known()?),
            backend: Arc::new(backend),
            workload: Arc::new(Workload::fixtures(&workspace)?),
            small_graphs: workspace.fixtures().join(fixed::FOLDER).into(),
            inputs: Arc::new(Mutex::new(InputFiles::new()?)),
        })
    }

    /// Every model file that the backend reads.
    pub fn artifacts<B: firstpass_probe::Backend>(&self) -> Vec<Artifact> {
        let mut artifacts = Vec::new();
        for model in &self.workload.models {
            let description = Arc::new(model.clone());
            artifacts.extend(B::FORMATS.iter().filter_map(|format| {
                Some(Artifact {
                    file: model.artifact(*format)?,
                    description: description.clone(),
                    is_usual: B::FORMATS.first() == Some(format),
                })
            }));
        }
        artifacts
    }

    /// The file that most tests need only one of: the backend's usual format of the first int8
    /// model that has it, or of another model where it is declared to refuse these.
    pub fn artifact<B: firstpass_probe::Backend>(&self) -> Result<Artifact> {
        let mut artifacts = self.artifacts::<B>();
        artifacts.retain(|a| {
            let refused = self.known.refusal(&a.description.name, a.file.format);
            a.is_usual && refused.is_none()
        });
        // False comes first.
        let is_float = |a: &Artifact| a.description.precision != Precision::Int8;
        artifacts
            .into_iter()
            .min_by_key(is_float)
            .context("the fixtures hold no model for this backend")
    }

    /// The input files of the photographs, in their order.
    pub fn inputs(&self, model: &ModelDescription) -> Result<Vec<PathBuf>> {
        let mut inputs = self
            .inputs
            .lock()
            .map_err(|_| anyhow::anyhow!("a test panicked"))?;
        self.workload
            .samples
            .iter()
            .map(|sample| inputs.file(sample, model))
            .collect()
    }

    /// A trial of `passes` passes over the first photograph.
    pub fn trial(&self, artifact: &Artifact, threads: usize, passes: usize) -> Result<Trial> {
        let mut inputs = self.inputs(&artifact.description)?;
        inputs.truncate(1);
        Ok(Trial::new(
            artifact.file.clone(),
            Knobs::default().with(THREADS, threads),
            inputs,
            PassPlan::exactly(passes),
        ))
    }
}
