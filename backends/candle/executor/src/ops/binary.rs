//! Functions of two values, with the shapes of both broadcast to one.

use std::cmp::Ordering;

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::{Error, Result};

use super::{
    access::Written,
    broadcast::{Strides, broadcast, zip},
    operation::{Compiled, Inputs, Operation, Operator, buffer, expect_type},
    pointwise::Pointwise,
    unary::clamp,
};
use crate::{
    graph::{Bounds, Narrow, Node},
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
    /// With the sign of the divisor.
    Mod,
    /// With the sign of the dividend.
    Remainder,
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
            "Mod" if node.int("fmod")?.unwrap_or(0) != 0 => Function::Remainder,
            "Mod" => Function::Mod,
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
        ) || !(left.dtype == DType::F32 || self.bounds == Bounds::NONE || self.bounds.is_relu())
        {
            expect_type(left.dtype, DType::F32)?;
        }
        let operator = Arithmetic {
            isa: inputs.isa,
            function: self.function,
            bounds: self.bounds,
            strides: Strides::of(&left.dims, &right.dims, &dims),
            narrow: left
                .narrow
                .or((left.dtype == DType::I16).then_some(Narrow::I8)),
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
    /// The type of the integers, where a wider one holds them.
    narrow: Option<Narrow>,
}

