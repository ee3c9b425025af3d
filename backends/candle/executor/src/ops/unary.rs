//! Functions of one value, on floats.

use std::fmt::Debug;

use candle_core::{DType, Result as CandleResult, Tensor};
use firstpass_onnx::Result;

use super::{
    access::{check_length, map},
    functions::{erf, exp, sigmoid, softplus, tanh},
    operation::{Compiled, Inputs, Operation, Operator, buffer, expect_type, first},
    parallel::{CHUNK, for_each_part, part},
    pointwise::Pointwise,
    whole::Whole,
};
use crate::{
    graph::{Bounds, Node},
    kernels::Isa,
};

/// Clamps floats: Relu and Clip.
#[derive(Debug)]
pub struct Clamp(pub Bounds);

impl Operation for Clamp {
    fn absorb(&mut self, bounds: Bounds) -> bool {
        self.0 = self.0.then(bounds);
        true
    }

    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        OfOne::Clamp(self.0).compile(inputs)
    }
}

/// Unlike [`f32::clamp`] it compiles to two vector instructions; NaN becomes `low`.
#[inline]
pub fn clamp(value: f32, low: f32, high: f32) -> f32 {
    let value = if value > low { value } else { low };
    if value < high { value } else { high }
}

/// A function with the numbers that its node gives it.
#[derive(Debug, Clone, Copy)]
pub enum Unary {
    Abs,
    Ceil,
    Cos,
    Elu { alpha: f32 },
    Erf,
    Exp,
    Floor,
    Gelu { by_tanh: bool },
    HardSigmoid { alpha: f32, beta: f32 },
    HardSwish,
    LeakyRelu { alpha: f32 },
    Log,
    Mish,
    Neg,
    Reciprocal,
    Round,
    Selu { alpha: f32, gamma: f32 },
    Sigmoid,
    Sign,
    Sin,
    Softplus,
    Softsign,
    Sqrt,
    Tanh,
}

impl Unary {
    /// # Errors
    /// Fails where `node` is no such function.
    pub fn parse(node: &Node<'_>) -> Result<Box<dyn Operation>> {
        let alpha = |default: f32| node.float("alpha").unwrap_or(default);
        Ok(Box::new(match node.op_type.as_str() {
            "Abs" => Self::Abs,
            "Ceil" => Self::Ceil,
            "Cos" => Self::Cos,
            "Elu" => Self::Elu { alpha: alpha(1.0) },
            "Erf" => Self::Erf,
            "Exp" => Self::Exp,
            "Floor" => Self::Floor,
            "Gelu" => Self::Gelu {
                by_tanh: match node.text("approximate").unwrap_or(b"none") {
                    b"none" => false,
                    b"tanh" => true,
                    _ => return Err(node.malformed("its approximation is unknown")),
                },
            },
            "HardSigmoid" => Self::HardSigmoid {
                alpha: alpha(0.2),
                beta: node.float("beta").unwrap_or(0.5),
            },
            "HardSwish" => Self::HardSwish,
            "LeakyRelu" => Self::LeakyRelu { alpha: alpha(0.01) },
            "Log" => Self::Log,
            "Mish" => Self::Mish,
            "Neg" => Self::Neg,
            "Reciprocal" => Self::Reciprocal,
            "Round" => Self::Round,
            // Both numbers as the standard has them: those of the paper, as f32.
            "Selu" => Self::Selu {
                alpha: alpha(1.673_263_2),
                gamma: node.float("gamma").unwrap_or(1.050_701),
            },
            "Sigmoid" => Self::Sigmoid,
            "Sign" => Self::Sign,
            "Sin" => Self::Sin,
            "Softplus" => Self::Softplus,
            "Softsign" => Self::Softsign,
            "Sqrt" => Self::Sqrt,
            "Tanh" => Self::Tanh,
            _ => return Err(node.unsupported("it is no function of one value")),
        }))
    }
}

impl Operation for Unary {
    fn compile(&self, inputs: &Inputs<'_>) -> Result<Compiled> {
        OfOne::Unary(*self).compile(inputs)
    }
}

/// What is done with a function, whichever it is.
trait Visitor {
    type Result;

    fn visit(
        self,
        name: &'static str,
        function: impl Fn(f32) -> f32 + Copy + Send + Sync,
    ) -> Self::Result;
}

