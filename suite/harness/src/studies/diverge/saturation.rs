//! The part of the report that says whose kernels saturate.

use std::collections::BTreeMap;

use firstpass_probe::Knobs;
use firstpass_trial::known::Known;

use crate::{
    page::{
        numbers::{counted, list},
        table::Table,
    },
    studies::{
        diverge::{
            Diverge, LayerDifference,
            report::{setting, simplest, summary},
        },
        first_passes::judge::latency::Figure,
        tune::Tuning,
    },
};

/// The setting of the referee under which sums saturate.
const SUMS: &str = "sums";

/// Which engines saturate, in how many layers.
pub(crate) fn answer(diverge: &Diverge, called: &dyn Fn(&str) -> String) -> String {
    let saturate = diverge.layers.iter().filter_map(|(engine, layers)| {
        let of_sums = |layer: &&LayerDifference| {
            let rules = layer.simplest.as_ref();
            rules.is_some_and(|rules| rules.get(SUMS).is_some())
        };
        let layers = layers.iter().filter(of_sums).count();
        (layers > 0).then(|| format!("{} (in {})", called(engine), counted(layers, "layer")))
    });
    let saturate: Vec<String> = saturate.collect();
    match &saturate[..] {
        [] => "No engine saturates on this machine.".into(),
        some => format!(
            "On this machine {} saturate where activations use all of 0 to 255.",
            list(some)
        ),
    }
}

/// The section on the fixture whose activations use all of their range.
pub(crate) fn section(
    diverge: &Diverge,
    known: &BTreeMap<String, Known>,
    tune: Option<&Tuning>,
) -> String {
    [
        "## Who saturates on this machine?".to_owned(),
        format!(
            "Kernels that add two products in 16 bits overflow where activations use all of 0 to 255, \
             and not where they stay within 7 bits, for which PyTorch's default calibrates. {} is the \
             same model without that reserve, here on `{}`{}. A layer that is exact by itself only with \
             a setting of `sums` saturates.",
            diverge.run.model,
            diverge.run.sample,
            setting(diverge)
        ),
        simplest(diverge).markdown(),
        summary(diverge).markdown(),
        "The switch that makes sums exact, and its cost: the steady time with it over that without, of \
         the settings that were measured for this record (95 % intervals)."
            .into(),
        Table::new(["engine", "switch", "steady", "why"])
            .rows(switches(known, tune))
            .markdown(),
    ]
    .join("\n\n")
}

/// What makes each engine's sums exact, with its cost where that was measured.
fn switches(known: &BTreeMap<String, Known>, tune: Option<&Tuning>) -> Vec<Vec<String>> {
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
        Some(vec![
            engine.clone(),
            setting.map_or_else(
                || "none".into(),
                |(knob, value)| format!("`{knob}={value}`"),
            ),
            cost.map_or_else(
                || "–".into(),
                |c| {
                    let (low, high) = c.interval;
                    format!("{:.2}× ({low:.2}–{high:.2}), {}", c.ratio, c.verdict)
                },
            ),
            exact.reason.clone(),
        ])
    };
    known.iter().filter_map(of).collect()
}
