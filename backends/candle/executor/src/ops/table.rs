//! The operators of ONNX that are implemented.

use firstpass_onnx::Result;

use super::{
    binary::Binary,
    cast::Cast,
    channels::{BatchNorm, LocalNorm},
    compare::{Compare, Not, Where},
    convolution::Conv,
    cumulative::CumSum,
    dynamic::DynamicQuantize,
    einsum::Einsum,
    gathering::GatherFrom,
    integer_products::{ConvInteger, MatMulInteger},
    matmul::{Gemm, MatMul},
    one_hot::{NoNumber, OneHot, Trilu},
    operation::Operation,
    padding::{Blocks, Pad, Tile},
    pool::Pool,
    resize::Resize,
    rows::{Arg, Norm, Reduce, Softmax},
    scattering::Scatter,
    shape::{OfShapes, Shaping},
    slicing::{Concat, Gather, Slice, Split},
    top_k::TopK,
    transposed_conv::ConvTranspose,
    unary::Unary,
};
use crate::graph::Node;

type Parse = fn(&Node<'_>) -> Result<Box<dyn Operation>>;

/// Every operator, and how its node is read as the file writes it; `None` for those that the walk over
/// the graph treats itself.
pub const OPERATORS: &[(&str, Option<Parse>)] = &[
    ("Abs", Some(Unary::parse)),
    ("Add", Some(Binary::parse)),
    ("And", Some(Compare::parse)),
    ("ArgMax", Some(Arg::parse)),
    ("ArgMin", Some(Arg::parse)),
    ("AveragePool", Some(Pool::parse)),
    ("BatchNormalization", Some(BatchNorm::parse)),
    ("Cast", Some(Cast::parse)),
    ("Ceil", Some(Unary::parse)),
    ("Clip", None),
    ("Concat", Some(Concat::parse)),
    ("Constant", None),
    ("ConstantOfShape", Some(OfShapes::parse)),
    ("Conv", Some(Conv::parse)),
    ("ConvInteger", Some(ConvInteger::parse)),
    ("ConvTranspose", Some(ConvTranspose::parse)),
    ("Cos", Some(Unary::parse)),
    ("CumSum", Some(CumSum::parse)),
    ("DepthToSpace", Some(Blocks::parse)),
    ("DequantizeLinear", None),
    ("Div", Some(Binary::parse)),
    ("Dropout", None),
    ("DynamicQuantizeLinear", Some(DynamicQuantize::parse)),
    ("Einsum", Some(Einsum::parse)),
    ("Elu", Some(Unary::parse)),
    ("Equal", Some(Compare::parse)),
    ("Erf", Some(Unary::parse)),
    ("Exp", Some(Unary::parse)),
    ("Expand", Some(Shaping::parse)),
    ("Flatten", Some(Shaping::parse)),
    ("Floor", Some(Unary::parse)),
    ("Gather", Some(Gather::parse)),
    ("GatherElements", Some(GatherFrom::parse)),
    ("GatherND", Some(GatherFrom::parse)),
    ("Gelu", Some(Unary::parse)),
    ("Gemm", Some(Gemm::parse)),
    ("GlobalAveragePool", Some(Reduce::parse_global)),
    ("GlobalMaxPool", Some(Reduce::parse_global)),
    ("Greater", Some(Compare::parse)),
    ("GreaterOrEqual", Some(Compare::parse)),
    ("GroupNormalization", Some(Norm::parse)),
    ("HardSigmoid", Some(Unary::parse)),
    ("HardSwish", Some(Unary::parse)),
    ("Identity", None),
    ("If", None),
    ("InstanceNormalization", Some(Norm::parse)),
    ("IsInf", Some(NoNumber::parse)),
    ("IsNaN", Some(NoNumber::parse)),
    ("LRN", Some(LocalNorm::parse)),
    ("LayerNormalization", Some(Norm::parse)),
    ("LeakyRelu", Some(Unary::parse)),
    ("Less", Some(Compare::parse)),
    ("LessOrEqual", Some(Compare::parse)),
    ("Log", Some(Unary::parse)),
    ("LogSoftmax", Some(Softmax::parse)),
    ("LpPool", Some(Pool::parse)),
    ("MatMul", Some(MatMul::parse)),
    ("MatMulInteger", Some(MatMulInteger::parse)),
    ("Max", Some(Binary::parse)),
    ("MaxPool", Some(Pool::parse)),
    ("Min", Some(Binary::parse)),
    ("Mish", Some(Unary::parse)),
    ("Mod", Some(Binary::parse)),
    ("Mul", Some(Binary::parse)),
    ("Neg", Some(Unary::parse)),
    ("Not", Some(Not::parse)),
    ("OneHot", Some(OneHot::parse)),
    ("Or", Some(Compare::parse)),
    ("PRelu", Some(Binary::parse)),
    ("Pad", Some(Pad::parse)),
    ("Pow", Some(Binary::parse)),
    ("QuantizeLinear", None),
    ("Range", Some(OfShapes::parse)),
    ("Reciprocal", Some(Unary::parse)),
    ("ReduceL1", Some(Reduce::parse)),
    ("ReduceL2", Some(Reduce::parse)),
    ("ReduceLogSumExp", Some(Reduce::parse)),
    ("ReduceMax", Some(Reduce::parse)),
    ("ReduceMean", Some(Reduce::parse)),
    ("ReduceMin", Some(Reduce::parse)),
    ("ReduceProd", Some(Reduce::parse)),
    ("ReduceSum", Some(Reduce::parse)),
    ("ReduceSumSquare", Some(Reduce::parse)),
    ("Relu", None),
    ("Reshape", Some(Shaping::parse)),
    ("Resize", Some(Resize::parse)),
    ("Round", Some(Unary::parse)),
    ("Scatter", Some(Scatter::parse)),
    ("ScatterElements", Some(Scatter::parse)),
    ("ScatterND", Some(Scatter::parse)),
    ("Selu", Some(Unary::parse)),
    ("Shape", Some(OfShapes::parse)),
    ("Sigmoid", Some(Unary::parse)),
    ("Sign", Some(Unary::parse)),
    ("Sin", Some(Unary::parse)),
    ("Size", Some(OfShapes::parse)),
    ("Slice", Some(Slice::parse)),
    ("Softmax", Some(Softmax::parse)),
    ("Softplus", Some(Unary::parse)),
    ("Softsign", Some(Unary::parse)),
    ("SpaceToDepth", Some(Blocks::parse)),
    ("Split", Some(Split::parse)),
    ("Sqrt", Some(Unary::parse)),
    ("Squeeze", Some(Shaping::parse)),
    ("Sub", Some(Binary::parse)),
    ("Sum", Some(Binary::parse)),
    ("Tanh", Some(Unary::parse)),
    ("Tile", Some(Tile::parse)),
    ("TopK", Some(TopK::parse)),
    ("Transpose", Some(Shaping::parse)),
    ("Trilu", Some(Trilu::parse)),
    ("Unsqueeze", Some(Shaping::parse)),
    ("Upsample", Some(Resize::parse)),
    ("Where", Some(Where::parse)),
    ("Xor", Some(Compare::parse)),
];

/// Whether a node only moves values: on quantized ones it does to the integers what it does to the real
/// numbers.
pub fn is_moving(node: &Node<'_>) -> bool {
    match node.op_type.as_str() {
        "Concat" | "DepthToSpace" | "Expand" | "Flatten" | "Gather" | "Reshape" | "Slice"
        | "SpaceToDepth" | "Split" | "Squeeze" | "Tile" | "Transpose" | "Unsqueeze" => true,
        "Resize" | "Upsample" => node.text("mode").unwrap_or(b"nearest") == b"nearest",
        _ => false,
    }
}

/// Whether a node computes each value of its output from the values at the same place in its inputs.
pub fn is_function(node: &Node<'_>) -> bool {
    matches!(
        node.op_type.as_str(),
        "Abs"
            | "Add"
            | "Ceil"
            | "Div"
            | "Elu"
            | "Erf"
            | "Exp"
            | "Floor"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "LeakyRelu"
            | "Log"
            | "Max"
            | "Min"
            | "Mish"
            | "Mul"
            | "Neg"
            | "Pow"
            | "Reciprocal"
            | "Round"
            | "Selu"
            | "Sigmoid"
            | "Sign"
            | "Softplus"
            | "Softsign"
            | "Sqrt"
            | "Sub"
            | "Tanh"
    )
}
