//! Every operator on a small tensor, against values computed by hand.

mod indexed;

use std::collections::BTreeSet;

use firstpass_onnx::{
    AttributeProto, NodeProto, Result, TensorProto, decode_with_opset,
    write::{constant, encode},
};

use super::Graph;
use crate::{
    Engine, Settings,
    graph::flat,
    ops::OPERATORS,
    plan::Plan,
    prepared::{Prepared, Values},
};

/// A node with the input "x", constants and the output "y".
struct Case {
    node: NodeProto,
    opset: i64,
    constants: Vec<TensorProto>,
    input: (Vec<usize>, Vec<f32>),
    expected: (Vec<usize>, Vec<f32>),
}

/// `shape` and `values` are those of the input.
fn of(operator: &str, shape: &[usize], values: &[f32]) -> Case {
    Case {
        node: NodeProto {
            op_type: operator.into(),
            name: operator.into(),
            input: vec!["x".into()],
            output: vec!["y".into()],
            ..NodeProto::default()
        },
        opset: 21,
        constants: Vec::new(),
        input: (shape.to_vec(), values.to_vec()),
        expected: (Vec::new(), Vec::new()),
    }
}

/// A function of one value, at some of them.
fn function(operator: &str, pairs: &[(f32, f32)]) -> Case {
    let (values, expected): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
    of(operator, &[pairs.len()], &values).gives(&[pairs.len()], &expected)
}

/// 0, 1, 2 and so on.
fn counting(count: u8) -> Vec<f32> {
    (0..count).map(f32::from).collect()
}

impl Case {
    fn floats(self, shape: &[usize], values: &[f32]) -> Self {
        self.constant(|name| constant(name, shape, values))
    }

    fn ints(self, values: &[i64]) -> Self {
        self.constant(|name| constant(name, &[values.len()], values))
    }

    fn constant(mut self, make: impl FnOnce(&str) -> TensorProto) -> Self {
        let name = format!("c{}", self.node.input.len());
        self.constants.push(make(&name));
        self.node.input.push(name);
        self
    }

    /// An input that is left out.
    fn none(mut self) -> Self {
        self.node.input.push(String::new());
        self
    }

    fn with(mut self, attribute: AttributeProto) -> Self {
        self.node.attribute.push(attribute);
        self
    }

    fn int(self, name: &str, value: i64) -> Self {
        self.with(AttributeProto::int(name, value))
    }

    fn list(self, name: &str, values: &[i64]) -> Self {
        self.with(AttributeProto::ints(name, values))
    }

    fn text(self, name: &str, value: &str) -> Self {
        self.with(AttributeProto::text(name, value))
    }

    fn float(self, name: &str, value: f32) -> Self {
        self.with(AttributeProto::float(name, value))
    }

    fn opset(self, opset: i64) -> Self {
        Self { opset, ..self }
    }

    fn gives(self, shape: &[usize], values: &[f32]) -> Self {
        Self {
            expected: (shape.to_vec(), values.to_vec()),
            ..self
        }
    }

    fn run(&self) -> Result<(Vec<usize>, Vec<f32>)> {
        let mut graph = Graph::new().0;
        graph.node.push(self.node.clone());
        graph.initializer.clone_from(&self.constants);
        let graph = decode_with_opset(encode(graph, self.opset).into())?;
        let plan = Plan::new(&graph, &["x"], &["y"])?;
        let engine = Engine::new(Settings::default())?;
        let (shape, values) = &self.input;
        let mut prepared = Prepared::new(&engine, &plan, std::slice::from_ref(shape))?;
        let inputs = [Values::F32(values)];
        let first = flat::<f32>(&prepared.run(&inputs)?[0])?;
        let again = &prepared.run(&inputs)?[0];
        assert!(
            same(&first, &flat(again)?),
            "a pass leaves something behind"
        );
        Ok((again.dims().to_vec(), first))
    }
}

