//! The values of tensors as slices.

use super::permuted::contiguous;
use half::{bf16, f16};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, Tensor, WithDType};

/// The values of a tensor that has to be contiguous.
pub fn values<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let all = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&all[start..end]),
        None => candle_core::bail!("the tensor is not contiguous: {layout:?}"),
    }
}

/// A type of values that tensors are written in; candle has no such access of its own.
pub trait Written: WithDType {
    fn all(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

macro_rules! written {
    ($($type:ty: $variant:ident),*) => {
        $(impl Written for $type {
            fn all(storage: &mut CpuStorage) -> Option<&mut [Self]> {
                match storage {
                    CpuStorage::$variant(values) => Some(values),
                    _ => None,
                }
            }
        })*
    };
}

written!(u8: U8, i16: I16, i32: I32, i64: I64, f32: F32, f64: F64, f16: F16, bf16: BF16);

/// See [`values`].
pub fn values_mut<'a, T: Written>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> Result<&'a mut [T]> {
    let Some(all) = T::all(storage) else {
        candle_core::bail!("the tensor to write to is not of {:?}", T::DTYPE);
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&mut all[start..end]),
        None => candle_core::bail!("the tensor is not contiguous: {layout:?}"),
    }
}

/// Calls `work` with the values of `tensor`, which is copied before where it is not contiguous.
pub fn read<T: WithDType, R>(tensor: &Tensor, work: impl FnOnce(&[T]) -> Result<R>) -> Result<R> {
    let tensor = contiguous(tensor)?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => work(values(storage, layout)?),
        _ => candle_core::bail!("the tensor is not in the memory of the host"),
    }
}

/// Calls `work` with the values of `out` to be written. It must not read the same storage.
pub fn write<T: Written>(out: &Tensor, work: impl Fn(&mut [T]) -> Result<()>) -> Result<()> {
    out.inplace_op1(&Write(|storage: &mut CpuStorage, layout: &Layout| {
        work(values_mut(storage, layout)?)
    }))
}

/// Calls `work` with the values of `input` and of `out`.
pub fn map<T: WithDType, U: Written>(
    input: &Tensor,
    out: &Tensor,
    work: impl Fn(&[T], &mut [U]) -> Result<()>,
) -> Result<()> {
    read(input, |input| write(out, |out| work(input, out)))
}

/// Copies values from the host.
///
/// # Errors
/// Fails where there are not as many as the tensor holds.
pub fn fill<T: Written>(tensor: &Tensor, values: &[T]) -> Result<()> {
    write(tensor, |out: &mut [T]| {
        check_length("the input", values.len(), out.len())?;
        out.copy_from_slice(values);
        Ok(())
    })
}

struct Write<F>(F);

impl<F: Fn(&mut CpuStorage, &Layout) -> Result<()>> InplaceOp1 for Write<F> {
    fn name(&self) -> &'static str {
        "write"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        (self.0)(storage, layout)
    }
}

/// Fails where an operator was given a tensor of another size than it was made for.
pub fn check_length(what: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        Ok(())
    } else {
        candle_core::bail!("{what} holds {found} values, not {expected}")
    }
}
