//! One row an engine: does it agree, and what does it cost?

use firstpass_statistics::bootstrap::Estimate;
use firstpass_trial::{expectation::ExpectationVerdict, model::ModelDescription};
use serde::Serialize;

use super::fewest_threads;
use crate::{
    page::{numbers::milliseconds, table::Table, template::markdown},
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
    /// Whether tuned settings were measured.
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
    let table = table(analysis, model);
    let threads = fewest_threads(analysis.rows(model));
    let mut rows = analysis.rows(model).iter();
    EngineTable {
        has_tuned: rows.any(|row| row.tuned.contains_key(&threads)),
        page: markdown(table.markdown()),
        terminal: table.terminal(),
    }
}

fn table(analysis: &Analysis, model: &ModelDescription) -> Table {
    let rows = analysis.rows(model);
    let threads = fewest_threads(rows);
    let with_faces = rows.iter().any(|row| row.golden_faces.is_some());
    let with_classes = rows.iter().any(|row| row.golden_classes.is_some());
    let with_tuned = rows.iter().any(|row| row.tuned.contains_key(&threads));
    let mut header = vec!["engine", "outputs"];
    header.extend(with_faces.then_some("faces"));
    header.extend(with_classes.then_some("class"));
    header.extend(["cold start", "pass 1", "pass 2", "steady"]);
    header.extend(with_tuned.then_some("tuned"));
    let lines = rows.iter().map(|row| {
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
            let tuned = row.tuned.get(&threads);
            let first = tuned.and_then(|l| l.pass.get(&1));
            line.push(first.map_or_else(|| NONE.into(), |e| milliseconds(e.median)));
        }
        line
    });
    Table::new(header).rows(lines)
}

/// How the outputs compare with the reference, in a word or two.
fn outputs(row: &Row) -> String {
    let steps = row.agreement.iter().flatten();
    let steps = steps.filter_map(|a| Some(a.steps.as_ref()?.max)).max();
    let within = |otherwise: &str| match steps {
        Some(1) => "≤ 1 step".into(),
        Some(steps) => format!("≤ {steps} steps"),
        None => otherwise.to_owned(),
    };
    match &row.verdict {
        _ if row.outputs.is_none() => "none".into(),
        None => NONE.into(),
        Some(ExpectationVerdict::Exact) => "exact".into(),
        Some(ExpectationVerdict::FloatRounding) => "equal".into(),
        Some(ExpectationVerdict::InnerRounding(db)) => format!("≈, {db:.0} dB"),
        Some(ExpectationVerdict::StepRounding(share)) => {
            format!("1 step in {:.1} %", 100.0 * share)
        }
        Some(ExpectationVerdict::Declared { .. }) => within("declared"),
        _ if !row.not_finite.is_empty() => "⚠ NaN or infinite".into(),
        Some(ExpectationVerdict::Undecided(how)) if how.is_empty() => "as others".into(),
        Some(ExpectationVerdict::Differs(_) | ExpectationVerdict::Undecided(_)) => {
            format!("⚠ {}", within("differs"))
        }
        Some(ExpectationVerdict::Unexpected(_)) => format!("⚠ {}", within("differs")),
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
