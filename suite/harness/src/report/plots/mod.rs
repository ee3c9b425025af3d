//! Plots as SVG, readable on a light and on a dark page.

mod axis;
mod canvas;
mod divergence;
mod explained;
mod first_pass_distribution;
mod first_passes;
pub(super) mod pareto;
mod phases;
mod zoo;

use anyhow::Result;
use plotters::prelude::*;

use crate::{
    model::ModelDescription,
    report::analysis::{Analysis, Row},
};
pub(super) use divergence::draw as draw_divergence;
pub(super) use explained::draw as draw_explained;
pub(super) use zoo::draw as draw_zoo;

use canvas::{Anchor, Canvas, INK, LINE, Point, WIDTH, width};

/// Colours that a reader with any colour vision tells apart (Okabe and Ito, 2008), and that stand
/// out on white and on black.
pub(super) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(128, 128, 128),
];

/// Between the edge of a plot and what it shows.
const MARGIN: f64 = 10.0;

/// What a plot shows of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plot {
    FirstPasses,
    FirstPassDistribution,
    Phases,
}

impl Plot {
    pub(super) const ALL: [Self; 3] =
        [Self::FirstPasses, Self::FirstPassDistribution, Self::Phases];

    /// How its files are named.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FirstPasses => "first-passes",
            Self::FirstPassDistribution => "first-pass-distribution",
            Self::Phases => "phases",
        }
    }

    /// What it shows, for who does not see it.
    pub(super) fn description(self, model: &ModelDescription) -> String {
        let what = match self {
            Self::FirstPasses => "time of each pass",
            Self::FirstPassDistribution => "passes 1 and 2 of all processes",
            Self::Phases => "time until the steady state, by phases,",
        };
        format!("{what} of {}", model.title)
    }

    /// Draws it; `None` where nothing was timed.
    pub(super) fn draw(
        self,
        analysis: &Analysis,
        model: &ModelDescription,
    ) -> Result<Option<String>> {
        let engines: Vec<Engine> = analysis
            .rows(model)
            .iter()
            .map(|row| Engine {
                row,
                colour: colour(analysis, row),
            })
            .collect();
        match self {
            Self::FirstPasses => first_passes::draw(&model.title, &engines),
            Self::FirstPassDistribution => first_pass_distribution::draw(&model.title, &engines),
            Self::Phases => phases::draw(&model.title, &engines),
        }
    }
}

/// A row and its colour.
struct Engine<'a> {
    row: &'a Row,
    colour: RGBColor,
}

/// The colour of a row, the same in plots and pictures.
pub(super) fn colour(analysis: &Analysis, row: &Row) -> RGBColor {
    let mut labels: Vec<&str> = analysis
        .rows
        .values()
        .flatten()
        .map(|r| r.label.as_str())
        .collect();
    labels.sort_unstable();
    labels.dedup();
    let position = labels.iter().position(|l| *l == row.label).unwrap_or(0);
    COLOURS[position % COLOURS.len()]
}

/// How a mark of a legend looks, drawn around its place.
type Mark<'a> = Box<dyn Fn(&Canvas, Point) -> Result<()> + 'a>;

/// What the marks of a plot mean, in as many lines as it takes.
struct Legend<'a> {
    lines: Vec<Vec<(Mark<'a>, String)>>,
}

impl<'a> Legend<'a> {
    /// Before the middle of a mark.
    const BEFORE: f64 = 20.0;
    /// From the middle of a mark to its text.
    const AFTER: f64 = 14.0;

