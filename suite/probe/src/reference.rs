//! A fixed piece of work that is timed beside everything else: how fast is this core just now?
//!
//! On a shared machine another tenant may run on the same core (as its second hardware thread) or
//! lower its frequency. Neither shows in steal, load, faults or CPU time; both make the same work
//! take longer, passes and this reference alike.

use std::hint::black_box;

use crate::clock::monotonic_ns;

/// Runs of the work, of which the fastest counts: an interrupt hits one of them.
const RUNS: usize = 3;

/// Of additions over a block that lies in the first-level cache.
const ROUNDS: usize = 7;

/// Of chains of shifts and additions, which wait for nothing but a free arithmetic unit.
const STEPS: usize = 700;

/// What is added up; other values than zeros would take as long.
static BLOCK: [u32; 4096] = [0; 4096];

/// The time of the work now, in ns: 3 to 6 µs on a core of 2020 that is ours alone. It must be much
/// longer than the clock takes to be read, and all runs together short against a pass.
pub(crate) fn reference_ns() -> u64 {
    let runs = (0..RUNS).map(|_| {
        let began = monotonic_ns();
        work(black_box(&BLOCK));
        monotonic_ns() - began
    });
    runs.min().unwrap_or(0)
}

/// Both kinds of work wait for the throughput of the core, which its hardware threads share, and
/// not for latencies, which they do not. What it computes is of no interest.
#[inline(never)]
fn work(block: &[u32; 4096]) {
    let mut sum = 0_u32;
    for _ in 0..ROUNDS {
        for value in black_box(block) {
            sum = sum.wrapping_add(*value);
        }
    }
    let mut chains = black_box([1_u64, 3, 5, 7, 11, 13, 17, 19]);
    for _ in 0..STEPS {
        for x in &mut chains {
            *x ^= *x << 13;
            *x ^= *x >> 7;
            *x = x.wrapping_add(0x9E37);
        }
    }
    black_box((sum, chains));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_work_is_not_optimized_away() {
        // 28672 additions and 16800 steps take more than half a microsecond on any machine of today.
        assert!(super::reference_ns() > 500);
    }
}
