//! What settings do, as a page of its own: recommendation, trade-offs, and every setting tried.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_probe::{Description, Knobs, Need, file_name, warm_up_passes};
use firstpass_statistics::{bootstrap::Estimate, comparison::Verdict, median};
use firstpass_trial::workspace::Workspace;
use minijinja::{Value, context};
use serde::Serialize;

use crate::{
    page::{
        markdown::image,
        numbers::{
            duration, list, milliseconds, ratio, setting as name, times, times_with_interval,
        },
        table::Table,
        template::{self, markdown},
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
                Ablation, BreakEven, OutputChange, STEADY_ALLOWANCE, Setting,
                recommend::{
                    Advice, Reached, advise, figures, goals, recommended, warm_up_steps,
                    warm_up_suffices,
                },
            },
            plot as pareto, snippets,
        },
    },
};

/// The question that the page answers.
pub(crate) const TITLE: &str = "Which settings make the first passes fast?";

/// The page, beside the report.
pub(crate) const PAGE: &str = "tuning.md";

/// What is said of outputs in a table is cut after this many characters.
const OUTPUTS: usize = 60;

/// What every setting is compared with the default by.
const SHOWN: [Figure; 4] = [
    Figure::ColdStart,
    Figure::FirstPass,
    Figure::SecondPass,
    Figure::Steady,
];

/// What the page says of one engine on one model.
#[derive(Serialize)]
struct OfEngine {
    title: String,
    /// What to use for each need and why, or what is known where nothing can be recommended.
    advice: Vec<Value>,
    recommendations: Value,
    goals: Vec<Goals>,
    snippets: Vec<Value>,
    /// What is left of a slow first pass.
    excess: Option<String>,
    plot: Option<Value>,
    warm_up: Option<WarmUp>,
    combined: Combined,
    singles: Option<Singles>,
}

/// Which goals are reached by default, or with what is recommended for a need.
#[derive(Serialize)]
struct Goals {
    with: String,
    reached: String,
}

/// What each further warm-up pass gives and costs.
#[derive(Serialize)]
struct WarmUp {
    setting: String,
    table: Value,
}

/// The promising settings together. Tables name them by their number.
#[derive(Serialize)]
struct Combined {
    settings: Vec<Numbered>,
    times: Value,
    ratios: Value,
}

#[derive(Serialize)]
struct Numbered {
    number: usize,
    setting: String,
    is_recommended: bool,
}

/// Every setting by itself.
#[derive(Serialize)]
struct Singles {
    knobs: Vec<Knob>,
    ratios: Value,
    others: Value,
    /// Settings that change nothing.
    idle: Vec<String>,
    open: Vec<String>,
}

#[derive(Serialize)]
struct Knob {
    name: String,
    help: String,
}

/// The page and its plots, by path.
pub(crate) fn files(
    workspace: &Workspace,
    tuning: &Tuning,
    called: &dyn Fn(&str) -> String,
) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let explained = explained(tuning)?;
    let backends = workspace.backends()?;
    let mut engines = Vec::new();
    for name in tuning.backends() {
        let backend = backends.iter().find(|b| b.name == name);
        let description = tuning
            .one_at_a_time
            .record
            .backends
            .get(name)
            .and_then(|b| b.description.as_ref());
        for (at, ablation) in of_backend(tuning.decisive(), name).enumerate() {
            let title = title(tuning, ablation);
            let mut snippets = Vec::new();
            if let (0, Some(backend)) = (at, backend) {
                for knobs in knobs_to_show(ablation) {
                    snippets.extend(snippets::lines(workspace, backend, description, &knobs));
                }
            }
            let singles = of_backend(&tuning.one_at_a_time.ablations, name)
                .find(|a| a.model == ablation.model);
            let shown: Vec<&Ablation> = singles.into_iter().chain([ablation]).collect();
            let path = PathBuf::from(format!(
                "plots/tuned-{name}-{}.svg",
                file_name(&ablation.model)
            ));
            let plot = pareto::draw(&format!("{name}, {title}"), &shown)?;
            let alt =
                format!("cold start against steady time of every setting of {name} on {title}");
            engines.push(OfEngine {
                title: format!("{} on {title}", called(name)),
                advice: Need::ALL
                    .map(|need| markdown(advice(ablation, need)))
                    .into(),
                recommendations: recommendations(ablation).page(),
                goals: goals_of(ablation),
                snippets: snippets.into_iter().map(markdown).collect(),
                excess: excess(ablation, &explained),
                plot: plot.as_ref().map(|_| markdown(image(&path, &alt))),
                warm_up: warm_up_table(ablation),
                combined: combined(ablation),
                singles: singles.map(|singles| self::singles(singles, description)),
            });
            files.extend(plot.map(|svg| (path, svg.into_bytes())));
        }
    }
    let threads = tuning.one_at_a_time.record.run.settings.threads.iter();
    let data = context! {
        summary => summary(tuning).page(),
        engines,
        threads => threads.map(ToString::to_string).collect::<Vec<_>>(),
        allowance => STEADY_ALLOWANCE - 1.0,
    };
    let text = template::render("detail/tuning.md.j2", context! { data })?;
    let answer = answer(tuning, called);
    let page = template::page(TITLE, [answer.as_str()], &text)?;
    files.insert(PAGE.into(), page.into_bytes());
    Ok(files)
}

