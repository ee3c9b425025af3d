//! Finds the integer operators that a QDQ graph means.
//!
//! The file writes them as float operators between DequantizeLinear and QuantizeLinear. An operator on
//! dequantized values stays *pending*, and the QuantizeLinear behind it, perhaps after Relu or Clip,
//! makes it a step on integers. Whatever else reads it has it on floats, as the file writes it.

use std::sync::Arc;

use firstpass_onnx::{Constant, Values, data_type};
use firstpass_probe::Result;

use super::{
    Value,
    known::{Known, Pending, PendingOperator},
    quantized::{GivenBias, activations, conv, linear, with_bias},
    quantized_constants::{DequantizedConstant, Grid},
    walk::{Walk, fold, parse},
};
use crate::{
    graph::{Bounds, Node, Quantization},
    ops::{
        AddOfQuantized, Clamp, ConvOfQuantized, Moving, Operation, Pool, ProductOfQuantized,
        TableOfQuantized, ToQuantized, is_moving,
    },
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
            pending(node, 0, operator)
        }))
    }

    /// Where an operator only moves dequantized values it may do so with integers.
    pub(super) fn moving_or_written(&mut self, node: Node<'a>, index: usize) -> Result<Known<'a>> {
        if is_moving(&node) {
            let mut quantization = None;
            let mut inputs = Vec::with_capacity(node.input.len());
            let mut fits = true;
            for (position, name) in node.proto.input.iter().enumerate() {
                match self.optional_input(&node, position)? {
                    Some(Known::Dequantized(value, of)) => {
                        fits &= *quantization.get_or_insert(of) == of;
                        inputs.push(Some(value));
                    }
                    Some(known @ Known::Constant(_))
                        if position > 0 && node.op_type != "Concat" =>
                    {
                        inputs.push(Some(self.plain(&known, name, &node.label())?));
                    }
                    None => inputs.push(None),
                    Some(_) => fits = false,
                }
            }
            if let (true, Some(quantization)) = (fits, quantization) {
                let operator = PendingOperator::Moving(inputs, quantization);
                return Ok(pending(node, index, operator));
            }
        }
        self.written(node, index)
    }

    pub(super) fn quantize(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let input = self.input(&node, 0)?;
        let [scale, zero] = [1, 2].map(|position| self.optional_constant(&node, position));
        let (scale, zero) = (scale?, zero?);
        let is_signed = match node.int("output_dtype")?.map(i32::try_from) {
            None | Some(Ok(0 | data_type::UINT8)) => false,
            Some(Ok(data_type::INT8)) => true,
            _ => return Err(node.unsupported("it quantizes to neither u8 nor i8")),
        };
        if let Known::Constant(constant) = &input {
            let scale = scale.ok_or_else(|| node.malformed("it has no scale"))?;
            let is_signed = match zero.as_deref().map(|zero| &zero.values) {
                None => is_signed,
                Some(Values::I8(_)) => true,
                Some(Values::U8(_)) => false,
                _ => return Err(node.unsupported("it quantizes to neither u8 nor i8")),
            };
            let grid = Grid::read(&node, &scale, zero.as_deref())?;
            let constant = grid
                .quantize(constant, is_signed)
                .map_err(|e| e.context(node.label()))?;
            return Ok(Known::Constant(Arc::new(constant)));
        }
        let (output, is_signed) = activations(&node, scale.as_deref(), zero.as_deref(), is_signed)?;
        let integers = match &input {
            Known::Pending(pending) => self.on_integers(pending, output)?,
            // To the grid that it is on already: nothing changes.
            Known::Dequantized(value, of) if is_same(*of, output) => Some(*value),
            _ => None,
        };
        let value = match integers {
            Some(value) => value,
            None => {
                let value = self.plain(&input, &node.proto.input[0], &node.label())?;
                let operation = Box::new(ToQuantized(output));
                self.step(node.label(), operation, vec![Some(value)])
            }
        };
        Ok(Known::Quantized { value, is_signed })
    }

    /// The step on integers of a pending operator; `None` where it has none for this output.
    fn on_integers(
        &mut self,
        pending: &Pending<'a>,
        output: Quantization,
    ) -> Result<Option<Value>> {
        let (bounds, node) = (pending.bounds, &pending.node);
        let (operation, inputs): (Box<dyn Operation>, _) = match &pending.operator {
            PendingOperator::Conv(input, conv, geometry) => {
                let operation = ConvOfQuantized {
                    conv: conv.clone()?,
                    geometry: *geometry,
                    bounds,
                    output,
                };
                (Box::new(operation), vec![Some(*input)])
            }
            PendingOperator::Product {
                input,
                conv,
                is_gemm,
                ..
            } => {
                let operation = ProductOfQuantized {
                    conv: Arc::clone(conv),
                    bounds,
                    output,
                    is_gemm: *is_gemm,
                };
                (Box::new(operation), vec![Some(*input)])
            }
            PendingOperator::Add(inputs) => {
                let operation = AddOfQuantized {
                    inputs: inputs.map(|(_, quantization)| quantization),
                    bounds,
                    output,
                };
                let inputs = inputs.iter().map(|&(value, _)| Some(value));
                (Box::new(operation), inputs.collect())
            }
            PendingOperator::Function(input, _, numbers) => {
                let Values::F32(numbers) = &numbers.values else {
                    return Ok(None);
                };
                let operation = TableOfQuantized::new(numbers, bounds, output);
                (Box::new(operation), vec![Some(*input)])
            }
            PendingOperator::MaxPool(input, of, pool) if is_same(*of, output) => {
                (Box::new(pool.on_integers()), vec![Some(*input)])
            }
            PendingOperator::Moving(inputs, of) if is_same(*of, output) => (
                Box::new(Moving(parse(node, pending.index)?)),
                inputs.clone(),
            ),
            PendingOperator::MaxPool(..) | PendingOperator::Moving(..) => return Ok(None),
        };
        Ok(Some(self.step(node.label(), operation, inputs)))
    }

    pub(super) fn dequantize(&mut self, node: &Node<'a>) -> Result<Known<'a>> {
        let [scale, zero] = [1, 2].map(|position| self.optional_constant(node, position));
        let (scale, zero) = (scale?, zero?);
        match self.input(node, 0)? {
            Known::Quantized { value, is_signed } => {
                let (quantization, says_signed) =
                    activations(node, scale.as_deref(), zero.as_deref(), is_signed)?;
                if says_signed != is_signed {
                    return Err(node.malformed("its zero point is of another type than its input"));
                }
                Ok(Known::Dequantized(value, quantization))
            }
            Known::Constant(constant) => {
                let scale = scale.ok_or_else(|| node.malformed("it has no scale"))?;
                let grid = Grid::read(node, &scale, zero.as_deref())?;
                Ok(Known::DequantizedConstant(Arc::new(DequantizedConstant {
                    constant,
                    grid,
                })))
            }
            _ => Err(node.unsupported("its input is not quantized")),
        }
    }

    pub(super) fn conv(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let (input, weights) = (self.input(&node, 0)?, self.input(&node, 1)?);
        if let (Known::Dequantized(input, of), Known::DequantizedConstant(weights)) =
            (&input, &weights)
            && weights.is_of_bytes()
        {
            let bias = self.optional_input(&node, 2)?;
            let conv = conv(&node, *of, weights, &given_bias(bias.as_ref()));
            let operator = PendingOperator::Conv(*input, conv.map(Arc::new), node.geometry()?);
            return Ok(pending(node, 0, operator));
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
                return Ok(pending(node, 0, operator));
            }
        }
        self.written(node, 0)
    }

    pub(super) fn add(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        match (self.input(&node, 0)?, self.input(&node, 1)?) {
            (Known::Dequantized(a, qa), Known::Dequantized(b, qb)) => {
                let operator = PendingOperator::Add([(a, qa), (b, qb)]);
                Ok(pending(node, 0, operator))
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
                    return Ok(pending(node, 0, operator));
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
        match self.input(&node, 0)? {
            Known::Dequantized(value, of) => {
                let operator = PendingOperator::MaxPool(value, of, Pool::read(&node)?);
                Ok(pending(node, 0, operator))
            }
            _ => self.written(node, 0),
        }
    }

    pub(super) fn clip(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        // Until operator set 10 the bounds were attributes.
        let bound = |position: usize, attribute: &str, none: f32| -> Result<f32> {
            let bound = match self.optional_constant(&node, position)? {
                None => node.float(attribute).unwrap_or(none),
                Some(constant) => match &constant.values {
                    Values::F32(values) if values.len() == 1 => values[0],
                    _ => return Err(node.unsupported("its bounds must be single f32")),
                },
            };
            Ok(bound)
        };
        let low = bound(1, "min", f32::NEG_INFINITY)?;
        let high = bound(2, "max", f32::INFINITY)?;
        if low.is_nan() || high.is_nan() {
            return Err(node.malformed("it clips to what is no number"));
        }
        // Where the bounds are in the wrong order the upper one counts.
        let low = low.min(high);
        self.clamp(node, Bounds { low, high })
    }

    /// Relu and Clip: part of the operator before them where they alone read it.
    pub(super) fn clamp(&mut self, node: Node<'a>, next: Bounds) -> Result<Known<'a>> {
        let input = self.input(&node, 0)?;
        let name = node.proto.input[0].as_str();
        match &input {
            Known::Pending(pending) if pending.operator.has_bounds() => {
                let mut pending = Pending::clone(pending);
                pending.bounds = pending.bounds.then(next);
                Ok(Known::Pending(Arc::new(pending)))
            }
            Known::Plain(value)
                if self.reads.get(self.root(name)) == Some(&1)
                    && self.made_by[*value]
                        .and_then(|step| self.steps.get_mut(step))
                        .is_some_and(|step| step.operation.absorb(next)) =>
            {
                Ok(input)
            }
            _ => {
                let value = self.plain(&input, name, &node.label())?;
                let operation = Box::new(Clamp(next));
                Ok(Known::Plain(self.step(
                    node.label(),
                    operation,
                    vec![Some(value)],
                )))
            }
        }
    }
}

fn pending(node: Node<'_>, index: usize, operator: PendingOperator) -> Known<'_> {
    Known::Pending(Arc::new(Pending {
        node,
        index,
        operator,
        bounds: Bounds::NONE,
    }))
}

/// The real numbers that the 256 integers stand for.
fn numbers(of: Quantization) -> Constant {
    let real = |integer: u8| (f32::from(integer) - f32::from(of.zero)) * of.scale;
    Constant {
        dims: vec![256],
        values: Values::F32((0..=u8::MAX).map(real).collect()),
    }
}

/// Whether quantizing to the one what was dequantized from the other changes nothing: the scale must be
/// far from where products leave the normal numbers.
fn is_same(a: Quantization, b: Quantization) -> bool {
    a == b && (1e-30..1e30).contains(&a.scale)
}

fn given_bias<'k>(known: Option<&'k Known<'_>>) -> GivenBias<'k> {
    match known {
        None => GivenBias::None,
        Some(Known::Constant(bias)) => GivenBias::Float(bias),
        Some(Known::DequantizedConstant(bias)) => GivenBias::Quantized(bias),
        Some(_) => GivenBias::Unknown,
    }
}
