//! The settings of the executor as knobs.

use firstpass_executor::{Buffers, Isa, Packing, Settings};
use firstpass_probe::{Error, Knob, Knobs, Result};

const KERNELS: &str = "kernels";
const BUFFERS: &str = "buffers";
const PACKING: &str = "packing";

/// What the executor lets one choose.
pub fn all() -> Vec<Knob> {
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

/// The settings that these knobs ask for.
///
/// # Errors
/// Fails on a value that this machine or this crate does not have.
pub fn settings(knobs: &Knobs) -> Result<Settings> {
    let default = Settings::default();
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
    Ok(Settings {
        threads: knobs.threads(),
        kernels,
        buffers,
        packing,
    })
}
