//! What settings do, as a page of its own: recommendation, trade-offs, and every setting tried.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_probe::{Description, Knobs};
use firstpass_statistics::{bootstrap::Estimate, comparison::Verdict};
use firstpass_trial::workspace::Workspace;

use crate::{
    page::{
        numbers::{milliseconds, ratio, setting as name, times},
        table::Table,
        write_file,
    },
    studies::{
        explain::{
            self,
            judge::{Explanation, judge},
            report::remains,
        },
        first_passes::judge::{
            first_pass::FirstPass,
            latency::{Figure, Latency},
        },
        tune::{
            Tuning,
            judge::{
                Ablation, BreakEven, FIRST_GOAL, OutputChange, SECOND_GOAL, STEADY_ALLOWANCE,
                Setting, recommended, shortest_first_pass, undecided,
            },
            plot as pareto, snippets,
        },
    },
};

/// The page, beside the report.
pub(crate) const PAGE: &str = "tuning.md";

/// What every setting is compared with the default by.
const SHOWN: [Figure; 4] = [
    Figure::ColdStart,
    Figure::FirstPass,
    Figure::SecondPass,
    Figure::Steady,
];

/// The page and its plots, by path.
pub(crate) fn files(workspace: &Workspace, tuning: &Tuning) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let explained = explained(tuning)?;
    let mut parts = vec![introduction(tuning)];
    for backend in tuning.backends() {
        let found = workspace
            .backends()?
            .into_iter()
            .find(|b| b.name == backend);
        let description = tuning
            .one_at_a_time
            .record
            .backends
            .get(backend)
            .and_then(|b| b.description.as_ref());
        parts.push(format!("## {backend}"));
        for (at, ablation) in of(tuning.decisive(), backend).into_iter().enumerate() {
            let title = tuning.one_at_a_time.workload.models.iter();
            let title = title
                .clone()
                .find(|m| m.name == ablation.model)
                .map_or(ablation.model.as_str(), |m| m.title.as_str());
            parts.push(format!("### {backend} on {title}"));
            parts.push(recommendation(ablation, &explained));
            if let (0, Some(setting), Some(found)) = (at, recommended(ablation), &found) {
                parts.extend(snippets::lines(
                    workspace,
                    found,
                    description,
                    &setting.knobs,
                ));
            }
            parts.push(combined_table(ablation));
            let singles = of(&tuning.one_at_a_time.ablations, backend);
            let singles = singles.into_iter().find(|a| a.model == ablation.model);
            let shown: Vec<&Ablation> = singles.into_iter().chain([ablation]).collect();
            let path = PathBuf::from(format!("plots/tuned-{backend}-{}.svg", ablation.model));
            if let Some(svg) = pareto::draw(&format!("{backend}, {title}"), &shown)? {
                parts.push(format!(
                    "![cold start against steady time of every setting of {backend} on {title}]({})",
                    path.display()
                ));
                files.insert(path, svg.into_bytes());
            }
            if let Some(singles) = singles {
                parts.push("Every setting by itself, against the default:".into());
                parts.push(single_table(singles, description));
                parts.extend(idle(singles));
            }
        }
    }
    files.insert(PAGE.into(), (parts.join("\n\n") + "\n").into_bytes());
    Ok(files)
}

/// The recommendations, for a terminal.
pub fn tuning_summary(tuning: &Tuning) -> String {
    let mut table = Table::new([
        "engine",
        "model",
        "recommended",
        "cold start",
        "pass 1",
        "pass 2",
        "steady",
        "pass 1 / steady",
        "pass 2 / steady",
        "outputs",
        "until break-even",
    ]);
    for ablation in tuning.decisive() {
        let mut line = vec![ablation.backend.clone(), ablation.model.clone()];
        match recommended(ablation) {
            None => line.push(match undecided(ablation) {
                None => "nothing: no setting is faster with the same outputs".into(),
                Some(setting) => format!("nothing for sure: {} may be faster", setting.name()),
            }),
            Some(setting) => {
                line.push(setting.name());
                line.extend(SHOWN.map(|f| ratio(setting.against.get(&f).copied())));
                line.extend(over_steady(setting.latency.as_ref()));
                line.push(outputs(&setting.outputs));
                line.push(break_even(setting.break_even));
            }
        }
        table.row(line);
    }
    table.terminal()
}

