//! The file against which engines are judged in their own tests is what this backend computes.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use firstpass_conformance::{Test, output_of_case};
use firstpass_probe::{Backend, Knobs};
use firstpass_reference::Reference;
use firstpass_trial::{
    rules::rules,
    small_graphs::{Expected, fixed, frozen::Frozen},
    workspace::Workspace,
};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        the_frozen_outputs_are_those_of_this_code,
        every_two_rules_differ_in_a_frozen_case,
    ]
}

fn frozen() -> Result<Frozen> {
    Frozen::read(&Workspace::find()?.fixtures().join(fixed::FOLDER))
}

fn the_frozen_outputs_are_those_of_this_code() -> Result<()> {
    let rules = rules(&Reference::knobs());
    let files = tempfile::tempdir()?;
    let folder = Workspace::find()?.fixtures().join(fixed::FOLDER);
    let computed = Frozen::compute(&folder, |case| {
        let output = |rules: &Knobs| {
            let output = output_of_case::<Reference>(case, rules, files.path())?;
            Ok((rules.clone(), output))
        };
        let outputs: Result<Vec<_>> = rules.iter().map(output).collect();
        Ok(Expected::new(outputs?))
    })?;
    ensure!(
        computed == frozen()?,
        "run `cargo firstpass operators --freeze`, and say in the commit why outputs have changed"
    );
    Ok(())
}

/// An engine that follows another rule than it did is found.
fn every_two_rules_differ_in_a_frozen_case() -> Result<()> {
    let rules = rules(&Reference::knobs());
    let frozen = frozen()?;
    let mut told_apart = BTreeSet::new();
    for expected in frozen.all_expected() {
        let row = |rules: &Knobs| {
            let row = expected
                .iter()
                .position(|given| given.rules.contains(rules));
            row.with_context(|| format!("{rules:?} is not frozen"))
        };
        let rows: Vec<usize> = rules.iter().map(row).collect::<Result<_>>()?;
        for (a, row_of_a) in rows.iter().enumerate() {
            let others = rows.iter().enumerate().skip(a + 1);
            let differ = others.filter(|(_, row)| *row != row_of_a);
            told_apart.extend(differ.map(|(b, _)| (a, b)));
        }
    }
    for a in 0..rules.len() {
        for b in a + 1..rules.len() {
            ensure!(
                told_apart.contains(&(a, b)),
                "{:?} and {:?} are the same in every case",
                rules[a],
                rules[b]
            );
        }
    }
    Ok(())
}
