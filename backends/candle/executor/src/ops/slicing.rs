//! What takes tensors apart and puts them together.

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::access::{check_length, map};
use super::operation::{ByCandle, Compiled, Inputs, Moves, Operation, Writing, by_candle};
use super::permuted::contiguous;
use crate::geometry::axis_of;
use crate::graph::Node;
use crate::kernels::Source;

/// Concat.
#[derive(Debug)]
pub struct Concat {
    axis: i64,
}

impl Concat {
    /// # Errors
    /// Fails where it has no axis.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let axis = node.int("axis")?;
        Ok(Box::new(Self {
            axis: axis.ok_or_else(|| node.malformed("it has no axis"))?,
        }))
    }
}

impl Operation for Concat {
    fn takes_halves(&self) -> bool {
        true
    }

    fn moves(&self, inputs: &Inputs<'_>) -> Result<Option<Moves>> {
        let facts = inputs.all()?;
        if !is_of_channels(self.axis, inputs.dims()?) {
            return Ok(None);
        }
        let sources = facts.iter().enumerate().flat_map(|(input, fact)| {
            let channels = 0..fact.dims.get(1).copied().unwrap_or(0);
            channels.map(move |channel| Source { input, channel })
        });
        Ok(Some(Moves::Channels(sources.collect())))
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let facts = inputs.all()?;
        let first = inputs.get(0)?;
        let axis = axis_of(self.axis, first.dims.len())?;
        let mut dims = first.dims.clone();
        let shapes = || facts.iter().map(|fact| &fact.dims).collect::<Vec<_>>();
        dims[axis] = 0;
        for fact in &facts {
            let mut like = fact.dims.clone();
            if like.len() != dims.len() {
                return Err(Error::engine(format!(
                    "shapes {:?} differ in rank",
                    shapes()
                )));
            }
            like[axis] = first.dims[axis];
            if like != first.dims || fact.dtype != first.dtype {
                return Err(Error::engine(format!(
                    "shapes {:?} along axis {axis}, or their types",
                    shapes()
                )));
            }
            let sum = dims[axis].checked_add(fact.dims[axis]);
            dims[axis] = sum.ok_or_else(|| Error::engine("it is too long"))?;
        }
        let name = "concat";
        let has_empty = facts.iter().any(|fact| fact.dims.contains(&0));
        if first.dtype == DType::F32 && facts.len() > 1 && !has_empty {
            let inner = |dims: &[usize]| dims[axis..].iter().product::<usize>();
            let lengths: Vec<usize> = facts.iter().map(|fact| inner(&fact.dims)).collect();
            let whole = inner(&dims);
            let run = move |inputs: &[&Tensor], out: &Tensor| join(inputs, &lengths, whole, out);
            return Ok(Compiled::written(Writing { name, run }, &dims, DType::F32));
        }
        let run = move |inputs: &[&Tensor]| Tensor::cat(inputs, axis);
        let operator = ByCandle { name, run };
        // Of one tensor it is that tensor.
        Ok(if facts.len() == 1 {
            Compiled::view(operator, &dims, first.dtype)
        } else {
            Compiled::allocated(operator, &dims, first.dtype)
        })
    }
}

/// Writes parts of `lengths` from each of `inputs` in turn, which are `whole` values together.
fn join(inputs: &[&Tensor], lengths: &[usize], whole: usize, out: &Tensor) -> CandleResult<()> {
    let mut begin = 0;
    for (input, &length) in inputs.iter().zip(lengths) {
        map(input, out, |input: &[f32], out: &mut [f32]| {
            check_length("an input", input.len() / length * whole, out.len())?;
            for (out, input) in out.chunks_exact_mut(whole).zip(input.chunks_exact(length)) {
                out[begin..][..length].copy_from_slice(input);
            }
            Ok(())
        })?;
        begin += length;
    }
    Ok(())
}

/// Whether `axis` is that of the channels of images.
fn is_of_channels(axis: i64, dims: &[usize]) -> bool {
    dims.len() == 4 && matches!(axis, 1 | -3)
}

/// Slice.
#[derive(Debug)]
pub struct Slice {
    /// Starts, ends and axes as attributes, as until operator set 9.
    given: Option<[Vec<i64>; 3]>,
}

