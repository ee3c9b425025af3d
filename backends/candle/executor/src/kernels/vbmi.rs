//! AVX-512 VBMI: permutations of the bytes of a vector, or of two.

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_mask_blend_epi8, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_maskz_permutexvar_epi8, _mm512_movepi8_mask, _mm512_or_si512,
    _mm512_permutex2var_epi8, _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::channel_blocks::{BYTES, Block};

/// See [`super::bytes::look_up`].
///
/// # Safety
/// The output has as many bytes as the input.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub unsafe fn look_up(table: &[u8; 256], input: &[u8], out: &mut [u8]) {
    let quarters: [__m512i; 4] = std::array::from_fn(|number| {
        // SAFETY: the table has four times 64 bytes.
        unsafe { _mm512_loadu_si512(table.as_ptr().add(number * BYTES).cast()) }
    });
    let of = |bytes: __m512i| {
        let low = _mm512_permutex2var_epi8(quarters[0], bytes, quarters[1]);
        let high = _mm512_permutex2var_epi8(quarters[2], bytes, quarters[3]);
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high)
    };
    let (from, to) = (input.as_ptr(), out.as_mut_ptr());
    let whole = input.len() / BYTES * BYTES;
    for at in (0..whole).step_by(BYTES) {
        // SAFETY: these 64 bytes are within both.
        unsafe {
            let bytes = _mm512_loadu_si512(from.add(at).cast());
            _mm512_storeu_si512(to.add(at).cast(), of(bytes));
        }
    }
    let mask = (1_u64 << (input.len() - whole)) - 1;
    // SAFETY: the mask has as many bits as bytes are left.
    unsafe {
        let bytes = _mm512_maskz_loadu_epi8(mask, from.add(whole).cast());
        _mm512_mask_storeu_epi8(to.add(whole).cast(), mask, of(bytes));
    }
}

/// Writes a block of channels of all pixels of the output.
///
/// # Safety
/// The windows of the block are within the channels of their inputs, the block is within those of the output,
/// and the inputs have as many pixels as it.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub unsafe fn gather(
    block: &Block,
    widths: &[usize],
    inputs: &[&[u8]],
    channels: usize,
    out: &mut [u8],
) {
    // SAFETY: the caller says so.
    unsafe {
        match block.windows.len() {
            1 => windows::<1>(block, widths, inputs, channels, out),
            2 => windows::<2>(block, widths, inputs, channels, out),
            3 => windows::<3>(block, widths, inputs, channels, out),
            _ => any_windows(block, widths, inputs, channels, out),
        }
    }
}

/// [`gather`] from so many windows, which stay in registers.
///
/// # Safety
/// As there, and the block has so many.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn windows<const COUNT: usize>(
    block: &Block,
    widths: &[usize],
    inputs: &[&[u8]],
    channels: usize,
    out: &mut [u8],
) {
    let of = |number: usize| &block.windows[number];
    let indices: [__m512i; COUNT] = std::array::from_fn(|n| load(&of(n).index));
    let there: [u64; COUNT] = std::array::from_fn(|n| first(of(n).count));
    let masks: [u64; COUNT] = std::array::from_fn(|n| of(n).mask);
    let steps: [usize; COUNT] = std::array::from_fn(|n| widths[of(n).from.input]);
    let mut from: [*const u8; COUNT] = std::array::from_fn(|n| {
        let from = of(n).from;
        inputs[from.input].as_ptr().wrapping_add(from.channel)
    });
    let store = first(block.count);
    for pixel in out.chunks_exact_mut(channels) {
        let mut bytes = _mm512_setzero_si512();
        for n in 0..COUNT {
            // SAFETY: the caller says that these bytes are there, for as many pixels.
            let values = unsafe { _mm512_maskz_loadu_epi8(there[n], from[n].cast()) };
            let values = _mm512_maskz_permutexvar_epi8(masks[n], indices[n], values);
            bytes = _mm512_or_si512(bytes, values);
            from[n] = from[n].wrapping_add(steps[n]);
        }
        let to = pixel.as_mut_ptr().wrapping_add(block.channel);
        // SAFETY: the caller says that the block is within the pixel.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), store, bytes) };
    }
}

/// [`gather`] from any number of windows.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn any_windows(
    block: &Block,
    widths: &[usize],
    inputs: &[&[u8]],
    channels: usize,
    out: &mut [u8],
) {
    let store = first(block.count);
    for (number, pixel) in out.chunks_exact_mut(channels).enumerate() {
        let mut bytes = _mm512_setzero_si512();
        for window in &block.windows {
            let from = window.from;
            let at = number * widths[from.input] + from.channel;
            let at = inputs[from.input].as_ptr().wrapping_add(at);
            // SAFETY: the caller says that these bytes are there.
            let values = unsafe { _mm512_maskz_loadu_epi8(first(window.count), at.cast()) };
            let values = _mm512_maskz_permutexvar_epi8(window.mask, load(&window.index), values);
            bytes = _mm512_or_si512(bytes, values);
        }
        let to = pixel.as_mut_ptr().wrapping_add(block.channel);
        // SAFETY: the caller says that the block is within the pixel.
        unsafe { _mm512_mask_storeu_epi8(to.cast(), store, bytes) };
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; BYTES]) -> __m512i {
    // SAFETY: the array has the 64 bytes that are read.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// A mask of the first `count` bytes, at least one and at most all.
fn first(count: usize) -> u64 {
    u64::MAX >> (BYTES - count)
}
