//! Pages written by people, whose figures come from the record: every minijinja template `*.j2` beside a
//! report is rendered into the page of its name without that ending.
//!
//! What a template can ask for:
//! - `figure(NAME, MODEL, ENGINE)`: a time with its unit, or a ratio for `pass 1 / steady` and
//!   `pass 2 / steady`. A fourth argument `"tuned"` asks for the time with the engine's recommended settings,
//!   and `"default over tuned"` for how many times faster these are;
//! - `count(NAME, WHEN, PASS, MODEL, ENGINE)`: what the engine counted while it was profiled, such as
//!   `graph nodes`; WHEN is `"before"` or `"after"` the pass;
//! - `profiled(PASS, MODEL, ENGINE)`: the time of a pass while it was profiled, or `"steady"` of a later one;
//! - `outside_operators(PASS, MODEL, ENGINE)`: the time of a profiled pass that no operator took;
//! - `share_outside(PASS, MODEL, ENGINE)`: the share of what the pass takes beyond the steady time that lies
//!   outside of all operators;
//! - `is_profiled(MODEL, ENGINE)`: whether there is any of that;
//! - `setting(ENGINE)`: the tuned settings that were measured;
//! - `record`: the folder of the record.
//!
//! All are of the fewest threads that were measured. A figure that was not measured is a dash.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use firstpass_statistics::bootstrap::Estimate;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value};

use crate::{
    page::numbers::{milliseconds, ratio, setting as name, times},
    studies::{
        explain::{
            self,
            judge::{Explanation, FIRST, judge},
        },
        first_passes::judge::comparisons::Comparisons,
        first_passes::{
            analysis::Analysis,
            judge::latency::{Figure, Latency},
        },
    },
};

/// The end of the name of a template.
const SOURCE: &str = ".j2";

/// What was not measured.
const DASH: &str = "–";

/// The rendered pages of a folder, by path in it.
///
/// # Errors
/// Fails on a template that asks for something that does not exist, with the file and the line.
pub(crate) fn files(folder: &Path, analysis: &Analysis) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(files);
    };
    for entry in entries {
        let path = entry?.path();
        let file = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let Some(page) = file.strip_suffix(SOURCE) else {
            continue;
        };
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        let rendered = render(&path, &text, Figures::new(analysis)?)?;
        files.insert(page.into(), rendered.into_bytes());
    }
    Ok(files)
}

/// `path` is what an error names.
fn render(path: &Path, text: &str, figures: Figures) -> Result<String> {
    // It escapes nothing.
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    environment.set_trim_blocks(true);
    let figures = Arc::new(figures);
    environment.add_global("record", figures.record.clone());
    let shared = Arc::clone(&figures);
    environment.add_function("setting", move |engine: &str| shared.setting(engine));
    let shared = Arc::clone(&figures);
    environment.add_function(
        "figure",
        move |figure: &str, model: &str, engine: &str, which: Option<&str>| {
            refused(shared.figure(figure, model, engine, which.unwrap_or("default")))
        },
    );
    let shared = Arc::clone(&figures);
    environment.add_function(
        "outside_operators",
        move |pass: usize, model: &str, engine: &str| {
            refused(shared.outside_operators(pass, model, engine))
        },
    );
    let shared = Arc::clone(&figures);
    environment.add_function("profiled", move |pass: Value, model: &str, engine: &str| {
        refused(shared.profiled(&pass, model, engine))
    });
    let shared = Arc::clone(&figures);
    environment.add_function(
        "share_outside",
        move |pass: usize, model: &str, engine: &str| {
            refused(shared.share_outside(pass, model, engine))
        },
    );
    let shared = Arc::clone(&figures);
    environment.add_function("is_profiled", move |model: &str, engine: &str| {
        shared.explanation(model, engine).is_some()
    });
    environment.add_function(
        "count",
        move |count: &str, when: &str, pass: usize, model: &str, engine: &str| {
            refused(figures.count(count, when, pass, model, engine))
        },
    );
    let rendered = environment.render_named_str(&path.display().to_string(), text, ());
    rendered.context("cannot render a page")
}

fn refused(value: Result<String>) -> Result<String, Error> {
    value.map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("{error:#}")))
}

/// What templates can ask for. It is a copy, because a function of a template borrows nothing.
struct Figures {
    record: String,
    /// By engine.
    settings: BTreeMap<String, String>,
    /// By model and engine.
    latencies: BTreeMap<(String, String), Latencies>,
    comparisons: Comparisons,
    explanations: Vec<Explanation>,
}

/// An engine on a model.
struct Latencies {
    default: Latency,
    tuned: Option<Latency>,
}

