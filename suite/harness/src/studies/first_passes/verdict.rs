//! The verdict in plain words: who agrees, how slow the first passes are, who is fastest.

use firstpass_statistics::{
    comparison::{Comparison, Verdict},
    joint::CellClass,
    median,
    steady::Class,
};
use firstpass_trial::{expectation::ExpectationVerdict, model::ModelDescription, outputs::Outputs};

use crate::{
    page::{
        markdown,
        numbers::{counted, milliseconds, times},
    },
    studies::first_passes::{
        analysis::{Analysis, Row},
        extent::{exact as exact_share, extent},
        judge::{
            comparisons::Comparisons,
            first_pass::{FirstPass, FirstPassVerdict},
            latency::{Figure, Latency},
        },
        reference::Kind,
        words,
    },
};

/// Who agrees: the title of each model, and sentences of markdown.
pub(crate) fn of_agreement(analysis: &Analysis) -> Vec<(String, Vec<String>)> {
    by_model(analysis, |model| {
        let reference = analysis.reference(model);
        let reference = markdown::text(reference.as_deref().unwrap_or("each other"));
        agreement(
            &reference,
            analysis.rows(model),
            says_little(analysis, model),
        )
    })
}

/// Whose first passes are slow and who is fastest: the title of each model, and sentences of markdown.
pub(crate) fn of_time(analysis: &Analysis) -> Vec<(String, Vec<String>)> {
    by_model(analysis, |model| {
        let rows = analysis.rows(model);
        let mut sentences = first_passes(rows);
        sentences.extend(unsteady(rows));
        sentences.extend(fastest(&analysis.comparisons, rows));
        sentences
    })
}

fn by_model(
    analysis: &Analysis,
    sentences: impl Fn(&ModelDescription) -> Vec<String>,
) -> Vec<(String, Vec<String>)> {
    let of_model = |model: &ModelDescription| {
        let sentences = sentences(model);
        (!sentences.is_empty()).then(|| (model.title.clone(), sentences))
    };
    analysis.models().iter().filter_map(of_model).collect()
}

/// What was seen to hold, and no more than that; `None` where anything was found wrong.
pub(crate) fn what_holds(analysis: &Analysis) -> Option<String> {
    if !analysis.findings().is_empty() {
        return None;
    }
    // Whose engine declares that it refuses the model: that is a row too, and no outputs.
    let all = analysis.rows.values().flatten();
    let (rows, refused): (Vec<&Row>, Vec<&Row>) = all.partition(|row| row.outputs.is_some());
    let is_declared = |row: &&Row| matches!(row.verdict, Some(ExpectationVerdict::Declared { .. }));
    let is_golden = |model: &ModelDescription| {
        let reference = analysis.references.get(&model.name);
        reference.is_some_and(|reference| matches!(reference.kind, Kind::Golden(_)))
    };
    let all_golden = analysis.models().iter().all(is_golden);
    let is_judged = rows.iter().all(|row| row.verdict.is_some());
    let same_bits = "the same input gave the same bits in every pass of every process";
    let gave = match (rows.len(), refused.len()) {
        (1, 0) => "its one row gave outputs".to_owned(),
        (all, 0) => format!("all {all} rows gave outputs"),
        (some, refused) => format!(
            "{some} of {} rows gave outputs, the others refuse the model as is declared",
            some + refused
        ),
    };
    if analysis.record.run.duration_s.is_none() {
        return Some(format!(
            "The run was interrupted. As far as it came, {gave}, and {same_bits}."
        ));
    }
    if all_golden && is_judged {
        let last = if rows.iter().any(is_declared) {
            "whatever differs is declared with its cause"
        } else {
            "all outputs are the golden ones"
        };
        return Some(format!(
            "Everything is as expected: {gave}, {same_bits}, and {last}."
        ));
    }
    let agreed = if is_judged {
        "nothing that was compared differs"
    } else {
        "not everything had something to be compared with"
    };
    Some(format!(
        "Nothing was seen to be wrong: {gave}, {same_bits}, and {agreed}."
    ))
}

/// What stands in for golden outputs, and what the referee says where it gives none.
pub(crate) fn compared_with(analysis: &Analysis, model: &ModelDescription) -> Option<String> {
    let reference = analysis.references.get(&model.name)?;
    if analysis.rows(model).iter().all(|row| row.outputs.is_none()) {
        return None;
    }
    let mut text = reference.explanation()?;
    let inputs = analysis.samples().len();
    let compared = reference.outputs.as_ref().map_or(inputs, Outputs::len);
    if compared < inputs {
        text += &format!(
            " That is so for {compared} of {inputs} inputs; for more give a longer `--budget`."
        );
    }
    if let Some((name, outcome)) = analysis.refusal(&model.name) {
        text += &format!(
            " The referee ({name}) gives no outputs: {}.",
            words::brief(&outcome.to_string())
        );
    }
    Some(text)
}

