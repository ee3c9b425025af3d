//! Where do engines begin to differ? Every quantized activation of a graph, in each engine and as a
//! referee computes it.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use firstpass_probe::Knobs;
use firstpass_trial::difference::Difference;
use serde::{Deserialize, Serialize};

use crate::record::{code::Code, sidecar::Sidecar};

/// Raised when the meaning of these files changes.
pub const VERSION: u32 = 2;

/// Where it is kept.
pub const SIDECAR: Sidecar = Sidecar {
    name: "diverge",
    version: VERSION,
};

/// Where the same of a model is kept whose activations use all of their range: there, kernels that add
/// in 16 bits saturate.
pub const SATURATION: Sidecar = Sidecar {
    name: "saturation",
    version: VERSION,
};

/// `run.json`: what the run was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DivergeRun {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub code: Code,
    /// SHA-256 over the sources of each referee.
    pub referees: BTreeMap<String, String>,
    pub model: String,
    /// The photograph.
    #[serde(rename = "photo")]
    pub sample: String,
    #[serde(flatten)]
    pub settings: DivergeSettings,
}

/// How engines are run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DivergeSettings {
    /// What every value of the input is multiplied by: with more than 1, activations leave the range
    /// that they were calibrated for, where kernels that add in 16 bits saturate.
    pub gain: f32,
    /// Of every engine.
    pub knobs: Knobs,
}

/// One layer of one engine, as one line of the engine's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerDifference {
    /// The node that computes it, and its operator; empty on a line that says why there are none.
    pub layer: String,
    pub operator: String,
    /// The rules of the referee: those that are known to give the engine's outputs best.
    pub rules: Knobs,
    /// How the engine's activations were seen, all of them in one pass; `None` where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
    /// Against the referee's whole run.
    pub cumulative: Option<Difference>,
    /// Against the referee's result for the engine's own inputs of the layer; `None` where one of these
    /// is not known.
    pub isolated: Option<Difference>,
    /// The simplest of the referee's rules under which the layer is exact by itself: each of its settings
    /// is a cause of a difference that is there without it. `None` where none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simplest: Option<Knobs>,
    /// Of an engine that adds up in floats: against what sums in f32 may give of its own inputs of the
    /// layer, in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_order: Option<AnyOrder>,
    /// Why there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl LayerDifference {
    /// The only line of an engine of which nothing is known.
    pub fn none(reason: String) -> Self {
        Self {
            layer: String::new(),
            operator: String::new(),
            rules: Knobs::default(),
            observation: None,
            cumulative: None,
            isolated: None,
            simplest: None,
            any_order: None,
            failure: Some(reason),
        }
    }

    /// How many values are neither the referee's nor such as another order of additions gives; `None`
    /// where the layer by itself is not known.
    pub fn unexplained(&self) -> Option<usize> {
        let isolated = self.isolated.as_ref()?;
        let differ = isolated.values - isolated.same;
        Some(self.any_order.map_or(differ, |any| differ.min(any.outside)))
    }

    /// Whether it says why nothing is known of the engine, and not of one layer.
    pub fn is_of_engine(&self) -> bool {
        self.layer.is_empty() && self.failure.is_some()
    }
}

/// How the activations of an engine were seen, and whether it computed the same meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    pub by: Means,
    /// Whether the model's own outputs had the very bits of a plain pass. Where not, the activations
    /// are of another computation than the one that is measured.
    pub same_outputs: bool,
}

/// How activations can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// They are outputs of a copy of the model file.
    MarkedOutputs,
    /// The engine's own hook gives what is computed from a file of another format, and what is of the
    /// same shape, scale and zero point is matched in order.
    Recording,
}

/// A quantized tensor against the lowest and the highest integers that sums in f32 may give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnyOrder {
    pub values: usize,
    /// Those that no order of additions gives.
    pub outside: usize,
    /// Those for which orders may give different integers: the freedom that is left to an engine.
    pub free: usize,
}

impl AnyOrder {
    /// Of values that are dequantized with `scale`, between the `[lowest, highest]`.
    pub fn of([lowest, highest]: [&[f32]; 2], engine: &[f32], scale: f32) -> Self {
        let mut found = Self {
            values: engine.len(),
            outside: 0,
            free: 0,
        };
        let steps = |from: f32, to: f32| ((to - from) / scale).round();
        for ((&low, &high), &value) in lowest.iter().zip(highest).zip(engine) {
            // What is no number is between none.
            let is_within = steps(low, value) >= 0.0 && steps(value, high) >= 0.0;
            found.outside += usize::from(!is_within);
            found.free += usize::from(steps(low, high) != 0.0);
        }
        found
    }
}

/// All that was compared.
#[derive(Debug, Clone)]
pub struct Diverge {
    pub run: DivergeRun,
    /// By engine, in the order of the graph.
    pub layers: BTreeMap<String, Vec<LayerDifference>>,
}

/// Reads what was compared beside a record, [`SIDECAR`] or [`SATURATION`]; `None` where nothing was.
///
/// # Errors
/// Fails where a file is there and cannot be read, or is of another version.
pub fn read(beside: Sidecar, record: &Path) -> Result<Option<Diverge>> {
    let kept = beside.read(record)?;
    Ok(kept.map(|(run, layers)| Diverge { run, layers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One value is off by a step where all orders give the same integer, and one where they do not.
    #[test]
    fn a_step_is_explained_only_where_orders_differ() {
        let [lowest, highest] = [[0.0, 0.5, 1.0, 1.5], [0.0, 0.5, 1.5, 1.5]];
        let of = |engine: [f32; 4]| AnyOrder::of([&lowest, &highest], &engine, 0.5);
        let expected = |outside| AnyOrder {
            values: 4,
            outside,
            free: 1,
        };
        assert_eq!(of([0.0, 0.5, 1.0, 1.5]), expected(0));
        assert_eq!(of([0.0, 0.5, 1.5, 1.5]), expected(0));
        assert_eq!(of([0.0, 1.0, 1.5, 1.5]), expected(1));
        assert_eq!(of([0.0, 0.5, 2.0, 1.0]), expected(2));
        assert_eq!(of([f32::NAN, 0.5, f32::INFINITY, 1.5]), expected(2));
    }

    #[test]
    fn what_differs_is_explained_where_no_value_is_outside() {
        let line = |same, outside: Option<usize>| LayerDifference {
            isolated: Some(Difference {
                values: 10,
                same,
                most_steps: 1,
            }),
            any_order: outside.map(|outside| AnyOrder {
                values: 10,
                outside,
                free: 1,
            }),
            ..LayerDifference::none(String::new())
        };
        assert_eq!(line(8, None).unexplained(), Some(2));
        assert_eq!(line(8, Some(0)).unexplained(), Some(0));
        assert_eq!(line(8, Some(1)).unexplained(), Some(1));
        assert_eq!(LayerDifference::none(String::new()).unexplained(), None);
    }
}
