//! From a file to a plan that runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use firstpass_probe::{Error, Model, Result, Tensor, Tensors};
use prost::Message;
use tract_onnx::{
    prelude::*,
    tract_core::{
        model::TypedNode,
        ops::OpState,
        plan::{self, EvalContext, SimplePlan},
    },
};

use crate::{
    dequantize_weights, nnef, prepared_file,
    settings::{PreparedFile, Settings, Stage},
    tract_error,
};

/// A parsed graph.
pub struct Loaded {
    settings: Settings,
    model: Model,
    graph: Graph,
}

enum Graph {
    /// Types and shapes are not yet known.
    Inference(InferenceModel),
    /// Typed and decluttered, for inputs of the shape that the model declares.
    Typed(TypedModel),
}

impl Loaded {
    pub(crate) fn read(settings: &Settings, model: &Model) -> Result<Self> {
        let graph = match settings.prepared_file {
            PreparedFile::Off => Graph::Inference(read_onnx(model, &model.path)?),
            PreparedFile::Onnx => Graph::Inference(read_onnx(model, &dequantized(model)?)?),
            PreparedFile::Nnef => Graph::Typed(read_nnef(model, &model.input.shape)?),
        };
        Ok(Self {
            settings: settings.clone(),
            model: model.clone(),
            graph,
        })
    }

    /// Types the graph for inputs of `shape`, lets tract rewrite it, and plans a pass.
    pub(crate) fn prepare(&self, shape: &[usize]) -> Result<Runnable> {
        // Cloning a graph shares its constants.
        let model = match &self.graph {
            Graph::Inference(graph) => typed(graph.clone(), shape).map_err(tract_error)?,
            Graph::Typed(graph) if shape == self.model.input.shape => graph.clone(),
            Graph::Typed(_) => read_nnef(&self.model, shape)?,
        };
        let plan = self.plan(model).map_err(tract_error)?;
        let state = plan.spawn().map_err(tract_error)?;
        Ok(Runnable { state })
    }

    fn plan(&self, model: TypedModel) -> TractResult<Arc<TypedRunnableModel>> {
        let model = self.settings.scoped(|| match self.settings.stage {
            Stage::Typed => Ok(model),
            Stage::Decluttered => model.into_decluttered(),
            Stage::Optimized => model.into_optimized(),
        })?;
        SimplePlan::new_with_options(model, &self.settings.run_options())
    }
}

fn read_onnx(model: &Model, path: &Path) -> Result<InferenceModel> {
    let mut graph = tract_onnx::onnx()
        .model_for_path(path)
        .map_err(|error| tract_error(error).context(format!("cannot load {}", path.display())))?;
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
    Ok(graph)
}

fn typed(mut graph: InferenceModel, shape: &[usize]) -> TractResult<TypedModel> {
    graph.set_input_fact(0, f32::fact(shape).into())?;
    for output in 0..graph.outputs.len() {
        // Inferred from the input; what the file says of its outputs may be less exact.
        graph.set_output_fact(output, InferenceFact::default())?;
    }
    graph.into_typed()
}

/// The model's file with its weights dequantized.
fn dequantized(model: &Model) -> Result<PathBuf> {
    prepared_file::ready(model, "onnx", (), || {
        let mut proto = tract_onnx::onnx()
            .proto_model_for_path(&model.path)
            .map_err(tract_error)?;
        dequantize_weights(&mut proto).map_err(tract_error)?;
        Ok(proto.encode_to_vec())
    })
}

/// The graph that tract makes of the model for inputs of `shape`, from a file of its own format.
fn read_nnef(model: &Model, shape: &[usize]) -> Result<TypedModel> {
    let nnef = nnef();
    let path = prepared_file::ready(model, "nnef.tar", shape, || {
        let graph = read_onnx(model, &model.path)?;
        let written = typed(graph, shape)
            .and_then(TypedModel::into_decluttered)
            .and_then(|graph| nnef.write_to_tar(&graph, Vec::new()));
        written.map_err(|error| tract_error(error).context("tract cannot write this model as NNEF"))
    })?;
    nnef.model_for_path(&path)
        .map_err(|error| tract_error(error).context(format!("cannot load {}", path.display())))
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
        self.pass_with(input, plan::eval)
    }

    /// A pass whose every node is run by `eval`.
    pub(crate) fn pass_with(
        &mut self,
        input: &Tensor,
        eval: impl FnMut(
            &EvalContext<'_>,
            Option<&mut (dyn OpState + 'static)>,
            &TypedNode,
            TVec<TValue>,
        ) -> TractResult<TVec<TValue>>,
    ) -> Result<Tensors> {
        // A tensor of tract owns its values and aligns them: there is no way without this copy.
        let value = tract_onnx::prelude::Tensor::from_shape(&input.shape, &input.data)
            .map_err(tract_error)?;
        let outputs = self
            .state
            .run_plan_with_eval(tvec!(value.into()), eval)
            .map_err(tract_error)?;
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
    use firstpass_probe::{Format, Knobs, TensorSpec};

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
        let settings = Settings::of(&Knobs::default()).expect("defaults");
        assert!(Loaded::read(&settings, &model).is_err(), "missing");
        for bytes in [&b""[..], b"\x3a\x7fcut off", b"no model"] {
            std::fs::write(&path, bytes)?;
            let error = Loaded::read(&settings, &model).err().map(|e| e.to_string());
            let named = error.is_some_and(|e| e.contains("firstpass-tract-"));
            assert!(named, "{bytes:?}");
        }
        std::fs::remove_file(&path)
    }
}
