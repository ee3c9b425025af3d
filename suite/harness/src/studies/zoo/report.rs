//! Other models, as a page of its own: first passes against the steady state of each engine.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_statistics::bootstrap::Estimate;
use minijinja::{Value, context};

use crate::{
    page::{
        markdown::image,
        numbers::{self, list, milliseconds, times},
        table::Table,
        template::{self, markdown},
        write_file,
    },
    studies::{
        first_passes::{
            judge::{first_pass::FirstPass, latency::Latency},
            words::{brief, outlook, ratio, with_verdict},
        },
        zoo::{
            MissingFile, Zoo,
            judge::{Answer, Others, Row, Timed, Titled, Verdicts, answers, judge, lone_faces},
            plot,
        },
    },
};

/// The question that the page answers.
pub(crate) const TITLE: &str = "Do other models do it?";

/// The page, beside the report.
pub(crate) const PAGE: &str = "zoo.md";

/// The words of an engine that fails are cut after this many characters.
const WORDS: usize = 50;

const PLOT: &str = "plots/zoo.svg";

/// What was not measured.
const NONE: &str = "–";

const TIMES: [&str; 5] = [
    "pass 1",
    "pass 2",
    "steady",
    "pass 1 / steady",
    "pass 2 / steady",
];

const OUTPUTS: [&str; 3] = ["cold start, ms", "class", "outputs"];

/// The page and its plot, by path.
pub(crate) fn files(
    zoo: &Zoo,
    called: &dyn Fn(&str) -> String,
) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let rows = judge(zoo);
    let mut plot = None;
    if let Some(svg) = plot::draw(&rows)? {
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
        plot,
        summary => summary(&rows, called).page(),
        times => table(&TIMES, times_of, &rows, false).page(),
        outputs => table(&OUTPUTS, outputs_of, &rows, true).page(),
        nonsense => nonsense(&rows).into_iter().map(markdown).collect::<Vec<_>>(),
        faces => faces(&rows),
        sentences => sentences(&rows).into_iter().map(markdown).collect::<Vec<_>>(),
    };
    let text = template::render("detail/zoo.md.j2", context! { data })?;
    let answer = answer(zoo, called);
    let page = template::page(TITLE, [answer.as_str()], &text)?;
    files.insert(PAGE.into(), page.into_bytes());
    Ok(files)
}

/// An engine a row: on how many models an early pass is slow.
fn summary(rows: &[Row], called: &dyn Fn(&str) -> String) -> Table {
    let header = [
        "engine",
        "slow",
        "not slow",
        "open",
        "slowest pass 1",
        "slow, tuned",
    ];
    Table::new(header).rows(answers(rows).into_iter().map(|answer| {
        let Verdicts {
            slow,
            not_slow,
            open,
        } = &answer.first;
        let all = slow.iter().chain(not_slow).chain(open);
        let largest = all.max_by(|a, b| a.pass.ratio().total_cmp(&b.pass.ratio()));
        let tuned = &answer.tuned;
        [
            called(&answer.backend),
            slow.len().to_string(),
            not_slow.len().to_string(),
            open.len().to_string(),
            largest.map_or_else(|| NONE.into(), |one| times(one.pass.ratio())),
            match tuned.models() {
                0 => NONE.into(),
                all => format!("{} of {all}", tuned.slow.len()),
            },
        ]
    }))
}

/// On how many models the first pass of each engine is slow.
pub(crate) fn answer(zoo: &Zoo, called: &dyn Fn(&str) -> String) -> String {
    let rows = judge(zoo);
    let engines = answers(&rows).into_iter();
    let engines = engines.filter(|a| a.first.models() > 0).map(|answer| {
        format!(
            "{} on {} of {}",
            called(&answer.backend),
            answer.first.slow.len(),
            answer.first.models()
        )
    });
    let engines: Vec<String> = engines.collect();
    format!("Models whose first pass is slow: {}.", list(&engines))
}

/// For a terminal.
pub fn zoo_summary(zoo: &Zoo) -> String {
    let rows = judge(zoo);
    let sentences = sentences(&rows).join("\n").replace("**", "");
    let table = table(&TIMES, times_of, &rows, true).terminal();
    format!("{table}\n{sentences}")
}

/// Engines that did not start, and models that were not made.
fn not_there(zoo: &Zoo) -> Vec<String> {
    let engines = zoo.record.backends.iter().filter_map(|(name, record)| {
        let reason = record.unavailable.as_ref()?;
        Some(format!("{name} was not measured: {}", brief(reason)))
    });
    let models = zoo
        .made
        .missing
        .iter()
        .filter(|m| m.file == MissingFile::All)
        .map(|m| format!("{} could not be made: {}", m.model, brief(&m.reason)));
    engines.chain(models).collect()
}

