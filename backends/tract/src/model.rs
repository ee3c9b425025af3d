//! From an ONNX file to a plan that runs.

use std::sync::Arc;

use firstpass_probe::{Error, Model, Result, Tensor, Tensors};
use tract_onnx::prelude::*;

use crate::tract_error;

/// A parsed graph, whose types and shapes are not yet known.
pub struct Loaded(InferenceModel);

impl Loaded {
    pub(crate) fn read(model: &Model) -> Result<Self> {
        let path = &model.path;
        let mut graph = tract_onnx::onnx().model_for_path(path).map_err(|error| {
            tract_error(error).context(format!("cannot load {}", path.display()))
        })?;
        if graph.inputs.len() != 1 {
            return Err(Error::unsupported(format!(
                "the model file has {} inputs; this backend runs models with one",
                graph.inputs.len()
            )));
        }
        let outputs = model
            .outputs
            .iter()
            .map(|spec| {
                let named = |outlet: &&OutletId| graph.outlet_label(**outlet) == Some(&spec.name);
                let found = graph.outputs.iter().find(named).copied();
                found.ok_or_else(|| {
                    Error::input(format!("the model file has no output {:?}", spec.name))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        graph.select_output_outlets(&outputs).map_err(tract_error)?;
        Ok(Self(graph))
    }

    /// Types the graph for inputs of `shape`, lets tract rewrite it, and plans a pass.
    pub(crate) fn prepare(&self, shape: &[usize]) -> Result<Runnable> {
        let plan = plan(self.0.clone(), shape).map_err(tract_error)?;
        let state = plan.spawn().map_err(tract_error)?;
        Ok(Runnable { state })
    }
}

fn plan(mut graph: InferenceModel, shape: &[usize]) -> TractResult<Arc<TypedRunnableModel>> {
    graph.set_input_fact(0, f32::fact(shape).into())?;
    for output in 0..graph.outputs.len() {
        // Inferred from the input; what the file says of its outputs may be less exact.
        graph.set_output_fact(output, InferenceFact::default())?;
    }
    graph.into_optimized()?.into_runnable()
}

/// A plan with the state that its passes reuse.
pub struct Runnable {
    state: TypedSimpleState,
}

impl Runnable {
    pub(crate) fn plan(&self) -> &TypedRunnableModel {
        self.state.plan()
    }

    pub(crate) fn pass(&mut self, input: &Tensor) -> Result<Tensors> {
        // A tensor of tract owns its values and aligns them: there is no way without this copy.
        let value = tract_onnx::prelude::Tensor::from_shape(&input.shape, &input.data)
            .map_err(tract_error)?;
        let outputs = self.state.run(tvec!(value.into())).map_err(tract_error)?;
        outputs.iter().map(copy).collect()
    }
}

fn copy(value: &TValue) -> Result<Tensor> {
    let data = value
        .try_as_plain_ram()
        .and_then(|plain| Ok(plain.as_slice::<f32>()?.to_vec()))
        .map_err(tract_error)?;
    Tensor::new(value.shape(), data)
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Format, TensorSpec};

    use super::*;

    #[test]
    fn a_file_that_is_no_model_is_an_error() -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("firstpass-tract-{}", std::process::id()));
        let image = TensorSpec {
            name: "image".into(),
            shape: vec![1],
        };
        let model = Model {
            name: "none".into(),
            format: Format::Onnx,
            path: path.clone(),
            input: image.clone(),
            outputs: vec![image],
        };
        assert!(Loaded::read(&model).is_err(), "missing");
        for bytes in [&b""[..], b"\x3a\x7fcut off", b"no model"] {
            std::fs::write(&path, bytes)?;
            let error = Loaded::read(&model).err().map(|e| e.to_string());
            let named = error.is_some_and(|e| e.contains("firstpass-tract-"));
            assert!(named, "{bytes:?}");
        }
        std::fs::remove_file(&path)
    }
}
