//! What a node computes: first as the file says it, then for shapes, then on values.

use std::fmt::Debug;

use candle_core::{DType, Device, Tensor};
use firstpass_onnx::{Constant, EngineResult, Error, Result};

use super::{
    float_conv::FloatConv, halves, int_conv::IntConv, permuted::contiguous, pointwise::Pointwise,
    quantize::Quantize,
};
use crate::{
    geometry::{axis_of, check_folded, volume},
    graph::{Bounds, Narrow, flat, narrow_of, tensor_of},
    kernels::{Addition, Isa, Source},
};

/// What a node computes, before its inputs have shapes. It has one output.
pub trait Operation: Debug + Send + Sync {
    /// Whether the input at `position` has to be known when the model is prepared: shapes, axes,
    /// weights.
    fn is_parameter(&self, _position: usize) -> bool {
        false
    }

    /// Whether a parameter may as well be known only in a pass, because no shape depends on it.
    fn may_vary(&self, _position: usize) -> bool {
        false
    }

    /// Whether it depends on nothing but the shapes of its inputs.
    fn is_of_shapes(&self) -> bool {
        false
    }

    /// Takes Relu or Clip behind it as its own; `false` where it cannot.
    fn absorb(&mut self, _bounds: Bounds) -> bool {
        false
    }

    /// How it moves values, where it does nothing else and that can be told.
    ///
    /// # Errors
    /// Fails where [`Self::compile`] does.
    fn moves(&self, _inputs: &Inputs<'_>) -> Result<Option<Moves>> {
        Ok(None)
    }

    /// The axes along which it takes means, ascending, where it does nothing else.
    ///
    /// # Errors
    /// Fails where [`Self::compile`] does.
    fn averages(&self, _inputs: &Inputs<'_>) -> Result<Option<Vec<usize>>> {
        Ok(None)
    }

    /// How many values it adds before and behind those of each axis, and which, where it does nothing else and
    /// they are all the same.
    ///
    /// # Errors
    /// Fails where [`Self::compile`] does.
    fn pads(&self, _inputs: &Inputs<'_>) -> Result<Option<(Vec<[i64; 2]>, f64)>> {
        Ok(None)
    }

    /// Whether it takes f16 and bf16 as they are. All others compute in f32: see [`super::halves`].
    fn takes_halves(&self) -> bool {
        false
    }

    /// The type of floats of its output where `first` is that of the first input of floats.
    fn floats_of_output(&self, first: DType) -> DType {
        first
    }

    /// The type of the integers of its output, which is of `dtype`, where a wider type holds them: that of the
    /// first input that is held in the same.
    fn narrow(&self, inputs: &Inputs<'_>, dtype: DType) -> Option<Narrow> {
        let mut facts = inputs.facts.iter().copied().flatten();
        facts.find(|fact| fact.dtype == dtype)?.narrow
    }

    /// The operator for inputs of these shapes.
    ///
    /// # Errors
    /// Fails where the inputs are not of shapes and types that it takes.
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled>;
}

/// How an operation moves values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moves {
    /// Each channel of the output, of images, is one of an input.
    Channels(Vec<Source>),
    /// The values stay one after the other as they are, in another shape.
    Shape,
    /// The axes of the output are those of the input in this order.
    Axes(Vec<usize>),
}

/// What is computed from the inputs of a step, again and again.
pub trait Operator: Send + Sync {
    fn name(&self) -> &'static str;

    /// For convolutions and products of matrices.
    fn kind(&self) -> Option<ConvKind> {
        None
    }

    /// Computes the output: in `out`, where it has asked for a buffer.
    ///
    /// # Errors
    /// Fails on tensors of other shapes than it was made for.
    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> candle_core::Result<Tensor>;

    /// A convolution on integers that can be joined with others.
    fn as_int_conv(&self) -> Option<&IntConv> {
        None
    }

    /// Likewise, to be told what follows it.
    fn as_int_conv_mut(&mut self) -> Option<&mut IntConv> {
        None
    }

