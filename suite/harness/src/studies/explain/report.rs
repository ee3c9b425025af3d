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
        markdown::image,
        numbers::{end_of, milliseconds, setting as name},
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
        first_passes::words::with_verdict,
        other_verdicts,
    },
};
use tables::{tables, throughput_of};
use words::{NotProfiled, Said, Why, largest_share, not_profiled, said, why};

pub(crate) use words::{Remains, remains};

/// Models whose summary the page shows before anything is unfolded.
const SHOWN: usize = 1;

/// The name of a kind is shortened to so many characters where a page shows it first.
const KIND: usize = 24;

/// An engine whose first pass is slow beyond doubt while it is profiled, and where most of the excess lies.
#[derive(Serialize)]
struct Slow {
    engine: String,
    excess_ms: f64,
    model: String,
    /// `None` where it lies outside of all operators.
    kind: Option<String>,
    share: f64,
}

/// Where the slow first passes of each engine spend their time: on the first model of [`models`] on which its pass 1
/// is slow.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(
    judged: &Judged,
    described: &[ModelDescription],
    called: &dyn Fn(&str) -> String,
) -> Result<String> {
    let mut slow: BTreeMap<&str, Slow> = BTreeMap::new();
    for model in models(described, judged) {
        let of_model = judged.explanations.iter();
        for explanation in of_model.filter(|e| e.model == model && !e.is_tuned()) {
            // There is a share only where pass 1 is slow beyond doubt.
            let Some((kind, share)) = largest_share(explanation) else {
                continue;
            };
            let of_engine = slow.entry(&explanation.backend);
            of_engine.or_insert_with(|| Slow {
                engine: called(&explanation.backend),
                excess_ms: explanation.excess(&explanation.whole, 1).mean,
                model: short(model_title(described, model)),
                kind: kind.map(Into::into),
                share,
            });
        }
    }
    let mut slow: Vec<Slow> = slow.into_values().collect();
    slow.sort_by(|a, b| b.excess_ms.total_cmp(&a.excess_ms));
    template::answer("why.md.j2", context! { slow })
}

/// What the page says of one model.
#[derive(Serialize)]
struct OfModel {
    title: String,
    /// Whether the page shows its summary before anything is unfolded.
    is_shown: bool,
    summary: Value,
    /// Why pass 1 of each engine is slow: of the first model of each precision.
    why: Vec<Why>,
    engines: Vec<OfEngine>,
}

/// One engine, by default or tuned.
#[derive(Serialize)]
struct OfEngine {
    label: String,
    /// The tuned settings; `None` by default.
    setting: Option<String>,
    /// What remains with them.
    remains: Remains,
    said: Said,
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
        why: if is_first_of_its_precision(described, name) {
            let by_default = judged.explanations.iter().filter(|e| !e.is_tuned());
            let of_model = by_default.filter(|e| e.model == name);
            of_model.filter_map(|e| why(e, called)).collect()
        } else {
            Vec::new()
        },
        engines: judged
            .explanations
            .iter()
            .filter(|e| e.model == name)
            .map(|e| of_engine(described, e, files, called))
            .collect(),
    });
    let of_models: Vec<OfModel> = of_models.collect();
    let failures = judged.failures.iter().map(|f| not_profiled(f, called));
    let without = described
        .iter()
        .filter(|model| is_first_of_its_precision(described, &model.name))
        .filter(|model| !names.contains(&model.name.as_str()));
    let data = context! {
        models => of_models,
        other_verdicts => other_verdicts(of_first_page, verdicts(judged, described, called)),
        failures => failures.collect::<Vec<_>>(),
        without => without.map(|model| model.title.as_str()).collect::<Vec<_>>(),
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
        said: said(explanation),
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
///
/// # Errors
/// Fails where a template cannot be rendered.
pub fn explanations_on_terminal(explain: &Explain) -> Result<String> {
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
        let said = said(explanation);
        text += &template::on_terminal("said/explained.md.j2", context! { said })?;
    }
    let failures = judged.failures.iter();
    let failures: Vec<NotProfiled> = failures.map(|f| not_profiled(f, &str::to_owned)).collect();
    if !failures.is_empty() {
        let failures = template::on_terminal("said/not-profiled.md.j2", context! { failures })?;
        text += &format!("\n{failures}");
    }
    Ok(text)
}

/// The models that were profiled. The first of each precision come first, as on the first page, and integers before
/// floats.
fn models<'a>(described: &[ModelDescription], judged: &'a Judged) -> Vec<&'a str> {
    let names = judged.explanations.iter().map(|e| e.model.as_str());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    let place = |name: &&str| {
        let precision = described
            .iter()
            .find(|model| model.name == **name)?
            .precision;
        Some((before(described, name)?, precision != Precision::Int8))
    };
    names.sort_by_key(|name| place(name));
    names
}

/// How many models of the same precision come before this one; `None` of one that is not of the record.
fn before(described: &[ModelDescription], name: &str) -> Option<usize> {
    let at = described.iter().position(|model| model.name == name)?;
    let (before, rest) = described.split_at(at);
    let precision = rest.first()?.precision;
    Some(before.iter().filter(|m| m.precision == precision).count())
}

/// Whether a model is one of those that a reader asks for first; one that no record describes is.
fn is_first_of_its_precision(described: &[ModelDescription], name: &str) -> bool {
    before(described, name).is_none_or(|before| before == 0)
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
    fn the_terminal_shows_shares_counts_and_failures() -> Result<()> {
        let mut all = processes(profile);
        let mut failed = process(Variant::Profiled, 0);
        failed.model = Some("other".into());
        failed.failure = Some("it has no profile".into());
        all.push(failed);
        let text = explanations_on_terminal(&explain(all))?;
        for expected in [
            "x on m",
            "*outside all operators*",
            "Pass 1 takes 3.33× (3.",
            "the steady time; 93 (8",
            "% of its excess is explained.\n- Slower in pass 1 than later: last by 35.0 (3",
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
        Ok(())
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
