//! One walk over the nodes of a graph, in their order: each becomes a constant, a step, or what
//! [`super::integers`] makes of it.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use firstpass_onnx::{
    Constant, Error, GraphProto, Result, ValueInfoProto, Values, data_type, malformed,
};

use super::{
    Input, Plan, Step, Value,
    known::Known,
    lowering::{arithmetic_of, lowered},
};
use crate::{
    graph::{Arithmetic, Bounds, Node, constant_of, dtype_of},
    kernels::Isa,
    ops::{
        AtRunTime, Binary, BinaryFunction, Clamp, DynamicQuantize, Fact, Inputs, Norm, OPERATORS,
        Operation, Shaping, Split, ToFloats, ToNumbers, TopK, is_function,
    },
};

impl Plan {
    /// Recognises what `graph`, of ONNX's operator set `opset`, computes from `inputs` to `outputs`,
    /// which are names.
    ///
    /// # Errors
    /// Names the node and operator that is not implemented, or that is quantized in a way for
    /// which there is no integer form.
    pub fn new(
        (graph, opset): &(GraphProto, i64),
        inputs: &[&str],
        outputs: &[&str],
    ) -> Result<Self> {
        let lowered = lowered(graph, *opset)?;
        let graph = lowered.as_ref().unwrap_or(graph);
        let mut walk = Walk::new(graph, inputs)?;
        walk.visit_all(graph, *opset)?;
        let declared = |name: &&str| {
            let output = graph.output.iter().find(|output| output.name == *name);
            output.and_then(ValueInfoProto::elements).unwrap_or(0)
        };
        let types = outputs.iter().map(declared).collect();
        let outputs: Result<Vec<Value>> = outputs
            .iter()
            .map(|&name| {
                if !graph.output.iter().any(|output| output.name == name) {
                    return Err(Error::engine(format!("the graph has no output {name:?}")));
                }
                let known =
                    walk.known.get(name).cloned().ok_or_else(|| {
                        malformed(format!("nothing computes the output {name:?}"))
                    })?;
                walk.plain(&known, name, &format!("output {name:?}"))
            })
            .collect();
        Ok(Self {
            outputs: outputs?,
            steps: walk.steps,
            values: walk.made_by.len(),
            inputs: walk.inputs,
            constants: walk.constants,
            types,
        })
    }
}

pub(super) struct Walk<'a> {
    pub(super) known: HashMap<&'a str, Known<'a>>,
    /// Names that stand for another: outputs of Identity.
    aliases: HashMap<&'a str, &'a str>,
    /// How often a name or its aliases are read, by nodes and as output of the graph.
    pub(super) reads: HashMap<&'a str, usize>,
    /// Values that are there as the file writes them too, by name.
    plain: HashMap<String, Value>,
    pub(super) steps: Vec<Step>,
    /// By value, the step that computes it.
    pub(super) made_by: Vec<Option<usize>>,
    /// By value, whether it is the same for all inputs of one shape.
    is_constant: Vec<bool>,
    inputs: Vec<Input>,
    /// Constants of four bits, which are held as bytes, with their ONNX type.
    pub(super) nibbles: HashMap<&'a str, i32>,
    constants: Vec<(Value, Fact)>,
    pub(super) arithmetic: Arithmetic,
}

