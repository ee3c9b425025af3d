//! Einsum: a sum of products that names the axes of its operands, as products of matrices.

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    operation::{Compiled, ConvKind, Inputs, Operation, Operator, expect_type},
    permuted::contiguous,
    slicing::select,
};
use crate::{geometry::volume, graph::Node};

/// Einsum.
#[derive(Debug)]
pub struct Einsum {
    operands: Vec<Term>,
    output: Option<Term>,
}

/// The names of the axes of an operand, and before which of them the unnamed ones lie.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    names: Vec<char>,
    unnamed: Option<usize>,
}

/// An axis: its name, or its number from the last of the unnamed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Axis {
    Unnamed(usize),
    Named(char),
}

impl Einsum {
    /// # Errors
    /// Fails where the equation is none.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let equation = node.text("equation");
        let equation = equation.ok_or_else(|| node.malformed("it has no equation"))?;
        let equation = String::from_utf8_lossy(equation).replace(' ', "");
        let (operands, output) = match equation.split_once("->") {
            Some((operands, output)) => (operands, Some(output)),
            None => (&equation[..], None),
        };
        let term = |text: &str| {
            let term = Term::of(text);
            term.ok_or_else(|| node.malformed(format!("{text:?} in its equation names no axes")))
        };
        Ok(Box::new(Self {
            operands: operands.split(',').map(term).collect::<Result<_>>()?,
            output: output.map(term).transpose()?,
        }))
    }

    /// The axes of the output. Without a term for it they are those that are named once, in the order of their
    /// names, behind the unnamed ones.
    fn output(&self, unnamed: usize) -> Vec<Axis> {
        if let Some(output) = &self.output {
            return output.axes(unnamed);
        }
        let mut all: Vec<char> = self
            .operands
            .iter()
            .flat_map(|term| term.names.clone())
            .collect();
        all.sort_unstable();
        let once = |name: &&char| all.iter().filter(|other| other == name).count() == 1;
        let named = all.iter().filter(once).map(|&name| Axis::Named(name));
        unnamed_axes(unnamed).into_iter().chain(named).collect()
    }
}

/// The unnamed axes from the first to the last.
fn unnamed_axes(count: usize) -> Vec<Axis> {
    (0..count).rev().map(Axis::Unnamed).collect()
}

impl Term {
    fn of(text: &str) -> Option<Self> {
        let (before, after) = match text.split_once("...") {
            Some((before, after)) => (before, Some(after)),
            None => (text, None),
        };
        let names: Vec<char> = before.chars().chain(after.unwrap_or("").chars()).collect();
        let is_valid = names.iter().all(char::is_ascii_alphabetic);
        is_valid.then(|| Self {
            unnamed: after.map(|_| before.len()),
            names,
        })
    }

    fn axes(&self, unnamed: usize) -> Vec<Axis> {
        let mut axes: Vec<Axis> = self.names.iter().copied().map(Axis::Named).collect();
        if let Some(at) = self.unnamed {
            axes.splice(at..at, unnamed_axes(unnamed));
        }
        axes
    }
}

impl Operation for Einsum {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let facts = inputs.all()?;
        if facts.len() != self.operands.len() {
            return Err(Error::engine(format!(
                "{} operands, of which its equation names {}",
                facts.len(),
                self.operands.len()
            )));
        }
        let dtype = inputs.get(0)?.dtype;
        if dtype != DType::F64 {
            expect_type(dtype, DType::F32)?;
        }
        let mut lengths: Vec<(Axis, usize)> = Vec::new();
        let mut operands = Vec::with_capacity(facts.len());
        let mut most = 0;
        for (term, fact) in self.operands.iter().zip(&facts) {
            expect_type(fact.dtype, dtype)?;
            let misfit = || Error::engine(format!("{:?} has other axes than {term:?}", fact.dims));
            let unnamed = fact.dims.len().checked_sub(term.names.len());
            let unnamed = unnamed.filter(|&count| count == 0 || term.unnamed.is_some());
            let unnamed = unnamed.ok_or_else(misfit)?;
            most = most.max(unnamed);
            let axes = term.axes(unnamed);
            for (&axis, &length) in axes.iter().zip(&fact.dims) {
                match lengths.iter_mut().find(|(other, _)| *other == axis) {
                    None => lengths.push((axis, length)),
                    Some((_, known)) if *known == length || length == 1 => {}
                    Some((_, known)) if *known == 1 => *known = length,
                    Some(_) => return Err(misfit()),
                }
            }
            operands.push(axes);
        }
        let output = self.output(most);
        let length = |axis: &Axis| lengths.iter().find(|(other, _)| other == axis);
        let mut dims = Vec::with_capacity(output.len());
        for (at, axis) in output.iter().enumerate() {
            let found = length(axis).filter(|_| !output[..at].contains(axis));
            let found = found.ok_or_else(|| {
                Error::engine("its output names an axis twice, or one that no operand has")
            })?;
            dims.push(found.1);
        }
        volume(&dims)?;
        // What lies between two products may be larger than what goes in and comes out.
        check_products(&operands, &output, &lengths)?;
        let operator = Product {
            operands,
            output,
            lengths,
            shape: dims.clone(),
        };
        Ok(Compiled::allocated(operator, &dims, dtype))
    }
}

