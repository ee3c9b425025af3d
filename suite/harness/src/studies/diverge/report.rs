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
        numbers::{PartOf, setting as name},
        template,
    },
    studies::diverge::{Diverge, LayerDifference, plot::draw},
};
use rules::simplest;
use tables::{AnyOrder, NotCompared, any_order, not_compared, worst};

pub(crate) use rules::simplest_rules;
pub(crate) use tables::{places, summary};

/// What was not measured.
const NONE: &str = "–";

const PLOT: &str = "plots/divergence.svg";

/// Values that the layers of an engine compute otherwise by themselves.
#[derive(Serialize)]
struct Otherwise {
    engine: String,
    values: usize,
    all: usize,
}

/// How many layers of each engine are exact by themselves.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(
    diverge: &Diverge,
    models: &[ModelDescription],
    called: &dyn Fn(&str) -> String,
) -> Result<String> {
    let engines = diverge.layers.iter().filter_map(|(engine, layers)| {
        let isolated = layers.iter().filter_map(|layer| layer.isolated.as_ref());
        let compared = isolated.clone().count();
        let exact = isolated.filter(|found| found.is_none()).count();
        (compared > 0).then(|| (called(engine), exact, compared))
    });
    let otherwise = diverge.layers.iter().filter_map(|(engine, layers)| {
        let isolated = layers.iter().filter_map(|layer| layer.isolated.as_ref());
        let (mut values, mut all) = (0, 0);
        for found in isolated {
            values += found.values - found.same;
            all += found.values;
        }
        (values > 0).then(|| Otherwise {
            engine: called(engine),
            values,
            all,
        })
    });
    let data = context! {
        model => title(diverge, models),
        exact => PartOf::new(engines.collect()),
        otherwise => otherwise.collect::<Vec<_>>(),
    };
    template::answer("layers.md.j2", data)
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
    any_order: Option<AnyOrder>,
    not_compared: Option<NotCompared>,
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
    let alt = "share of values that differ from the referee's, by layer, of every engine";
    let plot = files.contains_key(Path::new(PLOT));
    let data = context! {
        model => title(diverge, models),
        sample => diverge.run.sample,
        setting => Setting::of(diverge),
        observation => observation(diverge),
        summary => summary(diverge).seen(),
        places => places(diverge).page(),
        simplest => simplest_rules(diverge),
        plot => plot.then(|| template::markdown(image(Path::new(PLOT), alt))),
        engines => of_engines(diverge),
    };
    template::render("detail/layers.md.j2", context! { data })
}

fn of_engines(diverge: &Diverge) -> Vec<OfEngine> {
    let engines = diverge.layers.iter().map(|(engine, layers)| {
        let worst = worst(layers);
        OfEngine {
            name: engine.clone(),
            any_order: any_order(layers),
            not_compared: not_compared(layers),
            worst: (!worst.is_empty()).then(|| worst.page()),
        }
    });
    engines.collect()
}

fn title<'a>(diverge: &'a Diverge, models: &'a [ModelDescription]) -> &'a str {
    let found = models.iter().find(|m| m.name == diverge.run.model);
    found.map_or(&diverge.run.model, |m| &m.title)
}

/// What was not as it is by default.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    /// By what every value of the input was multiplied; `None` where it stayed as it is.
    gain: Option<String>,
    /// With what the engines ran.
    knobs: Option<String>,
}

impl Setting {
    /// That of what was compared.
    pub(crate) fn of(diverge: &Diverge) -> Self {
        let settings = &diverge.run.settings;
        Self {
            gain: (settings.gain != 1.0).then(|| settings.gain.to_string()),
            knobs: (settings.knobs != Knobs::default()).then(|| name(&settings.knobs)),
        }
    }
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
///
/// # Errors
/// Fails where a template cannot be rendered.
pub fn divergence_on_terminal(diverge: &Diverge) -> Result<String> {
    let engines: Vec<OfEngine> = of_engines(diverge);
    let mut text = summary(diverge).terminal() + "\n\n" + &places(diverge).terminal();
    text += "\n\n";
    text += &simplest(diverge).terminal();
    for (engine, layers) in &diverge.layers {
        let worst = worst(layers);
        if !worst.is_empty() {
            text += &format!("\n\n{engine}, layers that differ most by themselves\n");
            text += &worst.terminal();
        }
    }
    let seen = observation(diverge);
    let data = context! { changed => seen.changed, engines };
    let said = template::on_terminal("said/layers.md.j2", data)?;
    if !said.is_empty() {
        text += &format!("\n\n{}", said.trim_end());
    }
    Ok(text)
}

#[cfg(test)]
pub(super) mod tests {
    use firstpass_trial::difference::Difference;

    use super::*;
    use crate::{
        page::table::Table,
        record::code::Code,
        studies::diverge::{self, DivergeRun, DivergeSettings, Means, Observation, VERSION},
    };

    pub(in crate::studies::diverge) fn layer(
        name: &str,
        cumulative: usize,
        isolated: usize,
    ) -> LayerDifference {
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
    fn the_order_of_additions_explains_what_lies_within() -> Result<()> {
        let judged = |name, isolated, outside| LayerDifference {
            any_order: Some(diverge::AnyOrder {
                values: 1000,
                outside,
                free: 2,
            }),
            ..layer(name, 900, isolated)
        };
        let said = |layers: &[LayerDifference]| {
            let diverge = Diverge {
                layers: BTreeMap::from([("x".into(), layers.to_vec())]),
                ..diverge()
            };
            let data = context! { changed => [""; 0], engines => of_engines(&diverge) };
            template::on_terminal("said/layers.md.j2", data)
        };
        let explained = [judged("a", 1000, 0), judged("b", 999, 0)];
        let text = said(&explained)?;
        for expected in [
            "1 value differs by itself, and some order of additions explains 1 of 1 (100 %).",
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
        let text = said(&not)?;
        assert!(
            text.contains("10 values differ by themselves, and some order of additions explains 6"),
            "{text}"
        );
        assert!(!text.contains("so is the whole run"), "{text}");
        let (share, causes) = of(&not);
        assert_eq!(
            (&share[..], &causes[0][..]),
            ("99.60 %", "no rule that was tried")
        );
        assert_eq!(said(&[layer("a", 900, 999)])?, "");
        Ok(())
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
        assert!(divergence_on_terminal(&diverge)?.contains("2: b "));
        let answer = answer(&diverge, &[], &str::to_owned)?;
        assert!(
            answer.starts_with("Layers of m that are exact by themselves: all on z; 2 of 3 on x"),
            "{answer}"
        );
        Ok(())
    }
}
