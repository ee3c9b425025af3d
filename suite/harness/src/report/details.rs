//! The pages behind the first one that every record has: about time, outputs, and trust.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use firstpass_probe::{ErrorKind, Format};
use firstpass_statistics::{Spread, bootstrap::Estimate};
use firstpass_trial::{
    agreement::{Agreement, HISTOGRAM, against_known_faces, compare, pairs},
    expectation::{ExpectationVerdict, FLOAT_MAX_ABSOLUTE, FLOAT_MAX_RELATIVE, share_of_scale},
    model::{ModelDescription, Precision},
    observation::Outcome,
    repeatability::Repeatability,
    workspace::Workspace,
};

use crate::{
    page::{
        markdown::{self, image},
        numbers::{milliseconds, percent_rounded_down, times},
        table::Table,
    },
    record::RunSettings,
    report::picture_path,
    studies::first_passes::{
        analysis::{Analysis, Row, label},
        picture::pictured_model,
        plots::{Plot, plot},
        report as latency,
        untimed::{Untimed, untimed},
        verdict,
        words::brief,
    },
};

/// The details about time.
pub(crate) fn first_passes(analysis: &Analysis, files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut sections = Vec::from_iter(latency::disturbed(analysis));
    sections.extend(verdict::of_time(analysis));
    for model in analysis.models() {
        sections.push(model_summary(analysis, model, files));
    }
    sections.extend(latency::sections(analysis, files));
    sections.join("\n\n")
}

/// The details about outputs.
pub(crate) fn agreement(analysis: &Analysis, files: &BTreeMap<PathBuf, Vec<u8>>) -> String {
    let mut sections = verdict::of_agreement(analysis);
    sections.push(agreement_section(analysis));
    sections.extend(detection_section(analysis, files));
    sections.push(repeatability_section(analysis));
    sections.push(arithmetic_section(analysis));
    sections.join("\n\n")
}

/// The details about noise, what failed, and where the figures come from.
/// Also the answer to whether they can be trusted.
pub(crate) fn trust(workspace: &Workspace, analysis: &Analysis) -> (String, String) {
    let mut sections = Vec::from_iter(findings_section(analysis));
    sections.extend(incident_section(analysis));
    let (answer, of_noise) = latency::trust(analysis);
    sections.extend(of_noise);
    sections.push(provenance_section(workspace, analysis));
    (answer, sections.join("\n\n"))
}
/// One row for each engine and number of threads.
pub(crate) fn summary_table(analysis: &Analysis, model: &ModelDescription) -> Table {
    Table::new(summary_header(analysis, model)).rows(summary_rows(analysis, model))
}

fn summary_header(analysis: &Analysis, model: &ModelDescription) -> Vec<String> {
    let against = match analysis.reference(model) {
        Some(reference) => format!("against {reference}"),
        None => "against each other".into(),
    };
    let mut header = vec!["engine", "multiplications", &against];
    header.extend(task(model));
    header.extend([
        "threads",
        "class",
        "pass 1, ms",
        "pass 2, ms",
        "steady, ms",
        "pass 1 / steady",
        "cold start, ms",
    ]);
    header.into_iter().map(String::from).collect()
}

/// What a model is for decides what is compared besides its outputs.
fn task(model: &ModelDescription) -> Option<&'static str> {
    match (&model.detection, &model.classification) {
        (Some(_), _) => Some("same faces"),
        (None, Some(_)) => Some("same class"),
        (None, None) => None,
    }
}

fn task_cell(row: &Row) -> String {
    if let Some(faces) = &row.golden_faces {
        return if faces.same_faces() {
            format!("yes, {}", faces.matched)
        } else {
            format!("{} missed, {} extra", faces.missed, faces.extra)
        };
    }
    match &row.golden_classes {
        Some(classes) => format!(
            "{} of {}, and the best few of {}",
            classes.same_best, classes.classifications, classes.same_top
        ),
        None => "–".into(),
    }
}