    /// How it adds two tensors of integers, where these are of one shape and it does nothing else.
    fn as_addition(&self) -> Option<&Addition> {
        None
    }

    /// The convolution on integers that it is, or that is part of it: its weights are to be packed.
    fn packed(&self) -> Option<&IntConv> {
        self.as_int_conv()
    }

    /// The function that it is of the values at one place in its inputs, where they are floats.
    fn as_pointwise(&self) -> Option<Pointwise> {
        None
    }

    /// A convolution on floats that can compute such functions of its output as well.
    fn as_float_conv(&mut self) -> Option<&mut FloatConv> {
        None
    }

    /// An operator that can read the input of the model where the caller has it.
    fn as_quantize(&self) -> Option<&Quantize> {
        None
    }
}

/// What an operator calculates with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvKind {
    Integer,
    Float,
}

/// What is known of a value when a model is prepared.
#[derive(Debug, Clone)]
pub struct Fact {
    /// In the order of ONNX.
    pub dims: Vec<usize>,
    pub dtype: DType,
    /// The type of its integers, where `dtype` is wider.
    pub narrow: Option<Narrow>,
    /// The value, where it does not depend on the inputs of the model.
    pub constant: Option<Tensor>,
}

impl Fact {
    /// # Errors
    /// Fails where the constant cannot be held.
    pub fn of(constant: &Constant) -> Result<Self> {
        let tensor = tensor_of(constant)?;
        Ok(Self {
            dims: tensor.dims().to_vec(),
            dtype: tensor.dtype(),
            narrow: narrow_of(constant),
            constant: Some(tensor),
        })
    }

    /// The same with a value that is known by now.
    pub fn with_value(&self, tensor: Tensor) -> Self {
        Self {
            dims: tensor.dims().to_vec(),
            dtype: tensor.dtype(),
            narrow: self.narrow,
            constant: Some(tensor),
        }
    }

    /// Its integers, where it is constant.
    fn integers(&self) -> Option<Result<Vec<i64>>> {
        let tensor = self.constant.as_ref()?;
        if !self.dtype.is_int() {
            let dtype = self.dtype;
            return Some(Err(Error::engine(format!(
                "{dtype:?} where integers belong"
            ))));
        }
        Some(flat(tensor))
    }
}

/// What is known of the inputs of a step; those that a node leaves out are `None`.
pub struct Inputs<'a> {
    pub facts: &'a [Option<&'a Fact>],
    /// What the kernels use.
    pub isa: Isa,
}

impl<'a> Inputs<'a> {
    /// The operator of `operation` for these, whatever floats they are.
    ///
    /// # Errors
    /// As [`Operation::compile`].
    pub fn compile(&self, operation: &dyn Operation) -> Result<Compiled> {
        let compiled = match halves::first_floats(self) {
            Some(first) if !operation.takes_halves() => halves::compile(operation, self, first),
            _ => operation.compile(self),
        };
        // What is refused is said in the types of the tensors.
        compiled.map_err(|error| {
            let narrow = self.facts.iter().flatten().find_map(|fact| fact.narrow);
            match narrow {
                Some(narrow) => error.context(format!(
                    "with integers of {}, which are held as {:?}",
                    narrow.name(),
                    narrow.held_as()
                )),
                None => error,
            }
        })
    }

    /// Runs `operation` once, whose inputs are constants.
    ///
    /// # Errors
    /// Fails where the operator does, or the output would be too large.
    pub fn fold(&self, operation: &dyn Operation, compiled: &Compiled) -> Result<Tensor> {
        let facts = self.facts.iter().enumerate();
        let facts = facts.filter(|(position, _)| !operation.is_parameter(*position));
        let tensors = facts.filter_map(|(_, fact)| fact.as_ref()?.constant.as_ref());
        compiled.fold(&tensors.collect::<Vec<_>>())
    }

