//! Smaller shapes and plainer values, as long as the same is shown.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use firstpass_onnx::{Values, write::constant};
use firstpass_probe::{Data, Tensor};

use crate::culprit::{Candidate, Investigation, Tensors, ddmin::ddmin, reduce::Question};

/// Values of an input are set to zero in so many pieces.
const PIECES: usize = 16;

/// Crops the inputs, sets what need not be another value to 0, and constants to 0 or 1.
///
/// # Errors
/// Fails where a file cannot be written.
pub(crate) fn simplify(
    investigation: &mut Investigation,
    question: &Question,
    candidate: Candidate,
) -> Result<Candidate> {
    if candidate.declared {
        return Ok(candidate);
    }
    let mut best = candidate;
    let mut shows = |candidate: &Candidate| {
        if investigation.is_out_of_time() {
            return Ok(false);
        }
        let (symptom, reference) = (&question.symptom, question.reference.as_ref());
        investigation.shows(candidate, symptom, reference, &question.knobs)
    };
    for length in lengths(&best.inputs) {
        crop(&mut best, length, &mut shows)?;
    }
    for name in best.inputs.keys().cloned().collect::<Vec<_>>() {
        zero_values(&mut best, &name, &mut shows)?;
    }
    plain_constants(&mut best, &mut shows)?;
    Ok(best)
}

/// An axis of inputs: from the end, because the last axes are those of images; and its length. Inputs that have the
/// same there are cropped together.
type Axis = (usize, usize);

fn lengths(inputs: &Tensors) -> BTreeSet<Axis> {
    let axes = inputs
        .values()
        .flat_map(|tensor| tensor.shape().iter().rev().enumerate());
    let axes = axes.filter(|(_, length)| **length > 1);
    axes.map(|(from_end, &length)| (from_end, length)).collect()
}

fn crop(
    best: &mut Candidate,
    (from_end, length): Axis,
    shows: &mut impl FnMut(&Candidate) -> Result<bool>,
) -> Result<()> {
    // The least at once, and else by halves.
    let mut length = length;
    let mut next = 1;
    loop {
        match cropped(best, from_end, length, next, shows)? {
            Some(smaller) => {
                *best = smaller;
                length = next;
            }
            None if next > 1 => return Ok(()),
            None => {}
        }
        if length <= 2 {
            return Ok(());
        }
        next = length.div_ceil(2);
    }
}

/// The candidate with `next` of the `length` values along an axis, from its beginning or its end, where that shows
/// the same.
fn cropped(
    best: &Candidate,
    from_end: usize,
    length: usize,
    next: usize,
    shows: &mut impl FnMut(&Candidate) -> Result<bool>,
) -> Result<Option<Candidate>> {
    for start in [0, length - next] {
        let axis = Window {
            from_end,
            length,
            start,
            next,
        };
        let inputs = best.inputs.iter();
        let inputs = inputs.map(|(name, tensor)| Some((name.clone(), axis.of(tensor)?)));
        let Some(inputs) = inputs.collect::<Option<Tensors>>() else {
            continue;
        };
        let smaller = Candidate {
            inputs,
            ..best.clone()
        };
        if shows(&smaller)? {
            return Ok(Some(smaller));
        }
    }
    Ok(None)
}

/// Some of the values along an axis.
struct Window {
    from_end: usize,
    /// Of the axis; others are left as they are.
    length: usize,
    start: usize,
    /// How many are kept.
    next: usize,
}

impl Window {
    fn of(&self, tensor: &Tensor) -> Option<Tensor> {
        let shape = tensor.shape();
        let axis = shape.len().checked_sub(self.from_end + 1);
        let Some(axis) = axis.filter(|&axis| shape[axis] == self.length) else {
            return Some(tensor.clone());
        };
        let data = tensor.data();
        let inner: usize = shape[axis + 1..].iter().product();
        let step = inner * data.bytes().len() / data.len().max(1);
        let kept = self.start * step..(self.start + self.next) * step;
        let bytes = data.bytes().chunks(self.length * step);
        let bytes: Vec<u8> = bytes
            .flat_map(|chunk| chunk[kept.clone()].to_vec())
            .collect();
        let mut shape = shape.to_vec();
        shape[axis] = self.next;
        Tensor::new(&shape, Data::from_bytes(tensor.dtype(), &bytes)?).ok()
    }
}

