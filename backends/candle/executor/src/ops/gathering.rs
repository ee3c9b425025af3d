//! Values from places that indices name, each index by itself: GatherElements and GatherND. Only the places are
//! computed here; the values of any type are moved by candle.

use candle_core::{Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    operation::{Compiled, Inputs, Operation, by_candle},
    slicing::select,
};
use crate::{
    geometry::{axis_of, volume},
    graph::Node,
};

/// How indices name places. Scatter operators name those that they write to in the same ways.
#[derive(Debug, Clone, Copy)]
pub enum Places {
    /// Each index replaces the index of its own place along an axis.
    Elements { axis: i64 },
    /// The last axis of the indices is one place along the first axes of the values behind the batch.
    Tuples { batch: i64 },
}

/// Where places lie among the values.
pub struct Found {
    /// Each the number of a block of values, in the order of the indices.
    pub blocks: Vec<u32>,
    /// How many values lie in a block.
    pub block: usize,
    /// The shape of the values at these places.
    pub dims: Vec<usize>,
}

impl Places {
    /// The places that `indices` of the shape `shape` name among values of the shape `dims`.
    ///
    /// # Errors
    /// Fails where an index is out of range, and where the shapes do not go together.
    pub fn find(self, dims: &[usize], shape: &[usize], indices: &[i64]) -> Result<Found> {
        if volume(shape)? != indices.len() {
            return Err(Error::engine(format!(
                "{} indices of shape {shape:?}",
                indices.len()
            )));
        }
        match self {
            Self::Elements { axis } => elements(axis, dims, shape, indices),
            Self::Tuples { batch } => tuples(batch, dims, shape, indices),
        }
    }
}

fn elements(axis: i64, dims: &[usize], shape: &[usize], indices: &[i64]) -> Result<Found> {
    let misfit = || Error::engine(format!("indices of shape {shape:?} for {dims:?}"));
    let axis = axis_of(axis, dims.len())?;
    let fits = |(at, (&given, &dim)): (usize, (&usize, &usize))| at == axis || given <= dim;
    if shape.len() != dims.len() || !shape.iter().zip(dims).enumerate().all(fits) {
        return Err(misfit());
    }
    let steps = steps(dims)?;
    let mut blocks = Vec::with_capacity(indices.len());
    let mut at = vec![0; shape.len()];
    for &index in indices {
        let chosen = place(index, dims[axis])?;
        let along = at.iter().zip(&steps).enumerate();
        let along = along.map(|(other, (&at, step))| {
            let at = if other == axis { chosen } else { at };
            at * step
        });
        blocks.push(u32::try_from(along.sum::<usize>())?);
        for (next, &length) in at.iter_mut().zip(shape).rev() {
            *next += 1;
            if *next < length {
                break;
            }
            *next = 0;
        }
    }
    Ok(Found {
        blocks,
        block: 1,
        dims: shape.to_vec(),
    })
}

fn tuples(batch: i64, dims: &[usize], shape: &[usize], indices: &[i64]) -> Result<Found> {
    let misfit = || Error::engine(format!("indices of shape {shape:?} for {dims:?}"));
    let batch = usize::try_from(batch).map_err(|_| misfit())?;
    let [outer @ .., length] = shape else {
        return Err(misfit());
    };
    let end = batch.checked_add(*length).filter(|&end| end <= dims.len());
    let end = end.ok_or_else(misfit)?;
    if batch > outer.len() || outer[..batch] != dims[..batch] {
        return Err(misfit());
    }
    let steps = steps(&dims[..end])?;
    let block = volume(&dims[end..])?;
    // How many tuples each place of the batch has, and how many blocks of values.
    let (each, whole) = (volume(&outer[batch..])?, volume(&dims[batch..end])?);
    let count = volume(outer)?;
    let mut blocks = Vec::with_capacity(count);
    for number in 0..count {
        let mut at = number / each * whole;
        let tuple = &indices[number * length..][..*length];
        for ((&index, &dim), step) in tuple.iter().zip(&dims[batch..end]).zip(&steps[batch..]) {
            at += place(index, dim)? * step;
        }
        blocks.push(u32::try_from(at)?);
    }
    let dims = [outer, &dims[end..]].concat();
    volume(&dims)?;
    Ok(Found {
        blocks,
        block,
        dims,
    })
}

/// How many places lie between two along each axis.
fn steps(dims: &[usize]) -> Result<Vec<usize>> {
    (0..dims.len())
        .map(|axis| volume(&dims[axis + 1..]))
        .collect()
}

fn place(index: i64, length: usize) -> Result<usize> {
    axis_of(index, length)
        .map_err(|_| Error::engine(format!("the index {index} is out of the range of {length}")))
}

/// GatherElements and GatherND.
#[derive(Debug)]
pub struct GatherFrom(Places);

impl GatherFrom {
    /// # Errors
    /// Fails where `node` is neither, or its axis is no integer.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let places = match node.op_type.as_str() {
            "GatherElements" => Places::Elements {
                axis: node.int("axis")?.unwrap_or(0),
            },
            "GatherND" => Places::Tuples {
                batch: node.int("batch_dims")?.unwrap_or(0),
            },
            _ => return Err(node.unsupported("it gathers nothing")),
        };
        Ok(Box::new(Self(places)))
    }
}

impl Operation for GatherFrom {
    fn takes_halves(&self) -> bool {
        true
    }

    fn is_parameter(&self, position: usize) -> bool {
        position == 1
    }

    fn may_vary(&self, _: usize) -> bool {
        true
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (fact, indices) = (inputs.get(0)?, inputs.get(1)?);
        let found = self
            .0
            .find(&fact.dims, &indices.dims, &inputs.integers(1)?)?;
        let Found {
            blocks,
            block,
            dims,
        } = found;
        let shape = dims.clone();
        let run = move |input: &Tensor| -> CandleResult<Tensor> {
            let values = input.reshape(((), block))?;
            select(&values, &blocks, 0)?.reshape(&shape[..])
        };
        let operator = by_candle("gather", run);
        Ok(Compiled::allocated(operator, &dims, fact.dtype))
    }
}
