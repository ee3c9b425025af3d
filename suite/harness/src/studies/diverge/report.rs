//! The part of the report that says in which layer engines begin to differ.

mod rules;
mod tables;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_probe::Knobs;
use firstpass_trial::model::ModelDescription;
use minijinja::{Value, context};
use serde::Serialize;

use crate::{
    page::{
        markdown::image,
        numbers::{list, names, part_of, setting as name},
        template,
    },
    studies::diverge::{Diverge, LayerDifference, plot::draw},
};
use rules::simplest;
use tables::{any_order, not_compared, worst};

pub(crate) use rules::simplest_rules;
pub(crate) use tables::{places, summary};

/// What was not measured.
const NONE: &str = "–";

const PLOT: &str = "plots/divergence.svg";

/// How many layers of each engine are exact by themselves.
pub(crate) fn answer(
    diverge: &Diverge,
    models: &[ModelDescription],
    called: &dyn Fn(&str) -> String,
) -> String {
    let title = title(diverge, models);
    let engines = diverge.layers.iter().filter_map(|(engine, layers)| {
        let isolated = layers.iter().filter_map(|layer| layer.isolated.as_ref());
        let compared = isolated.clone().count();
        let exact = isolated.filter(|found| found.is_none()).count();
        (compared > 0).then(|| (called(engine), exact, compared))
    });
    let what = format!("Layers of {title} that are exact by themselves");
    let mut answer = part_of(&what, engines.collect());
    let values = diverge.layers.iter().filter_map(|(engine, layers)| {
        let isolated = layers.iter().filter_map(|layer| layer.isolated.as_ref());
        let (mut other, mut all) = (0, 0);
        for found in isolated {
            other += found.values - found.same;
            all += found.values;
        }
        (other > 0).then(|| format!("{other} of {all} on {}", called(engine)))
    });
    let values: Vec<String> = values.collect();
    if !values.is_empty() {
        answer += &format!(
            " Values that layers compute otherwise by themselves: {}.",
            names(&values)
        );
    }
    answer
}

/// The same with the names of engines by which a page calls them.
pub(crate) fn with_titles(diverge: &Diverge, called: &dyn Fn(&str) -> String) -> Diverge {
    let layers = diverge.layers.iter();
    Diverge {
        run: diverge.run.clone(),
        layers: layers
            .map(|(engine, layers)| (called(engine), layers.clone()))
            .collect(),
    }
}

/// What the page says of one engine.
#[derive(Serialize)]
struct OfEngine {
    name: String,
    any_order: Option<String>,
    not_compared: Option<String>,
    worst: Option<Value>,
}

/// The details: how many layers are exact, under which rules, and which are not.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn section(
    diverge: &Diverge,
    models: &[ModelDescription],
    files: &BTreeMap<PathBuf, Vec<u8>>,
    called: &dyn Fn(&str) -> String,
) -> Result<String> {
    let diverge = &with_titles(diverge, called);
    let engines = diverge.layers.iter().map(|(engine, layers)| {
        let worst = worst(layers);
        OfEngine {
            name: engine.clone(),
            any_order: any_order(engine, layers),
            not_compared: not_compared(engine, layers),
            worst: (!worst.is_empty()).then(|| worst.page()),
        }
    });
    let alt = "share of values that differ from the referee's, by layer, of every engine";
    let plot = files.contains_key(Path::new(PLOT));
    let data = context! {
        model => title(diverge, models),
        sample => diverge.run.sample,
        setting => template::markdown(setting(diverge)),
        observation => observation(diverge),
        summary => summary(diverge).seen(),
        places => places(diverge).page(),
        simplest => simplest_rules(diverge),
        plot => plot.then(|| template::markdown(image(Path::new(PLOT), alt))),
        engines => engines.collect::<Vec<_>>(),
    };
    template::render("detail/layers.md.j2", context! { data })
}

fn title<'a>(diverge: &'a Diverge, models: &'a [ModelDescription]) -> &'a str {
    let found = models.iter().find(|m| m.name == diverge.run.model);
    found.map_or(&diverge.run.model, |m| &m.title)
}

