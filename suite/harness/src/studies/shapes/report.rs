//! Series in which the shape of the inputs changes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use minijinja::context;
use serde::Serialize;

use crate::{
    page::{numbers::milliseconds, table::Table, template, write_file},
    studies::{
        first_passes::{
            judge::{first_pass::FirstPassVerdict, latency::Phase},
            words::{EarlyPass, with_verdict},
        },
        shapes::{Found, Shape, ShapesRun},
    },
};

/// The question that the page answers.
const TITLE: &str = "Does an engine warm up again at a new shape?";

/// Beside the record of the measurements.
const PAGE: &str = "shapes.md";

const HEADER: [&str; 8] = [
    "engine",
    "model",
    "shape",
    "prepare, ms",
    "pass 1, ms",
    "pass 2, ms",
    "steady, ms",
    "pass 1 / steady",
];

/// The table, and what it says.
///
/// # Errors
/// Fails where a template cannot be rendered.
pub fn shapes_on_terminal(shapes: &[Shape], found: &[Found]) -> Result<String> {
    let table = table(shapes, found).terminal();
    let later = later(shapes, found);
    let text = template::on_terminal("said/shapes.md.j2", context! { later })?;
    Ok(format!("{table}\n{}", text.trim_end()))
}

/// Writes the page into `folder`; returns where.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write_shapes(
    shapes: &[Shape],
    found: &[Found],
    run: &ShapesRun,
    folder: &Path,
) -> Result<PathBuf> {
    let names: Vec<&str> = shapes.iter().map(|shape| shape.text.as_str()).collect();
    let answers = found.iter().flat_map(|one| {
        let later = one.latencies.iter().skip(1).flatten();
        later.filter_map(|latency| {
            Some((one.backend.as_str(), latency.first_over_steady?.verdict()))
        })
    });
    let answers: Vec<(&str, FirstPassVerdict)> = answers.collect();
    let data = context! {
        processes => run.settings.rounds,
        passes => run.settings.passes,
        threads => run.settings.threads,
        shapes => names,
        processor => run.machine.cpu,
        cores => run.machine.cores,
        date => run.date,
        commit => run.code.commit,
        table => table(shapes, found).keys(3).seen(),
        later => later(shapes, found),
    };
    let text = template::render("detail/shapes.md.j2", context! { data })?;
    let answer = answer(&answers)?;
    let text = template::page(TITLE, [answer.as_str()], &text)?;
    write_file(folder, Path::new(PAGE), text.as_bytes())?;
    Ok(folder.join(PAGE))
}

/// Which engines warm up again at a later shape, from the verdicts of each engine.
fn answer(verdicts: &[(&str, FirstPassVerdict)]) -> Result<String> {
    let with = |wanted: FirstPassVerdict| {
        let engines = verdicts.iter().filter(|(_, verdict)| *verdict == wanted);
        let mut engines: Vec<&str> = engines.map(|(engine, _)| *engine).collect();
        engines.sort_unstable();
        engines.dedup();
        engines
    };
    let [slow, not_slow, open] = [
        FirstPassVerdict::Slow,
        FirstPassVerdict::NotSlow,
        FirstPassVerdict::Open,
    ]
    .map(with);
    // An engine that warms up again once does so.
    let never = not_slow
        .into_iter()
        .filter(|e| !slow.contains(e) && !open.contains(e));
    let never: Vec<&str> = never.collect();
    let open: Vec<&str> = open.into_iter().filter(|e| !slow.contains(e)).collect();
    template::answer("shapes.md.j2", context! { slow, never, open })
}

fn table(shapes: &[Shape], found: &[Found]) -> Table {
    let mut table = Table::new(HEADER);
    for one in found {
        for (shape, latency) in shapes.iter().zip(&one.latencies) {
            let Some(latency) = latency else { continue };
            let figure = |ms: Option<f64>| ms.map_or_else(|| "–".into(), milliseconds);
            let median = |estimate: Option<&firstpass_statistics::bootstrap::Estimate>| {
                figure(estimate.map(|e| e.median))
            };
            let prepared = latency.processes.iter();
            let prepared = prepared.filter_map(|p| p.phases.get(&Phase::Prepare).copied());
            table.row([
                one.backend.clone(),
                one.model.clone(),
                shape.text.clone(),
                figure(firstpass_statistics::median(prepared)),
                median(latency.pass.get(&1)),
                median(latency.pass.get(&2)),
                median(latency.steady.as_ref()),
                latency
                    .first_over_steady
                    .as_ref()
                    .map_or_else(|| "–".into(), with_verdict),
            ]);
        }
        if let Some(failure) = &one.failure {
            table.row([&one.backend, &one.model, failure]);
        }
    }
    table
}

/// Pass 1 at a later shape.
#[derive(Debug, Serialize)]
struct Later {
    engine: String,
    model: String,
    shape: String,
    pass: EarlyPass,
}

/// For each engine and model that came to a second shape: whether it warms up again.
fn later(shapes: &[Shape], found: &[Found]) -> Vec<Later> {
    let later = found.iter().flat_map(|one| {
        let shapes = shapes.iter().zip(&one.latencies).skip(1);
        shapes.filter_map(|(shape, latency)| {
            let first = latency.as_ref()?.first_over_steady?;
            Some(Later {
                engine: one.backend.clone(),
                model: one.model.clone(),
                shape: shape.text.clone(),
                pass: (&first).into(),
            })
        })
    });
    later.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_who_warms_up_again_who_does_not_and_what_is_open() -> Result<()> {
        use FirstPassVerdict::{NotSlow, Open, Slow};
        let all = [
            ("a", Slow),
            ("a", NotSlow),
            ("b", NotSlow),
            ("c", Open),
            ("c", NotSlow),
        ];
        assert_eq!(
            answer(&all)?,
            "a warms up again at a new shape. b does not warm up again. It is open whether c warms up again."
        );
        assert_eq!(answer(&[])?, "No engine came to a second shape.");
        Ok(())
    }
    use crate::studies::shapes::judge::{judge, tests::measured};

    #[test]
    fn a_sentence_has_the_verdict_with_its_interval() -> Result<()> {
        let measured = vec![
            measured("slow", &[19.5, 20.1, 20.4, 19.9, 20.6]),
            measured("fast", &[10.1, 9.9, 10.3, 10.2, 9.8]),
            measured("unclear", &[10.0, 14.0, 9.8, 13.0, 9.6]),
        ];
        let shapes: Vec<Shape> = vec!["8x8".parse()?, "9x9".parse()?];
        let later = later(&shapes, &judge(measured, 2));
        let text = template::on_terminal("said/shapes.md.j2", context! { later })?;
        let sentences: Vec<&str> = text.lines().collect();
        let [slow, fast, unclear] = &sentences[..] else {
            panic!("one sentence for each engine: {sentences:?}");
        };
        assert!(
            slow.starts_with("- slow on m: pass 1 at 9x9 takes 2.01× (1."),
            "{slow}"
        );
        assert!(
            slow.ends_with("its steady time: it warms up again."),
            "{slow}"
        );
        assert!(
            fast.starts_with("- fast on m: pass 1 at 9x9 takes 1.01× (0."),
            "{fast}"
        );
        assert!(
            fast.ends_with("its steady time: it does not warm up again."),
            "{fast}"
        );
        let open =
            "- unclear on m: whether it warms up again at 9x9 is open: pass 1 takes between 0.";
        assert!(unclear.starts_with(open), "{unclear}");
        assert!(unclear.contains("more process"), "{unclear}");
        Ok(())
    }
}
