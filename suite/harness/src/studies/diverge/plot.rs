//! How the differences of engines from the referee grow from layer to layer.

use std::collections::BTreeMap;

use anyhow::Result;
use firstpass_trial::difference::Difference;
use plotters::style::Color;

use crate::{
    page::plots::{
        COLOURS, Legend, MARGIN, Mark,
        axis::Axis,
        canvas::{Anchor, LINE, Point, TOP, WIDTH, svg, wrap},
        grid,
        look::Look,
    },
    studies::diverge::LayerDifference,
};

const LEFT: f64 = 70.0;
const HEIGHT: f64 = 260.0;
/// What a legend takes beside the text of an entry.
const LABEL: f64 = 40.0;

/// Draws a line an engine, or for several with the same one, and a dot for each layer that differs by itself; `None` where no
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
    let shares = engines.iter().flat_map(|(_, layers)| layers.iter());
    let most = shares
        .flat_map(|layer| [share(&layer.cumulative), share(&layer.isolated)])
        .flatten()
        .fold(1.0, f64::max);
    let bottom = TOP + HEIGHT;
    let x = Axis::linear(layers as f64, (LEFT, WIDTH - MARGIN - 12.0));
    let y = Axis::linear(most * 1.05, (bottom, TOP + 6.0));
    let lines = lines(engines);
    let legend = lines.iter().enumerate().flat_map(|(number, line)| {
        let Look { colour, dash } = Look::of(number);
        let names: Vec<&str> = line.engines.iter().map(|(name, _)| *name).collect();
        let labels = wrap(&names.join(", "), WIDTH - 2.0 * MARGIN - LABEL);
        labels.into_iter().map(move |label| {
            let mark: Mark = Box::new(move |c, (x, y)| {
                c.broken_line(&[(x - 10.0, y), (x + 10.0, y)], colour.into(), 2.0, dash)
            });
            (mark, label.trim_end_matches(", ").to_owned())
        })
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
        for (number, line) in lines.iter().enumerate() {
            let at = |(layer, share): (usize, f64)| (x.at(layer as f64 + 1.0), y.at(share));
            let whole = line.shares.iter().enumerate();
            let whole = whole.filter_map(|(place, share)| Some((place, (*share)?)));
            let points: Vec<Point> = whole.map(at).collect();
            let Look { colour, dash } = Look::of(number);
            canvas.broken_line(&points, colour.into(), 2.0, dash)?;
            let alone = line.engines.iter().flat_map(|(_, layers)| {
                let alone = layers.iter().map(|layer| share(&layer.isolated));
                alone.enumerate()
            });
            let alone =
                alone.filter_map(|(place, share)| Some((place, share.filter(|s| *s > 0.0)?)));
            // Engines of one line may share their dots as well.
            let alone: BTreeMap<(usize, u64), f64> = alone
                .map(|(place, share)| ((place, share.to_bits()), share))
                .collect();
            for ((place, _), share) in alone {
                canvas.dot(at((place, share)), 3.0, colour.mix(0.6))?;
            }
        }
        legend.draw(canvas, bottom + 24.0 + LINE + 4.0)
    })?;
    Ok(Some(svg))
}

/// The share of values that differ, in %; `None` of what was not compared.
fn share(difference: &Option<Difference>) -> Option<f64> {
    let difference = difference.as_ref()?;
    Some(100.0 * difference.share())
}

/// Engines that differ in as many values in every layer of the whole run: one would hide the line of another.
struct Together<'a> {
    shares: Vec<Option<f64>>,
    engines: Vec<(&'a str, &'a [LayerDifference])>,
}

fn lines<'a>(engines: &[(&'a str, &'a [LayerDifference])]) -> Vec<Together<'a>> {
    let mut lines: Vec<Together> = Vec::new();
    for &(name, layers) in engines {
        let shares: Vec<Option<f64>> = layers.iter().map(|l| share(&l.cumulative)).collect();
        match lines.iter_mut().find(|line| line.shares == shares) {
            Some(line) => line.engines.push((name, layers)),
            None => lines.push(Together {
                shares,
                engines: vec![(name, layers)],
            }),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{page::plots::tests::count, studies::diverge::report::tests::layer};

    #[test]
    fn engines_with_the_same_line_have_one_with_all_their_names() -> Result<()> {
        let same = [layer("a", 1000, 1000), layer("b", 900, 1000)];
        let other = [layer("a", 1000, 1000), layer("b", 800, 1000)];
        let drawn = |engines: &[(&str, &[LayerDifference])]| {
            anyhow::Ok(draw("t", engines)?.unwrap_or_default())
        };
        let apart = drawn(&[("x", &same), ("y", &other)])?;
        let together = drawn(&[("x", &same), ("y", &same), ("z", &other)])?;
        // Two lines and two marks of the legend, whoever shares a line.
        assert_eq!(count(&together, "<polyline"), count(&apart, "<polyline"));
        assert!(
            together.contains("\nx, y\n") && together.contains("\nz\n"),
            "{together}"
        );
        Ok(())
    }
}
