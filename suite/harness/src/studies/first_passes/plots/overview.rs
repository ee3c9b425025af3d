//! The first passes of all engines in one panel: what a reader wants to see first.

use anyhow::Result;
use plotters::prelude::*;

use crate::{
    page::{
        numbers::milliseconds,
        plots::{
            MARGIN,
            axis::Axis,
            canvas::{Anchor, Canvas, INK, LINE, TOP, WIDTH, svg, width},
            grid, with_threads,
        },
    },
    studies::first_passes::plots::Engine,
};

/// The passes that are shown: the slow ones, and enough of the steady state to see that it is one.
const PASSES: usize = 10;

/// The height of the panel.
const HEIGHT: f64 = 300.0;
/// Left of the panel, for what is written at the axis.
const LEFT: f64 = 70.0;
/// Below the panel, for what is written at the axis.
const BELOW: f64 = 48.0;
/// Between a line and its label.
const GAP: f64 = 10.0;

/// One line for each engine with its fewest threads, labelled at its end. `None` where nothing was timed.
pub(crate) fn draw(title: &str, engines: &[Engine]) -> Result<Option<String>> {
    let timed: Vec<(&Engine, usize, Vec<f64>)> = engines
        .iter()
        .filter_map(|engine| {
            let (threads, latency) = engine.row.latency.first_key_value()?;
            let times: Vec<f64> = latency.typical_passes().into_iter().take(PASSES).collect();
            (!times.is_empty()).then_some((engine, *threads, times))
        })
        .collect();
    let all = || timed.iter().flat_map(|(_, _, times)| times.iter().copied());
    let (Some(low), Some(high), Some(threads)) = (
        all().reduce(f64::min),
        all().reduce(f64::max),
        timed.iter().map(|(_, threads, _)| *threads).min(),
    ) else {
        return Ok(None);
    };
    let longest = timed
        .iter()
        .map(|(_, _, times)| times.len())
        .max()
        .unwrap_or(1);
    let labels: Vec<String> = timed
        .iter()
        .map(|(engine, _, times)| {
            let last = times.last().copied().unwrap_or_default();
            format!("{}, {} ms", engine.row.label, milliseconds(last))
        })
        .collect();
    let widest = labels.iter().map(|label| width(label)).fold(0.0, f64::max);
    let right = (WIDTH - MARGIN - GAP - widest).max(WIDTH / 2.0);
    let x = Axis::linear(longest.max(2) as f64 + 0.3, (LEFT, right));
    let y = Axis::logarithmic((low * 0.75, high * 1.35), (TOP + HEIGHT, TOP));
    let ends: Vec<f64> = timed
        .iter()
        .map(|(_, _, times)| y.at(times.last().copied().unwrap_or(low)))
        .collect();
    let places = apart(&ends, LINE);
    let svg = svg(TOP + HEIGHT + BELOW + MARGIN, |canvas| {
        let shown = format!("time of the first passes, {}", with_threads(threads));
        canvas.title(title, &shown)?;
        frame(canvas, &x, &y, longest, right)?;
        for (((engine, _, times), label), place) in timed.iter().zip(&labels).zip(places) {
            let colour = engine.look.colour.to_rgba();
            let points: Vec<(f64, f64)> = times
                .iter()
                .enumerate()
                .map(|(n, time)| (x.at(n as f64 + 1.0), y.at(*time)))
                .collect();
            canvas.broken_line(&points, colour, 2.5, engine.look.dash)?;
            for (n, (point, time)) in points.iter().zip(times).enumerate() {
                canvas.dot(*point, 4.0, colour)?;
                let value = format!(
                    "{}, pass {}: {} ms",
                    engine.row.label,
                    n + 1,
                    milliseconds(*time)
                );
                canvas.hint(*point, 8.0, &value);
            }
            if let Some(end) = points.last() {
                let at = right + GAP;
                canvas.line(&[*end, (at - 3.0, place)], engine.look.colour.mix(0.5), 1.0)?;
                canvas.text(label, (at, place), Anchor::Left)?;
            }
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

fn frame(canvas: &Canvas, x: &Axis, y: &Axis, passes: usize, right: f64) -> Result<()> {
    let bottom = TOP + HEIGHT;
    for (value, text) in y.ticks(24.0) {
        let at = y.at(value);
        canvas.line(&[(LEFT, at), (right, at)], grid(), 1.0)?;
        canvas.text(&text, (LEFT - 8.0, at), Anchor::Right)?;
    }
    for pass in 1..=passes {
        let at = (x.at(pass as f64), bottom + 13.0);
        canvas.text(&pass.to_string(), at, Anchor::Centre)?;
    }
    canvas.line(&[(LEFT, bottom), (right, bottom)], INK.mix(0.7), 1.0)?;
    let middle = f64::midpoint(LEFT, right);
    canvas.text(
        "pass of a fresh process",
        (middle, bottom + 13.0 + LINE),
        Anchor::Centre,
    )?;
    let centre = TOP + HEIGHT / 2.0;
    canvas.text("milliseconds", (MARGIN + 4.0, centre), Anchor::Upwards)
}

/// These places moved as little as it takes for a distance between each two, in the order given.
fn apart(places: &[f64], distance: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|a, b| places[*a].total_cmp(&places[*b]));
    let mut moved = places.to_vec();
    // Pushed down from the top, then up again from the bottom of the panel.
    let mut least = f64::NEG_INFINITY;
    for &at in &order {
        moved[at] = moved[at].max(least);
        least = moved[at] + distance;
    }
    let mut most = TOP + HEIGHT;
    for &at in order.iter().rev() {
        moved[at] = moved[at].min(most);
        most = moved[at] - distance;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        page::plots::tests::count,
        studies::first_passes::plots::tests::{drawn, row, warming},
    };

    #[test]
    fn every_engine_is_a_line_with_its_label_and_values() {
        let svg = drawn(draw, &[row("one", [warming(5)]), row("two", [warming(5)])]);
        assert_eq!(count(&svg, "<title>"), 2 * PASSES);
        for text in ["one, 10", "two, 10", "one, pass 1: 91", "milliseconds"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
    }

    #[test]
    fn labels_keep_their_distance_and_their_order() {
        let moved = apart(&[100.0, 101.0, 200.0], 17.0);
        assert!(
            moved[1] - moved[0] >= 17.0 && moved[2] == 200.0,
            "{moved:?}"
        );
        let low = TOP + HEIGHT;
        let moved = apart(&[low, low, low], 17.0);
        assert!(moved.iter().all(|at| *at <= low), "{moved:?}");
    }
}
