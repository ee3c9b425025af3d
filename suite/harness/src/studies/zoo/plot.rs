//! The first pass of every model in units of its steady time, engine by engine.

use std::collections::BTreeSet;

use anyhow::Result;
use plotters::prelude::*;

use crate::{
    page::plots::{
        Legend, MARGIN, Mark,
        axis::Axis,
        canvas::{Anchor, Canvas, INK, LINE, TOP, WIDTH, svg},
        grid,
        look::Look,
    },
    studies::{
        first_passes::judge::latency::Latency,
        zoo::judge::{Row, Timed},
    },
};

/// For the titles of the models.
const LEFT: f64 = 290.0;
/// One engine on one model.
const LANE: f64 = 13.0;
/// Between two models.
const GAP: f64 = 11.0;
/// Below the lanes, for what is written at the axis.
const BELOW: f64 = 24.0 + LINE;

/// A lane for each engine that ran a model: a dot by default, a ring with the recommended settings,
/// and a line between them. `None` where nothing was timed.
pub(crate) fn draw(rows: &[Row]) -> Result<Option<String>> {
    let shown: Vec<&Row> = rows.iter().filter(|row| points(row) != [None; 2]).collect();
    let all = || shown.iter().flat_map(|row| points(row)).flatten();
    let (Some(low), Some(high)) = (all().reduce(f64::min), all().reduce(f64::max)) else {
        return Ok(None);
    };
    // The steady time itself is always there to compare with.
    let ends = (low.min(1.0) * 0.9, high.max(1.0) * 1.15);
    let x = Axis::logarithmic(ends, (LEFT, WIDTH - MARGIN - 8.0));

    let engines: BTreeSet<&str> = rows.iter().map(|row| row.backend).collect();
    let colour = |backend: &str| {
        let position = engines.iter().position(|engine| *engine == backend);
        Look::of(position.unwrap_or(0)).colour
    };
    let mut models: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in &shown {
        let title = row.model.description.title.as_str();
        match models.last_mut() {
            Some((last, of_model)) if *last == title => of_model.push(row),
            _ => models.push((title, vec![row])),
        }
    }

    let mut legend: Vec<(Mark, String)> = engines
        .iter()
        .filter(|engine| shown.iter().any(|row| row.backend == **engine))
        .map(|engine| {
            let colour = colour(engine);
            let mark: Mark = Box::new(move |canvas, at| canvas.dot(at, 4.5, colour.into()));
            let label = shown.iter().find(|row| row.backend == *engine);
            (
                mark,
                label.map_or_else(String::new, |row| row.label.clone()),
            )
        })
        .collect();
    if shown.iter().any(|row| points(row)[1].is_some()) {
        let ring: Mark = Box::new(|canvas, at| canvas.ring(at, 4.0, INK.to_rgba()));
        legend.push((ring, "with the settings of tuned.toml".into()));
    }
    let legend = Legend::of(legend);

    let lanes: f64 = models
        .iter()
        .map(|(_, rows)| GAP + LANE * rows.len() as f64)
        .sum();
    let bottom = TOP + lanes;
    let height = bottom + BELOW + 4.0 + legend.height() + MARGIN;
    let svg = svg(height, |canvas| {
        canvas.title("Other models", "pass 1 in units of the steady time")?;
        for (value, text) in x.ticks(40.0) {
            let at = x.at(value);
            canvas.line(&[(at, TOP), (at, bottom)], grid(), 1.0)?;
            canvas.text(&format!("{text}×"), (at, bottom + 12.0), Anchor::Centre)?;
        }
        let steady = x.at(1.0);
        canvas.line(&[(steady, TOP), (steady, bottom)], INK.mix(0.7), 1.5)?;
        let mut top = TOP;
        for (title, rows) in &models {
            let middle = top + (GAP + LANE * rows.len() as f64) / 2.0;
            canvas.text(title, (LEFT - 12.0, middle), Anchor::Right)?;
            top += GAP / 2.0;
            for row in rows {
                lane(canvas, &x, top + LANE / 2.0, colour(row.backend), row)?;
                top += LANE;
            }
            top += GAP / 2.0;
            canvas.line(&[(MARGIN, top), (WIDTH - MARGIN, top)], grid(), 0.75)?;
        }
        let below = bottom + 24.0 + LINE / 2.0;
        let centre = (LEFT + WIDTH) / 2.0;
        canvas.text("pass 1 / steady", (centre, below), Anchor::Centre)?;
        legend.draw(canvas, bottom + BELOW + 4.0)
    })?;
    Ok(Some(svg))
}

fn lane(canvas: &Canvas, x: &Axis, y: f64, colour: RGBColor, row: &Row) -> Result<()> {
    let [default, tuned] = points(row);
    if let (Some(default), Some(tuned)) = (default, tuned) {
        let line = [(x.at(tuned), y), (x.at(default), y)];
        canvas.line(&line, colour.mix(0.5), 1.5)?;
    }
    if let Some(tuned) = tuned {
        canvas.ring((x.at(tuned), y), 4.0, colour.into())?;
    }
    if let Some(default) = default {
        canvas.dot((x.at(default), y), 4.5, colour.into())?;
    }
    Ok(())
}

/// Pass 1 over steady by default and tuned.
fn points(row: &Row) -> [Option<f64>; 2] {
    let ratio = |latency: &Latency| Some(latency.first_over_steady?.ratio());
    [
        row.default.latency().and_then(ratio),
        row.tuned.as_ref().and_then(Timed::latency).and_then(ratio),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::plots::tests::count;
    use crate::studies::zoo::judge::{judge, tests::zoo};

    #[test]
    fn what_was_timed_has_a_dot_and_what_was_tuned_a_ring() -> Result<()> {
        let zoo = zoo()?;
        let svg = draw(&judge(&zoo))?.unwrap_or_default();
        // Three models by default, one of them tuned, and both marks of the legend.
        assert_eq!(count(&svg, "<circle"), 3 + 1 + 2);
        assert!(svg.contains("Model a") && svg.contains("Model b"));
        assert!(!svg.contains("Model c"), "it failed");
        Ok(())
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(matches!(draw(&[]), Ok(None)));
    }
}
