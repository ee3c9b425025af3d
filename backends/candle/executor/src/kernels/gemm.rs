//! The product of two matrices of floats, by the crate that candle multiplies with.

use gemm::Parallelism;

/// Two matrices, each in row-major order.
#[derive(Debug, Clone, Copy)]
pub struct Matrices<'a> {
    /// Of the product.
    pub rows: usize,
    pub columns: usize,
    /// Columns on the left, which are the rows on the right.
    pub products: usize,
    pub left: &'a [f32],
    /// From the beginning of a row on the left to that of the next.
    pub left_stride: usize,
    pub right: &'a [f32],
}

/// Writes the product into `out`, whose rows begin `stride` values apart: on the threads of the pool that
/// calls, or on the calling thread outside of one.
///
/// # Panics
/// Where a slice is too short, or rows overlap.
pub fn gemm(of: &Matrices<'_>, out: &mut [f32], stride: usize) {
    let Matrices {
        rows,
        columns,
        products,
        left,
        left_stride,
        right,
    } = *of;
    let length = |rows: usize, stride: usize, columns: usize| match rows {
        0 => 0,
        _ => (rows - 1) * stride + columns,
    };
    assert!(columns <= stride && out.len() >= length(rows, stride, columns));
    assert!(left.len() >= length(rows, left_stride, products));
    assert!(right.len() >= products * columns);
    let threads = match rayon::current_thread_index() {
        Some(_) => Parallelism::Rayon(rayon::current_num_threads()),
        None => Parallelism::None,
    };
    // SAFETY: the three slices hold every value that their strides lead to, as was just asserted, and `out`
    // is borrowed alone.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            products,
            out.as_mut_ptr(),
            1,
            stride as isize,
            false,
            left.as_ptr(),
            1,
            left_stride as isize,
            right.as_ptr(),
            1,
            columns as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_product_may_lie_apart() {
        let of = Matrices {
            rows: 2,
            columns: 2,
            products: 3,
            left: &[1.0, 2.0, 3.0, 9.0, -1.0, 0.0, 1.0],
            left_stride: 4,
            right: &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0],
        };
        let mut out = [9.0; 6];
        gemm(&of, &mut out, 3);
        assert_eq!(out, [14.0, 32.0, 9.0, 2.0, 2.0, 9.0]);
    }

    #[test]
    #[should_panic(expected = "assertion failed")]
    fn what_is_too_short_is_refused() {
        let of = Matrices {
            rows: 2,
            columns: 2,
            products: 1,
            left: &[1.0; 2],
            left_stride: 1,
            right: &[1.0; 2],
        };
        gemm(&of, &mut [0.0; 4], 3);
    }
}
