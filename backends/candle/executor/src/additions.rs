//! Additions of quantized values that become part of the convolution before them. Each value is computed as before: the
//! convolution writes its integers, and adds to them what belongs there while they are still in the cache.

use std::collections::HashMap;

use crate::{compilation::CompiledStep, ops::Storage, plan::Value};

type Steps = Vec<(CompiledStep, Storage)>;

/// Makes additions part of a convolution whose output they alone read.
pub fn fuse(steps: &mut Steps, outputs: &[Value]) {
    let mut reads: HashMap<Value, usize> = HashMap::new();
    let inputs = steps.iter().flat_map(|(step, _)| &step.inputs);
    for &value in inputs.chain(outputs) {
        *reads.entry(value).or_default() += 1;
    }
    let mut number = 0;
    while number < steps.len() {
        match conv_before(number, steps, &reads) {
            // Another step is in its place now.
            Some(conv) => join(conv, number, steps),
            None => number += 1,
        }
    }
}

/// The last convolution before an addition that can do it as well.
fn conv_before(addition: usize, steps: &Steps, reads: &HashMap<Value, usize>) -> Option<usize> {
    let (before, rest) = steps.split_at(addition);
    let (step, storage) = rest.first()?;
    step.operator.as_addition()?;
    let Storage::Buffer(dims) = storage else {
        return None;
    };
    before.iter().rposition(|(conv, _)| {
        let operator = conv.operator.as_int_conv();
        operator.is_some_and(|conv| !conv.is_followed() && conv.shapes()[1][..] == dims[..])
            && step.inputs.contains(&conv.output)
            && reads.get(&conv.output) == Some(&1)
    })
}

/// Makes an addition part of a convolution, which moves to where the addition is: what it adds to may be computed in between.
fn join(conv: usize, addition: usize, steps: &mut Steps) {
    let (step, _) = &steps[addition];
    let (output, operands) = (step.output, step.inputs.clone());
    let how = step.operator.as_addition().copied();
    let (step, _) = &mut steps[conv];
    let is_left = operands.first() == Some(&step.output);
    let other = operands[usize::from(is_left)];
    if let Some((operator, how)) = step.operator.as_int_conv_mut().zip(how) {
        operator.follow_with(if is_left { how } else { how.swapped() });
    }
    step.output = output;
    step.inputs.push(other);
    steps[conv..=addition].rotate_left(1);
    steps.remove(addition - 1);
}