/// Whether outputs are the same whatever the input, so that engines may agree on them for nothing.
fn says_little(analysis: &Analysis, model: &ModelDescription) -> bool {
    let facts = analysis.of_models.get(&model.name);
    facts.is_some_and(|facts| facts.says_little)
}

fn agreement(reference: &str, rows: &[Row], says_little: bool) -> Vec<String> {
    let labels = |wanted: &dyn Fn(&ExpectationVerdict) -> bool| -> Vec<&str> {
        rows.iter()
            .filter(|r| r.verdict.as_ref().is_some_and(wanted))
            .map(|r| r.label.as_str())
            .collect()
    };
    let mut sentences = Vec::new();
    if says_little {
        sentences.push("⚠ No output depends on the input, so that agreement says little.".into());
    }
    let alike = labels(&|v| matches!(v, ExpectationVerdict::Undecided(how) if how.is_empty()));
    if alike.len() > 1 && alike.len() == rows.iter().filter(|r| r.outputs.is_some()).count() {
        sentences.push(format!("{} agree with each other.", words::list(&alike)));
    }
    let exact = labels(&|v| *v == ExpectationVerdict::Exact);
    if !exact.is_empty() {
        let verb = if exact.len() == 1 { "gives" } else { "give" };
        sentences.push(format!(
            "{} {verb} exactly the integers of {reference}.",
            words::list(&exact)
        ));
    }
    let rounded = labels(&|v| *v == ExpectationVerdict::FloatRounding);
    if !rounded.is_empty() {
        let verb = if rounded.len() == 1 {
            "agrees"
        } else {
            "agree"
        };
        sentences.push(format!(
            "{} {verb} with {reference} up to the rounding of f32.",
            words::list(&rounded)
        ));
    }
    for row in rows {
        match &row.verdict {
            Some(ExpectationVerdict::Declared { name, .. }) => {
                let far = row.agreement.as_deref().and_then(extent);
                let far = far.map_or_else(String::new, |far| format!(" by {far}"));
                let exact = exact_share(row).map_or_else(String::new, |share| {
                    format!(" ({share} of the values exact)")
                });
                sentences.push(format!(
                    "{} differs{far}{exact}, as declared: {name}.",
                    row.label
                ));
            }
            Some(verdict @ ExpectationVerdict::Differs(_)) => {
                let verdict = markdown::text(&verdict.to_string());
                let mut text = format!("⚠ {} {verdict}", row.label);
                if row.agrees_unoptimized {
                    text += "; its optimizations do this, because without them it agrees";
                }
                sentences.push(text + ".");
            }
            Some(ExpectationVerdict::Undecided(how)) if !how.is_empty() => {
                let how = markdown::text(&how.join(", and "));
                sentences.push(format!("⚠ {} {how}.", row.label));
            }
            Some(ExpectationVerdict::Unexpected(_)) => {
                sentences.push(format!("⚠ {} is **not as expected**.", row.label));
            }
            _ => {}
        }
    }
    let faces = |same: bool| -> Vec<&Row> {
        let of = rows.iter().filter(|r| r.golden_faces.is_some());
        of.filter(|r| {
            r.golden_faces
                .as_ref()
                .is_some_and(|f| f.same_faces() == same)
        })
        .collect()
    };
    if !faces(true).is_empty() && faces(false).is_empty() {
        sentences.push(format!("All find the same faces as {reference}."));
    }
    for row in faces(false) {
        if let Some(found) = &row.golden_faces {
            sentences.push(other_faces(
                &row.label,
                reference,
                [found.matched, found.missed, found.extra],
            ));
        }
    }
    sentences
}

/// Which faces an engine finds: those of the reference (`matched`), all but some (`missed`), and others (`extra`).
fn other_faces(label: &str, reference: &str, [matched, missed, extra]: [usize; 3]) -> String {
    let all = counted(matched + missed, "face");
    let more = match extra {
        0 => String::new(),
        extra => format!(" and {extra} more"),
    };
    match missed {
        0 => format!("{label} finds {reference}'s {all}{more}."),
        missed => {
            format!("{label} misses {missed} of {reference}'s {all}, and finds {matched}{more}.")
        }
    }
}

