//! The part of the report that says where the first passes spend their time.

mod tables;
mod words;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_probe::file_name;
use firstpass_trial::model::{ModelDescription, Precision};
use minijinja::{Value, context};
use serde::Serialize;

use crate::{
    page::{
        markdown::{self, image},
        numbers::{end_of, milliseconds, names, setting as name},
        table::Table,
        template,
    },
    studies::{
        OfFirstPage, OfStudy,
        explain::{
            Explain,
            judge::{Explanation, Judged, judge},
            plot::draw,
        },
        first_passes::{judge::first_pass::FirstPassVerdict, words::with_verdict},
        other_verdicts,
    },
};
use tables::{tables, throughput_of};
use words::{failure, sentence, sentences};

pub(crate) use words::remains;

/// Models whose summary the page shows before anything is unfolded.
const SHOWN: usize = 1;

/// How many engines have a sentence of their own in the answer.
const NAMED_ENGINES: usize = 3;

/// The name of a kind is shortened to so many characters where a page shows it first.
const KIND: usize = 24;

/// Where the slow first passes of each engine spend their time, in a sentence an engine: on the first model of
/// [`models`] on which its pass 1 is slow.
pub(crate) fn answer(
    judged: &Judged,
    described: &[ModelDescription],
    called: &dyn Fn(&str) -> String,
) -> String {
    let slow = |e: &&Explanation| {
        let first = e.passes_over_steady.first().and_then(Option::as_ref);
        !e.is_tuned() && first.is_some_and(|first| first.verdict() == FirstPassVerdict::Slow)
    };
    let mut sentences: BTreeMap<&str, (f64, String)> = BTreeMap::new();
    for model in models(described, judged) {
        let of_model = judged.explanations.iter().filter(|e| e.model == model);
        for explanation in of_model.filter(slow) {
            let Some((kind, share)) = largest_share(explanation) else {
                continue;
            };
            let place = kind.map_or_else(
                || "outside of all operators".into(),
                |kind| format!("in `{kind}`"),
            );
            let excess = explanation.excess(&explanation.whole, 1).mean;
            let sentence = format!(
                "{} takes {} ms longer in pass 1 than later ({}), {:.0} % of that {place}.",
                called(&explanation.backend),
                milliseconds(excess),
                markdown::text(&short(model_title(described, model))),
                100.0 * share,
            );
            let of_engine = sentences.entry(&explanation.backend);
            of_engine.or_insert((excess, sentence));
        }
    }
    if sentences.is_empty() {
        return "No engine's first pass is slow beyond doubt while it is profiled.".into();
    }
    let mut sentences: Vec<(&str, (f64, String))> = sentences.into_iter().collect();
    sentences.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    let others = sentences.split_off(sentences.len().min(NAMED_ENGINES));
    let mut said: Vec<String> = sentences.into_iter().map(|(_, (_, text))| text).collect();
    if !others.is_empty() {
        let others: Vec<String> = others
            .into_iter()
            .map(|(engine, _)| called(engine))
            .collect();
        said.push(format!(
            "Pass 1 is slow on {} as well, for less time.",
            names(&others)
        ));
    }
    said.join(" ")
}

/// What the page says of one model.
#[derive(Serialize)]
struct OfModel {
    title: String,
    /// Whether the page shows its summary before anything is unfolded.
    is_shown: bool,
    summary: Value,
    engines: Vec<OfEngine>,
}

/// One engine, by default or tuned.
#[derive(Serialize)]
struct OfEngine {
    label: String,
    /// The tuned settings; `None` by default.
    setting: Option<String>,
    /// What remains with them.
    remains: String,
    sentences: Vec<String>,
    tables: Vec<Value>,
    plot: Option<Value>,
}

