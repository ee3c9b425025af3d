//! QuantizeLinear and DequantizeLinear: where a pending operator becomes a step on integers, and where values that are
//! integers already begin to stand for real numbers.

use std::sync::Arc;

use firstpass_onnx::{Constant, Result, Values, data_type};

use super::{
    Value,
    known::{Known, Pending, PendingOperator},
    lowering::ON_INTEGERS,
    quantized::activations,
    quantized_constants::DequantizedConstant,
    walk::{Walk, parse},
};
use crate::{
    graph::{Along, Arithmetic, Bounds, Grid, Node, Quantization, Target, limits},
    ops::{
        AddOfQuantized, AverageOfQuantized, Cast, ConvOfQuantized, DequantizeOtherwise, Held,
        MaxOfQuantized, MeanOfQuantized, MultiplyQuantized, Operation, PadOfQuantized,
        ProductOfQuantized, QuantizeOtherwise, TableOfQuantized, ToQuantized,
    },
};

impl<'a> Walk<'a> {
    pub(super) fn quantize(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let input = self.input(&node, 0)?;
        let onnx = self.type_quantized_to(&node)?;
        let limits = limits(onnx).ok_or_else(|| {
            node.unsupported(format!("it quantizes to {}", data_type::name(onnx)))
        })?;
        let [scale, zero] = [1, 2].map(|position| self.optional_input(&node, position));
        let (scale, zero) = (scale?, zero?);
        let scale = scale.ok_or_else(|| node.malformed("it has no scale"))?;
        let is_of_bytes = matches!(onnx, data_type::UINT8 | data_type::INT8);
        if let (Known::Constant(scale), None | Some(Known::Constant(_)), true) =
            (&scale, &zero, is_of_bytes)
        {
            let zero = zero.as_ref().and_then(Known::as_constant);
            if let Known::Constant(constant) = &input
                && let (Values::F32(_), Values::F32(_)) = (&constant.values, &scale.values)
            {
                let constant = quantized(&node, constant, scale, zero, onnx)?;
                return Ok(Known::Constant(Arc::new(constant)));
            }
            let of_no_zero = onnx == data_type::INT8;
            if let Some((output, is_signed)) = activations(&node, scale, zero, of_no_zero)? {
                let arithmetic = match node.int(ON_INTEGERS)? {
                    Some(_) => Arithmetic::QLinear,
                    None => self.arithmetic,
                };
                let output = Target {
                    quantization: output,
                    arithmetic,
                };
                let value = self.quantized_to(&node, &input, output)?;
                return Ok(Known::Quantized { value, is_signed });
            }
        }
        let operation = Box::new(QuantizeOtherwise {
            along: Along::read(&node)?,
            limits,
        });
        self.by_step(node, operation)
    }

    /// The type that a node quantizes to: that of its zero point, or the one that it names.
    fn type_quantized_to(&self, node: &Node<'a>) -> Result<i32> {
        let named = node.int("output_dtype")?.map(i32::try_from).transpose();
        let named = named.map_err(|_| node.malformed("its output_dtype is no type"))?;
        let named = named.filter(|&named| named != 0);
        let zero = match self.optional_input(node, 2)? {
            None => return Ok(named.unwrap_or(data_type::UINT8)),
            Some(zero) => zero,
        };
        Ok(match &zero {
            // Nibbles are held as bytes.
            _ if let Some(&nibble) = self.nibbles.get(node.proto.input[2].as_str()) => nibble,
            Known::Constant(zero) => match &zero.values {
                Values::U8(_) => data_type::UINT8,
                Values::I8(_) => data_type::INT8,
                Values::U16(_) => data_type::UINT16,
                Values::I16(_) => data_type::INT16,
                Values::I32(_) => data_type::INT32,
                _ => return Err(node.malformed("its zero point is no integer")),
            },
            Known::Quantized {
                is_signed: true, ..
            } => data_type::INT8,
            // What DynamicQuantizeLinear computes, for one, where it is no input of the model.
            Known::Plain(value) => self.type_of_input(*value).unwrap_or(data_type::UINT8),
            _ => data_type::UINT8,
        })
    }

