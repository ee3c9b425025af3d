//! TopK: the largest or the smallest values along an axis, and where they were.

use std::cmp::Ordering;

use candle_core::{DType, Result as CandleResult, Tensor, WithDType};
use firstpass_onnx::{Error, Result};

use super::{
    access::{Written, check_length, map},
    operation::{Compiled, Inputs, Operation, Writing, first},
    parallel::for_each_part,
};
use crate::{geometry::axis_of, graph::Node};

/// One of its outputs.
#[derive(Debug)]
pub struct TopK {
    axis: i64,
    /// As an attribute, as until operator set 9.
    count: Option<i64>,
    takes_largest: bool,
    gives: Gives,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Values,
    Indices,
}

impl TopK {
    /// The output at `index`.
    ///
    /// # Errors
    /// Fails where there is none.
    pub fn read(node: &Node<'_>, index: usize) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self {
            axis: node.int("axis")?.unwrap_or(-1),
            count: node.int("k")?,
            takes_largest: node.int("largest")?.unwrap_or(1) != 0,
            gives: match index {
                0 => Gives::Values,
                1 => Gives::Indices,
                _ => return Err(node.malformed("it has two outputs")),
            },
        }))
    }

    /// # Errors
    /// As [`Self::read`].
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Self::read(node, 0)
    }
}

impl Operation for TopK {
    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let axis = axis_of(self.axis, fact.dims.len())?;
        let length = fact.dims[axis];
        let count = match self.count {
            Some(count) => count,
            None => match inputs.integers(1)?[..] {
                [count] => count,
                _ => return Err(Error::engine("its number of values is no single one")),
            },
        };
        let count = usize::try_from(count).ok().filter(|&n| n <= length);
        let count = count.ok_or_else(|| {
            Error::engine(format!(
                "it takes more values than the {length} of its axis"
            ))
        })?;
        let lines = Lines {
            length,
            count,
            stride: fact.dims[axis + 1..].iter().product(),
            takes_largest: self.takes_largest,
        };
        let mut dims = fact.dims.clone();
        dims[axis] = count;
        let (gives, name) = (self.gives, "top-k");
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let input = first(inputs)?;
            match input.dtype() {
                DType::F32 => lines.run::<f32>(gives, input, out),
                DType::F64 => lines.run::<f64>(gives, input, out),
                DType::I64 => lines.run::<i64>(gives, input, out),
                DType::I32 => lines.run::<i32>(gives, input, out),
                DType::I16 => lines.run::<i16>(gives, input, out),
                DType::U8 => lines.run::<u8>(gives, input, out),
                other => candle_core::bail!("values of type {other:?}"),
            }
        };
        let dtype = match gives {
            Gives::Values => fact.dtype,
            Gives::Indices => DType::I64,
        };
        Ok(Compiled::written(Writing { name, run }, &dims, dtype))
    }

    fn narrow(&self, inputs: &Inputs<'_>, dtype: DType) -> Option<crate::graph::Narrow> {
        // Indices are i64, whatever the values are.
        let fact = inputs.optional(0).filter(|_| self.gives == Gives::Values)?;
        fact.narrow.filter(|_| fact.dtype == dtype)
    }
}

/// All lines of values along an axis.
#[derive(Clone, Copy)]
struct Lines {
    length: usize,
    count: usize,
    /// How far apart the values of a line lie.
    stride: usize,
    takes_largest: bool,
}

impl Lines {
    fn run<T: Written + PartialOrd>(
        self,
        gives: Gives,
        input: &Tensor,
        out: &Tensor,
    ) -> CandleResult<()> {
        match gives {
            Gives::Values => self.each::<T, T>(input, out, |_, value| value),
            Gives::Indices => self.each::<T, i64>(input, out, |place, _| place as i64),
        }
    }

    fn each<T: WithDType + PartialOrd, U: Written>(
        self,
        input: &Tensor,
        out: &Tensor,
        result: impl Fn(usize, T) -> U + Sync,
    ) -> CandleResult<()> {
        let (block, chosen) = (self.length * self.stride, self.count * self.stride);
        map(input, out, |input: &[T], out: &mut [U]| {
            check_length("the input", input.len(), out.len() / chosen * block)?;
            for_each_part(out, chosen, |number, out| {
                let input = &input[number * block..][..block];
                for lane in 0..self.stride {
                    let at = |place: usize| input[place * self.stride + lane];
                    for (rank, place) in self.places(at).into_iter().enumerate() {
                        out[rank * self.stride + lane] = result(place, at(place));
                    }
                }
            });
            Ok(())
        })
    }

    /// The places of the chosen values of a line, in their order; of equal ones the first comes first.
    fn places<T: PartialOrd>(self, at: impl Fn(usize) -> T) -> Vec<usize> {
        let order = |&left: &usize, &right: &usize| {
            let found = compare(&at(left), &at(right));
            let found = match self.takes_largest {
                true => found.reverse(),
                false => found,
            };
            found.then(left.cmp(&right))
        };
        let mut places: Vec<usize> = (0..self.length).collect();
        if self.count < self.length {
            places.select_nth_unstable_by(self.count, order);
            places.truncate(self.count);
        }
        places.sort_unstable_by(order);
        places
    }
}

/// What is no number is above all numbers, as in NumPy.
fn compare<T: PartialOrd>(left: &T, right: &T) -> Ordering {
    let is_number = |value: &T| value.partial_cmp(value).is_some();
    let order = left.partial_cmp(right);
    order.unwrap_or_else(|| is_number(right).cmp(&is_number(left)))
}
