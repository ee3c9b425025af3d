//! A canvas in pixels, for the few shapes that the plots are made of.

use std::cell::RefCell;

use anyhow::{Result, anyhow};
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::page::{plots::look::pieces, terminal};

/// The colour of text: a grey that is readable on white and on black. A picture in a page cannot
/// know the theme of the page, only that of the system, and the two may differ.
pub(crate) const INK: RGBColor = RGBColor(125, 133, 144);

/// The size of text, in pixels; nothing is written smaller.
pub(crate) const TEXT: f64 = 12.0;
/// The size of the title of a plot.
pub(crate) const TITLE: f64 = 15.0;
/// From one line of text to the next.
pub(crate) const LINE: f64 = 17.0;

/// What the title of a plot takes.
pub(crate) const TOP: f64 = 50.0;

/// All plots are as wide, so that their texts have one size where a page fits them to its width.
pub(crate) const WIDTH: f64 = 860.0;

/// Units in a pixel: plotters rounds to whole units, and thin lines would be ragged.
const FINE: f64 = 4.0;

/// What plotters divides the size of a font by when it writes SVG.
const FONT_SCALE: f64 = 1.24;

/// Between the lines of what is hatched.
const HATCH: f64 = 6.0;

/// A place, in pixels from the upper left corner.
pub(crate) type Point = (f64, f64);

/// What a text is written at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Anchor {
    Left,
    Centre,
    Right,
    /// Its centre, and it reads upwards.
    Upwards,
}

/// What is drawn on. Its background is that of the page.
pub(crate) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    /// Shapes that are not seen and say a value where the mouse is, if the page shows the plot within it.
    hints: RefCell<String>,
}

/// Whether an SVG is one of these, by how it begins.
pub(crate) fn is_drawn_here(svg: &str) -> bool {
    let after_height = svg
        .strip_prefix(&format!("<svg width=\"{WIDTH:.0}\" height=\""))
        .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let fine = format!("\" viewBox=\"0 0 {} ", units(WIDTH));
    after_height.is_some_and(|rest| rest.starts_with(&fine))
}

/// The SVG of what is painted, so many pixels high.
pub(crate) fn svg(height: f64, paint: impl FnOnce(&Canvas) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    let size = (units(WIDTH).unsigned_abs(), units(height).unsigned_abs());
    let canvas = Canvas {
        area: SVGBackend::with_string(&mut svg, size).into_drawing_area(),
        hints: RefCell::default(),
    };
    paint(&canvas)?;
    canvas.area.present().map_err(drawing)?;
    let hints = canvas.hints.take();
    drop(canvas);
    let end = svg.rfind("</svg>").unwrap_or(svg.len());
    svg.insert_str(end, &hints);
    let fine = format!("width=\"{}\" height=\"{}\"", size.0, size.1);
    let shown = format!("width=\"{WIDTH:.0}\" height=\"{height:.0}\"");
    // What is the same in every text is said once.
    let svg = svg.replacen(&fine, &shown, 1);
    let svg = svg.replace(" font-family=\"sans-serif\" font-size", " font-size");
    let svg = svg.replacen(" xmlns=", " font-family=\"sans-serif\" xmlns=", 1);
    Ok(svg.replace(" opacity=\"1\"", "") + "\n")
}

