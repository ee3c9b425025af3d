//! The tables of one engine: what is recommended beside the default, and every setting that was tried.

use firstpass_probe::{Description, Need};
use firstpass_statistics::{bootstrap::Estimate, comparison::Verdict, median};
use minijinja::Value;
use serde::Serialize;

use super::advice::{against, ready_ms};
use crate::{
    page::{
        numbers::{milliseconds, ratio, setting as name, times, times_with_interval},
        table::Table,
    },
    studies::{
        explain,
        first_passes::judge::{
            first_pass::FirstPass,
            latency::{Figure, Latency},
        },
        tune::judge::{
            Ablation, BreakEven, OutputChange, Setting,
            recommend::{recommended, warm_up_steps},
        },
    },
};

/// What is said of outputs in a table is cut after this many characters.
pub(super) const OUTPUTS: usize = 60;

/// What every setting is compared with the default by.
pub(super) const SHOWN: [Figure; 4] = [
    Figure::ColdStart,
    Figure::FirstOverSteady,
    Figure::SecondOverSteady,
    Figure::Steady,
];

/// What each further warm-up pass gives and costs.
#[derive(Serialize)]
pub(super) struct WarmUp {
    setting: String,
    table: Value,
}

/// The promising settings together. Tables name them by their number.
#[derive(Serialize)]
pub(super) struct Combined {
    settings: Vec<Numbered>,
    times: Value,
    ratios: Value,
}

#[derive(Serialize)]
pub(super) struct Numbered {
    number: usize,
    setting: String,
    is_recommended: bool,
}

