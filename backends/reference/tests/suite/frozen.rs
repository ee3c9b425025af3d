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
        let (model, input) = (case.write(files.path())?, case.tensor()?);
        let output = |rules: &Knobs| {
            let output = output_of_case::<Reference>(&model, input.clone(), rules)?;
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

/// An engine that comes to follow another rule is found. As-written is no arithmetic of its own: it is
/// fbgemm's where biases are floats, and else that of the standard, and in the cases with biases of floats
/// these two give the same steps.
fn every_two_rules_differ_in_a_frozen_case() -> Result<()> {
    let rules = rules(&Reference::knobs());
    let frozen = frozen()?;
    let mut told_apart = BTreeSet::new();
    for expected in frozen.all_expected() {
        let row = |rules: &Knobs| {
            let mut given = expected.iter();
            let row = given.position(|given| given.rules.contains(rules));
            row.with_context(|| format!("{rules:?} is not frozen"))
        };
        let rows: Vec<usize> = rules.iter().map(row).collect::<Result<_>>()?;
        for (a, b) in pairs(rules.len()).filter(|&(a, b)| rows[a] != rows[b]) {
            told_apart.insert((a, b));
        }
    }
    let named = |rules: &Knobs| Knobs::default().with("arithmetic", "standard").and(rules);
    let mut all = pairs(rules.len()).filter(|&(a, b)| named(&rules[a]) != named(&rules[b]));
    let same = all.find(|pair| !told_apart.contains(pair));
    let same = same.map(|(a, b)| (&rules[a], &rules[b]));
    ensure!(same.is_none(), "{same:?} are the same in every case");
    Ok(())
}

/// Every two of so many.
fn pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).flat_map(move |a| (a + 1..count).map(move |b| (a, b)))
}