impl Slice {
    /// # Errors
    /// Fails where it has starts but no ends.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let list = |name: &str| node.ints(name).map(<[i64]>::to_vec);
        let given = match (list("starts"), list("ends")) {
            (Some(starts), Some(ends)) => {
                let axes = list("axes").unwrap_or_else(|| (0..).take(starts.len()).collect());
                Some([starts, ends, axes])
            }
            (None, None) => None,
            _ => return Err(node.malformed("it needs both starts and ends")),
        };
        Ok(Box::new(Self { given }))
    }
}

impl Operation for Slice {
    fn takes_halves(&self) -> bool {
        true
    }

    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn moves(&self, inputs: &Inputs<'_>) -> Result<Option<Moves>> {
        Ok(match (&self.parts(inputs)?[..], inputs.dims()?.len()) {
            ([(1, part)], 4) => {
                let channels: Vec<usize> = match part {
                    Part::Neighbours { start, length } => (*start..start + length).collect(),
                    Part::Indices(indices) => indices.iter().map(|&at| at as usize).collect(),
                };
                let of = |channel| Source { input: 0, channel };
                Some(Moves::Channels(channels.into_iter().map(of).collect()))
            }
            _ => None,
        })
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let parts = self.parts(inputs)?;
        let mut dims = fact.dims.clone();
        for (axis, part) in &parts {
            dims[*axis] = part.length();
        }
        let run = move |input: &Tensor| {
            parts
                .iter()
                .try_fold(input.clone(), |tensor, (axis, part)| {
                    part.take(&tensor, *axis)
                })
        };
        Ok(Compiled::view(by_candle("slice", run), &dims, fact.dtype))
    }
}

impl Slice {
    /// What is taken of which axes.
    fn parts(&self, inputs: &Inputs<'_>) -> Result<Vec<(usize, Part)>> {
        let dims = inputs.dims()?;
        let [starts, ends, axes] = match &self.given {
            Some(given) => given.clone(),
            None => {
                let starts = inputs.integers(1)?;
                let axes = inputs.optional_integers(3)?;
                let axes = axes.unwrap_or_else(|| (0..).take(starts.len()).collect());
                [starts, inputs.integers(2)?, axes]
            }
        };
        let steps = inputs.optional_integers(4)?;
        let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
        if [&ends, &axes, &steps]
            .iter()
            .any(|list| list.len() != starts.len())
        {
            return Err(Error::engine(format!(
                "{} starts, {} ends, {} axes and {} steps",
                starts.len(),
                ends.len(),
                axes.len(),
                steps.len()
            )));
        }
        let mut parts = Vec::with_capacity(axes.len());
        for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let axis = axis_of(axis, dims.len())?;
            if parts.iter().any(|(other, _)| *other == axis) {
                return Err(Error::engine(format!("axes {axes:?} name one twice")));
            }
            parts.push((axis, Part::of(dims[axis], start, end, step)?));
        }
        Ok(parts)
    }
}

/// What of an axis is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Neighbours { start: usize, length: usize },
    Indices(Vec<u32>),
}

impl Part {
    fn of(size: usize, start: i64, end: i64, step: i64) -> Result<Self> {
        let size = i64::try_from(size)?;
        let from_start = |index: i64| match index < 0 {
            true => index.saturating_add(size),
            false => index,
        };
        if step == 1 {
            let start = from_start(start).clamp(0, size);
            let end = from_start(end).clamp(start, size);
            return Ok(Self::Neighbours {
                start: usize::try_from(start)?,
                length: usize::try_from(end - start)?,
            });
        }
        let mut indices = Vec::new();
        if step > 0 {
            let end = from_start(end).clamp(0, size);
            let mut index = from_start(start).clamp(0, size);
            while index < end {
                indices.push(u32::try_from(index)?);
                index = index.saturating_add(step);
            }
        } else if step < 0 {
            let end = from_start(end).clamp(-1, size - 1);
            let mut index = from_start(start).clamp(-1, size - 1);
            while index > end {
                indices.push(u32::try_from(index)?);
                index = index.saturating_add(step);
            }
        } else {
            return Err(Error::engine("a step of 0"));
        }
        Ok(Self::Indices(indices))
    }

    fn length(&self) -> usize {
        match self {
            Self::Neighbours { length, .. } => *length,
            Self::Indices(indices) => indices.len(),
        }
    }

    fn take(&self, tensor: &Tensor, axis: usize) -> CandleResult<Tensor> {
        match self {
            Self::Neighbours { start, length } => tensor.narrow(axis, *start, *length),
            Self::Indices(indices) => select(tensor, indices, axis),
        }
    }
}