/// The details of the page: where the excess lies, an engine a row, and behind it every operator.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn section(
    explain: &Explain,
    judged: &Judged,
    described: &[ModelDescription],
    files: &BTreeMap<PathBuf, Vec<u8>>,
    called: &dyn Fn(&str) -> String,
    of_first_page: &OfFirstPage,
) -> Result<String> {
    let names = models(described, judged);
    let of_models = names.iter().enumerate().map(|(at, &name)| OfModel {
        title: model_title(described, name).into(),
        is_shown: at < SHOWN,
        summary: summary(
            judged.explanations.iter().filter(|e| e.model == name),
            called,
        )
        .seen(),
        engines: judged
            .explanations
            .iter()
            .filter(|e| e.model == name)
            .map(|e| of_engine(described, e, files, called))
            .collect(),
    });
    let of_models: Vec<OfModel> = of_models.collect();
    let failures: Vec<String> = judged.failures.iter().map(|f| failure(f, called)).collect();
    let data = context! {
        models => of_models,
        other_verdicts => other_verdicts(of_first_page, verdicts(judged, described, called)),
        failures => template::markdown(markdown::lines(&failures.join("\n"))),
        rounds => explain.run.settings.rounds,
        passes => explain.run.settings.passes,
        image => explain.run.image,
    };
    template::render("detail/why.md.j2", context! { data })
}

/// What is said of pass 1 of every engine and model, by default.
fn verdicts<'a>(
    judged: &'a Judged,
    described: &'a [ModelDescription],
    called: &'a dyn Fn(&str) -> String,
) -> impl Iterator<Item = OfStudy<'a>> {
    let by_default = judged.explanations.iter().filter(|e| !e.is_tuned());
    by_default.filter_map(|e| {
        let first = e.passes_over_steady.first().and_then(Option::as_ref)?;
        Some(OfStudy {
            model: (&e.model, model_title(described, &e.model)),
            backend: (&e.backend, called(&e.backend)),
            verdict: first.verdict(),
        })
    })
}

fn of_engine(
    described: &[ModelDescription],
    explanation: &Explanation,
    files: &BTreeMap<PathBuf, Vec<u8>>,
    called: &dyn Fn(&str) -> String,
) -> OfEngine {
    let tables = tables(explanation).into_iter();
    let tables = tables.chain(throughput_of(described, explanation));
    let path = plot_path(explanation);
    let alt = || {
        format!(
            "where {} spends the first passes of {}",
            explanation.label(called),
            model_title(described, &explanation.model)
        )
    };
    OfEngine {
        label: explanation.label(called),
        setting: explanation.is_tuned().then(|| name(&explanation.knobs)),
        remains: remains(explanation),
        sentences: sentences(explanation),
        tables: tables.map(|table| table.page()).collect(),
        plot: files
            .contains_key(&path)
            .then(|| template::markdown(image(&path, &alt()))),
    }
}

/// One row an engine: how slow pass 1 is, and where most of its excess lies.
fn summary<'a>(
    explanations: impl Iterator<Item = &'a Explanation>,
    called: &dyn Fn(&str) -> String,
) -> Table {
    let header = [
        "engine",
        "pass 1 / steady",
        "excess, ms",
        "most of it lies in",
    ];
    Table::new(header).rows(explanations.filter(|e| !e.is_tuned()).map(|explanation| {
        let first = explanation
            .passes_over_steady
            .first()
            .and_then(Option::as_ref);
        let largest = largest_share(explanation);
        let excess = explanation.excess(&explanation.whole, 1).mean;
        [
            called(&explanation.backend),
            first.map_or_else(|| "–".into(), with_verdict),
            milliseconds(excess),
            largest.map_or_else(
                || "–".into(),
                |(kind, share)| {
                    let kind = kind.map_or_else(|| "no operator".into(), |kind| end_of(kind, KIND));
                    format!("{kind} ({:.0} %)", 100.0 * share)
                },
            ),
        ]
    }))
}

/// A title without the name that all models of a family share.
fn short(title: &str) -> String {
    title
        .split_once(", ")
        .map_or(title, |(_, rest)| rest)
        .into()
}