/// A model and engine a row, by default and then tuned; `cells` are what is said of a row that was measured.
/// One that failed has its reason in the last cell, or is left out.
fn table<const N: usize>(
    header: &[&str; N],
    cells: fn(&Row, &Latency) -> [String; N],
    rows: &[Row],
    with_failed: bool,
) -> Table {
    let header: Vec<&str> = ["model", "engine"].iter().chain(header).copied().collect();
    let mut table = Table::new(header);
    for row in rows {
        let title = &row.model.description.title;
        let mut add = |engine: String, timed: &Timed| {
            let mut line = vec![title.clone(), engine];
            match timed {
                Timed::MeasuredModel(latency) => line.extend(cells(row, latency)),
                Timed::Failed(_) if !with_failed => return,
                Timed::Failed(reason) => {
                    line.extend(vec![NONE.to_owned(); N - 1]);
                    line.push(shortened(reason));
                }
            }
            table.row(line);
        };
        add(row.backend.into(), &row.default);
        // What fails by default fails tuned as well, and for the same reason.
        if let Some(tuned) = &row.tuned
            && (tuned.latency().is_some() || row.default.latency().is_some())
        {
            add(format!("{}, tuned", row.backend), tuned);
        }
    }
    table
}

/// The words of an engine, for a cell.
fn shortened(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    if line.chars().count() <= WORDS {
        return line.into();
    }
    line.chars().take(WORDS).chain(['…']).collect()
}

fn times_of(_: &Row, latency: &Latency) -> [String; 5] {
    [
        median(latency.pass.get(&1)),
        median(latency.pass.get(&2)),
        median(latency.steady.as_ref()),
        over_steady(latency.first_over_steady),
        latency
            .second_over_steady
            .as_ref()
            .map_or_else(|| NONE.into(), ratio),
    ]
}

fn median(estimate: Option<&Estimate>) -> String {
    estimate.map_or_else(|| NONE.into(), |e| milliseconds(e.median))
}

fn outputs_of(row: &Row, latency: &Latency) -> [String; 3] {
    [
        median(latency.cold_start.as_ref()),
        latency.class(),
        if latency.cell.is_default() {
            agreement(row)
        } else {
            NONE.into()
        },
    ]
}

fn over_steady(pass: Option<FirstPass>) -> String {
    pass.as_ref().map_or_else(|| "–".into(), with_verdict)
}

/// The outputs against the golden ones, the worst of them.
fn agreement(row: &Row) -> String {
    let Some(agreements) = &row.agreement else {
        return among_others(&row.others);
    };
    if agreements.iter().all(|a| a.bit_equal()) {
        return "the same bits".into();
    }
    let cosine = agreements.iter().map(|a| a.cosine).fold(1.0, f64::min);
    let cosine = format!("cosine {}", rounded_down(cosine));
    // Some outputs of a quantized model may have no steps.
    let steps = agreements.iter().map(|a| a.steps.as_ref().map(|s| s.max));
    match steps
        .collect::<Option<Vec<u64>>>()
        .and_then(|s| s.into_iter().max())
    {
        None => cosine,
        Some(0) => "the same integers".into(),
        Some(1) => format!("{cosine}, ≤ 1 step"),
        Some(most) => format!("{cosine}, ≤ {most} steps"),
    }
}

/// Of a model without golden outputs: who is right is not told.
fn among_others(others: &Others) -> String {
    match (&others.alike[..], &others.unlike[..]) {
        ([], []) => "–".into(),
        (alike, []) => format!("agree with {}", alike.join(", ")),
        ([], unlike) => format!("⚠ differ from {}", unlike.join(", ")),
        (alike, unlike) => format!(
            "⚠ differ from {}, agree with {}",
            unlike.join(", "),
            alike.join(", ")
        ),
    }
}

/// Detectors that find what no other finds, said before any table of faces.
fn nonsense(rows: &[Row]) -> Vec<String> {
    let lines = lone_faces(rows).into_iter().map(|one| {
        format!(
            "⚠ **{}** finds {} of {} on `{}`, where all other engines find {}: its outputs are wrong \
             there, or theirs are.",
            one.backend,
            numbers::counted(one.found, "face"),
            one.title,
            one.sample,
            one.others
        )
    });
    lines.collect()
}

/// Nearly 1 is not 1.
fn rounded_down(cosine: f64) -> String {
    format!("{:.5}", (cosine * 1e5).floor() / 1e5)
}

/// How many faces each engine finds on each photograph, of detectors without golden outputs.
fn faces(rows: &[Row]) -> Option<Value> {
    let rows: Vec<&Row> = rows.iter().filter(|row| !row.faces.is_empty()).collect();
    let mut samples: Vec<&str> = rows
        .iter()
        .flat_map(|row| row.faces.keys().map(String::as_str))
        .collect();
    samples.sort_unstable();
    samples.dedup();
    if samples.is_empty() {
        return None;
    }
    let mut header = vec!["model", "engine"];
    header.extend(&samples);
    let lines = rows.iter().map(|row| {
        let mut line = vec![row.model.description.title.clone(), row.backend.into()];
        line.extend(samples.iter().map(|sample| {
            let found = row.faces.get(*sample).map(Vec::len);
            found.map_or_else(|| "–".into(), |count| count.to_string())
        }));
        line
    });
    Some(Table::new(header).rows(lines).page())
}