fn same(found: &[f32], expected: &[f32]) -> bool {
    let near = |(found, expected): (&f32, &f32)| {
        found == expected || (found - expected).abs() <= 2e-6 + 2e-6 * expected.abs()
    };
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}

fn functions() -> Vec<Case> {
    let e = std::f32::consts::E;
    vec![
        function("Abs", &[(-2.5, 2.5), (3.0, 3.0)]),
        function("Ceil", &[(-1.5, -1.0), (1.2, 2.0)]),
        function("Cos", &[(0.0, 1.0), (std::f32::consts::PI, -1.0)]),
        function("Elu", &[(-1.0, 1.0 / e - 1.0), (2.0, 2.0)]),
        function("Elu", &[(-1.0, 2.0 / e - 2.0)]).float("alpha", 2.0),
        function("Erf", &[(0.5, 0.520_499_9), (-2.0, -0.995_322_3)]),
        function("Exp", &[(0.0, 1.0), (1.0, e)]),
        function("Floor", &[(-1.5, -2.0), (1.8, 1.0)]),
        function("Gelu", &[(1.0, 0.841_344_7), (-1.0, -0.158_655_26)]),
        function("Gelu", &[(1.0, 0.841_192)]).text("approximate", "tanh"),
        function("HardSigmoid", &[(-9.0, 0.0), (1.0, 0.7), (9.0, 1.0)]),
        function("HardSigmoid", &[(1.0, 0.6)]).float("alpha", 0.1),
        function("HardSwish", &[(-4.0, 0.0), (1.5, 1.125), (4.0, 4.0)]),
        function("LeakyRelu", &[(-2.0, -1.0), (4.0, 4.0)]).float("alpha", 0.5),
        function("Log", &[(1.0, 0.0), (e, 1.0)]),
        function("Mish", &[(0.0, 0.0), (1.0, 0.865_098_4)]),
        function("Neg", &[(2.0, -2.0)]),
        function("Reciprocal", &[(4.0, 0.25)]),
        function("Relu", &[(-1.0, 0.0), (2.0, 2.0)]),
        function("Round", &[(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0)]),
        function("Selu", &[(1.0, 1.050_701), (-1.0, -1.111_330_7)]),
        function("Sigmoid", &[(0.0, 0.5), (1.0, 0.731_058_6)]),
        function("Sign", &[(-3.0, -1.0), (0.0, 0.0), (2.0, 1.0)]),
        function("Sin", &[(0.0, 0.0), (1.0, 0.841_471)]),
        function("Softplus", &[(0.0, std::f32::consts::LN_2), (200.0, 200.0)]),
        function("Softsign", &[(-1.0, -0.5), (3.0, 0.75)]),
        function("Sqrt", &[(9.0, 3.0)]),
        function("Tanh", &[(0.0, 0.0), (1.0, 0.761_594_2)]),
        function("Clip", &[(-1.0, 0.0), (3.0, 3.0), (9.0, 6.0)])
            .float("min", 0.0)
            .float("max", 6.0)
            .opset(10),
        function("Clip", &[(-1.0, -1.0), (9.0, 6.0)])
            .none()
            .floats(&[], &[6.0]),
        function("Clip", &[(-1.0, 2.0), (9.0, 2.0)])
            .floats(&[], &[5.0])
            .floats(&[], &[2.0]),
        function("Dropout", &[(2.0, 2.0)]),
        function("Identity", &[(2.0, 2.0)]),
        function("Cast", &[(-1.5, -1.0), (2.7, 2.0)]).int("to", 7),
        function("Cast", &[(0.0, 0.0), (0.5, 1.0)]).int("to", 9),
    ]
}