fn of<'a>(ablations: &'a [Ablation], backend: &str) -> Vec<&'a Ablation> {
    ablations.iter().filter(|a| a.backend == backend).collect()
}

fn introduction(tuning: &Tuning) -> String {
    let settings = &tuning.one_at_a_time.record.run.settings;
    format!(
        "# Tuning: which settings make the first passes fast\n\nGenerated by `cargo firstpass tune` \
         and `cargo firstpass report` from the records in `tuning/` beside that of the report. Every \
         value of every knob that an engine has was measured by itself, then the promising ones \
         together, in fresh processes interleaved with the default; {} thread(s), up to {} \
         processes of each. Ratios are medians within rounds with 95 % intervals; below 1 the \
         setting is faster. *Three answers* is the time from the spawn of the process to its third \
         outputs. A setting is recommended only if its outputs are the same bits and its steady time \
         is at most {:.0} % slower.",
        settings
            .threads
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        settings.processes,
        100.0 * (STEADY_ALLOWANCE - 1.0),
    )
}

/// Where passes spend their time, by default and with the tuning; nothing where it was not asked.
fn explained(tuning: &Tuning) -> Result<Vec<Explanation>> {
    // <record>/tuning/<which>
    let record = tuning.one_at_a_time.record.folder.ancestors().nth(2);
    // One of another version is no reason to show nothing of settings.
    let explain = record.and_then(|record| explain::read(record).ok().flatten());
    Ok(explain.map_or_else(Vec::new, |explain| judge(&explain).explanations))
}

fn recommendation(ablation: &Ablation, explained: &[Explanation]) -> String {
    let remaining = |knobs: &Knobs| {
        let profiled = explain::without_warm_up(knobs);
        let found = explained.iter().find(|e| {
            e.backend == ablation.backend && e.model == ablation.model && e.knobs == profiled
        });
        let without = if profiled == *knobs {
            ""
        } else {
            "Without the warm-up pass: "
        };
        found.map_or_else(String::new, |e| format!(" {without}{}", remains(e)))
    };
    let Some(setting) = recommended(ablation) else {
        let mut text =
            "**Nothing to recommend**: no setting is told to be faster to the first or to the third \
                        answer, and to neither slower, with the same outputs and steady time."
                .to_owned();
        if let Some(setting) = undecided(ablation) {
            let against = |figure: Figure| ratio(setting.against.get(&figure).copied());
            text += &format!(
                " `{}` seems to be, which cannot be told from the noise: cold start {}, three answers {}. \
                 A longer `--budget` may tell.",
                setting.name(),
                against(Figure::ColdStart),
                against(Figure::ThreeAnswers),
            );
        }
        let ratio = |pass: Option<FirstPass>| pass.map(|pass| pass.ratio());
        if let (Some(first), Some(second)) = (
            ratio(ablation.default.first_over_steady),
            ratio(ablation.default.second_over_steady),
        ) {
            text += &format!(
                "\n\nBy default pass 1 is {} steady ({} at most 1.2×) and pass 2 {} ({} at most \
                 1.05×).{}",
                times(first),
                mark(first <= FIRST_GOAL),
                times(second),
                mark(second <= SECOND_GOAL),
                remaining(&Knobs::default()),
            );
        }
        return text;
    };
    let mut text = format!("**Recommended: `{}`.**", setting.name());
    let against = |figure: Figure| ratio(setting.against.get(&figure).copied());
    text += &format!(
        " Cold start {}; pass 1 {}; pass 2 {}; steady {}. {}",
        against(Figure::ColdStart),
        against(Figure::FirstPass),
        against(Figure::SecondPass),
        against(Figure::Steady),
        sentence(setting.break_even),
    );
    if let (Some((first, second, cold)), Some(goals)) = (setting.goal_figures(), setting.goals()) {
        text += &format!(
            "\n\nPass 1 is {} steady ({} at most 1.2×), pass 2 {} ({} at most 1.05×), and the cold \
             start {} that of the default ({} at most 0.75×).{}",
            times(first),
            mark(goals[0]),
            times(second),
            mark(goals[1]),
            times(cold),
            mark(goals[2]),
            remaining(&setting.knobs),
        );
        let shorter = shortest_first_pass(ablation).filter(|_| !goals[0]);
        if let Some((other, (first, second, cold))) =
            shorter.and_then(|other| Some((other, other.goal_figures()?)))
        {
            text += &format!(
                "\n\nThe trade: with `{}` pass 1 is {} steady and pass 2 {}, and the cold start {} that \
                 of the default; three answers take {}.",
                other.name(),
                times(first),
                times(second),
                times(cold),
                ratio(other.against.get(&Figure::ThreeAnswers).copied()),
            );
        } else if !goals[0] {
            text += "\n\nNo setting that was tried has a pass 1 as short as that without taking \
                     longer to three answers.";
        }
    }
    text
}

