//! Other models, as a page of its own: first passes against the steady state of each engine.

mod tables;
mod words;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use minijinja::context;
use serde::Serialize;

use crate::{
    page::{
        markdown::image,
        template::{self, markdown},
        write_file,
    },
    studies::{
        OfFirstPage, OfStudy,
        first_passes::words::brief,
        other_verdicts,
        zoo::{
            MissingFile, Zoo,
            judge::{Row, answers, judge, lone_faces},
            plot,
        },
    },
};
use tables::{OUTPUTS, TIMES, faces, outputs_of, summary, table, times_of};

/// The question that the page answers.
pub(crate) const TITLE: &str = "Do other models have slow first passes?";

/// The page, beside the report.
pub(crate) const PAGE: &str = "zoo.md";

const PLOT: &str = "plots/zoo.svg";

/// What was not measured.
const NONE: &str = "–";

/// The page and its plot, by path, from what was judged.
pub(crate) fn files(
    zoo: &Zoo,
    rows: &[Row],
    of_first_page: &OfFirstPage,
) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut plot = None;
    if let Some(svg) = plot::draw(rows)? {
        let what = "first pass over steady time of every model and engine";
        plot = Some(markdown(image(Path::new(PLOT), what)));
        files.insert(PLOT.into(), svg.into_bytes());
    }
    let run = &zoo.record.run;
    let data = context! {
        date => run.date.split('T').next().unwrap_or_default(),
        processor => run.machine.cpu,
        cores => run.machine.cores,
        not_there => not_there(zoo),
        other_verdicts => other_verdicts(of_first_page, verdicts(rows)),
        plot,
        summary => summary(rows).seen(),
        times => table(&TIMES, times_of, rows, false).page(),
        outputs => table(&OUTPUTS, outputs_of, rows, true).page(),
        lone => lone_faces(rows),
        faces => faces(rows),
        engines => words::engines(rows),
    };
    let text = template::render("detail/zoo.md.j2", context! { data })?;
    let answer = answer(rows)?;
    let page = template::page(TITLE, [answer.as_str()], &text)?;
    files.insert(PAGE.into(), page.into_bytes());
    Ok(files)
}

/// What is said of pass 1 of every engine and model, by default.
fn verdicts<'a>(rows: &'a [Row]) -> impl Iterator<Item = OfStudy<'a>> {
    rows.iter().filter_map(|row| {
        let described = &row.model.description;
        Some(OfStudy {
            model: (&described.name, &described.title),
            backend: (row.backend, row.label.clone()),
            verdict: row.default.latency()?.first_over_steady?.verdict(),
        })
    })
}

/// An engine of which some models have a slow first pass, or none has.
#[derive(Serialize)]
struct OfEngine {
    engine: String,
    slow: usize,
    open: usize,
    models: usize,
}

/// On how many models the first pass of each engine is slow.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(rows: &[Row]) -> Result<String> {
    let mut engines = answers(rows);
    engines.retain(|answer| answer.first.models() > 0);
    engines.sort_by_key(|answer| std::cmp::Reverse(answer.first.slow.len()));
    let engines = engines.into_iter().map(|answer| OfEngine {
        slow: answer.first.slow.len(),
        open: answer.first.open.len(),
        models: answer.first.models(),
        engine: answer.label,
    });
    let (some, without): (Vec<_>, Vec<_>) = engines.partition(|of| of.slow > 0);
    let lone: Vec<_> = lone_faces(rows).into_iter().take(1).collect();
    template::answer("zoo.md.j2", context! { some, without, lone })
}

/// For a terminal.
///
/// # Errors
/// Fails where a template cannot be rendered.
pub fn zoo_summary(zoo: &Zoo) -> Result<String> {
    let rows = judge(zoo);
    let engines = words::engines(&rows);
    let sentences = template::on_terminal("said/zoo.md.j2", context! { engines })?;
    let table = table(&TIMES, times_of, &rows, true).terminal();
    Ok(format!("{table}\n{}", sentences.trim_end()))
}

/// An engine that did not start, or a model that was not made.
#[derive(Serialize)]
struct NotThere {
    /// `None` where it is a model.
    engine: Option<String>,
    model: String,
    reason: String,
}

/// Engines that did not start, and models that were not made.
fn not_there(zoo: &Zoo) -> Vec<NotThere> {
    let engines = zoo.record.backends.iter().filter_map(|(name, record)| {
        Some(NotThere {
            engine: Some(name.clone()),
            model: String::new(),
            reason: brief(record.unavailable.as_ref()?),
        })
    });
    let missing = zoo.made.missing.iter();
    let models = missing
        .filter(|m| m.file == MissingFile::All)
        .map(|m| NotThere {
            engine: None,
            model: m.model.clone(),
            reason: brief(&m.reason),
        });
    engines.chain(models).collect()
}

/// Writes the page of other models into `folder`, with its plot; returns the page.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write(zoo: &Zoo, folder: &Path) -> Result<PathBuf> {
    for (path, bytes) in files(zoo, &judge(zoo), &|_, _| None)? {
        write_file(folder, &path, &bytes)?;
    }
    Ok(folder.join(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::zoo::judge::tests::zoo;

    #[test]
    fn the_page_begins_with_the_answer_and_has_a_row_for_what_failed() -> Result<()> {
        let zoo = zoo()?;
        let files = files(&zoo, &judge(&zoo), &|_, _| None)?;
        let page = String::from_utf8(files[Path::new(PAGE)].clone())?;
        assert!(files.contains_key(Path::new(PLOT)) && page.contains(PLOT));
        let row = |model: &str| page.lines().find(|l| l.contains(model)).unwrap_or_default();
        assert!(row("| Model c").contains("no such operator"), "{page}");
        assert!(row("| Model d").contains("there as onnx"), "{page}");
        let said = "Models whose first pass is slow: x on 1 of 3.";
        assert_eq!(page.split("\n\n").nth(1), Some(said));
        let last = page
            .lines()
            .find(|l| l.starts_with("- **x**"))
            .unwrap_or_default();
        let expected = "- **x**: yes, some of them. Pass 1 is slow on 1 of 3 models, 9.00× (Model b); not slow \
                        on 1, at most 1.02× (Model a); open on 1, 1.16× (Model e), \
                        with intervals up to 1.";
        assert!(last.starts_with(expected), "{last}");
        let of_second = "Pass 2 is slow on 1 of 3 models, 4.00× (Model b); not slow on 2";
        assert!(last.contains(of_second), "{last}");
        assert!(last.contains("more process"), "{last}");
        let tuned =
            "With the settings of `tuned.toml`, pass 1 is slow on none of 1 model; not slow on 1";
        assert!(last.contains(tuned), "{last}");
        assert!(last.ends_with("It does not run 2 more."), "{last}");
        for (model, verdict) in [
            ("Model a", ", not slow "),
            ("Model b", ", slow "),
            ("Model e", ", open "),
        ] {
            let line = row(&format!("| {model}"));
            assert!(line.contains(verdict), "{line}");
        }
        assert!(
            page.contains("| warm-up"),
            "the class of a series is said: {page}"
        );
        Ok(())
    }
}
