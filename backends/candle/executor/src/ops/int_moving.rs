//! What only moves quantized values.

use candle_core::{DType, Result as CandleResult, Storage as CandleStorage, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::{values, write},
    operation::{Compiled, Fact, Inputs, Moves, Operation, Operator, Storage, Writing},
    parallel::{CHUNK, for_each_part},
    quantized::{as_in_onnx, as_it_lies, copy},
};
use crate::kernels::{Channels, Isa, Source};

/// Operations that only move values, one after the other, on u8: what they do to them they do to the real
/// numbers that they stand for. The inputs are those of the first, and then the parameters of the others; of
/// each the parameters follow its values.
#[derive(Debug)]
pub struct Moving {
    operations: Vec<(Box<dyn Operation>, usize)>,
}

impl Moving {
    /// Each operation with the number of its inputs; all but the first have one that is no parameter, their
    /// first, which is not among the inputs here and not counted.
    pub fn new(operations: Vec<(Box<dyn Operation>, usize)>) -> Self {
        Self { operations }
    }
}

impl Operation for Moving {
    fn is_parameter(&self, position: usize) -> bool {
        match self.operations.first() {
            Some((first, count)) if position < *count => first.is_parameter(position),
            _ => true,
        }
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let isa = inputs.isa;
        let mut rest = inputs.facts;
        let mut operators = Vec::with_capacity(self.operations.len());
        let mut result: Option<Fact> = None;
        let mut moved = Some(Moved::default());
        for (operation, count) in &self.operations {
            let (own, others) = rest
                .split_at_checked(*count)
                .ok_or_else(|| Error::engine("its inputs are missing"))?;
            rest = others;
            let facts: Vec<Option<&Fact>> = match &result {
                None => own.to_vec(),
                Some(before) => [&[Some(before)], own].concat(),
            };
            let inputs = Inputs { facts: &facts, isa };
            let compiled = operation.compile(&inputs)?;
            if compiled.dtype != DType::U8 || matches!(compiled.storage, Storage::Buffer(_)) {
                return Err(Error::engine("it does not move values of u8"));
            }
            moved = match (moved, operation.moves(&inputs)?) {
                (Some(moved), Some(moves)) => moved.then(&inputs, operation.as_ref(), moves),
                _ => None,
            };
            operators.push(compiled.operator);
            result = Some(Fact {
                dims: compiled.dims,
                dtype: compiled.dtype,
                narrow: None,
                constant: None,
            });
        }
        let result = result.ok_or_else(|| Error::engine("it moves nothing"))?;
        let channels = moved.and_then(|moved| moved.channels(&result.dims));
        Ok(match channels {
            Some(channels) => Compiled::quantized(GatherChannels { isa, channels }, &result.dims),
            None => {
                let name = operators.first().map_or("move", |operator| operator.name());
                let run = move |inputs: &[&Tensor], out: &Tensor| by_each(&operators, inputs, out);
                Compiled::quantized(Writing { name, run }, &result.dims)
            }
        })
    }
}

/// One after the other.
fn by_each(operators: &[Box<dyn Operator>], inputs: &[&Tensor], out: &Tensor) -> CandleResult<()> {
    let inputs = inputs.iter().map(|tensor| match tensor.dtype() {
        DType::U8 => as_in_onnx(tensor),
        // Parameters are of other types.
        _ => Ok((*tensor).clone()),
    });
    let mut tensors: Vec<Tensor> = inputs.collect::<CandleResult<_>>()?;
    for operator in operators {
        let moved = operator.run(&tensors.iter().collect::<Vec<_>>(), None)?;
        tensors = vec![moved];
    }
    match tensors.first() {
        Some(moved) => copy(&as_it_lies(moved)?, out),
        None => candle_core::bail!("it has no inputs"),
    }
}

/// What has been moved where so far, in images.
#[derive(Debug, Default)]
struct Moved {
    /// Channels of each input; empty before the first operation.
    inputs: Vec<usize>,
    /// The source of each channel.
    sources: Vec<Source>,
    /// Number, height and width of the images.
    images: [usize; 3],
    /// Since then, the axes as which the values of an image lie: the length of each, and how far apart its
    /// values were. Their order is that of the values, whatever the shape.
    axes: Vec<Axis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    length: usize,
    step: usize,
}