/// # Errors
/// Fails where a product of some of the operands would be too large.
fn check_products(operands: &[Vec<Axis>], output: &[Axis], all: &[(Axis, usize)]) -> Result<()> {
    let mut kept: Vec<Axis> = Vec::new();
    for (number, axes) in operands.iter().enumerate() {
        kept.extend(axes);
        kept.sort_unstable();
        kept.dedup();
        kept.retain(|axis| is_needed(*axis, &operands[number + 1..], output));
        let dims = all.iter().filter(|(axis, _)| kept.contains(axis));
        volume(&dims.map(|(_, length)| *length).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Whether an axis is read by operands that follow, or is one of the output.
fn is_needed(axis: Axis, following: &[Vec<Axis>], output: &[Axis]) -> bool {
    output.contains(&axis) || following.iter().any(|axes| axes.contains(&axis))
}

/// [`Einsum`] of certain shapes.
struct Product {
    operands: Vec<Vec<Axis>>,
    output: Vec<Axis>,
    lengths: Vec<(Axis, usize)>,
    /// Of the output.
    shape: Vec<usize>,
}

/// A tensor with the names of its axes, each of which is there once.
struct Named {
    tensor: Tensor,
    axes: Vec<Axis>,
}

impl Operator for Product {
    fn name(&self) -> &'static str {
        "einsum"
    }

    fn kind(&self) -> Option<ConvKind> {
        (self.operands.len() > 1).then_some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], _: Option<&Tensor>) -> CandleResult<Tensor> {
        if self.lengths.iter().any(|(_, length)| *length == 0) {
            // Sums of nothing.
            let dtype = inputs.first().map_or(DType::F32, |first| first.dtype());
            return Tensor::zeros(&self.shape[..], dtype, &Device::Cpu);
        }
        let mut product: Option<Named> = None;
        for (number, (input, axes)) in inputs.iter().zip(&self.operands).enumerate() {
            let named = self.named(input, axes)?;
            let following = &self.operands[number + 1..];
            let is_needed = |axis: Axis| is_needed(axis, following, &self.output);
            product = Some(match product {
                None => named.summed(is_needed)?,
                Some(left) => left.times(named, is_needed)?,
            });
        }
        let Some(mut product) = product else {
            candle_core::bail!("it has no operands");
        };
        // An axis of length 1 may have been left out of all operands.
        for &axis in &self.output {
            if !product.axes.contains(&axis) {
                product.tensor = product.tensor.unsqueeze(product.axes.len())?;
                product.axes.push(axis);
            }
        }
        product.ordered(&self.output)?.reshape(&self.shape[..])
    }
}

impl Product {
    /// An operand with each of its axes once: of one that is named twice its diagonal. Axes of length 1 that are
    /// longer elsewhere are left out, because every product has them alike.
    fn named(&self, input: &Tensor, axes: &[Axis]) -> CandleResult<Named> {
        let mut named = Named {
            tensor: contiguous(input)?,
            axes: axes.to_vec(),
        };
        while let Some(at) = (0..named.axes.len()).find(|&at| self.is_single(&named, at)) {
            named.tensor = named.tensor.squeeze(at)?;
            named.axes.remove(at);
        }
        let twice = |axes: &[Axis]| {
            let second = |at: &usize| axes[..*at].contains(&axes[*at]);
            let second = (0..axes.len()).find(second)?;
            let first = axes.iter().position(|axis| *axis == axes[second])?;
            Some((first, second))
        };
        while let Some((first, second)) = twice(&named.axes) {
            named = named.diagonal(first, second)?;
        }
        Ok(named)
    }

    fn is_single(&self, named: &Named, at: usize) -> bool {
        named.tensor.dims()[at] == 1
    }
}

impl Named {
    /// With two axes of one length as one.
    fn diagonal(self, first: usize, second: usize) -> CandleResult<Self> {
        let length = self.tensor.dim(first)?;
        let mut order: Vec<usize> = (0..self.axes.len()).collect();
        order.retain(|&axis| axis != first && axis != second);
        let mut axes: Vec<Axis> = order.iter().map(|&axis| self.axes[axis]).collect();
        order.splice(0..0, [first, second]);
        let turned = contiguous(&self.tensor.permute(&order[..])?)?;
        let rest = turned.dims()[2..].to_vec();
        let places: Result<Vec<u32>, _> = (0..length)
            .map(|at| u32::try_from(at * (length + 1)))
            .collect();
        let places = places.map_err(candle_core::Error::wrap)?;
        let flat = turned.reshape((length * length, ()))?;
        axes.insert(0, self.axes[first]);
        let dims = [&[length], &rest[..]].concat();
        Ok(Self {
            tensor: select(&flat, &places, 0)?.reshape(&dims[..])?,
            axes,
        })
    }

    /// Without the axes that are not needed.
    fn summed(self, is_needed: impl Fn(Axis) -> bool) -> CandleResult<Self> {
        let not_needed: Vec<usize> = (0..self.axes.len())
            .filter(|&at| !is_needed(self.axes[at]))
            .collect();
        if not_needed.is_empty() {
            return Ok(self);
        }
        Ok(Self {
            tensor: contiguous(&self.tensor)?.sum(&not_needed[..])?,
            axes: self
                .axes
                .iter()
                .copied()
                .filter(|&axis| is_needed(axis))
                .collect(),
        })
    }

    /// Its values, with the axes in this order.
    fn ordered(&self, axes: &[Axis]) -> CandleResult<Tensor> {
        let order: Vec<usize> = axes
            .iter()
            .filter_map(|axis| self.axes.iter().position(|own| own == axis))
            .collect();
        contiguous(&self.tensor.permute(&order[..])?)
    }

    /// The product with `other`, summed up over the axes that are not needed.
    fn times(self, other: Self, is_needed: impl Fn(Axis) -> bool) -> CandleResult<Self> {
        // What only one of them has is summed up before.
        let left = {
            let axes = other.axes.clone();
            self.summed(|axis| is_needed(axis) || axes.contains(&axis))?
        };
        let right = {
            let axes = left.axes.clone();
            other.summed(|axis| is_needed(axis) || axes.contains(&axis))?
        };
        let shared = |axis: &Axis| left.axes.contains(axis) && right.axes.contains(axis);
        let pick = |axes: &[Axis], keeps: &dyn Fn(&Axis) -> bool| -> Vec<Axis> {
            axes.iter().copied().filter(keeps).collect()
        };
        let batch = pick(&left.axes, &|axis| shared(axis) && is_needed(*axis));
        let summed = pick(&left.axes, &|axis| shared(axis) && !is_needed(*axis));
        let rows = pick(&left.axes, &|axis| !shared(axis));
        let columns = pick(&right.axes, &|axis| !shared(axis));
        let size = |named: &Self, axes: &[Axis]| -> CandleResult<Vec<usize>> {
            let at = |axis: &Axis| named.axes.iter().position(|own| own == axis);
            let at = axes.iter().filter_map(at);
            at.map(|at| named.tensor.dim(at)).collect()
        };
        let (batches, sums) = (size(&left, &batch)?, size(&left, &summed)?);
        let (row_dims, column_dims) = (size(&left, &rows)?, size(&right, &columns)?);
        let count = |dims: &[usize]| dims.iter().product::<usize>();
        let (b, k) = (count(&batches), count(&sums));
        let (m, n) = (count(&row_dims), count(&column_dims));
        let left = left.ordered(&[&batch[..], &rows, &summed].concat())?;
        let right = right.ordered(&[&batch[..], &summed, &columns].concat())?;
        let product = left
            .reshape((b, m, k))?
            .matmul(&right.reshape((b, k, n))?)?;
        let dims = [&batches[..], &row_dims, &column_dims].concat();
        Ok(Self {
            tensor: product.reshape(&dims[..])?,
            axes: [batch, rows, columns].concat(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read() {
        let term = |names: &str, unnamed| {
            let names = names.chars().collect();
            Some(Term { names, unnamed })
        };
        assert_eq!(Term::of("bij"), term("bij", None));
        assert_eq!(Term::of("b...j"), term("bj", Some(1)));
        assert_eq!(Term::of("..."), term("", Some(0)));
        assert_eq!(Term::of(""), term("", None));
        assert_eq!(Term::of("b.j"), None);
        assert_eq!(Term::of("...b..."), None);
    }
}
