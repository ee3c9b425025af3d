//! Where the first passes of an engine spend their time: a bar for each, by kinds of operators, and
//! below it what each kind consists of.

use anyhow::Result;
use plotters::prelude::*;

use crate::{
    page::{
        numbers::milliseconds,
        plots::{
            COLOURS, Legend, MARGIN, Mark,
            axis::Axis,
            block_mark,
            canvas::{Anchor, Canvas, INK, LINE, Point, TEXT, TOP, WIDTH, svg, width},
            grid,
        },
    },
    studies::explain::judge::{Explanation, FIRST, Part},
};

/// How many kinds have a colour of their own.
const KINDS: usize = 5;
/// That of all others.
const OTHERS: RGBColor = COLOURS[KINDS];

/// The upper half of a bar, for the kinds.
const UPPER: f64 = 20.0;
/// The lower half, for the layers.
const LOWER: f64 = 17.0;
/// From one bar to the next.
const BAR: f64 = UPPER + LOWER + 9.0;
/// Below the bars, for what is written at the axis.
const BELOW: f64 = 24.0 + LINE;

/// Bars are shown again, magnified, where the longest is this many times the shortest.
const MAGNIFY: f64 = 20.0;
/// Then those that are shorter than the longest by this factor.
const SHORT: f64 = 8.0;

/// Shorter than this, in pixels, nothing is drawn.
const VISIBLE: f64 = 0.25;

/// A pass, or the steady state.
#[derive(Clone)]
struct Bar {
    label: String,
    kinds: Vec<Kind>,
    /// With what lies outside of all operators, in ms.
    total: f64,
}

#[derive(Clone)]
struct Kind {
    name: String,
    colour: RGBColor,
    time: f64,
    /// Each of its layers.
    layers: Vec<(String, f64)>,
}

/// Bars of the first passes and of the steady state. `None` where nothing was timed.
pub fn draw(title: &str, label: &str, explanation: &Explanation) -> Result<Option<String>> {
    let kinds = ranked(explanation);
    let first = (1..=FIRST).map(|pass| {
        let time = move |part: &Part| part.time(pass);
        bar(format!("pass {pass}"), explanation, &kinds, time)
    });
    let steady = bar("steady".into(), explanation, &kinds, Part::steady);
    let bars: Vec<Bar> = first.chain([steady]).collect();
    if bars.iter().any(|bar| bar.total <= 0.0) {
        return Ok(None);
    }
    let legend = legend(&bars);
    let panels = magnified(bars);

    let bodies: f64 = panels.iter().map(|panel| height(panel)).sum();
    let titles = 2.0 * LINE * (panels.len() - 1) as f64;
    let svg = svg(TOP + bodies + titles + legend.height() + MARGIN, |canvas| {
        let shown =
            format!("{label}: where passes spend their time, by operators, and below by layers");
        canvas.title(title, &shown)?;
        let mut top = TOP;
        for (number, panel) in panels.iter().enumerate() {
            if number > 0 {
                top += 2.0 * LINE;
                let at = (WIDTH / 2.0, top - LINE / 2.0);
                canvas.heading("the short bars, magnified", at, Anchor::Centre)?;
            }
            draw_panel(canvas, panel, top)?;
            top += height(panel);
        }
        legend.draw(canvas, top)
    })?;
    Ok(Some(svg))
}

/// The kinds of operators; that first which is the largest part of any bar.
fn ranked(explanation: &Explanation) -> Vec<&str> {
    let whole = &explanation.whole;
    let largest = |part: &Part| {
        let first = (1..=FIRST).map(|pass| part.time(pass) / whole.time(pass));
        first.fold(part.steady() / whole.steady(), f64::max)
    };
    let mut kinds: Vec<(&str, f64)> = explanation
        .kinds
        .iter()
        .map(|(kind, part)| (kind.as_str(), largest(part)))
        .collect();
    kinds.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    kinds.into_iter().map(|(kind, _)| kind).collect()
}

