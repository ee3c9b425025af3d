//! Functions of the output of a convolution that become part of it: Sigmoid, the product with it that makes a SiLU, the
//! addition of a shortcut, factors and offsets of channels … Each value is computed as before, bit for bit; but it is
//! neither written nor read in between.

use std::collections::HashMap;

use candle_core::DType;

use crate::{
    compilation::CompiledStep,
    graph::flat,
    ops::{Fact, Instruction, Pointwise, Program, Source, Storage},
    plan::Value,
};

/// Functions that become part of a convolution at most.
const MAX_FUNCTIONS: usize = 16;
/// Steps behind a convolution among which they are looked for.
const REACH: usize = 64;

type Steps = Vec<(CompiledStep, Storage)>;

/// Makes functions part of the convolutions of `steps` that they follow.
pub fn fuse(steps: &mut Steps, facts: &[Option<Fact>], outputs: &[Value]) {
    // By value, how often it is read.
    let mut reads: HashMap<Value, usize> = HashMap::new();
    let inputs = steps.iter().flat_map(|(step, _)| &step.inputs);
    for &value in inputs.chain(outputs) {
        *reads.entry(value).or_default() += 1;
    }
    let mut number = 0;
    while number < steps.len() {
        let conv = steps[number].0.operator.as_float_conv();
        if conv.is_some_and(|conv| !conv.is_followed())
            && let Some(group) = Group::behind(number, steps, facts, &reads)
        {
            group.join(number, steps);
            // The convolution is later now, and another step in its place.
            continue;
        }
        number += 1;
    }
}

/// Functions that only one value of leads out of.
struct Group {
    /// Their steps; the last computes that value.
    members: Vec<usize>,
    instructions: Vec<Instruction>,
    /// The tensors that they read.
    tensors: Vec<Value>,
}

impl Group {
    /// The largest group that begins with the output of a convolution.
    fn behind(
        conv: usize,
        steps: &Steps,
        facts: &[Option<Fact>],
        reads: &HashMap<Value, usize>,
    ) -> Option<Self> {
        let output = steps[conv].0.output;
        let dims = &facts[output].as_ref()?.dims;
        // Values within the group, and how many reads of each lie outside of it.
        let mut computed = vec![output];
        let mut left = vec![reads.get(&output).copied().unwrap_or(0)];
        let mut all = Self {
            members: Vec::new(),
            instructions: Vec::new(),
            tensors: Vec::new(),
        };
        let mut whole = 0;
        let last = steps.len().min(conv + 1 + REACH);
        for (number, (step, _)) in steps.iter().enumerate().take(last).skip(conv + 1) {
            if !step.inputs.iter().any(|input| computed.contains(input)) {
                continue;
            }
            let Some(instruction) = all.instruction(step, &computed, dims, facts) else {
                continue;
            };
            for input in &step.inputs {
                if let Some(at) = computed.iter().position(|value| value == input) {
                    left[at] -= 1;
                }
            }
            all.members.push(number);
            all.instructions.push(instruction);
            computed.push(step.output);
            left.push(reads.get(&step.output).copied().unwrap_or(0));
            let (_, within) = left.split_last()?;
            if within.iter().all(|&left| left == 0) {
                whole = all.members.len();
            }
            if all.members.len() == MAX_FUNCTIONS {
                break;
            }
        }
        all.members.truncate(whole);
        all.instructions.truncate(whole);
        all.keep_tensors();
        (whole > 0).then_some(all)
    }

    /// What `step` computes, where it is a function of values at one place in tensors of shape `dims`.
    fn instruction(
        &mut self,
        step: &CompiledStep,
        computed: &[Value],
        dims: &[usize],
        facts: &[Option<Fact>],
    ) -> Option<Instruction> {
        let function = step.operator.as_pointwise()?;
        let result = facts[step.output].as_ref()?;
        let takes = match function {
            Pointwise::OfOne(_) | Pointwise::Scaled(_) => 1,
            Pointwise::OfTwo(_) => 2,
        };
        if result.dims != dims || result.dtype != DType::F32 || step.inputs.len() != takes {
            return None;
        }
        let mut operands = Vec::with_capacity(takes);
        for &input in &step.inputs {
            let fact = facts[input].as_ref()?;
            if fact.dtype != DType::F32 {
                return None;
            }
            operands.push(match computed.iter().position(|&value| value == input) {
                Some(at) => Source::Computed(at),
                None if fact.constant.is_some() => constant(fact, dims)?,
                None if fact.dims == dims => self.tensor(input),
                None => return None,
            });
        }
        Some(Instruction { function, operands })
    }

    fn tensor(&mut self, value: Value) -> Source {
        let known = self.tensors.iter().position(|&tensor| tensor == value);
        Source::Tensor(known.unwrap_or_else(|| {
            self.tensors.push(value);
            self.tensors.len() - 1
        }))
    }

    /// Forgets tensors that no instruction reads; those that are read first were found first.
    fn keep_tensors(&mut self) {
        let operands = self.instructions.iter().flat_map(|of| &of.operands);
        let read = operands.filter_map(|operand| match operand {
            Source::Tensor(number) => Some(number + 1),
            _ => None,
        });
        self.tensors.truncate(read.max().unwrap_or(0));
    }

    /// Makes it part of the convolution, which moves to where its last function is.
    fn join(self, conv: usize, steps: &mut Steps) {
        let Some(&last) = self.members.last() else {
            return;
        };
        let output = steps[last].0.output;
        let (step, _) = &mut steps[conv];
        step.output = output;
        step.inputs.extend(&self.tensors);
        if let Some(operator) = step.operator.as_float_conv() {
            operator.follow_with(Program::new(self.instructions));
        }
        steps[conv..=last].rotate_left(1);
        // Each member is one place before where it was.
        for &member in self.members.iter().rev() {
            steps.remove(member - 1);
        }
    }
}

/// A constant as operand in tensors of shape `dims`: one number, or one for each channel.
fn constant(fact: &Fact, dims: &[usize]) -> Option<Source> {
    let values: Vec<f32> = flat(fact.constant.as_ref()?).ok()?;
    if let [value] = values[..] {
        return Some(Source::Number(value));
    }
    let channels = *dims.get(1)?;
    let from_last = dims.len() - 2;
    let mut own = fact.dims.iter().rev().enumerate();
    let is_of_channels = own.all(|(axis, &length)| length == 1 || axis == from_last);
    (is_of_channels && values.len() == channels).then_some(Source::Channels(values))
}