/// Sets as many values of an input to 0 as can be.
fn zero_values(
    best: &mut Candidate,
    name: &str,
    shows: &mut impl FnMut(&Candidate) -> Result<bool>,
) -> Result<()> {
    let Some(tensor) = best.inputs.get(name).cloned() else {
        return Ok(());
    };
    let count = tensor.data().len();
    if count < 2 {
        return Ok(());
    }
    let size = count.div_ceil(PIECES);
    let pieces: Vec<usize> = (0..count.div_ceil(size)).collect();
    let with = |kept: &[usize]| -> Option<Candidate> {
        let width = tensor.data().bytes().len() / count;
        let mut bytes = tensor.data().bytes().to_vec();
        for (piece, chunk) in bytes.chunks_mut(size * width).enumerate() {
            if !kept.contains(&piece) {
                chunk.fill(0);
            }
        }
        let data = Data::from_bytes(tensor.dtype(), &bytes)?;
        let mut smaller = best.clone();
        let tensor = Tensor::new(tensor.shape(), data).ok()?;
        smaller.inputs.insert(name.to_owned(), tensor);
        Some(smaller)
    };
    let mut found = None;
    ddmin(&pieces, |kept| {
        let Some(smaller) = with(kept) else {
            return Ok(false);
        };
        let shown = shows(&smaller)?;
        if shown {
            found = Some(smaller);
        }
        Ok(shown)
    })?;
    if let Some(found) = found {
        *best = found;
    }
    Ok(())
}

/// Sets whole constants of several values to 0, or else to 1.
fn plain_constants(
    best: &mut Candidate,
    shows: &mut impl FnMut(&Candidate) -> Result<bool>,
) -> Result<()> {
    let read = best.nodes.iter();
    let read: BTreeSet<String> = read
        .flat_map(|&at| best.file.nodes()[at].reads.iter().cloned())
        .filter(|name| best.file.is_constant(name))
        .collect();
    for name in read {
        let Ok(Some(values)) = best.file.constant(&name) else {
            continue;
        };
        let count = values.values.len();
        if count < 2 {
            continue;
        }
        for value in [0_u8, 1] {
            let tensor = match &values.values {
                Values::F32(_) => constant(&name, &values.dims, &vec![f32::from(value); count]),
                Values::U8(_) => constant(&name, &values.dims, &vec![value; count]),
                Values::I8(_) => constant(&name, &values.dims, &vec![i8::from(value == 1); count]),
                Values::I32(_) => constant(&name, &values.dims, &vec![i32::from(value); count]),
                // Others tell shapes and places.
                _ => break,
            };
            let plainer = Candidate {
                file: Arc::new(best.file.with_constant(&tensor)),
                ..best.clone()
            };
            if shows(&plainer)? {
                *best = plainer;
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_cropped_at_either_end() -> Result<()> {
        let tensor = Tensor::new(&[2, 3, 2], (0..12).map(|n| n as f32).collect::<Vec<_>>())?;
        let of = |start, length| {
            let window = Window {
                from_end: 1,
                length,
                start,
                next: 2,
            };
            window.of(&tensor).expect("it has values")
        };
        assert_eq!(of(0, 3).shape(), [2, 2, 2]);
        assert_eq!(of(0, 3).f32s()?, [0.0, 1.0, 2.0, 3.0, 6.0, 7.0, 8.0, 9.0]);
        assert_eq!(of(1, 3).f32s()?, [2.0, 3.0, 4.0, 5.0, 8.0, 9.0, 10.0, 11.0]);
        assert_eq!(of(0, 4).shape(), [2, 3, 2]);
        Ok(())
    }
}
