//! What a referee gives of a case.

use std::ops::Deref;

use firstpass_probe::{Knobs, Tensor};

/// One output, and the rules that all give it.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    pub rules: Vec<Knobs>,
    pub output: Tensor,
}

/// The different outputs under a referee's rules; that of the file as it is written comes first.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected(Vec<Given>);

impl Expected {
    /// Of the output under each set of rules, of which the first are those of the file.
    pub fn new(outputs: impl IntoIterator<Item = (Knobs, Tensor)>) -> Self {
        let mut all: Vec<Given> = Vec::new();
        for (rules, output) in outputs {
            match all.iter_mut().find(|given| given.output == output) {
                Some(given) => given.rules.push(rules),
                None => all.push(Given {
                    rules: vec![rules],
                    output,
                }),
            }
        }
        Self(all)
    }
}

impl Deref for Expected {
    type Target = [Given];

    fn deref(&self) -> &[Given] {
        &self.0
    }
}