/// Whose first pass is slow, whose is not, and of whom it cannot be told yet; with the fewest threads.
fn first_passes(rows: &[Row]) -> Vec<String> {
    let mut judged: Vec<(&str, FirstPass)> = rows
        .iter()
        .filter_map(|row| {
            let (_, latency) = row.latency.first_key_value()?;
            Some((row.label.as_str(), latency.first_over_steady?))
        })
        .collect();
    judged.sort_by(|a, b| b.1.ratio().total_cmp(&a.1.ratio()));
    let with =
        |verdict: FirstPassVerdict| judged.iter().filter(move |(_, f)| f.verdict() == verdict);
    let slow: Vec<String> = with(FirstPassVerdict::Slow)
        .map(|(label, first)| format!("{label} {}", words::ratio(first)))
        .collect();
    let not_slow: Vec<&str> = with(FirstPassVerdict::NotSlow)
        .map(|(label, _)| *label)
        .collect();
    let mut sentences = Vec::new();
    if !slow.is_empty() {
        let slow: Vec<&str> = slow.iter().map(String::as_str).collect();
        sentences.push(format!(
            "Pass 1 is slow, in units of the steady time: {}.",
            words::list(&slow)
        ));
    }
    if !not_slow.is_empty() {
        sentences.push(format!("Pass 1 is not slow on {}.", words::list(&not_slow)));
    }
    for (label, first) in with(FirstPassVerdict::Open) {
        sentences.push(format!(
            "Whether pass 1 of {label} is slow is open: it takes {} the steady time; {}.",
            words::bounds(first),
            words::outlook([&first.0])
        ));
    }
    sentences
}

/// Which cells have no steady state, or processes that provably differ.
fn unsteady(rows: &[Row]) -> Vec<String> {
    let mut sentences = Vec::new();
    for row in rows {
        for (threads, latency) in &row.latency {
            let Some(joint) = &latency.joint else {
                continue;
            };
            let (label, threads) = (&row.label, counted(*threads, "thread"));
            match &joint.class {
                CellClass::Mixed(groups) => {
                    let in_groups: usize = groups.iter().map(|(_, n)| n).sum();
                    let mut groups: Vec<String> = groups
                        .iter()
                        .map(|(class, n)| format!("{n} {class}"))
                        .collect();
                    match joint.processes.saturating_sub(in_groups) {
                        0 => {}
                        rest => groups.push(format!("{rest} that may be either")),
                    }
                    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                    sentences.push(format!(
                        "The processes of {label} with {threads} provably differ: {}.",
                        words::list(&groups)
                    ));
                }
                CellClass::Of(Class::NoSteadyState) => {
                    sentences.push(format!("{label} reaches no steady state with {threads}."));
                }
                CellClass::Of(_) => {}
            }
            sentences.extend(words::perhaps_the_machine(joint));
        }
    }
    sentences
}

fn fastest(comparisons: &Comparisons, rows: &[Row]) -> Vec<String> {
    let mut threads: Vec<usize> = rows
        .iter()
        .flat_map(|r| r.latency.keys().copied())
        .collect();
    threads.sort_unstable();
    threads.dedup();
    let mut sentences = Vec::new();
    for n in threads {
        let figures = [
            ("to the first answer", Figure::ColdStart),
            ("in the steady state", Figure::Steady),
        ];
        let said = figures
            .into_iter()
            .filter_map(|(what, figure)| first_of(comparisons, rows, n, what, figure));
        sentences.extend(said.map(|said| format!("With {}, {said}", counted(n, "thread"))));
    }
    sentences
}

