//! All that a backend links: the [`Backend`] trait, its types, and [`run`], the `main` of a probe.
//!
//! A *probe* is a small program around one inference engine. The harness starts it afresh for
//! every trial, gives it one [`Request`] as its only argument, and reads one JSON [`Message`] a
//! line from its standard output. A probe judges nothing: it observes.

mod activations;
mod backend;
mod beside;
mod channel;
mod clock;
mod confinement;
mod data;
mod error;
mod knobs;
mod message;
mod model;
mod names;
mod passes;
mod private_folder;
mod process;
mod profile;
mod reference;
mod runner;
mod tensor;
mod tuned;
mod warm_up;

pub use activations::{Activation, Quantization, Recording};
pub use backend::{Arithmetic, Backend, EngineInfo};
pub use clock::{monotonic_ns, observe};
pub use confinement::{Confinement, Landlock, PARENT, confinement};
pub use data::{Data, Dtype};
pub use error::{EngineResult, Error, ErrorKind, Phase, Result};
pub use half::{bf16, f16};
pub use knobs::{DENORMALS, DENORMALS_AS_ZERO, Knob, KnobValues, Knobs, THREADS, Variable};
pub use message::{Description, Message, PROTOCOL, Pass, PassPlan, Request, Span, Trial};
pub use model::{Format, Model, OutputSpec, TensorSpec};
pub use names::{file_name, is_invisible};
pub use private_folder::{
    cache_folder, check_own, check_private, config_folder, data_folder, prepared_folder,
    private_folder,
};
pub use process::{ALLOCATOR, apply as apply_to_process};
pub use profile::{
    OperatorTime, PassTimes, Profile, ProfiledOperator, ProfiledPass, Profiler, profile,
};
pub use runner::{OUTPUT_ORDER, Session, request, run};
pub use tensor::{Tensor, Tensors, read_tensors, write_tensors, write_tensors_with};
pub use tuned::{Need, Tuned};
pub use warm_up::{WARM_UP, warm_up_passes};