fn pairs() -> Vec<Case> {
    let x = |operator: &str| of(operator, &[2, 2], &[1.0, -2.0, 3.0, 4.0]);
    let row = |case: Case| case.floats(&[2], &[2.0, 3.0]);
    let gives = |case: Case, values: [f32; 4]| case.gives(&[2, 2], &values);
    vec![
        gives(row(x("Add")), [3.0, 1.0, 5.0, 7.0]),
        gives(row(x("Sub")), [-1.0, -5.0, 1.0, 1.0]),
        gives(row(x("Mul")), [2.0, -6.0, 6.0, 12.0]),
        gives(row(x("Div")), [0.5, -2.0 / 3.0, 1.5, 4.0 / 3.0]),
        gives(row(x("Pow")), [1.0, -8.0, 9.0, 64.0]),
        gives(x("Pow").ints(&[2]), [1.0, 4.0, 9.0, 16.0]),
        gives(row(x("Min")), [1.0, -2.0, 2.0, 3.0]),
        gives(row(row(x("Max"))), [2.0, 3.0, 3.0, 4.0]),
        gives(row(x("Max").floats(&[], &[2.5])), [2.5, 3.0, 3.0, 4.0]),
        gives(x("Max"), [1.0, -2.0, 3.0, 4.0]),
        gives(row(row(x("Sum"))), [5.0, 4.0, 7.0, 10.0]),
        gives(
            x("Mul").floats(&[2, 1], &[10.0, 100.0]),
            [10.0, -20.0, 300.0, 400.0],
        ),
        gives(x("PRelu").floats(&[2], &[9.0, 0.5]), [1.0, -1.0, 3.0, 4.0]),
        gives(row(x("Equal")), [0.0, 0.0, 0.0, 0.0]),
        gives(x("Equal").floats(&[], &[3.0]), [0.0, 0.0, 1.0, 0.0]),
        gives(row(x("Greater")), [0.0, 0.0, 1.0, 1.0]),
        gives(
            x("GreaterOrEqual").floats(&[], &[3.0]),
            [0.0, 0.0, 1.0, 1.0],
        ),
        gives(row(x("Less")), [1.0, 1.0, 0.0, 0.0]),
        gives(x("LessOrEqual").floats(&[], &[1.0]), [1.0, 1.0, 0.0, 0.0]),
        of("Add", &[1, 3], &[1.0, 2.0, 3.0])
            .floats(&[2, 1], &[10.0, 20.0])
            .gives(&[2, 3], &[11.0, 12.0, 13.0, 21.0, 22.0, 23.0]),
    ]
}

