//! How the marks of one engine are told from those of the others.

use plotters::prelude::*;

use crate::page::plots::{COLOURS, canvas::Point};

/// Colours of engines: those that a reader with any colour vision tells apart, but grey, which is the colour of text,
/// and four more that are as far from these and from each other, for every colour vision.
const OF_ENGINES: [RGBColor; 10] = [
    COLOURS[0],
    COLOURS[1],
    COLOURS[2],
    COLOURS[3],
    COLOURS[4],
    COLOURS[5],
    RGBColor(145, 65, 245),
    RGBColor(130, 95, 45),
    RGBColor(165, 180, 105),
    RGBColor(150, 125, 255),
];

/// What is drawn of a line, and what is left out, in pixels; where colours run out, lines differ by that.
const DASHES: [Option<(f64, f64)>; 3] = [None, Some((10.0, 5.0)), Some((3.0, 3.0))];

/// The colour of an engine, and how its lines are broken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    pub(crate) colour: RGBColor,
    pub(crate) dash: Option<(f64, f64)>,
}

impl Look {
    /// That of the engine at this place of all.
    pub(crate) fn of(position: usize) -> Self {
        Self {
            colour: OF_ENGINES[position % OF_ENGINES.len()],
            dash: DASHES[position / OF_ENGINES.len() % DASHES.len()],
        }
    }
}

/// The pieces of a line that are drawn where it is broken: each has so many pixels, with so many left out after it.
pub(crate) fn pieces(line: &[Point], (drawn, left_out): (f64, f64)) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Point> = line.first().copied().into_iter().collect();
    let (mut is_drawn, mut rest) = (true, drawn);
    for ends in line.windows(2) {
        let (mut from, to) = (ends[0], ends[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length <= rest {
                rest -= length;
                if is_drawn {
                    piece.push(to);
                }
                break;
            }
            let share = rest / length;
            from = (
                from.0 + share * (to.0 - from.0),
                from.1 + share * (to.1 - from.1),
            );
            if is_drawn {
                piece.push(from);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece.push(from);
            }
            is_drawn = !is_drawn;
            rest = if is_drawn { drawn } else { left_out };
        }
    }
    if piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_engines_look_different() {
        let looks: Vec<Look> = (0..30).map(Look::of).collect();
        for (n, look) in looks.iter().enumerate() {
            assert!(!looks[..n].contains(look), "{n}: {look:?}");
        }
        assert!(looks[..10].iter().all(|look| look.dash.is_none()));
    }

    #[test]
    fn they_stand_out_on_white_and_on_black() {
        let luminance = |RGBColor(red, green, blue): RGBColor| {
            let linear = |channel: u8| (f64::from(channel) / 255.0).powf(2.2);
            0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
        };
        for colour in OF_ENGINES.map(luminance) {
            let (on_white, on_black) = (1.05 / (colour + 0.05), (colour + 0.05) / 0.058);
            assert!(on_white > 2.0 && on_black > 2.0, "{on_white} {on_black}");
        }
    }

    #[test]
    fn a_broken_line_stays_on_its_way() {
        let line = [(0.0, 0.0), (4.0, 0.0), (4.0, 12.0)];
        let expected = [
            vec![(0.0, 0.0), (4.0, 0.0), (4.0, 1.0)],
            vec![(4.0, 4.0), (4.0, 9.0)],
        ];
        assert_eq!(pieces(&line, (5.0, 3.0)), expected);
        assert_eq!(pieces(&line[..1], (5.0, 3.0)), Vec::<Vec<Point>>::new());
        assert_eq!(pieces(&[], (5.0, 3.0)), Vec::<Vec<Point>>::new());
    }
}
