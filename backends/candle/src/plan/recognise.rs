//! Finds the integer operators that a QDQ graph means.
//!
//! The file writes them as float operators between DequantizeLinear and QuantizeLinear. One walk
//! over the nodes suffices: an operator on dequantized values stays *pending*, and the
//! QuantizeLinear behind it, perhaps after Relu or Clip, makes it a step on integers.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use firstpass_probe::{Error, Result};

use super::{
    Bias, Bounds, FloatConv, Operation, Plan, Quantization, QuantizedConv, Step, Value,
    WeightScales,
};
use crate::{
    geometry::{Span, Window},
    kernels::MAX_PRODUCTS,
    onnx::{Constant, GraphProto, NodeProto, Values, malformed},
};

/// What is known of a named value of the graph.
#[derive(Clone)]
enum Known {
    Constant(Arc<Constant>),
    DequantizedConstant(Arc<DequantizedConstant>),
    Float(Value),
    Quantized(Value),
    Dequantized(Value, Quantization),
    Pending(Arc<Pending>),
}

/// DequantizeLinear of a constant: weights or a bias.
struct DequantizedConstant {
    constant: Arc<Constant>,
    scales: Arc<Constant>,
    axis: i64,
}

/// An operator on dequantized values that waits for its QuantizeLinear.
#[derive(Clone)]
struct Pending {
    label: String,
    operator: PendingOperator,
    bounds: Bounds,
}

#[derive(Clone)]
enum PendingOperator {
    Conv(Value, Arc<QuantizedConv>),
    Add([(Value, Quantization); 2]),
}

impl Pending {
    fn not_quantized(&self) -> Error {
        Error::unsupported(format!(
            "{}: its inputs are quantized, but its output is not",
            self.label
        ))
    }
}

pub fn plan(graph: &GraphProto, input: &str, outputs: &[&str]) -> Result<Plan> {
    let mut walk = Walk::new(graph, input)?;
    for node in &graph.node {
        walk.visit(node)?;
    }
    let outputs: Result<Vec<Value>> = outputs
        .iter()
        .map(|&name| {
            if !graph.output.iter().any(|output| output.name == name) {
                return Err(Error::engine(format!("the graph has no output {name:?}")));
            }
            let known = walk
                .known
                .get(name)
                .cloned()
                .ok_or_else(|| malformed(format!("nothing computes the output {name:?}")))?;
            walk.float(known, name, &format!("output {name:?}"))
        })
        .collect();
    Ok(Plan {
        outputs: outputs?,
        steps: walk.steps,
        values: walk.values,
    })
}