impl<'a> Walk<'a> {
    fn new(graph: &'a GraphProto, names: &[&str]) -> Result<Self> {
        let mut walk = Self {
            known: HashMap::new(),
            aliases: HashMap::new(),
            reads: HashMap::new(),
            plain: HashMap::new(),
            steps: Vec::new(),
            made_by: Vec::new(),
            is_constant: Vec::new(),
            inputs: Vec::new(),
            nibbles: HashMap::new(),
            constants: Vec::new(),
            arithmetic: arithmetic_of(graph),
        };
        walk.read_constants(graph)?;
        // Files of the first IR versions list the constants among the inputs.
        let inputs = graph.input.iter();
        let inputs: Vec<&ValueInfoProto> = inputs
            .filter(|value| !walk.known.contains_key(value.name.as_str()))
            .collect();
        let declared = |name: &&str| inputs.iter().find(|value| value.name == **name);
        let chosen: Vec<_> = names.iter().filter_map(declared).collect();
        if chosen.len() != names.len() || chosen.len() != inputs.len() {
            let found: Vec<_> = inputs.iter().map(|value| &value.name).collect();
            return Err(Error::unsupported(format!(
                "the graph must have {names:?} as its only inputs; it has {found:?}"
            )));
        }
        for input in chosen {
            let onnx = input.elements().unwrap_or(0);
            let dtype = dtype_of(onnx).ok_or_else(|| {
                Error::unsupported(format!(
                    "the input {:?} is {}",
                    input.name,
                    data_type::name(onnx)
                ))
            })?;
            let value = walk.value(None, false);
            walk.inputs.push(Input {
                name: input.name.clone(),
                onnx,
                dtype,
            });
            if walk
                .known
                .insert(&input.name, Known::Plain(value))
                .is_some()
            {
                return Err(malformed(format!("two inputs {:?}", input.name)));
            }
        }
        walk.count_reads(graph);
        Ok(walk)
    }

    fn read_constants(&mut self, graph: &'a GraphProto) -> Result<()> {
        for tensor in &graph.initializer {
            let constant = Known::Constant(Arc::new(Constant::read(tensor)?));
            if self.known.insert(&tensor.name, constant).is_some() {
                return Err(malformed(format!("two constants {:?}", tensor.name)));
            }
            if matches!(tensor.data_type, data_type::UINT4 | data_type::INT4) {
                self.nibbles.insert(&tensor.name, tensor.data_type);
            }
        }
        Ok(())
    }

    /// Reads in both branches of a choice are counted, though only one of them is taken.
    fn count_reads(&mut self, graph: &'a GraphProto) {
        for node in &graph.node {
            if let ("Identity" | "Dropout", Some(from), Some(to)) = (
                node.op_type.as_str(),
                node.input.first(),
                node.output.first(),
            ) {
                let root = self.root(from);
                self.aliases.insert(to, root);
            } else {
                for name in &node.input {
                    *self.reads.entry(self.root(name)).or_default() += 1;
                }
            }
            for graph in node.graphs() {
                self.count_reads(graph);
            }
        }
        for output in &graph.output {
            *self.reads.entry(self.root(&output.name)).or_default() += 1;
        }
    }

    /// The ONNX type of a value that is an input of the model.
    pub(super) fn type_of_input(&self, value: Value) -> Option<i32> {
        self.inputs.get(value).map(|input| input.onnx)
    }

    fn visit_all(&mut self, graph: &'a GraphProto, opset: i64) -> Result<()> {
        for proto in &graph.node {
            self.visit(Node { proto, opset })?;
        }
        Ok(())
    }