impl Unary {
    fn accept<V: Visitor>(self, visitor: V) -> V::Result {
        match self {
            Self::Abs => visitor.visit("abs", f32::abs),
            Self::Ceil => visitor.visit("ceil", f32::ceil),
            Self::Cos => visitor.visit("cos", f32::cos),
            Self::Elu { alpha } => visitor.visit("elu", move |x| elu(x, alpha)),
            Self::Erf => visitor.visit("erf", erf),
            Self::Exp => visitor.visit("exp", exp),
            Self::Floor => visitor.visit("floor", f32::floor),
            Self::Gelu { by_tanh: false } => visitor.visit("gelu", |x| {
                0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
            }),
            Self::Gelu { by_tanh: true } => visitor.visit("gelu", |x| {
                let root = std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2;
                0.5 * x * (1.0 + tanh(root * (x + 0.044_715 * x * x * x)))
            }),
            Self::HardSigmoid { alpha, beta } => {
                visitor.visit("hard-sigmoid", move |x| clamp(alpha * x + beta, 0.0, 1.0))
            }
            Self::HardSwish => visitor.visit("hard-swish", |x| x * clamp(x / 6.0 + 0.5, 0.0, 1.0)),
            Self::LeakyRelu { alpha } => {
                visitor.visit("leaky-relu", move |x| if x < 0.0 { alpha * x } else { x })
            }
            Self::Log => visitor.visit("log", f32::ln),
            Self::Mish => visitor.visit("mish", |x| x * tanh(softplus(x))),
            Self::Neg => visitor.visit("neg", |x: f32| -x),
            Self::Reciprocal => visitor.visit("reciprocal", f32::recip),
            Self::Round => visitor.visit("round", f32::round_ties_even),
            Self::Selu { alpha, gamma } => visitor.visit("selu", move |x| gamma * elu(x, alpha)),
            Self::Sigmoid => visitor.visit("sigmoid", sigmoid),
            Self::Sign => visitor.visit("sign", |x: f32| {
                f32::from(i8::from(x > 0.0) - i8::from(x < 0.0))
            }),
            Self::Sin => visitor.visit("sin", f32::sin),
            Self::Softplus => visitor.visit("softplus", softplus),
            Self::Softsign => visitor.visit("softsign", |x: f32| x / (1.0 + x.abs())),
            Self::Sqrt => visitor.visit("sqrt", f32::sqrt),
            Self::Tanh => visitor.visit("tanh", tanh),
        }
    }
}

fn elu(x: f32, alpha: f32) -> f32 {
    if x < 0.0 { alpha * x.exp_m1() } else { x }
}

/// A function of each value.
#[derive(Debug, Clone, Copy)]
pub enum OfOne {
    Clamp(Bounds),
    Unary(Unary),
}

impl OfOne {
    fn accept<V: Visitor>(self, visitor: V) -> V::Result {
        match self {
            Self::Clamp(Bounds { low, high }) => {
                visitor.visit("clamp", move |x| clamp(x, low, high))
            }
            Self::Unary(unary) => unary.accept(visitor),
        }
    }

    /// The same function of integers.
    fn of_integers(self) -> Option<Whole> {
        Some(match self {
            Self::Unary(Unary::Abs) => Whole::Abs,
            Self::Unary(Unary::Neg) => Whole::Neg,
            Self::Unary(Unary::Sign) => Whole::Sign,
            Self::Clamp(bounds) if bounds.is_relu() => Whole::Relu,
            _ => return None,
        })
    }

    fn compile(self, inputs: &Inputs<'_>) -> Result<Compiled> {
        let fact = inputs.get(0)?;
        if let (Some(whole), true) = (self.of_integers(), fact.dtype.is_int()) {
            return whole.compile(fact);
        }
        expect_type(fact.dtype, DType::F32)?;
        let operator = Each {
            isa: inputs.isa,
            function: self,
        };
        Ok(Compiled::written(operator, &fact.dims, DType::F32))
    }

    /// Writes the function of every value of `input` into `out`, on the calling thread.
    pub fn apply(self, isa: Isa, input: &[f32], out: &mut [f32]) {
        struct Apply<'a>(Isa, &'a [f32], &'a mut [f32]);
        impl Visitor for Apply<'_> {
            type Result = ();

            fn visit(self, _: &'static str, function: impl Fn(f32) -> f32 + Copy + Send + Sync) {
                let Self(isa, input, out) = self;
                isa.run(|| {
                    for (out, &input) in out.iter_mut().zip(input) {
                        *out = function(input);
                    }
                });
            }
        }
        self.accept(Apply(isa, input, out));
    }
}

/// [`OfOne`] of a tensor.
struct Each {
    isa: Isa,
    function: OfOne,
}

impl Operator for Each {
    fn name(&self) -> &'static str {
        struct Name;
        impl Visitor for Name {
            type Result = &'static str;

            fn visit(
                self,
                name: &'static str,
                _: impl Fn(f32) -> f32 + Copy + Send + Sync,
            ) -> &'static str {
                name
            }
        }
        self.function.accept(Name)
    }

    fn run(&self, inputs: &[&Tensor], out: Option<&Tensor>) -> CandleResult<Tensor> {
        let out = buffer(out)?;
        map(first(inputs)?, out, |input: &[f32], out: &mut [f32]| {
            check_length("the input", input.len(), out.len())?;
            for_each_part(out, CHUNK, |number, out| {
                self.function
                    .apply(self.isa, part(input, CHUNK, number), out);
            });
            Ok(())
        })?;
        Ok(out.clone())
    }

    fn as_pointwise(&self) -> Option<Pointwise> {
        Some(Pointwise::OfOne(self.function))
    }
}
