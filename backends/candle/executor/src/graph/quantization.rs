//! How u8 stand for real numbers.

/// Scale and zero point of a u8 tensor. One of i8 is held as u8, both it and its zero point 128
/// higher: it stands for the same real numbers, and is rounded and clamped alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantization {
    /// A normal positive number.
    pub scale: f32,
    pub zero: u8,
}

/// How a file's real numbers become integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// As ONNX defines it: operands dequantized by `(q − zero) · scale`, the result divided by the scale.
    Onnx,
    /// That of ONNX's operators on integers, such as QLinearConv: sums are multiplied by one factor, the
    /// quotient of the scales. All else is as above.
    QLinear,
    /// As fbgemm does it, in files that are written for it: operands dequantized by one fused
    /// multiply-add, the result multiplied by one over the scale.
    Fbgemm,
}

/// To what an operator quantizes its results, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    pub quantization: Quantization,
    pub arithmetic: Arithmetic,
}
