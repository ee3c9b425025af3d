//! The part of the report that says whose arithmetic an engine's is.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use firstpass_trial::model::ModelDescription;
use minijinja::{Value, context};
use serde::Serialize;

use crate::{
    page::{
        numbers::{counted, setting as name},
        table::Table,
        template,
    },
    studies::referee::{Engine, Referee, Refusal, RulesVerdict, judge},
};

/// Whose outputs the referee gives to the last value, and whose it does not.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(referee: &Referee, called: &dyn Fn(&str) -> String) -> Result<String> {
    let mut all: BTreeMap<String, bool> = BTreeMap::new();
    for comparisons in referee.comparisons.values() {
        for engine in judge(comparisons).into_values().flatten() {
            let is_exact = engine.verdicts.first().is_some_and(RulesVerdict::is_exact);
            *all.entry(engine.backend).or_insert(true) &= is_exact;
        }
    }
    let (exact, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, exact)| *exact);
    let names = |engines: Vec<(String, bool)>| {
        let names = engines.iter().map(|(engine, _)| called(engine));
        names.collect::<Vec<_>>()
    };
    template::answer(
        "referee.md.j2",
        context! { exact => names(exact), others => names(others) },
    )
}

/// The rules that a referee gives the outputs of one model under.
#[derive(Serialize)]
struct OfModel {
    title: String,
    referee: String,
    best: Value,
    every: Value,
}

/// The details: for each model the rules that agree best, and every single rule.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn section(
    referee: &Referee,
    models: &[ModelDescription],
    called: &dyn Fn(&str) -> String,
) -> Result<String> {
    let mut of_models = Vec::new();
    for (name, comparisons) in &referee.comparisons {
        for (model, mut engines) in judge(comparisons) {
            for engine in &mut engines {
                engine.backend = called(&engine.backend);
            }
            let found = models.iter().find(|m| m.name == model);
            of_models.push(OfModel {
                title: found.map_or(model, |m| m.title.as_str()).into(),
                referee: name.clone(),
                best: best(&engines).page(),
                every: every(&engines).page(),
            });
        }
    }
    let data = context! {
        models => of_models,
        samples => referee.run.samples.len(),
        rules => rules(referee),
        refusals => refusals(referee, models),
    };
    template::render("detail/referee.md.j2", context! { data })
}

/// Every setting of the referee that was tried, each knob with one value.
fn rules(referee: &Referee) -> BTreeSet<String> {
    let all = referee.comparisons.values().flatten();
    let settings = all.flat_map(|comparison| comparison.rules.settings());
    settings
        .map(|(knob, value)| format!("{knob}={value}"))
        .collect()
}

/// A model that a referee does not compute.
#[derive(Serialize)]
struct NotComputed {
    referee: String,
    model: String,
    why: String,
}

/// What the referee does not compute.
fn refusals(referee: &Referee, models: &[ModelDescription]) -> Vec<NotComputed> {
    let all = referee.refusals.iter();
    let all = all.flat_map(|(name, refusals)| refusals.iter().map(move |refusal| (name, refusal)));
    let refused = |(name, refusal): (&String, &Refusal)| {
        let found = models.iter().find(|m| m.name == refusal.model);
        NotComputed {
            referee: name.clone(),
            model: found
                .map_or(refusal.model.as_str(), |m| m.title.as_str())
                .into(),
            why: refusal.refused.clone(),
        }
    };
    all.map(refused).collect()
}

/// The same tables for the terminal.
///
/// # Errors
/// Fails where a template cannot be rendered.
pub fn referee_on_terminal(referee: &Referee) -> Result<String> {
    let mut text = String::new();
    for comparisons in referee.comparisons.values() {
        for (model, engines) in judge(comparisons) {
            let (best, every) = (best(&engines).terminal(), every(&engines).terminal());
            text += &format!("\n{model}\n{best}\n\n{every}\n");
        }
    }
    let refusals = refusals(referee, &[]);
    let refused = template::on_terminal("said/not-computed.md.j2", context! { refusals })?;
    if !refused.is_empty() {
        text += &format!("\n{refused}");
    }
    Ok(text)
}