/// The values at these places of an axis.
pub fn select(tensor: &Tensor, indices: &[u32], axis: usize) -> CandleResult<Tensor> {
    let indices = Tensor::from_slice(indices, indices.len(), &Device::Cpu)?;
    contiguous(tensor)?.index_select(&indices, axis)
}

/// One output of Split.
#[derive(Debug)]
pub struct Split {
    axis: i64,
    /// As an attribute, as until operator set 12.
    lengths: Option<Vec<i64>>,
    index: usize,
    count: usize,
}

impl Split {
    /// The output at `index`.
    ///
    /// # Errors
    /// Fails where attributes are not as they must be.
    pub fn read(node: &Node<'_>, index: usize) -> Result<Box<dyn Operation>> {
        let count = node.output.len();
        let stated = node.int("num_outputs")?;
        if stated.is_some_and(|stated| usize::try_from(stated) != Ok(count)) {
            return Err(node.malformed(format!("it has {count} outputs and says otherwise")));
        }
        Ok(Box::new(Self {
            axis: node.int("axis")?.unwrap_or(0),
            lengths: node.ints("split").map(<[i64]>::to_vec),
            index,
            count,
        }))
    }

    /// # Errors
    /// As [`Self::read`].
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Self::read(node, 0)
    }
}

impl Operation for Split {
    fn takes_halves(&self) -> bool {
        true
    }

    fn is_parameter(&self, position: usize) -> bool {
        position > 0
    }

    fn moves(&self, inputs: &Inputs<'_>) -> Result<Option<Moves>> {
        if !is_of_channels(self.axis, inputs.dims()?) {
            return Ok(None);
        }
        let (_, start, length) = self.part(inputs)?;
        let of = |channel| Source { input: 0, channel };
        Ok(Some(Moves::Channels(
            (start..start + length).map(of).collect(),
        )))
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        let (axis, start, length) = self.part(inputs)?;
        let mut dims = fact.dims.clone();
        dims[axis] = length;
        let run = move |input: &Tensor| input.narrow(axis, start, length);
        Ok(Compiled::view(by_candle("split", run), &dims, fact.dtype))
    }
}

impl Split {
    /// The axis, and what of it is the output: where it begins, and its length.
    fn part(&self, inputs: &Inputs<'_>) -> Result<(usize, usize, usize)> {
        let fact = inputs.get(0)?;
        let axis = axis_of(self.axis, fact.dims.len())?;
        let size = fact.dims[axis];
        let given = match &self.lengths {
            Some(given) => Some(given.clone()),
            None => inputs.optional_integers(1)?,
        };
        let parts = match given {
            Some(given) => lengths_of(&given)?,
            None => {
                // The last may be shorter.
                let length = size.div_ceil(self.count);
                let start = |index: usize| (index * length).min(size);
                (0..self.count).map(|i| start(i + 1) - start(i)).collect()
            }
        };
        let total = parts.iter().try_fold(0_usize, |sum, &n| sum.checked_add(n));
        if parts.len() != self.count || total != Some(size) {
            return Err(Error::engine(format!(
                "{size} values do not divide into {} parts {parts:?}",
                self.count
            )));
        }
        let start = parts[..self.index].iter().sum();
        Ok((axis, start, parts[self.index]))
    }
}

fn lengths_of(given: &[i64]) -> Result<Vec<usize>> {
    let lengths: Option<Vec<usize>> = given.iter().map(|&n| usize::try_from(n).ok()).collect();
    lengths.ok_or_else(|| Error::engine(format!("lengths {given:?}")))
}

/// Gather.
#[derive(Debug)]
pub struct Gather {
    axis: i64,
}

impl Gather {
    /// # Errors
    /// Fails where the axis is no integer.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self {
            axis: node.int("axis")?.unwrap_or(0),
        }))
    }
}

impl Operation for Gather {
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
        let axis = axis_of(self.axis, fact.dims.len())?;
        let places = inputs.integers(1)?.into_iter();
        let places: Result<Vec<u32>> = places
            .map(|index| Ok(u32::try_from(axis_of(index, fact.dims[axis])?)?))
            .collect();
        let places = places.map_err(|e| e.context("an index is out of range"))?;
        let mut dims = fact.dims[..axis].to_vec();
        dims.extend(&indices.dims);
        dims.extend(&fact.dims[axis + 1..]);
        let shape = dims.clone();
        let run = move |input: &Tensor| select(input, &places, axis)?.reshape(&shape[..]);
        Ok(Compiled::allocated(
            by_candle("gather", run),
            &dims,
            fact.dtype,
        ))
    }
}