/// Which engines have a setting that helps.
pub(crate) fn answer(tuning: &Tuning, called: &dyn Fn(&str) -> String) -> String {
    let needs = Need::ALL.map(|need| {
        let mut engines: Vec<String> = tuning
            .decisive()
            .iter()
            .filter(|ablation| matches!(advise(ablation, need), Advice::Use(_)))
            .map(|ablation| called(&ablation.backend))
            .collect();
        engines.sort_unstable();
        engines.dedup();
        let what = match need {
            Need::Cold => "the cold start",
            Need::Serve => "pass 1 of a service",
        };
        match &engines[..] {
            [] => format!("No setting is certain to shorten {what}."),
            engines => format!("A setting shortens {what} on {}.", list(engines)),
        }
    });
    needs.join(" ")
}

/// The recommendations, for a terminal.
pub fn tuning_summary(tuning: &Tuning) -> String {
    summary(tuning).terminal()
}

/// What is recommended of each engine for each need, and what it gives.
fn summary(tuning: &Tuning) -> Table {
    let mut table = Table::new(["engine", "for", "recommended", "what it gives"]);
    for ablation in tuning.decisive() {
        for need in Need::ALL {
            let figure = figures(need)[0];
            let (name, gives) = match advise(ablation, need) {
                Advice::Use(setting) => (
                    format!("`{}`", setting.name()),
                    format!("{figure} {}", against(setting, figure)),
                ),
                Advice::Open { bound, .. } => (
                    "nothing is certain yet".into(),
                    format!("{figure}: gain below {:.0} %", 100.0 * bound),
                ),
                Advice::Nothing { bound } => (
                    "nothing".into(),
                    bound.map_or_else(String::new, |b| format!("no gain above {:.0} %", 100.0 * b)),
                ),
            };
            table.row([ablation.backend.clone(), need.to_string(), name, gives]);
        }
    }
    table
}

fn of_backend<'a>(
    ablations: &'a [Ablation],
    backend: &'a str,
) -> impl Iterator<Item = &'a Ablation> {
    ablations.iter().filter(move |a| a.backend == backend)
}

fn title<'a>(tuning: &'a Tuning, ablation: &'a Ablation) -> &'a str {
    let mut models = tuning.one_at_a_time.workload.models.iter();
    models
        .find(|m| m.name == ablation.model)
        .map_or(&ablation.model, |m| &m.title)
}

/// The recommended settings, each knob with its value once.
fn knobs_to_show(ablation: &Ablation) -> [Knobs; 2] {
    let [cold, serve] = Need::ALL.map(|need| {
        let setting = recommended(ablation, need);
        setting.map_or_else(Knobs::default, |s| s.knobs.clone())
    });
    let own = serve
        .settings()
        .filter(|(name, value)| cold.get(name) != Some(value));
    let own = own.collect();
    [cold, own]
}