fn shapes() -> Vec<Case> {
    let x = |operator: &str| of(operator, &[1, 2, 3], &counting(6));
    let is = |case: Case, shape: &[usize]| case.gives(shape, &counting(6));
    let turned = [0.0, 3.0, 1.0, 4.0, 2.0, 5.0];
    let image = |operator: &str, shape: &[usize]| of(operator, shape, &counting(8));
    vec![
        is(x("Reshape").ints(&[0, -1]), &[1, 6]),
        is(x("Flatten").int("axis", 2), &[2, 3]),
        is(x("Squeeze").ints(&[0]), &[2, 3]),
        is(x("Squeeze"), &[2, 3]),
        is(x("Squeeze").list("axes", &[-3]).opset(11), &[2, 3]),
        is(x("Unsqueeze").ints(&[0, -1]), &[1, 1, 2, 3, 1]),
        is(x("Unsqueeze").list("axes", &[1]).opset(11), &[1, 1, 2, 3]),
        x("Transpose").gives(&[3, 2, 1], &turned),
        x("Transpose")
            .list("perm", &[0, 2, 1])
            .gives(&[1, 3, 2], &turned),
        of("Expand", &[2, 1], &[1.0, 2.0])
            .ints(&[2, 2, 2])
            .gives(&[2, 2, 2], &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]),
        x("Shape").gives(&[3], &[1.0, 2.0, 3.0]),
        x("Shape").int("start", -2).gives(&[2], &[2.0, 3.0]),
        x("Size").gives(&[], &[6.0]),
        x("Concat")
            .floats(&[1, 2, 1], &[8.0, 9.0])
            .int("axis", -1)
            .gives(&[1, 2, 4], &[0.0, 1.0, 2.0, 8.0, 3.0, 4.0, 5.0, 9.0]),
        x("Slice")
            .ints(&[-2])
            .ints(&[i64::MAX])
            .ints(&[2])
            .gives(&[1, 2, 2], &[1.0, 2.0, 4.0, 5.0]),
        x("Slice")
            .ints(&[2])
            .ints(&[i64::MIN])
            .ints(&[2])
            .ints(&[-2])
            .gives(&[1, 2, 2], &[2.0, 0.0, 5.0, 3.0]),
        x("Slice")
            .list("starts", &[1])
            .list("ends", &[9])
            .list("axes", &[1])
            .opset(9)
            .gives(&[1, 1, 3], &[3.0, 4.0, 5.0]),
        x("Split")
            .int("axis", 2)
            .int("num_outputs", 1)
            .gives(&[1, 2, 3], &counting(6)),
        x("Gather")
            .int("axis", 2)
            .ints(&[-1, 0])
            .gives(&[1, 2, 2], &[2.0, 0.0, 5.0, 3.0]),
        x("Tile").ints(&[1, 1, 2]).gives(
            &[1, 2, 6],
            &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 4.0, 5.0],
        ),
        of("Pad", &[1, 3], &[1.0, 2.0, 3.0])
            .ints(&[0, 1, 1, -1])
            .floats(&[], &[9.0])
            .gives(&[2, 3], &[9.0, 1.0, 2.0, 9.0, 9.0, 9.0]),
        of("Pad", &[3], &[1.0, 2.0, 3.0])
            .list("pads", &[2, 1])
            .text("mode", "reflect")
            .opset(10)
            .gives(&[6], &[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]),
        of("Pad", &[2], &[1.0, 2.0])
            .ints(&[1, 2])
            .text("mode", "edge")
            .gives(&[5], &[1.0, 1.0, 2.0, 2.0, 2.0]),
        image("DepthToSpace", &[1, 8, 1, 1])
            .int("blocksize", 2)
            .gives(&[1, 2, 2, 2], &[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]),
        image("DepthToSpace", &[1, 8, 1, 1])
            .int("blocksize", 2)
            .text("mode", "CRD")
            .gives(&[1, 2, 2, 2], &counting(8)),
        image("SpaceToDepth", &[1, 2, 2, 2])
            .int("blocksize", 2)
            .gives(&[1, 8, 1, 1], &[0.0, 4.0, 1.0, 5.0, 2.0, 6.0, 3.0, 7.0]),
    ]
}