    pub fn optional(&self, position: usize) -> Option<&'a Fact> {
        self.facts.get(position).copied().flatten()
    }

    pub fn get(&self, position: usize) -> Result<&'a Fact> {
        self.optional(position)
            .ok_or_else(|| Error::engine(format!("its input {position} is missing")))
    }

    /// The shape of the first input.
    pub fn dims(&self) -> Result<&'a [usize]> {
        Ok(&self.get(0)?.dims)
    }

    /// The shape of the first input, which is an image: number, channels, height, width.
    pub fn image(&self) -> Result<[usize; 4]> {
        image(self.dims()?)
    }

    /// All inputs; none may be left out.
    pub fn all(&self) -> Result<Vec<&'a Fact>> {
        (0..self.facts.len())
            .map(|position| self.get(position))
            .collect()
    }

    pub fn optional_constant(&self, position: usize) -> Result<Option<&'a Tensor>> {
        let Some(fact) = self.optional(position) else {
            return Ok(None);
        };
        let constant = fact.constant.as_ref().ok_or_else(|| {
            Error::unsupported(format!(
                "its input {position} depends on values of the input"
            ))
        });
        constant.map(Some)
    }

    pub fn constant(&self, position: usize) -> Result<&'a Tensor> {
        self.get(position)?;
        self.optional_constant(position)?
            .ok_or_else(|| Error::engine(format!("its input {position} is missing")))
    }

    /// The integers of an input that has to be known.
    pub fn optional_integers(&self, position: usize) -> Result<Option<Vec<i64>>> {
        self.optional_constant(position)?;
        self.optional(position).and_then(Fact::integers).transpose()
    }

    pub fn integers(&self, position: usize) -> Result<Vec<i64>> {
        self.get(position)?;
        self.optional_integers(position)?
            .ok_or_else(|| Error::engine(format!("its input {position} is missing")))
    }

    /// The f32 of an input that has to be known.
    pub fn optional_floats(&self, position: usize) -> Result<Option<Vec<f32>>> {
        match self.optional_constant(position)? {
            None => Ok(None),
            Some(tensor) => {
                expect_type(tensor.dtype(), DType::F32)?;
                flat(tensor).map(Some)
            }
        }
    }

    pub fn floats(&self, position: usize) -> Result<Vec<f32>> {
        self.get(position)?;
        self.optional_floats(position)?
            .ok_or_else(|| Error::engine(format!("its input {position} is missing")))
    }
}

/// Where an output lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In a buffer of this shape, which the operator writes into.
    Buffer(Vec<usize>),
    /// In the storage of an input, or in one that candle allocates.
    View,
    /// In one that candle allocates.
    Allocated,
}

/// An operator with what is known of its output.
pub struct Compiled {
    pub operator: Box<dyn Operator>,
    /// In the order of ONNX.
    pub dims: Vec<usize>,
    pub dtype: DType,
    pub storage: Storage,
}

impl Compiled {
    pub fn new(
        operator: impl Operator + 'static,
        dims: &[usize],
        dtype: DType,
        at: Storage,
    ) -> Self {
        Self {
            operator: Box::new(operator),
            dims: dims.to_vec(),
            dtype,
            storage: at,
        }
    }

    /// The operator writes into a buffer.
    pub fn written(operator: impl Operator + 'static, dims: &[usize], dtype: DType) -> Self {
        Self::new(operator, dims, dtype, Storage::Buffer(dims.to_vec()))
    }

    /// The operator writes u8 into a buffer, images with the channels last.
    pub fn quantized(operator: impl Operator + 'static, dims: &[usize]) -> Self {
        Self::new(
            operator,
            dims,
            DType::U8,
            Storage::Buffer(channels_last(dims)),
        )
    }

    pub fn view(operator: impl Operator + 'static, dims: &[usize], dtype: DType) -> Self {
        Self::new(operator, dims, dtype, Storage::View)
    }

    pub fn allocated(operator: impl Operator + 'static, dims: &[usize], dtype: DType) -> Self {
        Self::new(operator, dims, dtype, Storage::Allocated)
    }

