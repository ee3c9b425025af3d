//! When values are needed.

use crate::{compilation::CompiledStep, ops::Storage, plan::Value};

/// By step, what is read there for the last time.
pub struct Lifetimes {
    pub values_done: Vec<Vec<Value>>,
    /// By value, the last step that reads it or a view of it; the outputs are read after all steps.
    pub last_read_of_buffer: Vec<usize>,
}

impl Lifetimes {
    pub fn of(steps: &[(CompiledStep, Storage)], values: usize, outputs: &[Value]) -> Self {
        let mut last_read = vec![0; values];
        for (number, (step, _)) in steps.iter().enumerate() {
            last_read[step.output] = number;
            for &input in &step.inputs {
                last_read[input] = number;
            }
        }
        for &output in outputs {
            last_read[output] = usize::MAX;
        }
        let mut last_read_of_buffer = last_read.clone();
        // From the last on, so that a view of a view keeps the buffer as well.
        for (step, storage) in steps.iter().rev() {
            if *storage == Storage::View {
                let last = last_read_of_buffer[step.output];
                for &input in &step.inputs {
                    last_read_of_buffer[input] = last_read_of_buffer[input].max(last);
                }
            }
        }
        let mut values_done = vec![Vec::new(); steps.len()];
        for (value, &last) in last_read.iter().enumerate() {
            if let Some(done) = values_done.get_mut(last) {
                done.push(value);
            }
        }
        Self {
            values_done,
            last_read_of_buffer,
        }
    }
}