impl Moved {
    /// `None` where it is not moving channels of images.
    fn then(
        mut self,
        inputs: &Inputs<'_>,
        operation: &dyn Operation,
        moves: Moves,
    ) -> Option<Self> {
        let dims = &inputs.facts.first().copied().flatten()?.dims[..];
        if self.inputs.is_empty() {
            let [number, channels, height, width] = *dims else {
                return None;
            };
            self.images = [number, height, width];
            let values = inputs.facts.iter().enumerate();
            let values = values.filter(|(position, _)| !operation.is_parameter(*position));
            let widths = values.map(|(_, fact)| Some(*fact.as_ref()?.dims.get(1)?));
            self.inputs = widths.collect::<Option<_>>()?;
            // Those of the only input, unless the operation puts several together.
            let of_first = |channel| Source { input: 0, channel };
            self.sources = (0..channels).map(of_first).collect();
            if let Moves::Channels(sources) = moves {
                self.sources = sources;
                self.axes = self.whole();
                return Some(self);
            }
            self.axes = self.whole();
        }
        match moves {
            Moves::Channels(sources) => {
                self = self.settled(dims)?;
                let source = |of: Source| self.sources.get(of.channel).copied();
                self.sources = sources.into_iter().map(source).collect::<Option<_>>()?;
                self.axes = self.whole();
            }
            // The order of the values stays.
            Moves::Shape => {}
            Moves::Axes(order) => {
                let groups = groups(&self.axes, dims)?;
                let order = order.iter().map(|&axis| groups.get(axis));
                let groups: Option<Vec<&Vec<Axis>>> = order.collect();
                self.axes = groups?.into_iter().flatten().copied().collect();
            }
        }
        Some(self)
    }

    /// The axes of images that are as they were.
    fn whole(&self) -> Vec<Axis> {
        let [number, height, width] = self.images;
        let plane = height * width;
        let axis = |length, step| Axis { length, step };
        vec![
            axis(number, self.sources.len() * plane),
            axis(self.sources.len(), plane),
            axis(plane, 1),
        ]
    }

    /// The same as channels of images of shape `dims`.
    fn settled(mut self, dims: &[usize]) -> Option<Self> {
        let [number, channels, height, width] = *dims else {
            return None;
        };
        if [number, height, width] != self.images || channels != self.sources.len() {
            return None;
        }
        let plane = height * width;
        let groups = groups(&self.axes, &[number, channels, plane])?;
        let [images, order, pixels] = &groups[..] else {
            return None;
        };
        let whole = self.whole();
        if images[..] != whole[..1] && number != 1 || pixels[..] != whole[2..] && plane != 1 {
            return None;
        }
        let mut steps = vec![0];
        for axis in order {
            let places = (0..axis.length).map(|place| place * axis.step);
            let from = steps.iter();
            let next = from.flat_map(|from| places.clone().map(move |place| from + place));
            steps = next.collect();
        }
        let source = |step: usize| match step % plane {
            0 => self.sources.get(step / plane).copied(),
            _ => None,
        };
        self.sources = steps.into_iter().map(source).collect::<Option<_>>()?;
        self.axes = self.whole();
        Some(self)
    }

    /// What makes images of shape `dims` of the inputs.
    fn channels(self, dims: &[usize]) -> Option<Channels> {
        let this = self.settled(dims)?;
        (this.images.iter().all(|&length| length > 0) && !this.sources.is_empty())
            .then(|| Channels::new(&this.inputs, &this.sources))
    }
}

/// The axes that make up each of the axes `dims`, which they are divided for where need be.
fn groups(axes: &[Axis], dims: &[usize]) -> Option<Vec<Vec<Axis>>> {
    let mut rest: Vec<Axis> = axes.iter().rev().copied().collect();
    let mut groups = Vec::with_capacity(dims.len());
    for &dim in dims {
        let mut group: Vec<Axis> = Vec::new();
        let mut wanted = dim;
        while wanted > 1 {
            let axis = rest.pop()?;
            if axis.length == 1 {
                continue;
            }
            if wanted.is_multiple_of(axis.length) {
                wanted /= axis.length;
                group.push(axis);
            } else if axis.length.is_multiple_of(wanted) {
                let inner = axis.length / wanted;
                group.push(Axis {
                    length: wanted,
                    step: axis.step * inner,
                });
                rest.push(Axis {
                    length: inner,
                    ..axis
                });
                wanted = 1;
            } else {
                return None;
            }
        }
        groups.push(merged(group));
    }
    rest.iter().all(|axis| axis.length == 1).then_some(groups)
}

/// Neighbours that lie as one axis are one.
fn merged(axes: Vec<Axis>) -> Vec<Axis> {
    let mut merged: Vec<Axis> = Vec::with_capacity(axes.len());
    for axis in axes {
        match merged.last_mut() {
            Some(outer) if outer.step == axis.step * axis.length => {
                outer.length *= axis.length;
                outer.step = axis.step;
            }
            _ => merged.push(axis),
        }
    }
    merged
}

/// Images put together of channels of images.
struct GatherChannels {
    isa: Isa,
    channels: Channels,
}

