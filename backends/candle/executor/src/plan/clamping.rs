//! Relu and Clip: part of the operator before them where they alone read it.

use std::sync::Arc;

use firstpass_onnx::{Result, Values};

use super::{
    known::{Known, Pending},
    walk::Walk,
};
use crate::{
    graph::{Bounds, Node},
    ops::{Binary, BinaryFunction, Clamp},
};

impl<'a> Walk<'a> {
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
