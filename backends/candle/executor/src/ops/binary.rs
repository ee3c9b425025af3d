//! Functions of two values, with the shapes of both broadcast to one.

use std::cmp::Ordering;

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::Written,
    broadcast::{Strides, broadcast, zip},
    operation::{Compiled, Inputs, Operation, Operator, buffer, expect_type},
    unary::clamp,
};
use crate::{
    graph::{Bounds, Node},
    kernels::Isa,
};

/// An arithmetic function of two numbers of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Min,
    Max,
    PRelu,
}

/// [`Function`] with what Relu and Clip behind it leave.
#[derive(Debug)]
pub struct Binary {
    pub function: Function,
    pub bounds: Bounds,
}

impl Binary {
    pub fn of(function: Function) -> Self {
        Self {
            function,
            bounds: Bounds::NONE,
        }
    }

    /// # Errors
    /// Fails where `node` is no such function.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let function = match node.op_type.as_str() {
            "Add" | "Sum" => Function::Add,
            "Sub" => Function::Sub,
            "Mul" => Function::Mul,
            "Div" => Function::Div,
            "Pow" => Function::Pow,
            "Min" => Function::Min,
            "Max" => Function::Max,
            "PRelu" => Function::PRelu,
            _ => return Err(node.unsupported("it is no function of two values")),
        };
        Ok(Box::new(Self::of(function)))
    }
}

impl Operation for Binary {
    fn absorb(&mut self, bounds: Bounds) -> bool {
        self.bounds = self.bounds.then(bounds);
        true
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let (left, right) = (inputs.get(0)?, inputs.get(1)?);
        let dims = broadcast(&left.dims, &right.dims)?;
        if self.function == Function::PRelu && dims != left.dims {
            return Err(Error::engine(format!(
                "slopes {:?} of values {:?}",
                right.dims, left.dims
            )));
        }
        if left.dtype != right.dtype && self.function != Function::Pow {
            return Err(Error::engine(format!(
                "operands of types {:?} and {:?}",
                left.dtype, right.dtype
            )));
        }
        if !matches!(
            left.dtype,
            DType::F32 | DType::F64 | DType::I32 | DType::I64 | DType::I16 | DType::U8
        ) || (left.dtype != DType::F32 && self.bounds != Bounds::NONE)
        {
            expect_type(left.dtype, DType::F32)?;
        }
        let operator = Arithmetic {
            isa: inputs.isa,
            function: self.function,
            bounds: self.bounds,
            strides: Strides::of(&left.dims, &right.dims, &dims),
        };
        Ok(Compiled::written(operator, &dims, left.dtype))
    }
}

/// [`Binary`] on tensors of certain shapes.
pub struct Arithmetic {
    isa: Isa,
    function: Function,
    bounds: Bounds,
    strides: Strides,
}

impl Arithmetic {
    /// Without bounds, into a tensor of the broadcast shape.
    pub fn new(function: Function, left: &[usize], right: &[usize], out: &[usize]) -> Self {
        Self {
            isa: Isa::detect(),
            function,
            bounds: Bounds::NONE,
            strides: Strides::of(left, right, out),
        }
    }
}

impl Operator for Arithmetic {
    fn name(&self) -> &'static str {
        match self.function {
            Function::Add => "add",
            Function::Sub => "sub",
            Function::Mul => "mul",
            Function::Div => "div",
            Function::Pow => "pow",
            Function::Min => "min",
            Function::Max => "max",
            Function::PRelu => "prelu",
        }
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let [left, right] = inputs else {
            candle_core::bail!("{} operands", inputs.len());
        };
        let out = buffer(out)?;
        match out.dtype() {
            DType::F32 => self.floats(left, right, out)?,
            DType::F64 => self.numbers(left, right, out, f64::of(self.function))?,
            DType::I64 => self.numbers(left, right, out, i64::of(self.function))?,
            DType::I32 => self.numbers(left, right, out, i32::of(self.function))?,
            DType::I16 => self.numbers(left, right, out, i16::of(self.function))?,
            DType::U8 => self.numbers(left, right, out, u8::of(self.function))?,
            other => candle_core::bail!("operands of type {other:?}"),
        }
        Ok(out.clone())
    }
}

