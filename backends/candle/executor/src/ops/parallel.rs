//! Work in parts: on the threads of the engine, or where it is called.

use std::slice;

use crate::pool::share;

/// Values that one task of an elementwise operator treats: large against the cost of a task.
pub const CHUNK: usize = 1 << 15;

/// Where values begin that threads share.
struct First<T>(*mut T);

// SAFETY: it is only used to give each value to one thread.
unsafe impl<T: Send> Sync for First<T> {}

impl<T> First<T> {
    /// # Safety
    /// As many values are there.
    unsafe fn at(&self, number: usize) -> *mut T {
        // SAFETY: the caller says so.
        unsafe { self.0.add(number) }
    }
}

/// Calls `work` with every part of `out`, of `length` values but for the last, and its number. In a
/// pool of threads its threads share the parts. Outside of one, which is where an engine of one
/// thread runs, they are computed in the calling thread: handing them to another costs two
/// switches a pass, and moves the pass to a core of which the caller knows nothing.
pub fn for_each_part<T: Send>(
    out: &mut [T],
    length: usize,
    work: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    if rayon::current_thread_index().is_some() {
        let (first, all) = (First(out.as_mut_ptr()), out.len());
        share(all.div_ceil(length), &|number| {
            let start = number * length;
            // SAFETY: these values are some of those that are borrowed exclusively. Every number is given once, so that
            // nobody else has them.
            let part = unsafe {
                let first = first.at(start);
                slice::from_raw_parts_mut(first, length.min(all - start))
            };
            work(number, part);
        });
    } else {
        let parts = out.chunks_mut(length).enumerate();
        parts.for_each(|(number, part)| work(number, part));
    }
}

/// The threads that share parts: one outside of a pool.
pub fn threads() -> usize {
    match rayon::current_thread_index() {
        Some(_) => rayon::current_num_threads(),
        None => 1,
    }
}

/// How many of `count` things a part has: all of them outside of a pool; in one of threads as many as leave
/// each the same number of parts, of at least `least` things where there are enough.
pub fn of_a_part(count: usize, least: usize) -> usize {
    /// Parts of a thread at most, so that one that was slowed is helped by others.
    const PARTS: usize = 4;
    let threads = threads();
    if threads == 1 {
        return count.max(1);
    }
    let parts = (count / (threads * least.max(1))).clamp(1, PARTS) * threads;
    count.div_ceil(parts).max(1)
}

/// The values of `input` that belong to a part of `length` values of an output just as long.
pub fn part<T>(input: &[T], length: usize, number: usize) -> &[T] {
    let start = number * length;
    &input[start..input.len().min(start + length)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_computed_once_in_a_pool_and_outside() {
        let input: Vec<usize> = (0..10).collect();
        let double = || {
            let mut out = vec![0; 10];
            for_each_part(&mut out, 4, |number, out| {
                for (out, input) in out.iter_mut().zip(part(&input, 4, number)) {
                    *out += 2 * input;
                }
            });
            out
        };
        let expected: Vec<usize> = (0..10).map(|value| 2 * value).collect();
        assert_eq!(double(), expected);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
        assert_eq!(pool.expect("two threads start").install(double), expected);
    }

    #[test]
    fn every_thread_has_as_many_parts_as_the_others() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build();
        let pool = pool.expect("two threads start");
        for (count, least, expected) in [
            // Pixels of 28 by 28 and of 17 by 17, rows of 28 and of 7, and nothing.
            (784, 120, 131),
            (289, 120, 145),
            (28, 5, 7),
            (7, 18, 4),
            (0, 5, 1),
        ] {
            let found = pool.install(|| of_a_part(count, least));
            assert_eq!(found, expected, "{count} things");
            assert_eq!(count.div_ceil(found) % 2, 0, "{count} things");
        }
        assert_eq!(of_a_part(784, 120), 784, "outside of a pool");
    }

    #[test]
    fn outside_of_a_pool_the_calling_thread_computes() {
        let caller = std::thread::current().id();
        for_each_part(&mut [0; 8], 1, |_, _| {
            assert_eq!(std::thread::current().id(), caller);
        });
    }
}
