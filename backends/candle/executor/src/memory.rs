//! The memory that the operators of this backend write into: taken once, shared by values that are
//! not needed at the same time.

use std::ops::RangeInclusive;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Storage, Tensor};
use firstpass_onnx::{EngineResult, Error, Result};

use crate::{geometry::volume, room::LINE, settings::Buffers};

/// The smallest page of the processors that this crate runs on.
const PAGE: usize = 4096;

/// More is not taken for a model: a damaged file must not exhaust memory.
const MAX_BYTES: usize = 1 << 34;

/// A tensor that needs memory.
pub struct Request {
    pub dtype: DType,
    pub dims: Vec<usize>,
    /// From the step that writes it to the last that reads it.
    pub steps: RangeInclusive<usize>,
}

/// A block of memory and when it is in use.
struct Block {
    dtype: DType,
    length: usize,
    used: Vec<(usize, RangeInclusive<usize>)>,
}

/// A tensor for every request, in their order, and how many bytes all of them take. The largest are
/// served first, each in the smallest block that is free while it lives, so that few pages are touched.
///
/// # Errors
/// Fails where a tensor is too large.
pub fn take(requests: &[Request], buffers: Buffers) -> Result<(Vec<Tensor>, usize)> {
    let mut lengths = Vec::with_capacity(requests.len());
    for request in requests {
        lengths.push(volume(&request.dims)?);
    }
    let mut largest_first: Vec<usize> = (0..requests.len()).collect();
    largest_first.sort_by_key(|&index| std::cmp::Reverse(lengths[index]));
    let mut blocks: Vec<Block> = Vec::new();
    for index in largest_first {
        let Request { dtype, steps, .. } = &requests[index];
        let is_free = |block: &&mut Block| {
            let mut used = block.used.iter();
            block.dtype == *dtype && used.all(|(_, other)| !overlap(other, steps))
        };
        // Later blocks are smaller, and none is smaller than what is still to be served.
        match blocks.iter_mut().rev().find(is_free) {
            Some(block) => block.used.push((index, steps.clone())),
            None => blocks.push(Block {
                dtype: *dtype,
                length: lengths[index],
                used: vec![(index, steps.clone())],
            }),
        }
    }
    let mut tensors = Vec::with_capacity(requests.len());
    let bytes = blocks.iter();
    let bytes = bytes.map(|block| block.length * block.dtype.size_in_bytes());
    let bytes = bytes.sum();
    if bytes > MAX_BYTES {
        return Err(Error::unsupported(format!("{bytes} bytes of buffers")));
    }
    for block in blocks {
        let memory = Tensor::zeros(block.length + LINE, block.dtype, &Device::Cpu).engine()?;
        let line = first_line(&memory);
        if buffers != Buffers::Lazy {
            memory.inplace_op1(&Touch(buffers)).engine()?;
        }
        for (index, _) in block.used {
            let tensor = memory.narrow(0, line, lengths[index]).engine()?;
            tensors.push((
                index,
                tensor.reshape(requests[index].dims.as_slice()).engine()?,
            ));
        }
    }
    tensors.sort_unstable_by_key(|(index, _)| *index);
    let tensors = tensors.into_iter().map(|(_, tensor)| tensor);
    Ok((tensors.collect(), bytes))
}

/// The first value that a cache line begins with.
fn first_line(memory: &Tensor) -> usize {
    let (storage, _) = memory.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return 0;
    };
    match storage {
        CpuStorage::U8(values) => values.as_ptr().align_offset(LINE),
        CpuStorage::F32(values) => values.as_ptr().align_offset(LINE),
        // No kernel reads vectors of these.
        _ => 0,
    }
}

fn overlap(a: &RangeInclusive<usize>, b: &RangeInclusive<usize>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

/// See [`touch`].
struct Touch(Buffers);

impl InplaceOp1 for Touch {
    fn name(&self) -> &'static str {
        "touch"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        let memory: &mut [u8] = match storage {
            CpuStorage::U8(values) => values,
            CpuStorage::F32(values) => bytemuck::cast_slice_mut(values),
            CpuStorage::F64(values) => bytemuck::cast_slice_mut(values),
            CpuStorage::I16(values) => bytemuck::cast_slice_mut(values),
            CpuStorage::I32(values) => bytemuck::cast_slice_mut(values),
            CpuStorage::I64(values) => bytemuck::cast_slice_mut(values),
            _ => candle_core::bail!("this type of buffer is never taken"),
        };
        touch(memory, self.0);
        Ok(())
    }
}

/// Has the system give every page of `memory`, whose contents are of no interest yet.
pub fn touch(memory: &mut [u8], buffers: Buffers) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::mman::MmapAdvise::{MADV_HUGEPAGE, MADV_POPULATE_WRITE};
        if buffers == Buffers::HugePages {
            // A kernel without them says so, and the pages are of the usual size.
            // SAFETY: it only says of what size pages should be.
            let _ = unsafe { advise(memory, MADV_HUGEPAGE) };
        }
        // One call takes half the time of a fault a page. Linux has it since 5.14.
        // SAFETY: it only takes the pages, as a first write would, and writes nothing.
        if unsafe { advise(memory, MADV_POPULATE_WRITE) }.is_ok() {
            return;
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = buffers;
    for byte in memory.iter_mut().step_by(PAGE) {
        // The compiler must not know that it is 0 already.
        *std::hint::black_box(byte) = 0;
    }
}

/// Gives the kernel advice on the pages that begin in `memory`.
///
/// # Safety
/// The advice changes no contents.
#[cfg(target_os = "linux")]
unsafe fn advise(memory: &mut [u8], advice: nix::sys::mman::MmapAdvise) -> nix::Result<()> {
    let unaligned = memory.as_ptr().align_offset(PAGE);
    let Some(pages) = memory.get_mut(unaligned..).filter(|m| !m.is_empty()) else {
        return Ok(());
    };
    let start = std::ptr::NonNull::from(&mut *pages).cast();
    // SAFETY: the range lies within memory that is borrowed exclusively, except for the rest of
    // its last page, and the caller says that no contents change.
    unsafe { nix::sys::mman::madvise(start, pages.len(), advice) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(length: usize, steps: RangeInclusive<usize>) -> Request {
        Request {
            dtype: DType::U8,
            dims: vec![length],
            steps,
        }
    }

    #[test]
    fn values_share_memory_unless_they_live_together() -> Result<()> {
        let requests = [
            request(100, 0..=1),
            request(900, 1..=2),
            request(300, 2..=3),
            request(200, 3..=usize::MAX),
        ];
        for buffers in [Buffers::Lazy, Buffers::Touched, Buffers::HugePages] {
            let (tensors, bytes) = take(&requests, buffers)?;
            // The first and the third share a block, and so do the second and the last.
            assert_eq!(bytes, 1200);
            assert_eq!(tensors.len(), 4);
            for (tensor, request) in tensors.iter().zip(&requests) {
                assert_eq!(tensor.dims(), request.dims);
            }
        }
        Ok(())
    }
}
