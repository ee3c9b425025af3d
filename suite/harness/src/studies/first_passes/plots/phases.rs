//! What a user waits for until the steady state, one after the other.

use anyhow::Result;
use plotters::prelude::*;

use crate::{
    page::{
        numbers::milliseconds,
        plots::{
            Legend, MARGIN,
            axis::Axis,
            block_mark,
            canvas::{Anchor, Canvas, INK, LINE, TEXT, TOP, WIDTH, svg, width},
            grid, with_threads,
        },
    },
    studies::first_passes::{
        judge::latency::{Latency, Phase},
        plots::Engine,
    },
};

/// How many phases a process with cold files goes through: it is over before its warm-up is.
const COLD_PHASES: usize = 6;

/// Bars are shown again, magnified, where the longest is this many times the shortest.
const MAGNIFY: f64 = 20.0;

/// Then those that are shorter than the longest by this factor.
const SHORT: f64 = 8.0;

/// What the system and the engine do once is in cool colours, passes are in warm ones.
const COLOURS: [RGBColor; Phase::ALL.len()] = [
    RGBColor(128, 128, 128),
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(240, 228, 66),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
];

/// Above the bars of an engine, for its name.
const NAME: f64 = 21.0;
/// From one bar to the next.
const BAR: f64 = 22.0;
/// Of that, what is not drawn.
const GAP: f64 = 6.0;
/// Below the bars, for what is written at the axis.
const BELOW: f64 = 24.0 + LINE;

/// The bars of one engine.
struct Group<'a> {
    name: &'a str,
    bars: Vec<Bar>,
}

#[derive(Clone)]
struct Bar {
    label: String,
    phases: Vec<(Phase, f64)>,
    total: f64,
    /// Written at its end.
    end: String,
}

/// A stacked bar for each engine and number of threads, and for each that was measured with cold
/// files. `None` where nothing was timed.
pub(crate) fn draw(title: &str, engines: &[Engine]) -> Result<Option<String>> {
    let groups: Vec<Group> = engines
        .iter()
        .map(|e| Group {
            name: &e.row.label,
            bars: bars(e),
        })
        .filter(|group| !group.bars.is_empty())
        .collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let panels = magnified(groups);

    let legend = Legend::of(
        Phase::ALL
            .iter()
            .zip(COLOURS)
            .map(|(phase, colour)| (block_mark(colour.to_rgba()), phase.to_string())),
    );
    let bodies: f64 = panels.iter().map(|panel| panel.height()).sum();
    let height = TOP + bodies + legend.height() + MARGIN;
    let svg = svg(height, |canvas| {
        canvas.title(title, "time until steady: what a user waits for")?;
        let mut top = TOP;
        for panel in &panels {
            panel.draw(canvas, top)?;
            top += panel.height();
        }
        legend.draw(canvas, top)
    })?;
    Ok(Some(svg))
}

fn bars(engine: &Engine) -> Vec<Bar> {
    let warm = engine.row.timed().map(|(threads, latency)| {
        let phases = latency.phases.clone();
        // What it would still take is not known.
        let end = (!latency.is_steady()).then_some(", no steady state");
        let tuned = if latency.cell.is_default() {
            ""
        } else {
            ", tuned"
        };
        Bar::of(format!("{}{tuned}", with_threads(threads)), phases, end)
    });
    let cold = engine.row.cold.iter().map(|latency: &Latency| {
        let phases = latency.phases.iter().copied();
        let first = |(phase, _): &(Phase, f64)| Phase::ALL[..COLD_PHASES].contains(phase);
        let label = format!("{}, cold files", with_threads(latency.cell.threads()));
        Bar::of(label, phases.filter(first).collect(), Some(" until pass 1"))
    });
    warm.chain(cold).flatten().collect()
}

impl Bar {
    fn of(label: String, phases: Vec<(Phase, f64)>, note: Option<&str>) -> Option<Self> {
        let total: f64 = phases.iter().map(|(_, time)| time).sum();
        let mut end = format!("{} ms", milliseconds(total));
        if let Some(note) = note {
            end += note;
        }
        (total > 0.0).then_some(Self {
            label,
            phases,
            total,
            end,
        })
    }
}

/// Bars with one axis.
struct Panel<'a> {
    groups: Vec<Group<'a>>,
    /// Above its bars.
    title: Option<String>,
}

/// All bars in one panel, and below it again those that are too short to be read there.
fn magnified(groups: Vec<Group>) -> Vec<Panel> {
    let mut panels = vec![Panel {
        groups,
        title: None,
    }];
    while let Some(short) = panels.last().and_then(Panel::short) {
        panels.push(short);
    }
    panels
}

impl<'a> Panel<'a> {
    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    fn longest(&self) -> f64 {
        self.bars().map(|bar| bar.total).fold(0.0, f64::max)
    }

