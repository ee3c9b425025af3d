//! Tensors as bytes of OpenVINO's.

use bytemuck::{AnyBitPattern, NoUninit, pod_collect_to_vec};
use firstpass_probe::{Data, Dtype, EngineResult, Error, Result, Tensor, bf16, f16};
use openvino::{ElementType, InferenceError, InferenceErrorKind, Shape};

/// That an input is of the type that the model takes.
pub(crate) fn check_type(name: &str, input: &Tensor, takes: ElementType) -> Result<()> {
    if of(input.dtype()) == takes {
        return Ok(());
    }
    Err(Error::input(format!(
        "the model file takes {name:?} as {takes}, not as {}",
        input.dtype().key()
    )))
}

pub(crate) fn of(dtype: Dtype) -> ElementType {
    match dtype {
        Dtype::F32 => ElementType::F32,
        Dtype::F64 => ElementType::F64,
        Dtype::F16 => ElementType::F16,
        Dtype::BF16 => ElementType::Bf16,
        Dtype::I64 => ElementType::I64,
        Dtype::I32 => ElementType::I32,
        Dtype::I16 => ElementType::I16,
        Dtype::I8 => ElementType::I8,
        Dtype::U64 => ElementType::U64,
        Dtype::U32 => ElementType::U32,
        Dtype::U16 => ElementType::U16,
        Dtype::U8 => ElementType::U8,
        Dtype::Bool => ElementType::Boolean,
    }
}

/// Copies an input to where the request has it: the crate lends OpenVINO no memory of others.
pub(crate) fn write(name: &str, input: &Tensor, to: &mut [u8]) -> Result<()> {
    let bytes = input.data().bytes();
    if bytes.len() != to.len() {
        return Err(Error::input(format!(
            "{name:?} has {} bytes, and the compiled model takes {}",
            bytes.len(),
            to.len()
        )));
    }
    to.copy_from_slice(bytes);
    Ok(())
}

/// The sizes of a shape. The C API has no way to say that there are none: it then fails.
pub(crate) fn sizes(shape: std::result::Result<Shape, InferenceError>) -> Result<Vec<i64>> {
    match shape {
        Err(error) if error.kind == InferenceErrorKind::InvalidCParam => Ok(Vec::new()),
        shape => Ok(shape.engine()?.get_dimensions().to_vec()),
    }
}

/// A copy of an output.
pub(crate) fn read(of: ElementType, shape: &[i64], bytes: &[u8]) -> Result<Tensor> {
    fn values<T: AnyBitPattern + NoUninit>(bytes: &[u8]) -> Vec<T> {
        pod_collect_to_vec(bytes)
    }
    let data: Data = match of {
        ElementType::F32 => values::<f32>(bytes).into(),
        ElementType::F64 => values::<f64>(bytes).into(),
        ElementType::F16 => {
            let halves = values::<u16>(bytes).into_iter().map(f16::from_bits);
            halves.collect::<Vec<f16>>().into()
        }
        ElementType::Bf16 => {
            let halves = values::<u16>(bytes).into_iter().map(bf16::from_bits);
            halves.collect::<Vec<bf16>>().into()
        }
        ElementType::I64 => values::<i64>(bytes).into(),
        ElementType::I32 => values::<i32>(bytes).into(),
        ElementType::I16 => values::<i16>(bytes).into(),
        ElementType::I8 => values::<i8>(bytes).into(),
        ElementType::U64 => values::<u64>(bytes).into(),
        ElementType::U32 => values::<u32>(bytes).into(),
        ElementType::U16 => values::<u16>(bytes).into(),
        ElementType::U8 => bytes.to_vec().into(),
        ElementType::Boolean => {
            let truths = bytes.iter().map(|&byte| byte != 0);
            truths.collect::<Vec<bool>>().into()
        }
        other => return Err(Error::unsupported(format!("values of type {other}"))),
    };
    let shape = shape
        .iter()
        .map(|&n| Ok(usize::try_from(n)?))
        .collect::<Result<Vec<_>>>()?;
    Tensor::new(&shape, data)
}
