//! How the differences of engines from the referee grow from layer to layer.

use anyhow::Result;
use firstpass_trial::difference::Difference;
use plotters::style::Color;

use crate::{
    page::plots::{
        COLOURS, Legend, MARGIN, Mark,
        axis::Axis,
        canvas::{Anchor, LINE, Point, TOP, WIDTH, svg},
        grid,
        look::Look,
    },
    studies::diverge::LayerDifference,
};

const LEFT: f64 = 70.0;
const HEIGHT: f64 = 260.0;

/// Draws a line an engine, and a dot for each of its layers that differs by itself; `None` where no
/// engine was compared.
pub(crate) fn draw(title: &str, engines: &[(&str, &[LayerDifference])]) -> Result<Option<String>> {
    let layers = engines
        .iter()
        .map(|(_, layers)| layers.len())
        .max()
        .unwrap_or(0);
    if layers < 2 {
        return Ok(None);
    }
    // Of what was not compared there is none.
    let share = |difference: &Option<Difference>| {
        let difference = difference.as_ref()?;
        Some(100.0 * difference.share())
    };
    let shares = engines.iter().flat_map(|(_, layers)| layers.iter());
    let most = shares
        .flat_map(|layer| [share(&layer.cumulative), share(&layer.isolated)])
        .flatten()
        .fold(1.0, f64::max);
    let bottom = TOP + HEIGHT;
    let x = Axis::linear(layers as f64, (LEFT, WIDTH - MARGIN - 12.0));
    let y = Axis::linear(most * 1.05, (bottom, TOP + 6.0));
    let legend = engines.iter().enumerate().map(|(number, (name, _))| {
        let Look { colour, dash } = Look::of(number);
        let mark: Mark = Box::new(move |c, (x, y)| {
            c.broken_line(&[(x - 10.0, y), (x + 10.0, y)], colour.into(), 2.0, dash)
        });
        (mark, (*name).to_owned())
    });
    let alone: Mark = Box::new(|c, at| c.dot(at, 3.0, COLOURS[6].mix(0.8)));
    let legend = Legend::of(
        legend
            .chain([(alone, "a layer by itself".into())])
            .collect::<Vec<_>>(),
    );
    let height = bottom + 24.0 + LINE + 4.0 + legend.height() + MARGIN;
    let svg = svg(height, |canvas| {
        canvas.title(
            title,
            "share of values that differ from the referee's, in %, by layer",
        )?;
        for (value, text) in x.ticks(48.0) {
            canvas.text(&text, (x.at(value), bottom + 12.0), Anchor::Centre)?;
        }
        for (value, text) in y.ticks(24.0) {
            let y = y.at(value);
            canvas.line(&[(LEFT, y), (WIDTH - MARGIN - 12.0, y)], grid(), 1.0)?;
            canvas.text(&text, (LEFT - 6.0, y), Anchor::Right)?;
        }
        let middle = f64::midpoint(LEFT, WIDTH);
        let below = bottom + 24.0 + LINE / 2.0;
        canvas.text(
            "layer, in the order of the graph",
            (middle, below),
            Anchor::Centre,
        )?;
        let beside = (MARGIN + 6.0, f64::midpoint(TOP, bottom));
        canvas.text("values that differ, %", beside, Anchor::Upwards)?;
        for (number, (_, layers)) in engines.iter().enumerate() {
            let at = |(layer, share): (usize, f64)| (x.at(layer as f64 + 1.0), y.at(share));
            let cumulative = layers.iter().enumerate();
            let cumulative =
                cumulative.filter_map(|(place, layer)| Some((place, share(&layer.cumulative)?)));
            let line: Vec<Point> = cumulative.map(at).collect();
            let Look { colour, dash } = Look::of(number);
            canvas.broken_line(&line, colour.into(), 2.0, dash)?;
            for (place, layer) in layers.iter().enumerate() {
                if let Some(alone) = share(&layer.isolated)
                    && alone > 0.0
                {
                    canvas.dot(at((place, alone)), 3.0, colour.mix(0.6))?;
                }
            }
        }
        legend.draw(canvas, bottom + 24.0 + LINE + 4.0)
    })?;
    Ok(Some(svg))
}