    /// The bars that cannot be read here; `None` where all can.
    fn short(&self) -> Option<Panel<'a>> {
        let longest = self.longest();
        let shortest = self.bars().map(|bar| bar.total).reduce(f64::min)?;
        if longest <= MAGNIFY * shortest {
            return None;
        }
        let groups = self.groups.iter().map(|group| Group {
            name: group.name,
            bars: group
                .bars
                .iter()
                .filter(|bar| bar.total * SHORT < longest)
                .cloned()
                .collect(),
        });
        let panel = Panel {
            groups: groups.filter(|group| !group.bars.is_empty()).collect(),
            title: Some(format!(
                "the bars below {} ms, magnified",
                milliseconds(longest / SHORT)
            )),
        };
        Some(panel)
    }

    fn height(&self) -> f64 {
        let groups = self
            .groups
            .iter()
            .map(|group| NAME + BAR * group.bars.len() as f64);
        let title = if self.title.is_some() {
            2.0 * LINE
        } else {
            0.0
        };
        title + groups.sum::<f64>() + BELOW + 6.0
    }

    fn draw(&self, canvas: &Canvas, top: f64) -> Result<()> {
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let left = MARGIN + 8.0 + widest(&mut self.bars().map(|bar| width(&bar.label)));
        let after = 8.0 + widest(&mut self.bars().map(|bar| width(&bar.end)));
        let right = WIDTH - MARGIN - after;
        let x = Axis::linear(self.longest(), (left, right));
        let bottom = top + self.height() - BELOW - 6.0;
        let mut top = top;
        if let Some(title) = &self.title {
            top += 2.0 * LINE;
            let at = ((left + right) / 2.0, top - LINE / 2.0);
            canvas.heading(title, at, Anchor::Centre)?;
        }
        let ticks = x.ticks(60.0);
        for (value, text) in &ticks {
            canvas.text(text, (x.at(*value), bottom + TEXT), Anchor::Centre)?;
        }
        canvas.line(&[(left, bottom), (right, bottom)], INK.mix(0.7), 1.0)?;
        let below = bottom + 24.0 + LINE / 2.0;
        canvas.text(
            "milliseconds",
            ((left + right) / 2.0, below),
            Anchor::Centre,
        )?;
        for group in &self.groups {
            let at = (MARGIN, top + NAME / 2.0 + 2.0);
            canvas.heading(group.name, at, Anchor::Left)?;
            top += NAME;
            for bar in &group.bars {
                bar.draw(canvas, &x, &ticks, top)?;
                top += BAR;
            }
        }
        Ok(())
    }
}

impl Bar {
    /// Draws it on its part of the grid.
    fn draw(&self, canvas: &Canvas, x: &Axis, ticks: &[(f64, String)], top: f64) -> Result<()> {
        let middle = top + BAR / 2.0;
        let written = x.at(self.total)..=x.at(self.total) + 8.0 + width(&self.end);
        for at in ticks.iter().map(|(value, _)| x.at(*value)) {
            // Not through what is written.
            if !written.contains(&at) {
                canvas.line(&[(at, top), (at, top + BAR)], grid(), 1.0)?;
            }
        }
        canvas.text(&self.label, (x.at(0.0) - 8.0, middle), Anchor::Right)?;
        let (upper, lower) = (top + GAP / 2.0, top + BAR - GAP / 2.0);
        let mut waited = 0.0;
        for (phase, colour) in Phase::ALL.iter().zip(COLOURS) {
            let Some((_, time)) = self.phases.iter().find(|(p, _)| p == phase) else {
                continue;
            };
            let from = (x.at(waited), upper);
            waited += time;
            let to = (x.at(waited), lower);
            // One that is too short to be seen is left out.
            if to.0 - from.0 >= 0.25 {
                canvas.rectangle(from, to, colour.to_rgba())?;
                let value = format!("{}, {phase}: {} ms", self.label, milliseconds(*time));
                canvas.hint_in(from, to, &value);
            }
        }
        let end = (x.at(self.total) + 6.0, middle);
        canvas.text(&self.end, end, Anchor::Left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        page::plots::tests::count,
        studies::first_passes::plots::tests::{drawn, row, unsteady, warming},
    };

    /// The colours of all phases in the legend.
    const LEGEND: usize = Phase::ALL.len();

    #[test]
    fn a_bar_is_made_of_its_phases() {
        let mut one = row("one", [warming(5), warming(5)]);
        one.cold = Some(warming(3));
        let svg = drawn(draw, &[one, row("two", [warming(5)])]);
        // Process start, engine start, load, both passes; there is nothing to prepare, and nothing
        // is left of the warm-up. With cold files pass 2 is not shown.
        assert_eq!(count(&svg, "<rect"), 3 * 5 + 4 + LEGEND);
        for text in [
            "one",
            "two",
            "2 threads",
            "1 thread, cold files",
            "126 ms until pass 1",
            "168 ms",
            "rest of the warm-up",
        ] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(!svg.contains("magnified"));
    }

    #[test]
    fn short_bars_are_shown_again() {
        let mut slow = row("slow", [warming(5)]);
        for latency in slow.latency.values_mut() {
            for (_, time) in &mut latency.phases {
                *time *= 100.0;
            }
        }
        let svg = drawn(draw, &[slow, row("quick", [warming(5)])]);
        assert_eq!(count(&svg, "magnified"), 1);
        assert_eq!(count(&svg, "quick"), 2);
        assert_eq!(count(&svg, "slow"), 1);
    }

    #[test]
    fn it_is_said_that_there_is_no_steady_state() {
        let svg = drawn(draw, &[row("x", [unsteady()])]);
        assert!(svg.contains("ms, no steady state"));
    }
}
