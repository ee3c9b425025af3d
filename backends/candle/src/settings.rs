//! What can be chosen, and its names as knobs.

use firstpass_probe::{Error, Knob, Knobs, Result};

use crate::kernels::Isa;

pub const KERNELS: &str = "kernels";
pub const BUFFERS: &str = "buffers";
pub const PACKING: &str = "packing";

/// The settings of an engine; the default is that of the knobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    pub threads: usize,
    /// What the kernels use.
    pub kernels: Isa,
    pub buffers: Buffers,
    pub packing: Packing,
}

/// When the memory that operators write into gets its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffers {
    /// When the model is prepared, of 2 MiB where the system has such pages to give.
    HugePages,
    /// When the model is prepared, of the usual size.
    Touched,
    /// As the first pass writes to them.
    Lazy,
}

/// When weights are packed for the integer kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Prepare,
    FirstPass,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 1,
            kernels: Isa::detect(),
            buffers: Buffers::HugePages,
            packing: Packing::Prepare,
        }
    }
}

impl Settings {
    pub fn knobs() -> Vec<Knob> {
        vec![
            Knob::threads(
                "threads that compute a pass; one is the calling thread, more are a rayon pool",
            ),
            Knob::choice(
                KERNELS,
                &["auto", "reference", "avx2", "avx512-vnni"],
                "instruction set of the kernels; auto takes the best of the machine",
            ),
            Knob::choice(
                BUFFERS,
                if cfg!(target_os = "linux") {
                    &["huge-pages", "touched", "lazy"]
                } else {
                    &["touched", "lazy"]
                },
                "whether prepare takes the pages of the buffers, of 2 MiB where the system has them \
                 (madvise), or the first pass does",
            ),
            Knob::choice(
                PACKING,
                &["prepare", "first-pass"],
                "the step in which weights are packed for the integer kernels",
            ),
        ]
    }

    /// # Errors
    /// Fails on a value that this machine or this crate does not have.
    pub fn of(knobs: &Knobs) -> Result<Self> {
        let default = Self::default();
        let unknown = |name: &str, value: &str| {
            Err(Error::unsupported(format!(
                "{name}={value} is not possible on this machine"
            )))
        };
        let kernels = match knobs.get(KERNELS) {
            None | Some("auto") => default.kernels,
            Some(name) => match Isa::named(name) {
                Some(isa) => isa,
                None => return unknown(KERNELS, name),
            },
        };
        let buffers = match knobs.get(BUFFERS) {
            None => default.buffers,
            Some("huge-pages") if cfg!(target_os = "linux") => Buffers::HugePages,
            Some("touched") => Buffers::Touched,
            Some("lazy") => Buffers::Lazy,
            Some(other) => return unknown(BUFFERS, other),
        };
        let packing = match knobs.get(PACKING) {
            None | Some("prepare") => Packing::Prepare,
            Some("first-pass") => Packing::FirstPass,
            Some(other) => return unknown(PACKING, other),
        };
        Ok(Self {
            threads: knobs.threads(),
            kernels,
            buffers,
            packing,
        })
    }
}
