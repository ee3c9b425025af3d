//! Plots as SVG, readable on a light and on a dark page.

use anyhow::{Result, anyhow};
use firstpass_statistics::median;
use plotters::prelude::*;

use crate::{
    model::ModelDescription,
    report::analysis::{Analysis, Row},
};

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

/// The colour of text: a grey that is readable on white and on black. A picture in a page cannot
/// know the theme of the page, only that of the system, and the two may differ.
const INK: RGBColor = RGBColor(125, 133, 144);

const SIZE: (u32, u32) = (860, 420);

/// The times of all passes of each engine with one thread, on logarithmic axes: every process as a
/// thin line, the median over them as a thick one. `None` where nothing was timed.
pub(super) fn first_passes(
    analysis: &Analysis,
    model: &ModelDescription,
) -> Result<Option<String>> {
    let rows: Vec<_> = analysis
        .rows(model)
        .iter()
        .filter_map(|row| Some((row, row.latency.first_key_value()?)))
        .collect();
    let times = || {
        rows.iter()
            .flat_map(|(_, (_, l))| l.processes.iter().flat_map(|p| p.times.iter().copied()))
    };
    let (Some(low), Some(high)) = (
        times().reduce(f64::min).filter(|low| *low > 0.0),
        times().reduce(f64::max),
    ) else {
        return Ok(None);
    };
    let longest = rows
        .iter()
        .flat_map(|(_, (_, l))| l.processes.iter().map(|p| p.times.len()))
        .max();
    let threads = rows
        .iter()
        .map(|(_, (threads, _))| **threads)
        .min()
        .unwrap_or(1);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let ink = |size: u32| ("sans-serif", size).into_font().color(&INK);
        let title = format!(
            "{}: time of each pass, {threads} thread{}",
            model.title,
            if threads == 1 { "" } else { "s" }
        );
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ink(17))
            .margin(10)
            .margin_right(170)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(
                (0.9..longest.unwrap_or(1).max(2) as f64 * 1.1).log_scale(),
                (low * 0.8..high * 1.25).log_scale(),
            )
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .x_desc("pass of a fresh process")
            .y_desc("milliseconds")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| {
                if *y < 10.0 {
                    format!("{y:.1}")
                } else {
                    format!("{y:.0}")
                }
            })
            .x_labels(8)
            .y_labels(8)
            .axis_style(INK)
            .bold_line_style(INK.mix(0.3))
            .light_line_style(INK.mix(0.12))
            .label_style(ink(13))
            .axis_desc_style(ink(14))
            .draw()
            .map_err(drawing)?;
        for (number, (row, (_, latency))) in rows.iter().enumerate() {
            let colour = colour(analysis, row);
            let points = |series: &[f64]| -> Vec<(f64, f64)> {
                series
                    .iter()
                    .enumerate()
                    .map(|(n, t)| ((n + 1) as f64, *t))
                    .collect()
            };
            for process in &latency.processes {
                chart
                    .draw_series(LineSeries::new(
                        points(&process.times),
                        colour.mix(0.3).stroke_width(1),
                    ))
                    .map_err(drawing)?;
            }
            let medians: Vec<f64> = (0..latency.passes)
                .filter_map(|n| median(latency.processes.iter().map(|p| p.times[n])))
                .collect();
            chart
                .draw_series(LineSeries::new(points(&medians), colour.stroke_width(3)))
                .map_err(drawing)?;
            let first = points(&medians).into_iter().take(5);
            chart
                .draw_series(first.map(|p| Circle::new(p, 4, colour.filled())))
                .map_err(drawing)?;
            // The legend stands beside the lines, where it hides none of them.
            let y = 56 + 24 * i32::try_from(number)?;
            let x = i32::try_from(SIZE.0)? - 160;
            area.draw(&PathElement::new(
                [(x, y), (x + 18, y)],
                colour.stroke_width(3),
            ))
            .map_err(drawing)?;
            area.draw(&Text::new(row.label.clone(), (x + 24, y - 6), ink(13)))
                .map_err(drawing)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(Some(svg + "\n"))
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw a plot: {error}")
}
