//! The simplest rules under which layers are exact by themselves.

use std::collections::BTreeMap;

use minijinja::Value;
use serde::Serialize;

use crate::{
    page::{numbers::setting as name, table::Table, template},
    studies::diverge::{Diverge, LayerDifference},
};

/// How many of the layers that need the same rules are named; of more only the first and the last.
pub(super) const NAMED: usize = 16;

/// Layers of one engine that are exact by themselves under the same rules.
#[derive(Debug, Serialize)]
pub(crate) struct Simplest {
    engine: String,
    /// `None` where no rule that was tried gives these layers.
    rules: Option<Value>,
    layers: usize,
    /// Their names; of many only the first and the last.
    which: Vec<String>,
    is_shortened: bool,
}

/// For each engine, and each of the simplest rules of its layers: how many layers, and which.
pub(crate) fn simplest_rules(diverge: &Diverge) -> Vec<Simplest> {
    let mut all = Vec::new();
    for (engine, layers) in &diverge.layers {
        let mut by_rules: BTreeMap<(usize, Option<String>), Vec<String>> = BTreeMap::new();
        for layer in layers.iter().filter(|layer| layer.isolated.is_some()) {
            let (settings, rules) = match (&layer.simplest, &layer.isolated) {
                (Some(rules), _) => {
                    let settings = rules.settings().count();
                    (settings, Some(format!("`{}`", name(rules))))
                }
                // The input of the graph, which was compared under one set of rules only.
                (None, Some(isolated)) if isolated.is_none() => continue,
                (None, Some(_)) if layer.unexplained() == Some(0) => {
                    (usize::MAX - 1, Some("f32 sums in any order".into()))
                }
                _ => (usize::MAX, None),
            };
            let labels = by_rules.entry((settings, rules)).or_default();
            labels.push(label(layer));
        }
        for ((_, rules), mut labels) in by_rules {
            let layers = labels.len();
            let is_shortened = layers > NAMED;
            if is_shortened {
                labels.drain(1..layers - 1);
            }
            all.push(Simplest {
                engine: engine.clone(),
                rules: rules.map(template::markdown),
                layers,
                which: labels,
                is_shortened,
            });
        }
    }
    all
}

/// The same as a table, for a terminal.
pub(super) fn simplest(diverge: &Diverge) -> Table {
    let mut table = Table::new(["engine", "exact under", "layers", "which"]);
    for simplest in simplest_rules(diverge) {
        let rules = simplest.rules.as_ref();
        table.row([
            simplest.engine,
            rules.map_or_else(|| "no rule that was tried".into(), Value::to_string),
            simplest.layers.to_string(),
            simplest
                .which
                .join(if simplest.is_shortened { " … " } else { ", " }),
        ]);
    }
    table
}

pub(super) fn label(layer: &LayerDifference) -> String {
    format!("{} ({})", layer.layer, layer.operator)
}
