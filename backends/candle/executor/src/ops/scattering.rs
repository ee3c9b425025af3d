//! Values written to places that indices name: ScatterElements and ScatterND.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{Written, check_length, map, read},
    binary::{Function, Number},
    gathering::{Found, Places},
    operation::{Compiled, Inputs, Operation, Writing, expect_type},
};
use crate::graph::{Narrow, Node};

/// ScatterElements, which was called Scatter, and ScatterND.
#[derive(Debug)]
pub struct Scatter {
    places: Places,
    /// What is done with a value that is there; without one it is replaced.
    reduction: Option<Function>,
}

impl Scatter {
    /// # Errors
    /// Fails where attributes are not as they must be.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let places = match node.op_type.as_str() {
            "ScatterND" => Places::Tuples { batch: 0 },
            _ => Places::Elements {
                axis: node.int("axis")?.unwrap_or(0),
            },
        };
        let reduction = match node.text("reduction").unwrap_or(b"none") {
            b"none" => None,
            b"add" => Some(Function::Add),
            b"mul" => Some(Function::Mul),
            b"min" => Some(Function::Min),
            b"max" => Some(Function::Max),
            _ => return Err(node.malformed("its reduction is unknown")),
        };
        Ok(Box::new(Self { places, reduction }))
    }
}

impl Operation for Scatter {
    fn is_parameter(&self, position: usize) -> bool {
        position == 1
    }

    fn may_vary(&self, _: usize) -> bool {
        true
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let [data, indices, updates] = [inputs.get(0)?, inputs.get(1)?, inputs.get(2)?];
        expect_type(updates.dtype, data.dtype)?;
        let integers = inputs.integers(1)?;
        let found = self.places.find(&data.dims, &indices.dims, &integers)?;
        if updates.dims != found.dims {
            return Err(Error::engine(format!(
                "updates of shape {:?}, where {:?} belong",
                updates.dims, found.dims
            )));
        }
        let writes = Writes {
            found,
            reduction: self.reduction,
            narrow: data
                .narrow
                .or((data.dtype == DType::I16).then_some(Narrow::I8)),
        };
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let [data, updates] = inputs else {
                candle_core::bail!("{} operands", inputs.len());
            };
            match out.dtype() {
                DType::F32 => writes.run::<f32>(data, updates, out),
                DType::F64 => writes.run::<f64>(data, updates, out),
                DType::I64 => writes.run::<i64>(data, updates, out),
                DType::I32 => writes.run::<i32>(data, updates, out),
                DType::I16 => writes.run::<i16>(data, updates, out),
                DType::U8 => writes.run::<u8>(data, updates, out),
                other => candle_core::bail!("values of type {other:?}"),
            }
        };
        let name = "scatter";
        let operator = Writing { name, run };
        Ok(Compiled::written(operator, &data.dims, data.dtype))
    }
}

struct Writes {
    found: Found,
    reduction: Option<Function>,
    /// The type of the integers, where a wider one holds them.
    narrow: Option<Narrow>,
}

impl Writes {
    fn run<T: Written + Number>(
        &self,
        data: &Tensor,
        updates: &Tensor,
        out: &Tensor,
    ) -> CandleResult<()> {
        let Found { blocks, block, .. } = &self.found;
        read(updates, |updates: &[T]| {
            check_length("what is written", updates.len(), blocks.len() * block)?;
            map(data, out, |data: &[T], out: &mut [T]| {
                out.copy_from_slice(data);
                for (number, &at) in blocks.iter().enumerate() {
                    let out = &mut out[at as usize * block..][..*block];
                    let values = &updates[number * block..][..*block];
                    match self.reduction {
                        None => out.copy_from_slice(values),
                        Some(function) => self.reduce(T::of(function), values, out)?,
                    }
                }
                Ok(())
            })
        })
    }

    fn reduce<T: Written + Number>(
        &self,
        function: fn(T, T) -> Option<T>,
        values: &[T],
        out: &mut [T],
    ) -> CandleResult<()> {
        for (out, &value) in out.iter_mut().zip(values) {
            let result = function(*out, value);
            let result = result.filter(|result| self.narrow.is_none_or(|of| result.is_of(of)));
            match result {
                Some(result) => *out = result,
                None => candle_core::bail!("a result does not fit the type of the values"),
            }
        }
        Ok(())
    }
}
