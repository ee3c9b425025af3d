//! `examples/settings-onnxruntime.rs` shows every setting, and nothing else.

use std::collections::BTreeSet;

use firstpass_conformance::Test;
use firstpass_onnxruntime::OnnxRuntime;
use firstpass_probe::{Backend, Knob, KnobValues};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![the_example_shows_every_value_that_is_not_a_default,]
}

const EXAMPLE: &str = include_str!("../../examples/settings-onnxruntime.rs");

fn the_example_shows_every_value_that_is_not_a_default() {
    let knobs = OnnxRuntime::knobs();
    let declared: BTreeSet<String> = knobs
        .iter()
        .filter(|knob| knob.variable.is_none())
        .flat_map(settings)
        .collect();
    assert_eq!(regions(), declared);
}

fn settings(knob: &Knob) -> Vec<String> {
    match &knob.values {
        KnobValues::Count => vec![format!("{}=N", knob.name)],
        KnobValues::Any(_) => vec![format!("{}=LIST", knob.name)],
        KnobValues::Choice(words) => words
            .iter()
            .filter(|word| **word != knob.default)
            .map(|word| format!("{}={word}", knob.name))
            .collect(),
    }
}

/// The names of the regions, each of which has lines and an end.
fn regions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Option<(&str, usize)> = None;
    for line in EXAMPLE.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("// knob ") {
            assert!(open.is_none(), "{name} begins inside of {open:?}");
            open = Some((name, 0));
        } else if line == "// end" {
            let (name, lines) = open.take().expect("an end without a beginning");
            assert!(lines > 0, "{name} shows nothing");
            assert!(found.insert(name.into()), "{name} is shown twice");
        } else if let Some((_, lines)) = &mut open {
            *lines += 1;
        }
    }
    assert!(open.is_none(), "{open:?} does not end");
    found
}
