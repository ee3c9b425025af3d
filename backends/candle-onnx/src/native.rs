//! The backend where candle-onnx is linked.

use std::{collections::HashMap, sync::Arc};

use candle_core::{DType, Device, WithDType};
use candle_onnx::{
    onnx::{GraphProto, ModelProto, TypeProto, ValueInfoProto, tensor_proto::DataType, type_proto},
    simple_eval,
};
use firstpass_probe::{
    Backend, Data, EngineInfo, EngineResult, Error, Format, Knob, Knobs, Model, Result, Tensor,
    Tensors,
};
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::CandleOnnx;

/// The environment variable that candle asks into how many tasks it divides a product of matrices.
const TASKS: &str = "RAYON_NUM_THREADS";

/// Has candle divide products of matrices into as many tasks as the request in the process's argument
/// allows threads; without it they are as many as the machine has cores.
///
/// # Safety
/// To be called while the process has one thread, as is the case when `main` begins: another could read
/// the environment at that moment.
pub unsafe fn divide_as_requested() {
    if let Ok(request) = firstpass_probe::request() {
        let threads = request.knobs().threads();
        // SAFETY: the caller says that no other thread runs.
        unsafe { std::env::set_var(TASKS, threads.to_string()) };
    }
}

/// The pool that passes run in.
type Engine = Arc<ThreadPool>;

/// The file, decoded: all that there is to evaluate.
#[derive(Clone)]
pub struct Loaded {
    pool: Engine,
    proto: Arc<ModelProto>,
    inputs: Vec<String>,
    outputs: Vec<Output>,
}

#[derive(Clone)]
struct Output {
    name: String,
    /// The file declares a bool, which candle has as u8.
    is_bool: bool,
}

impl Backend for CandleOnnx {
    const NAME: &'static str = "candle-onnx";
    const FORMATS: &'static [Format] = &[Format::ONNX];

    type Engine = Engine;
    type Loaded = Loaded;
    type Prepared = Loaded;

    fn knobs() -> Vec<Knob> {
        crate::knobs()
    }

    fn start(knobs: &Knobs) -> Result<Engine> {
        // A pool of its own instead of rayon's global one, of which a process has but one.
        let pool = ThreadPoolBuilder::new().num_threads(knobs.threads());
        Ok(Arc::new(pool.build().engine()?))
    }

    fn describe(_: &Engine) -> Result<EngineInfo> {
        let binding = concat!("candle-onnx ", env!("CANDLE_ONNX_VERSION"));
        Ok(EngineInfo::new(env!("CANDLE_CORE_VERSION"), binding))
    }

    fn load(pool: &Engine, model: &Model) -> Result<Loaded> {
        let proto = candle_onnx::read_file(&model.path).engine();
        let proto = proto
            .map_err(|error| error.context(format!("cannot load {}", model.path.display())))?;
        // As `simple_eval` says it, but before the first pass.
        let graph = proto.graph.as_ref();
        let graph = graph.ok_or_else(|| Error::engine("no graph defined in proto"))?;
        Ok(Loaded {
            pool: pool.clone(),
            inputs: model.inputs.iter().map(|spec| spec.name.clone()).collect(),
            outputs: outputs(graph, model)?,
            proto: Arc::new(proto),
        })
    }

    /// Nothing: `simple_eval` goes through the nodes of the file in every pass.
    fn prepare(loaded: &Loaded, _: &[Vec<usize>]) -> Result<Loaded> {
        Ok(loaded.clone())
    }

    fn pass(loaded: &mut Loaded, inputs: &[Tensor]) -> Result<Tensors> {
        loaded.pass(inputs)
    }
}