fn bar(
    label: String,
    explanation: &Explanation,
    ranked: &[&str],
    time: impl Fn(&Part) -> f64,
) -> Bar {
    let mut kinds: Vec<Kind> = Vec::new();
    for (rank, name) in ranked.iter().enumerate() {
        let Some((_, part)) = explanation.kinds.iter().find(|(kind, _)| kind == name) else {
            continue;
        };
        let of_kind = explanation
            .operators
            .iter()
            .filter(|(o, _)| o.kind == *name);
        let layers = of_kind.map(|(operator, part)| (operator.layer.clone(), time(part)));
        if rank > KINDS
            && let Some(others) = kinds.last_mut()
        {
            others.time += time(part);
            others.layers.extend(layers);
            continue;
        }
        let is_other = rank == KINDS && ranked.len() > KINDS + 1;
        kinds.push(Kind {
            name: if is_other {
                "other operators".into()
            } else {
                (*name).to_owned()
            },
            colour: COLOURS.get(rank).copied().unwrap_or(OTHERS),
            time: time(part),
            layers: layers.collect(),
        });
    }
    // Several threads may spend more in operators than the pass takes.
    let outside = time(&explanation.outside).max(0.0);
    let inside: f64 = kinds.iter().map(|kind| kind.time).sum();
    Bar {
        label,
        kinds,
        total: inside + outside,
    }
}

fn legend<'a>(bars: &[Bar]) -> Legend<'a> {
    let kinds = bars.iter().take(1).flat_map(|bar| bar.kinds.clone());
    let mut items: Vec<(Mark, String)> = kinds
        .map(|kind| (block_mark(kind.colour.to_rgba()), kind.name))
        .collect();
    let hatched: Mark = Box::new(|canvas, (x, y)| {
        canvas.hatch((x - 9.0, y - 5.0), (x + 9.0, y + 5.0), INK.to_rgba())
    });
    items.push((hatched, "outside operators".into()));
    Legend::of(items)
}

/// All bars, and below them again those that are too short to be read there.
fn magnified(bars: Vec<Bar>) -> Vec<Vec<Bar>> {
    let mut panels = vec![bars];
    while let Some(last) = panels.last() {
        let totals = || last.iter().map(|bar| bar.total);
        let longest = longest(last);
        if totals().fold(f64::INFINITY, f64::min) * MAGNIFY >= longest {
            break;
        }
        let short = last.iter().filter(|bar| bar.total * SHORT < longest);
        panels.push(short.cloned().collect());
    }
    panels
}

fn longest(bars: &[Bar]) -> f64 {
    bars.iter().map(|bar| bar.total).fold(0.0, f64::max)
}

fn height(panel: &[Bar]) -> f64 {
    BAR * panel.len() as f64 + BELOW + 6.0
}

fn draw_panel(canvas: &Canvas, bars: &[Bar], top: f64) -> Result<()> {
    let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
    let left = MARGIN + 8.0 + widest(&mut bars.iter().map(|bar| width(&bar.label)));
    let after = 8.0 + widest(&mut bars.iter().map(|bar| width(&bar.end())));
    let right = WIDTH - MARGIN - after;
    let x = Axis::linear(longest(bars), (left, right));
    let bottom = top + BAR * bars.len() as f64;
    for (value, text) in x.ticks(60.0) {
        let at = x.at(value);
        canvas.line(&[(at, top), (at, bottom)], grid(), 1.0)?;
        canvas.text(&text, (at, bottom + TEXT), Anchor::Centre)?;
    }
    canvas.line(&[(left, bottom), (right, bottom)], INK.mix(0.7), 1.0)?;
    let below = ((left + right) / 2.0, bottom + 24.0 + LINE / 2.0);
    canvas.text("milliseconds", below, Anchor::Centre)?;
    for (number, bar) in bars.iter().enumerate() {
        bar.draw(canvas, &x, top + BAR * number as f64 + 4.0)?;
    }
    Ok(())
}

impl Bar {
    /// Written at its end.
    fn end(&self) -> String {
        format!("{} ms", milliseconds(self.total))
    }

    fn draw(&self, canvas: &Canvas, x: &Axis, top: f64) -> Result<()> {
        let (middle, bottom) = (top + UPPER, top + UPPER + LOWER);
        let label = (x.at(0.0) - 8.0, top + UPPER / 2.0);
        canvas.text(&self.label, label, Anchor::Right)?;
        let mut from = 0.0;
        for kind in &self.kinds {
            let to = from + kind.time;
            let (left, right) = (x.at(from), x.at(to));
            segment(
                canvas,
                (left, top),
                (right, middle),
                kind.colour,
                &kind.name,
            )?;
            let value = format!("{}: {} ms", kind.name, milliseconds(kind.time));
            canvas.hint_in((left, top), (right, middle), &value);
            kind.draw_layers(canvas, (left, middle + 1.0), (right, bottom))?;
            from = to;
        }
        let (left, right) = (x.at(from), x.at(self.total));
        if right - left >= VISIBLE {
            canvas.hatch((left, top), (right, bottom), INK.to_rgba())?;
        }
        let end = (x.at(self.total) + 6.0, top + UPPER / 2.0);
        canvas.text(&self.end(), end, Anchor::Left)
    }
}