/// Every setting by itself.
#[derive(Serialize)]
pub(super) struct Singles {
    knobs: Vec<Knob>,
    ratios: Value,
    others: Value,
    /// Settings that change nothing.
    idle: Vec<String>,
    open: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Knob {
    name: String,
    help: String,
}

/// The default and what is recommended side by side.
pub(super) fn recommendations(ablation: &Ablation) -> Table {
    let recommended = |need| Some((need, recommended(ablation, need)?));
    let chosen: Vec<(Need, &Setting)> = Need::ALL.into_iter().filter_map(recommended).collect();
    let default = &ablation.default;
    let row = |name: &str, default: String, cell: &dyn Fn(Need, &Setting) -> String| {
        let settings = chosen.iter().map(|(need, setting)| cell(*need, setting));
        let cells = [name.to_owned(), default];
        cells.into_iter().chain(settings).collect::<Vec<_>>()
    };
    let header = row("", "default".into(), &|need, _| need.to_string());
    let mut rows = vec![row("setting", "–".into(), &|_, s| {
        format!("`{}`", s.name())
    })];
    for (name, figure) in [
        ("first answer", Figure::ColdStart),
        ("third answer", Figure::ThreeAnswers),
        ("ready for pass 1", Figure::Ready),
        ("steady", Figure::Steady),
    ] {
        let time = typical(Some(default), figure);
        rows.push(row(name, time, &|_, s| against(s, figure)));
    }
    for (name, figure) in [
        ("pass 1", Figure::FirstPass),
        ("pass 2", Figure::SecondPass),
    ] {
        let time = typical(Some(default), figure);
        rows.push(row(name, time, &|_, s| typical(s.latency.as_ref(), figure)));
    }
    for (at, name) in ["pass 1 / steady", "pass 2 / steady"]
        .into_iter()
        .enumerate()
    {
        let shown = |latency: Option<&Latency>| over_steady(latency)[at].clone();
        let default = shown(Some(default));
        rows.push(row(name, default, &|_, s| shown(s.latency.as_ref())));
    }
    Table::new(header).rows(rows)
}

/// The median of a figure over the processes.
fn typical(latency: Option<&Latency>, figure: Figure) -> String {
    let time = latency.and_then(|latency| median(latency.by_round(figure).into_values()));
    time.map_or_else(|| "–".into(), |ms| format!("{} ms", milliseconds(ms)))
}

/// What each further warm-up pass gives and costs, with the setting for a service; nothing where only one
/// number was measured.
pub(super) fn warm_up_table(ablation: &Ablation) -> Option<WarmUp> {
    let setting = recommended(ablation, Need::Serve)?;
    let steps = warm_up_steps(ablation, setting);
    if steps.len() < 2 {
        return None;
    }
    let rows = steps.into_iter().map(|(passes, setting)| {
        let latency = setting.map_or(Some(&ablation.default), |s| s.latency.as_ref());
        let ready = latency.and_then(ready_ms);
        let [first, second] = over_steady(latency);
        [
            passes.to_string(),
            ready.map_or_else(|| "–".into(), milliseconds),
            first,
            second,
        ]
    });
    let header = [
        "warm-up passes",
        "ready after, ms",
        "pass 1 / steady",
        "pass 2 / steady",
    ];
    let base = explain::without_warm_up(&setting.knobs);
    Some(WarmUp {
        setting: name(&base),
        table: Table::new(header).rows(rows).page(),
    })
}

pub(super) fn break_even(break_even: Option<BreakEven>) -> String {
    match break_even {
        Some(BreakEven::AlwaysAhead) => "always ahead".into(),
        Some(BreakEven::NeverAhead) => "never ahead".into(),
        Some(BreakEven::AheadUntil(passes, (low, high))) => {
            format!("ahead until pass {passes:.0} ({low:.0}–{high:.0})")
        }
        Some(BreakEven::AheadFrom(passes, (low, high))) => {
            format!("ahead from pass {passes:.0} ({low:.0}–{high:.0})")
        }
        Some(BreakEven::Untold) => "not decided".into(),
        None => "–".into(),
    }
}

pub(super) fn outputs(change: &OutputChange) -> String {
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

pub(super) fn over_steady(latency: Option<&Latency>) -> [String; 2] {
    let ratio = |pass: Option<FirstPass>| {
        pass.map_or("–".into(), |pass| {
            times_with_interval(pass.ratio(), pass.interval())
        })
    };
    [
        ratio(latency.and_then(|l| l.first_over_steady)),
        ratio(latency.and_then(|l| l.second_over_steady)),
    ]
}

/// The promising settings together, with their times and against the default.
pub(super) fn combined(ablation: &Ablation) -> Combined {
    let best = Need::ALL.map(|need| recommended(ablation, need).map(Setting::name));
    let numbered = || (1..).zip(&ablation.settings);
    let header = [
        "",
        "cold start, ms",
        "pass 1",
        "pass 2",
        "pass 3",
        "steady",
        "pass 1 / steady",
        "pass 2 / steady",
        "peak memory",
    ];
    let row = |label: String, latency: Option<&Latency>, memory: String| {
        let time = |estimate: Option<&Estimate>| {
            estimate.map_or("–".into(), |e: &Estimate| milliseconds(e.median))
        };
        let mut line = vec![label, time(latency.and_then(|l| l.cold_start.as_ref()))];
        line.extend([1, 2, 3].map(|n| time(latency.and_then(|l| l.pass.get(&n)))));
        line.push(time(latency.and_then(|l| l.steady.as_ref())));
        line.extend(over_steady(latency));
        line.push(memory);
        line
    };
    let mut times_of = Table::new(header);
    times_of.row(row("default".into(), Some(&ablation.default), "1".into()));
    times_of = times_of.rows(numbered().map(|(number, setting)| {
        let memory = setting.memory.map_or("–".into(), times);
        row(number.to_string(), setting.latency.as_ref(), memory)
    }));
    let header = [
        "",
        "cold start",
        "three answers",
        "steady",
        "outputs",
        "break-even",
    ];
    let ratios = Table::new(header).rows(numbered().map(|(number, setting)| {
        let figures = [Figure::ColdStart, Figure::ThreeAnswers, Figure::Steady];
        let ratios = figures.map(|figure| ratio(setting.against.get(&figure).copied()));
        let mut line = vec![number.to_string()];
        line.extend(ratios);
        line.extend([
            shortened(&outputs_or_failure(setting)),
            break_even(ablation.break_even(setting)),
        ]);
        line
    }));
    Combined {
        settings: numbered()
            .map(|(number, setting)| Numbered {
                number,
                setting: setting.name(),
                is_recommended: best.contains(&Some(setting.name())),
            })
            .collect(),
        times: times_of.page(),
        ratios: ratios.page(),
    }
}

pub(super) fn outputs_or_failure(setting: &Setting) -> String {
    match &setting.failure {
        Some(failure) => format!("⚠ {failure}"),
        None => outputs(&setting.outputs),
    }
}

/// Every setting by itself.
pub(super) fn singles(ablation: &Ablation, description: Option<&Description>) -> Singles {
    let mut ratios = Table::new([
        "setting",
        "cold start",
        "pass 1 / steady",
        "pass 2 / steady",
        "steady",
    ]);
    let mut others = Table::new(["setting", "outputs", "peak memory", "break-even"]);
    let mut knobs: Vec<Knob> = Vec::new();
    for setting in &ablation.settings {
        if let Some((knob, _)) = setting.knobs.settings().next()
            && !knobs.iter().any(|known| known.name == knob)
        {
            let declared = description.and_then(|d| d.knobs.iter().find(|k| k.name == knob));
            knobs.push(Knob {
                name: knob.into(),
                help: declared.map_or_else(String::new, |k| k.help.clone()),
            });
        }
        let label = name(&setting.knobs);
        if setting.failure.is_none() {
            let shown = SHOWN.map(|figure| ratio(setting.against.get(&figure).copied()));
            ratios.row([vec![label.clone()], shown.into()].concat());
        }
        others.row([
            label,
            shortened(&outputs_or_failure(setting)),
            setting.memory.map_or("–".into(), times),
            break_even(ablation.break_even(setting)),
        ]);
    }
    let names = |wanted: &dyn Fn(&Setting) -> bool| -> Vec<String> {
        let settings = ablation.settings.iter().filter(|s| wanted(s));
        settings.map(Setting::name).collect()
    };
    Singles {
        knobs,
        ratios: ratios.page(),
        others: others.page(),
        idle: names(&Setting::does_nothing),
        open: names(&|s| {
            let is_open = s.against.values().any(|c| c.verdict == Verdict::Open);
            s.failure.is_none() && !s.does_nothing() && is_open
        }),
    }
}

/// The words of an engine that does not run with a setting, for a cell.
pub(super) fn shortened(words: &str) -> String {
    if words.chars().count() <= OUTPUTS {
        return words.into();
    }
    words.chars().take(OUTPUTS).chain(['…']).collect()
}
