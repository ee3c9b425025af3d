//! Tensors as rten takes and returns them: of f32, i32, i8 or u8. What is of another type in ONNX is converted
//! as rten's documentation asks its users to: i64 and bool to i32, f16 and f64 to f32.

use firstpass_probe::{Data, Dtype, EngineResult, Error, Result, Tensor, f16};
use rten::{Value, ValueOrView, ValueView};
use rten_tensor::prelude::*;

/// An input where it lies, or a copy where its type has to be another one.
pub(crate) fn lend(input: &Tensor) -> Result<ValueOrView<'_>> {
    let shape = input.shape();
    macro_rules! view {
        ($values:expr) => {
            ValueView::from_shape(shape, $values.as_slice())
                .engine()?
                .into()
        };
    }
    macro_rules! copy {
        ($values:expr) => {
            Value::from_shape(shape, $values).engine()?.into()
        };
    }
    Ok(match input.data() {
        Data::F32(values) => view!(values),
        Data::I32(values) => view!(values),
        Data::I8(values) => view!(values),
        Data::U8(values) => view!(values),
        Data::F16(values) => copy!(values.iter().map(|v| v.to_f32()).collect::<Vec<f32>>()),
        Data::F64(values) => copy!(values.iter().map(|&v| v as f32).collect::<Vec<f32>>()),
        Data::I64(values) => copy!(narrowed(values)?),
        Data::Bool(values) => copy!(values.iter().map(|&v| i32::from(v)).collect::<Vec<i32>>()),
        _ => {
            return Err(Error::unsupported(format!(
                "rten has no type {:?}",
                input.dtype()
            )));
        }
    })
}

fn narrowed(values: &[i64]) -> Result<Vec<i32>> {
    let narrow = |&value: &i64| {
        i32::try_from(value).map_err(|_| {
            Error::unsupported(format!(
                "an input holds {value}; rten keeps i64 in 32 bits, where this has no room"
            ))
        })
    };
    values.iter().map(narrow).collect()
}

/// An output, in the type that the file declares where rten has another one in its place.
pub(crate) fn take(value: Value, declared: Option<Dtype>) -> Result<Tensor> {
    match value {
        Value::FloatTensor(tensor) => {
            let (shape, values) = parts(tensor);
            let data: Data = match declared {
                Some(Dtype::F16) => {
                    let halves = values.into_iter().map(f16::from_f32);
                    halves.collect::<Vec<f16>>().into()
                }
                Some(Dtype::F64) => {
                    let doubles = values.into_iter().map(f64::from);
                    doubles.collect::<Vec<f64>>().into()
                }
                _ => values.into(),
            };
            Tensor::new(&shape, data)
        }
        Value::Int32Tensor(tensor) => {
            let (shape, values) = parts(tensor);
            let data: Data = match declared {
                Some(Dtype::I64) => {
                    let wide = values.into_iter().map(i64::from);
                    wide.collect::<Vec<i64>>().into()
                }
                Some(Dtype::Bool) => {
                    let truths = values.into_iter().map(|v| v != 0);
                    truths.collect::<Vec<bool>>().into()
                }
                _ => values.into(),
            };
            Tensor::new(&shape, data)
        }
        Value::Int8Tensor(tensor) => {
            let (shape, values) = parts(tensor);
            Tensor::new(&shape, values)
        }
        Value::UInt8Tensor(tensor) => {
            let (shape, values) = parts(tensor);
            Tensor::new(&shape, values)
        }
        _ => Err(Error::unsupported("an output is a sequence, and no tensor")),
    }
}

fn parts<T: Clone>(tensor: rten_tensor::Tensor<T>) -> (Vec<usize>, Vec<T>) {
    let shape = tensor.shape().to_vec();
    (shape, tensor.into_data())
}