/// What to use for a need and why, or what is known where nothing can be recommended.
fn advice(ablation: &Ablation, need: Need) -> String {
    let title = match need {
        Need::Cold => "**Cold**, a process that answers a few times:",
        Need::Serve => "**Serve**, a service that prepares before its first request:",
    };
    let advice = advise(ablation, need);
    let Advice::Use(setting) = advice else {
        return format!("{title} {}", untold(&advice, need));
    };
    let mut text = format!("{title} use `{}`. ", setting.name());
    match need {
        Need::Cold => {
            text += &format!(
                "The first answer takes {} the time of the default, the third {}.",
                against(setting, Figure::ColdStart),
                against(setting, Figure::ThreeAnswers),
            );
        }
        Need::Serve => {
            text += &format!(
                "Pass 1 takes {} the time of the default, pass 2 {}. {}",
                against(setting, Figure::FirstPass),
                against(setting, Figure::SecondPass),
                warm_up(ablation, setting),
            );
        }
    }
    if let Some(sentence) = break_even_sentence(ablation.break_even(setting)) {
        text += " ";
        text += &sentence;
    }
    text
}

/// How many passes on zeros the setting has, whether more would help, and when it is ready.
fn warm_up(ablation: &Ablation, setting: &Setting) -> String {
    let mut text: String = match warm_up_passes(&setting.knobs) {
        Some(0) => "It runs no warm-up pass".into(),
        Some(1) => "It runs one warm-up pass".into(),
        Some(passes) => format!("It runs {passes} warm-up passes"),
        None => "It runs one warm-up pass on a small input".into(),
    };
    if warm_up_suffices(ablation, setting) {
        text += ", and more do not measurably help";
    }
    let own = setting.latency.as_ref().and_then(ready_ms);
    if let Some((own, default)) = own.zip(ready_ms(&ablation.default)) {
        text += &format!(
            "; the service is ready {} ms after its start (default: {} ms)",
            milliseconds(own),
            milliseconds(default)
        );
    }
    text + "."
}

/// From the spawn until the first real pass may begin.
fn ready_ms(latency: &Latency) -> Option<f64> {
    median(latency.by_round(Figure::Ready).into_values())
}

/// What is known where nothing is recommended.
fn untold(advice: &Advice, need: Need) -> String {
    let gain = match need {
        Need::Cold => "shortens the cold start",
        Need::Serve => "shortens pass 1",
    };
    match advice {
        Advice::Use(setting) => format!("use `{}`.", setting.name()),
        Advice::Nothing { bound: None } => {
            "no setting that was tried keeps the outputs and the steady time.".into()
        }
        Advice::Nothing { bound: Some(bound) } => format!(
            "nothing to recommend. No setting that was tried {gain} by more than {:.0} %.",
            100.0 * bound
        ),
        Advice::Open {
            seeming,
            seconds,
            bound,
        } => {
            let [first, second] = figures(need);
            let seen = [first, second, Figure::Steady];
            let seen = seen.map(|figure| format!("{figure} {}", against(seeming, figure)));
            format!(
                "no setting is certain to help yet. The largest gain that these measurements cannot rule \
                 out is {:.0} %. The most promising setting is `{}`: {}. {}.",
                100.0 * bound,
                seeming.name(),
                seen.join(", "),
                capitalised(&needed(*seconds)),
            )
        }
    }
}

