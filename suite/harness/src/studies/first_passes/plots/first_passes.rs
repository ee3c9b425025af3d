//! The times of all passes, from the first one into the steady state.

use anyhow::Result;
use firstpass_statistics::joint::Joint;
use plotters::prelude::*;

use crate::{
    page::{
        numbers::{milliseconds, times},
        plots::{
            Legend, MARGIN,
            axis::Axis,
            block_mark,
            canvas::{Anchor, Canvas, INK, LINE, Point, TOP, WIDTH, svg, wrap},
            grid, line_mark, spread, tick_mark, with_threads,
        },
    },
    studies::first_passes::{judge::latency::Latency, plots::Engine},
};

/// At most this many processes have a line of their own.
const LINES: usize = 15;

/// How many passes have a dot: those that a reader asks for.
const DOTS: usize = 5;

/// How many passes say their time where the mouse is.
const HINTS: usize = 20;

/// How dark the line is where the level changes.
const CHANGE_OPACITY: f64 = 0.85;

const COLUMNS: usize = 3;
/// Left of the panels, for what is written at the axis.
const LEFT: f64 = 62.0;
const BETWEEN: f64 = 16.0;
/// Below a panel, for what is written at the axis.
const BELOW: f64 = 30.0;

/// A panel: one engine with its fewest threads.
struct Panel<'a> {
    engine: &'a Engine<'a>,
    latency: &'a Latency,
    header: Vec<String>,
}

/// One panel for each engine with its fewest threads, all with the same logarithmic axes. `None`
/// where nothing was timed.
pub(crate) fn draw(title: &str, engines: &[Engine]) -> Result<Option<String>> {
    let timed: Vec<(&Engine, usize, &Latency)> = engines
        .iter()
        .filter_map(|e| {
            let (threads, latency) = e.row.latency.first_key_value()?;
            Some((e, *threads, latency))
        })
        .collect();
    let all = || {
        let processes = timed.iter().flat_map(|(_, _, l)| &l.processes);
        processes.flat_map(|p| p.times.iter().copied())
    };
    let (Some(low), Some(high), Some(fewest)) = (
        all().reduce(f64::min),
        all().reduce(f64::max),
        timed.iter().map(|(_, threads, _)| *threads).min(),
    ) else {
        return Ok(None);
    };
    let lengths = timed
        .iter()
        .flat_map(|(_, _, l)| l.processes.iter().map(|p| p.times.len()));
    let longest = lengths.max().unwrap_or(1).max(2);

    let columns = match timed.len() {
        // Two rows of two look better than three and a lonely one.
        4 => 2,
        n => n.min(COLUMNS),
    };
    let panel_width = (WIDTH - LEFT - MARGIN + BETWEEN) / columns as f64 - BETWEEN;
    let panel_height = match timed.len() {
        1 => 280.0,
        2 | 3 => 230.0,
        _ => 190.0,
    };
    let panels: Vec<Panel> = timed
        .iter()
        .map(|(engine, threads, latency)| Panel {
            engine,
            latency,
            header: header(
                engine,
                latency,
                (*threads != fewest).then_some(*threads),
                panel_width,
            ),
        })
        .collect();
    let x = Axis::logarithmic((0.85, longest as f64 * 1.2), (0.0, panel_width));
    let y = Axis::logarithmic((low * 0.75, high * 1.35), (panel_height, 0.0));

    let band_colour = INK.mix(0.45);
    let ink = INK.to_rgba();
    let mut legend = vec![
        (line_mark(INK.mix(0.45), 1.0), "one process".into()),
        (line_mark(ink, 2.5), "median over processes".into()),
        (block_mark(band_colour), "steady, 95 % interval".into()),
        (
            tick_mark(INK.mix(0.8), 1.25),
            "change points, stronger if shared".into(),
        ),
    ];
    let crowded = timed.iter().any(|(_, _, l)| l.processes.len() > LINES);
    if crowded {
        let note = format!("{LINES} processes of each are shown");
        legend.push((Box::new(|_, _| Ok(())), note));
    }
    let legend = Legend::of(legend);

    let rows: Vec<&[Panel]> = panels.chunks(columns).collect();
    let header_height = |row: &[Panel]| {
        let lines = row.iter().map(|p| p.header.len()).max().unwrap_or(0);
        LINE * lines as f64 + 4.0
    };
    let body: f64 = rows
        .iter()
        .map(|row| header_height(row) + panel_height + BELOW)
        .sum();
    let height = TOP + body + LINE + 8.0 + legend.height() + MARGIN;
    let svg = svg(height, |canvas| {
        canvas.title(
            title,
            &format!("time of each pass, {}", with_threads(fewest)),
        )?;
        let mut top = TOP;
        for row in rows {
            let panels_top = top + header_height(row);
            for (column, panel) in row.iter().enumerate() {
                let left = LEFT + column as f64 * (panel_width + BETWEEN);
                let place = Place {
                    header: top,
                    left,
                    top: panels_top,
                    x: x.between((left, left + panel_width)),
                    y: y.between((panels_top + panel_height, panels_top)),
                    right: left + panel_width,
                    bottom: panels_top + panel_height,
                };
                panel.draw(canvas, &place, column == 0)?;
            }
            top = panels_top + panel_height + BELOW;
        }
        let middle = TOP + body / 2.0;
        canvas.text("milliseconds", (MARGIN + 4.0, middle), Anchor::Upwards)?;
        let centre = LEFT + (WIDTH - LEFT - MARGIN) / 2.0;
        canvas.text(
            "pass of a fresh process",
            (centre, top + LINE / 2.0 - 2.0),
            Anchor::Centre,
        )?;
        legend.draw(canvas, top + LINE + 4.0)
    })?;
    Ok(Some(svg))
}