    fn fold(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        // What is no larger than the constants that it is made of is no danger.
        if volume(&self.dims)? > inputs.iter().map(|input| input.elem_count()).sum() {
            check_folded(&self.dims)?;
        }
        self.once(inputs)
    }

    /// Runs it, with a buffer of its own.
    pub fn once(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        if self.dims.contains(&0) {
            return Tensor::zeros(&self.dims[..], self.dtype, &Device::Cpu).engine();
        }
        let out = match &self.storage {
            Storage::Buffer(dims) => {
                Some(Tensor::zeros(&dims[..], self.dtype, &Device::Cpu).engine()?)
            }
            Storage::View | Storage::Allocated => None,
        };
        // Contiguous, so that a small part does not hold on to the whole.
        let result = self.operator.run(inputs, out.as_ref());
        result.and_then(|result| contiguous(&result)).engine()
    }
}

/// An operator made of candle's functions on tensors.
pub struct ByCandle<F> {
    pub name: &'static str,
    pub run: F,
}

impl<F> Operator for ByCandle<F>
where
    F: Fn(&[&Tensor]) -> candle_core::Result<Tensor> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, inputs: &[&Tensor], _: Option<&Tensor>) -> candle_core::Result<Tensor> {
        (self.run)(inputs)
    }
}

/// [`ByCandle`] of the first input.
pub fn by_candle<F>(name: &'static str, run: F) -> impl Operator + 'static
where
    F: Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync + 'static,
{
    ByCandle {
        name,
        run: move |inputs: &[&Tensor]| run(first(inputs)?),
    }
}

/// An operator of this crate that writes into a buffer.
pub struct Writing<F> {
    pub name: &'static str,
    pub run: F,
}

impl<F> Operator for Writing<F>
where
    F: Fn(&[&Tensor], &Tensor) -> candle_core::Result<()> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let out = buffer(out)?;
        (self.run)(inputs, out)?;
        Ok(out.clone())
    }
}

pub fn first<'a>(inputs: &[&'a Tensor]) -> candle_core::Result<&'a Tensor> {
    match inputs {
        [first, ..] => Ok(first),
        [] => candle_core::bail!("it has no inputs"),
    }
}

pub fn buffer(out: Option<&Tensor>) -> candle_core::Result<&Tensor> {
    match out {
        Some(out) => Ok(out),
        None => candle_core::bail!("it has no buffer"),
    }
}

pub fn expect_type(found: DType, expected: DType) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        Err(Error::unsupported(format!(
            "values of type {found:?}, where only {expected:?} is implemented"
        )))
    }
}

/// The order in which u8 images lie in memory; other tensors keep theirs.
pub fn channels_last(dims: &[usize]) -> Vec<usize> {
    match *dims {
        [number, channels, height, width] => vec![number, height, width, channels],
        _ => dims.to_vec(),
    }
}

pub fn image(dims: &[usize]) -> Result<[usize; 4]> {
    dims.try_into()
        .map_err(|_| Error::unsupported(format!("a tensor of shape {dims:?} is no image")))
}

/// Several axes, ascending; none may be there twice.
pub fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut found = Vec::with_capacity(rank.min(axes.len()));
    for &axis in axes {
        let axis = axis_of(axis, rank)?;
        if found.contains(&axis) {
            return Err(Error::engine(format!("axes {axes:?} name one twice")));
        }
        found.push(axis);
    }
    found.sort_unstable();
    Ok(found)
}

/// A shape, or part of one, as numbers of the file.
pub fn lengths(given: &[i64]) -> Result<Vec<usize>> {
    let lengths: Option<Vec<usize>> = given.iter().map(|&n| usize::try_from(n).ok()).collect();
    let lengths = lengths.ok_or_else(|| Error::engine(format!("{given:?} is no shape")))?;
    volume(&lengths)?;
    Ok(lengths)
}
