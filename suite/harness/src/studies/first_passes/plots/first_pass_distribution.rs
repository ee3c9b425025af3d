//! How the first passes of an engine differ from process to process.

use anyhow::Result;
use firstpass_statistics::bootstrap::Estimate;
use plotters::prelude::*;

use crate::{
    page::{
        numbers::milliseconds,
        plots::{
            Legend, MARGIN, Mark,
            axis::Axis,
            canvas::{Anchor, Canvas, INK, LINE, TOP, WIDTH, svg},
            grid, spread, tick_mark, with_threads,
        },
    },
    studies::first_passes::{judge::latency::Latency, plots::Engine},
};

/// At most this many processes of a strip have dots.
const DOTS: usize = 60;

/// For what is written left of a strip.
const LEFT: f64 = 90.0;
/// Above the strips of an engine, for its name.
const NAME: f64 = 22.0;
/// A strip is a lane for pass 1 and one for pass 2.
const LANE: f64 = 18.0;
const STRIP: f64 = 2.0 * LANE + 8.0;
/// Below the strips, for what is written at the axis.
const BELOW: f64 = 24.0 + LINE;

/// A strip for each engine and number of threads: every process as a dot in pass 1 and as a ring in
/// pass 2. `None` where nothing was timed.
pub(crate) fn draw(title: &str, engines: &[Engine]) -> Result<Option<String>> {
    let engines: Vec<&Engine> = engines
        .iter()
        .filter(|e| !e.row.latency.is_empty())
        .collect();
    let latencies = || engines.iter().flat_map(|e| e.row.latency.values());
    let shown = || {
        latencies().flat_map(|l| {
            let first = l.processes.iter().flat_map(|p| p.times.iter().take(2));
            first.copied().chain(l.steady.iter().map(|s| s.median))
        })
    };
    let (Some(low), Some(high)) = (shown().reduce(f64::min), shown().reduce(f64::max)) else {
        return Ok(None);
    };
    let x = Axis::logarithmic((low * 0.85, high * 1.15), (LEFT, WIDTH - MARGIN - 8.0));

    let ink = INK.to_rgba();
    let dot: Mark = Box::new(move |canvas, at| canvas.dot(at, 3.5, ink));
    let ring: Mark = Box::new(move |canvas, at| canvas.ring(at, 3.5, ink));
    let estimated: Mark = Box::new(move |canvas, (x, y)| {
        canvas.rectangle((x - 9.0, y - 7.0), (x + 9.0, y + 7.0), INK.mix(0.3))?;
        canvas.line(&[(x, y - 7.0), (x, y + 7.0)], ink, 3.0)
    });
    let mut legend = vec![
        (dot, "pass 1 of a process".into()),
        (ring, "pass 2".into()),
        (estimated, "median, 95 % interval".into()),
        (tick_mark(ink, 1.5), "steady".into()),
    ];
    if latencies().any(|l| l.processes.len() > DOTS) {
        let note = format!("{DOTS} processes of each are shown");
        legend.push((Box::new(|_, _| Ok(())), note));
    }
    let legend = Legend::of(legend);

    let strips: f64 = engines
        .iter()
        .map(|e| NAME + STRIP * e.row.latency.len() as f64)
        .sum();
    let bottom = TOP + strips;
    let height = bottom + BELOW + 4.0 + legend.height() + MARGIN;
    let svg = svg(height, |canvas| {
        canvas.title(title, "first passes of all processes")?;
        let ticks = x.ticks(40.0);
        for (value, text) in &ticks {
            canvas.text(text, (x.at(*value), bottom + 12.0), Anchor::Centre)?;
        }
        let ends = [(LEFT, bottom), (WIDTH - MARGIN - 8.0, bottom)];
        canvas.line(&ends, INK.mix(0.7), 1.0)?;
        let mut top = TOP;
        for engine in &engines {
            let at = (MARGIN, top + NAME / 2.0 + 2.0);
            canvas.heading(&engine.row.label, at, Anchor::Left)?;
            top += NAME;
            let end = top + STRIP * engine.row.latency.len() as f64;
            for (value, _) in &ticks {
                // Not through the names.
                let at = x.at(*value);
                canvas.line(&[(at, top - 4.0), (at, end)], grid(), 1.0)?;
            }
            for (threads, latency) in &engine.row.latency {
                let label = (LEFT - 8.0, top + LANE);
                canvas.text(&with_threads(*threads), label, Anchor::Right)?;
                strip(canvas, &x, top, engine.look.colour, latency)?;
                top += STRIP;
            }
        }
        let centre = (LEFT + WIDTH) / 2.0;
        let below = bottom + 24.0 + LINE / 2.0;
        canvas.text("milliseconds", (centre, below), Anchor::Centre)?;
        legend.draw(canvas, bottom + BELOW + 4.0)
    })?;
    Ok(Some(svg))
}

