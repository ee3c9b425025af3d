//! Parameters that are known only in a pass.

use std::{fmt::Debug, sync::Arc};

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use firstpass_onnx::{EngineResult, Result};

use super::{
    operation::{Compiled, ConvKind, Fact, Inputs, Operation, Operator},
    permuted::contiguous,
    quantized_otherwise::of_candle,
};
use crate::{graph::Narrow, kernels::Isa};

/// An operation some of whose parameters are computed from the inputs of the model, such as the indices of
/// Gather: it is made anew in every pass. Only for parameters on which no shape depends.
#[derive(Debug)]
pub struct AtRunTime {
    operation: Arc<dyn Operation>,
    /// The positions of these parameters.
    varying: Vec<usize>,
}

impl AtRunTime {
    /// # Errors
    /// As [`Operation::compile`].
    pub fn new(operation: Box<dyn Operation>, varying: Vec<usize>) -> Self {
        Self {
            operation: operation.into(),
            varying,
        }
    }
}

impl Operation for AtRunTime {
    fn is_parameter(&self, position: usize) -> bool {
        self.operation.is_parameter(position) && !self.varying.contains(&position)
    }

    fn takes_halves(&self) -> bool {
        self.operation.takes_halves()
    }

    fn floats_of_output(&self, first: DType) -> DType {
        self.operation.floats_of_output(first)
    }

    fn narrow(&self, inputs: &Inputs<'_>, dtype: DType) -> Option<Narrow> {
        self.operation.narrow(inputs, dtype)
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        // The shape and the type of the output are the same for all values.
        let mut facts: Vec<Option<Fact>> = inputs.facts.iter().map(|fact| fact.cloned()).collect();
        for &position in &self.varying {
            if let Some(Some(fact)) = facts.get_mut(position)
                && fact.constant.is_none()
            {
                let zeros = Tensor::zeros(&fact.dims[..], fact.dtype, &Device::Cpu);
                fact.constant = Some(zeros.engine()?);
            }
        }
        let compiled = compile(self.operation.as_ref(), &facts, inputs.isa)?;
        let operator = Rebuilt {
            name: compiled.operator.name(),
            kind: compiled.operator.kind(),
            operation: Arc::clone(&self.operation),
            read: (0..facts.len())
                .filter(|&position| facts[position].is_some() && !self.is_parameter(position))
                .collect(),
            varying: self.varying.clone(),
            facts,
            isa: inputs.isa,
        };
        Ok(Compiled::allocated(
            operator,
            &compiled.dims,
            compiled.dtype,
        ))
    }
}

fn compile(operation: &dyn Operation, facts: &[Option<Fact>], isa: Isa) -> Result<Compiled> {
    let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    operation.compile(&Inputs { facts: &facts, isa })
}

struct Rebuilt {
    name: &'static str,
    kind: Option<ConvKind>,
    operation: Arc<dyn Operation>,
    facts: Vec<Option<Fact>>,
    /// The positions of the inputs that are read in a pass.
    read: Vec<usize>,
    varying: Vec<usize>,
    isa: Isa,
}

impl Operator for Rebuilt {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Option<ConvKind> {
        self.kind
    }

    fn run(&self, inputs: &[&Tensor], _: Option<&Tensor>) -> CandleResult<Tensor> {
        let mut facts = self.facts.clone();
        let mut values = Vec::with_capacity(inputs.len());
        for (&position, &tensor) in self.read.iter().zip(inputs) {
            if self.varying.contains(&position) {
                let tensor = contiguous(tensor)?;
                let known = facts[position].as_ref();
                facts[position] = known.map(|fact| fact.with_value(tensor.clone()));
            } else {
                values.push(tensor);
            }
        }
        let run = || compile(self.operation.as_ref(), &facts, self.isa)?.once(&values);
        run().map_err(of_candle)
    }
}