/// Who is first in a figure, and by how much; what is not known of that is said with its bounds.
fn first_of(
    comparisons: &Comparisons,
    rows: &[Row],
    threads: usize,
    what: &str,
    figure: Figure,
) -> Option<String> {
    let mut ranked: Vec<(&str, &Latency, f64)> = rows
        .iter()
        .filter_map(|r| {
            let latency = r.latency.get(&threads)?;
            let time = median(latency.by_round(figure).into_values())?;
            Some((r.label.as_str(), latency, time))
        })
        .collect();
    ranked.sort_by(|a, b| a.2.total_cmp(&b.2));
    // Medians and ratios within rounds may disagree: nobody is called fastest who is claimed to be slower.
    let is_slower = |(_, latency, _): &(&str, &Latency, f64)| {
        ranked.iter().any(|(_, other, _)| {
            let compared = comparisons.get(&latency.cell, &other.cell, figure);
            compared.is_some_and(|c| c.verdict == Verdict::Slower)
        })
    };
    if let Some(place) = ranked.iter().position(|row| !is_slower(row)) {
        ranked[..=place].rotate_right(1);
    }
    let ((best, of_best, time), others) = ranked.split_first()?;
    let compared: Vec<(&str, f64, Comparison)> = others
        .iter()
        .filter_map(|(label, latency, time)| {
            let comparison = comparisons.get(&latency.cell, &of_best.cell, figure)?;
            Some((*label, *time, comparison))
        })
        .collect();
    let with = |verdict| {
        compared
            .iter()
            .filter(move |(_, _, c)| c.verdict == verdict)
    };
    let nearest = with(Verdict::Slower).min_by(|a, b| a.2.ratio.total_cmp(&b.2.ratio));
    let alike: Vec<String> = with(Verdict::NoDifference)
        .map(|(label, time, _)| format!("{label} ({} ms)", milliseconds(*time)))
        .collect();
    let open: Vec<String> = with(Verdict::Open)
        .map(|(label, time, c)| {
            format!(
                " {label} ({} ms) may be as fast: it takes between {} and {} of that time, and {}.",
                milliseconds(*time),
                times(c.interval.0),
                times(c.interval.1),
                words::outlook([c])
            )
        })
        .collect();
    let best = format!("{best} ({} ms)", milliseconds(*time));
    let mut text = if alike.is_empty() {
        let seems = if open.is_empty() { "is" } else { "seems" };
        format!("{best} {seems} fastest {what}")
    } else {
        let mut all = vec![best.as_str()];
        all.extend(alike.iter().map(String::as_str));
        format!(
            "{} are fastest {what}, with no difference of more than {:.0} % between them",
            words::list(&all),
            100.0 * figure.resolution()
        )
    };
    if let Some((label, _, c)) = nearest {
        text += &format!(
            ", {} faster than {label} ({} to {})",
            times(c.ratio),
            times(c.interval.0),
            times(c.interval.1)
        );
    }
    text.push('.');
    text.extend(open);
    (!compared.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::studies::first_passes::judge::latency::{
        summarise,
        tests::{observation, times},
    };

    #[test]
    fn faces_that_are_missed_or_found_beside_are_counted() {
        assert_eq!(
            other_faces("x", "PyTorch", [28, 0, 1]),
            "x finds PyTorch's 28 faces and 1 more."
        );
        assert_eq!(
            other_faces("x", "PyTorch", [27, 1, 0]),
            "x misses 1 of PyTorch's 28 faces, and finds 27."
        );
        assert_eq!(
            other_faces("x", "y", [0, 1, 2]),
            "x misses 1 of y's 1 face, and finds 0 and 2 more."
        );
    }

    /// Engines with the steady time of each of their rounds; `None` where a round has none of the engine.
    fn latencies(engines: &[(&str, &[Option<f64>])]) -> Vec<Latency> {
        let mut observations = Vec::new();
        for (backend, levels) in engines {
            for (round, level) in levels.iter().enumerate() {
                let Some(level) = level else { continue };
                let mut process = observation(round, &times(&[*level], *level));
                process.cell.backend = (*backend).to_owned();
                observations.push(process);
            }
        }
        summarise(&observations)
    }

    fn fastest_of(engines: &[(&str, &[Option<f64>])]) -> Option<String> {
        let latencies = latencies(engines);
        let rows: Vec<Row> = latencies
            .iter()
            .map(|latency| Row {
                latency: BTreeMap::from([(1, latency.clone())]),
                ..Row::without_outputs(latency.cell.clone())
            })
            .collect();
        let comparisons = Comparisons::of_run(&latencies);
        first_of(
            &comparisons,
            &rows,
            1,
            "in the steady state",
            Figure::Steady,
        )
    }

    #[test]
    fn who_is_fastest_is_named_with_what_the_next_takes() {
        let said = fastest_of(&[("a", &[Some(20.0); 6]), ("b", &[Some(10.0); 6])]);
        let said = said.unwrap_or_default();
        assert!(
            said.starts_with("b (10.00 ms) is fastest in the steady state"),
            "{said}"
        );
        assert!(said.contains("2.00× faster than a"), "{said}");
        let alike = fastest_of(&[("a", &[Some(10.0); 12]), ("b", &[Some(10.0); 12])]);
        let alike = alike.unwrap_or_default();
        assert!(
            alike.contains("are fastest") && alike.contains("no difference"),
            "{alike}"
        );
        assert_eq!(fastest_of(&[("a", &[Some(10.0); 6])]), None, "one alone");
    }

    /// An engine that was measured in quiet rounds only has the smallest median, and is slower within each of
    /// them.
    #[test]
    fn nobody_is_called_fastest_who_is_slower_within_rounds() {
        let quiet: [Option<f64>; 12] = [11.0; 12].map(Some);
        let all: Vec<Option<f64>> = (0..30)
            .map(|round| Some(if round < 12 { 10.0 } else { 20.0 }))
            .collect();
        let said = fastest_of(&[("a", &quiet), ("b", &all)]).unwrap_or_default();
        let medians = latencies(&[("a", &quiet), ("b", &all)]);
        let of = |at: usize| median(medians[at].by_round(Figure::Steady).into_values());
        assert!(of(0) < of(1), "the median of a is the smaller one");
        assert!(said.starts_with("b ("), "{said}");
    }
}