impl Kind {
    /// Its layers between two corners, in two shades by turns. Medians of parts do not add up to
    /// the median of the whole, so that they are fitted to it.
    fn draw_layers(&self, canvas: &Canvas, from: Point, to: Point) -> Result<()> {
        // Behind those that are too thin to be drawn.
        segment(canvas, from, to, shade(self.colour, 0.7), "")?;
        let all: f64 = self.layers.iter().map(|(_, time)| time).sum();
        let mut left = from.0;
        for (number, (layer, time)) in self.layers.iter().enumerate() {
            let right = left + time / all.max(f64::MIN_POSITIVE) * (to.0 - from.0);
            let colour = shade(self.colour, if number % 2 == 0 { 0.9 } else { 0.7 });
            let (upper, lower) = ((left, from.1), (right, to.1));
            segment(canvas, upper, lower, colour, layer)?;
            if right - left >= VISIBLE {
                canvas.hint_in(
                    upper,
                    lower,
                    &format!("{layer}: {} ms", milliseconds(*time)),
                );
            }
            left = right;
        }
        Ok(())
    }
}

/// A filled rectangle, with its name where it fits.
fn segment(canvas: &Canvas, from: Point, to: Point, colour: RGBColor, name: &str) -> Result<()> {
    if to.0 - from.0 < VISIBLE {
        return Ok(());
    }
    canvas.rectangle(from, to, colour.to_rgba())?;
    if name.is_empty() || width(name) + 6.0 > to.0 - from.0 {
        return Ok(());
    }
    let at = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
    canvas.label(name, at, colour)
}

/// A colour made darker.
fn shade(RGBColor(red, green, blue): RGBColor, by: f64) -> RGBColor {
    let darker = |channel: u8| (f64::from(channel) * by).round() as u8;
    RGBColor(darker(red), darker(green), darker(blue))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::plots::tests::count;
    use crate::studies::explain::judge::{
        judge,
        tests::{explain, processes, profile},
    };
    use firstpass_probe::Profile;

    fn drawn(profile: impl Fn(u64) -> Profile) -> String {
        let judged = judge(&explain(processes(profile)));
        let svg = draw("a model", "x", &judged.explanations[0]).expect("it can be drawn");
        svg.expect("there is something to draw")
    }

    #[test]
    fn every_pass_is_a_bar_of_kinds_and_layers() {
        let svg = drawn(profile);
        for text in ["pass 1", "pass 2", "pass 3", "steady", "100 ms", "30.0 ms"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        // A bar has two kinds; one layer of each before its background; what lies outside.
        assert_eq!(count(&svg, "<rect"), 4 * (2 + 2 * 2 + 1) + 3);
        assert!(!svg.contains("other operators"));
        // In the legend and where they fit, with their layers below.
        assert!(
            count(&svg, "conv") > 4 && count(&svg, ">\nfirst") >= 4,
            "{svg}"
        );
        assert_eq!(svg, drawn(profile));
    }

    #[test]
    fn many_kinds_share_the_last_colour() {
        let svg = drawn(|round| {
            let mut profile = profile(round);
            for number in 0..6 {
                profile.operators.push(firstpass_probe::ProfiledOperator {
                    layer: format!("layer {number}"),
                    kind: format!("kind {number}"),
                });
                for pass in &mut profile.passes {
                    pass.self_ns.push(1_000_000);
                    pass.span.wall_ns += 1_000_000;
                }
            }
            profile
        });
        assert!(svg.contains("other operators"));
        // In the legend; the hints of the five bars name those that are drawn.
        let without_hints = svg.split("<path").next().unwrap_or_default();
        let named = |kind| count(without_hints, kind);
        assert_eq!((named("kind 2"), named("kind 3")), (1, 0));
    }

    #[test]
    fn short_bars_are_magnified() {
        let svg = drawn(|round| {
            let mut profile = profile(round);
            profile.passes[0].span.wall_ns *= 100;
            profile
        });
        assert_eq!(count(&svg, "magnified"), 1);
        assert_eq!((count(&svg, "pass 1"), count(&svg, "pass 2")), (1, 2));
    }
}