/// An engine a row: the rules that agree best.
fn best(engines: &[Engine]) -> Table {
    let header = ["engine", "file", "rules that agree best", "with them"];
    Table::new(header).rows(engines.iter().map(|engine| {
        let best = engine.verdicts.first();
        [
            engine.backend.clone(),
            engine.format.key().to_owned(),
            best.map_or_else(|| "–".into(), |v| format!("`{}`", name(&v.rules))),
            best.map_or_else(|| "–".into(), agreement),
        ]
    }))
}

/// An engine a row, and a rule by itself a column.
fn every(engines: &[Engine]) -> Table {
    let mut singles: Vec<String> = Vec::new();
    for verdict in engines.iter().flat_map(|engine| &engine.verdicts) {
        let name = name(&verdict.rules);
        if verdict.rules.settings().count() <= 1 && !singles.contains(&name) {
            singles.push(name);
        }
    }
    singles.sort_by_key(|name| (name != "default", name.clone()));
    let header = singles.iter().map(|single| format!("`{single}`"));
    let header = ["engine", "file"]
        .map(String::from)
        .into_iter()
        .chain(header);
    Table::new(header)
        .keys(2)
        .rows(engines.iter().map(|engine| {
            let cells = singles.iter().map(|single| {
                let verdict = engine.verdicts.iter().find(|v| name(&v.rules) == *single);
                verdict.map_or_else(|| "–".into(), agreement)
            });
            let keys = [engine.backend.clone(), engine.format.key().to_owned()];
            keys.into_iter().chain(cells).collect::<Vec<_>>()
        }))
}

fn agreement(verdict: &RulesVerdict) -> String {
    if verdict.is_exact() {
        "**exact**".into()
    } else {
        // Nearly all is not all.
        let share = (100.0 * verdict.share()).min(99.99);
        let steps = usize::try_from(verdict.most_steps).unwrap_or(usize::MAX);
        format!("{share:.2} %, ≤ {}", counted(steps, "step"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::code::Code,
        studies::referee::{RefereeRun, VERSION, tests::comparison},
    };

    #[test]
    fn the_best_rules_are_named_and_every_single_rule_is_shown() -> Result<()> {
        let referee = Referee {
            run: RefereeRun {
                version: VERSION,
                date: String::new(),
                code: Code::default(),
                referees: BTreeMap::new(),
                samples: vec!["a".into(), "b".into()],
            },
            comparisons: BTreeMap::from([(
                "judge".to_owned(),
                vec![
                    comparison("x", &[], 9),
                    comparison("x", &[("rounding", "away")], 10),
                    comparison("x", &[("rounding", "away"), ("sums", "pairs")], 3),
                ],
            )]),
            refusals: BTreeMap::from([(
                "judge".to_owned(),
                vec![Refusal {
                    model: "n".into(),
                    refused: "the referee does not implement LSTM".into(),
                }],
            )]),
        };
        let text = section(&referee, &[], &str::to_owned)?;
        for expected in [
            "m, by the judge backend",
            "over 2 photographs",
            "| engine | file | rules that agree best | with them |",
            "| engine | file | `default` ",
            "**exact**",
            "90.00 %, ≤ 1 step ",
            "does not compute n, so that nothing is said of any engine there: the referee does not implement LSTM",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
        assert!(!text.contains("30.00"), "{text}");
        assert!(referee_on_terminal(&referee)?.contains("rounding=away"));
        assert!(answer(&referee, &str::to_owned)?.contains("very outputs of x:"));
        let others = Referee {
            comparisons: [("judge".to_owned(), vec![comparison("x", &[], 9)])].into(),
            ..referee
        };
        let said = answer(&others, &str::to_owned)?;
        assert_eq!(
            said,
            "The referee gives no engine's outputs exactly. No single rule gives all values of x."
        );
        Ok(())
    }

    #[test]
    fn every_rule_that_was_tried_is_explained_and_no_other() -> Result<()> {
        let data = |rules: &[&str]| {
            let rules = context! { models => [""; 0], samples => 1, refusals => [""; 0], rules };
            template::render("detail/referee.md.j2", context! { data => rules })
        };
        let text = data(&["rounding=half-away", "sums=pairs"])?;
        assert!(
            text.contains("`rounding=half-away`: a half is rounded away from zero"),
            "{text}"
        );
        assert!(text.contains("`sums=pairs`: ") && !text.contains("`arithmetic=standard`: "));
        Ok(())
    }
}