/// One line for each engine and number of threads.
fn summary_rows(analysis: &Analysis, model: &ModelDescription) -> Vec<Vec<String>> {
    let facts = analysis.of_models.get(&model.name);
    let says_little = facts.is_some_and(|facts| facts.says_little);
    let mut lines = Vec::new();
    for row in analysis.rows(model) {
        let mut head = vec![
            row.label.clone(),
            arithmetic_cell(row),
            verdict_cell(row, says_little).unwrap_or_else(|| "–".into()),
        ];
        head.extend(task(model).map(|_| task_cell(row)));
        let untimed = untimed(analysis, row);
        for untimed in untimed
            .iter()
            .filter(|untimed| !row.latency.contains_key(&untimed.threads))
        {
            lines.push([head.clone(), first_look(untimed)].concat());
        }
        if row.latency.is_empty() && untimed.is_empty() {
            let mut line = head.clone();
            line.extend(["–"; 7].map(String::from));
            lines.push(line);
        }
        for (threads, latency) in row.timed() {
            let time = |estimate: Option<&Estimate>| {
                estimate.map_or_else(|| "–".into(), |e| milliseconds(e.median))
            };
            let mut line = head.clone();
            line[0] = row.label_of(latency);
            if !latency.cell.is_default() {
                line[2] = match row.tuned_same_bits {
                    Some(true) => "same bits as by default".into(),
                    Some(false) => "⚠ other bits than by default".into(),
                    None => "–".into(),
                };
                if let Some(cell) = line.get_mut(3) {
                    *cell = "–".into();
                }
            }
            line.extend([
                threads.to_string(),
                latency.class(),
                time(latency.pass.get(&1)),
                time(latency.pass.get(&2)),
                time(latency.steady.as_ref()),
                latency
                    .first_over_steady
                    .as_ref()
                    .map_or_else(|| "–".into(), |first| times(first.ratio())),
                time(latency.cold_start.as_ref()),
            ]);
            lines.push(line);
        }
    }
    lines
}

/// What is known of an engine's speed that was not timed, from the number of threads on; with what to give.
fn first_look(untimed: &Untimed) -> Vec<String> {
    let about = |time: Option<f64>| {
        time.map_or_else(|| "–".into(), |ms| format!("about {}", milliseconds(ms)))
    };
    let look = untimed.look;
    vec![
        untimed.threads.to_string(),
        format!("budget too short: {}", untimed.remedy()),
        about(look.first_pass),
        about(look.second_pass),
        "–".into(),
        "–".into(),
        about(look.cold_start),
    ]
}

fn verdict_cell(row: &Row, says_little: bool) -> Option<String> {
    if !row.not_finite.is_empty() {
        return Some("⚠ NaN or infinite".into());
    }
    let verdict = row.verdict.as_ref()?;
    if verdict.is_difference() {
        let extent = row.agreement.as_deref().and_then(extent);
        return Some(match (verdict, extent) {
            (ExpectationVerdict::Undecided(_), _) => "⚠ differ".into(),
            (_, Some(extent)) => format!("⚠ differs by {extent}"),
            (_, None) => "⚠ differs".into(),
        });
    }
    Some(if says_little {
        "⚠ agrees, as on any input".into()
    } else {
        verdict.to_string()
    })
}

/// How far the outputs are off that are off the most; `None` where that is no number.
fn extent(agreements: &[Agreement]) -> Option<String> {
    if agreements.iter().any(|a| a.other_shape + a.not_finite > 0) {
        return None;
    }
    // The faults of others than outputs, such as faces, have no extent.
    if agreements.iter().all(Agreement::bit_equal) {
        return None;
    }
    let steps = agreements.iter().map(|a| Some(a.steps.as_ref()?.max));
    match steps.collect::<Option<Vec<u64>>>() {
        Some(steps) => match steps.into_iter().max()? {
            0 => None,
            1 => Some("1 step".into()),
            most => Some(format!("up to {most} steps")),
        },
        None => {
            let relative = agreements.iter().map(|a| a.max_relative);
            let most = share_of_scale(relative.fold(0.0, f64::max));
            Some(format!("up to {most} of its scale"))
        }
    }
}

fn arithmetic_cell(row: &Row) -> String {
    match &row.arithmetic {
        Some(Ok(ran)) => match (ran.integer, ran.float) {
            (integer, 0) => format!("{integer} int8"),
            (0, float) => format!("{float} float"),
            (integer, float) => format!("{integer} int8, {float} float"),
        },
        Some(Err(_)) | None => "not stated".into(),
    }
}