struct Walk<'a> {
    known: HashMap<&'a str, Known>,
    /// How often a name is read, by nodes and as output of the graph.
    reads: HashMap<&'a str, usize>,
    /// Values that were dequantized for an operator on floats, by name.
    dequantized: HashMap<String, Value>,
    steps: Vec<Step>,
    values: usize,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a GraphProto, input: &str) -> Result<Self> {
        let mut known = HashMap::new();
        for tensor in &graph.initializer {
            let constant = Known::Constant(Arc::new(Constant::read(tensor)?));
            if known.insert(tensor.name.as_str(), constant).is_some() {
                return Err(malformed(format!("two constants {:?}", tensor.name)));
            }
        }
        // Files of the first IR versions list the constants among the inputs.
        let inputs = graph.input.iter();
        let inputs: Vec<_> = inputs
            .filter(|value| !known.contains_key(value.name.as_str()))
            .collect();
        match inputs[..] {
            [value] if value.name == input && value.is_f32() => {
                known.insert(&value.name, Known::Float(0));
            }
            _ => {
                let names: Vec<_> = inputs.iter().map(|value| &value.name).collect();
                return Err(Error::unsupported(format!(
                    "the graph must have {input:?} as its only input, a tensor of f32; \
                     it has {names:?}"
                )));
            }
        }
        let mut reads = HashMap::new();
        let outputs = graph.output.iter().map(|output| &output.name);
        for name in graph
            .node
            .iter()
            .flat_map(|node| &node.input)
            .chain(outputs)
        {
            *reads.entry(name.as_str()).or_default() += 1;
        }
        Ok(Self {
            known,
            reads,
            dequantized: HashMap::new(),
            steps: Vec::new(),
            values: 1,
        })
    }

    fn visit(&mut self, node: &'a NodeProto) -> Result<()> {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return Err(node.unsupported(format!("operators of {:?} are unknown", node.domain)));
        }
        let [output] = &node.output[..] else {
            return Err(node.unsupported(format!("it has {} outputs", node.output.len())));
        };
        let result = match node.op_type.as_str() {
            "Constant" => constant(node),
            "Identity" => self.input(node, 0),
            "QuantizeLinear" => self.quantize(node),
            "DequantizeLinear" => self.dequantize(node),
            "Conv" => self.conv(node),
            "Add" => self.add(node),
            "Relu" => self.clamp(
                node,
                Bounds {
                    low: 0.0,
                    ..Bounds::NONE
                },
            ),
            "Clip" => self.clip(node),
            "Sigmoid" => self.on_floats(node, 1, Operation::Sigmoid),
            "Transpose" => self.transpose(node),
            "Reshape" => self.reshape(node),
            "Flatten" => {
                let axis = node.int("axis")?.unwrap_or(1);
                self.on_floats(node, 1, Operation::Flatten { axis })
            }
            "Concat" => {
                let axis = node.int("axis")?;
                let axis = axis.ok_or_else(|| node.malformed("it has no axis"))?;
                self.on_floats(node, node.input.len(), Operation::Concat { axis })
            }
            _ => Err(node.unsupported("this operator is not implemented")),
        }?;
        match self.known.entry(output) {
            Entry::Vacant(entry) => {
                entry.insert(result);
                Ok(())
            }
            Entry::Occupied(_) => Err(node.malformed(format!("{output:?} exists already"))),
        }
    }

    /// The input of `node` at `position`, if it has one.
    fn optional_input(&self, node: &NodeProto, position: usize) -> Result<Option<Known>> {
        let Some(name) = node.input.get(position).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        match self.known.get(name.as_str()) {
            Some(known) => Ok(Some(known.clone())),
            None => Err(node.malformed(format!("it reads {name:?}, which nothing computed yet"))),
        }
    }

    fn input(&self, node: &NodeProto, position: usize) -> Result<Known> {
        self.optional_input(node, position)?
            .ok_or_else(|| node.malformed(format!("its input {position} is missing")))
    }

    fn optional_constant(
        &self,
        node: &NodeProto,
        position: usize,
    ) -> Result<Option<Arc<Constant>>> {
        match self.optional_input(node, position)? {
            Some(Known::Constant(constant)) => Ok(Some(constant)),
            None => Ok(None),
            Some(_) => Err(node.unsupported(format!("its input {position} is not a constant"))),
        }
    }

    fn step(&mut self, label: String, operation: Operation, inputs: Vec<Value>) -> Value {
        let output = self.values;
        self.values += 1;
        self.steps.push(Step {
            label,
            operation,
            inputs,
            output,
        });
        output
    }

    /// The run-time float tensor of `known`, dequantized here where it is quantized.
    fn float(&mut self, known: Known, name: &str, reader: &str) -> Result<Value> {
        match known {
            Known::Float(value) => Ok(value),
            Known::Dequantized(value, quantization) => {
                if let Some(&done) = self.dequantized.get(name) {
                    return Ok(done);
                }
                let label = format!("{reader}, dequantizing {name:?}");
                let done = self.step(label, Operation::Dequantize(quantization), vec![value]);
                self.dequantized.insert(name.into(), done);
                Ok(done)
            }
            Known::Pending(pending) => Err(pending.not_quantized()),
            Known::Quantized(_) => Err(Error::unsupported(format!(
                "{reader}: {name:?} is read as u8, without DequantizeLinear"
            ))),
            Known::Constant(_) | Known::DequantizedConstant(_) => Err(Error::unsupported(format!(
                "{reader}: {name:?} is a constant"
            ))),
        }
    }

    /// A step that reads its first `count` inputs as floats.
    fn on_floats(&mut self, node: &NodeProto, count: usize, operation: Operation) -> Result<Known> {
        let mut inputs = Vec::with_capacity(count);
        for position in 0..count {
            let known = self.input(node, position)?;
            inputs.push(self.float(known, &node.input[position], &node.label())?);
        }
        if inputs.is_empty() {
            return Err(node.malformed("it has no inputs"));
        }
        Ok(Known::Float(self.step(node.label(), operation, inputs)))
    }

    fn quantize(&mut self, node: &NodeProto) -> Result<Known> {
        let output = self.quantization(node)?;
        let input = self.input(node, 0)?;
        let Known::Pending(pending) = input else {
            let value = self.float(input, &node.input[0], &node.label())?;
            let operation = Operation::Quantize(output);
            return Ok(Known::Quantized(self.step(
                node.label(),
                operation,
                vec![value],
            )));
        };
        let bounds = pending.bounds;
        let (operation, inputs) = match &pending.operator {
            PendingOperator::Conv(input, conv) => {
                let conv = Arc::clone(conv);
                let operation = Operation::QuantizedConv {
                    conv,
                    bounds,
                    output,
                };
                (operation, vec![*input])
            }
            PendingOperator::Add(inputs) => {
                let operation = Operation::QuantizedAdd {
                    inputs: inputs.map(|(_, quantization)| quantization),
                    bounds,
                    output,
                };
                (operation, inputs.iter().map(|&(value, _)| value).collect())
            }
        };
        let value = self.step(pending.label.clone(), operation, inputs);
        Ok(Known::Quantized(value))
    }

    fn dequantize(&mut self, node: &NodeProto) -> Result<Known> {
        match self.input(node, 0)? {
            Known::Quantized(value) => Ok(Known::Dequantized(value, self.quantization(node)?)),
            Known::Constant(constant) => {
                let scales = self
                    .optional_constant(node, 1)?
                    .ok_or_else(|| node.malformed("it has no scale"))?;
                if let Some(zeros) = self.optional_constant(node, 2)? {
                    let all_zero = match &zeros.values {
                        Values::I8(zeros) => zeros.iter().all(|&zero| zero == 0),
                        Values::I32(zeros) => zeros.iter().all(|&zero| zero == 0),
                        _ => false,
                    };
                    if !all_zero {
                        return Err(node.unsupported(
                            "a zero point of constants must be 0, of type i8 or i32",
                        ));
                    }
                }
                let axis = node.int("axis")?.unwrap_or(1);
                Ok(Known::DequantizedConstant(Arc::new(DequantizedConstant {
                    constant,
                    scales,
                    axis,
                })))
            }
            _ => Err(node.unsupported("its input is not quantized")),
        }
    }

    /// Scale and zero point of the activations that `node` quantizes or dequantizes.
    fn quantization(&self, node: &NodeProto) -> Result<Quantization> {
        let scale = self
            .optional_constant(node, 1)?
            .ok_or_else(|| node.malformed("it has no scale"))?;
        let scale = match &scale.values {
            Values::F32(scales) if scales.len() == 1 => scales[0],
            _ => return Err(node.unsupported("activations must have one scale, of type f32")),
        };
        check_scale(node, scale)?;
        let zero = match self.optional_constant(node, 2)? {
            None => 0,
            Some(zero) => match &zero.values {
                Values::U8(zeros) if zeros.len() == 1 => zeros[0],
                _ => {
                    return Err(
                        node.unsupported("activations must have one zero point, of type u8")
                    );
                }
            },
        };
        Ok(Quantization { scale, zero })
    }

    fn conv(&mut self, node: &NodeProto) -> Result<Known> {
        match (self.input(node, 0)?, self.input(node, 1)?) {
            (Known::Dequantized(input, quantization), Known::DequantizedConstant(weights)) => {
                let conv = self.quantized_conv(node, quantization, &weights)?;
                Ok(Known::Pending(Arc::new(Pending {
                    label: node.label(),
                    operator: PendingOperator::Conv(input, Arc::new(conv)),
                    bounds: Bounds::NONE,
                })))
            }
            (Known::Float(input), Known::Constant(weights)) => {
                let conv = self.float_conv(node, weights)?;
                let bounds = Bounds::NONE;
                let operation = Operation::Conv { conv, bounds };
                Ok(Known::Float(self.step(
                    node.label(),
                    operation,
                    vec![input],
                )))
            }
            (Known::Pending(pending), _) => Err(pending.not_quantized()),
            _ => Err(node.unsupported(
                "either both input and weights must be quantized, or neither of them; \
                 weights must be constant",
            )),
        }
    }

    fn quantized_conv(
        &self,
        node: &NodeProto,
        input: Quantization,
        weights: &DequantizedConstant,
    ) -> Result<QuantizedConv> {
        let (window, groups) = window(node, &weights.constant)?;
        let dims = &weights.constant.dims;
        let channels = dims[0];
        let Values::I8(values) = &weights.constant.values else {
            return Err(node.unsupported("quantized weights must be i8"));
        };
        let products: usize = dims[1..].iter().product();
        if products > MAX_PRODUCTS {
            return Err(node.unsupported(format!("sums of {products} products may overflow")));
        }
        let Values::F32(scales) = &weights.scales.values else {
            return Err(node.unsupported("scales of weights must be f32"));
        };
        for &scale in scales {
            check_scale(node, scale)?;
        }
        let per_channel = weights.scales.dims.len() == 1 && scales.len() == channels;
        let weight_scales = match scales[..] {
            _ if per_channel && matches!(weights.axis, 0 | -4) => {
                WeightScales::PerChannel(scales.clone())
            }
            [scale] => WeightScales::PerTensor(scale),
            _ => {
                return Err(node.unsupported(format!(
                    "weights {dims:?} have {} scales along axis {}; \
                     one scale, or one a channel along axis 0, is possible",
                    scales.len(),
                    weights.axis
                )));
            }
        };
        let bias = match self.optional_input(node, 2)? {
            None => Bias::Float(vec![0.0; channels]),
            Some(Known::Constant(bias)) => Bias::Float(float_bias(node, &bias, channels)?),
            Some(Known::DequantizedConstant(bias)) => {
                Bias::Int32(int_bias(node, &bias, channels, input, &weight_scales)?)
            }
            Some(_) => return Err(node.unsupported("its bias is not a constant")),
        };
        Ok(QuantizedConv {
            window,
            groups,
            weights: values.clone(),
            dims: dims.clone(),
            weight_scales,
            bias,
            input,
        })
    }

    fn float_conv(&self, node: &NodeProto, weights: Arc<Constant>) -> Result<FloatConv> {
        let (window, groups) = window(node, &weights)?;
        if !matches!(weights.values, Values::F32(_)) {
            return Err(node.unsupported("weights on floats must be f32"));
        }
        let channels = weights.dims[0];
        let bias = match self.optional_constant(node, 2)? {
            None => vec![0.0; channels],
            Some(bias) => float_bias(node, &bias, channels)?,
        };
        Ok(FloatConv {
            window,
            groups,
            weights,
            bias,
        })
    }

    fn add(&mut self, node: &NodeProto) -> Result<Known> {
        match (self.input(node, 0)?, self.input(node, 1)?) {
            (Known::Dequantized(a, qa), Known::Dequantized(b, qb)) => {
                Ok(Known::Pending(Arc::new(Pending {
                    label: node.label(),
                    operator: PendingOperator::Add([(a, qa), (b, qb)]),
                    bounds: Bounds::NONE,
                })))
            }
            (Known::Float(a), Known::Float(b)) => {
                let bounds = Bounds::NONE;
                let operation = Operation::Add { bounds };
                Ok(Known::Float(self.step(node.label(), operation, vec![a, b])))
            }
            (Known::Pending(pending), _) | (_, Known::Pending(pending)) => {
                Err(pending.not_quantized())
            }
            _ => Err(node.unsupported(
                "either both operands must be quantized, or neither of them, and none constant",
            )),
        }
    }

    fn clip(&mut self, node: &NodeProto) -> Result<Known> {
        // Until operator set 10 the bounds were attributes.
        let bound = |position: usize, attribute: &str, none: f32| -> Result<f32> {
            let bound = match self.optional_constant(node, position)? {
                None => node.float(attribute).unwrap_or(none),
                Some(constant) => match &constant.values {
                    Values::F32(values) if values.len() == 1 => values[0],
                    _ => return Err(node.unsupported("its bounds must be single f32")),
                },
            };
            Ok(bound)
        };
        let low = bound(1, "min", f32::NEG_INFINITY)?;
        let high = bound(2, "max", f32::INFINITY)?;
        if low <= high {
            self.clamp(node, Bounds { low, high })
        } else {
            Err(node.unsupported(format!("it clips to {low}..{high}")))
        }
    }

    /// Relu and Clip: part of the operator before them where they alone read it.
    fn clamp(&mut self, node: &NodeProto, next: Bounds) -> Result<Known> {
        let input = self.input(node, 0)?;
        if let Known::Pending(pending) = &input {
            let mut pending = Pending::clone(pending);
            pending.bounds = pending.bounds.then(next);
            return Ok(Known::Pending(Arc::new(pending)));
        }
        if let Known::Float(value) = input
            && self.reads.get(node.input[0].as_str()) == Some(&1)
            // The values are numbered as the steps that compute them, after the input.
            && let Some(step) = value.checked_sub(1).and_then(|step| self.steps.get_mut(step))
            && let Operation::Conv { bounds, .. } | Operation::Add { bounds } = &mut step.operation
        {
            *bounds = bounds.then(next);
            return Ok(input);
        }
        self.on_floats(node, 1, Operation::Clamp(next))
    }

    fn transpose(&mut self, node: &NodeProto) -> Result<Known> {
        let axes = node.ints("perm");
        let axes = axes.ok_or_else(|| node.unsupported("it names no axes"))?;
        let mut seen = vec![false; axes.len()];
        let mut order = Vec::with_capacity(axes.len());
        for &axis in axes {
            let axis = usize::try_from(axis).ok();
            match axis.and_then(|axis| Some((axis, seen.get_mut(axis)?))) {
                Some((axis, seen)) if !*seen => {
                    *seen = true;
                    order.push(axis);
                }
                _ => return Err(node.malformed(format!("{axes:?} is no order of axes"))),
            }
        }
        self.on_floats(node, 1, Operation::Transpose(order))
    }

    fn reshape(&mut self, node: &NodeProto) -> Result<Known> {
        let shape = self.optional_constant(node, 1)?;
        let Some(Values::I64(dims)) = shape.as_deref().map(|shape| &shape.values) else {
            return Err(node.unsupported("its shape is no constant of i64"));
        };
        let operation = Operation::Reshape {
            dims: dims.clone(),
            allow_zero: node.int("allowzero")?.unwrap_or(0) != 0,
        };
        self.on_floats(node, 1, operation)
    }
}

