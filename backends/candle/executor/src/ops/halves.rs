//! f16 and bf16: an operator computes them in f32, and its result is rounded to their type once.
//!
//! Every f16 and bf16 is an f32. So what moves values, compares them or chooses among them is exact, and what
//! computes is as near as f32 brings it before it is rounded. Between two operators values are of the type that the
//! file gives them.

use std::sync::OnceLock;

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use firstpass_onnx::{EngineResult, Result};

use super::operation::{Compiled, ConvKind, Fact, Inputs, Operation, Operator, Storage};

pub fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// The type of the first input of floats, where one of them is f16 or bf16.
pub fn first_floats(inputs: &Inputs<'_>) -> Option<DType> {
    let facts = inputs.facts.iter().copied().flatten();
    let mut floats = facts.map(|fact| fact.dtype).filter(DType::is_float);
    let first = floats.next()?;
    (is_half(first) || floats.any(is_half)).then_some(first)
}

/// The operator of `operation` for the same values in f32; its output, where it is f32, is of the type that
/// belongs to `first`.
pub fn compile(operation: &dyn Operation, inputs: &Inputs<'_>, first: DType) -> Result<Compiled> {
    let mut facts = Vec::with_capacity(inputs.facts.len());
    for fact in inputs.facts {
        facts.push(fact.map(in_f32).transpose()?);
    }
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let compiled = operation.compile(&Inputs {
        facts: &facts,
        isa: inputs.isa,
    })?;
    let rounds_to = match (compiled.dtype, operation.floats_of_output(first)) {
        (DType::F32, of) if is_half(of) => Some(of),
        _ => None,
    };
    let Compiled {
        operator,
        dims,
        dtype,
        storage,
    } = compiled;
    let (dtype, at) = match rounds_to {
        Some(of) => (of, Storage::Allocated),
        None => (dtype, storage.clone()),
    };
    let operator = Rounded {
        operator,
        rounds_to,
        storage,
        buffer: OnceLock::new(),
    };
    Ok(Compiled::new(operator, &dims, dtype, at))
}

fn in_f32(fact: &Fact) -> Result<Fact> {
    if !is_half(fact.dtype) {
        return Ok(fact.clone());
    }
    let constant = fact.constant.as_ref();
    let constant = constant.map(|constant| constant.to_dtype(DType::F32));
    Ok(Fact {
        dtype: DType::F32,
        constant: constant.transpose().engine()?,
        ..fact.clone()
    })
}

/// An operator on f32, for values of which some are halves.
struct Rounded {
    operator: Box<dyn Operator>,
    /// The type of the output, where it is not that of the operator.
    rounds_to: Option<DType>,
    /// Where the output of the operator lies.
    storage: Storage,
    /// That of the operator, where its output is rounded.
    buffer: OnceLock<Tensor>,
}

impl Operator for Rounded {
    fn name(&self) -> &'static str {
        self.operator.name()
    }

    fn kind(&self) -> Option<ConvKind> {
        self.operator.kind()
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let in_f32 = |tensor: &&Tensor| match is_half(tensor.dtype()) {
            true => tensor.to_dtype(DType::F32),
            false => Ok((*tensor).clone()),
        };
        let inputs: Vec<Tensor> = inputs.iter().map(in_f32).collect::<CandleResult<_>>()?;
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let Some(of) = self.rounds_to else {
            return self.operator.run(&inputs, out);
        };
        let result = match (&self.storage, self.buffer.get()) {
            (Storage::Buffer(_), Some(buffer)) => self.operator.run(&inputs, Some(buffer)),
            (Storage::Buffer(dims), None) => {
                let buffer = Tensor::zeros(&dims[..], DType::F32, &Device::Cpu)?;
                self.operator
                    .run(&inputs, Some(self.buffer.get_or_init(|| buffer)))
            }
            (Storage::View | Storage::Allocated, _) => self.operator.run(&inputs, None),
        };
        result?.to_dtype(of)
    }
}