fn mark(reached: bool) -> &'static str {
    if reached { "✓" } else { "✗" }
}

fn sentence(break_even: Option<BreakEven>) -> String {
    match break_even {
        Some(BreakEven::AlwaysAhead) => {
            "It is ahead of the default from the first answer on.".into()
        }
        Some(BreakEven::NeverAhead) => "It is never ahead of the default.".into(),
        Some(BreakEven::AheadUntil(passes, (low, high))) => format!(
            "It is ahead of the default for the first {passes:.0} passes ({low:.0}–{high:.0})."
        ),
        Some(BreakEven::AheadFrom(passes, (low, high))) => {
            format!("It is ahead of the default from pass {passes:.0} on ({low:.0}–{high:.0}).")
        }
        Some(BreakEven::Untold) | None => "Which is ahead could not be told.".into(),
    }
}

fn break_even(break_even: Option<BreakEven>) -> String {
    match break_even {
        Some(BreakEven::AlwaysAhead) => "always ahead".into(),
        Some(BreakEven::NeverAhead) => "never ahead".into(),
        Some(BreakEven::AheadUntil(passes, (low, high))) => {
            format!("ahead until pass {passes:.0} ({low:.0}–{high:.0})")
        }
        Some(BreakEven::AheadFrom(passes, (low, high))) => {
            format!("ahead from pass {passes:.0} ({low:.0}–{high:.0})")
        }
        Some(BreakEven::Untold) => "no difference told".into(),
        None => "–".into(),
    }
}

fn outputs(change: &OutputChange) -> String {
    match change {
        OutputChange::Same => "same bits".into(),
        OutputChange::Unknown => "–".into(),
        OutputChange::Differs { steps, same, faces } => {
            let mut text = format!("⚠ {:.1} % same", 100.0 * same);
            if let Some(steps) = steps {
                text += &format!(", ≤ {steps} steps");
            }
            if let Some(faces) = faces {
                text += &if faces.same_faces() {
                    ", same faces".into()
                } else {
                    format!(", {} faces missed, {} extra", faces.missed, faces.extra)
                };
            }
            text
        }
    }
}

fn over_steady(latency: Option<&Latency>) -> [String; 2] {
    let ratio = |pass: Option<FirstPass>| pass.map_or("–".into(), |pass| times(pass.ratio()));
    [
        ratio(latency.and_then(|l| l.first_over_steady)),
        ratio(latency.and_then(|l| l.second_over_steady)),
    ]
}