impl Canvas<'_> {
    pub(crate) fn line(&self, points: &[Point], colour: RGBAColor, width: f64) -> Result<()> {
        let points: Vec<(i32, i32)> = points.iter().map(|p| place(*p)).collect();
        let style = colour.stroke_width(units(width).unsigned_abs());
        self.area
            .draw(&PathElement::new(points, style))
            .map_err(drawing)
    }

    /// A line that is broken where it is to be told from others of its colour.
    pub(crate) fn broken_line(
        &self,
        points: &[Point],
        colour: RGBAColor,
        width: f64,
        dash: Option<(f64, f64)>,
    ) -> Result<()> {
        let Some(dash) = dash else {
            return self.line(points, colour, width);
        };
        let mut pieces = pieces(points, dash).into_iter();
        pieces.try_for_each(|piece| self.line(&piece, colour, width))
    }

    pub(crate) fn rectangle(&self, from: Point, to: Point, colour: RGBAColor) -> Result<()> {
        let rectangle = Rectangle::new([place(from), place(to)], colour.filled());
        self.area.draw(&rectangle).map_err(drawing)
    }

    /// A rectangle that is crossed out rather than filled: what is not known.
    pub(crate) fn hatch(&self, from: Point, to: Point, colour: RGBAColor) -> Result<()> {
        self.rectangle(from, to, colour.mix(0.25))?;
        let height = to.1 - from.1;
        let mut foot = from.0 - height;
        while foot < to.0 {
            let (left, right) = (foot.max(from.0), (foot + height).min(to.0));
            let line = [(left, to.1 - (left - foot)), (right, to.1 - (right - foot))];
            self.line(&line, colour, 1.0)?;
            foot += HATCH;
        }
        Ok(())
    }

    pub(crate) fn dot(&self, at: Point, radius: f64, colour: RGBAColor) -> Result<()> {
        let circle = Circle::new(place(at), units(radius), colour.filled());
        self.area.draw(&circle).map_err(drawing)
    }

    pub(crate) fn ring(&self, at: Point, radius: f64, colour: RGBAColor) -> Result<()> {
        let style = colour.stroke_width(units(1.25).unsigned_abs());
        self.area
            .draw(&Circle::new(place(at), units(radius), style))
            .map_err(drawing)
    }

    /// Says a value where the mouse is over this place.
    pub(crate) fn hint(&self, at: Point, radius: f64, value: &str) {
        let ((x, y), radius) = (place(at), units(radius));
        self.add_hint(
            &format!("circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\""),
            "circle",
            value,
        );
    }

    /// Says a value where the mouse is over this rectangle.
    pub(crate) fn hint_in(&self, from: Point, to: Point, value: &str) {
        let ((left, top), (right, bottom)) = (place(from), place(to));
        let shape = format!("path d=\"M{left} {top}H{right}V{bottom}H{left}Z\"");
        self.add_hint(&shape, "path", value);
    }

    fn add_hint(&self, shape: &str, tag: &str, value: &str) {
        let value = value.replace('&', "&amp;").replace('<', "&lt;");
        let value: String = value.chars().filter(|c| !c.is_control()).collect();
        let hint = format!(
            "<{shape} class=\"hint\" fill=\"transparent\"><title>{value}</title></{tag}>\n"
        );
        self.hints.borrow_mut().push_str(&hint);
    }

    /// Writes a line of text, centred vertically at its place.
    pub(crate) fn text(&self, text: &str, at: Point, anchor: Anchor) -> Result<()> {
        self.write(text, at, anchor, TEXT, FontStyle::Normal, INK)
    }

    /// The same on a filled shape, which is the same on every page.
    pub(crate) fn label(&self, text: &str, at: Point, on: RGBColor) -> Result<()> {
        let ink = if is_dark(on) { WHITE } else { BLACK };
        self.write(text, at, Anchor::Centre, TEXT, FontStyle::Normal, ink)
    }

    /// The same in bold letters.
    pub(crate) fn heading(&self, text: &str, at: Point, anchor: Anchor) -> Result<()> {
        self.write(text, at, anchor, TEXT, FontStyle::Bold, INK)
    }

    /// What the plot is of and what it shows, in two lines: titles of models are long.
    pub(crate) fn title(&self, subject: &str, shown: &str) -> Result<()> {
        let at = (WIDTH / 2.0, LINE);
        self.write(subject, at, Anchor::Centre, TITLE, FontStyle::Bold, INK)?;
        self.text(shown, (at.0, at.1 + LINE + 1.0), Anchor::Centre)
    }

    fn write(
        &self,
        text: &str,
        at: Point,
        anchor: Anchor,
        size: f64,
        style: FontStyle,
        colour: RGBColor,
    ) -> Result<()> {
        // Words of others may hold what no SVG may.
        let text = terminal::text(text).replace('\n', " ");
        let horizontal = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Centre | Anchor::Upwards => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let mut font = ("sans-serif", size * FINE * FONT_SCALE)
            .into_font()
            .style(style);
        if matches!(anchor, Anchor::Upwards) {
            font = font.transform(FontTransform::Rotate270);
        }
        let style = font.color(&colour).pos(Pos::new(horizontal, VPos::Center));
        self.area
            .draw(&Text::new(text, place(at), style))
            .map_err(drawing)
    }
}

/// At most how wide a line of text is. The font is the reader's, so this is that of a wide one.
pub(crate) fn width(text: &str) -> f64 {
    0.6 * TEXT * text.chars().count() as f64
}

/// Breaks a list into lines that are at most so wide, as far as its items are.
pub(crate) fn wrap(list: &str, within: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in list.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if width(line) + width(item.trim_end()) <= within => line.push_str(item),
            _ => lines.push(item.into()),
        }
    }
    lines
}

/// Whether white is easier to read on it than black: by its luminance (WCAG 2.1).
fn is_dark(RGBColor(red, green, blue): RGBColor) -> bool {
    let linear = |channel: u8| (f64::from(channel) / 255.0).powf(2.2);
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue) < 0.179
}

fn place((x, y): Point) -> (i32, i32) {
    (units(x), units(y))
}

fn units(pixels: f64) -> i32 {
    (pixels * FINE).round() as i32
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw a plot: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_broken_between_items() {
        let list = "2 flat, 3 warm-up, 1 slowdown";
        assert_eq!(wrap(list, 1000.0), [list]);
        assert_eq!(wrap(list, 140.0), ["2 flat, 3 warm-up, ", "1 slowdown"]);
        assert_eq!(wrap(list, 1.0).len(), 3);
    }

    #[test]
    fn a_label_stands_out_from_what_it_is_on() {
        assert!(is_dark(RGBColor(0, 80, 140)) && is_dark(BLACK));
        assert!(!is_dark(RGBColor(230, 159, 0)) && !is_dark(WHITE));
    }

    #[test]
    fn a_hatch_stays_inside() -> Result<()> {
        let svg = svg(100.0, |canvas| {
            canvas.hatch((10.0, 20.0), (25.0, 30.0), INK.to_rgba())
        })?;
        let lines: Vec<&str> = svg.matches("<polyline").collect();
        assert_eq!(lines.len(), 5, "{svg}");
        let points = svg.split("points=\"").skip(1);
        for point in points.flat_map(|rest| rest.split('"').next().unwrap_or("").split(' ')) {
            let Some((x, y)) = point.split_once(',') else {
                continue;
            };
            let (x, y): (f64, f64) = (x.parse()?, y.parse()?);
            assert!(
                (40.0..=100.0).contains(&x) && (80.0..=120.0).contains(&y),
                "{svg}"
            );
        }
        Ok(())
    }

    #[test]
    fn it_is_shown_in_pixels_and_drawn_finer() -> Result<()> {
        let svg = svg(100.0, |canvas| {
            canvas.text("a < b", (1.0, 2.0), Anchor::Left)
        })?;
        let header = "<svg width=\"860\" height=\"100\" viewBox=\"0 0 3440 400\"";
        assert!(svg.starts_with(header), "{svg}");
        assert!(svg.contains("x=\"4\" y=\"8\""), "{svg}");
        assert!(svg.contains("a &lt; b"), "{svg}");
        Ok(())
    }
}