/// The name, and in lines as wide as the panel what its processes do.
fn header(
    engine: &Engine,
    latency: &Latency,
    threads: Option<usize>,
    panel_width: f64,
) -> Vec<String> {
    let mut name = engine.row.label.clone();
    if let Some(threads) = threads {
        name += &format!(", {}", with_threads(threads));
    }
    let mut lines = vec![name];
    lines.extend(wrap(&latency.class(), panel_width));
    if let Some(first) = &latency.first_over_steady {
        let later = if latency.is_steady() {
            "steady"
        } else {
            "later passes"
        };
        lines.push(format!("pass 1 = {} {later}", times(first.ratio())));
    }
    lines
}

/// Where a panel is.
struct Place {
    /// Where its header begins, the same in a row.
    header: f64,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    x: Axis,
    y: Axis,
}

impl Panel<'_> {
    fn draw(&self, canvas: &Canvas, place: &Place, labelled: bool) -> Result<()> {
        self.draw_frame(canvas, place, labelled)?;
        self.draw_change_points(canvas, place)?;
        let colour = self.engine.look.colour;
        for process in spread(&self.latency.processes, LINES) {
            let line = place.line(&process.times);
            canvas.line(&line, colour.mix(0.25), 1.0)?;
        }
        let medians = self.latency.typical_passes();
        canvas.line(&place.line(&medians), colour.to_rgba(), 2.5)?;
        for (n, time) in medians.iter().take(DOTS).enumerate() {
            canvas.dot(place.point(n, *time), 4.0, colour.to_rgba())?;
        }
        for (n, time) in medians.iter().enumerate().take(HINTS) {
            let value = format!(
                "{}, pass {}: {} ms",
                self.engine.row.label,
                n + 1,
                milliseconds(*time)
            );
            canvas.hint(place.point(n, *time), 6.0, &value);
        }
        self.draw_steady(canvas, place)
    }

    fn draw_frame(&self, canvas: &Canvas, place: &Place, labelled: bool) -> Result<()> {
        let middle = (place.left + place.right) / 2.0;
        for (n, line) in self.header.iter().enumerate() {
            let at = (middle, place.header + LINE * (n as f64 + 0.5));
            if n == 0 {
                canvas.heading(line, at, Anchor::Centre)?;
            } else {
                canvas.text(line.trim_end(), at, Anchor::Centre)?;
            }
        }
        for (value, text) in place.x.ticks(34.0) {
            // No grid line: a vertical line is a change point.
            let x = place.x.at(value);
            let tick = [(x, place.bottom), (x, place.bottom + 4.0)];
            canvas.line(&tick, INK.mix(0.7), 1.0)?;
            canvas.text(&text, (x, place.bottom + 13.0), Anchor::Centre)?;
        }
        for (value, text) in place.y.ticks(22.0) {
            let y = place.y.at(value);
            canvas.line(&[(place.left, y), (place.right, y)], grid(), 1.0)?;
            if labelled {
                canvas.text(&text, (place.left - 6.0, y), Anchor::Right)?;
            }
        }
        let corners = [
            (place.left, place.top),
            (place.left, place.bottom),
            (place.right, place.bottom),
        ];
        canvas.line(&corners, INK.mix(0.7), 1.0)
    }

    /// A line where the processes change their level together.
    fn draw_change_points(&self, canvas: &Canvas, place: &Place) -> Result<()> {
        let common = self.latency.joint.iter().flat_map(Joint::change_points);
        for at in common {
            // Between the last pass of one level and the first of the next.
            let x = place.x.at(at as f64 + 0.5);
            let line = [(x, place.top), (x, place.bottom)];
            canvas.line(&line, INK.mix(CHANGE_OPACITY), 1.25)?;
        }
        Ok(())
    }

    fn draw_steady(&self, canvas: &Canvas, place: &Place) -> Result<()> {
        let (Some(steady), Some(warm_up)) = (&self.latency.steady, &self.latency.warm_up_passes)
        else {
            return Ok(());
        };
        let lengths = self.latency.processes.iter().map(|p| p.times.len());
        let last = lengths.max().unwrap_or(1) as f64;
        let (begin, end) = (place.x.at(*warm_up as f64 + 1.0), place.x.at(last));
        let y = place.y.at(steady.median);
        if let Some((low, high)) = steady.interval {
            // At least 2 pixels, or it would not be seen.
            let top = place.y.at(high).min(y - 1.0);
            let bottom = place.y.at(low).max(y + 1.0);
            canvas.rectangle((begin, top), (end, bottom), INK.mix(0.45))?;
        }
        canvas.line(&[(begin, y), (end, y)], INK.to_rgba(), 1.0)
    }
}

