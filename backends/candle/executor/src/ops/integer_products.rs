//! ConvInteger and MatMulInteger: exact sums of integers less their zero points, in 32 bits.
//!
//! They are computed by the product of matrices of floats, over as few products at a time as leave their sum
//! exact in f32.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::write,
    broadcast::Strides,
    convolution::Weights,
    matmul::product_dims,
    operation::{Compiled, ConvKind, Inputs, Operation, Operator, buffer},
    quantized_otherwise::of_candle,
    window_conv::Columns,
};
use crate::{
    geometry::Geometry,
    graph::{Node, flat},
    kernels::{Matrices, gemm},
};

/// Products of integers of at most 255 whose sum f32 has exactly.
const EXACT: usize = (1 << 24) / (255 * 255);

/// Adds the product of matrices of integers, which are held as floats, to `out`.
fn add_product(of: &Matrices<'_>, sums: &mut Vec<f32>, out: &mut [i32], stride: usize) {
    let Matrices {
        rows,
        columns,
        products,
        ..
    } = *of;
    sums.resize(sums.len().max(rows * columns), 0.0);
    for start in (0..products).step_by(EXACT) {
        let count = EXACT.min(products - start);
        let part = Matrices {
            products: count,
            left: &of.left[start..],
            right: &of.right[start * columns..],
            ..*of
        };
        gemm(&part, sums, columns);
        for (out, sums) in out
            .chunks_mut(stride)
            .zip(sums.chunks_exact(columns))
            .take(rows)
        {
            for (out, &sum) in out.iter_mut().zip(sums) {
                *out = out.wrapping_add(sum as i32);
            }
        }
    }
}

/// Integers less their zero points, of which there is one, or one for each run of `inner` values.
fn less_zero(integers: &Tensor, zeros: &[i32], inner: usize) -> CandleResult<Vec<f32>> {
    let integers = flat::<i32>(integers).map_err(of_candle)?.into_iter();
    Ok(match *zeros {
        [] => integers.map(|integer| integer as f32).collect(),
        [zero] => integers.map(|integer| (integer - zero) as f32).collect(),
        _ => {
            let numbered = integers.enumerate();
            let zero = |index: usize| zeros[index / inner % zeros.len()];
            numbered
                .map(|(index, integer)| (integer - zero(index)) as f32)
                .collect()
        }
    })
}

fn expect_bytes(inputs: &Inputs<'_>, position: usize) -> Result<()> {
    match inputs.get(position)?.dtype {
        DType::U8 | DType::I16 => Ok(()),
        other => Err(Error::engine(format!(
            "{other:?} are no integers of one byte"
        ))),
    }
}

/// The zero points among the inputs of an operator, behind its two operands; `are_there` says which it has.
fn zeros(inputs: &[&Tensor], are_there: [bool; 2]) -> CandleResult<[Vec<i32>; 2]> {
    let mut given = inputs.iter().skip(2);
    let mut next = |is_there: bool| match is_there.then(|| given.next()).flatten() {
        Some(zeros) => flat::<i32>(zeros).map_err(of_candle),
        None => Ok(Vec::new()),
    };
    Ok([next(are_there[0])?, next(are_there[1])?])
}

/// ConvInteger.
#[derive(Debug)]
pub struct ConvInteger {
    geometry: Geometry,
    groups: usize,
    kernel: Option<Vec<i64>>,
}

impl ConvInteger {
    /// # Errors
    /// Fails where the window is none.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self {
            geometry: node.geometry()?,
            groups: node.groups()?,
            kernel: node.ints("kernel_shape").map(<[i64]>::to_vec),
        }))
    }
}

impl Operation for ConvInteger {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        expect_bytes(inputs, 0)?;
        expect_bytes(inputs, 1)?;
        let shape = Weights::of(&inputs.get(1)?.dims, self.groups)?;
        shape.check_kernel(self.kernel.as_deref())?;
        let input = inputs.dims()?;
        let (spans, output) = shape.fit(&self.geometry, input)?;
        let operator = IntegerConv {
            columns: Columns::new(spans, self.groups, input, &output),
            zeros: [2, 3].map(|position| inputs.optional(position).is_some()),
        };
        Ok(Compiled::written(operator, &output, DType::I32))
    }
}

struct IntegerConv {
    columns: Columns,
    /// Whether there are zero points of the values, and of the weights.
    zeros: [bool; 2],
}

impl Operator for IntegerConv {
    fn name(&self) -> &'static str {
        "conv-integer"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Integer)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        let [values, weights, ..] = inputs else {
            candle_core::bail!("{} operands", inputs.len());
        };
        let [zero, weight_zeros] = zeros(inputs, self.zeros)?;
        let values = less_zero(values, &zero, 1)?;
        let of_channel = weights.elem_count() / weights.dim(0)?.max(1);
        let weights = less_zero(weights, &weight_zeros, of_channel)?;
        write(out, |out: &mut [i32]| {
            out.fill(0);
            let stride = self.columns.positions();
            let mut sums = Vec::new();
            self.columns.products(&values, &weights, out, |of, out| {
                add_product(of, &mut sums, out, stride);
            })
        })?;
        Ok(out.clone())
    }
}

/// MatMulInteger.
#[derive(Debug)]
pub struct MatMulInteger;

impl MatMulInteger {
    pub fn parse(_: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self))
    }
}

impl Operation for MatMulInteger {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        expect_bytes(inputs, 0)?;
        expect_bytes(inputs, 1)?;
        let dims = product_dims(inputs.dims()?, &inputs.get(1)?.dims)?;
        let operator = IntegerProduct {
            zeros: [2, 3].map(|position| inputs.optional(position).is_some()),
        };
        Ok(Compiled::written(operator, &dims, DType::I32))
    }
}

struct IntegerProduct {
    /// Whether there are zero points of the left operand, and of the right.
    zeros: [bool; 2],
}

impl Operator for IntegerProduct {
    fn name(&self) -> &'static str {
        "matmul-integer"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Integer)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        let [left, right, ..] = inputs else {
            candle_core::bail!("{} operands", inputs.len());
        };
        let [left_zeros, right_zeros] = zeros(inputs, self.zeros)?;
        // A vector is a row on the left and a column on the right.
        let left = match left.rank() {
            1 => left.unsqueeze(0)?,
            _ => (*left).clone(),
        };
        let right = match right.rank() {
            1 => right.unsqueeze(1)?,
            _ => (*right).clone(),
        };
        let [rows, products] = [left.dim(left.rank() - 2)?, left.dim(left.rank() - 1)?];
        let columns = right.dim(right.rank() - 1)?;
        // Zero points are by row on the left, and by column on the right.
        let left_values = less_zero(&left, &left_zeros, products)?;
        let right_values = less_zero(&right, &right_zeros, 1)?;
        let [of_left, of_right, of_out] = [rows * products, products * columns, rows * columns];
        let strides = Strides::of(
            &left.dims()[..left.rank() - 2],
            &right.dims()[..right.rank() - 2],
            &out.dims()[..(left.rank().max(right.rank()) - 2).min(out.rank())],
        );
        write(out, |out: &mut [i32]| {
            out.fill(0);
            let mut sums = Vec::new();
            for (number, out) in out.chunks_exact_mut(of_out).enumerate() {
                let [l, r] = strides.offsets(number);
                let of = Matrices {
                    rows,
                    columns,
                    products,
                    left: &left_values[l * of_left..][..of_left],
                    left_stride: products,
                    right: &right_values[r * of_right..][..of_right],
                };
                add_product(&of, &mut sums, out, columns);
            }
            Ok(())
        })?;
        Ok(out.clone())
    }
}
