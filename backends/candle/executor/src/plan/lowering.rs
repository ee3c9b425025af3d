//! Operators that read and write quantized values, as the DequantizeLinear, float operator and QuantizeLinear
//! that they stand for; and for whose arithmetic a file is written.

use std::collections::HashSet;

use firstpass_onnx::{
    AttributeProto, Constant, Error, GraphProto, NodeProto, Result, TensorProto, Values,
    write::{constant, node},
};

use crate::graph::Arithmetic;

/// fbgemm's where convolutions of quantized values have float biases, as PyTorch writes them, and none has a
/// quantized one.
pub fn arithmetic_of(graph: &GraphProto) -> Arithmetic {
    let of_quantized = |node: &&NodeProto| node.op_type == "DequantizeLinear";
    let dequantized: HashSet<&str> = graph
        .node
        .iter()
        .filter(of_quantized)
        .flat_map(|node| node.output.iter().map(String::as_str))
        .collect();
    let constants: HashSet<&str> = graph
        .node
        .iter()
        .filter(|node| node.op_type == "Constant")
        .flat_map(|node| node.output.iter().map(String::as_str))
        .chain(graph.initializer.iter().map(|tensor| tensor.name.as_str()))
        .collect();
    let products = graph.node.iter().filter(|node| {
        let is = |position: usize| {
            let name = node.input.get(position).map(String::as_str);
            name.is_some_and(|name| dequantized.contains(name))
        };
        matches!(node.op_type.as_str(), "Conv" | "Gemm") && is(0) && is(1)
    });
    let biases = products.filter_map(|node| node.input.get(2));
    let biases: Vec<&str> = biases.map(String::as_str).collect();
    let some = |among: &HashSet<&str>| biases.iter().any(|bias| among.contains(bias));
    match some(&constants) && !some(&dequantized) {
        true => Arithmetic::Fbgemm,
        false => Arithmetic::Onnx,
    }
}

/// The attribute of a QuantizeLinear that is part of an operator on integers.
pub const ON_INTEGERS: &str = "firstpass.on-integers";

/// The graph without such operators; `None` where it has none.
///
/// # Errors
/// Names the node that lacks an input.
pub fn lowered(graph: &GraphProto, opset: i64) -> Result<Option<GraphProto>> {
    if !graph.node.iter().any(is_lowered) {
        return Ok(None);
    }
    let mut lowering = Lowering {
        opset,
        initializers: &graph.initializer,
        constants: Vec::new(),
        nodes: Vec::with_capacity(4 * graph.node.len()),
    };
    for node in &graph.node {
        match is_lowered(node) {
            true => lowering.lower(node)?,
            false => lowering.nodes.push(node.clone()),
        }
    }
    let mut lowered = GraphProto {
        node: lowering.nodes,
        ..graph.clone()
    };
    lowered.initializer.extend(lowering.constants);
    Ok(Some(lowered))
}

const ONNX_RUNTIME: &str = "com.microsoft";

/// The operators of ONNX Runtime that ONNX has too.
const SAME: [&str; 2] = ["QuantizeLinear", "DequantizeLinear"];

/// Of ONNX Runtime's, the float operator and the number of its quantized inputs, each with scale and zero
/// point; those of the output follow.
const CONTRIBUTED: [(&str, &str, usize); 7] = [
    ("QLinearAdd", "Add", 2),
    ("QLinearMul", "Mul", 2),
    ("QLinearSigmoid", "Sigmoid", 1),
    ("QLinearLeakyRelu", "LeakyRelu", 1),
    ("QLinearSoftmax", "Softmax", 1),
    ("QLinearAveragePool", "AveragePool", 1),
    ("QLinearGlobalAveragePool", "GlobalAveragePool", 1),
];

fn is_lowered(node: &NodeProto) -> bool {
    let name = node.op_type.as_str();
    match node.domain.as_str() {
        "" | "ai.onnx" => matches!(name, "QLinearConv" | "QLinearMatMul"),
        ONNX_RUNTIME => {
            matches!(name, "QGemm" | "QLinearConcat")
                || SAME.contains(&name)
                || CONTRIBUTED
                    .iter()
                    .any(|(contributed, ..)| *contributed == name)
        }
        _ => false,
    }
}

