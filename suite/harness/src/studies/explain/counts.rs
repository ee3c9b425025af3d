//! What an engine counts of its own state, pass by pass.

use std::collections::BTreeSet;

use firstpass_probe::Profile;
use firstpass_statistics::median;

use crate::studies::explain::part::{FIRST, later};

/// A count that the engine tells after each pass, as the median over processes.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    pub name: String,
    /// `None` where the engine does not tell.
    pub before: Option<f64>,
    /// After each of the first passes, and after the last.
    pub after: Vec<Option<f64>>,
}

/// Whether a count of the engine changed in a pass otherwise than it does in the steady state.
pub(super) fn is_witnessed(profile: &Profile, pass: usize) -> bool {
    let names: BTreeSet<&String> = profile
        .passes
        .iter()
        .flat_map(|p| p.counts.keys())
        .collect();
    let change = |name: &str, index: usize| -> Option<i64> {
        let after = *profile.passes.get(index)?.counts.get(name)?;
        let before = match index.checked_sub(1) {
            Some(previous) => *profile.passes.get(previous)?.counts.get(name)?,
            None => before_first(profile, name)?,
        };
        Some(after.cast_signed().wrapping_sub(before.cast_signed()))
    };
    let told = names.into_iter().filter(|name| told_name(name).is_none());
    told.into_iter().any(|name| {
        let steady = later(profile.passes.len()).filter_map(|index| change(name, index));
        let usual = median(steady.map(|change| change as f64)).unwrap_or(0.0);
        let changed = pass.checked_sub(1).and_then(|index| change(name, index));
        changed.is_some_and(|change| change as f64 != usual)
    })
}

/// The end of the name of a count that is told before a pass.
const BEFORE: &str = " before";

/// The count that such a name belongs to.
fn told_name(name: &str) -> Option<&str> {
    name.strip_suffix(BEFORE)
}

fn before_first(profile: &Profile, name: &str) -> Option<u64> {
    let counts = &profile.passes.first()?.counts;
    counts.get(&format!("{name}{BEFORE}")).copied()
}

pub(super) fn counts(profiles: &[&Profile]) -> Vec<Count> {
    let passes = profiles.iter().flat_map(|profile| &profile.passes);
    let names: BTreeSet<&String> = passes.flat_map(|pass| pass.counts.keys()).collect();
    let names = names.into_iter().filter(|name| told_name(name).is_none());
    names
        .map(|name| {
            let after = |pass: &dyn Fn(&Profile) -> Option<u64>| {
                median(profiles.iter().filter_map(|p| Some(pass(p)? as f64)))
            };
            let first = (0..FIRST).map(|n| after(&|p| p.passes.get(n)?.counts.get(name).copied()));
            let last = after(&|p| p.passes.last()?.counts.get(name).copied());
            Count {
                name: name.clone(),
                before: after(&|p| before_first(p, name)),
                after: first.chain([last]).collect(),
            }
        })
        .collect()
}
