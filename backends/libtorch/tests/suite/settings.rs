//! That the example of the settings has all of them: the report cuts its regions out.

use std::collections::BTreeSet;

use firstpass_conformance::Test;
use firstpass_libtorch::Libtorch;
use firstpass_probe::{Backend, KnobValues};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![the_example_shows_every_value_that_is_no_default,]
}

const EXAMPLE: &str = include_str!("../../examples/settings-libtorch.rs");

/// The knobs that the example shows, each region having lines and an end.
fn shown() -> BTreeSet<String> {
    let mut shown = BTreeSet::new();
    let mut open: Option<(String, usize)> = None;
    for line in EXAMPLE.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("// knob ") {
            assert!(open.is_none(), "{name} begins within another region");
            open = Some((name.into(), 0));
        } else if line == "// end" {
            let (name, lines) = open.take().expect("an end without a region");
            assert!(lines > 0, "{name} has no lines");
            assert!(shown.insert(name.clone()), "{name} is shown twice");
        } else if let Some((_, lines)) = &mut open {
            *lines += 1;
        }
    }
    assert!(open.is_none(), "{open:?} has no end");
    shown
}

fn the_example_shows_every_value_that_is_no_default() {
    let mut expected = BTreeSet::new();
    for knob in Libtorch::knobs() {
        match &knob.values {
            _ if knob.variable.is_some() => {}
            KnobValues::Count => {
                expected.insert(format!("{}=N", knob.name));
            }
            KnobValues::Any(_) => {
                expected.insert(format!("{}=LIST", knob.name));
            }
            KnobValues::Choice(words) => {
                let others = words.iter().filter(|word| **word != knob.default);
                expected.extend(others.map(|word| format!("{}={word}", knob.name)));
            }
        }
    }
    assert_eq!(shown(), expected);
}