/// One answer an engine.
fn sentences(rows: &[Row]) -> Vec<String> {
    answers(rows).iter().map(sentence).collect()
}

fn sentence(answer: &Answer) -> String {
    let Answer {
        backend,
        not_run,
        first,
        second,
        tuned,
    } = answer;
    let all = first.models();
    if all == 0 {
        return format!("**{backend}**: open, because it ran none of the models.");
    }
    let answer = match first.slow.len() {
        0 if first.open.is_empty() => "no",
        0 => "open",
        slow if slow == all => "yes, all of them",
        slow if 2 * slow > all => "yes, most of them",
        _ => "yes, some of them",
    };
    let mut text = format!(
        "**{backend}**: {answer}. Pass 1 is {}. Pass 2 is {}.",
        counted(first),
        counted(second)
    );
    if tuned.models() > 0 {
        text += &format!(
            " With the settings of `tuned.toml` pass 1 is {}.",
            counted(tuned)
        );
    }
    if *not_run > 0 {
        text += &format!(" It does not run {not_run} more.");
    }
    text
}

/// On how many models an early pass is slow, not slow or open, with what it takes in units of the steady time.
fn counted(verdicts: &Verdicts) -> String {
    let Verdicts {
        slow,
        not_slow,
        open,
    } = verdicts;
    let all = verdicts.models();
    let of_all = format!("of {all} model{}", if all == 1 { "" } else { "s" });
    let mut parts = vec![match &slow[..] {
        [] => format!("slow on none {of_all}"),
        slow => format!("slow on {} {of_all}, {}", slow.len(), extent(slow)),
    }];
    if let Some(greatest) = not_slow.last() {
        parts.push(format!(
            "not slow on {}, at most {} ({})",
            not_slow.len(),
            times(greatest.pass.ratio()),
            greatest.title
        ));
    }
    let highest = open.iter().map(|one| one.pass.interval().1);
    if let Some(highest) = highest.reduce(f64::max) {
        parts.push(format!(
            "open on {}, {}, with intervals up to {}; {}",
            open.len(),
            extent(open),
            times(highest),
            outlook(open.iter().map(|one| &one.pass.0))
        ));
    }
    parts.join("; ")
}

/// Of models in the order of their ratios.
fn extent(models: &[Titled]) -> String {
    let named = |one: &Titled| format!("{} ({})", times(one.pass.ratio()), one.title);
    let ratios = models.iter().map(|one| one.pass.ratio());
    match (models, firstpass_statistics::median(ratios)) {
        ([only], _) => named(only),
        ([least, .., greatest], Some(median)) => format!(
            "from {} to {}, {} in the median",
            named(least),
            named(greatest),
            times(median)
        ),
        _ => String::new(),
    }
}

/// Writes the page of other models into `folder`, with its plot; returns the page.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write(zoo: &Zoo, folder: &Path) -> Result<PathBuf> {
    for (path, bytes) in files(zoo, &str::to_owned)? {
        write_file(&folder.join(path), &bytes)?;
    }
    Ok(folder.join(PAGE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::zoo::judge::tests::{detectors, zoo};

    #[test]
    fn the_page_begins_with_the_answer_and_has_a_row_for_what_failed() -> Result<()> {
        let files = files(&zoo()?, &str::to_owned)?;
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
            "With the settings of `tuned.toml` pass 1 is slow on none of 1 model; not slow on 1";
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

    #[test]
    fn nonsense_is_said_to_be_nonsense() -> Result<()> {
        let zoo = zoo()?;
        let rows = detectors(&zoo, &[("p", 1), ("q", 1320), ("r", 1)])?;
        let said = nonsense(&rows).join("\n");
        assert!(
            said.contains("**q** finds 1320 faces of Model a on `crowd`"),
            "{said}"
        );
        assert_eq!(agreement(&rows[1]), "⚠ differ from p, r");
        assert_eq!(agreement(&rows[0]), "⚠ differ from q, agree with r");
        let alike = detectors(&zoo, &[("p", 1), ("q", 1)])?;
        assert_eq!(nonsense(&alike), Vec::<String>::new());
        assert_eq!(agreement(&alike[0]), "agree with q");
        Ok(())
    }

    #[test]
    fn nearly_the_same_is_not_the_same() {
        assert_eq!(rounded_down(0.999_999_9), "0.99999");
        assert_eq!(rounded_down(0.5), "0.50000");
    }
}