impl Operator for GatherChannels {
    fn name(&self) -> &'static str {
        "int-channels"
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = super::operation::buffer(out)?;
        let (widths, channels) = self.channels.widths();
        let inputs = inputs.iter().take(widths.len());
        let storages: Vec<_> = inputs.map(|input| input.storage_and_layout()).collect();
        let inputs = storages.iter().map(|(storage, layout)| match &**storage {
            CandleStorage::Cpu(storage) => values::<u8>(storage, layout),
            _ => candle_core::bail!("the tensor is not in the memory of the host"),
        });
        let inputs: Vec<&[u8]> = inputs.collect::<CandleResult<_>>()?;
        let pixels = (CHUNK / channels).max(1);
        write(out, |out: &mut [u8]| {
            let count = out.len() / channels;
            let lengths = inputs.iter().zip(widths);
            for (input, width) in lengths {
                super::access::check_length("an input", input.len(), count * width)?;
            }
            for_each_part(out, pixels * channels, |number, out| {
                let inputs = inputs.iter().zip(widths);
                let inputs = inputs.map(|(input, width)| &input[number * pixels * width..]);
                let inputs: Vec<&[u8]> = inputs.collect();
                self.channels.gather(self.isa, &inputs, out);
            });
            Ok(())
        })?;
        Ok(out.clone())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use firstpass_onnx::EngineResult;

    use super::*;
    use crate::ops::Shaping;

    fn reshape(dims: &[i64]) -> Box<dyn Operation> {
        Box::new(Shaping::Reshape {
            dims: Some(dims.to_vec()),
            allow_zero: false,
        })
    }

    fn transpose(order: &[usize]) -> Box<dyn Operation> {
        Box::new(Shaping::Transpose {
            order: Some(order.to_vec()),
        })
    }

    /// The output in the order of ONNX, beside that of candle's operators; and whether channels were gathered.
    fn outputs(
        shape: [usize; 4],
        operations: Vec<Box<dyn Operation>>,
        isa: Isa,
    ) -> Result<(Vec<u8>, Vec<u8>, bool)> {
        let count = shape.iter().product::<usize>();
        let values: Vec<u8> = (0..count).map(|at| (at * 37 % 251) as u8).collect();
        let input = Tensor::from_vec(values, &shape, &Device::Cpu).engine()?;
        let mut expected = input.clone();
        let mut counted = Vec::new();
        for operation in operations {
            let fact = Fact {
                dims: expected.dims().to_vec(),
                dtype: DType::U8,
                narrow: None,
                constant: None,
            };
            let inputs = Inputs {
                facts: &[Some(&fact)],
                isa,
            };
            expected = operation
                .compile(&inputs)?
                .operator
                .run(&[&expected], None)
                .engine()?;
            // Only the first has its values among the inputs.
            let own = usize::from(counted.is_empty());
            counted.push((operation, own));
        }
        let fact = Fact {
            dims: shape.to_vec(),
            dtype: DType::U8,
            narrow: None,
            constant: None,
        };
        let moving = Moving::new(counted).compile(&Inputs {
            facts: &[Some(&fact)],
            isa,
        })?;
        let Storage::Buffer(dims) = &moving.storage else {
            return Err(Error::engine("no buffer"));
        };
        let out = Tensor::zeros(&dims[..], DType::U8, &Device::Cpu).engine()?;
        let lying = as_it_lies(&input)
            .and_then(|input| input.contiguous())
            .engine()?;
        let found = moving.operator.run(&[&lying], Some(&out)).engine()?;
        let flat = |tensor: Tensor| {
            tensor
                .flatten_all()
                .and_then(|t| t.to_vec1::<u8>())
                .engine()
        };
        let found = flat(as_in_onnx(&found).engine()?)?;
        let is_gathered = moving.operator.name() == "int-channels";
        Ok((found, flat(expected)?, is_gathered))
    }

    #[test]
    fn shuffled_channels_are_those_of_the_operators() -> Result<()> {
        for isa in Isa::available() {
            for (shape, groups) in [([1, 116, 3, 5], 2), ([2, 12, 4, 1], 3), ([1, 6, 1, 1], 2)] {
                let [n, c, h, w] = shape.map(|length| i64::try_from(length).unwrap_or(0));
                let operations = || {
                    vec![
                        reshape(&[n, groups, c / groups, h, w]),
                        transpose(&[0, 2, 1, 3, 4]),
                        reshape(&[n, c, h, w]),
                    ]
                };
                let (found, expected, is_gathered) = outputs(shape, operations(), isa)?;
                assert!(is_gathered, "{shape:?}");
                assert_eq!(found, expected, "{shape:?} {}", isa.name());
            }
            // Pixels change places too, or channels become pixels.
            for (dims, order) in [
                ([1, 4, 6, 2], [0, 1, 3, 2]),
                ([1, 4, 6, 2], [0, 2, 1, 3]),
                ([2, 4, 6, 2], [1, 0, 2, 3]),
            ] {
                let operations = vec![transpose(&order)];
                let (found, expected, _) = outputs(dims, operations, isa)?;
                assert_eq!(found, expected, "{dims:?} {order:?} {}", isa.name());
            }
        }
        Ok(())
    }
}
