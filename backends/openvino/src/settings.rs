//! The knobs of OpenVINO, which are properties of its CPU plugin.

use std::borrow::Cow;

use firstpass_probe::{Backend, Error, Knob, Knobs, Result, prepared_folder};
use openvino::RwPropertyKey;

use crate::OpenVino;

pub(crate) const PRECISION: RwPropertyKey = RwPropertyKey::HintInferencePrecision;

const INFERENCE_PRECISION: &str = "inference-precision";
const EXECUTION_MODE: &str = "execution-mode";
const PERFORMANCE_HINT: &str = "performance-hint";
const PREPARED_FILE: &str = "prepared-file";
const CPU_PINNING: &str = "cpu-pinning";
const LOW_PRECISION: &str = "low-precision";

/// Undocumented: whether the transformations run that make integer kernels of pairs of quantization.
const LP_TRANSFORMS_MODE: RwPropertyKey = RwPropertyKey::Other(Cow::Borrowed("LP_TRANSFORMS_MODE"));

pub(crate) fn knobs() -> Vec<Knob> {
    vec![
        Knob::threads("INFERENCE_NUM_THREADS: threads of all streams together"),
        Knob::choice(
            INFERENCE_PRECISION,
            &["of-processor", "f32", "bf16", "f16"],
            "INFERENCE_PRECISION_HINT: the type that floats are computed in; by default bf16 on a processor that has \
             instructions for it, else f32",
        ),
        Knob::choice(
            EXECUTION_MODE,
            &["performance", "accuracy"],
            "EXECUTION_MODE_HINT: accuracy computes each operator in the type that the file has",
        ),
        Knob::choice(
            PERFORMANCE_HINT,
            &["latency", "throughput"],
            "PERFORMANCE_HINT: all threads for one request, or a stream of few threads for each of several",
        ),
        Knob::choice(
            PREPARED_FILE,
            &["off", "blob", "small-blob"],
            "CACHE_DIR: the compiled model, kept in a file by the first use and read by later ones; small: with \
             CACHE_MODE=OPTIMIZE_SIZE, which leaves the weights in the model file",
        ),
        Knob::choice(
            CPU_PINNING,
            &["on", "off"],
            "ENABLE_CPU_PINNING: whether each thread stays on a core of its own",
        ),
        Knob::choice(
            LOW_PRECISION,
            &["on", "off"],
            "LP_TRANSFORMS_MODE, which is not documented: off computes a quantized model in floats",
        ),
    ]
}

/// The knobs as properties.
#[derive(Debug, Clone)]
pub(crate) struct Settings(Vec<(RwPropertyKey, String)>);

impl Settings {
    pub(crate) fn of(knobs: &Knobs) -> Result<Self> {
        let precision = knobs
            .get(INFERENCE_PRECISION)
            .filter(|word| *word != "of-processor");
        let accurate = knobs.get(EXECUTION_MODE) == Some("accuracy");
        if let (true, Some(precision)) = (accurate, precision) {
            return Err(Error::unsupported(format!(
                "{EXECUTION_MODE}=accuracy chooses the type of floats itself: leave {INFERENCE_PRECISION}={precision} \
                 away"
            )));
        }
        let mut properties = vec![(
            RwPropertyKey::InferenceNumThreads,
            knobs.threads().to_string(),
        )];
        let mut set = |key, value: &str| properties.push((key, value.to_owned()));
        if let Some(precision) = precision {
            set(PRECISION, precision);
        }
        if accurate {
            set(RwPropertyKey::HintExecutionMode, "ACCURACY");
        }
        if knobs.get(PERFORMANCE_HINT) == Some("throughput") {
            set(RwPropertyKey::HintPerformanceMode, "THROUGHPUT");
        }
        if let Some(form @ ("blob" | "small-blob")) = knobs.get(PREPARED_FILE) {
            let folder = prepared_folder(OpenVino::NAME)?;
            let folder = folder
                .to_str()
                .ok_or_else(|| Error::unsupported(format!("{} is not UTF-8", folder.display())))?;
            set(RwPropertyKey::CacheDir, folder);
            if form == "small-blob" {
                set(RwPropertyKey::CacheMode, "OPTIMIZE_SIZE");
            }
        }
        if knobs.get(CPU_PINNING) == Some("off") {
            set(RwPropertyKey::HintEnableCpuPinning, "NO");
        }
        if knobs.get(LOW_PRECISION) == Some("off") {
            set(LP_TRANSFORMS_MODE, "NO");
        }
        Ok(Self(properties))
    }

    pub(crate) fn properties(&self) -> impl Iterator<Item = (RwPropertyKey, String)> {
        self.0.iter().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_exclude_each_other_are_refused() {
        let knobs = Knobs::default()
            .with(EXECUTION_MODE, "accuracy")
            .with(INFERENCE_PRECISION, "bf16");
        assert!(Settings::of(&knobs).is_err());
    }
}