/// A constant zero point.
struct Zero {
    number: f32,
    is_signed: bool,
}

/// Integers times a factor and something added, which is in steps from the zero point on.
struct Shift {
    /// The position of the integers among the inputs.
    value: usize,
    factor: f32,
    shape: Vec<usize>,
    added: Vec<f32>,
    zero: Zero,
}

struct Lowering<'a> {
    /// ONNX's own operator set of the file.
    opset: i64,
    initializers: &'a [TensorProto],
    constants: Vec<TensorProto>,
    nodes: Vec<NodeProto>,
}

impl Lowering<'_> {
    fn lower(&mut self, of: &NodeProto) -> Result<()> {
        let flag = |name: &str| Ok::<_, Error>(of.int(name)?.unwrap_or(0) != 0);
        if of.domain == ONNX_RUNTIME && flag("channels_last")? {
            return Err(of.unsupported("its channels lie last"));
        }
        // Softmax means another thing since operator set 13, and this operator says which.
        let is_old = |opset: i64| opset < 13;
        if of.op_type == "QLinearSoftmax"
            && is_old(of.int("opset")?.unwrap_or(self.opset)) != is_old(self.opset)
        {
            return Err(of.unsupported("it is that of another operator set than the file's"));
        }
        match of.op_type.as_str() {
            name if SAME.contains(&name) => self.nodes.push(NodeProto {
                domain: String::new(),
                ..of.clone()
            }),
            // Values, weights, the output, each with scale and zero point; a bias on the scale of the sums.
            "QLinearConv" => {
                let mut inputs = vec![
                    self.dequantized(of, [0, 1, 2], None)?,
                    self.dequantized(of, [3, 4, 5], Some(0))?,
                ];
                if of.input.get(8).is_some_and(|bias| !bias.is_empty()) {
                    inputs.push(self.bias(of, 8, [1, 4])?);
                }
                self.operator(of, "Conv", inputs, [6, 7])?;
            }
            "QLinearMatMul" => {
                let inputs = vec![
                    self.dequantized(of, [0, 1, 2], Some(-2))?,
                    self.dequantized(of, [3, 4, 5], Some(-1))?,
                ];
                self.operator(of, "MatMul", inputs, [6, 7])?;
            }
            "QGemm" => {
                let axis = if flag("transB")? { 0 } else { 1 };
                let mut inputs = vec![
                    self.dequantized(of, [0, 1, 2], None)?,
                    self.dequantized(of, [3, 4, 5], Some(axis))?,
                ];
                if of.input.get(6).is_some_and(|bias| !bias.is_empty()) {
                    inputs.push(self.bias(of, 6, [1, 4])?);
                }
                self.operator(of, "Gemm", inputs, [7, 8])?;
            }
            "QLinearAveragePool" if let Some(zero) = self.zero(of, 4) => self.mean(of, zero)?,
            "QLinearAdd" if let Some(shift) = self.shift(of) => self.shifted(of, shift)?,
            // Scale and zero point of the output come first.
            "QLinearConcat" => {
                let parts = (2..of.input.len()).step_by(3);
                let inputs = parts.map(|at| self.dequantized(of, [at, at + 1, at + 2], None));
                let inputs = inputs.collect::<Result<_>>()?;
                self.operator(of, "Concat", inputs, [0, 1])?;
            }
            name => {
                let found = CONTRIBUTED
                    .iter()
                    .find(|(contributed, ..)| *contributed == name);
                let &(_, float, count) =
                    found.ok_or_else(|| of.unsupported("this operator is not implemented"))?;
                let parts = (0..count).map(|part| 3 * part);
                let inputs = parts.map(|at| self.dequantized(of, [at, at + 1, at + 2], None));
                let inputs = inputs.collect::<Result<_>>()?;
                self.operator(of, float, inputs, [3 * count, 3 * count + 1])?;
            }
        }
        Ok(())
    }

    /// DequantizeLinear of an input, with the scale and the zero point at these positions.
    fn dequantized(
        &mut self,
        of: &NodeProto,
        [value, scale, zero]: [usize; 3],
        axis: Option<i64>,
    ) -> Result<String> {
        let output = format!("{}/input {value}", of.label());
        let mut made = node(
            "DequantizeLinear",
            &inputs(of, &[value, scale, zero])?,
            &output,
        );
        if let Some(axis) = axis {
            made = made.with(AttributeProto::int("axis", axis));
        }
        self.nodes.push(made);
        Ok(output)
    }

    /// A bias of i32, whose scale is the product of those at `scales`.
    fn bias(&mut self, of: &NodeProto, bias: usize, scales: [usize; 2]) -> Result<String> {
        let scale = format!("{}/scale of the bias", of.label());
        let output = format!("{}/bias", of.label());
        let [left, right] = [of.input.get(scales[0]), of.input.get(scales[1])].map(|name| {
            let tensor = self.initializers.iter().find(|t| Some(&t.name) == name);
            tensor.and_then(|tensor| Constant::read(tensor).ok())
        });
        let floats = |of: &Option<Constant>| match of.as_ref().map(|of| &of.values) {
            Some(Values::F32(values)) => Some(values.clone()),
            _ => None,
        };
        match (floats(&left).as_deref(), floats(&right)) {
            (Some(&[left]), Some(right)) => {
                let products: Vec<f32> = right.iter().map(|right| left * right).collect();
                let shape = match right.len() {
                    1 => vec![],
                    count => vec![count],
                };
                self.constants.push(constant(&scale, &shape, &products));
            }
            _ => self.nodes.push(node("Mul", &inputs(of, &scales)?, &scale)),
        }
        let made = node(
            "DequantizeLinear",
            &[inputs(of, &[bias])?[0], &scale],
            &output,
        );
        self.nodes.push(made.with(AttributeProto::int("axis", 0)));
        Ok(output)
    }

    /// A constant input.
    fn constant(&self, of: &NodeProto, position: usize) -> Option<Constant> {
        let name = of.input.get(position)?;
        let tensor = self.initializers.iter().find(|t| t.name == *name)?;
        Constant::read(tensor).ok()
    }

    /// The same, where it is one number.
    fn number(&self, of: &NodeProto, position: usize) -> Option<f32> {
        let constant = self.constant(of, position)?;
        match (&constant.values, constant.values.integers()) {
            (Values::F32(values), _) if values.len() == 1 => values.first().copied(),
            (_, Some(values)) if values.len() == 1 => Some(*values.first()? as f32),
            _ => None,
        }
    }

    /// The zero point at this position, where it is a constant of one byte.
    fn zero(&self, of: &NodeProto, position: usize) -> Option<Zero> {
        let number = self.number(of, position)?;
        let is_signed = match self.constant(of, position)?.values {
            Values::U8(_) => false,
            Values::I8(_) => true,
            _ => return None,
        };
        Some(Zero { number, is_signed })
    }

    /// QuantizeLinear of steps to which the zero point has been added.
    fn rounded(&mut self, of: &NodeProto, sum: &str, zero: Zero, result: &str) {
        let [one, none] = ["one", "none"].map(|what| format!("{}/{what}", of.label()));
        self.constants.push(constant(&one, &[], &[1.0_f32]));
        self.constants.push(match zero.is_signed {
            true => constant(&none, &[], &[0_i8]),
            false => constant(&none, &[], &[0_u8]),
        });
        self.nodes.push(NodeProto {
            name: of.name.clone(),
            ..node("QuantizeLinear", &[sum, &one, &none], result)
        });
    }

    /// AveragePool of dequantized values as ONNX Runtime quantizes it again: over the scale, and the zero point is
    /// added before it is rounded. A mean of few values often lies halfway between two steps.
    fn mean(&mut self, of: &NodeProto, zero: Zero) -> Result<()> {
        let [result] = &of.output[..] else {
            return Err(of.malformed("it has other outputs than one"));
        };
        let named = |what: &str| format!("{}/{what}", of.label());
        let [mean, steps, sum, added] = ["mean", "steps", "sum", "zero"].map(named);
        let input = self.dequantized(of, [0, 1, 2], None)?;
        self.nodes.push(NodeProto {
            op_type: "AveragePool".into(),
            domain: String::new(),
            input: vec![input],
            output: vec![mean.clone()],
            ..of.clone()
        });
        let scale = inputs(of, &[3])?[0];
        self.nodes.push(node("Div", &[&mean, scale], &steps));
        self.nodes.push(node("Add", &[&steps, &added], &sum));
        self.constants.push(constant(&added, &[], &[zero.number]));
        self.rounded(of, &sum, zero, result);
        Ok(())
    }

    /// What QLinearAdd adds, where that is constant; with all scales and zero points one each.
    fn shift(&self, of: &NodeProto) -> Option<Shift> {
        let [sa, za, sb, zb, sy] = [1, 2, 4, 5, 6].map(|position| self.number(of, position));
        let (sa, za, sb, zb, sy) = (sa?, za?, sb?, zb?, sy?);
        let zero = self.zero(of, 7)?;
        let position = [3, 0]
            .into_iter()
            .find(|&at| self.constant(of, at).is_some())?;
        let other = self.constant(of, position)?;
        let (to_a, to_b) = (sa / sy, sb / sy);
        // In the order of ONNX Runtime's kernels; see `kernels::Mixture`.
        let fixed = zero.number - to_a.mul_add(za, to_b * zb);
        let (value, factor, own) = match position {
            3 => (0, to_a, to_b),
            _ => (3, to_b, to_a),
        };
        let others = other.values.integers()?.into_iter();
        Some(Shift {
            value,
            factor,
            shape: other.dims,
            added: others
                .map(|other| (other as f32).mul_add(own, fixed))
                .collect(),
            zero,
        })
    }

    fn shifted(&mut self, of: &NodeProto, shift: Shift) -> Result<()> {
        let [result] = &of.output[..] else {
            return Err(of.malformed("it has other outputs than one"));
        };
        let named = |what: &str| format!("{}/{what}", of.label());
        let [unit, number, by, steps, added, sum] =
            ["unit", "number", "by", "steps", "added", "sum"].map(named);
        let value = inputs(of, &[shift.value])?[0];
        self.constants.push(constant(&unit, &[], &[1.0_f32]));
        self.constants.push(constant(&by, &[], &[shift.factor]));
        self.constants
            .push(constant(&added, &shift.shape, &shift.added));
        self.nodes
            .push(node("DequantizeLinear", &[value, &unit], &number));
        self.nodes.push(node("Mul", &[&number, &by], &steps));
        self.nodes.push(node("Add", &[&steps, &added], &sum));
        self.rounded(of, &sum, shift.zero, result);
        Ok(())
    }

    /// The float operator with the attributes of `of`, and QuantizeLinear behind it by the scale and zero
    /// point at these positions.
    fn operator(
        &mut self,
        of: &NodeProto,
        operator: &str,
        operands: Vec<String>,
        output: [usize; 2],
    ) -> Result<()> {
        let [result] = &of.output[..] else {
            return Err(of.malformed("it has other outputs than one"));
        };
        let real = format!("{}/output", of.label());
        self.nodes.push(NodeProto {
            op_type: operator.into(),
            domain: String::new(),
            input: operands,
            output: vec![real.clone()],
            ..of.clone()
        });
        // Its output may stay as it is.
        let is_given = |at: usize| of.input.get(at).is_some_and(|name| !name.is_empty());
        if of.op_type == "QGemm" && !is_given(output[0]) {
            if let Some(operator) = self.nodes.last_mut() {
                operator.output = vec![result.clone()];
            }
            return Ok(());
        }
        let [scale, zero] = inputs(of, &output)?[..] else {
            return Err(of.malformed("its output has no scale"));
        };
        let quantize = NodeProto {
            name: of.name.clone(),
            ..node("QuantizeLinear", &[&real, scale, zero], result)
        };
        self.nodes
            .push(quantize.with(AttributeProto::int(ON_INTEGERS, 1)));
        Ok(())
    }
}

/// The names of inputs; a zero point may be missing, and then its name is empty.
fn inputs<'n>(of: &'n NodeProto, positions: &[usize]) -> Result<Vec<&'n str>> {
    let name = |position: &usize| of.input.get(*position).map_or("", String::as_str);
    let names: Vec<&str> = positions.iter().map(name).collect();
    match names.first() {
        Some(first) if !first.is_empty() => Ok(names),
        _ => Err(of.malformed(format!("its input {positions:?} is missing"))),
    }
}
