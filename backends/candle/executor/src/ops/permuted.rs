//! Tensors whose axes were exchanged, in the order of their axes: candle copies such values one by one.

use candle_core::{DType, Layout, Result, Storage, Tensor, WithDType};

/// The values of `tensor` one after the other; itself where they lie so already.
pub fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    if tensor.is_contiguous() {
        return Ok(tensor.clone());
    }
    match tensor.dtype() {
        DType::F32 => copied::<f32>(tensor),
        DType::U8 => copied::<u8>(tensor),
        _ => tensor.contiguous(),
    }
}

fn copied<T: WithDType + Default>(tensor: &Tensor) -> Result<Tensor> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return tensor.contiguous();
    };
    let values = copy(storage.as_slice::<T>()?, layout);
    Tensor::from_vec(values, tensor.dims(), tensor.device())
}

/// An axis: its length, and how far apart its values are in the input and in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    length: usize,
    from: usize,
    to: usize,
}

fn copy<T: Copy + Default>(values: &[T], layout: &Layout) -> Vec<T> {
    let count = layout.shape().elem_count();
    let mut out = vec![T::default(); count];
    if count == 0 {
        return out;
    }
    let values = &values[layout.start_offset()..];
    let mut axes = axes(layout);
    // The innermost axis of the output, and that which is innermost in the input.
    let inner = axes.pop().unwrap_or(Axis {
        length: 1,
        from: 1,
        to: 1,
    });
    let across = axes.iter().position(|axis| axis.from == 1);
    let across = across.filter(|_| inner.from > 1);
    let across = across.map(|at| axes.remove(at));
    let mut places = vec![0; axes.len()];
    let (mut from, mut to) = (0, 0);
    loop {
        match across {
            Some(across) => tiles(&values[from..], &mut out[to..], inner, across),
            None => run(&values[from..], &mut out[to..], inner),
        }
        // The next place along the other axes.
        let mut axis = axes.len();
        loop {
            if axis == 0 {
                return out;
            }
            axis -= 1;
            let Axis {
                length,
                from: step,
                to: out_step,
            } = axes[axis];
            places[axis] += 1;
            from += step;
            to += out_step;
            if places[axis] < length {
                break;
            }
            places[axis] = 0;
            from -= step * length;
            to -= out_step * length;
        }
    }
}

/// The axes that are longer than 1, neighbours that lie alike being one.
fn axes(layout: &Layout) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    let mut to = 1;
    for (&length, &from) in layout.dims().iter().zip(layout.stride()).rev() {
        if length == 1 {
            continue;
        }
        match axes.last_mut() {
            Some(inner) if from == inner.from * inner.length => inner.length *= length,
            _ => axes.push(Axis { length, from, to }),
        }
        to *= length;
    }
    axes.reverse();
    axes
}

fn run<T: Copy>(values: &[T], out: &mut [T], axis: Axis) {
    let out = &mut out[..axis.length];
    match axis.from {
        1 => out.copy_from_slice(&values[..axis.length]),
        0 => out.fill(values[0]),
        step => {
            for (out, &value) in out.iter_mut().zip(values.iter().step_by(step)) {
                *out = value;
            }
        }
    }
}

/// A matrix with its axes exchanged: squares of it, whose lines stay in the cache.
fn tiles<T: Copy>(values: &[T], out: &mut [T], inner: Axis, across: Axis) {
    const SIDE: usize = 16;
    for row in (0..across.length).step_by(SIDE) {
        let rows = row..across.length.min(row + SIDE);
        for column in (0..inner.length).step_by(SIDE) {
            let columns = column..inner.length.min(column + SIDE);
            for row in rows.clone() {
                let out = &mut out[row * across.to..][columns.clone()];
                let values = values[columns.start * inner.from + row..].iter();
                for (out, &value) in out.iter_mut().zip(values.step_by(inner.from)) {
                    *out = value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn values_are_those_that_candle_copies() -> Result<()> {
        let values = Tensor::arange(0_f32, 2.0 * 3.0 * 20.0 * 37.0, &Device::Cpu)?;
        let values = values.reshape((2, 3, 20, 37))?;
        let bytes = values.to_dtype(DType::U8)?;
        for tensor in [values, bytes] {
            for order in [
                [0, 1, 3, 2],
                [0, 2, 3, 1],
                [3, 2, 1, 0],
                [1, 0, 2, 3],
                [2, 0, 3, 1],
            ] {
                let turned = tensor.permute(order)?;
                let parts = [
                    turned.clone(),
                    turned.narrow(1, 1, 1)?,
                    turned.narrow(3, 1, turned.dim(3)? - 1)?,
                    turned.unsqueeze(2)?.broadcast_as((
                        turned.dim(0)?,
                        turned.dim(1)?,
                        4,
                        turned.dim(2)?,
                        turned.dim(3)?,
                    ))?,
                ];
                for part in parts {
                    let found = contiguous(&part)?.flatten_all()?.to_dtype(DType::F32)?;
                    let expected = part.contiguous()?.flatten_all()?.to_dtype(DType::F32)?;
                    assert_eq!(found.to_vec1::<f32>()?, expected.to_vec1::<f32>()?);
                }
            }
        }
        Ok(())
    }
}
