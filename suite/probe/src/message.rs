//! What harness and probe say to each other: one [`Request`] as argument (or in a file that it names), one JSON
//! [`Message`] a line back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Arithmetic, EngineInfo, Error, Format, Knob, Knobs, Model, Profile, Quantization};

/// Raised when a message changes its meaning.
pub const PROTOCOL: u32 = 3;

/// What a probe is asked to do, as JSON in its only argument, or in the file that it names as `@PATH`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Start the engine and say what it is.
    Describe,
    /// Say which operators the engine runs for this model.
    Inspect {
        model: Model,
        knobs: Knobs,
        input: PathBuf,
    },
    /// Say where the first passes spend their time.
    Profile {
        model: Model,
        knobs: Knobs,
        input: PathBuf,
        passes: usize,
    },
    /// Give the quantized activations that the engine computes.
    Activations {
        model: Model,
        knobs: Knobs,
        input: PathBuf,
        /// Where they go, as tensors `activation/<number>`, with the outputs of the same pass, as
        /// `output/<name>`.
        outputs: PathBuf,
    },
    /// Run passes and time them.
    Trial(Trial),
}

impl Request {
    /// The settings under which the engine starts; the defaults for [`Request::Describe`].
    pub fn knobs(&self) -> Knobs {
        match self {
            Self::Describe => Knobs::default(),
            Self::Inspect { knobs, .. }
            | Self::Profile { knobs, .. }
            | Self::Activations { knobs, .. } => knobs.clone(),
            Self::Trial(trial) => trial.knobs.clone(),
        }
    }

    /// The file that tensors are to be written to, if any.
    pub fn outputs(&self) -> Option<&Path> {
        match self {
            Self::Describe | Self::Inspect { .. } | Self::Profile { .. } => None,
            Self::Activations { outputs, .. } => Some(outputs),
            Self::Trial(trial) => trial.outputs.as_deref(),
        }
    }
}

/// One measured process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Trial {
    pub model: Model,
    pub knobs: Knobs,
    /// Safetensors files with a tensor for each of the model's inputs, by name. All passes on one
    /// file are run before the next.
    pub inputs: Vec<PathBuf>,
    /// By file, the shapes of the model's inputs in it; none where they are those that the model
    /// declares. At a file of other shapes than the one before the model is prepared again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shapes: Vec<Vec<Vec<usize>>>,
    pub passes: PassPlan,
    /// For how long the process sleeps before a pass on each input, in ms, by the number of the pass from 0.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pauses: BTreeMap<usize, u64>,
    /// Further sessions of the engine in the process, each started, loaded and prepared in a thread of its own.
    /// They run passes on the first input as long as the passes of the trial run, which are the only ones that
    /// are told; what the kernel counts for a pass is of the whole process.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub beside: usize,
    /// Whether each pass tells the memory that the process holds after it: [`Pass::memory_kib`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tell_memory: bool,
    /// Where the outputs of the first pass on each input go, as tensors
    /// `<input number>/<output>`.
    pub outputs: Option<PathBuf>,
}

impl Trial {
    /// Passes on inputs of the declared shapes, whose outputs are not kept.
    pub fn new(model: Model, knobs: Knobs, inputs: Vec<PathBuf>, passes: PassPlan) -> Self {
        Self {
            model,
            knobs,
            inputs,
            shapes: Vec::new(),
            passes,
            pauses: BTreeMap::new(),
            beside: 0,
            tell_memory: false,
            outputs: None,
        }
    }

    /// The model as a file of inputs has it: with its shapes.
    pub fn model_for(&self, input: usize) -> Model {
        let mut model = self.model.clone();
        if let Some(shapes) = self.shapes.get(input) {
            for (spec, shape) in model.inputs.iter_mut().zip(shapes) {
                spec.shape.clone_from(shape);
            }
        }
        if model.inputs != self.model.inputs {
            // What is declared is declared for the declared shapes.
            for output in &mut model.outputs {
                output.shape = None;
            }
        }
        model
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// How many passes to run on each input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassPlan {
    pub at_least: usize,
    pub at_most: usize,
    /// No further pass is begun after this time once `at_least` passes are done, in ms.
    pub budget_ms: u64,
}

impl PassPlan {
    pub fn exactly(passes: usize) -> Self {
        Self {
            at_least: passes,
            at_most: passes,
            budget_ms: 0,
        }
    }
}

/// One line of a probe's standard output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
pub enum Message {
    /// The first words of every probe.
    Hello {
        protocol: u32,
        backend: String,
        /// When `main` began, on the monotonic clock.
        main_ns: u64,
    },
    /// The engine has started.
    Started { span: Span },
    /// The model file is read.
    Loaded { span: Span },
    /// The model is ready to run.
    Prepared { span: Span },
    /// The model is ready to run on inputs of other shapes than before.
    PreparedAgain { span: Span },
    /// The model has run once on zeros, because a knob asked for it.
    WarmedUp { span: Span },
    /// One pass; the first of them makes the first outputs.
    Pass(Pass),
    /// The answer to [`Request::Describe`].
    Description(Description),
    /// The answer to [`Request::Inspect`].
    Arithmetic(Arithmetic),
    /// The answer to [`Request::Profile`].
    Profile(Profile),
    /// The answer to [`Request::Activations`], by the numbers of the tensors in the file, from 0.
    Activations { quantizations: Vec<Quantization> },
    /// All went well. Nothing follows.
    Done {
        #[serde(default)]
        peak_memory_kib: Option<u64>,
        /// What the work of [`Span::reference_ns`] took after the last pass.
        #[serde(default)]
        reference_ns: u64,
    },
    /// A step failed. Nothing follows.
    Failed(Error),
}

/// The answer to [`Request::Describe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Description {
    pub engine: EngineInfo,
    pub formats: Vec<Format>,
    pub knobs: Vec<Knob>,
}

impl Description {
    pub fn new(engine: EngineInfo, formats: Vec<Format>, knobs: Vec<Knob>) -> Self {
        Self {
            engine,
            formats,
            knobs,
        }
    }
}

/// One pass over one input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// Which of [`Trial::inputs`], from 0.
    pub input: usize,
    /// Equal digests mean equal bits in all outputs.
    pub digest: String,
    /// Where [`Trial::tell_memory`] asks for it and the system tells: the memory of its own that the process holds
    /// after the pass, in KiB, without what is mapped from files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_kib: Option<u64>,
    #[serde(flatten)]
    pub span: Span,
}

/// A timed piece of work, with what the kernel counted for the whole process meanwhile. A probe that does not
/// count something leaves it out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// On the monotonic clock.
    pub start_ns: u64,
    pub wall_ns: u64,
    /// Of all threads; 0 where it was not counted.
    #[serde(default)]
    pub cpu_ns: u64,
    #[serde(default)]
    pub minor_faults: u64,
    #[serde(default)]
    pub major_faults: u64,
    #[serde(default)]
    pub voluntary_switches: u64,
    #[serde(default)]
    pub involuntary_switches: u64,
    /// What a fixed piece of work took just before: the speed of the core at that time. 0 where it was not
    /// measured.
    #[serde(default)]
    pub reference_ns: u64,
}

impl Span {
    pub fn end_ns(&self) -> u64 {
        self.start_ns + self.wall_ns
    }
}
