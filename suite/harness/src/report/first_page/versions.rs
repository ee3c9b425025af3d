//! What an upgrade of an engine changes, where several versions of one were measured.

use firstpass_statistics::comparison::{Comparison, Verdict};
use firstpass_trial::{
    agreement::{Agreement, compare, pairs, steps_in_words},
    engine::base,
    model::ModelDescription,
    outputs::Outputs,
};
use serde::Serialize;

use crate::studies::first_passes::{
    analysis::{Analysis, Row},
    judge::latency::Figure,
};

/// From a version to the next one that was measured.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Upgrade {
    pub from: String,
    pub to: String,
    /// `None` where one of the two gave no outputs.
    pub outputs: Option<Change>,
    /// What the newer one takes, of the time of the older one.
    pub times: Vec<Time>,
}

/// How outputs change.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Change {
    /// Inputs on which both gave outputs.
    pub inputs: usize,
    /// Outputs with other bits, in words.
    pub differing: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Time {
    /// `a steady pass`.
    pub of: &'static str,
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
    /// `faster`, `slower` or `same`; `open` where it is not decided.
    pub verdict: &'static str,
}

/// Every step from a version to the next one, engine by engine.
pub(super) fn upgrades(
    analysis: &Analysis,
    model: &ModelDescription,
    threads: usize,
) -> Vec<Upgrade> {
    let rows = analysis.rows(model);
    let mut versions: Vec<(&str, Vec<u64>, &Row)> = rows
        .iter()
        .filter_map(|row| {
            let backend = &row.cell.backend;
            if analysis.record.run.processors.contains_key(backend) {
                return None;
            }
            let described = analysis
                .record
                .backends
                .get(backend)?
                .description
                .as_ref()?;
            let is_usual = rows.iter().find(|r| r.cell.backend == *backend)?.cell == row.cell;
            is_usual.then(|| (base(backend), numbers(&described.engine.version), row))
        })
        .collect();
    versions.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let steps = versions.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    steps
        .map(|pair| upgrade(analysis, model, pair[0].2, pair[1].2, threads))
        .collect()
}

/// Outputs with other bits, each with how far they are apart.
pub(super) fn differing(model: &ModelDescription, from: &Outputs, to: &Outputs) -> Vec<String> {
    compare(model, &pairs(from, to))
        .iter()
        .zip(&model.outputs)
        .filter(|(agreement, _)| !agreement.bit_equal())
        .map(|(agreement, spec)| format!("{}: {}", spec.name, difference(agreement)))
        .collect()
}

fn upgrade(
    analysis: &Analysis,
    model: &ModelDescription,
    from: &Row,
    to: &Row,
    threads: usize,
) -> Upgrade {
    let label = |row: &Row| {
        let described = &analysis.record.backends.get(&row.cell.backend);
        let described = described.and_then(|backend| backend.description.as_ref());
        match described {
            // The pinned version has a row without it.
            Some(described) if !row.label.contains(&described.engine.version) => {
                format!("{} {}", row.label, described.engine.version)
            }
            _ => row.label.clone(),
        }
    };
    let both = from.outputs.as_ref().zip(to.outputs.as_ref());
    let times = [
        ("a steady pass", Figure::Steady),
        ("pass 1", Figure::FirstPass),
        ("a cold start", Figure::ColdStart),
    ];
    let times = times.into_iter().filter_map(|(of, figure)| {
        let cells = (to.latency.get(&threads)?, from.latency.get(&threads)?);
        let compared = analysis
            .comparisons
            .get(&cells.0.cell, &cells.1.cell, figure)?;
        Some(time(of, &compared))
    });
    Upgrade {
        from: label(from),
        to: label(to),
        outputs: both.map(|(from, to)| Change {
            inputs: pairs(from, to).len(),
            differing: differing(model, from, to),
        }),
        times: times.collect(),
    }
}

/// How far outputs are apart that have other bits.
fn difference(agreement: &Agreement) -> String {
    if agreement.other_shape > 0 {
        return "another shape or type".into();
    }
    let share = 1.0 - agreement.same_bits as f64 / agreement.values.max(1) as f64;
    let steps = agreement.steps.as_ref();
    let steps = steps.map(|steps| format!(" ({} of quantization)", steps_in_words(steps.max)));
    format!(
        "{:.1} % of the values differ, by up to {}{}",
        share * 100.0,
        size(agreement.max_abs),
        steps.unwrap_or_default()
    )
}

/// As people write it; what is very small or very large with its power of ten.
fn size(value: f64) -> String {
    match value {
        v if !(0.001..10_000.0).contains(&v) => format!("{v:.2e}"),
        v if v < 10.0 => format!("{v:.3}"),
        v => format!("{v:.1}"),
    }
}

fn time(of: &'static str, compared: &Comparison) -> Time {
    Time {
        of,
        ratio: compared.ratio,
        low: compared.interval.0,
        high: compared.interval.1,
        verdict: match compared.verdict {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::NoDifference => "same",
            Verdict::Open => "open",
        },
    }
}

/// The numbers of a version in order, so that 1.9 comes before 1.20.
fn numbers(version: &str) -> Vec<u64> {
    let parts = version.split(|c: char| !c.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use minijinja::context;

    use super::size;
    use crate::page::template;

    #[test]
    fn sizes_are_written_as_people_do() {
        let sizes = [9.0, 12.34, 0.00012, 3e7].map(size);
        assert_eq!(sizes, ["9.000", "12.3", "1.20e-4", "3.00e7"]);
    }

    /// An interval that lies on one side of 1 is not said to tell nothing.
    #[test]
    fn what_seems_longer_is_said_to() -> Result<()> {
        let said = |low: f64, high: f64| {
            let time =
                context! { of => "a cold start", verdict => "open", ratio => 1.0, low, high };
            let outputs = context! { differing => [""; 0], inputs => 2 };
            let upgrade = context! { from => "e 1", to => "e 2", outputs, times => [time] };
            let model = context! { called => "m", upgrades => [upgrade] };
            template::on_terminal("answer/versions.md.j2", context! { models => [model] })
        };
        let longer = said(1.13, 1.56)?;
        let words = "A cold start seems to take longer, which is not certain yet (1.13× to 1.56× the time).";
        assert!(longer.contains(words), "{longer}");
        assert!(said(0.5, 0.9)?.contains("A cold start seems to take less"));
        assert!(said(0.9, 1.1)?.contains("Whether a cold start takes longer is open"));
        Ok(())
    }
}