    pub(super) fn root(&self, name: &'a str) -> &'a str {
        self.aliases.get(name).copied().unwrap_or(name)
    }

    fn visit(&mut self, node: Node<'a>) -> Result<()> {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return Err(node.unsupported(format!(
                "this operator of {:?} is not implemented",
                node.domain
            )));
        }
        if node.op_type == "If" {
            return self.choose(node);
        }
        let mut operators = OPERATORS.iter();
        if !operators.any(|(name, _)| *name == node.op_type) {
            return Err(node.unsupported("this operator is not implemented"));
        }
        let [_, others @ ..] = &node.proto.output[..] else {
            return Err(node.malformed("it has no output"));
        };
        let has_several = matches!(
            node.op_type.as_str(),
            "Split" | "DynamicQuantizeLinear" | "LayerNormalization" | "TopK"
        );
        let is_read = |name: &String| self.reads.contains_key(name.as_str());
        if !has_several && others.iter().any(is_read) {
            return Err(node.unsupported("only its first output is implemented"));
        }
        let outputs = if has_several {
            &node.proto.output[..]
        } else {
            &node.proto.output[..1]
        };
        for (index, name) in outputs.iter().enumerate() {
            let result = self.compute(node, index)?;
            self.define(node, name, result)?;
        }
        Ok(())
    }

    fn define(&mut self, node: Node<'a>, name: &'a str, known: Known<'a>) -> Result<()> {
        // An output that nothing reads may have no name.
        if name.is_empty() {
            return Ok(());
        }
        match self.known.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(known);
                Ok(())
            }
            Entry::Occupied(_) => Err(node.malformed(format!("{name:?} exists already"))),
        }
    }

    /// If, where the condition is known when the model is loaded: the nodes of the one graph.
    fn choose(&mut self, node: Node<'a>) -> Result<()> {
        let condition = self.input(&node, 0)?;
        let condition = match condition.as_constant().map(|condition| &condition.values) {
            Some(Values::U8(values)) if values.len() == 1 => values[0] != 0,
            _ => {
                return Err(node.unsupported(
                    "its condition is known only in a pass; it is implemented where the condition is a \
                     constant",
                ));
            }
        };
        let branch = match condition {
            true => "then_branch",
            false => "else_branch",
        };
        let graph = node.proto.graph(branch);
        let graph = graph.ok_or_else(|| node.malformed(format!("it has no {branch}")))?;
        self.read_constants(graph)?;
        self.visit_all(graph, node.opset)?;
        if graph.output.len() < node.proto.output.len() {
            return Err(node.malformed(format!("its {branch} has other outputs")));
        }
        for (inner, outer) in graph.output.iter().zip(&node.proto.output) {
            let known = self.known.get(inner.name.as_str()).cloned();
            let known = known.ok_or_else(|| {
                node.malformed(format!("nothing computes {:?} in its {branch}", inner.name))
            })?;
            self.define(node, outer, known)?;
        }
        Ok(())
    }

    /// What is known of an output of `node`.
    fn compute(&mut self, node: Node<'a>, index: usize) -> Result<Known<'a>> {
        match node.op_type.as_str() {
            "Constant" => constant(&node),
            "Identity" => self.input(&node, 0),
            "Dropout" => self.dropout(&node),
            "QuantizeLinear" => self.quantize(node),
            "DequantizeLinear" => self.dequantize(node),
            "Cast" => self.cast(node),
            "Relu" => {
                let bounds = Bounds {
                    low: 0.0,
                    ..Bounds::NONE
                };
                self.clamp(node, bounds)
            }
            "Clip" => self.clip(node),
            "Conv" => self.conv(node),
            "Gemm" | "MatMul" => self.product(node),
            "Add" => self.add(node),
            "MaxPool" => self.max_pool(node),
            "AveragePool" => self.average_pool(node),
            "GlobalAveragePool" | "ReduceMean" => self.mean(node),
            "Mul" => self.multiply(node),
            "Pad" => self.pad(node),
            "Min" | "Max" | "Sum" if node.input.len() != 2 => self.chain(node),
            _ if is_function(&node) => self.function_or_written(node),
            _ => self.moving_or_written(node, index),
        }
    }

    /// Nothing, but in training.
    fn dropout(&self, node: &Node<'a>) -> Result<Known<'a>> {
        let training = self.optional_constant(node, 2)?;
        match training.as_deref().map(|training| &training.values) {
            None => self.input(node, 0),
            Some(Values::U8(values)) if values[..] == [0] => self.input(node, 0),
            Some(_) => Err(node.unsupported("it is in training")),
        }
    }

    /// The input of `node` at `position`, if it has one.
    pub(super) fn optional_input(
        &self,
        node: &Node<'a>,
        position: usize,
    ) -> Result<Option<Known<'a>>> {
        let Some(name) = node.input.get(position).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        match self.known.get(name.as_str()) {
            Some(known) => Ok(Some(known.clone())),
            None => Err(node.malformed(format!("it reads {name:?}, which nothing computed yet"))),
        }
    }

    pub(super) fn input(&self, node: &Node<'a>, position: usize) -> Result<Known<'a>> {
        self.optional_input(node, position)?
            .ok_or_else(|| node.malformed(format!("its input {position} is missing")))
    }

    pub(super) fn optional_constant(
        &self,
        node: &Node<'a>,
        position: usize,
    ) -> Result<Option<Arc<Constant>>> {
        match self.optional_input(node, position)? {
            Some(Known::Constant(constant)) => Ok(Some(constant)),
            None => Ok(None),
            Some(_) => Err(node.unsupported(format!("its input {position} is not a constant"))),
        }
    }

    fn value(&mut self, made_by: Option<usize>, is_constant: bool) -> Value {
        self.made_by.push(made_by);
        self.is_constant.push(is_constant);
        self.made_by.len() - 1
    }

    pub(super) fn step(
        &mut self,
        label: String,
        operation: Box<dyn Operation>,
        inputs: Vec<Option<Value>>,
    ) -> Value {
        let of_shapes = operation.is_of_shapes();
        let is_constant = of_shapes || inputs.iter().flatten().all(|&v| self.is_constant[v]);
        let output = self.value(Some(self.steps.len()), is_constant);
        self.steps.push(Step {
            label,
            operation,
            inputs,
            output,
        });
        output
    }

    /// The run-time tensor that the file writes: dequantized here, or computed on floats, where
    /// there is none yet.
    pub(super) fn plain(&mut self, known: &Known<'a>, name: &str, reader: &str) -> Result<Value> {
        if let Known::Plain(value) = known {
            return Ok(*value);
        }
        if let Some(&done) = self.plain.get(name) {
            return Ok(done);
        }
        let in_reader = |e: Error| e.context(format!("{reader}, which reads {name:?}"));
        let done = match known {
            Known::Plain(value) => *value,
            Known::Constant(constant) => self.constant(constant).map_err(in_reader)?,
            Known::DequantizedConstant(constant) => {
                let floats = constant.floats().map_err(in_reader)?;
                self.constant(&floats)?
            }
            Known::Dequantized(value, quantization) => {
                let label = format!("{reader}, dequantizing {name:?}");
                let operation = ToFloats(*quantization);
                self.step(label, Box::new(operation), vec![Some(*value)])
            }
            Known::Quantized { value, is_signed } => {
                let label = format!("{reader}, reading the integers {name:?}");
                let operation = Box::new(ToNumbers {
                    is_signed: *is_signed,
                });
                self.step(label, operation, vec![Some(*value)])
            }
            Known::Pending(pending) => {
                let floats = self.written(pending.node, pending.index)?;
                let value = self.plain(&floats, "", reader)?;
                if pending.bounds == Bounds::NONE {
                    value
                } else {
                    let operation = Clamp(pending.bounds);
                    self.step(pending.node.label(), Box::new(operation), vec![Some(value)])
                }
            }
        };
        // An empty name is that of no value.
        if !name.is_empty() {
            self.plain.insert(name.into(), done);
        }
        Ok(done)
    }

    fn constant(&mut self, constant: &Constant) -> Result<Value> {
        let fact = Fact::of(constant)?;
        let value = self.value(None, true);
        self.constants.push((value, fact));
        Ok(value)
    }

    /// An output of `node` as the file writes it: now, where all inputs are constants, or in a step.
    pub(super) fn written(&mut self, node: Node<'a>, index: usize) -> Result<Known<'a>> {
        let operation = parse(&node, index)?;
        let mut known = Vec::with_capacity(node.input.len());
        for position in 0..node.input.len() {
            known.push(self.optional_input(&node, position)?);
        }
        if known.iter().all(Option::is_none) {
            return Err(node.malformed("it has no inputs"));
        }
        if let Some(folded) = fold(&node, operation.as_ref(), &known)? {
            return Ok(Known::Constant(Arc::new(folded)));
        }
        self.by_step(node, operation)
    }

    /// A step with all inputs of `node`, as the file writes them.
    pub(super) fn by_step(
        &mut self,
        node: Node<'a>,
        operation: Box<dyn Operation>,
    ) -> Result<Known<'a>> {
        let mut inputs = Vec::with_capacity(node.input.len());
        let mut varying = Vec::new();
        for (position, name) in node.proto.input.iter().enumerate() {
            let value = match self.optional_input(&node, position)? {
                Some(known) => Some(self.plain(&known, name, &node.label())?),
                None => None,
            };
            if value.is_some_and(|value| !self.is_constant[value])
                && operation.is_parameter(position)
            {
                if !operation.may_vary(position) {
                    return Err(node.unsupported(format!(
                        "its input {position} depends on values of the input; it is implemented where \
                         it is known before a pass"
                    )));
                }
                varying.push(position);
            }
            inputs.push(value);
        }
        let operation = match varying.is_empty() {
            true => operation,
            false => Box::new(AtRunTime::new(operation, varying)),
        };
        Ok(Known::Plain(self.step(node.label(), operation, inputs)))
    }

    /// Functions of any number of values, two by two.
    fn chain(&mut self, node: Node<'a>) -> Result<Known<'a>> {
        let function = match node.op_type.as_str() {
            "Min" => BinaryFunction::Min,
            "Max" => BinaryFunction::Max,
            _ => BinaryFunction::Add,
        };
        let mut values = Vec::with_capacity(node.input.len());
        for (position, name) in node.proto.input.iter().enumerate() {
            let known = self.input(&node, position)?;
            values.push(self.plain(&known, name, &node.label())?);
        }
        let mut values = values.into_iter();
        let first = values.next();
        let first = first.ok_or_else(|| node.malformed("it has no inputs"))?;
        if values.len() == 0 {
            // A value of its own, which Relu behind it may change.
            let operation = Box::new(Shaping::Identity);
            return Ok(Known::Plain(self.step(
                node.label(),
                operation,
                vec![Some(first)],
            )));
        }
        Ok(Known::Plain(values.fold(first, |left, right| {
            let operation = Box::new(Binary::of(function));
            self.step(node.label(), operation, vec![Some(left), Some(right)])
        })))
    }
}

pub(super) fn parse(node: &Node<'_>, index: usize) -> Result<Box<dyn Operation>> {
    match node.op_type.as_str() {
        "Split" => return Split::read(node, index),
        "DynamicQuantizeLinear" => return DynamicQuantize::read(node, index),
        "LayerNormalization" => return Norm::read(node, index),
        "TopK" => return TopK::read(node, index),
        _ => {}
    }
    let entry = OPERATORS.iter().find(|(name, _)| *name == node.op_type);
    match entry {
        Some((_, Some(parse))) => parse(node),
        _ => Err(node.unsupported("this operator is not implemented")),
    }
}

/// What an operator computes where all its inputs are constants.
pub(super) fn fold(
    node: &Node<'_>,
    operation: &dyn Operation,
    known: &[Option<Known<'_>>],
) -> Result<Option<Constant>> {
    let mut facts = Vec::with_capacity(known.len());
    for known in known {
        facts.push(match known {
            None => None,
            Some(Known::Constant(constant)) => Some(Fact::of(constant)?),
            Some(Known::DequantizedConstant(constant)) => Some(Fact::of(&constant.floats()?)?),
            Some(_) => return Ok(None),
        });
    }
    let fold = || {
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let inputs = Inputs {
            facts: &facts,
            isa: Isa::detect(),
        };
        let compiled = inputs.compile(operation)?;
        let folded = inputs.fold(operation, &compiled)?;
        constant_of(&folded, operation.narrow(&inputs, compiled.dtype))
    };
    fold().map(Some).map_err(|e: Error| e.context(node.label()))
}

fn constant<'a>(node: &Node<'a>) -> Result<Known<'a>> {
    let constant = |dims: Vec<usize>, values: Values| Constant { dims, values };
    let constant = if let Some(tensor) = node.tensor("value") {
        Constant::read(tensor)?
    } else if let Some(value) = node.float("value_float") {
        constant(vec![], Values::F32(vec![value]))
    } else if let Some(value) = node.int("value_int").ok().flatten() {
        constant(vec![], Values::I64(vec![value]))
    } else if let Some(values) = node.floats("value_floats") {
        constant(vec![values.len()], Values::F32(values.to_vec()))
    } else if let Some(values) = node.ints("value_ints") {
        constant(vec![values.len()], Values::I64(values.to_vec()))
    } else {
        return Err(node.unsupported("its value is of a kind that is not implemented"));
    };
    Ok(Known::Constant(Arc::new(constant)))
}