/// What was not as it is by default.
pub(crate) fn setting(diverge: &Diverge) -> String {
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

/// Whether observing activations changed the model's own outputs.
#[derive(Serialize)]
struct Seen {
    /// Engines whose outputs have the very bits of a plain pass.
    unchanged: Vec<String>,
    changed: Vec<String>,
}

fn observation(diverge: &Diverge) -> Seen {
    let observed = diverge.layers.iter().filter_map(|(engine, layers)| {
        let observation = layers.iter().find_map(|layer| layer.observation)?;
        Some((engine.clone(), observation.same_outputs))
    });
    let (same, changed): (Vec<_>, Vec<_>) = observed.partition(|(_, same)| *same);
    let names = |engines: Vec<(String, bool)>| engines.into_iter().map(|(name, _)| name).collect();
    Seen {
        unchanged: names(same),
        changed: names(changed),
    }
}

pub(crate) fn plots(diverge: &Diverge) -> Result<Vec<(PathBuf, String)>> {
    let engines: Vec<(&str, &[LayerDifference])> = diverge
        .layers
        .iter()
        .filter(|(_, layers)| layers.iter().any(|layer| layer.cumulative.is_some()))
        .map(|(name, layers)| (name.as_str(), layers.as_slice()))
        .collect();
    let svg = draw("engines against the referee", &engines)?;
    Ok(svg.map(|svg| (PLOT.into(), svg)).into_iter().collect())
}

/// The same for the terminal.
pub fn divergence_on_terminal(diverge: &Diverge) -> String {
    let mut text = summary(diverge).terminal() + "\n\n" + &places(diverge).terminal();
    let seen = observation(diverge);
    if !seen.changed.is_empty() {
        text += &format!(
            "\n\nObserving layers changed the outputs of {}: what is compared there is no plain pass.",
            list(&seen.changed)
        );
    }
    for (engine, layers) in &diverge.layers {
        if let Some(sentences) = any_order(engine, layers) {
            text += &format!("\n\n{sentences}");
        }
    }
    text += "\n\n";
    text += &simplest(diverge).terminal();
    for (engine, layers) in &diverge.layers {
        let worst = worst(layers);
        if !worst.is_empty() {
            text += &format!("\n\n{engine}, layers that differ most by themselves\n");
            text += &worst.terminal();
        }
        if let Some(sentence) = not_compared(engine, layers) {
            text += &format!("\n\n{sentence}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use firstpass_trial::difference::Difference;

    use super::*;
    use crate::{
        page::table::Table,
        record::code::Code,
        studies::diverge::{AnyOrder, DivergeRun, DivergeSettings, Means, Observation, VERSION},
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
            observation: Some(Observation {
                by: Means::MarkedOutputs,
                same_outputs: true,
            }),
            cumulative: difference(cumulative),
            isolated: difference(isolated),
            simplest: (isolated == 1000).then(Knobs::default),
            any_order: None,
            failure: None,
        }
    }

    fn diverge() -> Diverge {
        let recorded = |layer| LayerDifference {
            observation: Some(Observation {
                by: Means::Recording,
                same_outputs: false,
            }),
            ..layer
        };
        let not_found = LayerDifference {
            cumulative: None,
            isolated: None,
            failure: Some("no tensor is like it".into()),
            ..layer("b", 0, 0)
        };
        let after = LayerDifference {
            isolated: None,
            ..layer("c", 1000, 0)
        };
        Diverge {
            run: DivergeRun {
                version: VERSION,
                date: String::new(),
                code: Code::default(),
                referees: BTreeMap::new(),
                model: "m".into(),
                sample: "photo".into(),
                settings: DivergeSettings {
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
                (
                    "y".into(),
                    vec![LayerDifference::none("it reads no ONNX".into())],
                ),
                (
                    "z".into(),
                    [layer("a", 1000, 1000), not_found, after]
                        .map(recorded)
                        .into(),
                ),
            ]),
        }
    }

    #[test]
    fn layers_are_counted_by_the_simplest_rules() {
        let needing = |name: &str, rules: Knobs| LayerDifference {
            simplest: Some(rules),
            ..layer(name, 0, 0)
        };
        let pairs = Knobs::default().with("sums", "pairs");
        let diverge = Diverge {
            layers: BTreeMap::from([(
                "x".into(),
                vec![
                    needing("a", pairs.clone()),
                    needing("b", Knobs::default()),
                    needing("c", pairs),
                    layer("d", 0, 0),
                ],
            )]),
            ..diverge()
        };
        let rows: Vec<String> = simplest(&diverge)
            .cells()
            .iter()
            .map(|row| row[1..].join(" / "))
            .collect();
        assert_eq!(
            rows,
            [
                "`default` / 1 / b (Conv)",
                "`sums=pairs` / 2 / a (Conv), c (Conv)",
                "no rule that was tried / 1 / d (Conv)",
            ]
        );
    }

    #[test]
    fn the_order_of_additions_explains_what_lies_within() {
        let judged = |name, isolated, outside| LayerDifference {
            any_order: Some(AnyOrder {
                values: 1000,
                outside,
                free: 2,
            }),
            ..layer(name, 900, isolated)
        };
        let explained = [judged("a", 1000, 0), judged("b", 999, 0)];
        let text = any_order("x", &explained).expect("it adds up in floats");
        for expected in [
            "1 values differ by themselves; some order of additions explains 1 of them (100 %)",
            "0.20 % of the 2000 values",
            "and so is the whole run",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        let of = |layers: &[LayerDifference]| {
            let diverge = Diverge {
                layers: BTreeMap::from([("x".into(), layers.to_vec())]),
                ..diverge()
            };
            let last = |table: Table| table.cells()[0].last().cloned().unwrap_or_default();
            let causes: Vec<String> = simplest(&diverge)
                .cells()
                .iter()
                .map(|row| row[1].clone())
                .collect();
            (last(summary(&diverge)), causes)
        };
        let (share, causes) = of(&explained);
        assert_eq!(share, "100 %");
        assert_eq!(causes, ["`default`", "f32 sums in any order"]);
        let not = [judged("a", 990, 4)];
        let text = any_order("x", &not).expect("it adds up in floats");
        assert!(
            text.contains("10 values differ by themselves; some order of additions explains 6"),
            "{text}"
        );
        assert!(!text.contains("so is the whole run"), "{text}");
        let (share, causes) = of(&not);
        assert_eq!(
            (&share[..], &causes[0][..]),
            ("99.60 %", "no rule that was tried")
        );
        assert_eq!(any_order("x", &[layer("a", 900, 999)]), None);
    }

    #[test]
    fn the_first_layers_that_differ_are_named() -> Result<()> {
        let diverge = diverge();
        let files = plots(&diverge)?;
        assert_eq!(files.len(), 1);
        let files = files
            .into_iter()
            .map(|(path, svg)| (path, svg.into_bytes()));
        let text = section(&diverge, &[], &files.collect(), &str::to_owned)?;
        for expected in [
            "2 of 3",
            "| 2: b ",
            "10.00 % differ, ≤ 1 step ",
            "99.67 %",
            "it reads no ONNX",
            "Observing changed nothing in x:",
            "**Observing changed the model's own outputs in z**",
            "| its own hook ",
            "1 of 1; 2 unknown",
            "Not compared in z: b (Conv) (no tensor is like it).",
            "multiplied by 4",
            "The layers of x that differ most by themselves",
            "| 2: b ",
            "(plots/divergence.svg)",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("The layers of y"), "{text}");
        assert!(divergence_on_terminal(&diverge).contains("2: b "));
        let answer = answer(&diverge, &[], &str::to_owned);
        assert!(
            answer.starts_with("Layers of m that are exact by themselves: all on z; 2 of 3 on x"),
            "{answer}"
        );
        Ok(())
    }
}
