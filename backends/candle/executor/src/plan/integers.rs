//! Finds the integer operators that a QDQ graph means.
//!
//! The file writes them as float operators between DequantizeLinear and QuantizeLinear. An operator on
//! dequantized values stays *pending*, and the QuantizeLinear behind it, perhaps after Relu or Clip,
//! makes it a step on integers. Whatever else reads it has it on floats, as the file writes it.

use std::sync::Arc;

use firstpass_onnx::Result;

use super::{
    Value,
    known::{Known, PendingOperator, pending_at},
    quantized::{GivenBias, conv, linear, with_bias},
    quantizing::numbers,
    walk::{Walk, fold, parse},
};
use crate::{
    graph::{Bounds, Node, Quantization, Target},
    ops::{MaxOfQuantized, Pool},
};

impl<'a> Walk<'a> {
    /// An operator on one dequantized value, and perhaps constants, as a function of 256 integers.
    fn function(&self, node: Node<'a>) -> Result<Option<Known<'a>>> {
        let mut source = None;
        let mut inputs = Vec::with_capacity(node.input.len());
        for position in 0..node.input.len() {
            let known = self.input(&node, position)?;
            let (from, numbers) = match &known {
                Known::Dequantized(value, of) => ((*value, *of), Arc::new(numbers(*of))),
                Known::Pending(pending) => match &pending.operator {
                    PendingOperator::Function(value, of, numbers)
                        if pending.bounds == Bounds::NONE =>
                    {
                        ((*value, *of), Arc::clone(numbers))
                    }
                    _ => return Ok(None),
                },
                Known::Constant(constant) if constant.dims.is_empty() => {
                    inputs.push(Some(known));
                    continue;
                }
                _ => return Ok(None),
            };
            if *source.get_or_insert(from) != from {
                return Ok(None);
            }
            inputs.push(Some(Known::Constant(numbers)));
        }
        let Some((value, of)) = source else {
            return Ok(None);
        };
        // What cannot be computed from these has its error where it is computed as written.
        let numbers = fold(&node, parse(&node, 0)?.as_ref(), &inputs);
        Ok(numbers.ok().flatten().map(|numbers| {
            let operator = PendingOperator::Function(value, of, Arc::new(numbers));
            pending_at(node, 0, operator)
        }))
    }

    /// An input: what only moves values and is still pending is done, where the integers can be moved.
    pub(super) fn settled(
        &mut self,
        node: &Node<'a>,
        position: usize,
    ) -> Result<Option<Known<'a>>> {
        let known = self.optional_input(node, position)?;
        let Some(Known::Pending(pending)) = &known else {
            return Ok(known);
        };
        let of = match &pending.operator {
            PendingOperator::Moving(_, of) | PendingOperator::MaxPool(_, of, _) => *of,
            _ => return Ok(known),
        };
        if pending.bounds != Bounds::NONE {
            return Ok(known);
        }
        let output = Target {
            quantization: of,
            arithmetic: self.arithmetic,
        };
        let Some(value) = self.on_integers(pending, output)? else {
            return Ok(known);
        };
        let known = Known::Dequantized(value, of);
        let name = node.proto.input[position].as_str();
        self.known.insert(name, known.clone());
        Ok(Some(known))
    }

    pub(super) fn conv(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let (input, weights) = (self.input(&node, 0)?, self.input(&node, 1)?);
        if let (Known::Dequantized(input, of), Known::DequantizedConstant(weights)) =
            (&input, &weights)
            && weights.is_of_bytes()
        {
            let bias = self.optional_input(&node, 2)?;
            let of_image = weights.constant.dims.len() <= 4;
            if let (Ok(conv), true) = (
                conv(&node, *of, weights, &given_bias(bias.as_ref())),
                of_image,
            ) {
                let operator = PendingOperator::Conv(*input, Arc::new(conv), node.geometry()?);
                return Ok(pending_at(node, 0, operator));
            }
        }
        self.written(node, 0)
    }

    /// Gemm and MatMul: on integers where they have such a form.
    pub(super) fn product(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let (input, weights) = (self.input(&node, 0)?, self.input(&node, 1)?);
        if let (Known::Dequantized(input, of), Known::DequantizedConstant(weights)) =
            (&input, &weights)
            && weights.is_of_bytes()
        {
            let bias = self.optional_input(&node, 2)?;
            if let Ok(conv) = linear(&node, *of, weights, &given_bias(bias.as_ref())) {
                let operator = PendingOperator::Product {
                    input: *input,
                    conv: Arc::new(conv),
                    is_gemm: node.op_type == "Gemm",
                    has_bias: bias.is_some(),
                };
                return Ok(pending_at(node, 0, operator));
            }
        }
        self.written(node, 0)
    }