impl Figures {
    fn new(analysis: &Analysis) -> Result<Self> {
        let record = &analysis.record;
        let folder = record.folder.file_name().unwrap_or_default();
        let variants = record.run.settings.variants.iter();
        let rows = analysis.rows.iter();
        let rows = rows.flat_map(|(model, rows)| rows.iter().map(move |row| (model, row)));
        let explained = explain::read(&record.folder)?;
        Ok(Self {
            record: folder.to_string_lossy().into_owned(),
            settings: variants
                .filter_map(|(engine, settings)| Some((engine.clone(), name(settings.first()?))))
                .collect(),
            latencies: rows
                .filter_map(|(model, row)| {
                    let (threads, default) = row.latency.first_key_value()?;
                    let latencies = Latencies {
                        default: default.clone(),
                        tuned: row.tuned.get(threads).cloned(),
                    };
                    Some(((model.clone(), row.name()), latencies))
                })
                .collect(),
            comparisons: analysis.comparisons.clone(),
            explanations: explained.map_or_else(Vec::new, |e| judge(&e).explanations),
        })
    }

    fn setting(&self, engine: &str) -> String {
        self.settings
            .get(engine)
            .map_or(DASH, String::as_str)
            .into()
    }

    fn figure(&self, figure: &str, model: &str, engine: &str, which: &str) -> Result<String> {
        let measured = self.latencies.get(&(model.into(), engine.into()));
        let tuned = measured.and_then(|latencies| latencies.tuned.as_ref());
        Ok(match which {
            "default" => value(figure, measured.map(|latencies| &latencies.default))?,
            "tuned" => value(figure, tuned)?,
            "default over tuned" => {
                let figure = compared(figure)?;
                let both = measured.zip(tuned);
                ratio(both.and_then(|(row, tuned)| {
                    let (default, tuned) = (&row.default.cell, &tuned.cell);
                    self.comparisons.get(default, tuned, figure)
                }))
            }
            other => {
                bail!("{other:?} is not one of \"default\", \"tuned\", \"default over tuned\"")
            }
        })
    }

    /// Explanations of a model and engine begin with that of the default.
    fn explanation(&self, model: &str, engine: &str) -> Option<&Explanation> {
        let mut explanations = self.explanations.iter();
        explanations.find(|e| e.model == model && e.backend == engine)
    }

    fn outside_operators(&self, pass: usize, model: &str, engine: &str) -> Result<String> {
        check_pass(pass)?;
        let explanation = self.explanation(model, engine);
        let time = explanation.map(|e| format!("{} ms", milliseconds(e.outside.time(pass))));
        Ok(time.unwrap_or_else(|| DASH.into()))
    }

    fn profiled(&self, pass: &Value, model: &str, engine: &str) -> Result<String> {
        let explanation = self.explanation(model, engine);
        let time = if pass.as_str() == Some("steady") {
            explanation.map(|e| e.whole.steady())
        } else {
            let pass = pass
                .as_usize()
                .context("a pass is a number or \"steady\"")?;
            check_pass(pass)?;
            explanation.map(|e| e.whole.time(pass))
        };
        let time = time.map(|ms| format!("{} ms", milliseconds(ms)));
        Ok(time.unwrap_or_else(|| DASH.into()))
    }

    fn share_outside(&self, pass: usize, model: &str, engine: &str) -> Result<String> {
        check_pass(pass)?;
        let explanation = self.explanation(model, engine);
        let share = explanation.and_then(|e| e.share(&e.outside, pass));
        Ok(share.map_or_else(|| DASH.into(), |share| format!("{:.0} %", 100.0 * share)))
    }

    fn count(
        &self,
        count: &str,
        when: &str,
        pass: usize,
        model: &str,
        engine: &str,
    ) -> Result<String> {
        check_pass(pass)?;
        let passes_before = match when {
            "before" => pass - 1,
            "after" => pass,
            other => bail!("{other:?} is neither \"before\" nor \"after\""),
        };
        let explanation = self.explanation(model, engine);
        let counted = explanation.and_then(|e| e.counts.iter().find(|c| c.name == count));
        let value = counted.and_then(|c| match passes_before {
            0 => c.before,
            passes => *c.after.get(passes - 1)?,
        });
        Ok(value.map_or_else(|| DASH.into(), |n| format!("{n:.0}")))
    }
}

fn check_pass(pass: usize) -> Result<()> {
    if !(1..=FIRST).contains(&pass) {
        bail!("{pass} is not one of passes 1 to {FIRST}");
    }
    Ok(())
}