impl Loaded {
    fn pass(&self, inputs: &[Tensor]) -> Result<Tensors> {
        let named = self.inputs.iter().zip(inputs);
        let inputs = named
            .map(|(name, input)| Ok((name.clone(), own(input)?)))
            .collect::<Result<HashMap<_, _>>>()?;
        let found = self.pool.install(|| simple_eval(&self.proto, inputs));
        let found = found.map_err(candle_error)?;
        let outputs = self.outputs.iter().map(|output| {
            let value = found.get(&output.name).ok_or_else(|| {
                Error::engine(format!("simple_eval returned no {:?}", output.name))
            })?;
            copy(value, output.is_bool)
        });
        outputs.collect()
    }
}

/// What candle says, without the backtrace that it adds where `RUST_BACKTRACE` is set.
fn candle_error(error: candle_core::Error) -> Error {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => candle_error(*inner),
        error => Error::caused_by(&error),
    }
}

fn outputs(graph: &GraphProto, model: &Model) -> Result<Vec<Output>> {
    let output = |declared: &ValueInfoProto| Output {
        name: declared.name.clone(),
        is_bool: elements(declared) == Some(DataType::Bool as i32),
    };
    // Without declared outputs they are those of the file.
    if model.outputs.is_empty() {
        return Ok(graph.output.iter().map(output).collect());
    }
    let named = model.outputs.iter().map(|spec| {
        let declared = graph.output.iter().find(|o| o.name == spec.name);
        declared
            .map(output)
            .ok_or_else(|| Error::input(format!("the model file has no output {:?}", spec.name)))
    });
    named.collect()
}

fn elements(value: &ValueInfoProto) -> Option<i32> {
    match value.r#type.as_ref()? {
        TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..
        } => Some(tensor.elem_type),
        _ => None,
    }
}

/// A copy: a tensor of candle owns its values.
fn own(input: &Tensor) -> Result<candle_core::Tensor> {
    fn of<T: WithDType>(shape: &[usize], values: &[T]) -> Result<candle_core::Tensor> {
        candle_core::Tensor::from_slice(values, shape, &Device::Cpu).engine()
    }
    let shape = input.shape();
    match input.data() {
        Data::F32(values) => of(shape, values),
        Data::F64(values) => of(shape, values),
        Data::F16(values) => of(shape, values),
        Data::BF16(values) => of(shape, values),
        Data::I64(values) => of(shape, values),
        Data::I32(values) => of(shape, values),
        Data::I16(values) => of(shape, values),
        Data::U32(values) => of(shape, values),
        Data::U8(values) => of(shape, values),
        // As candle-onnx takes it.
        Data::Bool(values) => {
            let bytes: Vec<u8> = values.iter().map(|&value| value.into()).collect();
            of(shape, &bytes)
        }
        _ => Err(Error::unsupported(format!(
            "candle has no type {}",
            input.dtype().key()
        ))),
    }
}

fn copy(value: &candle_core::Tensor, is_bool: bool) -> Result<Tensor> {
    fn of<T: WithDType>(value: &candle_core::Tensor) -> Result<Vec<T>> {
        value.flatten_all().and_then(|flat| flat.to_vec1()).engine()
    }
    let data: Data = match value.dtype() {
        DType::F32 => of::<f32>(value)?.into(),
        DType::F64 => of::<f64>(value)?.into(),
        DType::F16 => of::<firstpass_probe::f16>(value)?.into(),
        DType::BF16 => of::<firstpass_probe::bf16>(value)?.into(),
        DType::I64 => of::<i64>(value)?.into(),
        DType::I32 => of::<i32>(value)?.into(),
        DType::I16 => of::<i16>(value)?.into(),
        DType::U32 => of::<u32>(value)?.into(),
        DType::U8 if is_bool => {
            let truths = of::<u8>(value)?.into_iter().map(|byte| byte != 0);
            truths.collect::<Vec<bool>>().into()
        }
        DType::U8 => of::<u8>(value)?.into(),
        other => {
            return Err(Error::unsupported(format!(
                "an output is of type {other:?}"
            )));
        }
    };
    Tensor::new(value.dims(), data)
}