fn constant(node: &NodeProto) -> Result<Known> {
    match node.tensor("value") {
        Some(tensor) => Ok(Known::Constant(Arc::new(Constant::read(tensor)?))),
        None => Err(node.unsupported("only the attribute `value` is implemented")),
    }
}

/// A scale by which one can divide: subnormal ones have no reciprocal.
fn check_scale(node: &NodeProto, scale: f32) -> Result<()> {
    if scale.is_normal() && scale > 0.0 {
        Ok(())
    } else {
        Err(node.malformed(format!("{scale} is no scale")))
    }
}

fn float_bias(node: &NodeProto, bias: &Constant, channels: usize) -> Result<Vec<f32>> {
    match &bias.values {
        Values::F32(values) if bias.dims == [channels] => Ok(values.clone()),
        _ => Err(node.malformed(format!("its bias must be {channels} values of f32"))),
    }
}

/// An int32 bias, whose scale has to be that of the accumulator it is added to.
fn int_bias(
    node: &NodeProto,
    bias: &DequantizedConstant,
    channels: usize,
    input: Quantization,
    weight_scales: &WeightScales,
) -> Result<Vec<i32>> {
    let (Values::I32(values), Values::F32(scales)) = (&bias.constant.values, &bias.scales.values)
    else {
        return Err(node.unsupported("a quantized bias must be i32, with scales of f32"));
    };
    if bias.constant.dims != [channels] || (scales.len() != channels && scales.len() != 1) {
        return Err(node.malformed(format!("its bias must be {channels} values")));
    }
    for channel in 0..channels {
        let expected = input.scale * weight_scales.of(channel);
        let scale = scales[if scales.len() == 1 { 0 } else { channel }];
        // Exporters compute the product in f32 or in f64.
        if (scale - expected).abs() > expected * 1e-6 {
            return Err(node.unsupported(format!(
                "its bias has scale {scale} in channel {channel}; the product of the scales of \
                 input and weights is {expected}"
            )));
        }
    }
    Ok(values.clone())
}