fn windows() -> Vec<Case> {
    let x =
        |operator: &str| of(operator, &[1, 1, 3, 3], &counting(9)).list("kernel_shape", &[2, 2]);
    let ones = |case: Case| case.floats(&[1, 1, 2, 2], &[1.0; 4]);
    let plain = |operator: &str| of(operator, &[1, 1, 3, 3], &counting(9));
    vec![
        x("MaxPool").gives(&[1, 1, 2, 2], &[4.0, 5.0, 7.0, 8.0]),
        x("MaxPool")
            .list("strides", &[2, 2])
            .gives(&[1, 1, 1, 1], &[4.0]),
        x("MaxPool")
            .list("strides", &[2, 2])
            .int("ceil_mode", 1)
            .gives(&[1, 1, 2, 2], &[4.0, 5.0, 7.0, 8.0]),
        x("MaxPool")
            .list("strides", &[2, 2])
            .list("pads", &[1, 1, 0, 0])
            .gives(&[1, 1, 2, 2], &[0.0, 2.0, 6.0, 8.0]),
        x("MaxPool")
            .list("dilations", &[2, 2])
            .gives(&[1, 1, 1, 1], &[8.0]),
        x("AveragePool")
            .list("pads", &[0, 0, 1, 1])
            .list("strides", &[2, 2])
            .gives(&[1, 1, 2, 2], &[2.0, 3.5, 6.5, 8.0]),
        x("AveragePool")
            .list("pads", &[0, 0, 1, 1])
            .list("strides", &[2, 2])
            .int("count_include_pad", 1)
            .gives(&[1, 1, 2, 2], &[2.0, 1.75, 3.25, 2.0]),
        x("AveragePool")
            .text("auto_pad", "SAME_LOWER")
            .list("strides", &[3, 3])
            .gives(&[1, 1, 1, 1], &[2.0]),
        plain("GlobalAveragePool").gives(&[1, 1, 1, 1], &[4.0]),
        plain("GlobalMaxPool").gives(&[1, 1, 1, 1], &[8.0]),
        ones(plain("Conv")).gives(&[1, 1, 2, 2], &[8.0, 12.0, 20.0, 24.0]),
        ones(plain("Conv"))
            .text("auto_pad", "SAME_UPPER")
            .list("strides", &[2, 2])
            .gives(&[1, 1, 2, 2], &[8.0, 7.0, 13.0, 8.0]),
        ones(plain("Conv"))
            .list("pads", &[0, 0, 3, 0])
            .list("strides", &[2, 1])
            .floats(&[1], &[0.5])
            .gives(&[1, 1, 3, 2], &[8.5, 12.5, 13.5, 15.5, 0.5, 0.5]),
        of("Conv", &[1, 2, 1, 1], &[3.0, 5.0])
            .floats(&[4, 1, 1, 1], &[1.0, 2.0, 10.0, 20.0])
            .int("group", 2)
            .gives(&[1, 4, 1, 1], &[3.0, 6.0, 50.0, 100.0]),
        of("ConvTranspose", &[1, 1, 1, 2], &[1.0, 2.0])
            .floats(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0])
            .floats(&[1], &[0.5])
            .gives(&[1, 1, 2, 3], &[1.5, 4.5, 4.5, 3.5, 10.5, 8.5]),
        of("ConvTranspose", &[1, 2, 1, 1], &[1.0, 2.0])
            .floats(&[2, 1, 1, 1], &[3.0, 4.0])
            .int("group", 2)
            .list("strides", &[2, 2])
            .list("output_padding", &[1, 1])
            .gives(&[1, 2, 2, 2], &[3.0, 0.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0]),
    ]
}

