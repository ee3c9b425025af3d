//! Cold start against steady time of every setting of an engine, with the Pareto front.

use anyhow::Result;
use firstpass_probe::Need;
use plotters::style::Color;

use crate::{
    page::plots::{
        COLOURS, Legend, MARGIN, Mark,
        axis::Axis,
        canvas::{Anchor, LINE, Point, TOP, WIDTH, svg, width},
        grid,
    },
    studies::{
        first_passes::judge::latency::Latency,
        tune::judge::{Ablation, OutputChange, Setting, pareto, recommend::recommended},
    },
};

const LEFT: f64 = 70.0;
const HEIGHT: f64 = 330.0;

/// Draws the settings of one or more ablations of the same engine and model; `None` where none was
/// timed.
pub(crate) fn draw(title: &str, ablations: &[&Ablation]) -> Result<Option<String>> {
    let Some(decisive) = ablations.last() else {
        return Ok(None);
    };
    let place = |latency: &Latency| {
        Some((
            latency.cold_start.as_ref()?.median,
            latency.steady.as_ref()?.median,
        ))
    };
    let all = ablations.iter().flat_map(|a| &a.settings);
    let settings: Vec<(&Setting, Point)> = all
        .filter_map(|s| Some((s, s.latency.as_ref().and_then(place)?)))
        .collect();
    let Some(default) = place(&decisive.default) else {
        return Ok(None);
    };
    let points = || settings.iter().map(|(_, at)| *at).chain([default]);
    let range = |of: fn(Point) -> f64| {
        let values = || points().map(of);
        let low = values().reduce(f64::min).unwrap_or(1.0);
        let high = values().reduce(f64::max).unwrap_or(1.0);
        (low * 0.94, high * 1.06)
    };
    let bottom = TOP + HEIGHT;
    let x = Axis::logarithmic(range(|p| p.0), (LEFT, WIDTH - MARGIN - 12.0));
    let y = Axis::logarithmic(range(|p| p.1), (bottom, TOP + 6.0));
    let at = |point: Point| (x.at(point.0), y.at(point.1));

    let front = pareto(decisive);
    let best = Need::ALL.map(|need| recommended(decisive, need).map(Setting::name));
    let (tuned, plain, other) = (COLOURS[0], COLOURS[6], COLOURS[1]);
    let mut legend: Vec<(Mark, String)> = vec![
        (
            Box::new(move |c, at| c.dot(at, 5.0, COLOURS[5].into())),
            "default".into(),
        ),
        (
            Box::new(move |c, at| c.dot(at, 4.0, plain.mix(0.7))),
            "a setting, same outputs".into(),
        ),
        (
            Box::new(move |c, at| c.ring(at, 4.0, other.into())),
            "other outputs".into(),
        ),
        (
            Box::new(move |c, (x, y)| c.line(&[(x - 10.0, y), (x + 10.0, y)], tuned.mix(0.8), 2.0)),
            "Pareto front".into(),
        ),
    ];
    let mut numbered: Vec<(usize, Point)> = Vec::new();
    for (number, setting) in front.iter().flatten().enumerate() {
        let Some(point) = setting.latency.as_ref().and_then(place) else {
            continue;
        };
        let name = setting.name();
        let needs = Need::ALL.iter().zip(&best);
        let marks: String = needs
            .filter(|(_, best)| best.as_ref() == Some(&name))
            .map(|(need, _)| format!(", recommended for {need}"))
            .collect();
        let shown = (number + 1).to_string();
        legend.push((
            Box::new(move |c, at| c.heading(&shown, at, Anchor::Centre)),
            format!("{name}{marks}"),
        ));
        numbered.push((number + 1, point));
    }
    let legend = Legend::of(legend);
    let height = bottom + 24.0 + LINE + 4.0 + legend.height() + MARGIN;
    let svg = svg(height, |canvas| {
        canvas.title(
            title,
            "cold start against steady time of every setting, in ms",
        )?;
        for (value, text) in x.ticks(48.0) {
            let x = x.at(value);
            canvas.line(&[(x, TOP), (x, bottom)], grid(), 1.0)?;
            canvas.text(&text, (x, bottom + 12.0), Anchor::Centre)?;
        }
        for (value, text) in y.ticks(24.0) {
            let y = y.at(value);
            canvas.line(&[(LEFT, y), (WIDTH - MARGIN - 12.0, y)], grid(), 1.0)?;
            canvas.text(&text, (LEFT - 6.0, y), Anchor::Right)?;
        }
        let middle = f64::midpoint(LEFT, WIDTH);
        let below = bottom + 24.0 + LINE / 2.0;
        canvas.text("cold start, ms", (middle, below), Anchor::Centre)?;
        let beside = (MARGIN + 6.0, f64::midpoint(TOP, bottom));
        canvas.text("steady, ms", beside, Anchor::Upwards)?;

        let line: Vec<Point> = front
            .iter()
            .filter_map(|setting| match setting {
                None => Some(at(default)),
                Some(setting) => setting.latency.as_ref().and_then(place).map(at),
            })
            .collect();
        canvas.line(&line, tuned.mix(0.8), 2.0)?;
        for (setting, point) in &settings {
            if setting.outputs == OutputChange::Same {
                canvas.dot(at(*point), 4.0, plain.mix(0.7))?;
            } else {
                canvas.ring(at(*point), 4.0, other.into())?;
            }
        }
        canvas.dot(at(default), 5.0, COLOURS[5].into())?;
        for (number, point) in &numbered {
            let (x, y) = at(*point);
            canvas.dot((x, y), 4.0, tuned.into())?;
            let text = number.to_string();
            canvas.heading(&text, (x + 4.0 + width(&text), y - 9.0), Anchor::Centre)?;
        }
        let (x, y) = at(default);
        canvas.text("default", (x, y + 14.0), Anchor::Centre)?;
        legend.draw(canvas, bottom + 24.0 + LINE + 4.0)
    })?;
    Ok(Some(svg))
}
