//! The part of the report that says where the first passes spend their time.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_probe::{Format, Knobs, ProfiledOperator, file_name};
use firstpass_statistics::comparison::Comparison;
use firstpass_trial::model::{ModelDescription, Precision};
use minijinja::{Value, context};
use serde::Serialize;

use crate::{
    graph::Graph,
    page::{
        markdown::{self, image},
        numbers::{counted, list, milliseconds, setting as name, times_with_interval},
        table::Table,
        template,
    },
    studies::{
        explain::{
            Explain, Variant,
            judge::{Count, Estimate, Explanation, FIRST, Failure, Judged, Part, judge},
            plot::draw,
        },
        first_passes::{
            judge::first_pass::{FirstPass, FirstPassVerdict},
            words::{bounds, outlook, ratio, with_verdict},
        },
    },
};

/// Models whose summary the page shows before anything is unfolded.
const SHOWN: usize = 2;

/// How many kinds of operators are shown each by itself.
const KINDS: usize = 8;

/// How many layers are shown.
const LAYERS: usize = 5;

/// How many of those that are slower in a pass are named.
const NAMED_LAYERS: usize = 3;

/// A kind of operators with less of the excess is not named in what remains.
const LEAST_SHARE: f64 = 0.05;

/// The name of a layer is shortened to so many characters.
const LAYER: usize = 40;

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
    let mut sentences: BTreeMap<&str, String> = BTreeMap::new();
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
            let sentence = format!(
                "{} takes {} ms longer in pass 1 than later ({}), {:.0} % of that {place}.",
                called(&explanation.backend),
                milliseconds(explanation.excess(&explanation.whole, 1).mean),
                markdown::text(&short(model_title(described, model))),
                100.0 * share,
            );
            sentences.entry(&explanation.backend).or_insert(sentence);
        }
    }
    if sentences.is_empty() {
        return "No engine's first pass is slow beyond doubt while it is profiled.".into();
    }
    sentences.into_values().collect::<Vec<_>>().join(" ")
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
) -> Result<String> {
    let names = models(described, judged);
    let of_models = names.iter().enumerate().map(|(at, &name)| OfModel {
        title: model_title(described, name).into(),
        is_shown: at < SHOWN,
        summary: summary(
            judged.explanations.iter().filter(|e| e.model == name),
            called,
        )
        .page(),
        engines: judged
            .explanations
            .iter()
            .filter(|e| e.model == name)
            .map(|e| of_engine(described, e, files))
            .collect(),
    });
    let of_models: Vec<OfModel> = of_models.collect();
    let failures: Vec<String> = judged.failures.iter().map(failure).collect();
    let data = context! {
        models => of_models,
        failures => template::markdown(markdown::lines(&failures.join("\n"))),
        rounds => explain.run.settings.rounds,
        passes => explain.run.settings.passes,
        image => explain.run.image,
    };
    template::render("detail/why.md.j2", context! { data })
}