/// Window and groups of a convolution with these weights.
fn window(node: &NodeProto, weights: &Constant) -> Result<(Window, usize)> {
    let [channels, group_inputs, height, width] = weights.dims[..] else {
        return Err(node.unsupported(format!("weights {:?} are not of an image", weights.dims)));
    };
    if channels == 0 || group_inputs == 0 || height == 0 || width == 0 {
        return Err(node.malformed(format!("weights {:?} are empty", weights.dims)));
    }
    let auto_pad = node.text("auto_pad").unwrap_or(b"NOTSET");
    if !matches!(auto_pad, b"NOTSET" | b"VALID") {
        return Err(node.unsupported("padding must be explicit"));
    }
    let ints = |name: &str, count: usize, default: i64| -> Result<Vec<usize>> {
        let given = node
            .ints(name)
            .map_or_else(|| vec![default; count], <[i64]>::to_vec);
        let ints: Vec<usize> = given
            .iter()
            .filter_map(|&int| usize::try_from(int).ok())
            .collect();
        if given.len() == count && ints.len() == count {
            Ok(ints)
        } else {
            Err(node.malformed(format!("it has {name} {given:?}")))
        }
    };
    if node.ints("kernel_shape").is_some() && ints("kernel_shape", 2, 0)? != [height, width] {
        return Err(node.malformed(format!("kernel_shape is not that of {:?}", weights.dims)));
    }
    let strides = ints("strides", 2, 1)?;
    let dilations = ints("dilations", 2, 1)?;
    let pads = ints("pads", 4, 0)?;
    if strides.contains(&0) || dilations.contains(&0) {
        return Err(node.malformed("strides and dilations are at least 1"));
    }
    let groups = node.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
    let groups = groups
        .filter(|groups| channels.is_multiple_of(*groups))
        .ok_or_else(|| {
            node.malformed(format!("{channels} channels do not divide into its groups"))
        })?;
    let span = |axis: usize, kernel: usize| Span {
        kernel,
        stride: strides[axis],
        dilation: dilations[axis],
        before: pads[axis],
        after: pads[axis + 2],
    };
    let window = Window {
        vertical: span(0, height),
        horizontal: span(1, width),
    };
    Ok((window, groups))
}
