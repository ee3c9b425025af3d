//! The part of the report that says whose kernels saturate.

use std::collections::BTreeMap;

use anyhow::Result;
use firstpass_probe::Knobs;
use firstpass_trial::known::Known;
use minijinja::{Value, context};
use serde::Serialize;

use crate::{
    page::{numbers::ratio, template},
    studies::{
        diverge::{
            Diverge, LayerDifference,
            report::{Setting, places, simplest_rules, summary, with_titles},
        },
        first_passes::judge::latency::Figure,
        tune::Tuning,
    },
};

/// The setting of the referee under which sums saturate.
const SUMS: &str = "sums";

/// An engine that saturates.
#[derive(Serialize)]
struct Saturates {
    engine: String,
    layers: usize,
}

/// Which engines saturate, in how many layers.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(diverge: &Diverge, called: &dyn Fn(&str) -> String) -> Result<String> {
    let saturate = diverge.layers.iter().filter_map(|(engine, layers)| {
        let of_sums = |layer: &&LayerDifference| {
            let rules = layer.simplest.as_ref();
            rules.is_some_and(|rules| rules.get(SUMS).is_some())
        };
        let layers = layers.iter().filter(of_sums).count();
        (layers > 0).then(|| Saturates {
            engine: called(engine),
            layers,
        })
    });
    let saturate: Vec<Saturates> = saturate.collect();
    let data = context! { saturate, model => diverge.run.model };
    template::answer("saturation.md.j2", data)
}

/// The section on the fixture whose activations use all of their range.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn section(
    diverge: &Diverge,
    known: &BTreeMap<String, Known>,
    tune: Option<&Tuning>,
    called: &dyn Fn(&str) -> String,
) -> Result<String> {
    let switches = switches(diverge, known, tune).into_iter();
    let switches = switches.map(|switch| Switch {
        engine: called(&switch.engine),
        ..switch
    });
    let diverge = &with_titles(diverge, called);
    let data = context! {
        model => diverge.run.model,
        sample => diverge.run.sample,
        setting => Setting::of(diverge),
        simplest => simplest_rules(diverge),
        summary => summary(diverge).seen(),
        places => places(diverge).page(),
        switches => switches.collect::<Vec<_>>(),
    };
    template::render("detail/saturation.md.j2", context! { data })
}

/// What makes an engine's sums exact.
#[derive(Serialize)]
struct Switch {
    engine: String,
    /// The setting; `None` where the engine has none.
    setting: Option<String>,
    /// Its steady time over that without, where it was measured.
    cost: Option<String>,
    /// In markdown, as it is declared.
    reason: Value,
}

/// What makes each engine's sums exact, with its cost where that was measured.
fn switches(
    diverge: &Diverge,
    known: &BTreeMap<String, Known>,
    tune: Option<&Tuning>,
) -> Vec<Switch> {
    let of = |(engine, known): (&String, &Known)| {
        let exact = known.exact_sums.as_ref()?;
        let setting = exact.setting.as_ref();
        let cost = setting.and_then(|(knob, value)| {
            let wanted = Knobs::default().with(knob, value);
            let mut ablations = tune.iter().flat_map(|c| &c.one_at_a_time.ablations);
            let ablation = ablations.find(|ablation| ablation.backend == *engine)?;
            let setting = ablation.settings.iter().find(|s| s.knobs == wanted)?;
            setting.against.get(&Figure::Steady)
        });
        let reason = exact.reason.split_whitespace();
        Some(Switch {
            engine: engine.clone(),
            setting: setting.map(|(knob, value)| format!("{knob}={value}")),
            cost: cost.map(|comparison| ratio(Some(*comparison))),
            reason: template::markdown(reason.collect::<Vec<_>>().join(" ")),
        })
    };
    // An engine that was not measured here says nothing here.
    let measured = known
        .iter()
        .filter(|(engine, _)| diverge.layers.contains_key(*engine));
    measured.filter_map(of).collect()
}
