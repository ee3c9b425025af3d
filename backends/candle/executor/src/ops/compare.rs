//! Comparisons, truth values, and the choice by them.

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::Result;

use super::{
    access::Written,
    broadcast::{Strides, broadcast, zip},
    operation::{ByCandle, Compiled, Inputs, Operation, Writing, by_candle, expect_type},
    permuted::contiguous,
};
use crate::{graph::Node, kernels::Isa};

/// A comparison, or a function of truth values, whose result is a truth value.
#[derive(Debug, Clone, Copy)]
pub enum Compare {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Xor,
}

impl Compare {
    /// # Errors
    /// Fails where `node` is no comparison.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(match node.op_type.as_str() {
            "Equal" => Self::Equal,
            "Less" => Self::Less,
            "LessOrEqual" => Self::LessOrEqual,
            "Greater" => Self::Greater,
            "GreaterOrEqual" => Self::GreaterOrEqual,
            "And" => Self::And,
            "Or" => Self::Or,
            "Xor" => Self::Xor,
            _ => return Err(node.unsupported("it is no comparison")),
        }))
    }

    fn run<T: Written>(
        self,
        strides: &Strides,
        left: &Tensor,
        right: &Tensor,
        out: &Tensor,
    ) -> CandleResult<()> {
        let zero = T::zero();
        zip(
            Isa::detect(),
            strides,
            left,
            right,
            out,
            move |a: T, b: T| {
                u8::from(match self {
                    Self::Equal => a == b,
                    Self::Less => a < b,
                    Self::LessOrEqual => a <= b,
                    Self::Greater => a > b,
                    Self::GreaterOrEqual => a >= b,
                    Self::And => a != zero && b != zero,
                    Self::Or => a != zero || b != zero,
                    Self::Xor => (a != zero) != (b != zero),
                })
            },
        )
    }
}

impl Operation for Compare {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (left, right) = (inputs.get(0)?, inputs.get(1)?);
        expect_type(right.dtype, left.dtype)?;
        let dims = broadcast(&left.dims, &right.dims)?;
        let strides = Strides::of(&left.dims, &right.dims, &dims);
        let this = *self;
        let run = move |inputs: &[&Tensor], out: &Tensor| {
            let [left, right] = inputs else {
                candle_core::bail!("{} operands", inputs.len());
            };
            match left.dtype() {
                DType::F32 => this.run::<f32>(&strides, left, right, out),
                DType::F64 => this.run::<f64>(&strides, left, right, out),
                DType::I64 => this.run::<i64>(&strides, left, right, out),
                DType::I16 => this.run::<i16>(&strides, left, right, out),
                DType::I32 => this.run::<i32>(&strides, left, right, out),
                DType::U8 => this.run::<u8>(&strides, left, right, out),
                other => candle_core::bail!("operands of type {other:?}"),
            }
        };
        let name = "compare";
        Ok(Compiled::written(Writing { name, run }, &dims, DType::U8))
    }
}

/// Not, of truth values.
#[derive(Debug)]
pub struct Not;

impl Not {
    /// # Errors
    /// None.
    pub fn parse(_: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self))
    }
}

impl Operation for Not {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        expect_type(fact.dtype, DType::U8)?;
        let run = |input: &Tensor| input.eq(0_u8);
        Ok(Compiled::view(by_candle("not", run), &fact.dims, DType::U8))
    }
}

/// One of two values, by a truth value.
#[derive(Debug)]
pub struct Where;

impl Where {
    pub fn parse(_: &Node<'_>) -> Result<Box<dyn Operation>> {
        Ok(Box::new(Self))
    }
}

impl Operation for Where {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let [condition, left, right] = [inputs.get(0)?, inputs.get(1)?, inputs.get(2)?];
        expect_type(condition.dtype, DType::U8)?;
        expect_type(right.dtype, left.dtype)?;
        let dims = broadcast(&broadcast(&condition.dims, &left.dims)?, &right.dims)?;
        let shape = dims.clone();
        let run = move |inputs: &[&Tensor]| {
            let [condition, left, right] = inputs else {
                candle_core::bail!("{} operands", inputs.len());
            };
            let wide = |tensor: &Tensor| contiguous(&tensor.broadcast_as(&shape[..])?);
            wide(condition)?.where_cond(&wide(left)?, &wide(right)?)
        };
        let name = "where";
        Ok(Compiled::allocated(
            ByCandle { name, run },
            &dims,
            left.dtype,
        ))
    }
}
