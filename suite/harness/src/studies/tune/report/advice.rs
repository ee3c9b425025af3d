//! What to use and why, in sentences, and which goals that reaches.

use anyhow::Result;
use firstpass_probe::{Knobs, Need, warm_up_passes};
use firstpass_statistics::median;
use serde::Serialize;

use crate::{
    page::{numbers::times_with_interval, template},
    studies::{
        first_passes::judge::latency::{Figure, Latency},
        tune::{
            Tuning,
            judge::{
                Ablation, BreakEven, Setting,
                race::MOST_ROUNDS,
                recommend::{
                    Advice, Reached, advise, figures, goals, recommended, warm_up_suffices,
                },
            },
            report::open::alone,
        },
    },
};

/// Which goals are reached by default, or with what is recommended for a need.
#[derive(Serialize)]
pub(super) struct Goals {
    with: String,
    reached: String,
}

/// The recommended settings, each knob with its value once.
pub(super) fn knobs_to_show(ablation: &Ablation) -> [Knobs; 2] {
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

/// What is advised for one need: `templates/detail/advice.md.j2` says it in words.
#[derive(Serialize)]
struct ForNeed {
    /// `cold` or `serve`.
    need: String,
    to_use: Option<ToUse>,
    open: Option<Open>,
    /// The largest gain that is not ruled out, as a share.
    bound: Option<f64>,
}

/// A setting that is certain to help. Times are those of the default.
#[derive(Serialize)]
struct ToUse {
    setting: String,
    /// The two figures that the need is about.
    first: String,
    second: String,
    warm_up: WarmUp,
    break_even: Option<BreakEvenPoint>,
}

/// The passes on zeros that a setting has.
#[derive(Serialize)]
struct WarmUp {
    /// `None` where it is one on a small input.
    passes: Option<usize>,
    /// Whether more do not measurably help.
    suffices: bool,
    /// From the start until the first real pass may begin, in ms, with the setting and by default.
    ready_ms: Option<(f64, f64)>,
}

/// After how many passes a setting pays.
#[derive(Serialize)]
struct BreakEvenPoint {
    /// `always`, `never`, `until` or `from`.
    ahead: &'static str,
    passes: f64,
    low: f64,
    high: f64,
}

/// The most promising setting of those of which nothing is certain.
#[derive(Serialize)]
struct Open {
    setting: String,
    /// What it seems to give, figure by figure.
    seen: Vec<String>,
    /// The budget of a study of this engine alone that would probably tell, in s; `None` where all its rounds would
    /// not.
    budget_s: Option<f64>,
    /// That study, where it is a command of its own.
    command: Option<String>,
    /// After how many rounds a study ends.
    rounds: usize,
}

/// What to use for a need and why, or what is known where nothing can be recommended.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(super) fn advice(tuning: &Tuning, ablation: &Ablation, need: Need) -> Result<String> {
    let advice = advise(ablation, need);
    let [first, second] = figures(need);
    let (mut to_use, mut open, mut bound) = (None, None, None);
    match advice {
        Advice::Use(setting) => {
            to_use = Some(ToUse {
                setting: setting.name(),
                first: against(setting, first),
                second: against(setting, second),
                warm_up: warm_up(ablation, setting),
                break_even: ablation.break_even(setting).and_then(break_even),
            });
        }
        Advice::Nothing { bound: known } => bound = known,
        Advice::Open {
            seeming,
            budget_s,
            bound: known,
        } => {
            let seen = [first, second, Figure::Steady];
            bound = Some(known);
            open = Some(Open {
                setting: seeming.name(),
                seen: seen
                    .map(|figure| format!("{figure} {}", against(seeming, figure)))
                    .into(),
                command: budget_s.and_then(|s| alone(tuning, &ablation.backend, s)),
                budget_s,
                rounds: MOST_ROUNDS,
            });
        }
    }
    let data = ForNeed {
        need: need.to_string(),
        to_use,
        open,
        bound,
    };
    let text = template::render("detail/advice.md.j2", &data)?;
    Ok(text.trim().to_owned())
}

fn warm_up(ablation: &Ablation, setting: &Setting) -> WarmUp {
    let own = setting.latency.as_ref().and_then(ready_ms);
    WarmUp {
        passes: warm_up_passes(&setting.knobs),
        suffices: warm_up_suffices(ablation, setting),
        ready_ms: own.zip(ready_ms(&ablation.default)),
    }
}

/// `None` where it is not known.
fn break_even(break_even: BreakEven) -> Option<BreakEvenPoint> {
    let (ahead, passes, (low, high)) = match break_even {
        BreakEven::Untold => return None,
        BreakEven::AlwaysAhead => ("always", 0.0, (0.0, 0.0)),
        BreakEven::NeverAhead => ("never", 0.0, (0.0, 0.0)),
        BreakEven::AheadUntil(passes, interval) => ("until", passes, interval),
        BreakEven::AheadFrom(passes, interval) => ("from", passes, interval),
    };
    Some(BreakEvenPoint {
        ahead,
        passes,
        low,
        high,
    })
}

/// From the spawn until the first real pass may begin.
pub(super) fn ready_ms(latency: &Latency) -> Option<f64> {
    median(latency.by_round(Figure::Ready).into_values())
}

pub(super) fn against(setting: &Setting, figure: Figure) -> String {
    let comparison = setting.against.get(&figure);
    comparison.map_or_else(|| "–".into(), |c| times_with_interval(c.ratio, c.interval))
}

pub(super) fn goals_in_words(ablation: &Ablation, setting: Option<&Setting>, need: Need) -> String {
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

pub(super) fn goals_of(ablation: &Ablation) -> Vec<Goals> {
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
