//! The plots of one model: the first passes of all engines, those of each, their distribution, and the phases
//! before them.

pub mod first_pass_distribution;
pub mod first_passes;
pub mod overview;
pub mod phases;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_probe::file_name;
use firstpass_trial::model::ModelDescription;

use crate::{
    page::{markdown::image, plots::look::Look},
    studies::first_passes::analysis::{Analysis, Row},
};

/// What a plot shows of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plot {
    Overview,
    FirstPasses,
    FirstPassDistribution,
    Phases,
}

impl Plot {
    pub(crate) const ALL: [Self; 4] = [
        Self::Overview,
        Self::FirstPasses,
        Self::FirstPassDistribution,
        Self::Phases,
    ];

    /// How its files are named.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::FirstPasses => "first-passes",
            Self::FirstPassDistribution => "first-pass-distribution",
            Self::Phases => "phases",
        }
    }

    /// What it shows, for who does not see it.
    pub(crate) fn description(self, model: &ModelDescription) -> String {
        let what = match self {
            Self::Overview => "time of the first passes of every engine",
            Self::FirstPasses => "time of each pass",
            Self::FirstPassDistribution => "passes 1 and 2 of all processes",
            Self::Phases => "time until the steady state, by phases,",
        };
        format!("{what} of {}", model.title)
    }

    /// Draws it; `None` where nothing was timed.
    pub(crate) fn draw(
        self,
        analysis: &Analysis,
        model: &ModelDescription,
    ) -> Result<Option<String>> {
        let engines: Vec<Engine> = analysis
            .rows(model)
            .iter()
            .map(|row| Engine {
                row,
                look: look(analysis, row),
            })
            .collect();
        match self {
            Self::Overview => overview::draw(&model.title, &engines),
            Self::FirstPasses => first_passes::draw(&model.title, &engines),
            Self::FirstPassDistribution => first_pass_distribution::draw(&model.title, &engines),
            Self::Phases => phases::draw(&model.title, &engines),
        }
    }
}

/// A row and how it looks.
pub(crate) struct Engine<'a> {
    pub(crate) row: &'a Row,
    pub(crate) look: Look,
}

/// How a row looks, the same in plots and pictures.
pub(crate) fn look(analysis: &Analysis, row: &Row) -> Look {
    let mut labels: Vec<&str> = analysis
        .rows
        .values()
        .flatten()
        .map(|r| r.label.as_str())
        .collect();
    labels.sort_unstable();
    labels.dedup();
    let position = labels.iter().position(|l| *l == row.label).unwrap_or(0);
    Look::of(position)
}

/// Where the plot of a model lies, below the folder of the report.
pub(crate) fn plot_path(plot: Plot, model: &str) -> PathBuf {
    Path::new("plots").join(format!("{}-{}.svg", plot.name(), file_name(model)))
}

/// The line of markdown that shows a plot, where it was drawn.
pub(crate) fn plot(
    plot: Plot,
    model: &ModelDescription,
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> Option<String> {
    let path = plot_path(plot, &model.name);
    let drawn = files.contains_key(&path);
    drawn.then(|| image(&path, &plot.description(model)))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::studies::first_passes::judge::latency::{
        Latency, summarise,
        tests::{observation, times},
    };

    /// Processes that warm up in two passes, a little differently each.
    pub(crate) fn warming(processes: usize) -> Latency {
        let of_round = |round: usize| {
            let factor = 1.0 + 0.01 * round as f64;
            observation(
                round,
                &times(&[90.0 * factor, 40.0 * factor], 10.0 * factor),
            )
        };
        latency(&(0..processes).map(of_round).collect::<Vec<_>>())
    }

    /// A process whose last level begins too late.
    pub(crate) fn unsteady() -> Latency {
        let mut passes = times(&[90.0], 10.0);
        passes.extend([20.0, 20.1, 19.9, 20.2, 19.8, 20.1, 19.9, 20.0]);
        latency(&[observation(0, &passes)])
    }

    fn latency(observations: &[firstpass_trial::observation::Observation]) -> Latency {
        let mut latencies = summarise(observations);
        assert_eq!(latencies.len(), 1, "one cell gives one summary");
        latencies.remove(0)
    }

    pub(crate) fn row(label: &str, latencies: impl IntoIterator<Item = Latency>) -> Row {
        let latency: BTreeMap<usize, Latency> = (1..).zip(latencies).collect();
        Row {
            label: label.into(),
            latency,
            ..Row::without_outputs(observation(0, &[1.0]).cell)
        }
    }

    pub(crate) fn engines(rows: &[Row]) -> Vec<Engine<'_>> {
        let looks = (0..).map(Look::of);
        let rows = rows.iter().zip(looks);
        rows.map(|(row, look)| Engine { row, look }).collect()
    }

    pub(crate) type Draw = fn(&str, &[Engine]) -> Result<Option<String>>;

    pub(crate) fn drawn(draw: Draw, rows: &[Row]) -> String {
        let svg = draw("a model", &engines(rows)).expect("it can be drawn");
        svg.expect("there is something to draw")
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        for draw in [
            first_passes::draw,
            first_pass_distribution::draw,
            phases::draw,
        ] as [Draw; 3]
        {
            assert!(matches!(draw("a model", &[]), Ok(None)));
            let untimed = [row("x", [])];
            assert!(matches!(draw("a model", &engines(&untimed)), Ok(None)));
        }
    }

    #[test]
    fn the_same_gives_the_same_bytes() {
        let rows = [row("x", [warming(5)]), row("y", [unsteady()])];
        for draw in [
            first_passes::draw,
            first_pass_distribution::draw,
            phases::draw,
        ] as [Draw; 3]
        {
            assert_eq!(drawn(draw, &rows), drawn(draw, &rows));
        }
    }
}
