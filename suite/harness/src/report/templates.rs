//! Pages written by people, whose figures come from the record: every `*.in.md` beside a report is
//! rendered into the page without `.in`, with its placeholders replaced.
//!
//! A placeholder is one of
//! - `{{FIGURE of MODEL on BACKEND}}` or `{{FIGURE of MODEL on BACKEND, cured}}`: a time with its
//!   unit, or a ratio for `pass 1 / steady` and `pass 2 / steady`;
//! - `{{FIGURE of MODEL on BACKEND, default over cured}}`: how many times faster the cure is;
//! - `{{COUNT before pass N of MODEL on BACKEND}}` or `{{COUNT after pass N of …}}`: what the engine
//!   counted while it was profiled, such as graph nodes;
//! - `{{outside operators in pass N of MODEL on BACKEND}}`: the time that no operator took;
//! - `{{setting of BACKEND}}`: the settings that were measured as its cure;
//! - `{{record}}`: the folder of the record.
//!
//! All are of the fewest threads that were measured.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use firstpass_statistics::bootstrap::Estimate;

use crate::{
    page::numbers::{milliseconds, ratio, setting as name, times},
    studies::{
        explain::{
            self,
            judge::{FIRST, Judged, judge},
        },
        first_passes::{
            analysis::Analysis,
            judge::latency::{Figure, Latency},
        },
    },
};

/// The end of the name of a page with placeholders.
const SOURCE: &str = ".in.md";

/// The rendered pages of a folder, by path in it.
///
/// # Errors
/// Fails on a placeholder that means nothing; one whose figure was not measured becomes a dash.
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
        let explained = explain::read(&analysis.record.folder)?;
        let explained = explained.as_ref().map(judge).unwrap_or_default();
        let rendered = render(&text, |p| resolve(p, analysis, &explained))
            .with_context(|| format!("cannot render {}", path.display()))?;
        files.insert(format!("{page}.md").into(), rendered.into_bytes());
    }
    Ok(files)
}

/// Replaces every `{{…}}`.
fn render(text: &str, resolve: impl Fn(&str) -> Result<String>) -> Result<String> {
    let mut parts = text.split("{{");
    let mut rendered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((placeholder, rest)) = part.split_once("}}") else {
            bail!("a placeholder has no end: {{{{{part}");
        };
        // It may be broken over lines where the text is.
        let placeholder: Vec<&str> = placeholder.split_whitespace().collect();
        rendered += &resolve(&placeholder.join(" "))?;
        rendered += rest;
    }
    Ok(rendered)
}

fn resolve(placeholder: &str, analysis: &Analysis, explained: &Judged) -> Result<String> {
    if placeholder == "record" {
        let name = analysis.record.folder.file_name();
        return Ok(name.map_or_else(String::new, |n| n.to_string_lossy().into_owned()));
    }
    if let Some(backend) = placeholder.strip_prefix("setting of ") {
        let variants = analysis.record.run.settings.variants.get(backend);
        return Ok(variants
            .and_then(|v| v.first())
            .map_or_else(|| "–".into(), name));
    }
    let Some((figure, place)) = placeholder.split_once(" of ") else {
        bail!("no placeholder is called {placeholder:?}");
    };
    let (place, which) = place.split_once(", ").unwrap_or((place, "default"));
    let Some((model, backend)) = place.split_once(" on ") else {
        bail!("{placeholder:?} does not say on which backend");
    };
    let mut explanations = explained.explanations.iter();
    let explanation = explanations.find(|e| e.model == model && e.backend == backend);
    if let Some(pass) = figure.strip_prefix("outside operators in pass ") {
        let pass = pass_number(pass)?;
        let time = explanation.map(|e| format!("{} ms", milliseconds(e.outside.time(pass))));
        return Ok(time.unwrap_or_else(|| "–".into()));
    }
    for (when, before) in [(" before pass ", true), (" after pass ", false)] {
        if let Some((count, pass)) = figure.split_once(when) {
            let pass = pass_number(pass)?;
            let found = explanation.and_then(|e| e.counts.iter().find(|c| c.name == count));
            let value = found.and_then(|c| match (before, pass) {
                (true, 1) => c.before,
                (true, pass) => *c.after.get(pass - 2)?,
                (false, pass) => *c.after.get(pass - 1)?,
            });
            return Ok(value.map_or_else(|| "–".into(), |n| format!("{n:.0}")));
        }
    }
    let rows = analysis.rows.get(model).map_or(&[][..], Vec::as_slice);
    let row = rows.iter().find(|r| r.label == backend);
    let default = row.and_then(|r| Some(r.latency.first_key_value()?.1));
    let cured = default.and_then(|l| row?.cured.get(&l.cell.threads()));
    Ok(match which {
        "default" => value(figure, default)?,
        "cured" => value(figure, cured)?,
        "default over cured" => {
            let figure = compared(figure)?;
            let found = default.zip(cured);
            ratio(found.and_then(|(default, cured)| default.compare(cured, figure)))
        }
        other => bail!("{placeholder:?}: {other:?} is neither default nor cured"),
    })
}

fn pass_number(text: &str) -> Result<usize> {
    let number = text.parse().ok().filter(|n| (1..=FIRST).contains(n));
    number.with_context(|| format!("{text:?} is not one of passes 1 to {FIRST}"))
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
        return Ok("–".into());
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
            return Ok(median(over.as_ref()).map_or_else(|| "–".into(), times));
        }
    };
    Ok(time.map_or_else(|| "–".into(), |ms| format!("{} ms", milliseconds(ms))))
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

    #[test]
    fn placeholders_are_replaced_wherever_they_are_broken() -> Result<()> {
        let text = "It takes {{pass 1\nof a on b}}, later {{x}}.";
        let rendered = render(text, |placeholder| Ok(format!("<{placeholder}>")))?;
        assert_eq!(rendered, "It takes <pass 1 of a on b>, later <x>.");
        assert!(render("{{open", |_| Ok(String::new())).is_err());
        assert_eq!(render("none", |_| bail!("unused"))?, "none");
        Ok(())
    }

    #[test]
    fn nonsense_is_refused_and_what_is_missing_is_a_dash() -> Result<()> {
        assert!(value("pass 7", None).is_err());
        assert_eq!(value("pass 1", None)?, "–");
        assert!(compared("warm-up cost").is_err());
        Ok(())
    }
}