impl Arithmetic {
    fn floats(&self, left: &Tensor, right: &Tensor, out: &Tensor) -> CandleResult<()> {
        let Bounds { low, high } = self.bounds;
        let strides = &self.strides;
        // The exponent of a power may be of another type.
        let right = &right.to_dtype(DType::F32)?;
        macro_rules! clamped {
            ($function:expr) => {
                if self.bounds == Bounds::NONE {
                    zip(self.isa, strides, left, right, out, $function)
                } else {
                    let function = $function;
                    zip(
                        self.isa,
                        strides,
                        left,
                        right,
                        out,
                        move |a: f32, b: f32| clamp(function(a, b), low, high),
                    )
                }
            };
        }
        match self.function {
            Function::Add => clamped!(|a: f32, b: f32| a + b),
            Function::Sub => clamped!(|a: f32, b: f32| a - b),
            Function::Mul => clamped!(|a: f32, b: f32| a * b),
            Function::Div => clamped!(|a: f32, b: f32| a / b),
            Function::Pow => {
                // A square is what layers of normalization write, and powf is slow.
                clamped!(|a: f32, b: f32| if b == 2.0 { a * a } else { a.powf(b) })
            }
            Function::Min => clamped!(|a: f32, b: f32| if b < a { b } else { a }),
            Function::Max => clamped!(|a: f32, b: f32| if b > a { b } else { a }),
            Function::PRelu => clamped!(|a: f32, b: f32| if a < 0.0 { a * b } else { a }),
        }
    }

    fn numbers<T: Written>(
        &self,
        left: &Tensor,
        right: &Tensor,
        out: &Tensor,
        function: fn(T, T) -> Option<T>,
    ) -> CandleResult<()> {
        let right = right.to_dtype(T::DTYPE)?;
        let failed = std::sync::atomic::AtomicBool::new(false);
        zip(self.isa, &self.strides, left, &right, out, |a: T, b: T| {
            function(a, b).unwrap_or_else(|| {
                failed.store(true, std::sync::atomic::Ordering::Relaxed);
                T::zero()
            })
        })?;
        if failed.into_inner() {
            candle_core::bail!("the result is no number of type {:?}", T::DTYPE);
        }
        Ok(())
    }
}

/// The functions on numbers of other types: integers overflow and cannot be divided by 0.
trait Number: Sized {
    fn of(function: Function) -> fn(Self, Self) -> Option<Self>;
}

macro_rules! whole {
    ($($type:ty),*) => {
        $(impl Number for $type {
            fn of(function: Function) -> fn(Self, Self) -> Option<Self> {
                match function {
                    Function::Add => |a, b| a.checked_add(b),
                    Function::Sub => |a, b| a.checked_sub(b),
                    Function::Mul => |a, b| a.checked_mul(b),
                    Function::Div => |a, b| a.checked_div(b),
                    Function::Pow => |a, b| a.checked_pow(u32::try_from(b).ok()?),
                    Function::Min => |a, b| Some(a.min(b)),
                    Function::Max => |a, b| Some(a.max(b)),
                    Function::PRelu => |a, b| match a.cmp(&0) {
                        Ordering::Less => a.checked_mul(b),
                        _ => Some(a),
                    },
                }
            }
        })*
    };
}

whole!(u8, i16, i32, i64);

impl Number for f64 {
    fn of(function: Function) -> fn(Self, Self) -> Option<Self> {
        match function {
            Function::Add => |a, b| Some(a + b),
            Function::Sub => |a, b| Some(a - b),
            Function::Mul => |a, b| Some(a * b),
            Function::Div => |a, b| Some(a / b),
            Function::Pow => |a, b| Some(a.powf(b)),
            Function::Min => |a, b| Some(a.min(b)),
            Function::Max => |a, b| Some(a.max(b)),
            Function::PRelu => |a, b| Some(if a < 0.0 { a * b } else { a }),
        }
    }
}
