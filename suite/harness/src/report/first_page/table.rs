//! One row an engine: does it agree, and what does it cost?

use firstpass_statistics::bootstrap::Estimate;
use firstpass_trial::{
    agreement::{Agreement, steps_in_words},
    expectation::{ExpectationVerdict, share_of_scale},
    model::ModelDescription,
};
use serde::Serialize;

use super::{fewest_threads, first_passes::faster_when_tuned};
use crate::{
    page::{numbers::milliseconds, table::Table},
    studies::first_passes::{
        analysis::{Analysis, Row},
        judge::latency::{LEAST_PASSES, Latency},
        untimed::untimed,
    },
};

/// What was not measured.
const NONE: &str = "–";

/// The engines of one model, with the fewest threads.
#[derive(Debug, Serialize)]
pub(crate) struct EngineTable {
    page: minijinja::Value,
    /// Whether tuned settings make the first pass of any engine faster.
    has_tuned: bool,
    #[serde(skip)]
    terminal: String,
}

impl EngineTable {
    pub(crate) fn terminal(&self) -> &str {
        &self.terminal
    }
}

pub(crate) fn engine_table(analysis: &Analysis, model: &ModelDescription) -> EngineTable {
    let rows = analysis.rows(model);
    let table = table(analysis, rows.iter());
    let threads = fewest_threads(rows);
    let mut rows = rows.iter();
    EngineTable {
        has_tuned: rows.any(|row| cured(analysis, row, threads).is_some()),
        page: table.seen(),
        terminal: on_terminal(analysis, model, threads).terminal(),
    }
}

/// At most this many engines all have a row on a terminal.
const ON_TERMINAL: usize = 8;

/// Of more, so many have one.
const FASTEST: usize = 5;

/// The same for a terminal: the fastest of many.
fn on_terminal(analysis: &Analysis, model: &ModelDescription, threads: usize) -> Table {
    let rows = analysis.rows(model);
    if rows.len() <= ON_TERMINAL {
        return table(analysis, rows.iter());
    }
    let steady = |row: &&Row| {
        let latency = row.latency.get(&threads);
        let steady = latency.and_then(|latency| latency.steady.as_ref());
        steady.map_or(f64::INFINITY, |estimate| estimate.median)
    };
    let mut fastest: Vec<&Row> = rows.iter().collect();
    fastest.sort_by(|a, b| steady(a).total_cmp(&steady(b)));
    let (shown, others) = fastest.split_at(FASTEST);
    let mut table = table(analysis, shown.iter().copied());
    table.row([format!("{} more in the report", others.len())]);
    table
}

fn table<'a>(analysis: &Analysis, rows: impl Iterator<Item = &'a Row> + Clone) -> Table {
    let threads = fewest_threads(rows.clone());
    let any = |is: &dyn Fn(&Row) -> bool| rows.clone().any(is);
    let with_faces = any(&|row| row.golden_faces.is_some());
    let with_classes = any(&|row| row.golden_classes.is_some());
    let with_tuned = any(&|row| cured(analysis, row, threads).is_some());
    let mut header = vec!["engine", "outputs"];
    header.extend(with_faces.then_some("faces"));
    header.extend(with_classes.then_some("class"));
    header.extend(["cold start", "pass 1", "pass 2", "steady"]);
    header.extend(with_tuned.then_some("tuned"));
    let lines = rows.map(|row| {
        let latency = row.latency.get(&threads);
        // What was not timed has a first look.
        let look = untimed(analysis, row)
            .into_iter()
            .find(|u| u.threads == threads);
        let look = look.map(|untimed| untimed.look).unwrap_or_default();
        let time = |of: fn(&Latency) -> Option<&Estimate>, look: Option<f64>| match latency {
            Some(latency) => of(latency).map_or_else(|| NONE.into(), |e| milliseconds(e.median)),
            None => look.map_or_else(|| NONE.into(), |ms| format!("about {}", milliseconds(ms))),
        };
        let mut line = vec![row.label.clone(), outputs(row)];
        if with_faces {
            line.push(faces(row));
        }
        if with_classes {
            line.push(classes(row));
        }
        line.extend([
            time(|l| l.cold_start.as_ref(), look.cold_start),
            time(|l| l.pass.get(&1), look.first_pass),
            time(|l| l.pass.get(&2), look.second_pass),
            // A few passes tell of no steady state.
            time(
                |l| l.steady.as_ref().filter(|_| l.passes >= LEAST_PASSES),
                None,
            ),
        ]);
        if with_tuned {
            let tuned = cured(analysis, row, threads);
            let first = tuned.and_then(|l| l.pass.get(&1));
            line.push(first.map_or_else(|| NONE.into(), |e| milliseconds(e.median)));
        }
        line
    });
    Table::new(header).rows(lines)
}

/// The times with the recommended settings, where these are claimed to make pass 1 faster: those that are for the
/// cold start do nothing for it.
fn cured<'a>(analysis: &Analysis, row: &'a Row, threads: usize) -> Option<&'a Latency> {
    faster_when_tuned(analysis, row, row.latency.get(&threads)?)
}