fn value(figure: &str, latency: Option<&Latency>) -> Result<String> {
    let known = [
        "pass 1",
        "pass 2",
        "pass 3",
        "steady",
        "cold start",
        "warm-up cost",
        "passes 1 and 2",
        "pass 1 / steady",
        "pass 2 / steady",
    ];
    if !known.contains(&figure) {
        bail!(
            "no figure is called {figure:?}; there are: {}",
            known.join(", ")
        );
    }
    let Some(latency) = latency else {
        return Ok(DASH.into());
    };
    let median = |estimate: Option<&Estimate>| estimate.map(|e| e.median);
    let time = match figure {
        "pass 1" => median(latency.pass.get(&1)),
        "pass 2" => median(latency.pass.get(&2)),
        "pass 3" => median(latency.pass.get(&3)),
        "steady" => median(latency.steady.as_ref()),
        "cold start" => median(latency.cold_start.as_ref()),
        "warm-up cost" => median(latency.warm_up_cost.as_ref()),
        "passes 1 and 2" => {
            let both = median(latency.pass.get(&1)).zip(median(latency.pass.get(&2)));
            both.map(|(first, second)| first + second)
        }
        _ => {
            let over = if figure.starts_with("pass 1") {
                &latency.first_over_steady
            } else {
                &latency.second_over_steady
            };
            return Ok(over.map_or_else(|| DASH.into(), |first| times(first.ratio())));
        }
    };
    Ok(time.map_or_else(|| DASH.into(), |ms| format!("{} ms", milliseconds(ms))))
}

fn compared(figure: &str) -> Result<Figure> {
    Ok(match figure {
        "pass 1" => Figure::FirstPass,
        "pass 2" => Figure::SecondPass,
        "passes 1 and 2" => Figure::FirstTwo,
        "steady" => Figure::Steady,
        "cold start" => Figure::ColdStart,
        other => bail!("{other:?} is not compared"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::{
        explain::judge::tests::{explain, processes, profile},
        first_passes::judge::latency::{
            summarise,
            tests::{observation, times},
        },
    };

    /// An engine `x` on a model `m`, which has no tuned settings.
    fn figures() -> Figures {
        let observations = [0, 1].map(|round| observation(round, &times(&[900.0], 10.0)));
        let mut latencies = summarise(&observations);
        let latencies = Latencies {
            default: latencies.remove(0),
            tuned: None,
        };
        Figures {
            comparisons: Comparisons::default(),
            record: "<record>".into(),
            settings: BTreeMap::from([("x".into(), "a=b".into())]),
            latencies: BTreeMap::from([(("m".into(), "x".into()), latencies)]),
            explanations: judge(&explain(processes(profile))).explanations,
        }
    }

    fn rendered(text: &str) -> Result<String> {
        render(Path::new("page.md.j2"), text, figures())
    }

    #[test]
    fn a_template_is_rendered_with_the_figures_of_the_record() -> Result<()> {
        let text = "{% set model = \"m\" %}\n\
                    {{ record }}, {{ setting(\"x\") }}:\n\
                    {{ figure(\"pass 1\", model, \"x\") }}, {{ figure(\"pass 1 / steady\",\nmodel, \"x\") }}, \
                    {{ outside_operators(2, model, \"x\") }}, {{ count(\"nodes\", \"before\", 2, model, \"x\") }} \
                    and {{ count(\"nodes\", \"after\", 2, model, \"x\") }}\n";
        let expected = "<record>, a=b:\n900 ms, 90×, 35.0 ms, 10 and 400\n";
        assert_eq!(rendered(text)?, expected);
        Ok(())
    }

    #[test]
    fn what_was_not_measured_is_a_dash() -> Result<()> {
        for call in [
            "figure('pass 1', 'm', 'y')",
            "figure('pass 1', 'm', 'x', 'tuned')",
            "figure('pass 1', 'm', 'x', 'default over tuned')",
            "outside_operators(1, 'm', 'y')",
            "count('nodes', 'after', 1, 'm', 'y')",
            "count('nodes', 'before', 1, 'm', 'x')",
            "setting('y')",
        ] {
            assert_eq!(rendered(&format!("{{{{ {call} }}}}"))?, DASH, "{call}");
        }
        Ok(())
    }

    #[test]
    fn nonsense_is_refused_with_its_file_and_line() {
        for nonsense in [
            "figure('pass 7', 'm', 'x')",
            "figure('pass 1', model, 'x')",
            "figure('pass 1', 'm')",
            "figure('pass 1', 'm', 'x', 'warm')",
            "figure('warm-up cost', 'm', 'x', 'default over tuned')",
            "outside_operators(0, 'm', 'x')",
            "outside_operators(4, 'm', 'x')",
            "count('nodes', 'while', 1, 'm', 'x')",
            "steady('m', 'x')",
            "records",
            "figure('pass 1'",
        ] {
            let error = rendered(&format!("One line.\n{{{{ {nonsense} }}}}\n")).err();
            let error = error.map(|e| format!("{e:#}")).unwrap_or_default();
            assert!(error.contains("page.md.j2:2"), "{nonsense}: {error}");
        }
    }
}