/// What it takes to tell.
fn needed(seconds: Option<f64>) -> String {
    seconds.map_or_else(
        || "no reasonable time would tell".into(),
        |seconds| format!("about {} more of measuring would tell", duration(seconds)),
    )
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn against(setting: &Setting, figure: Figure) -> String {
    let comparison = setting.against.get(&figure);
    comparison.map_or_else(|| "–".into(), |c| times_with_interval(c.ratio, c.interval))
}

fn goals_in_words(ablation: &Ablation, setting: Option<&Setting>, need: Need) -> String {
    let goals: Vec<String> = goals(ablation, setting, need)
        .into_iter()
        .map(|goal| {
            let reached = match goal.reached() {
                Reached::Met => "met",
                Reached::NotMet => "not met",
                Reached::Open => "open",
            };
            format!("{} ≤ {}×: {reached}", goal.name, goal.limit)
        })
        .collect();
    if goals.is_empty() {
        "–".into()
    } else {
        goals.join(", ")
    }
}

fn goals_of(ablation: &Ablation) -> Vec<Goals> {
    let default = Goals {
        with: "by default".into(),
        reached: goals_in_words(ablation, None, Need::Serve),
    };
    let recommended = Need::ALL.into_iter().filter_map(|need| {
        let setting = recommended(ablation, need)?;
        Some(Goals {
            with: format!("with what is recommended for {need}"),
            reached: goals_in_words(ablation, Some(setting), need),
        })
    });
    [default].into_iter().chain(recommended).collect()
}

/// The default and what is recommended side by side.
fn recommendations(ablation: &Ablation) -> Table {
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
        ("pass 1", Figure::FirstPass),
        ("pass 2", Figure::SecondPass),
        ("steady", Figure::Steady),
    ] {
        let time = median(default.by_round(figure).into_values());
        let time = time.map_or_else(|| "–".into(), |ms| format!("{} ms", milliseconds(ms)));
        rows.push(row(name, time, &|_, s| against(s, figure)));
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

/// Where passes spend their time, by default and with the tuning; nothing where it was not asked.
fn explained(tuning: &Tuning) -> Result<Vec<Explanation>> {
    // <record>/tuning/<which>
    let record = tuning.one_at_a_time.record.folder.ancestors().nth(2);
    // One of another version is no reason to show nothing of settings.
    let explain = record.and_then(|record| explain::read(record).ok().flatten());
    Ok(explain.map_or_else(Vec::new, |explain| judge(&explain).explanations))
}

/// What is left of a slow first pass without warm-up passes: with what is recommended, else by default.
fn excess(ablation: &Ablation, explained: &[Explanation]) -> Option<String> {
    let mut settings = Need::ALL
        .iter()
        .filter_map(|need| recommended(ablation, *need));
    let knobs = settings
        .next()
        .map_or_else(Knobs::default, |s| s.knobs.clone());
    let profiled = explain::without_warm_up(&knobs);
    let explanation = explained.iter().find(|e| {
        e.backend == ablation.backend && e.model == ablation.model && e.knobs == profiled
    });
    explanation.map(|e| {
        let setting = if profiled == Knobs::default() {
            "By default".into()
        } else {
            format!("With `{}`", name(&profiled))
        };
        format!("{setting}: {}", remains(e))
    })
}

/// What each further warm-up pass gives and costs, with the setting for a service; nothing where only one
/// number was measured.
fn warm_up_table(ablation: &Ablation) -> Option<WarmUp> {
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

/// After how many passes it pays, where that is known.
fn break_even_sentence(break_even: Option<BreakEven>) -> Option<String> {
    Some(match break_even? {
        BreakEven::Untold => return None,
        BreakEven::AlwaysAhead => "It is ahead of the default from the first answer on.".into(),
        BreakEven::NeverAhead => {
            "Counted from the start of the process it is never ahead of the default.".into()
        }
        BreakEven::AheadUntil(passes, (low, high)) => format!(
            "It is ahead of the default for the first {passes:.0} passes ({low:.0}–{high:.0})."
        ),
        BreakEven::AheadFrom(passes, (low, high)) => {
            format!("It is ahead of the default from pass {passes:.0} on ({low:.0}–{high:.0}).")
        }
    })
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
        Some(BreakEven::Untold) => "not decided".into(),
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
fn combined(ablation: &Ablation) -> Combined {
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

fn outputs_or_failure(setting: &Setting) -> String {
    match &setting.failure {
        Some(failure) => format!("⚠ {failure}"),
        None => outputs(&setting.outputs),
    }
}

/// Every setting by itself.
fn singles(ablation: &Ablation, description: Option<&Description>) -> Singles {
    let mut ratios = Table::new(["setting", "cold start", "pass 1", "pass 2", "steady"]);
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
fn shortened(words: &str) -> String {
    if words.chars().count() <= OUTPUTS {
        return words.into();
    }
    words.chars().take(OUTPUTS).chain(['…']).collect()
}

/// Writes the page of what settings do into `folder`, with its plots; returns the page.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write(workspace: &Workspace, tuning: &Tuning, folder: &Path) -> Result<PathBuf> {
    for (path, bytes) in files(workspace, tuning, &str::to_owned)? {
        write_file(&folder.join(path), &bytes)?;
    }
    Ok(folder.join(PAGE))
}
