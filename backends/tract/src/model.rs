//! From a file to a plan that runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use firstpass_probe::{Data, Dtype, Error, Model, Result, Tensor, TensorSpec, Tensors, f16};
use prost::Message;
use tract_onnx::{
    Onnx,
    prelude::*,
    tract_core::{
        internal::{Approximation, bail, ensure, format_err},
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
            PreparedFile::Nnef => Graph::Typed(read_nnef(model, &model.input_shapes())?),
        };
        Ok(Self {
            settings: settings.clone(),
            model: model.clone(),
            graph,
        })
    }

    /// Types the graph for inputs of these shapes, lets tract rewrite it, and plans a pass.
    pub(crate) fn prepare(&self, shapes: &[Vec<usize>]) -> Result<Runnable> {
        // Cloning a graph shares its constants.
        let model = match &self.graph {
            Graph::Inference(graph) => {
                typed(graph.clone(), &self.model, shapes).map_err(tract_error)?
            }
            Graph::Typed(graph) if shapes == self.model.input_shapes() => graph.clone(),
            Graph::Typed(_) => read_nnef(&self.model, shapes)?,
        };
        let plan = self.plan(model).map_err(tract_error)?;
        Runnable::new(plan).map_err(tract_error)
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

/// tract's reader. What a file says of its inner tensors was true of the shape that it was exported for,
/// in the exporter's own symbols: tract infers it from the inputs instead, which are all known.
fn onnx() -> Onnx {
    tract_onnx::onnx()
        .with_ignore_value_info(true)
        .with_ignore_output_shapes(true)
        .with_ignore_output_types(true)
}

fn read_onnx(model: &Model, path: &Path) -> Result<InferenceModel> {
    let mut graph = onnx()
        .model_for_path(path)
        .map_err(|error| tract_error(error).context(format!("cannot load {}", path.display())))?;
    let named = |graph: &InferenceModel, outlets: &[OutletId], what: &str, name: &str| {
        let found = outlets.iter().copied().find(|&outlet| {
            // An input is the output of its source, which has its name.
            graph.outlet_label(outlet) == Some(name) || graph.node(outlet.node).name == name
        });
        found.ok_or_else(|| Error::input(format!("the model file has no {what} {name:?}")))
    };
    let inputs = model.inputs.iter();
    let inputs = inputs
        .map(|spec| named(&graph, &graph.inputs, "input", &spec.name))
        .collect::<Result<Vec<_>>>()?;
    let outputs = model.outputs.iter();
    let outputs = outputs
        .map(|spec| named(&graph, &graph.outputs, "output", &spec.name))
        .collect::<Result<Vec<_>>>()?;
    if let Some(other) = graph.inputs.iter().find(|input| !inputs.contains(input)) {
        return Err(Error::input(format!(
            "the model file has an input {:?} as well",
            graph.node(other.node).name
        )));
    }
    graph.set_input_outlets(&inputs).map_err(tract_error)?;
    // Without declared outputs they are those of the file.
    if !outputs.is_empty() {
        graph.select_output_outlets(&outputs).map_err(tract_error)?;
    }
    Ok(graph)
}

fn typed(
    mut graph: InferenceModel,
    model: &Model,
    shapes: &[Vec<usize>],
) -> TractResult<TypedModel> {
    for output in 0..graph.outputs.len() {
        // Inferred from the inputs; what the file says of its outputs may be less exact.
        graph.set_output_fact(output, InferenceFact::default())?;
    }
    // After these: an input may be an output as well.
    for (input, (spec, shape)) in model.inputs.iter().zip(shapes).enumerate() {
        let fact = datum_type(spec)?.fact(shape.as_slice());
        graph.set_input_fact(input, fact.into())?;
    }
    graph.into_typed()
}

fn datum_type(spec: &TensorSpec) -> TractResult<DatumType> {
    Ok(match spec.dtype {
        Dtype::F32 => DatumType::F32,
        Dtype::F64 => DatumType::F64,
        Dtype::F16 => DatumType::F16,
        Dtype::BF16 => bail!("input {:?} is of bf16, a type that tract lacks", spec.name),
        Dtype::I64 => DatumType::I64,
        Dtype::I32 => DatumType::I32,
        Dtype::I16 => DatumType::I16,
        Dtype::I8 => DatumType::I8,
        Dtype::U64 => DatumType::U64,
        Dtype::U32 => DatumType::U32,
        Dtype::U16 => DatumType::U16,
        Dtype::U8 => DatumType::U8,
        Dtype::Bool => DatumType::Bool,
    })
}

/// The model's file with its weights dequantized.
fn dequantized(model: &Model) -> Result<PathBuf> {
    prepared_file::ready(model, "onnx", (), || {
        let mut proto = onnx()
            .proto_model_for_path(&model.path)
            .map_err(tract_error)?;
        dequantize_weights(&mut proto).map_err(tract_error)?;
        Ok(proto.encode_to_vec())
    })
}

/// The graph that tract makes of the model for inputs of these shapes, from a file of its own format.
fn read_nnef(model: &Model, shapes: &[Vec<usize>]) -> Result<TypedModel> {
    let nnef = nnef();
    let path = prepared_file::ready(model, "checked.nnef.tar", shapes, || {
        let graph = read_onnx(model, &model.path)?;
        let graph = typed(graph, model, shapes).and_then(TypedModel::into_decluttered);
        let graph = graph.map_err(tract_error)?;
        let bytes = nnef
            .write_to_tar(&graph, Vec::new())
            .map_err(|error| tract_error(error).context("tract cannot write this model as NNEF"))?;
        let again = nnef.model_for_read(&mut &bytes[..]);
        let checked = again.and_then(|again| check_same(graph, again));
        checked.map_err(|error| {
            tract_error(error).context(
                "tract reads this model back from NNEF as another one; leave prepared-file off",
            )
        })?;
        Ok(bytes)
    })?;
    nnef.model_for_path(&path)
        .map_err(|error| tract_error(error).context(format!("cannot load {}", path.display())))
}

/// Fails where two graphs, which should be one, compute other outputs from some input: tract writes some
/// operators so that they mean something else when they are read again.
fn check_same(written: TypedModel, read: TypedModel) -> TractResult<()> {
    let inputs = written.input_outlets()?.iter();
    let inputs = inputs.map(|outlet| some_values(written.outlet_fact(*outlet)?));
    let inputs = inputs.collect::<TractResult<TVec<TValue>>>()?;
    let outputs = written.into_runnable()?.run(inputs.clone())?;
    let others = read.into_runnable()?.run(inputs)?;
    ensure!(
        outputs.len() == others.len(),
        "{} outputs, not {}",
        others.len(),
        outputs.len()
    );
    for (output, other) in outputs.iter().zip(&others) {
        output.close_enough(other, Approximation::Approximate)?;
    }
    Ok(())
}

/// Values no two neighbours of which are the same, and which are places in any tensor where they are
/// integers.
fn some_values(fact: &TypedFact) -> TractResult<TValue> {
    let shape = fact.shape.as_concrete();
    let shape = shape.ok_or_else(|| format_err!("an input of open shape: {fact:?}"))?;
    let count: usize = shape.iter().product();
    let of = if fact.datum_type.is_float() { 101 } else { 2 };
    let values: Vec<f32> = (0..count).map(|at| (at * 37 % of) as f32).collect();
    let values = tract_onnx::prelude::Tensor::from_shape(shape, &values)?;
    Ok(values
        .cast_to_dt(fact.datum_type)?
        .into_owned()
        .into_tvalue())
}

/// A plan with the state that its passes reuse.
pub struct Runnable {
    plan: Arc<TypedRunnableModel>,
    state: TypedSimpleState,
    /// Whether an operator, such as the Scan of an LSTM, carries values from one run to the next.
    carries_values: bool,
}

impl Runnable {
    fn new(plan: Arc<TypedRunnableModel>) -> TractResult<Self> {
        let state = plan.spawn()?;
        let carries_values = state.op_states.iter().any(Option::is_some);
        Ok(Self {
            plan,
            state,
            carries_values,
        })
    }

    pub(crate) fn plan(&self) -> &TypedRunnableModel {
        &self.plan
    }

    pub(crate) fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        self.pass_with(inputs, plan::eval)
    }

    /// A pass whose every node is run by `eval`.
    pub(crate) fn pass_with(
        &mut self,
        inputs: &[Tensor],
        eval: impl FnMut(
            &EvalContext<'_>,
            Option<&mut (dyn OpState + 'static)>,
            &TypedNode,
            TVec<TValue>,
        ) -> TractResult<TVec<TValue>>,
    ) -> Result<Tensors> {
        // As tract's own `run` does: a sequence ends with its pass. Other operators keep their state,
        // which holds nothing but buffers of the plan.
        if self.carries_values {
            self.state = self.plan.spawn().map_err(tract_error)?;
        }
        let inputs = inputs.iter().map(own).collect::<Result<TVec<TValue>>>()?;
        let outputs = self
            .state
            .run_plan_with_eval(inputs, eval)
            .map_err(tract_error)?;
        outputs.iter().map(copy).collect()
    }
}

/// A copy: a tensor of tract owns its values and aligns them.
fn own(input: &Tensor) -> Result<TValue> {
    fn of<T: Datum + Copy>(
        shape: &[usize],
        values: &[T],
    ) -> TractResult<tract_onnx::prelude::Tensor> {
        tract_onnx::prelude::Tensor::from_shape(shape, values)
    }
    let shape = input.shape();
    let owned = match input.data() {
        Data::F32(values) => of(shape, values),
        Data::F64(values) => of(shape, values),
        Data::F16(values) => of(shape, values),
        Data::BF16(_) => return Err(Error::unsupported("tract has no type bf16")),
        Data::I64(values) => of(shape, values),
        Data::I32(values) => of(shape, values),
        Data::I16(values) => of(shape, values),
        Data::I8(values) => of(shape, values),
        Data::U64(values) => of(shape, values),
        Data::U32(values) => of(shape, values),
        Data::U16(values) => of(shape, values),
        Data::U8(values) => of(shape, values),
        Data::Bool(values) => of(shape, values),
    };
    Ok(owned.map_err(tract_error)?.into())
}

fn copy(value: &TValue) -> Result<Tensor> {
    fn of<T: Datum>(value: &TValue) -> Result<Vec<T>> {
        value
            .try_as_plain_ram()
            .and_then(|plain| Ok(plain.as_slice::<T>()?.to_vec()))
            .map_err(tract_error)
    }
    let data: Data = match value.datum_type().unquantized() {
        DatumType::F32 => of::<f32>(value)?.into(),
        DatumType::F64 => of::<f64>(value)?.into(),
        DatumType::F16 => of::<f16>(value)?.into(),
        DatumType::I64 => of::<i64>(value)?.into(),
        DatumType::I32 => of::<i32>(value)?.into(),
        DatumType::I16 => of::<i16>(value)?.into(),
        DatumType::I8 => of::<i8>(value)?.into(),
        DatumType::U64 => of::<u64>(value)?.into(),
        DatumType::U32 => of::<u32>(value)?.into(),
        DatumType::U16 => of::<u16>(value)?.into(),
        DatumType::U8 => of::<u8>(value)?.into(),
        DatumType::Bool => of::<bool>(value)?.into(),
        // What tract keeps sizes in; here all of them are known.
        DatumType::TDim => {
            let sizes = of::<TDim>(value)?;
            let known = |size: &TDim| size.to_i64().map_err(|e| tract_error(e.into()));
            sizes.iter().map(known).collect::<Result<Vec<_>>>()?.into()
        }
        other => {
            return Err(Error::unsupported(format!(
                "an output is of type {other:?}"
            )));
        }
    };
    Tensor::new(value.shape(), data)
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Format, Knobs};

    use super::*;

    #[test]
    fn a_file_that_is_no_model_is_an_error() -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("firstpass-tract-{}", std::process::id()));
        let model = Model {
            name: "none".into(),
            format: Format::ONNX,
            path: path.clone(),
            inputs: Vec::new(),
            outputs: Vec::new(),
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
