//! Finds the integer operators that a QDQ graph means.
//!
//! The file writes them as float operators between DequantizeLinear and QuantizeLinear. An operator on
//! dequantized values stays *pending*, and the QuantizeLinear behind it, perhaps after Relu or Clip,
//! makes it a step on integers. Whatever else reads it has it on floats, as the file writes it.

use std::sync::Arc;

use firstpass_onnx::{Constant, Result, Values, data_type};

use super::{
    Value,
    known::{Known, Move, Pending, PendingOperator},
    lowering::ON_INTEGERS,
    quantized::{GivenBias, activations, conv, linear, with_bias},
    quantized_constants::DequantizedConstant,
    walk::{Walk, fold, parse},
};
use crate::{
    graph::{Along, Arithmetic, Bounds, Grid, Node, Quantization, Target, limits},
    ops::{
        AddOfQuantized, AverageOfQuantized, Binary, BinaryFunction, Cast, Clamp, ConvOfQuantized,
        DequantizeOtherwise, Held, MaxOfQuantized, MeanOfQuantized, Moving, MultiplyQuantized,
        Operation, PadOfQuantized, Pool, ProductOfQuantized, QuantizeOtherwise, TableOfQuantized,
        ToQuantized, is_moving,
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
            pending_at(node, 0, operator)
        }))
    }

    /// An input: what only moves values and is still pending is done, where the integers can be moved.
    fn settled(&mut self, node: &Node<'a>, position: usize) -> Result<Option<Known<'a>>> {
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

    /// A node behind others that move the values of its first input.
    fn moving_on(&mut self, node: Node<'a>, index: usize) -> Result<Option<Known<'a>>> {
        let Some(Known::Pending(pending)) = self.optional_input(&node, 0)? else {
            return Ok(None);
        };
        let PendingOperator::Moving(moves, of) = &pending.operator else {
            return Ok(None);
        };
        if node.op_type == "Concat" || pending.bounds != Bounds::NONE {
            return Ok(None);
        }
        let mut inputs = Vec::with_capacity(node.input.len());
        for (position, name) in node.proto.input.iter().enumerate().skip(1) {
            match self.optional_input(&node, position)? {
                Some(known @ Known::Constant(_)) => {
                    inputs.push(Some(self.plain(&known, name, &node.label())?));
                }
                None => inputs.push(None),
                Some(_) => return Ok(None),
            }
        }
        let mut moves = moves.clone();
        moves.push(Move {
            node,
            index,
            inputs,
        });
        let operator = PendingOperator::Moving(moves, *of);
        Ok(Some(pending_at(node, index, operator)))
    }

    /// Where an operator only moves quantized or dequantized values it may do so with integers.
    pub(super) fn moving_or_written(&mut self, node: Node<'a>, index: usize) -> Result<Known<'a>> {
        if is_moving(&node) {
            if let Some(moved) = self.moving_on(node, index)? {
                return Ok(moved);
            }
            let mut moved = None;
            let mut inputs = Vec::with_capacity(node.input.len());
            let mut dequantized = Vec::with_capacity(node.input.len());
            let mut fits = true;
            for (position, name) in node.proto.input.iter().enumerate() {
                match self.settled(&node, position)? {
                    Some(Known::Dequantized(value, of)) => {
                        fits &=
                            *moved.get_or_insert(Moved::Dequantized(of)) == Moved::Dequantized(of);
                        inputs.push(Some(value));
                        dequantized.push((value, of));
                    }
                    Some(Known::Quantized { value, is_signed }) => {
                        let of = Moved::Quantized { is_signed };
                        fits &= *moved.get_or_insert(of) == of;
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
            match (moved, fits) {
                (Some(Moved::Dequantized(quantization)), true) => {
                    let moves = vec![Move {
                        node,
                        index,
                        inputs,
                    }];
                    let operator = PendingOperator::Moving(moves, quantization);
                    return Ok(pending_at(node, index, operator));
                }
                (Some(Moved::Quantized { is_signed }), true) => {
                    let count = inputs.len();
                    let operation = Box::new(Moving::new(vec![(parse(&node, index)?, count)]));
                    let value = self.step(node.label(), operation, inputs);
                    return Ok(Known::Quantized { value, is_signed });
                }
                _ if node.op_type == "Concat" && dequantized.len() == node.input.len() => {
                    return Ok(pending_at(
                        node,
                        index,
                        PendingOperator::Concat(dequantized),
                    ));
                }
                _ => {}
            }
        }
        self.written(node, index)
    }

    /// The step of nodes that only move values, one after the other.
    fn moved(&mut self, moves: &[Move<'a>]) -> Result<Option<Value>> {
        let Some(last) = moves.last() else {
            return Ok(None);
        };
        let operations = moves
            .iter()
            .map(|of| Ok((parse(&of.node, of.index)?, of.inputs.len())));
        let operation = Box::new(Moving::new(operations.collect::<Result<_>>()?));
        let inputs = moves.iter().flat_map(|of| of.inputs.iter().copied());
        Ok(Some(self.step(
            last.node.label(),
            operation,
            inputs.collect(),
        )))
    }

    /// Values put together, each on the grid of the output before.
    fn concatenated(
        &mut self,
        pending: &Pending<'a>,
        values: &[(Value, Quantization)],
        output: Target,
    ) -> Result<Option<Value>> {
        let node = pending.node;
        let mut inputs = Vec::with_capacity(values.len());
        for &(value, of) in values {
            let is_there = pending.bounds == Bounds::NONE && is_same(of, output.quantization);
            inputs.push(Some(match is_there {
                true => value,
                false => {
                    let Some(table) = table(&numbers(of), pending.bounds, output) else {
                        return Ok(None);
                    };
                    self.step(node.label(), Box::new(table), vec![Some(value)])
                }
            }));
        }
        self.moved(&[Move {
            node,
            index: pending.index,
            inputs,
        }])
    }

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
    fn on_integers(&mut self, pending: &Pending<'a>, output: Target) -> Result<Option<Value>> {
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
    fn held(&mut self, node: &Node<'a>, input: &Known<'a>) -> Option<(Value, bool)> {
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

    pub(super) fn clip(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        // Until operator set 10 the bounds were attributes.
        let bound = |position: usize, attribute: &str, none: f32| -> Result<Option<f32>> {
            Ok(match self.optional_input(&node, position)? {
                None => Some(node.float(attribute).unwrap_or(none)),
                Some(Known::Constant(constant)) => match &constant.values {
                    Values::F32(values) if values.len() == 1 => Some(values[0]),
                    _ => None,
                },
                Some(_) => None,
            })
        };
        let low = bound(1, "min", f32::NEG_INFINITY)?;
        let high = bound(2, "max", f32::INFINITY)?;
        match low.zip(high) {
            Some((low, high)) if !low.is_nan() && !high.is_nan() => {
                // Where the bounds are in the wrong order the upper one counts.
                let low = low.min(high);
                self.clamp(node, Bounds { low, high })
            }
            _ => self.clip_as_written(node),
        }
    }

    /// By bounds that are computed, or of another type.
    fn clip_as_written(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let mut values = Vec::with_capacity(3);
        for position in 0..3 {
            let known = self.optional_input(&node, position)?;
            values.push(match (known, node.proto.input.get(position)) {
                (Some(known), Some(name)) => Some(self.plain(&known, name, &node.label())?),
                _ => None,
            });
        }
        let functions = [BinaryFunction::Max, BinaryFunction::Min];
        let bounds = functions.into_iter().zip(&values[1..]);
        let mut clipped = values[0];
        for (function, bound) in bounds.filter(|(_, bound)| bound.is_some()) {
            let operation = Box::new(Binary::of(function));
            clipped = Some(self.step(node.label(), operation, vec![clipped, *bound]));
        }
        let clipped = clipped.ok_or_else(|| node.malformed("its input is missing"))?;
        Ok(Known::Plain(clipped))
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

/// What is moved, all of it alike.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moved {
    Dequantized(Quantization),
    Quantized { is_signed: bool },
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
fn table(numbers: &Constant, bounds: Bounds, output: Target) -> Option<TableOfQuantized> {
    match &numbers.values {
        Values::F32(numbers) => Some(TableOfQuantized::new(numbers, bounds, output)),
        _ => None,
    }
}

fn pending_at<'a>(node: Node<'a>, index: usize, operator: PendingOperator<'a>) -> Known<'a> {
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
