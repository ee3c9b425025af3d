//! Where passes spend their time, as the engine's own hooks tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Peak, Span};

/// Some first passes of a model, operator by operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The hook, in words.
    pub source: String,
    /// Every operator that ran, in the order of the model.
    pub operators: Vec<ProfiledOperator>,
    /// In the order in which they ran.
    pub passes: Vec<ProfiledPass>,
    /// What the core that computed the passes multiplies and adds at most, measured behind them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peaks: Vec<Peak>,
}

/// One operator of the executed graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProfiledOperator {
    /// Which of its kind: the node or layer, in the engine's own words.
    pub layer: String,
    /// The engine's name of the operator.
    pub kind: String,
}

/// One pass, whose vectors are in the order of [`Profile::operators`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfiledPass {
    /// The whole pass, by the clock of every trial.
    pub span: Span,
    /// What each operator took without those that it called, in ns; 0 where it did not run.
    pub self_ns: Vec<u64>,
    /// Minor page faults of each operator; empty where the hook cannot tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minor_faults: Vec<u64>,
    /// What else the engine tells about its state after the pass, such as the nodes of its graph;
    /// in the first pass `<name> before` is what it was before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

impl Profile {
    /// A profile of passes whose operators are given one by one, in the order in which they ran;
    /// what ran in several passes is recognised by its layer and kind.
    pub fn collect(
        source: &str,
        passes: Vec<(Span, Vec<OperatorTime>, BTreeMap<String, u64>)>,
    ) -> Self {
        let mut profile = Self {
            source: source.into(),
            ..Self::default()
        };
        let mut index: BTreeMap<ProfiledOperator, usize> = BTreeMap::new();
        for (span, times, counts) in passes {
            let mut pass = ProfiledPass {
                span,
                counts,
                ..ProfiledPass::default()
            };
            for time in times {
                let number = *index.entry(time.operator).or_insert_with_key(|operator| {
                    profile.operators.push(operator.clone());
                    profile.operators.len() - 1
                });
                add(&mut pass.self_ns, number, time.self_ns);
                if let Some(faults) = time.minor_faults {
                    add(&mut pass.minor_faults, number, faults);
                }
            }
            profile.passes.push(pass);
        }
        let length = profile.operators.len();
        for pass in &mut profile.passes {
            pass.self_ns.resize(length, 0);
            if !pass.minor_faults.is_empty() {
                pass.minor_faults.resize(length, 0);
            }
        }
        profile
    }
}

/// One run of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorTime {
    pub operator: ProfiledOperator,
    /// Without the operators that it called.
    pub self_ns: u64,
    /// `None` where the hook cannot tell.
    pub minor_faults: Option<u64>,
}

fn add(values: &mut Vec<u64>, number: usize, value: u64) {
    if values.len() <= number {
        values.resize(number + 1, 0);
    }
    values[number] += value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(layer: &str, self_ns: u64, faults: Option<u64>) -> OperatorTime {
        OperatorTime {
            operator: ProfiledOperator {
                layer: layer.into(),
                kind: "conv".into(),
            },
            self_ns,
            minor_faults: faults,
        }
    }

    #[test]
    fn operators_of_different_passes_are_told_apart_by_layer() {
        let pass = |times| (Span::default(), times, BTreeMap::new());
        let profile = Profile::collect(
            "a hook",
            vec![
                pass(vec![time("a", 5, Some(1)), time("b", 7, Some(0))]),
                pass(vec![
                    time("b", 2, None),
                    time("c", 1, None),
                    time("b", 3, None),
                ]),
            ],
        );
        let layers: Vec<&str> = profile.operators.iter().map(|o| o.layer.as_str()).collect();
        assert_eq!(layers, ["a", "b", "c"]);
        assert_eq!(profile.passes[0].self_ns, [5, 7, 0]);
        assert_eq!(profile.passes[0].minor_faults, [1, 0, 0]);
        assert_eq!(profile.passes[1].self_ns, [0, 5, 1]);
        assert!(profile.passes[1].minor_faults.is_empty());
    }
}