    /// Activations with one scale and zero point.
    fn quantized_to(
        &mut self,
        node: &Node<'a>,
        input: &Known<'a>,
        output: Target,
    ) -> Result<Value> {
        let integers = match input {
            Known::Pending(pending) => self.on_integers(pending, output)?,
            // To the grid that it is on already: nothing changes.
            Known::Dequantized(value, of) if is_same(*of, output.quantization) => Some(*value),
            // To another: each integer has its own.
            Known::Dequantized(value, of) => {
                let numbers = numbers(*of);
                let table = table(&numbers, Bounds::NONE, output);
                table.map(|table| self.step(node.label(), Box::new(table), vec![Some(*value)]))
            }
            _ => None,
        };
        Ok(match integers {
            Some(value) => value,
            None => {
                let value = self.plain(input, &node.proto.input[0], &node.label())?;
                let operation = Box::new(ToQuantized(output));
                self.step(node.label(), operation, vec![Some(value)])
            }
        })
    }

    /// The step on integers of a pending operator; `None` where it has none for this output.
    pub(super) fn on_integers(
        &mut self,
        pending: &Pending<'a>,
        output: Target,
    ) -> Result<Option<Value>> {
        let (bounds, node) = (pending.bounds, &pending.node);
        let is_same = |of: Quantization| is_same(of, output.quantization);
        let (operation, inputs): (Box<dyn Operation>, _) = match &pending.operator {
            PendingOperator::Conv(input, conv, geometry) => {
                let operation = ConvOfQuantized {
                    conv: Arc::clone(conv),
                    geometry: geometry.clone(),
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
                let Some(operation) = table(numbers, bounds, output) else {
                    return Ok(None);
                };
                (Box::new(operation), vec![Some(*input)])
            }
            PendingOperator::Multiply(inputs) => {
                let operation = MultiplyQuantized {
                    operation: parse(node, 0)?,
                    inputs: inputs.map(|(_, quantization)| quantization),
                    bounds,
                    output,
                };
                let inputs = inputs.iter().map(|&(value, _)| Some(value));
                (Box::new(operation), inputs.collect())
            }
            PendingOperator::AveragePool(input, of, pool) => {
                let operation = AverageOfQuantized {
                    pool: pool.clone(),
                    input: *of,
                    bounds,
                    output,
                };
                (Box::new(operation), vec![Some(*input)])
            }
            PendingOperator::Mean(inputs, of) => {
                let operation = MeanOfQuantized {
                    operation: parse(node, 0)?,
                    input: *of,
                    bounds,
                    output,
                };
                (Box::new(operation), inputs.clone())
            }
            PendingOperator::Pad(inputs, of) => {
                let operation = PadOfQuantized {
                    operation: parse(node, 0)?,
                    input: *of,
                    bounds,
                    output,
                };
                (Box::new(operation), inputs.clone())
            }
            PendingOperator::MaxPool(input, of, pool) if is_same(*of) => {
                (Box::new(MaxOfQuantized(pool.clone())), vec![Some(*input)])
            }
            PendingOperator::Moving(moves, of) if is_same(*of) => return self.moved(moves),
            PendingOperator::Concat(values) => return self.concatenated(pending, values, output),
            PendingOperator::MaxPool(..) | PendingOperator::Moving(..) => return Ok(None),
        };
        Ok(Some(self.step(node.label(), operation, inputs)))
    }

    pub(super) fn dequantize(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let input = self.input(&node, 0)?;
        let [scale, zero] = [1, 2].map(|position| self.optional_input(&node, position));
        let (scale, zero) = (scale?, zero?);
        let scale = scale.ok_or_else(|| node.malformed("it has no scale"))?;
        if let (Known::Constant(scale), None | Some(Known::Constant(_))) = (&scale, &zero) {
            let zero = zero.as_ref().and_then(Known::as_constant);
            if let Known::Constant(constant) = &input
                && let Values::F32(_) = &scale.values
            {
                return Ok(Known::DequantizedConstant(Arc::new(DequantizedConstant {
                    constant: Arc::clone(constant),
                    grid: Grid::read(&node, scale, zero)?,
                })));
            }
            if let Some((value, is_signed)) = self.held(&node, &input)
                && let Some((quantization, says_signed)) =
                    activations(&node, scale, zero, is_signed)?
            {
                if says_signed != is_signed {
                    return Err(node.malformed("its zero point is of another type than its input"));
                }
                return Ok(Known::Dequantized(value, quantization));
            }
        }
        let operation = Box::new(DequantizeOtherwise {
            along: Along::read(&node)?,
        });
        self.by_step(node, operation)
    }

    /// Bytes as they are held for quantized values, and whether they are i8: quantized here, or given as an
    /// input of the model.
    pub(super) fn held(&mut self, node: &Node<'a>, input: &Known<'a>) -> Option<(Value, bool)> {
        match *input {
            Known::Quantized { value, is_signed } => Some((value, is_signed)),
            Known::Plain(value) => {
                let is_signed = match self.type_of_input(value)? {
                    data_type::UINT8 => false,
                    data_type::INT8 => true,
                    _ => return None,
                };
                let held = self.step(node.label(), Box::new(Held), vec![Some(value)]);
                Some((held, is_signed))
            }
            _ => None,
        }
    }

    /// Bytes cast to bytes stay what they are; those of the other sign are read anew.
    pub(super) fn cast(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let (input, to) = (self.input(&node, 0)?, Cast::to(&node)?);
        match (&input, to) {
            (Known::Quantized { value, is_signed }, data_type::UINT8 | data_type::INT8) => {
                let to_signed = to == data_type::INT8;
                let value = match to_signed == *is_signed {
                    true => *value,
                    false => {
                        let operation = Box::new(TableOfQuantized::of_other_sign());
                        self.step(node.label(), operation, vec![Some(*value)])
                    }
                };
                Ok(Known::Quantized {
                    value,
                    is_signed: to_signed,
                })
            }
            // These stand for f32.
            (Known::Dequantized(..) | Known::Pending(_), data_type::FLOAT) => Ok(input),
            _ => self.written(node, 0),
        }
    }
}

/// A constant quantized, as ONNX defines it.
fn quantized(
    node: &Node<'_>,
    constant: &Constant,
    scale: &Constant,
    zero: Option<&Constant>,
    onnx: i32,
) -> Result<Constant> {
    let Values::F32(values) = &constant.values else {
        return Err(node.unsupported("it quantizes what is not f32"));
    };
    let limits = limits(onnx).ok_or_else(|| node.unsupported("it quantizes to another type"))?;
    let grid = Grid::read(node, scale, zero)?;
    let integers = grid
        .quantized(values, &constant.dims, limits, |quotient| quotient)
        .map_err(|e| e.context(node.label()))?
        .into_iter();
    Ok(Constant {
        dims: constant.dims.clone(),
        // Within the limits of their type.
        values: match onnx {
            data_type::INT8 => Values::I8(integers.map(|q| q as i8).collect::<Vec<_>>().into()),
            _ => Values::U8(integers.map(|q| q as u8).collect()),
        },
    })
}

/// A function by its real numbers for the 256 integers, where these are f32.
pub(super) fn table(
    numbers: &Constant,
    bounds: Bounds,
    output: Target,
) -> Option<TableOfQuantized> {
    match &numbers.values {
        Values::F32(numbers) => Some(TableOfQuantized::new(numbers, bounds, output)),
        _ => None,
    }
}

/// The real numbers that the 256 integers stand for.
pub(super) fn numbers(of: Quantization) -> Constant {
    let real = |integer: u8| (f32::from(integer) - f32::from(of.zero)) * of.scale;
    Constant {
        dims: vec![256],
        values: Values::F32((0..=u8::MAX).map(real).collect()),
    }
}

/// Whether quantizing to the one what was dequantized from the other changes nothing: the scale must be
/// far from where products leave the normal numbers.
pub(super) fn is_same(a: Quantization, b: Quantization) -> bool {
    a == b && (1e-30..1e30).contains(&a.scale)
}