fn rows() -> Vec<Case> {
    let x = |operator: &str| of(operator, &[2, 2], &[1.0, -2.0, 3.0, 4.0]);
    let rows = |operator: &str| x(operator).ints(&[1]);
    let to = |case: Case, values: [f32; 2]| case.gives(&[2, 1], &values);
    let sums = |a: f32, b: f32| [a.exp() / (a.exp() + b.exp()), b.exp() / (a.exp() + b.exp())];
    let [one, other] = sums(1.0, -2.0);
    let [third, fourth] = sums(3.0, 4.0);
    let [a, c] = sums(1.0, 3.0);
    let [b, d] = sums(-2.0, 4.0);
    let all: f32 = [1.0_f32, -2.0, 3.0, 4.0].iter().map(|x| x.exp()).sum();
    let image = |operator: &str| of(operator, &[1, 2, 1, 2], &[1.0, 3.0, 10.0, 30.0]);
    // One over the deviation of two values that are 2 and 20 apart.
    let unit = |variance: f32| 1.0 / (variance + 1e-5_f32).sqrt();
    vec![
        to(rows("ReduceSum"), [-1.0, 7.0]),
        to(rows("ReduceMean"), [-0.5, 3.5]),
        to(rows("ReduceMax"), [1.0, 4.0]),
        to(rows("ReduceMin"), [-2.0, 3.0]),
        to(rows("ReduceProd"), [-2.0, 12.0]),
        to(rows("ReduceL1"), [3.0, 7.0]),
        to(rows("ReduceL2"), [5.0_f32.sqrt(), 5.0]),
        to(rows("ReduceSumSquare"), [5.0, 25.0]),
        to(rows("ReduceLogSumExp"), [1.048_587_4, 4.313_261_5]),
        x("ReduceMean")
            .list("axes", &[0])
            .int("keepdims", 0)
            .opset(13)
            .gives(&[2], &[2.0, 1.0]),
        x("ReduceSum").gives(&[1, 1], &[6.0]),
        x("ReduceSum")
            .int("noop_with_empty_axes", 1)
            .gives(&[2, 2], &[1.0, -2.0, 3.0, 4.0]),
        x("ArgMax").int("axis", 1).gives(&[2, 1], &[0.0, 1.0]),
        x("ArgMin").int("keepdims", 0).gives(&[2], &[0.0, 0.0]),
        x("Softmax").gives(&[2, 2], &[one, other, third, fourth]),
        x("Softmax").int("axis", 0).gives(&[2, 2], &[a, b, c, d]),
        x("Softmax")
            .int("axis", 0)
            .opset(11)
            .gives(&[2, 2], &[1.0_f32, -2.0, 3.0, 4.0].map(|x| x.exp() / all)),
        x("LogSoftmax").gives(&[2, 2], &[one, other, third, fourth].map(f32::ln)),
        image("BatchNormalization")
            .floats(&[2], &[2.0, 1.0])
            .floats(&[2], &[0.5, 0.0])
            .floats(&[2], &[1.0, 20.0])
            .floats(&[2], &[4.0, 100.0])
            .float("epsilon", 0.0)
            .gives(&[1, 2, 1, 2], &[0.5, 2.5, -1.0, 1.0]),
        image("InstanceNormalization")
            .floats(&[2], &[1.0, 2.0])
            .floats(&[2], &[0.0, 1.0])
            .gives(
                &[1, 2, 1, 2],
                &[
                    -unit(1.0),
                    unit(1.0),
                    1.0 - 20.0 * unit(100.0),
                    1.0 + 20.0 * unit(100.0),
                ],
            ),
        image("LayerNormalization").floats(&[2], &[1.0, 2.0]).gives(
            &[1, 2, 1, 2],
            &[
                -unit(1.0),
                2.0 * unit(1.0),
                -10.0 * unit(100.0),
                20.0 * unit(100.0),
            ],
        ),
        of("GroupNormalization", &[1, 2, 2], &[-3.0, -1.0, 1.0, 3.0])
            .floats(&[2], &[1.0, 2.0])
            .floats(&[2], &[0.0, 0.0])
            .int("num_groups", 1)
            .gives(&[1, 2, 2], &[-3.0, -1.0, 2.0, 6.0].map(|x| x * unit(5.0))),
        of("LRN", &[1, 3, 1, 1], &[1.0, 2.0, 3.0])
            .int("size", 3)
            .float("alpha", 3.0)
            .float("beta", 1.0)
            .gives(&[1, 3, 1, 1], &[1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0]),
    ]
}

