//! Which rule is whose: the golden outputs are PyTorch's own.

use anyhow::Result;
use firstpass_conformance::{Test, largest_steps_from_golden};
use firstpass_probe::Knobs;
use firstpass_reference::Reference;

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        fbgemm_with_saturating_pairs_is_exactly_pytorch,
        other_rules_differ,
    ]
}

const MODELS: [&str; 2] = ["faceboxes-int8-per-channel", "faceboxes-int8-per-tensor"];

/// The largest difference from PyTorch's outputs, in steps, over so many photographs.
fn steps(model: &str, rules: &[(&str, &str)], photos: usize) -> Result<u64> {
    let knobs = Knobs::default().with("threads", 2);
    let knobs = rules
        .iter()
        .fold(knobs, |all, (name, value)| all.with(name, value));
    let steps = largest_steps_from_golden::<Reference>(model, &knobs, photos)?;
    assert!(steps.len() >= photos.min(7), "{steps:?}");
    Ok(steps.into_values().flatten().max().unwrap_or_default())
}

/// With the rule of its kernels, every value of every photograph is PyTorch's.
fn fbgemm_with_saturating_pairs_is_exactly_pytorch() -> Result<()> {
    for model in MODELS {
        let rules = [("arithmetic", "fbgemm"), ("sums", "depthwise-pairs")];
        assert_eq!(steps(model, &rules, usize::MAX)?, 0, "{model}");
    }
    Ok(())
}

/// Each rule makes a difference: none is there for nothing. Most do on any photograph; pairs of products
/// saturate only where activations are large, which not every photograph has.
fn other_rules_differ() -> Result<()> {
    let [model, _] = MODELS;
    for (rules, photos) in [
        ([("sums", "exact"), ("arithmetic", "fbgemm")], usize::MAX),
        ([("sums", "depthwise-pairs"), ("arithmetic", "qlinear")], 1),
        ([("sums", "depthwise-pairs"), ("arithmetic", "exact")], 1),
        ([("sums", "depthwise-pairs"), ("rounding", "half-away")], 1),
    ] {
        let found = steps(model, &rules, photos)?;
        assert!((1..=9).contains(&found), "{rules:?}: {found} steps");
    }
    Ok(())
}