/// The promising settings together, with their times.
fn combined_table(ablation: &Ablation) -> String {
    let header = [
        "setting",
        "cold start, ms",
        "pass 1",
        "pass 2",
        "pass 3",
        "steady",
        "pass 1 / steady",
        "pass 2 / steady",
        "cold start against default",
        "three answers",
        "steady against default",
        "outputs",
        "peak memory",
        "break-even",
    ];
    let best = recommended(ablation).map(Setting::name);
    let row = |label: String, latency: Option<&Latency>| {
        let time = |estimate: Option<&Estimate>| {
            estimate.map_or("–".into(), |e: &Estimate| milliseconds(e.median))
        };
        let mut line = vec![label, time(latency.and_then(|l| l.cold_start.as_ref()))];
        line.extend([1, 2, 3].map(|n| time(latency.and_then(|l| l.pass.get(&n)))));
        line.push(time(latency.and_then(|l| l.steady.as_ref())));
        line.extend(over_steady(latency));
        line
    };
    let mut lines = vec![row("default".into(), Some(&ablation.default))];
    lines[0].extend(["1", "1", "1", "–", "1", "–"].map(String::from));
    for setting in &ablation.settings {
        let label = if Some(setting.name()) == best {
            format!("**{}**", setting.name())
        } else {
            setting.name()
        };
        let mut line = row(label, setting.latency.as_ref());
        let against = |figure: Figure| ratio(setting.against.get(&figure).copied());
        line.extend([
            against(Figure::ColdStart),
            against(Figure::ThreeAnswers),
            against(Figure::Steady),
            outputs_or_failure(setting),
            setting.memory.map_or("–".into(), times),
            break_even(setting.break_even),
        ]);
        lines.push(line);
    }
    Table::new(header).rows(lines).markdown()
}

fn outputs_or_failure(setting: &Setting) -> String {
    match &setting.failure {
        Some(failure) => format!("⚠ {failure}"),
        None => outputs(&setting.outputs),
    }
}

/// Every setting by itself.
fn single_table(ablation: &Ablation, description: Option<&Description>) -> String {
    let header = [
        "setting",
        "what it is",
        "cold start",
        "pass 1",
        "pass 2",
        "steady",
        "outputs",
        "peak memory",
        "break-even",
    ];
    let lines = ablation.settings.iter().map(|setting| {
        let knob = setting.knobs.settings().next();
        let help = description
            .and_then(|d| {
                d.knobs
                    .iter()
                    .find(|k| Some(k.name.as_str()) == knob.map(|k| k.0))
            })
            .map_or("", |k| k.help.as_str());
        let mut line = vec![name(&setting.knobs), help.to_owned()];
        line.extend(SHOWN.map(|f| ratio(setting.against.get(&f).copied())));
        line.extend([
            outputs_or_failure(setting),
            setting.memory.map_or("–".into(), times),
            break_even(setting.break_even),
        ]);
        line
    });
    Table::new(header).rows(lines).markdown()
}

/// The settings that do nothing are said to do nothing.
fn idle(ablation: &Ablation) -> Option<String> {
    let names = |wanted: &dyn Fn(&Setting) -> bool| -> Vec<String> {
        let settings = ablation.settings.iter().filter(|s| wanted(s));
        settings.map(|s| format!("`{}`", s.name())).collect()
    };
    let nothing = names(&Setting::does_nothing);
    let undecided = names(&|s| {
        let inconclusive = s.against.values().any(|c| c.verdict == Verdict::Open);
        s.failure.is_none() && !s.does_nothing() && inconclusive
    });
    let mut sentences = Vec::new();
    if !nothing.is_empty() {
        sentences.push(format!("Does nothing: {}.", nothing.join(", ")));
    }
    if !undecided.is_empty() {
        sentences.push(format!(
            "Not everything about these could be told from the noise: {}.",
            undecided.join(", ")
        ));
    }
    (!sentences.is_empty()).then(|| sentences.join(" "))
}
/// Writes the page of what settings do into `folder`, with its plots; returns the page.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write(workspace: &Workspace, tuning: &Tuning, folder: &Path) -> Result<PathBuf> {
    for (path, bytes) in files(workspace, tuning)? {
        write_file(&folder.join(path), &bytes)?;
    }
    Ok(folder.join(PAGE))
}