impl Arithmetic {
    /// Without bounds, into a tensor of the broadcast shape.
    pub fn new(function: Function, left: &[usize], right: &[usize], out: &[usize]) -> Self {
        Self {
            isa: Isa::detect(),
            function,
            bounds: Bounds::NONE,
            strides: Strides::of(left, right, out),
            narrow: None,
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
            Function::Mod | Function::Remainder => "mod",
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

    fn as_pointwise(&self) -> Option<Pointwise> {
        // A power has an exponent of another type, perhaps.
        let function = OfTwo {
            function: self.function,
            bounds: self.bounds,
        };
        (self.function != Function::Pow).then_some(Pointwise::OfTwo(function))
    }
}

/// [`Function`] of two values each, and its bounds.
#[derive(Debug, Clone, Copy)]
pub struct OfTwo {
    function: Function,
    bounds: Bounds,
}

/// What is done with a function, whichever it is.
trait Visitor {
    type Result;

    fn visit(self, function: impl Fn(f32, f32) -> f32 + Sync) -> Self::Result;
}

impl OfTwo {
    fn accept<V: Visitor>(self, visitor: V) -> V::Result {
        let Bounds { low, high } = self.bounds;
        macro_rules! clamped {
            ($function:expr) => {
                if self.bounds == Bounds::NONE {
                    visitor.visit($function)
                } else {
                    let function = $function;
                    visitor.visit(move |a: f32, b: f32| clamp(function(a, b), low, high))
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
            Function::Mod => clamped!(|a: f32, b: f32| modulo(a % b, b)),
            Function::Remainder => clamped!(|a: f32, b: f32| a % b),
            Function::PRelu => clamped!(|a: f32, b: f32| if a < 0.0 { a * b } else { a }),
        }
    }

    /// Writes the function of every pair of values into `out`, on the calling thread.
    pub fn apply(self, isa: Isa, left: Operand<'_>, right: Operand<'_>, out: &mut [f32]) {
        struct Apply<'a>(Isa, [Operand<'a>; 2], &'a mut [f32]);
        impl Visitor for Apply<'_> {
            type Result = ();

            fn visit(self, function: impl Fn(f32, f32) -> f32 + Sync) {
                let Self(isa, operands, out) = self;
                isa.run(|| match operands {
                    [Operand::Values(left), Operand::Values(right)] => {
                        for (out, (&left, &right)) in out.iter_mut().zip(left.iter().zip(right)) {
                            *out = function(left, right);
                        }
                    }
                    [Operand::Values(left), Operand::Number(right)] => {
                        for (out, &left) in out.iter_mut().zip(left) {
                            *out = function(left, right);
                        }
                    }
                    [Operand::Number(left), Operand::Values(right)] => {
                        for (out, &right) in out.iter_mut().zip(right) {
                            *out = function(left, right);
                        }
                    }
                    [Operand::Number(left), Operand::Number(right)] => {
                        out.fill(function(left, right));
                    }
                });
            }
        }
        self.accept(Apply(isa, [left, right], out));
    }
}

/// Values, or one for all.
#[derive(Debug, Clone, Copy)]
pub enum Operand<'a> {
    Values(&'a [f32]),
    Number(f32),
}

impl Arithmetic {
    fn floats(&self, left: &Tensor, right: &Tensor, out: &Tensor) -> CandleResult<()> {
        struct Zip<'a>(&'a Arithmetic, [&'a Tensor; 3]);
        impl Visitor for Zip<'_> {
            type Result = CandleResult<()>;

            fn visit(self, function: impl Fn(f32, f32) -> f32 + Sync) -> CandleResult<()> {
                let Self(of, [left, right, out]) = self;
                zip(of.isa, &of.strides, left, right, out, function)
            }
        }
        // The exponent of a power may be of another type.
        let right = &right.to_dtype(DType::F32)?;
        let function = OfTwo {
            function: self.function,
            bounds: self.bounds,
        };
        function.accept(Zip(self, [left, right, out]))
    }

    fn numbers<T: Written + Number>(
        &self,
        left: &Tensor,
        right: &Tensor,
        out: &Tensor,
        function: fn(T, T) -> Option<T>,
    ) -> CandleResult<()> {
        let right = right.to_dtype(T::DTYPE)?;
        let is_relu = self.bounds.is_relu();
        let failed = std::sync::atomic::AtomicBool::new(false);
        zip(self.isa, &self.strides, left, &right, out, |a: T, b: T| {
            let result =
                function(a, b).filter(|result| self.narrow.is_none_or(|of| result.is_of(of)));
            match result {
                Some(result) if is_relu && result < T::zero() => T::zero(),
                Some(result) => result,
                None => {
                    failed.store(true, std::sync::atomic::Ordering::Relaxed);
                    T::zero()
                }
            }
        })?;
        if failed.into_inner() {
            match self.narrow {
                Some(narrow) => candle_core::bail!("a result does not fit {}", narrow.name()),
                None => candle_core::bail!("the result is no number of type {:?}", T::DTYPE),
            }
        }
        Ok(())
    }
}

/// The functions on numbers of other types: integers overflow and cannot be divided by 0.
pub(super) trait Number: Sized {
    fn of(function: Function) -> fn(Self, Self) -> Option<Self>;

    /// Whether it is one of a narrower type.
    fn is_of(&self, narrow: Narrow) -> bool;
}

macro_rules! whole {
    ($($type:ty),*) => {
        $(impl Number for $type {
            fn is_of(&self, narrow: Narrow) -> bool {
                narrow.range().contains(&i64::from(*self))
            }

            fn of(function: Function) -> fn(Self, Self) -> Option<Self> {
                match function {
                    Function::Add => |a, b| a.checked_add(b),
                    Function::Sub => |a, b| a.checked_sub(b),
                    Function::Mul => |a, b| a.checked_mul(b),
                    Function::Div => |a, b| a.checked_div(b),
                    Function::Pow => |a, b| a.checked_pow(u32::try_from(b).ok()?),
                    Function::Min => |a, b| Some(a.min(b)),
                    Function::Max => |a, b| Some(a.max(b)),
                    Function::Mod => |a, b| {
                        let rest = (b != 0).then(|| a.wrapping_rem(b))?;
                        let differs = rest != 0 && rest.cmp(&0) != b.cmp(&0);
                        Some(if differs { rest + b } else { rest })
                    },
                    Function::Remainder => |a, b| (b != 0).then(|| a.wrapping_rem(b)),
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

/// What is left of a division, with the sign of the divisor.
fn modulo<T: Copy + PartialOrd + std::ops::Add<Output = T> + Default>(rest: T, divisor: T) -> T {
    let zero = T::default();
    match rest != zero && (rest < zero) != (divisor < zero) {
        true => rest + divisor,
        false => rest,
    }
}

macro_rules! real {
    ($($type:ty),*) => {
        $(impl Number for $type {
            fn is_of(&self, _: Narrow) -> bool {
                true
            }

            fn of(function: Function) -> fn(Self, Self) -> Option<Self> {
                match function {
                    Function::Add => |a, b| Some(a + b),
                    Function::Sub => |a, b| Some(a - b),
                    Function::Mul => |a, b| Some(a * b),
                    Function::Div => |a, b| Some(a / b),
                    Function::Pow => |a, b| Some(a.powf(b)),
                    Function::Min => |a, b| Some(a.min(b)),
                    Function::Max => |a, b| Some(a.max(b)),
                    Function::Mod => |a, b| Some(modulo(a % b, b)),
                    Function::Remainder => |a, b| Some(a % b),
                    Function::PRelu => |a, b| Some(if a < 0.0 { a * b } else { a }),
                }
            }
        })*
    };
}

real!(f32, f64);