/// The kind of operators with the largest share of the excess of pass 1, or `None` for what lies outside of all
/// operators; nothing where pass 1 is not told to be slow.
fn largest_share(explanation: &Explanation) -> Option<(Option<&str>, f64)> {
    let kinds = explanation.kinds.iter();
    let kinds = kinds.map(|(kind, part)| (Some(kind.as_str()), part));
    let shares = kinds.chain([(None, &explanation.outside)]);
    let shares = shares.filter_map(|(kind, part)| Some((kind, explanation.share(part, 1)?)));
    shares.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// The plots of the section.
pub(crate) fn plots(
    judged: &Judged,
    models: &[ModelDescription],
    called: &dyn Fn(&str) -> String,
) -> Result<Vec<(PathBuf, String)>> {
    let mut plots = Vec::new();
    for explanation in &judged.explanations {
        let title = model_title(models, &explanation.model);
        if let Some(svg) = draw(title, &explanation.label(called), explanation)? {
            plots.push((plot_path(explanation), svg));
        }
    }
    Ok(plots)
}

/// The same tables and sentences for the terminal.
pub fn explanations_on_terminal(explain: &Explain) -> String {
    let judged = judge(explain);
    let mut text = String::new();
    for explanation in &judged.explanations {
        text += &format!(
            "\n{} on {}\n",
            explanation.label(&str::to_owned),
            explanation.model
        );
        for table in tables(explanation) {
            text += &format!("{}\n", table.terminal());
        }
        if explanation.is_tuned() {
            text += &format!("{}\n", name(&explanation.knobs));
        }
        text += &format!("{}\n", sentence(explanation));
    }
    for failed in &judged.failures {
        text += &format!("\n{}\n", failure(failed, &str::to_owned));
    }
    text
}

/// The models that were profiled. The first of each precision come first, as on the first page, and integers before
/// floats.
fn models<'a>(described: &[ModelDescription], judged: &'a Judged) -> Vec<&'a str> {
    let names = judged.explanations.iter().map(|e| e.model.as_str());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let place = |name: &&str| {
        let model = described.iter().find(|model| model.name == **name)?;
        let before = described
            .iter()
            .take_while(|other| other.name != model.name);
        let same = before.filter(|other| other.precision == model.precision);
        Some((same.count(), model.precision != Precision::Int8))
    };
    names.sort_by_key(|name| place(name));
    names
}

/// The title of a model of the record; the name of any other.
fn model_title<'a>(models: &'a [ModelDescription], name: &'a str) -> &'a str {
    let found = models.iter().find(|model| model.name == name);
    found.map_or(name, |model| &model.title)
}

fn plot_path(explanation: &Explanation) -> PathBuf {
    Path::new("plots").join(format!(
        "explained-{}-{}{}.svg",
        explanation.backend,
        file_name(&explanation.model),
        if explanation.is_tuned() { "-tuned" } else { "" }
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::explain::{
        Variant,
        judge::tests::{explain, processes, profile},
        tests::process,
    };

    #[test]
    fn the_terminal_shows_shares_counts_and_failures() {
        let mut all = processes(profile);
        let mut failed = process(Variant::Profiled, 0);
        failed.model = Some("other".into());
        failed.failure = Some("it has no profile".into());
        all.push(failed);
        let text = explanations_on_terminal(&explain(all));
        for expected in [
            "x on m",
            "*outside all operators*",
            "Pass 1 takes 3.33× (3.",
            "the steady time; 93 (8",
            "% of its excess is explained. Slower in pass 1 than later: last by 35.0 (3",
            "Pass 2 takes 2.00× (1.9",
            "the steady time; 100 % of its excess is explained.",
            "Pass 3 is not slow: 1.00× (0.9",
            "a steady pass 1.10× (1.0",
            "by a hook",
            "after pass 2",
            "x on other was not profiled: it has no profile",
        ] {
            assert!(text.contains(expected), "{expected} in {text}");
        }
    }

    #[test]
    fn the_section_has_tables_and_plots() -> Result<()> {
        let explain = explain(processes(profile));
        let judged = judge(&explain);
        let files = plots(&judged, &[], &str::to_owned)?;
        let path = Path::new("plots/explained-x-m.svg");
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].0, path);
        let files = files
            .into_iter()
            .map(|(path, svg)| (path, svg.into_bytes()));
        let with = section(
            &explain,
            &judged,
            &[],
            &files.collect(),
            &str::to_owned,
            &|_, _| None,
        )?;
        for expected in [
            "<details><summary>m: x</summary>",
            "| quantize ",
            "| last  | quantize |",
            "(plots/explained-x-m.svg)",
            "of its excess is explained",
        ] {
            assert!(with.contains(expected), "{expected} in {with}");
        }
        Ok(())
    }
}