fn model_summary(
    analysis: &Analysis,
    model: &ModelDescription,
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> String {
    let mut parts = vec![
        format!("### {}", markdown::text(&model.title)),
        markdown::lines(&model.description),
        summary_table(analysis, model).markdown(),
    ];
    parts.extend(without_file(analysis, model));
    parts.extend(without_tuned(analysis, model));
    parts.extend(plot(Plot::FirstPasses, model, files));
    parts.join("\n\n")
}

/// The engines that have no row because the model has no file that they read.
fn without_file(analysis: &Analysis, model: &ModelDescription) -> Option<String> {
    let lines: Vec<String> = analysis
        .record
        .backends
        .iter()
        .filter_map(|(name, backend)| {
            let formats = &backend.description.as_ref()?.formats;
            let reads = |format: &Format| model.artifacts.contains_key(format);
            if formats.iter().any(reads) {
                return None;
            }
            let keys: Vec<&str> = formats.iter().map(|format| format.key()).collect();
            Some(format!("{name} reads {}", keys.join(" or ")))
        })
        .collect();
    (!lines.is_empty()).then(|| {
        format!(
            "No row, because the model has no file of that format: {}.",
            lines.join("; ")
        )
    })
}

/// The rows that have no tuned figures because the engine does not run with these settings.
fn without_tuned(analysis: &Analysis, model: &ModelDescription) -> Option<String> {
    let of_model = analysis
        .without_tuned()
        .filter(|o| o.cell.model == model.name);
    let reasons: BTreeMap<String, String> = of_model
        .map(|o| {
            let cell = &o.cell;
            let label = label(&cell.backend, &cell.model, cell.format, analysis);
            (label, brief(&o.process.outcome.to_string()))
        })
        .collect();
    let lines = reasons.into_iter();
    let lines = lines.map(|(label, outcome)| format!("- {label}: {}", markdown::text(&outcome)));
    let lines: Vec<String> = lines.collect();
    (!lines.is_empty()).then(|| {
        format!(
            "With the settings that `tuned.toml` recommends these do not run:\n\n{}",
            lines.join("\n")
        )
    })
}

fn agreement_section(analysis: &Analysis) -> String {
    let mut parts = vec![
        "## Agreement".to_owned(),
        format!(
            "Raw outputs over all inputs, against the golden outputs (of the fixtures: PyTorch's own run of \
             the same model, eager, one thread) or what stands in for them. A *step* is one quantization \
             step of the tensor that was dequantized into the output, before its sigmoid if it has one, \
             and 1 for integers; SQNR is the signal to quantization noise ratio. The relative error of a \
             value is its difference over the largest of: the value, as one or the other has it, and the \
             root mean square of the output. Floats agree up to rounding where no value is off by more \
             than {FLOAT_MAX_RELATIVE:.0e} of that, to which the rounding of f32 adds up over some 60 \
             layers, or than {FLOAT_MAX_ABSOLUTE:.1e} at all."
        ),
    ];
    for model in analysis.models() {
        let rows = analysis.rows(model);
        parts.push(format!("### {}", markdown::text(&model.title)));
        let int8 = model.precision == Precision::Int8;
        let mut header = vec!["engine", "output", "same bits"];
        header.extend(if int8 {
            ["0 steps", "≤ 1 step", "max steps"]
        } else {
            ["max abs. error", "max rel. error", ""]
        });
        header.retain(|h| !h.is_empty());
        header.extend(["SQNR, dB", "cosine", "verdict"]);
        let golden = rows
            .iter()
            .flat_map(|row| row.agreement.iter().flatten().map(move |a| (row, a)));
        let lines: Vec<Vec<String>> = golden
            .map(|(row, a)| {
                let mut line = vec![
                    row.label.clone(),
                    a.output.clone(),
                    share(a.same_bits, a.values),
                ];
                line.extend(error_cells(a, int8));
                line.extend([
                    if a.sqnr_db.is_finite() {
                        format!("{:.1}", a.sqnr_db)
                    } else {
                        "∞".into()
                    },
                    format!("{:.6}", a.cosine),
                    verdict_cell(row, false).unwrap_or_default(),
                ]);
                line
            })
            .collect();
        if lines.is_empty() {
            parts.push("There is nothing to compare the outputs with.".into());
        } else {
            parts.push(Table::new(header).rows(lines).markdown());
        }
        parts.extend(histogram(rows));
        parts.extend(pairwise(model, rows));
        parts.extend(reasons(rows));
    }
    parts.join("\n\n")
}

fn error_cells(a: &Agreement, int8: bool) -> Vec<String> {
    match (&a.steps, int8) {
        (Some(steps), _) => vec![
            percent_rounded_down(steps.share_within(0)),
            percent_rounded_down(steps.share_within(1)),
            steps.max.to_string(),
        ],
        // An integer model whose outputs are computed from several quantized tensors, or in floats.
        (None, true) => vec![
            "–".into(),
            "–".into(),
            format!("{:.0e} rel.", a.max_relative),
        ],
        (None, false) => vec![
            format!("{:.1e}", a.max_abs),
            format!("{:.1e}", a.max_relative),
        ],
    }
}

/// How many values differ by how many steps, all outputs together.
fn histogram(rows: &[Row]) -> Option<String> {
    let lines: Vec<Vec<String>> = rows
        .iter()
        .filter_map(|row| {
            let steps: Vec<_> = row
                .agreement
                .iter()
                .flatten()
                .filter_map(|a| a.steps.as_ref())
                .collect();
            if steps.is_empty() || steps.iter().all(|s| s.max == 0) {
                return None;
            }
            let counts =
                (0..=HISTOGRAM).map(|n| steps.iter().map(|s| s.histogram[n]).sum::<usize>());
            let mut line = vec![row.label.clone()];
            line.extend(counts.map(|count| count.to_string()));
            Some(line)
        })
        .collect();
    if lines.is_empty() {
        return None;
    }
    let mut header = vec!["values that differ by … steps".to_owned()];
    header.extend((0..HISTOGRAM).map(|n| n.to_string()));
    header.push(format!("≥ {HISTOGRAM}"));
    Some(Table::new(header).rows(lines).markdown())
}

/// Each pair of engines, all outputs together.
fn pairwise(model: &ModelDescription, rows: &[Row]) -> Option<String> {
    let with_outputs: Vec<(&Row, _)> = rows
        .iter()
        .filter_map(|r| Some((r, r.outputs.as_ref()?)))
        .collect();
    if with_outputs.len() < 2 {
        return None;
    }
    let mut header = vec!["pair by pair".to_owned()];
    header.extend(
        with_outputs
            .iter()
            .skip(1)
            .map(|(row, _)| row.label.clone()),
    );
    let lines = with_outputs
        .iter()
        .enumerate()
        .take(with_outputs.len() - 1)
        .map(|(i, (a, x))| {
            let mut line = vec![a.label.clone()];
            for (j, (_, y)) in with_outputs.iter().enumerate().skip(1) {
                line.push(if j <= i {
                    String::new()
                } else {
                    pair_cell(&compare(model, &pairs(x, y)))
                });
            }
            line
        });
    Some(Table::new(header).rows(lines).markdown())
}

fn pair_cell(agreements: &[Agreement]) -> String {
    if agreements.iter().all(Agreement::bit_equal) {
        return "bit-equal".into();
    }
    let steps: Vec<_> = agreements.iter().filter_map(|a| a.steps.as_ref()).collect();
    let sqnr = agreements
        .iter()
        .map(|a| a.sqnr_db)
        .fold(f64::INFINITY, f64::min);
    let cosine = agreements.iter().map(|a| a.cosine).fold(1.0, f64::min);
    if steps.is_empty() {
        let relative = agreements
            .iter()
            .map(|a| a.max_relative)
            .fold(0.0, f64::max);
        return format!("{relative:.0e} rel., {sqnr:.0} dB, cos {cosine:.6}");
    }
    let max = steps.iter().map(|s| s.max).max().unwrap_or(0);
    if max == 0 {
        return "0 steps".into();
    }
    let exact: usize = steps.iter().map(|s| s.histogram[0]).sum();
    let all: usize = steps
        .iter()
        .map(|s| s.histogram.iter().sum::<usize>())
        .sum();
    format!(
        "≤ {max} steps, {} exact, {sqnr:.0} dB, cos {cosine:.4}",
        share(exact, all)
    )
}

/// The causes of the declared divergences, each once.
fn reasons(rows: &[Row]) -> Option<String> {
    let mut reasons: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in rows {
        if let Some(ExpectationVerdict::Declared { name, reason }) = &row.verdict {
            reasons.entry((name, reason)).or_default().push(&row.label);
        }
    }
    if reasons.is_empty() {
        return None;
    }
    let lines: Vec<String> = reasons
        .into_iter()
        .map(|((name, reason), labels)| {
            format!("- **{name}** ({}): {}", labels.join(", "), reason.trim())
        })
        .collect();
    Some(format!("Declared divergences:\n\n{}", lines.join("\n")))
}

fn detection_section(analysis: &Analysis, files: &BTreeMap<PathBuf, Vec<u8>>) -> Option<String> {
    let detectors: Vec<_> = analysis
        .models()
        .iter()
        .filter(|m| m.detection.is_some())
        .collect();
    if detectors.is_empty() {
        return None;
    }
    let mut parts = vec![
        "## Faces".to_owned(),
        "Found / missed / false against the known faces of each photograph (overlap of at least \
         0.5). *Noise* and *no-face* hold none."
            .into(),
    ];
    for model in &detectors {
        let mut header = vec!["engine".to_owned()];
        header.extend(analysis.samples().iter().map(|p| p.name.clone()));
        header.extend(
            [
                "worst overlap with the reference's boxes",
                "largest score difference",
            ]
            .map(String::from),
        );
        let lines = analysis.rows(model).iter().map(|row| {
            let mut line = vec![row.label.clone()];
            line.extend(analysis.samples().iter().map(|sample| {
                match (row.detections.get(&sample.name), &sample.faces) {
                    (None, _) => "–".into(),
                    (Some(detections), None) => format!("{} found", detections.len()),
                    (Some(detections), Some(known)) => {
                        let (hit, missed, extra) = against_known_faces(known, detections);
                        format!("{hit} / {missed} / {extra}")
                    }
                }
            }));
            let golden = row.golden_faces.as_ref();
            line.push(
                golden
                    .and_then(|g| g.least_iou)
                    .map_or_else(|| "–".into(), |iou| format!("{iou:.3}")),
            );
            line.push(
                golden.map_or_else(|| "–".into(), |g| format!("{:.3}", g.max_score_difference)),
            );
            line
        });
        parts.push(format!("### {}", markdown::text(&model.title)));
        parts.push(Table::new(header).rows(lines).markdown());
    }
    if let Some(model) = pictured_model(analysis) {
        parts.push(format!("Boxes of {}:", markdown::text(&model.title)));
        for sample in analysis.samples() {
            let path = picture_path(&sample.name);
            if files.contains_key(&path) {
                let mut caption = format!(
                    "**{}.** {}",
                    markdown::text(&sample.name),
                    sample.description
                );
                if !sample.source.is_empty() {
                    caption += &format!(" *{}*", sample.source);
                }
                parts.push(caption);
                parts.push(image(&path, &format!("faces found in {}", sample.name)));
            }
        }
    }
    Some(parts.join("\n\n"))
}

fn repeatability_section(analysis: &Analysis) -> String {
    let yes = |holds: bool| if holds { "equal" } else { "⚠ different" }.to_owned();
    let declared = |r: &Repeatability| {
        analysis
            .known
            .get(&r.backend)?
            .thread_dependent(&r.model, r.format)
    };
    let lines = analysis.repeatability.iter().map(|r| {
        let threads: Vec<String> = r.threads.iter().map(ToString::to_string).collect();
        vec![
            r.model.clone(),
            format!("{} ({})", r.backend, r.format.key()),
            r.differs_from_pass.map_or_else(
                || format!("equal in all {} passes", r.passes),
                |pass| format!("⚠ different from pass {pass} on"),
            ),
            format!("{} in {} processes", yes(r.processes_agree), r.processes),
            match declared(r) {
                _ if r.threads.len() < 2 => "–".into(),
                Some(exception) if !r.threads_agree => {
                    format!("different, as declared: {}", exception.reason.trim())
                }
                _ => format!("{} with {}", yes(r.threads_agree), threads.join(" and ")),
            },
        ]
    });
    format!(
        "## Repeatability\n\nBits of all outputs for the same input.\n\n{}",
        Table::new([
            "model",
            "engine",
            "pass to pass",
            "between processes",
            "between numbers of threads"
        ])
        .rows(lines)
        .markdown()
    )
}

fn arithmetic_section(analysis: &Analysis) -> String {
    let mut lines = Vec::new();
    let mut sources = BTreeMap::new();
    for model in analysis.models() {
        for row in analysis.rows(model) {
            let line = match &row.arithmetic {
                Some(Ok(ran)) => {
                    sources.insert(row.cell.backend.as_str(), ran.source.as_str());
                    let mut operators: Vec<_> = ran.operators.iter().collect();
                    operators.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
                    let operators: Vec<String> = operators
                        .iter()
                        .take(8)
                        .map(|(name, count)| format!("{count} {name}"))
                        .collect();
                    vec![
                        ran.integer.to_string(),
                        ran.float.to_string(),
                        operators.join(", "),
                    ]
                }
                Some(Err(reason)) => vec!["–".into(), "–".into(), reason.clone()],
                None => vec!["–".into(), "–".into(), "not asked".into()],
            };
            lines.push([vec![model.name.clone(), row.label.clone()], line].concat());
        }
    }
    let sources: Vec<String> = sources
        .iter()
        .map(|(backend, source)| format!("- {backend}: {source}"))
        .collect();
    format!(
        "## Arithmetic\n\nWhat the engines themselves say they ran: multiplications by weights (convolutions \
         and products of matrices) on integers and on floats (in an int8 model: on dequantized values), and \
         their most frequent operators.\n\n\
         {}\n\nWhere this is from:\n\n{}",
        Table::new([
            "model",
            "engine",
            "multiplications on integers",
            "on floats",
            "operators"
        ])
        .rows(lines)
        .markdown(),
        sources.join("\n")
    )
}

/// Everything that was found to be wrong.
fn findings_section(analysis: &Analysis) -> Option<String> {
    let findings = analysis.findings();
    let lines: Vec<String> = findings
        .iter()
        .map(|finding| format!("- ⚠ {}", markdown::sentence(&finding.text)))
        .collect();
    (!lines.is_empty()).then(|| format!("## What was found to be wrong\n\n{}", lines.join("\n")))
}

fn incident_section(analysis: &Analysis) -> Option<String> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (name, reason) in analysis.unavailable() {
        lines.push(vec![name.into(), "–".into(), reason.into()]);
    }
    lines.extend(analysis.incidents().map(|o| {
        let mut what = o.process.outcome.to_string();
        let last = o
            .process
            .stderr
            .lines()
            .rfind(|line| !line.trim().is_empty());
        // A failure that the probe itself explains needs no more.
        let explained =
            matches!(&o.process.outcome, Outcome::Failed(e) if e.kind != ErrorKind::Engine);
        if let (Some(last), false) = (last, explained) {
            what += &format!(" (last on standard error: {})", last.trim());
        }
        vec![
            o.cell.backend.clone(),
            format!("{} ({})", o.cell.model, o.cell.format.key()),
            what,
        ]
    }));
    for model in analysis.models() {
        if let Some((referee, outcome)) = analysis.refusal(&model.name) {
            let name = format!("{referee} (the referee)");
            lines.push(vec![name, model.name.clone(), outcome.to_string()]);
        }
    }
    if lines.is_empty() {
        return None;
    }
    Some(format!(
        "## What did not run\n\n{}",
        Table::new(["engine", "model", "what happened"])
            .rows(lines)
            .markdown()
    ))
}