    fn of(items: impl IntoIterator<Item = (Mark<'a>, String)>) -> Self {
        let mut lines: Vec<Vec<(Mark, String)>> = Vec::new();
        for (mark, text) in items {
            match lines.last_mut() {
                Some(line) if line_width(line) + item_width(&text) <= WIDTH - 2.0 * MARGIN => {
                    line.push((mark, text));
                }
                _ => lines.push(vec![(mark, text)]),
            }
        }
        Self { lines }
    }

    fn height(&self) -> f64 {
        LINE * self.lines.len() as f64
    }

    fn draw(&self, canvas: &Canvas, top: f64) -> Result<()> {
        let mut y = top + LINE / 2.0;
        for line in &self.lines {
            let mut x = (WIDTH - line_width(line)) / 2.0;
            for (mark, text) in line {
                mark(canvas, (x + Self::BEFORE, y))?;
                let at = (x + Self::BEFORE + Self::AFTER, y);
                canvas.text(text, at, Anchor::Left)?;
                x += item_width(text);
            }
            y += LINE;
        }
        Ok(())
    }
}

fn item_width(text: &str) -> f64 {
    Legend::BEFORE + Legend::AFTER + width(text)
}

fn line_width(line: &[(Mark, String)]) -> f64 {
    line.iter().map(|(_, text)| item_width(text)).sum()
}

/// A mark that is a horizontal line.
fn line_mark<'a>(colour: RGBAColor, thickness: f64) -> Mark<'a> {
    Box::new(move |canvas, (x, y)| canvas.line(&[(x - 9.0, y), (x + 9.0, y)], colour, thickness))
}

/// A mark that is a vertical line.
fn tick_mark<'a>(colour: RGBAColor, thickness: f64) -> Mark<'a> {
    Box::new(move |canvas, (x, y)| canvas.line(&[(x, y - 7.0), (x, y + 7.0)], colour, thickness))
}

/// A mark that is a filled rectangle.
fn block_mark<'a>(colour: RGBAColor) -> Mark<'a> {
    Box::new(move |canvas, (x, y)| canvas.rectangle((x - 9.0, y - 5.0), (x + 9.0, y + 5.0), colour))
}

/// At most so many of all, spread evenly.
fn spread<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let shown = all.len().min(most);
    (0..shown).filter_map(move |n| all.get(n * all.len() / shown))
}

/// `1 thread`, `2 threads`.
fn with_threads(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// Grid lines, and nothing that draws the eye.
fn grid() -> RGBAColor {
    INK.mix(0.22)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::judge::latency::{
        Latency, summarise,
        tests::{observation, times},
    };

    /// Processes that warm up in two passes, a little differently each.
    pub(super) fn warming(processes: usize) -> Latency {
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
    pub(super) fn unsteady() -> Latency {
        let mut passes = times(&[90.0], 10.0);
        passes.extend([20.0, 20.1, 19.9, 20.2, 19.8, 20.1, 19.9, 20.0]);
        latency(&[observation(0, &passes)])
    }

    fn latency(observations: &[crate::observation::Observation]) -> Latency {
        let mut latencies = summarise(observations);
        assert_eq!(latencies.len(), 1, "one cell gives one summary");
        latencies.remove(0)
    }

    pub(super) fn row(label: &str, latencies: impl IntoIterator<Item = Latency>) -> Row {
        let latency: BTreeMap<usize, Latency> = (1..).zip(latencies).collect();
        Row {
            cell: observation(0, &[1.0]).cell,
            label: label.into(),
            outputs: None,
            arithmetic: None,
            arithmetic_fault: None,
            agreement: None,
            verdict: None,
            golden_faces: None,
            golden_classes: None,
            detections: BTreeMap::new(),
            latency,
            cured: BTreeMap::new(),
            cured_same_bits: None,
            cold: None,
        }
    }

    pub(super) fn engines(rows: &[Row]) -> Vec<Engine<'_>> {
        let coloured = rows.iter().zip(COLOURS);
        coloured
            .map(|(row, colour)| Engine { row, colour })
            .collect()
    }

    pub(super) type Draw = fn(&str, &[Engine]) -> Result<Option<String>>;

    pub(super) fn drawn(draw: Draw, rows: &[Row]) -> String {
        let svg = draw("a model", &engines(rows)).expect("it can be drawn");
        svg.expect("there is something to draw")
    }

    pub(super) fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
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

    #[test]
    fn what_is_shown_is_spread_over_all() {
        let all: Vec<usize> = (0..10).collect();
        let shown = |most| spread(&all, most).copied().collect::<Vec<_>>();
        assert_eq!(shown(5), [0, 2, 4, 6, 8]);
        assert_eq!(shown(20), all);
    }
}
