//! The part of the report that says in which layer engines begin to differ.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use firstpass_probe::Knobs;

use crate::{
    diverge::{Difference, Diverge, LayerDifference},
    judge::cure::name,
    model::ModelDescription,
    report::{
        markdown::{image, table},
        plots::draw_divergence,
    },
};

/// So many layers that differ by themselves are named.
const SHOWN: usize = 8;

const PLOT: &str = "plots/divergence.svg";

/// A table before it has a form.
struct Rows {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

pub(super) fn section(
    diverge: Option<&Diverge>,
    models: &[ModelDescription],
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> String {
    let title = "## In which layer do engines begin to differ?";
    let Some(diverge) = diverge else {
        return format!(
            "{title}\n\nNot compared for this record: `cargo firstpass diverge` does that."
        );
    };
    let found = models.iter().find(|m| m.name == diverge.run.model);
    let model = found.map_or(diverge.run.model.as_str(), |m| m.title.as_str());
    let mut parts = vec![
        title.to_owned(),
        format!(
            "Every quantized activation of {model} on `{}`, in each engine and as the referee computes it \
             under the rules that give the engine's outputs best. *By itself*, a layer is compared with \
             what the referee makes of the engine's own inputs of that layer: what differs there is \
             the layer's own doing. In the whole run, differences of earlier layers come in as well. \
             Engines give these activations as further outputs, which are marked in the file.{}",
            diverge.run.photo,
            setting(diverge)
        ),
    ];
    let Rows { header, rows } = summary(diverge);
    parts.push(table(header, rows));
    if files.contains_key(Path::new(PLOT)) {
        let alt = "share of values that differ from the referee's, by layer, of every engine";
        parts.push(image(Path::new(PLOT), alt));
    }
    for (engine, layers) in &diverge.layers {
        let Rows { header, rows } = worst(layers);
        if !rows.is_empty() {
            parts.push(format!(
                "The layers of {engine} that differ most by themselves:"
            ));
            parts.push(table(header, rows));
        }
    }
    parts.join("\n\n")
}

/// What was not as it is by default.
fn setting(diverge: &Diverge) -> String {
    let settings = &diverge.run.settings;
    let mut text = String::new();
    if settings.gain != 1.0 {
        text += &format!(
            " Every value of the input was multiplied by {}.",
            settings.gain
        );
    }
    if settings.knobs != Knobs::default() {
        text += &format!(" The engines ran with `{}`.", name(&settings.knobs));
    }
    text
}

pub(super) fn plots(diverge: Option<&Diverge>) -> Result<Vec<(PathBuf, String)>> {
    let Some(diverge) = diverge else {
        return Ok(Vec::new());
    };
    let engines: Vec<(&str, &[LayerDifference])> = diverge
        .layers
        .iter()
        .filter(|(_, layers)| layers.iter().all(|layer| layer.failure.is_none()))
        .map(|(name, layers)| (name.as_str(), layers.as_slice()))
        .collect();
    let svg = draw_divergence("engines against the referee", &engines)?;
    Ok(svg.map(|svg| (PLOT.into(), svg)).into_iter().collect())
}

/// The same for the terminal.
pub fn divergence_on_terminal(diverge: &Diverge) -> String {
    let drawn = |Rows { header, rows }: Rows| {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(header);
        table.add_rows(rows);
        table.to_string()
    };
    let mut text = drawn(summary(diverge));
    for (engine, layers) in &diverge.layers {
        let worst = worst(layers);
        if !worst.rows.is_empty() {
            text += &format!("\n\n{engine}, layers that differ most by themselves\n");
            text += &drawn(worst);
        }
    }
    text
}

fn summary(diverge: &Diverge) -> Rows {
    let header = [
        "engine",
        "rules of the referee",
        "layers exact by themselves",
        "first that is not",
        "first that differs in the whole run",
        "at the last layer",
        "values explained",
    ];
    let rows = diverge.layers.iter().map(|(engine, layers)| {
        if let Some(reason) = layers.iter().find_map(|layer| layer.failure.as_ref()) {
            let mut row = vec![engine.clone(), reason.clone()];
            row.resize(header.len(), "–".into());
            return row;
        }
        let differs = |difference: &Option<Difference>| {
            difference
                .as_ref()
                .is_some_and(|difference| !difference.is_none())
        };
        let first = |of: fn(&LayerDifference) -> &Option<Difference>| {
            let found = layers.iter().position(|layer| differs(of(layer)));
            found.map_or_else(
                || "none".into(),
                |at| format!("{}: {}", at + 1, label(&layers[at])),
            )
        };
        let exact = layers
            .iter()
            .filter(|layer| !differs(&layer.isolated))
            .count();
        let isolated = layers.iter().filter_map(|layer| layer.isolated.as_ref());
        let (same, values) = isolated.fold((0, 0), |(same, values), difference| {
            (same + difference.same, values + difference.values)
        });
        vec![
            engine.clone(),
            layers
                .first()
                .map_or_else(|| "–".into(), |l| format!("`{}`", name(&l.rules))),
            format!("{exact} of {}", layers.len()),
            first(|layer| &layer.isolated),
            first(|layer| &layer.cumulative),
            layers
                .last()
                .map_or_else(|| "–".into(), |l| shown(&l.cumulative)),
            percent(same as f64 / values.max(1) as f64),
        ]
    });
    Rows {
        header: header.map(String::from).to_vec(),
        rows: rows.collect(),
    }
}

/// The layers with the largest share of values that differ by their own doing.
fn worst(layers: &[LayerDifference]) -> Rows {
    let share = |layer: &LayerDifference| layer.isolated.as_ref().map_or(0.0, Difference::share);
    let mut worst: Vec<(usize, &LayerDifference)> = layers
        .iter()
        .enumerate()
        .filter(|(_, layer)| share(layer) > 0.0)
        .collect();
    worst.sort_by(|(_, a), (_, b)| share(b).total_cmp(&share(a)));
    worst.truncate(SHOWN);
    let header = ["layer", "operator", "by itself", "in the whole run"];
    Rows {
        header: header.map(String::from).to_vec(),
        rows: worst
            .into_iter()
            .map(|(place, layer)| {
                vec![
                    format!("{}: {}", place + 1, layer.layer),
                    layer.operator.clone(),
                    shown(&layer.isolated),
                    shown(&layer.cumulative),
                ]
            })
            .collect(),
    }
}

fn label(layer: &LayerDifference) -> String {
    format!("{} ({})", layer.layer, layer.operator)
}

fn shown(difference: &Option<Difference>) -> String {
    match difference {
        None => "–".into(),
        Some(difference) if difference.is_none() => "exact".into(),
        Some(difference) => format!(
            "{} differ, ≤ {} steps",
            percent(difference.share()),
            difference.most_steps
        ),
    }
}

/// Nothing and all are exact.
fn percent(share: f64) -> String {
    match 100.0 * share {
        all if all >= 100.0 => "100 %".into(),
        none if none <= 0.0 => "0 %".into(),
        little if little < 0.01 => "< 0.01 %".into(),
        nearly if nearly > 99.99 => "> 99.99 %".into(),
        some => format!("{some:.2} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        code::Code,
        diverge::{DivergeRun, Settings, VERSION},
    };

    fn layer(name: &str, cumulative: usize, isolated: usize) -> LayerDifference {
        let difference = |same| {
            Some(Difference {
                values: 1000,
                same,
                most_steps: u64::from(same < 1000),
            })
        };
        LayerDifference {
            layer: name.into(),
            operator: "Conv".into(),
            rules: Knobs::default(),
            cumulative: difference(cumulative),
            isolated: difference(isolated),
            failure: None,
        }
    }

    fn diverge() -> Diverge {
        let failed = LayerDifference {
            cumulative: None,
            isolated: None,
            failure: Some("it reads no ONNX".into()),
            ..layer("", 0, 0)
        };
        Diverge {
            run: DivergeRun {
                version: VERSION,
                date: String::new(),
                code: Code {
                    commit: None,
                    measured_sha256: String::new(),
                },
                referees: BTreeMap::new(),
                model: "m".into(),
                photo: "photo".into(),
                settings: Settings {
                    gain: 4.0,
                    knobs: Knobs::default(),
                },
            },
            layers: BTreeMap::from([
                (
                    "x".into(),
                    vec![
                        layer("a", 1000, 1000),
                        layer("b", 990, 990),
                        layer("c", 900, 1000),
                    ],
                ),
                ("y".into(), vec![failed]),
            ]),
        }
    }

    #[test]
    fn the_first_layers_that_differ_are_named() -> Result<()> {
        let diverge = diverge();
        let files = plots(Some(&diverge))?;
        assert_eq!(files.len(), 1);
        let files = files
            .into_iter()
            .map(|(path, svg)| (path, svg.into_bytes()));
        let text = section(Some(&diverge), &[], &files.collect());
        for expected in [
            "2 of 3",
            "2: b (Conv)",
            "10.00 % differ, ≤ 1 steps",
            "99.67 %",
            "it reads no ONNX",
            "multiplied by 4",
            "The layers of x that differ most by themselves",
            "| 2: b ",
            "(plots/divergence.svg)",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("The layers of y"), "{text}");
        assert!(divergence_on_terminal(&diverge).contains("2: b (Conv)"));
        let without = section(None, &[], &BTreeMap::new());
        assert!(without.contains("`cargo firstpass diverge`"));
        Ok(())
    }
}