fn provenance_section(workspace: &Workspace, analysis: &Analysis) -> String {
    let run = &analysis.record.run;
    let machine = &run.machine;
    let loads = Spread::of(
        analysis
            .record
            .observations()
            .map(|o| o.system_counters.load_average),
    );
    let temperatures = Spread::of(
        analysis
            .record
            .observations()
            .filter_map(|o| o.system_counters.temperature_c),
    );
    let mut facts = vec![
        (
            "measured",
            format!(
                "{}, {}",
                run.date,
                run.duration_s.map_or_else(
                    || "⚠ interrupted before its end".into(),
                    |s| format!("in {:.0} s", s)
                )
            ),
        ),
        (
            "processor",
            format!("{}, {} cores", machine.cpu, machine.cores),
        ),
        ("instruction sets", machine.cpu_flags.join(" ")),
        ("memory", format!("{} MiB", machine.memory_mib)),
        (
            "system",
            format!("{}, kernel {}", machine.os, machine.kernel),
        ),
        (
            "frequency governor",
            machine
                .governor
                .clone()
                .unwrap_or_else(|| "not readable".into()),
        ),
        (
            "load average during the run",
            loads.map_or_else(
                || "–".into(),
                |l| format!("{:.1} ({:.1}–{:.1})", l.median, l.low, l.high),
            ),
        ),
        (
            "temperature",
            temperatures.map_or_else(
                || "not readable".into(),
                |t| format!("{:.0} °C ({:.0}–{:.0})", t.median, t.low, t.high),
            ),
        ),
        ("placement", affinity(&run.settings)),
        ("compiler", format!("{}, release profile", machine.rustc)),
        (
            "code",
            format!(
                "commit {}, measured sources {}",
                run.code.commit.as_deref().unwrap_or("unknown"),
                &run.code.measured_sha256.get(..16).unwrap_or_default()
            ),
        ),
    ];
    if !machine.environment.is_empty() {
        let variables: Vec<String> = machine
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        facts.push(("environment", variables.join(" ")));
    }
    let facts = facts
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value]);
    let engines = analysis
        .record
        .backends
        .iter()
        .filter_map(|(name, backend)| {
            let engine = &backend.description.as_ref()?.engine;
            let details: Vec<String> = engine
                .details
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            let library = engine.library.as_ref().map(|path| {
                let file = Path::new(path)
                    .file_name()
                    .map(|f| f.to_string_lossy().into_owned());
                format!("library: {}", file.unwrap_or_else(|| path.clone()))
            });
            Some(vec![
                name.clone(),
                engine.version.clone(),
                engine.binding.clone(),
                library
                    .into_iter()
                    .chain(details)
                    .collect::<Vec<_>>()
                    .join("; "),
            ])
        });
    let files = run.files.iter().map(|(path, sha256)| {
        vec![
            path.display().to_string(),
            format!("`{}`", &sha256.get(..16).unwrap_or(sha256)),
        ]
    });
    let record = firstpass_trial::workload::relative(workspace, &analysis.record.folder);
    format!(
        "## Where it comes from\n\nEvery figure is computed from the record in {}: each pass of \
         each process is there.\n\n{}\n\n{}\n\n{}",
        markdown::code(&record.display().to_string()),
        Table::new(["", ""]).rows(facts).markdown(),
        Table::new(["engine", "version, as it says", "binding", "details"])
            .rows(engines)
            .markdown(),
        Table::new(["file", "sha256 (first 16 digits)"])
            .rows(files)
            .markdown()
    )
}

