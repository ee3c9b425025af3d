//! The engines of which no setting is certain to help, and those of which none was timed.

use std::collections::BTreeSet;

use firstpass_probe::Need;
use serde::Serialize;

use crate::{
    page::shell,
    studies::tune::{
        Tuning,
        judge::{
            Ablation,
            recommend::{Advice, advise},
        },
    },
};

/// The engines without a setting that is certain to help.
#[derive(Serialize)]
pub(super) struct Uncertain {
    need: String,
    engines: Vec<String>,
    /// The largest gain that is not ruled out, as a share.
    bound: Option<f64>,
}

/// Those of each need for which there are any.
pub(super) fn uncertain(tuning: &Tuning, called: &dyn Fn(&str) -> String) -> Vec<Uncertain> {
    let of_need = |need: Need| {
        let compared = tuning.decisive().into_iter().filter(|a| a.compares());
        let advised = compared.map(|a| (a, advise(a, need)));
        let without: Vec<(&Ablation, Option<f64>)> = advised
            .filter_map(|(ablation, advice)| match advice {
                Advice::Use(_) => None,
                Advice::Open { bound, .. } => Some((ablation, Some(bound))),
                Advice::Nothing { bound } => Some((ablation, bound)),
            })
            .collect();
        let mut engines: Vec<String> = without.iter().map(|(a, _)| called(&a.backend)).collect();
        engines.dedup();
        Uncertain {
            need: need.to_string(),
            engines,
            bound: without
                .iter()
                .filter_map(|(_, bound)| *bound)
                .reduce(f64::max),
        }
    };
    let all = Need::ALL.map(of_need).into_iter();
    all.filter(|one| !one.engines.is_empty()).collect()
}

/// The engines that ran and of which no setting was timed beside the default.
#[derive(Serialize)]
pub(super) struct Untried {
    pub engines: Vec<String>,
    /// What times them.
    command: String,
}

/// `None` where each was.
pub(super) fn untried(tuning: &Tuning, called: &dyn Fn(&str) -> String) -> Option<Untried> {
    let compared = tuning.decisive().into_iter().filter(|a| a.compares());
    let compared: BTreeSet<&str> = compared.map(|a| a.backend.as_str()).collect();
    let names = tuning.ran();
    let names: Vec<&str> = names.difference(&compared).copied().collect();
    (!names.is_empty()).then(|| Untried {
        engines: names.iter().map(|name| called(name)).collect(),
        command: command(tuning, &names),
    })
}

/// What times these engines, on the model that was tried.
fn command(tuning: &Tuning, engines: &[&str]) -> String {
    let (mut words, tries_only) = given(tuning);
    if tries_only {
        words.extend(named(engines));
    }
    words.extend(["--budget".into(), "20m".into()]);
    shell::command(words.iter().map(String::as_str))
}

/// The study of an engine alone with a budget, where it is a command of its own.
pub(super) fn alone(tuning: &Tuning, engine: &str, budget_s: f64) -> Option<String> {
    let (mut words, tries_only) = given(tuning);
    words.extend(named(&[engine]));
    let minutes = (budget_s / 60.0).ceil().max(1.0);
    words.extend(["--budget".into(), format!("{minutes}m")]);
    tries_only.then(|| shell::command(words.iter().map(String::as_str)))
}

/// The command that tried settings, and whether it does nothing else.
fn given(tuning: &Tuning) -> (Vec<String>, bool) {
    let mut records = tuning.one_at_a_time.records.iter();
    let given = records.next().map(|record| &record.run.settings.command);
    match given.cloned().unwrap_or_default() {
        words if words.is_empty() => (vec!["tune".into()], true),
        words => {
            let tries_only = words[0] == "tune";
            (words, tries_only)
        }
    }
}

fn named(engines: &[&str]) -> impl Iterator<Item = String> {
    let words = engines.iter().flat_map(|name| ["--engine", name]);
    words.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::tune::{
        judge::tests::ablation,
        tests::{of_engine, tuning},
    };

    #[test]
    fn of_an_engine_whose_settings_were_not_timed_nothing_is_said_but_that() {
        let slow = || of_engine("slow", ablation(&[("", 100.0, 10.0, "same")]));
        let same = || ablation(&[("", 100.0, 10.0, "same"), ("a=b", 100.0, 10.0, "same")]);
        let called = |name: &str| name.to_owned();
        let tried = tuning(vec![same(), slow()], vec![same(), slow()]);
        let of_cold = &uncertain(&tried, &called)[0];
        assert_eq!(of_cold.engines.len(), 1, "{:?}", of_cold.engines);
        let untried = untried(&tried, &called).expect("one was not timed");
        assert_eq!(untried.engines, ["slow"]);
        assert!(
            untried.command.contains("--engine slow"),
            "{}",
            untried.command
        );
        assert_eq!(
            alone(&tried, "slow", 61.0).as_deref(),
            Some("cargo firstpass tune --engine slow --budget 2m")
        );
        let all_tried = tuning(vec![same()], vec![same()]);
        assert!(super::untried(&all_tried, &called).is_none());
    }
}
