//! A model file that was read.

use std::path::Path;

use candle_core::DType;
use firstpass_onnx::{Bytes, Error, Result, decode_flat, external};

use crate::{engine::Engine, plan::Plan, prepared::Prepared};

/// A recognised graph: which operators run, in which order, on integers or on floats.
pub struct Model {
    engine: Engine,
    plan: Plan,
    output_names: Vec<String>,
}

impl Engine {
    /// Reads an ONNX file, with the weights that lie in files beside it. Nothing is written to.
    ///
    /// # Errors
    /// Fails where the file cannot be read, is malformed, or asks for what is not implemented.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Model> {
        self.load_as(path.as_ref(), &[], &[])
    }

    /// [`Self::load`] with inputs and outputs in an order of the caller's; where none are named, they are those of
    /// the file in its order.
    ///
    /// # Errors
    /// As [`Self::load`], and where the file has no such input or output.
    pub fn load_as(&self, path: &Path, inputs: &[&str], outputs: &[&str]) -> Result<Model> {
        let load = || {
            // Read and not mapped: a map of a file that is cut meanwhile ends the process (SIGBUS).
            let bytes: Bytes = std::fs::read(path)?.into();
            let mut graph = decode_flat(bytes)?;
            external::read(&mut graph.0, path)?;
            let named = |chosen: &[&str], declared: Vec<&str>| -> Vec<String> {
                let names = if chosen.is_empty() {
                    &declared[..]
                } else {
                    chosen
                };
                names.iter().map(|&name| name.to_owned()).collect()
            };
            let is_constant = |name: &str| graph.0.initializer.iter().any(|c| c.name == name);
            let declared = graph.0.input.iter().map(|value| value.name.as_str());
            let inputs = named(inputs, declared.filter(|name| !is_constant(name)).collect());
            let declared = graph.0.output.iter().map(|value| value.name.as_str());
            let output_names = named(outputs, declared.collect());
            let plan = Plan::new(&graph, &borrowed(&inputs), &borrowed(&output_names))?;
            Ok((plan, output_names))
        };
        let (plan, output_names) =
            load().map_err(|e: Error| e.context(format!("cannot load {}", path.display())))?;
        Ok(Model {
            engine: self.clone(),
            plan,
            output_names,
        })
    }
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

impl Model {
    /// The inputs, in the order in which shapes and values are given, with the types of the tensors that hold them.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, DType)> {
        let inputs = self.plan.inputs.iter();
        inputs.map(|input| (input.name.as_str(), input.dtype))
    }

    /// The outputs, in the order of those of [`Prepared::run`].
    pub fn output_names(&self) -> &[String] {
        &self.output_names
    }

    /// Packs weights, takes buffers and lists the steps for inputs of these shapes, one an input.
    ///
    /// # Errors
    /// Names the step whose inputs do not have the shapes that it takes.
    pub fn prepare(&self, shapes: &[Vec<usize>]) -> Result<Prepared> {
        Prepared::new(&self.engine, &self.plan, shapes)
    }
}