/// How the outputs compare with the reference, in a word or two.
fn outputs(row: &Row) -> String {
    let within = |otherwise: &str| {
        let found = row.agreement.as_deref().and_then(distance);
        found.unwrap_or_else(|| otherwise.to_owned())
    };
    match &row.verdict {
        _ if row.outputs.is_none() => "none".into(),
        None => NONE.into(),
        Some(ExpectationVerdict::Exact) => "exact".into(),
        Some(ExpectationVerdict::FloatRounding) => "≈ equal".into(),
        Some(ExpectationVerdict::InnerRounding(db)) => format!("≈, {db:.0} dB"),
        Some(ExpectationVerdict::StepRounding(share)) => {
            format!("1 step in {}", share_of_values(*share))
        }
        Some(ExpectationVerdict::OtherRounding { .. }) => format!("rounding, {}", within("other")),
        Some(ExpectationVerdict::Declared { .. }) => within("declared"),
        _ if !row.not_finite.is_empty() => "⚠ NaN or infinite".into(),
        Some(ExpectationVerdict::Undecided(how)) if how.is_empty() => "as others".into(),
        Some(ExpectationVerdict::Differs(_) | ExpectationVerdict::Undecided(_)) => {
            format!("⚠ {}", within("differs"))
        }
        Some(ExpectationVerdict::Unexpected(_)) => format!("⚠ {}", within("differs")),
    }
}

/// A share of values, which are few: never as none.
fn share_of_values(share: f64) -> String {
    let percent = 100.0 * share;
    match percent {
        0.1.. => format!("{percent:.1} %"),
        _ => "< 0.1 %".into(),
    }
}

/// How far outputs are off, in steps where one with steps is off by any; `None` where no distance can be told.
fn distance(agreements: &[Agreement]) -> Option<String> {
    if agreements.iter().any(|a| a.other_shape > 0) {
        return Some("other shape or type".into());
    }
    let steps = agreements
        .iter()
        .filter_map(|a| Some(a.steps.as_ref()?.max));
    let floats = agreements.iter().filter(|a| a.steps.is_none());
    let relative = floats.map(|a| a.max_relative).reduce(f64::max);
    let relative = relative.filter(|most| most.is_finite() && *most > 0.0);
    match (steps.max(), relative) {
        (None | Some(0), Some(most)) => Some(format!("≤ {}", share_of_scale(most))),
        // They round to the same steps, and have other bits.
        (Some(0), None) => Some("< 1 step".into()),
        (Some(steps), _) => Some(format!("≤ {}", steps_in_words(steps))),
        (None, None) => None,
    }
}

fn faces(row: &Row) -> String {
    let Some(faces) = &row.golden_faces else {
        return NONE.into();
    };
    if faces.same_faces() {
        return format!("yes, {}", faces.matched);
    }
    let parts = [(faces.missed, "missed"), (faces.extra, "more")];
    let parts = parts.iter().filter(|(n, _)| *n > 0);
    let parts: Vec<String> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    parts.join(", ")
}

fn classes(row: &Row) -> String {
    let classes = row.golden_classes.as_ref();
    classes.map_or_else(
        || NONE.into(),
        |c| format!("{} of {}", c.same_best, c.classifications),
    )
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Data, Tensor};
    use firstpass_trial::{
        agreement::compare,
        model::{ModelDescription, OutputSpec, Precision},
    };

    use super::*;

    /// How far these outputs are off: what is right, and what was given.
    fn off(outputs: &[(Data, Data)]) -> anyhow::Result<Option<String>> {
        let named = |number: usize| OutputSpec {
            name: format!("y{number}"),
            ..OutputSpec::default()
        };
        let model = ModelDescription {
            outputs: (0..outputs.len()).map(named).collect(),
            ..ModelDescription::for_tests(Precision::Int8)
        };
        let tensor = |data: &Data| Ok(Tensor::new(&[data.len()], data.clone())?);
        let right = outputs.iter().map(|(right, _)| tensor(right));
        let given = outputs.iter().map(|(_, given)| tensor(given));
        let right: Vec<Tensor> = right.collect::<anyhow::Result<_>>()?;
        let given: Vec<Tensor> = given.collect::<anyhow::Result<_>>()?;
        Ok(distance(&compare(&model, &[(&right, &given)])))
    }

    /// Integers that are right once hid floats that were twice as large: "< 1 step".
    #[test]
    fn the_distance_is_that_of_the_output_that_is_off() -> anyhow::Result<()> {
        let same = || (Data::from(vec![1_u8, 2]), Data::from(vec![1_u8, 2]));
        let step = (Data::from(vec![1_u8, 2]), Data::from(vec![1_u8, 4]));
        let double = || (Data::from(vec![1.0_f32]), Data::from(vec![2.0_f32]));
        assert_eq!(off(&[same()])?.as_deref(), Some("< 1 step"));
        assert_eq!(off(&[same(), double()])?.as_deref(), Some("≤ 50 %"));
        assert_eq!(off(&[step, double()])?.as_deref(), Some("≤ 2 steps"));
        let other = (Data::from(vec![true]), Data::from(vec![1_u8]));
        assert_eq!(
            off(&[same(), other])?.as_deref(),
            Some("other shape or type")
        );
        Ok(())
    }
}
