//! The inner values of a model, so that it can be cut there.

use std::collections::BTreeSet;

use anyhow::Result;
use firstpass_probe::Knobs;

use crate::culprit::{
    Investigation, Reference,
    candidate::{Candidate, Known, ancestors},
    engines::Engine,
};

/// Asks the reference, and then whoever gives anything, for every value of the graph. What nobody gives stays unknown:
/// the model is not cut there.
///
/// # Errors
/// Fails where a file cannot be written.
pub(crate) fn record(
    investigation: &mut Investigation,
    whole: &Candidate,
    reference: Option<&Reference>,
) -> Result<Known> {
    let mut known = Known {
        file: whole.file.clone(),
        values: whole.inputs.clone(),
    };
    let engines = investigation.engines;
    let mut recorders: Vec<(&Engine, Knobs)> = Vec::new();
    let rules = match reference {
        Some(Reference::Referee(rules)) => rules.clone(),
        _ => Knobs::default(),
    };
    recorders.extend(
        engines
            .referee
            .iter()
            .map(|referee| (referee, rules.clone())),
    );
    let reads = |engine: &&Engine| {
        engine
            .description
            .formats
            .contains(&firstpass_probe::Format::ONNX)
    };
    for engine in engines.all.iter().filter(reads) {
        let plain = engine.plain.clone().unwrap_or_default();
        recorders.push((engine, plain));
    }
    for (engine, knobs) in recorders {
        let nodes = whole.file.nodes().iter();
        let missing = nodes.flat_map(|node| &node.gives);
        let missing: Vec<String> = missing
            .filter(|name| !known.values.contains_key(*name))
            .cloned()
            .collect();
        if missing.is_empty() || investigation.is_out_of_time() {
            break;
        }
        ask(investigation, engine, &knobs, whole, &missing, &mut known)?;
    }
    Ok(known)
}

/// All at once, and where that fails, halves: what comes before a node that an engine cannot compute is given by the
/// first of them.
fn ask(
    investigation: &mut Investigation,
    engine: &Engine,
    knobs: &Knobs,
    whole: &Candidate,
    wanted: &[String],
    known: &mut Known,
) -> Result<()> {
    let mut refused: BTreeSet<usize> = BTreeSet::new();
    let mut groups = vec![wanted.to_vec()];
    while let Some(group) = groups.pop() {
        // What needs a node that failed fails as well.
        let group: Vec<String> = group
            .into_iter()
            .filter(|name| {
                let needed = ancestors(&whole.file, std::slice::from_ref(name));
                needed.is_disjoint(&refused)
            })
            .collect();
        if group.is_empty() || investigation.is_out_of_time() {
            continue;
        }
        let marked = Candidate {
            declared: false,
            ..whole.for_outputs(group.clone())
        };
        match investigation.of_part(engine, knobs, &marked)?.outputs() {
            Some(outputs) => known.values.extend(outputs),
            None if group.len() == 1 => {
                let nodes = whole.file.nodes().iter().enumerate();
                let own = nodes.filter(|(_, node)| node.gives.contains(&group[0]));
                refused.extend(own.map(|(place, _)| place));
            }
            None => {
                let (first, second) = group.split_at(group.len() / 2);
                // The first half is asked for first.
                groups.push(second.to_vec());
                groups.push(first.to_vec());
            }
        }
    }
    Ok(())
}