fn products() -> Vec<Case> {
    let x = |operator: &str| of(operator, &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let by = |case: Case| case.floats(&[2, 2], &[1.0, 0.0, 1.0, 1.0]);
    vec![
        by(x("MatMul")).gives(&[2, 2], &[3.0, 2.0, 7.0, 4.0]),
        x("MatMul")
            .floats(&[2], &[1.0, 10.0])
            .gives(&[2], &[21.0, 43.0]),
        x("MatMul")
            .floats(&[2, 2, 1], &[1.0, 0.0, 0.0, 1.0])
            .gives(&[2, 2, 1], &[1.0, 3.0, 2.0, 4.0]),
        by(x("Gemm"))
            .floats(&[2], &[1.0, 2.0])
            .float("alpha", 2.0)
            .float("beta", 10.0)
            .gives(&[2, 2], &[16.0, 24.0, 24.0, 28.0]),
        by(x("Gemm"))
            .int("transA", 1)
            .gives(&[2, 2], &[4.0, 3.0, 6.0, 4.0]),
        by(x("Gemm"))
            .int("transB", 1)
            .gives(&[2, 2], &[1.0, 3.0, 3.0, 7.0]),
    ]
}

fn resizes() -> Vec<Case> {
    let x = || of("Resize", &[1, 1, 1, 2], &[0.0, 4.0]).none();
    let twice = || x().floats(&[4], &[1.0, 1.0, 1.0, 2.0]);
    let to_four = |case: Case, values: [f32; 4]| case.gives(&[1, 1, 1, 4], &values);
    let coordinates = |case: Case, word: &str| case.text("coordinate_transformation_mode", word);
    let linear = |case: Case| case.text("mode", "linear");
    vec![
        to_four(twice(), [0.0, 0.0, 4.0, 4.0]),
        to_four(
            coordinates(twice(), "asymmetric").text("nearest_mode", "ceil"),
            [0.0, 4.0, 4.0, 4.0],
        ),
        to_four(linear(twice()), [0.0, 1.0, 3.0, 4.0]),
        to_four(
            coordinates(linear(twice()), "asymmetric"),
            [0.0, 2.0, 4.0, 4.0],
        ),
        to_four(
            coordinates(linear(twice()), "align_corners"),
            [0.0, 4.0 / 3.0, 8.0 / 3.0, 4.0],
        ),
        to_four(
            coordinates(linear(twice()), "pytorch_half_pixel"),
            [0.0, 1.0, 3.0, 4.0],
        ),
        linear(x().none())
            .ints(&[1, 1, 1, 1])
            .gives(&[1, 1, 1, 1], &[2.0]),
        // A quarter away the weights are -0.10546875, 0.87890625, 0.26171875 and -0.03515625.
        to_four(
            twice().text("mode", "cubic"),
            [-0.421_875, 0.906_25, 3.093_75, 4.421_875],
        ),
        of("Resize", &[1, 1, 1, 2], &[0.0, 4.0])
            .floats(&[4], &[1.0, 1.0, 1.0, 2.0])
            .opset(10)
            .gives(&[1, 1, 1, 4], &[0.0, 0.0, 4.0, 4.0]),
        of("Upsample", &[1, 1, 1, 2], &[0.0, 4.0])
            .floats(&[4], &[1.0, 1.0, 2.0, 1.0])
            .opset(9)
            .gives(&[1, 1, 2, 2], &[0.0, 4.0, 0.0, 4.0]),
    ]
}

#[test]
fn every_operator_computes_what_the_standard_says() {
    let cases = [
        functions(),
        pairs(),
        shapes(),
        windows(),
        rows(),
        products(),
        resizes(),
        indexed::indexed(),
        indexed::sums_of_products(),
    ];
    let mut tested = BTreeSet::new();
    let mut failed = Vec::new();
    for (number, case) in cases.into_iter().flatten().enumerate() {
        tested.insert(case.node.op_type.clone());
        match case.run() {
            Ok((shape, values)) if shape == case.expected.0 && same(&values, &case.expected.1) => {}
            found => failed.push(format!(
                "{number}, {}: {found:?}, not {:?}",
                case.node.op_type, case.expected
            )),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // These are in graphs of several nodes.
    for name in [
        "And",
        "Constant",
        "ConstantOfShape",
        "ConvInteger",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "If",
        "MatMulInteger",
        "Not",
        "Or",
        "QuantizeLinear",
        "Range",
        "Where",
        "Xor",
    ] {
        assert!(tested.insert(name.into()), "{name} is here as well");
    }
    let known: BTreeSet<String> = OPERATORS.iter().map(|(name, _)| (*name).into()).collect();
    assert_eq!(tested, known);
}

#[test]
fn the_readme_lists_every_operator() {
    let readme = include_str!("../../README.md");
    let rows = readme.split("## Operators").nth(1).unwrap_or_default();
    let rows = rows.split("\n## ").next().unwrap_or_default();
    let cells = rows
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let listed: Vec<&str> = cells
        .flat_map(|cell| cell.split(", "))
        .filter(|name| name.starts_with(char::is_uppercase))
        .collect();
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    let known: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
    assert_eq!(sorted, known);
}
