//! One pass of an engine or a referee, and the tensors that come out of it.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use firstpass_probe::{
    Knobs, Model, OutputSpec, Quantization, THREADS, Tensor, read_tensors, write_tensors,
};
use firstpass_trial::{
    machine::all_threads,
    process::{Probe, once},
};

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

/// How a pass is run.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    pub probe: &'a Probe,
    /// Without the number of threads, which is all.
    pub knobs: &'a Knobs,
    pub input: &'a Path,
    /// For files that are of no use after it.
    pub folder: &'a Path,
}

impl<'a> Pass<'a> {
    pub fn under<'b>(&'b self, knobs: &'b Knobs) -> Pass<'b> {
        Pass { knobs, ..*self }
    }

    /// The rules by which a referee computes a whole file.
    ///
    /// # Errors
    /// Fails with the referee's words where it does not compute it.
    pub fn rules(&self, model: &Model) -> Result<Knobs> {
        let arithmetic = self.probe.inspect(model, &self.knobs(), self.input);
        let arithmetic = arithmetic.map_err(|outcome| anyhow!("{outcome}"))?;
        Ok(arithmetic.rules.unwrap_or_default())
    }

    fn knobs(&self) -> Knobs {
        self.knobs.clone().with(THREADS, all_threads())
    }

    /// Whether the engine adds up any convolution of the model in floats; not where it does not say.
    pub fn is_in_floats(&self, model: &Model) -> bool {
        let arithmetic = self.probe.inspect(model, &self.knobs(), self.input);
        arithmetic.is_ok_and(|arithmetic| arithmetic.float > 0)
    }

    /// The outputs of a pass, by name.
    pub fn outputs(&self, model: &Model) -> Result<Tensors> {
        let saved = self.folder.join("outputs.safetensors");
        let outputs = once(self.probe, model, &self.knobs(), self.input, &saved);
        outputs.with_context(|| model.name.clone())
    }

    /// The outputs of a pass, by name, and what the engine recorded in it, in order.
    pub fn recording(&self, model: &Model) -> Result<(Tensors, Vec<(Quantization, Tensor)>)> {
        let saved = self.folder.join("recording.safetensors");
        let quantizations = self
            .probe
            .activations(model, &self.knobs(), self.input, &saved)
            .map_err(|outcome| anyhow!("{outcome}"))?;
        let (mut tensors, _) = read_tensors(&saved)?;
        let recorded = quantizations.into_iter().enumerate();
        let recorded = recorded.map(|(number, quantization)| {
            let values = tensors.remove(&format!("activation/{number}"));
            Ok((quantization, values.context("the probe wrote all of them")?))
        });
        let recorded = recorded.collect::<Result<_>>()?;
        Ok((below("output", tensors), recorded))
    }
}

/// Whether the outputs that `specs` name are there in both and the same, bit for bit.
pub fn same_bits(specs: &[OutputSpec], a: &Tensors, b: &Tensors) -> bool {
    specs.iter().all(|spec| {
        let bits = |tensors: &Tensors| {
            let tensor = tensors.get(&spec.name)?;
            Some((tensor.shape().to_vec(), tensor.sha256()))
        };
        bits(a).is_some() && bits(a) == bits(b)
    })
}

/// The tensors of a file whose names begin with `folder/`, by the rest of them.
fn below(folder: &str, tensors: HashMap<String, Tensor>) -> Tensors {
    let named = tensors.into_iter().filter_map(|(key, tensor)| {
        let name = key.strip_prefix(folder)?.strip_prefix('/')?;
        Some((name.to_owned(), tensor))
    });
    named.collect()
}

/// The file of an input with every value multiplied.
pub fn multiplied(input: &Path, gain: f32, folder: &Path) -> Result<PathBuf> {
    let (mut tensors, _) = read_tensors(input)?;
    for tensor in tensors.values_mut() {
        if let Ok(values) = tensor.f32s_mut() {
            values.iter_mut().for_each(|value| *value *= gain);
        }
    }
    let path = folder.join("multiplied.safetensors");
    let named = tensors.iter().map(|(name, tensor)| (name.clone(), tensor));
    write_tensors(&path, named)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors(name: &str, values: &[f32]) -> Result<HashMap<String, Tensor>> {
        let tensor = Tensor::new(&[values.len()], values.to_vec())?;
        Ok(HashMap::from([(name.to_owned(), tensor)]))
    }

    #[test]
    fn one_bit_is_another_output() -> Result<()> {
        let plain = below("0", tensors("0/a/b", &[0.0, 1.0])?);
        let same = below("output", tensors("output/a/b", &[0.0, 1.0])?);
        let other = below("output", tensors("output/a/b", &[-0.0, 1.0])?);
        let specs = [OutputSpec::new("a/b", [2])];
        assert!(same_bits(&specs, &plain, &same));
        assert!(!same_bits(&specs, &plain, &other));
        assert!(!same_bits(&specs, &Tensors::new(), &Tensors::new()));
        Ok(())
    }
}