fn of_engine(
    described: &[ModelDescription],
    explanation: &Explanation,
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> OfEngine {
    let tables = tables(explanation).into_iter();
    let tables = tables.chain(throughput_of(described, explanation));
    let path = plot_path(explanation);
    let alt = || {
        format!(
            "where {} spends the first passes of {}",
            explanation.label(),
            model_title(described, &explanation.model)
        )
    };
    OfEngine {
        label: explanation.label(),
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
                    format!("{} ({:.0} %)", kind.unwrap_or("no operator"), 100.0 * share)
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
) -> Result<Vec<(PathBuf, String)>> {
    let mut plots = Vec::new();
    for explanation in &judged.explanations {
        let title = model_title(models, &explanation.model);
        if let Some(svg) = draw(title, explanation)? {
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
        text += &format!("\n{} on {}\n", explanation.label(), explanation.model);
        for table in tables(explanation) {
            text += &format!("{}\n", table.terminal());
        }
        if explanation.is_tuned() {
            text += &format!("{}\n", name(&explanation.knobs));
        }
        text += &format!("{}\n", sentence(explanation));
    }
    for failed in &judged.failures {
        text += &format!("\n{}\n", failure(failed));
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

/// What pass 1 takes beyond the steady state and where: the largest shares, and its page faults.
pub(crate) fn remains(explanation: &Explanation) -> String {
    let whole = &explanation.whole;
    let excess = explanation.excess(whole, 1);
    let over = excess.mean / whole.steady();
    let mut text = format!(
        "Pass 1 takes {} ms beyond the steady {} ms ({}{:.0} %)",
        with_interval(excess, milliseconds),
        milliseconds(whole.steady()),
        if over < 0.0 { "" } else { "+" },
        100.0 * over,
    );
    let kinds = explanation
        .kinds
        .iter()
        .map(|(kind, part)| (kind.as_str(), part));
    let outside = ("no operator", &explanation.outside);
    let mut shares: Vec<(&str, f64)> = kinds
        .chain([outside])
        .filter_map(|(kind, part)| Some((kind, explanation.share(part, 1)?)))
        .filter(|(_, share)| *share >= LEAST_SHARE)
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shares: Vec<String> = shares
        .iter()
        .map(|(kind, share)| format!("{kind} {:.0} %", 100.0 * share))
        .collect();
    if !shares.is_empty() {
        text += &format!("; the largest shares are {}", shares.join(", "));
    }
    if let Some(faults) = whole.excess_faults(1) {
        text += &format!("; it has {faults:.0} page faults more than a steady pass");
    }
    text + "."
}

/// Operators by kind; by layer only of the default, which has the most to tell.
fn tables(explanation: &Explanation) -> Vec<Table> {
    let mut tables = vec![kinds(explanation)];
    if !explanation.is_tuned() {
        tables.push(layers(explanation));
    }
    tables.extend(counts(explanation));
    tables
}

fn kinds(explanation: &Explanation) -> Table {
    let (shown, others) = explanation
        .kinds
        .split_at(explanation.kinds.len().min(KINDS));
    let others = Part::together(others.iter().map(|(_, part)| part));
    let kinds = shown.iter().map(|(kind, part)| (kind.as_str(), part));
    let others = others.iter().map(|part| ("*other operators*", part));
    let rest = [
        ("*outside all operators*", &explanation.outside),
        ("**whole pass**", &explanation.whole),
    ];
    let mut header = vec!["operators".to_owned()];
    header.extend(times_header());
    let parts = kinds.chain(others).chain(rest);
    Table::new(header)
        .rows(parts.map(|(name, part)| [vec![name.to_owned()], times(explanation, part)].concat()))
}

fn layers(explanation: &Explanation) -> Table {
    let header = [
        "layer",
        "operator",
        "pass 1",
        "pass 2",
        "steady",
        "excess of 1",
        "faults of 1",
    ];
    let shown = explanation.operators.iter().take(LAYERS);
    Table::new(header).rows(shown.map(|(operator, part)| {
        let mut row = vec![shortened(&operator.layer), shortened(&operator.kind)];
        row.extend([1, 2].map(|pass| milliseconds(part.time(pass))));
        row.extend([
            milliseconds(part.steady()),
            excess(explanation, part, 1),
            faults(part),
        ]);
        row
    }))
}

/// The page faults of pass 1.
fn faults(part: &Part) -> String {
    let faults = part.faults(1);
    faults.map_or_else(|| "–".into(), |faults| format!("{faults:.0}"))
}

/// How fast convolutions are in the steady state: the longest, and all together. `None` for a model
/// without an ONNX file, and where the engine names its layers otherwise than the file.
fn throughput_of(models: &[ModelDescription], explanation: &Explanation) -> Option<Table> {
    let mut models = models.iter();
    let model = models.find(|model| model.name == explanation.model)?;
    let file = model.artifact(Format::ONNX)?;
    let graph = Graph::read(&file.path, &file.inputs).ok()?;
    throughput(explanation, &graph.multiply_adds())
}

/// Of the multiplications with addition of each convolution, by its node.
fn throughput(explanation: &Explanation, work: &BTreeMap<&str, u64>) -> Option<Table> {
    if explanation.is_tuned() {
        return None;
    }
    let mut found: Vec<(&str, u64, &Part)> = Vec::new();
    for (&node, count) in work {
        let times = explanation.operators.iter().filter(|(operator, _)| {
            // An engine may add something to the name of a node, but not a whole word before it.
            operator.layer.split(['"', ' ']).any(|word| {
                word.strip_prefix(node)
                    .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
            })
        });
        // Where an engine has several operators for a node, the longest is the convolution.
        let longest = times.max_by(|a, b| a.1.steady().total_cmp(&b.1.steady()));
        if let Some((_, part)) = longest.filter(|(_, part)| part.steady() > 0.0) {
            found.push((node, *count, part));
        }
    }
    if found.len() < work.len() {
        return None;
    }
    found.sort_by(|a, b| b.2.steady().total_cmp(&a.2.steady()));
    let row = |name: String, count: u64, steady: f64| {
        let per_s = count as f64 / steady * 1e3;
        vec![
            name,
            format!("{:.1}", count as f64 / 1e6),
            milliseconds(steady),
            format!("{:.1}", per_s / 1e9),
        ]
    };
    let all = found.iter().fold((0, 0.0), |(count, time), found| {
        (count + found.1, time + found.2.steady())
    });
    let shown = found.iter().take(LAYERS);
    let header = [
        "convolution, steady",
        "million multiply-adds",
        "ms",
        "billions a second",
    ];
    let mut table = Table::new(header)
        .rows(shown.map(|(name, count, part)| row(shortened(name), *count, part.steady())));
    table.row(row(format!("**all {}**", found.len()), all.0, all.1));
    Some(table)
}

fn times_header() -> Vec<String> {
    let mut header: Vec<String> = (1..=FIRST).map(|pass| format!("pass {pass}")).collect();
    let rest = ["steady", "excess of 1", "excess of 2", "faults of 1"];
    header.extend(rest.map(String::from));
    header
}

fn times(explanation: &Explanation, part: &Part) -> Vec<String> {
    let mut cells: Vec<String> = (1..=FIRST)
        .map(|pass| milliseconds(part.time(pass)))
        .collect();
    cells.push(milliseconds(part.steady()));
    cells.extend([1, 2].map(|pass| excess(explanation, part, pass)));
    cells.push(faults(part));
    cells
}

fn excess(explanation: &Explanation, part: &Part, pass: usize) -> String {
    let time = with_interval(explanation.excess(part, pass), milliseconds);
    match explanation.share(part, pass) {
        // What rounds to nothing has no sign.
        Some(share) if share.abs() < 0.005 => format!("{time}, 0 %"),
        Some(share) => format!("{time}, {:.0} %", 100.0 * share),
        None => time,
    }
}

/// `1.5 (-0.2 to 3.2)`: a figure may be negative, so that a dash would be ambiguous.
fn with_interval(estimate: Estimate, number: impl Fn(f64) -> String) -> String {
    match estimate.interval {
        Some((low, high)) => format!(
            "{} ({} to {})",
            number(estimate.mean),
            number(low),
            number(high)
        ),
        None => number(estimate.mean),
    }
}

/// What the engine tells about its state, where it tells anything.
fn counts(explanation: &Explanation) -> Option<Table> {
    let Count { after, .. } = explanation.counts.first()?;
    let mut header = vec![
        "as the engine counts".to_owned(),
        "before pass 1".to_owned(),
    ];
    header.extend((1..after.len()).map(|pass| format!("after pass {pass}")));
    header.push("after the last".into());
    let number = |value: Option<f64>| value.map_or_else(|| "–".into(), |n| format!("{n:.0}"));
    let rows = explanation.counts.iter().map(|count| {
        let mut row = vec![count.name.clone(), number(count.before)];
        row.extend(count.after.iter().map(|value| number(*value)));
        row
    });
    Some(Table::new(header).rows(rows))
}

/// Which passes are slow and where, how much of that is explained, and what the hooks cost.
fn sentence(explanation: &Explanation) -> String {
    sentences(explanation).join(" ")
}

/// The same, sentence by sentence.
fn sentences(explanation: &Explanation) -> Vec<String> {
    let mut sentences = Vec::new();
    for (pass, judged) in (1..).zip(&explanation.passes_over_steady) {
        if let Some(judged) = judged {
            sentences.push(slowness(pass, judged, explanation.explained[pass - 1]));
            sentences.extend(layers_said(pass, &explanation.slower_layers[pass - 1]));
        }
    }
    if let Some(cost) = explanation.fault_ms {
        let microseconds = |ms: f64| format!("{:.2}", 1000.0 * ms);
        sentences.push(format!(
            "In pass 1, each page fault more of an operator goes with {} µs more.",
            with_interval(cost, microseconds)
        ));
    }
    let ratio = |comparison: Option<Comparison>| {
        comparison.map_or_else(
            || "an unknown multiple".to_owned(),
            |c| times_with_interval(c.ratio, c.interval),
        )
    };
    sentences.push(format!(
        "Profiling makes pass 1 {} as long, and a steady pass {}.",
        ratio(explanation.profiler.first),
        ratio(explanation.profiler.steady),
    ));
    sentences.push(format!(
        "Measured in {} of {} by {}.",
        counted(explanation.processes, "process"),
        counted(explanation.passes, "pass"),
        explanation.source.trim_end_matches('.'),
    ));
    sentences
}

/// Whether a pass is slow.
fn slowness(pass: usize, judged: &FirstPass, explained: Option<Estimate>) -> String {
    match judged.verdict() {
        FirstPassVerdict::Slow => {
            let explained = explained.map_or_else(String::new, |share| {
                let percent = |share: f64| format!("{:.0}", 100.0 * share);
                format!(
                    "; {} % of its excess is explained",
                    with_interval(share, percent)
                )
            });
            format!(
                "Pass {pass} takes {} the steady time{explained}.",
                ratio(judged)
            )
        }
        FirstPassVerdict::NotSlow => {
            format!(
                "Pass {pass} is not slow: {} the steady time.",
                ratio(judged)
            )
        }
        FirstPassVerdict::Open => format!(
            "Whether pass {pass} is slow is open: it takes {} the steady time, and {}.",
            bounds(judged),
            outlook([&judged.0])
        ),
    }
}

/// The layers that are told to be slower in a pass, whatever the whole pass is.
fn layers_said(pass: usize, layers: &[(ProfiledOperator, Estimate)]) -> Option<String> {
    let named = layers.iter().take(NAMED_LAYERS).map(|(operator, excess)| {
        format!(
            "{} by {} ms",
            shortened(&operator.layer),
            with_interval(*excess, milliseconds)
        )
    });
    let mut named: Vec<String> = named.collect();
    match layers.len().saturating_sub(NAMED_LAYERS) {
        0 => {}
        more => named.push(format!("{more} more")),
    }
    (!named.is_empty()).then(|| format!("Slower in pass {pass} than later: {}.", list(&named)))
}

fn failure(failure: &Failure) -> String {
    let what = match failure.variant {
        Variant::Profiled => "not profiled",
        Variant::Plain => "not run without hooks",
    };
    let model = failure.model.as_deref();
    let on = model.map_or_else(String::new, |model| format!(" on {model}"));
    let with = if failure.knobs == Knobs::default() {
        String::new()
    } else {
        format!(" with `{}`", name(&failure.knobs))
    };
    format!(
        "- {}{on}{with} was {what}: {}",
        failure.backend, failure.reason
    )
}

/// The end of a long name tells layers apart.
fn shortened(name: &str) -> String {
    let length = name.chars().count();
    if length <= LAYER {
        return name.into();
    }
    let end: String = name.chars().skip(length + 1 - LAYER).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::explain::{
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
    fn what_is_open_of_a_pass_is_said_with_its_bounds() {
        let judged = judge(&explain(processes(|round| {
            let mut profile = profile(round);
            let longer = [0, 30, 2, 25, 4][round as usize] * 1_000_000;
            profile.passes[2].self_ns[0] += longer;
            profile.passes[2].span.wall_ns += longer;
            profile
        })));
        let text = sentence(&judged.explanations[0]);
        assert!(
            text.contains("Whether pass 3 is slow is open: it takes between "),
            "{text}"
        );
        assert!(text.contains("× the steady time, and "), "{text}");
    }

    #[test]
    fn the_section_has_tables_and_plots() -> Result<()> {
        let explain = explain(processes(profile));
        let judged = judge(&explain);
        let files = plots(&judged, &[])?;
        let path = Path::new("plots/explained-x-m.svg");
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].0, path);
        let files = files
            .into_iter()
            .map(|(path, svg)| (path, svg.into_bytes()));
        let with = section(&explain, &judged, &[], &files.collect(), &str::to_owned)?;
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

    #[test]
    fn the_kinds_beyond_the_largest_are_one_row() {
        let judged = judge(&explain(processes(|round| {
            let mut profile = profile(round);
            for number in 0..KINDS {
                let kind = format!("kind {number}");
                profile
                    .operators
                    .push(crate::studies::explain::tests::operator("a layer", &kind));
                for pass in &mut profile.passes {
                    pass.self_ns.push(1_000_000);
                }
            }
            profile
        })));
        let kinds = kinds(&judged.explanations[0]);
        let rows = kinds.cells();
        assert_eq!(rows.len(), KINDS + 3);
        assert_eq!(rows[KINDS][..2], ["*other operators*", "2.00"]);
        assert_eq!(layers(&judged.explanations[0]).cells().len(), LAYERS);
    }

    #[test]
    fn the_speed_of_convolutions_is_shown_where_all_are_named() {
        let judged = judge(&explain(processes(profile)));
        let work = BTreeMap::from([("first", 1_000_000_000)]);
        let table = throughput(&judged.explanations[0], &work).expect("all layers are named");
        assert_eq!(table.cells()[0], ["first", "1000.0", "20.0", "50.0"]);
        let unknown = BTreeMap::from([("another", 1)]);
        assert!(throughput(&judged.explanations[0], &unknown).is_none());
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("short"), "short");
        let long = format!("{}end", "x".repeat(100));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), LAYER);
        assert!(short.starts_with('…') && short.ends_with("end"));
    }
}
