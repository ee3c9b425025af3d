//! Does the memory of a process grow from pass to pass?

use firstpass_statistics::growth::{Growth, growth};

use crate::studies::soak::{Line, Question, judge::completed};

/// Memory comes in pages, of so many KiB on most systems.
const PAGE_KIB: f64 = 4.0;

/// The first passes take the memory that all later ones work with.
const WARM_UP: usize = 10;

/// How many passes there were, and what the memory after each says; `None` where they were too few or nothing was
/// told.
pub(super) fn judge(lines: &[Line]) -> Option<(usize, Growth)> {
    let longest = completed(lines, Question::Memory).max_by_key(|p| p.process.passes.len())?;
    let passes = longest.process.passes.iter().skip(WARM_UP);
    let kib: Vec<f64> = passes
        .filter_map(|pass| pass.memory_kib.map(|kib| kib as f64))
        .collect();
    Some((longest.process.passes.len(), growth(&kib, PAGE_KIB)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::soak::judge::{
        judge,
        tests::{kept, process},
    };

    fn found(memory_kib: impl Fn(u64) -> u64, passes: u64) -> Option<Growth> {
        let mut one = process(Question::Memory, 0, &vec![(0, 1.0); passes as usize]);
        for (number, pass) in one.process.passes.iter_mut().enumerate() {
            pass.memory_kib = Some(memory_kib(number as u64));
        }
        judge(&kept(vec![one])).remove(0).memory.map(|m| m.1)
    }

    #[test]
    fn it_grows_or_holds_or_nothing_is_told() {
        let leak = found(|pass| 10_000 + 4 * (pass / 10), 3000);
        assert!(matches!(leak, Some(Growth::Grows { .. })), "{leak:?}");
        let none = found(|pass| 10_000 + 500 * pass.min(9), 3000);
        assert!(matches!(none, Some(Growth::Holds { .. })), "{none:?}");
        assert_eq!(found(|pass| pass, 50), None);
    }
}
