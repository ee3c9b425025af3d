//! Work in parts: on the threads of the engine, or where it is called.

use rayon::prelude::*;

/// Values that one task of an elementwise operator treats: large against the cost of a task.
pub const CHUNK: usize = 1 << 15;

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
        let parts = out.par_chunks_mut(length).enumerate();
        parts.for_each(|(number, part)| work(number, part));
    } else {
        let parts = out.chunks_mut(length).enumerate();
        parts.for_each(|(number, part)| work(number, part));
    }
}

/// How many of `count` things a part has: all of them outside of a pool; in one of threads as many as leave
/// each some parts, a multiple of `step` where there are enough.
pub fn of_a_part(count: usize, step: usize) -> usize {
    /// Parts of a thread at most, so that threads finish together.
    const PARTS: usize = 4;
    let threads = match rayon::current_thread_index() {
        Some(_) => rayon::current_num_threads(),
        None => return count.max(1),
    };
    let parts = (count / (threads * step)).clamp(1, PARTS) * threads;
    match count.div_ceil(parts) {
        few if few < step => few.max(1),
        many => many.next_multiple_of(step),
    }
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
    fn outside_of_a_pool_the_calling_thread_computes() {
        let caller = std::thread::current().id();
        for_each_part(&mut [0; 8], 1, |_, _| {
            assert_eq!(std::thread::current().id(), caller);
        });
    }
}