    pub(super) fn add(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        match (self.input(&node, 0)?, self.input(&node, 1)?) {
            (Known::Dequantized(a, qa), Known::Dequantized(b, qb)) => {
                let operator = PendingOperator::Add([(a, qa), (b, qb)]);
                Ok(pending_at(node, 0, operator))
            }
            // The bias of a product.
            (Known::Pending(product), other) | (other, Known::Pending(product))
                if product.bounds == Bounds::NONE =>
            {
                if let PendingOperator::Product {
                    input,
                    conv,
                    is_gemm,
                    has_bias: false,
                } = &product.operator
                    && let Ok(conv) = with_bias(&node, conv, &given_bias(Some(&other)))
                {
                    let operator = PendingOperator::Product {
                        input: *input,
                        conv: Arc::new(conv),
                        is_gemm: *is_gemm,
                        has_bias: true,
                    };
                    return Ok(pending_at(node, 0, operator));
                }
                self.function_or_written(node)
            }
            _ => self.function_or_written(node),
        }
    }

    pub(super) fn function_or_written(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        match self.function(node)? {
            Some(function) => Ok(function),
            None => self.written(node, 0),
        }
    }

    pub(super) fn max_pool(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let input = self.input(&node, 0)?;
        if let Known::Plain(_) = &input
            && let Some((value, is_signed)) = self.held(&node, &input)
        {
            let operation = Box::new(MaxOfQuantized(Pool::read(&node)?));
            let value = self.step(node.label(), operation, vec![Some(value)]);
            return Ok(Known::Quantized { value, is_signed });
        }
        match input {
            Known::Dequantized(value, of) => match Pool::read(&node)? {
                pool if pool.axes() <= 2 => {
                    let operator = PendingOperator::MaxPool(value, of, pool);
                    Ok(pending_at(node, 0, operator))
                }
                _ => self.written(node, 0),
            },
            Known::Quantized { value, is_signed } => {
                let operation = Box::new(MaxOfQuantized(Pool::read(&node)?));
                let value = self.step(node.label(), operation, vec![Some(value)]);
                Ok(Known::Quantized { value, is_signed })
            }
            _ => self.written(node, 0),
        }
    }

    pub(super) fn average_pool(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        match self.settled(&node, 0)? {
            Some(Known::Dequantized(value, of)) => match Pool::read(&node)? {
                pool if pool.axes() == 2 => {
                    let operator = PendingOperator::AveragePool(value, of, pool);
                    Ok(pending_at(node, 0, operator))
                }
                _ => self.written(node, 0),
            },
            _ => self.written(node, 0),
        }
    }

    pub(super) fn mean(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        self.of_one_value(node, PendingOperator::Mean)
    }

    pub(super) fn pad(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        self.of_one_value(node, PendingOperator::Pad)
    }

    /// An operator whose inputs but the first are constants.
    fn of_one_value(
        &mut self,
        node: Node<'a>,
        operator: fn(Vec<Option<Value>>, Quantization) -> PendingOperator<'a>,
    ) -> Result<Known<'a>> {
        let Some(Known::Dequantized(value, of)) = self.settled(&node, 0)? else {
            return self.written(node, 0);
        };
        let mut inputs = vec![Some(value)];
        for (position, name) in node.proto.input.iter().enumerate().skip(1) {
            inputs.push(match self.optional_input(&node, position)? {
                Some(known @ Known::Constant(_)) => {
                    Some(self.plain(&known, name, &node.label())?)
                }
                None => None,
                Some(_) => return self.written(node, 0),
            });
        }
        Ok(pending_at(node, 0, operator(inputs, of)))
    }

    pub(super) fn multiply(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        if let Some(function) = self.function(node)? {
            return Ok(function);
        }
        match (self.settled(&node, 0)?, self.settled(&node, 1)?) {
            (Some(Known::Dequantized(a, qa)), Some(Known::Dequantized(b, qb))) => {
                let operator = PendingOperator::Multiply([(a, qa), (b, qb)]);
                Ok(pending_at(node, 0, operator))
            }
            _ => self.written(node, 0),
        }
    }
}

fn given_bias<'k>(known: Option<&'k Known<'_>>) -> GivenBias<'k> {
    match known {
        None => GivenBias::None,
        Some(Known::Constant(bias)) => GivenBias::Float(bias),
        Some(Known::DequantizedConstant(bias)) => GivenBias::Quantized(bias),
        Some(_) => GivenBias::Unknown,
    }
}
