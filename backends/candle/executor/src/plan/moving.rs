//! Operators that only move values: on integers where what they move is on one grid.

use firstpass_onnx::Result;

use super::{
    Value,
    known::{Known, Move, Pending, PendingOperator, pending_at},
    quantizing::{is_same, numbers, table},
    walk::{Walk, parse},
};
use crate::{
    graph::{Bounds, Node, Quantization, Target},
    ops::{Moving, is_moving},
};

impl<'a> Walk<'a> {
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
    pub(super) fn moved(&mut self, moves: &[Move<'a>]) -> Result<Option<Value>> {
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
    pub(super) fn concatenated(
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
}

/// What is moved, all of it alike.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moved {
    Dequantized(Quantization),
    Quantized { is_signed: bool },
}