fn strip(canvas: &Canvas, x: &Axis, top: f64, colour: RGBColor, latency: &Latency) -> Result<()> {
    let lanes = [top, top + LANE];
    for (n, lane) in lanes.into_iter().enumerate() {
        if let Some((low, high)) = latency.pass.get(&(n + 1)).and_then(|e| e.interval) {
            let (from, to) = ((x.at(low), lane), (x.at(high), lane + LANE));
            canvas.rectangle(from, to, colour.mix(0.3))?;
        }
        for (process, shown) in spread(&latency.processes, DOTS).enumerate() {
            let Some(time) = shown.times.get(n) else {
                continue;
            };
            let at = (x.at(*time), lane + LANE / 2.0 + jitter(process));
            if n == 0 {
                canvas.dot(at, 3.5, colour.mix(0.45))?;
            } else {
                canvas.ring(at, 3.5, colour.mix(0.6))?;
            }
        }
        if let Some(Estimate { median, .. }) = latency.pass.get(&(n + 1)) {
            let at = x.at(*median);
            canvas.line(&[(at, lane), (at, lane + LANE)], colour.to_rgba(), 3.5)?;
            let value = format!("pass {}: {} ms", n + 1, milliseconds(*median));
            canvas.hint_in((at - 4.0, lane), (at + 4.0, lane + LANE), &value);
        }
    }
    if let Some(steady) = &latency.steady {
        let at = x.at(steady.median);
        let line = [(at, top - 1.0), (at, top + 2.0 * LANE + 1.0)];
        canvas.line(&line, INK.to_rgba(), 1.5)?;
    }
    Ok(())
}

/// Keeps equal times apart: as even as random numbers are not, and always the same.
fn jitter(process: usize) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_895;
    let share = (process as f64 * GOLDEN).fract();
    (share - 0.5) * (LANE - 8.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        page::plots::tests::count,
        studies::first_passes::plots::tests::{drawn, row, unsteady, warming},
    };

    #[test]
    fn every_process_has_a_dot_and_a_ring() {
        let rows = [
            row("one", [warming(5), warming(7)]),
            row("two", [warming(3)]),
        ];
        let svg = drawn(draw, &rows);
        // And those of the legend.
        assert_eq!(count(&svg, "<circle"), 2 * (5 + 7 + 3) + 2);
        // Both intervals of each strip, and the mark of the legend.
        assert_eq!(count(&svg, "<rect"), 2 * 3 + 1);
        for text in ["one", "two", "1 thread", "2 threads", "milliseconds"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(!svg.contains("processes of each are shown"));
    }

    #[test]
    fn many_processes_are_thinned_out_and_that_is_said() {
        let svg = drawn(draw, &[row("x", [warming(DOTS + 30)])]);
        assert_eq!(count(&svg, "<circle"), 2 * DOTS + 2);
        assert!(svg.contains("60 processes of each are shown"));
    }

    #[test]
    fn one_process_without_a_steady_state_has_two_marks() {
        let svg = drawn(draw, &[row("x", [unsteady()])]);
        assert_eq!(count(&svg, "<circle"), 2 + 2);
        assert_eq!(count(&svg, "<rect"), 1);
    }
}