/// A plot of a model, where there is one.
fn affinity(settings: &RunSettings) -> String {
    let pinned = if settings.affinity.pin {
        "each process pinned to as many CPUs as it has threads"
    } else {
        "wherever the scheduler put the processes"
    };
    match settings.affinity.nice {
        Some(nice) => format!("{pinned}, nice value {nice}"),
        None => pinned.into(),
    }
}

fn share(part: usize, whole: usize) -> String {
    percent_rounded_down(if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    })
}

#[cfg(test)]
mod tests {
    use firstpass_probe::Tensor;

    use super::*;
    use firstpass_trial::model::{OutputSpec, StepSpec};

    /// Of outputs 1 and this, with steps of this scale or none.
    fn agreement(other: f32, scale: Option<f64>) -> anyhow::Result<Agreement> {
        let spec = OutputSpec {
            name: "x".into(),
            steps: scale
                .map(|scale| StepSpec { elements: 1, scale })
                .into_iter()
                .collect(),
            ..OutputSpec::default()
        };
        let mut model = firstpass_trial::model::ModelDescription::for_tests(Precision::Int8);
        model.outputs = vec![spec];
        let tensors = [1.0, other].map(|value| [Tensor::new(&[1], vec![value])]);
        let [[Ok(reference)], [Ok(other)]] = tensors else {
            anyhow::bail!("one value has the shape [1]");
        };
        let mut agreements = compare(&model, &[(&[reference], &[other])]);
        Ok(agreements.remove(0))
    }

    #[test]
    fn a_difference_says_how_large_it_is() -> anyhow::Result<()> {
        let one = agreement(1.25, Some(0.25))?;
        let three = agreement(0.25, Some(0.25))?;
        let in_floats = agreement(1.5, None)?;
        let extent = |agreements: &[&Agreement]| {
            let agreements: Vec<Agreement> = agreements.iter().copied().cloned().collect();
            extent(&agreements)
        };
        assert_eq!(extent(&[&one]).as_deref(), Some("1 step"));
        assert_eq!(extent(&[&one, &three]).as_deref(), Some("up to 3 steps"));
        let relative = Some("up to 33 % of its scale");
        assert_eq!(extent(&[&one, &in_floats]).as_deref(), relative);
        assert_eq!(error_cells(&in_floats, true)[2], "3e-1 rel.");
        assert_eq!(extent(&[&agreement(f32::NAN, Some(0.25))?]), None);
        Ok(())
    }
}
