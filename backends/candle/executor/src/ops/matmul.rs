//! Products of matrices on floats, which are candle's.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    binary::{Arithmetic, Function},
    broadcast::broadcast,
    operation::{Compiled, ConvKind, Inputs, Operation, Operator, expect_type},
    permuted::contiguous,
};
use crate::graph::Node;

/// Gemm: `alpha · a · b + beta · c`.
#[derive(Debug, Clone, Copy)]
pub struct Gemm {
    pub alpha: f32,
    pub beta: f32,
    pub transposes: [bool; 2],
}

impl Gemm {
    /// # Errors
    /// As [`Self::read`].
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self::read(node)?))
    }

    /// # Errors
    /// Fails where an attribute is of another type.
    pub fn read(node: &Node<'_>) -> Result<Self> {
        let flag = |name: &str| Ok::<_, Error>(node.int(name)?.unwrap_or(0) != 0);
        Ok(Self {
            alpha: node.float("alpha").unwrap_or(1.0),
            beta: node.float("beta").unwrap_or(1.0),
            transposes: [flag("transA")?, flag("transB")?],
        })
    }
}

impl Operation for Gemm {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (left, right) = (inputs.get(0)?, inputs.get(1)?);
        expect_type(left.dtype, DType::F32)?;
        expect_type(right.dtype, DType::F32)?;
        let ([m, k], [k_right, n]) = (
            matrix(&left.dims, self.transposes[0])?,
            matrix(&right.dims, self.transposes[1])?,
        );
        if k != k_right {
            return Err(mismatch(&left.dims, &right.dims));
        }
        let dims = [m, n];
        let addition = match inputs.optional(2) {
            None => None,
            Some(added) => {
                expect_type(added.dtype, DType::F32)?;
                if broadcast(&dims, &added.dims)? != dims {
                    return Err(mismatch(&dims, &added.dims));
                }
                Some(Arithmetic::new(Function::Add, &dims, &added.dims, &dims))
            }
        };
        let operator = Product {
            gemm: *self,
            addition,
        };
        Ok(match operator.addition {
            Some(_) => Compiled::written(operator, &dims, DType::F32),
            None => Compiled::allocated(operator, &dims, DType::F32),
        })
    }
}

struct Product {
    gemm: Gemm,
    addition: Option<Arithmetic>,
}

impl Operator for Product {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let [left, right, added @ ..] = inputs else {
            candle_core::bail!("{} operands", inputs.len());
        };
        let turned = |tensor: &Tensor, turns: bool| match turns {
            true => tensor.t(),
            false => Ok(tensor.clone()),
        };
        let scaled = |tensor: Tensor, factor: f32| match factor {
            1.0 => Ok(tensor),
            _ => tensor.affine(factor.into(), 0.0),
        };
        let [turns_left, turns_right] = self.gemm.transposes;
        let product = turned(left, turns_left)?.matmul(&turned(right, turns_right)?)?;
        let product = scaled(product, self.gemm.alpha)?;
        match (&self.addition, added) {
            (Some(addition), [added]) => {
                let added = scaled((*added).clone(), self.gemm.beta)?;
                addition.run(&[&product, &added], out)
            }
            _ => Ok(product),
        }
    }
}

fn matrix(dims: &[usize], is_transposed: bool) -> Result<[usize; 2]> {
    match *dims {
        [rows, columns] if is_transposed => Ok([columns, rows]),
        [rows, columns] => Ok([rows, columns]),
        _ => Err(Error::engine(format!("{dims:?} is no matrix"))),
    }
}

fn mismatch(left: &[usize], right: &[usize]) -> Error {
    Error::engine(format!("shapes {left:?} and {right:?} do not go together"))
}

/// MatMul: of the last two axes, with the others broadcast.
#[derive(Debug)]
pub struct MatMul;

impl MatMul {
    pub fn parse(_: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self))
    }
}

impl Operation for MatMul {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (left, right) = (inputs.get(0)?, inputs.get(1)?);
        expect_type(left.dtype, DType::F32)?;
        expect_type(right.dtype, DType::F32)?;
        let dims = product_dims(&left.dims, &right.dims)?;
        let operator = ProductOfMany {
            shape: dims.clone(),
        };
        Ok(Compiled::allocated(operator, &dims, DType::F32))
    }
}

/// [`MatMul`] of certain shapes.
struct ProductOfMany {
    /// Of the output.
    shape: Vec<usize>,
}

impl Operator for ProductOfMany {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn kind(&self) -> Option<ConvKind> {
        Some(ConvKind::Float)
    }

    fn run(&self, inputs: &[&Tensor], _: Option<&Tensor>) -> CandleResult<Tensor> {
        let [left, right] = inputs else {
            candle_core::bail!("{} operands", inputs.len());
        };
        // A vector is a row on the left and a column on the right.
        let left = match left.rank() {
            1 => left.unsqueeze(0)?,
            _ => contiguous(left)?,
        };
        let right = match right.rank() {
            1 => right.unsqueeze(1)?,
            2 => (*right).clone(),
            _ => contiguous(right)?,
        };
        left.broadcast_matmul(&right)?.reshape(&self.shape[..])
    }
}

/// The shape of a product.
pub fn product_dims(left: &[usize], right: &[usize]) -> Result<Vec<usize>> {
    let ([.., k], [.., k_right]) = (
        left,
        match right {
            [_] => right,
            [.., row, _] => std::slice::from_ref(row),
            [] => right,
        },
    ) else {
        return Err(mismatch(left, right));
    };
    if k != k_right {
        return Err(mismatch(left, right));
    }
    let batch = |dims: &[usize]| dims[..dims.len().saturating_sub(2)].to_vec();
    let mut dims = broadcast(&batch(left), &batch(right))?;
    if let [.., rows, _] = left {
        dims.push(*rows);
    }
    if let [.., _, columns] = right {
        dims.push(*columns);
    }
    Ok(dims)
}
