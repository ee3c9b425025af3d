//! Plots as SVG, readable on a light and on a dark page.

pub mod axis;
pub mod canvas;
pub mod look;

use anyhow::Result;
use plotters::prelude::*;

use crate::page::plots::canvas::{Anchor, Canvas, INK, LINE, Point, WIDTH, width};

/// Colours that a reader with any colour vision tells apart (Okabe and Ito, 2008), and that stand
/// out on white and on black.
pub(crate) const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(128, 128, 128),
];

/// Between the edge of a plot and what it shows.
pub(crate) const MARGIN: f64 = 10.0;

/// How a mark of a legend looks, drawn around its place.
pub(crate) type Mark<'a> = Box<dyn Fn(&Canvas, Point) -> Result<()> + 'a>;

/// What the marks of a plot mean, in as many lines as it takes.
pub(crate) struct Legend<'a> {
    lines: Vec<Vec<(Mark<'a>, String)>>,
}

impl<'a> Legend<'a> {
    /// Before the middle of a mark.
    const BEFORE: f64 = 20.0;
    /// From the middle of a mark to its text.
    const AFTER: f64 = 14.0;

    pub(crate) fn of(items: impl IntoIterator<Item = (Mark<'a>, String)>) -> Self {
        let mut lines: Vec<Vec<(Mark, String)>> = Vec::new();
        for (mark, text) in items {
            match lines.last_mut() {
                Some(line) if line_width(line) + item_width(&text) <= WIDTH - 2.0 * MARGIN => {
                    line.push((mark, text));
                }
                _ => lines.push(vec![(mark, text)]),
            }
        }
        Self { lines }
    }

    pub(crate) fn height(&self) -> f64 {
        LINE * self.lines.len() as f64
    }

    pub(crate) fn draw(&self, canvas: &Canvas, top: f64) -> Result<()> {
        let mut y = top + LINE / 2.0;
        for line in &self.lines {
            let mut x = (WIDTH - line_width(line)) / 2.0;
            for (mark, text) in line {
                mark(canvas, (x + Self::BEFORE, y))?;
                let at = (x + Self::BEFORE + Self::AFTER, y);
                canvas.text(text, at, Anchor::Left)?;
                x += item_width(text);
            }
            y += LINE;
        }
        Ok(())
    }
}

fn item_width(text: &str) -> f64 {
    Legend::BEFORE + Legend::AFTER + width(text)
}

fn line_width(line: &[(Mark, String)]) -> f64 {
    line.iter().map(|(_, text)| item_width(text)).sum()
}

/// A mark that is a horizontal line.
pub(crate) fn line_mark<'a>(colour: RGBAColor, thickness: f64) -> Mark<'a> {
    Box::new(move |canvas, (x, y)| canvas.line(&[(x - 9.0, y), (x + 9.0, y)], colour, thickness))
}

/// A mark that is a vertical line.
pub(crate) fn tick_mark<'a>(colour: RGBAColor, thickness: f64) -> Mark<'a> {
    Box::new(move |canvas, (x, y)| canvas.line(&[(x, y - 7.0), (x, y + 7.0)], colour, thickness))
}

/// A mark that is a filled rectangle.
pub(crate) fn block_mark<'a>(colour: RGBAColor) -> Mark<'a> {
    Box::new(move |canvas, (x, y)| canvas.rectangle((x - 9.0, y - 5.0), (x + 9.0, y + 5.0), colour))
}

/// At most this many of all, spread evenly.
pub(crate) fn spread<T>(all: &[T], most: usize) -> impl Iterator<Item = &T> {
    let shown = all.len().min(most);
    (0..shown).filter_map(move |n| all.get(n * all.len() / shown))
}

/// `1 thread`, `2 threads`.
pub(crate) fn with_threads(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// Grid lines, and nothing that draws the eye.
pub(crate) fn grid() -> RGBAColor {
    INK.mix(0.22)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// How often something stands in a plot.
    pub(crate) fn count(svg: &str, what: &str) -> usize {
        svg.matches(what).count()
    }

    #[test]
    fn what_is_shown_is_spread_over_all() {
        let all: Vec<usize> = (0..10).collect();
        let shown = |most| spread(&all, most).copied().collect::<Vec<_>>();
        assert_eq!(shown(5), [0, 2, 4, 6, 8]);
        assert_eq!(shown(20), all);
    }
}
