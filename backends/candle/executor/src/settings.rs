//! What can be chosen.

use crate::kernels::Isa;

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
