//! The tables of layers, and what is said of the layers of one engine.

use firstpass_trial::difference::Difference;
use serde::Serialize;

use super::{NONE, rules::label};
use crate::{
    page::{
        numbers::{counted, percent_to_hundredths, setting as name},
        table::Table,
    },
    studies::diverge::{Diverge, LayerDifference, Means},
};

/// How many of the layers that differ by themselves are named.
pub(super) const SHOWN: usize = 8;

/// What was not compared, and why.
#[derive(Debug, Serialize)]
pub(super) struct NotCompared {
    /// The first of these layers; none where nothing was compared in the engine.
    layers: Vec<String>,
    /// How many more there are.
    more: usize,
    reason: String,
}

/// Which layers were not compared, and why.
pub(super) fn not_compared(layers: &[LayerDifference]) -> Option<NotCompared> {
    let of_engine = layers.iter().find(|layer| layer.is_of_engine());
    if let Some(reason) = of_engine.and_then(|layer| layer.failure.as_ref()) {
        return Some(NotCompared {
            layers: Vec::new(),
            more: 0,
            reason: reason.clone(),
        });
    }
    let failed = layers.iter().filter(|layer| !layer.is_of_engine());
    let failed = failed.filter_map(|layer| Some((label(layer), layer.failure.as_ref()?)));
    let failed: Vec<(String, &String)> = failed.collect();
    let (_, reason) = failed.first()?;
    let mut names: Vec<String> = failed.iter().map(|(name, _)| name.clone()).collect();
    names.truncate(SHOWN);
    Some(NotCompared {
        more: failed.len() - names.len(),
        layers: names,
        reason: (*reason).clone(),
    })
}

/// An engine a row: how many layers are exact by themselves, under which rules, and what is explained.
pub(crate) fn summary(diverge: &Diverge) -> Table {
    let header = [
        "engine",
        "layers exact by themselves",
        "rules of the referee",
        "values explained",
    ];
    Table::new(header).rows(diverge.layers.iter().map(|(engine, layers)| {
        let unknown = layers.iter().find(|layer| layer.is_of_engine());
        if unknown.is_some_and(|layer| layer.failure.is_some()) {
            // Its words stand below the table.
            let none = "none compared".into();
            return vec![engine.clone(), none, NONE.into(), NONE.into()];
        }
        let isolated = layers.iter().filter_map(|layer| layer.isolated.as_ref());
        let compared = isolated.clone().count();
        let exact = isolated.clone().filter(|found| found.is_none()).count();
        let mut counted = format!("{exact} of {compared}");
        if compared < layers.len() {
            counted += &format!("; {} unknown", layers.len() - compared);
        }
        let values: usize = isolated.map(|difference| difference.values).sum();
        let unexplained: usize = layers.iter().filter_map(LayerDifference::unexplained).sum();
        let rules = layers
            .first()
            .map(|layer| format!("`{}`", name(&layer.rules)));
        vec![
            engine.clone(),
            counted,
            rules.unwrap_or_else(|| NONE.into()),
            percent_to_hundredths((values - unexplained) as f64 / values.max(1) as f64),
        ]
    }))
}

/// An engine a row: where it begins to differ.
pub(crate) fn places(diverge: &Diverge) -> Table {
    let header = [
        "engine",
        "seen by",
        "first that is not exact by itself",
        "first that differs in the whole run",
        "at the last layer",
    ];
    let compared = diverge.layers.iter();
    let compared = compared.filter(|(_, layers)| !layers.iter().any(LayerDifference::is_of_engine));
    Table::new(header).rows(compared.map(|(engine, layers)| {
        let differs = |difference: &Option<Difference>| {
            difference
                .as_ref()
                .is_some_and(|difference| !difference.is_none())
        };
        let first = |of: fn(&LayerDifference) -> &Option<Difference>| {
            let found = layers.iter().position(|layer| differs(of(layer)));
            found.map_or_else(
                || "none".into(),
                |at| format!("{}: {}", at + 1, layers[at].layer),
            )
        };
        let seen = layers.iter().find_map(|layer| layer.observation);
        let last = layers.last();
        vec![
            engine.clone(),
            seen.map_or_else(|| NONE.into(), |seen| means(seen.by).into()),
            first(|layer| &layer.isolated),
            first(|layer| &layer.cumulative),
            last.map_or_else(|| NONE.into(), |layer| shown(&layer.cumulative)),
        ]
    }))
}

/// What the order of additions in f32 explains of an engine that adds up so, and what it leaves free.
#[derive(Debug, Serialize)]
pub(super) struct AnyOrder {
    /// Values that differ by themselves.
    differ: usize,
    explained: usize,
    /// The share of these, in words.
    share: String,
    /// The share of all values that the order can change, in words.
    free: String,
    values: usize,
    /// Whether every layer is explained.
    is_explained: bool,
}

/// What the order of additions explains of an engine; `None` where it does not add up in f32.
pub(super) fn any_order(layers: &[LayerDifference]) -> Option<AnyOrder> {
    let judged = layers.iter().filter_map(|layer| {
        let isolated = layer.isolated.as_ref()?;
        Some((isolated.values - isolated.same, layer.any_order?))
    });
    let (mut differ, mut unexplained, mut free, mut values) = (0, 0, 0, 0);
    for (differences, any) in judged {
        differ += differences;
        unexplained += differences.min(any.outside);
        free += any.free;
        values += any.values;
    }
    let explained = differ - unexplained;
    let is_explained = |layer: &LayerDifference| layer.unexplained() == Some(0);
    (values > 0).then(|| AnyOrder {
        differ,
        explained,
        share: percent_to_hundredths(explained as f64 / differ.max(1) as f64),
        free: percent_to_hundredths(free as f64 / values as f64),
        values,
        is_explained: layers.iter().all(is_explained),
    })
}

/// The layers with the largest share of values that differ by their own doing.
pub(super) fn worst(layers: &[LayerDifference]) -> Table {
    let share = |layer: &LayerDifference| layer.isolated.as_ref().map_or(0.0, Difference::share);
    let mut worst: Vec<(usize, &LayerDifference)> = layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| share(layer) > 0.0)
        .collect();
    worst.sort_by(|(_, a), (_, b)| share(b).total_cmp(&share(a)));
    worst.truncate(SHOWN);
    let header = ["layer", "operator", "by itself", "in the whole run"];
    Table::new(header).rows(worst.into_iter().map(|(place, layer)| {
        [
            format!("{}: {}", place + 1, layer.layer),
            layer.operator.clone(),
            shown(&layer.isolated),
            shown(&layer.cumulative),
        ]
    }))
}

pub(super) fn means(means: Means) -> &'static str {
    match means {
        Means::MarkedOutputs => "marked outputs",
        Means::Recording => "its own hook",
    }
}

pub(super) fn shown(difference: &Option<Difference>) -> String {
    match difference {
        None => NONE.into(),
        Some(difference) if difference.is_none() => "exact".into(),
        Some(difference) => format!(
            "{} differ, ≤ {}",
            percent_to_hundredths(difference.share()),
            counted(
                usize::try_from(difference.most_steps).unwrap_or(usize::MAX),
                "step"
            )
        ),
    }
}