impl Place {
    fn point(&self, position: usize, time: f64) -> Point {
        (self.x.at(position as f64 + 1.0), self.y.at(time))
    }

    /// A series as a line. Where many passes share a pixel only the slowest and the fastest of them
    /// are drawn: the rest would be hidden and make the file large.
    fn line(&self, series: &[f64]) -> Vec<Point> {
        let mut line: Vec<Point> = Vec::new();
        let points: Vec<Point> = series
            .iter()
            .enumerate()
            .map(|(n, time)| self.point(n, *time))
            .collect();
        for column in points.chunk_by(|a, b| a.0.floor() == b.0.floor()) {
            let extreme = |wanted: fn(f64, f64) -> bool| {
                let found = column.iter().enumerate();
                found.reduce(|a, b| if wanted(b.1.1, a.1.1) { b } else { a })
            };
            let mut ends: Vec<(usize, &Point)> = [extreme(|b, a| b < a), extreme(|b, a| b > a)]
                .into_iter()
                .flatten()
                .collect();
            ends.sort_by_key(|(at, _)| *at);
            ends.dedup_by_key(|(at, _)| *at);
            line.extend(ends.into_iter().map(|(_, point)| *point));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        page::plots::tests::count,
        studies::first_passes::plots::tests::{drawn, row, unsteady, warming},
    };

    #[test]
    fn a_panel_shows_processes_median_band_and_change_points() {
        let rows = [row("one", [warming(5)]), row("two", [warming(20)])];
        let svg = drawn(draw, &rows);
        let passes = rows[0].latency[&1].passes.min(HINTS);
        assert_eq!(count(&svg, "<title>"), 2 * passes);
        assert_eq!(count(&svg, "<circle"), 2 * (DOTS + passes));
        // The two steady bands, and the mark in the legend.
        assert_eq!(count(&svg, "<rect"), 3);
        // In each panel after pass 1 and after pass 2.
        assert_eq!(count(&svg, "opacity=\"0.85\""), 4);
        // Thin lines of processes.
        assert_eq!(count(&svg, "opacity=\"0.25\""), 5 + LINES);
        for text in ["one", "two", "pass 1 = 9.00× steady"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(svg.contains("15 processes of each are shown"));
    }

    #[test]
    fn without_a_steady_state_there_is_no_band() {
        let svg = drawn(draw, &[row("x", [unsteady()])]);
        assert_eq!(count(&svg, "<rect"), 1);
        assert!(svg.contains("no steady state"));
        assert!(svg.contains("later passes") && !svg.contains("× steady"));
    }

    #[test]
    fn one_process_has_a_level_and_no_band() {
        let svg = drawn(draw, &[row("x", [warming(1)])]);
        assert_eq!(count(&svg, "<rect"), 1);
        assert!(svg.contains("pass 1 = 9.00× steady"));
    }

    #[test]
    fn passes_of_one_pixel_keep_their_extremes() {
        let place = Place {
            header: 0.0,
            left: 0.0,
            top: 0.0,
            right: 100.0,
            bottom: 100.0,
            x: Axis::logarithmic((1.0, 1e6), (0.0, 100.0)),
            y: Axis::logarithmic((1.0, 100.0), (100.0, 0.0)),
        };
        let mut series = vec![10.0; 100_000];
        series[90_000] = 100.0;
        let line = place.line(&series);
        assert!(line.len() <= 200, "{}", line.len());
        assert!(line.iter().any(|(_, y)| *y == 0.0));
    }
}
