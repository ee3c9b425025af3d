//! Delta debugging: Zeller and Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, 2002.

use anyhow::Result;

/// The smallest part of `items` that still `shows` what all of them show, in the sense that none of the rest can be
/// left out by itself (1-minimal). All items together are taken to show it, and are not asked about.
///
/// # Errors
/// Fails where `shows` does.
pub(crate) fn ddmin<T: Clone>(
    items: &[T],
    mut shows: impl FnMut(&[T]) -> Result<bool>,
) -> Result<Vec<T>> {
    let mut kept = items.to_vec();
    let mut parts = 2;
    while kept.len() > 1 {
        let size = kept.len().div_ceil(parts);
        let chunks: Vec<Vec<T>> = kept.chunks(size).map(<[T]>::to_vec).collect();
        let mut smaller = None;
        for chunk in &chunks {
            if shows(chunk)? {
                smaller = Some((chunk.clone(), 2));
                break;
            }
        }
        // With two parts each is what the other leaves.
        if smaller.is_none() && chunks.len() > 2 {
            for left_out in 0..chunks.len() {
                let others = chunks.iter().enumerate();
                let others = others.filter(|(at, _)| *at != left_out);
                let rest: Vec<T> = others.flat_map(|(_, chunk)| chunk.clone()).collect();
                if shows(&rest)? {
                    smaller = Some((rest, (chunks.len() - 1).max(2)));
                    break;
                }
            }
        }
        match smaller {
            Some((found, next)) => {
                kept = found;
                parts = next;
            }
            None if parts >= kept.len() => break,
            None => parts = (2 * parts).min(kept.len()),
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_found() -> Result<()> {
        let items: Vec<usize> = (0..100).collect();
        for needed in [&[17_usize][..], &[0], &[99], &[3, 64], &[1, 50, 98, 99]] {
            let mut asked = 0;
            let found = ddmin(&items, |part| {
                asked += 1;
                Ok(needed.iter().all(|one| part.contains(one)))
            })?;
            assert_eq!(found, needed);
            assert!(asked < 2 * items.len(), "{asked} questions for {needed:?}");
        }
        Ok(())
    }

    #[test]
    fn nothing_is_left_out_where_all_is_needed() -> Result<()> {
        let items = [1, 2, 3, 4, 5];
        assert_eq!(ddmin(&items, |part| Ok(part.len() == 5))?, items);
        assert_eq!(ddmin(&[7], |_| Ok(false))?, [7]);
        assert!(ddmin::<u8>(&[], |_| Ok(true))?.is_empty());
        Ok(())
    }
}
