//! What detectors have behind their networks, and images that are sampled anywhere.

use firstpass_probe::{Error, Result};

use crate::{
    array::{Array, Places},
    kind::Kind,
    operators::{Call, Table},
    value::Value,
};

pub const TABLE: Table = &[
    ("GridSample", grid_sample),
    ("NonMaxSuppression", non_max_suppression),
];

/// Lowest and highest place along each of two axes.
type Corners = [[f64; 2]; 2];

/// Of each class of each image the boxes with the highest scores, without those that overlap a better one.
fn non_max_suppression(call: &Call<'_>) -> Result<Vec<Value>> {
    let (boxes, scores) = (call.reals(0)?, call.reals(1)?);
    let misfit = || {
        Error::engine(format!(
            "boxes of {:?} with scores of {:?}",
            boxes.array.dims, scores.array.dims
        ))
    };
    let ([images, count, 4], [of_images, classes, of_count]) =
        (&boxes.array.dims[..], &scores.array.dims[..])
    else {
        return Err(misfit());
    };
    if images != of_images || count != of_count {
        return Err(misfit());
    }
    let number = |position: usize, default: f64| match call.optional(position) {
        None => Ok(default),
        Some(_) => call.number(position),
    };
    let most = number(2, 0.0)?;
    let (overlap, lowest) = (number(3, 0.0)?, number(4, f64::NEG_INFINITY)?);
    let has_centres = call.is_set("center_point_box")?;
    let mut selected = Vec::new();
    for image in 0..*images {
        let corners: Vec<Corners> = (0..*count)
            .map(|at| {
                let of = &boxes.array.values[(image * count + at) * 4..][..4];
                corners([of[0], of[1], of[2], of[3]], has_centres)
            })
            .collect();
        for class in 0..*classes {
            let scores = &scores.array.values[(image * classes + class) * count..][..*count];
            let mut order: Vec<usize> = (0..*count).filter(|&at| scores[at] > lowest).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            let mut kept: Vec<usize> = Vec::new();
            for at in order {
                if kept.len() as f64 >= most {
                    break;
                }
                let hides = |&other: &usize| shared(corners[other], corners[at]) > overlap;
                if !kept.iter().any(hides) {
                    kept.push(at);
                }
            }
            for at in kept {
                selected.extend([image as i64, class as i64, at as i64]);
            }
        }
    }
    let array = Array {
        dims: vec![selected.len() / 3, 3],
        values: selected,
    };
    Ok(vec![Value::whole(array, Kind::I64)])
}

fn corners([a, b, c, d]: [f64; 4], has_centres: bool) -> Corners {
    if has_centres {
        let around = |centre: f64, length: f64| [centre - length / 2.0, centre + length / 2.0];
        [around(b, d), around(a, c)]
    } else {
        [[a.min(c), a.max(c)], [b.min(d), b.max(d)]]
    }
}

/// What two boxes have in common, as a part of what they cover together.
fn shared(a: Corners, b: Corners) -> f64 {
    let length = |[low, high]: [f64; 2]| (high - low).max(0.0);
    let area = |of: Corners| length(of[0]) * length(of[1]);
    let both = [0, 1].map(|axis| [a[axis][0].max(b[axis][0]), a[axis][1].min(b[axis][1])]);
    let (own, other, common) = (area(a), area(b), area(both));
    if own <= 0.0 || other <= 0.0 {
        return 0.0;
    }
    common / (own + other - common)
}

/// How places between pixels are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// What lies around an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Zeros,
    Border,
    Reflection,
}

/// A line or a column of pixels, and where it ends.
#[derive(Debug, Clone, Copy)]
struct Line {
    length: usize,
    aligns_corners: bool,
    around: Around,
}

impl Line {
    fn ends(self) -> [f64; 2] {
        let last = self.length as f64 - 1.0;
        if self.aligns_corners {
            [0.0, last]
        } else {
            [-0.5, last + 0.5]
        }
    }

    /// The place on the line that a number from -1 to 1 means.
    fn place(self, given: f64) -> f64 {
        let length = self.length as f64;
        let place = if self.aligns_corners {
            (given + 1.0) / 2.0 * (length - 1.0)
        } else {
            ((given + 1.0) * length - 1.0) / 2.0
        };
        let [low, high] = self.ends();
        if (low..=high).contains(&place) {
            return place;
        }
        match self.around {
            Around::Zeros => place,
            Around::Border => place.clamp(0.0, length - 1.0),
            Around::Reflection => self.reflected(place),
        }
    }

    fn reflected(self, place: f64) -> f64 {
        let [low, high] = self.ends();
        let (beyond, first, second) = if place < low {
            (low - place, low, high)
        } else if place > high {
            (place - high, high, low)
        } else {
            return place;
        };
        let range = high - low;
        if range <= 0.0 {
            return low;
        }
        let turns = (beyond / range).trunc();
        let rest = beyond - turns * range;
        let (from, towards) = if turns % 2.0 == 0.0 {
            (first, (second - first).signum())
        } else {
            (second, (first - second).signum())
        };
        from + towards * rest
    }

    /// The pixel at a whole place; `None` where there is a 0.
    fn pixel(self, place: f64) -> Option<usize> {
        let last = self.length as f64 - 1.0;
        if (0.0..=last).contains(&place) {
            return Some(place as usize);
        }
        match self.around {
            Around::Zeros => None,
            Around::Border => Some(place.clamp(0.0, last) as usize),
            Around::Reflection => Some(self.reflected(place).clamp(0.0, last) as usize),
        }
    }

    /// The pixels that a place is computed from, with their weights.
    fn taps(self, mode: Mode, place: f64) -> Vec<(Option<usize>, f64)> {
        let first = place.floor();
        let rest = place - first;
        match mode {
            Mode::Nearest => vec![(self.pixel(place.round_ties_even()), 1.0)],
            Mode::Linear => vec![
                (self.pixel(first), 1.0 - rest),
                (self.pixel(first + 1.0), rest),
            ],
            Mode::Cubic => {
                let weights = [1.0 + rest, rest, 1.0 - rest, 2.0 - rest].map(cubic);
                let places = [-1.0, 0.0, 1.0, 2.0].map(|step| self.pixel(first + step));
                places.into_iter().zip(weights).collect()
            }
        }
    }
}

/// The weight of a pixel at a distance, in the cubic convolution that PyTorch takes.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let d = distance;
    if d <= 1.0 {
        ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0
    } else {
        ((A * d - 5.0 * A) * d + 8.0 * A) * d - 4.0 * A
    }
}

/// An image at the places that a grid names.
fn grid_sample(call: &Call<'_>) -> Result<Vec<Value>> {
    let (image, grid) = (call.reals(0)?, call.reals(1)?);
    let ([number, channels, height, width], [of_number, rows, columns, 2]) =
        (&image.array.dims[..], &grid.array.dims[..])
    else {
        return Err(Error::unsupported(format!(
            "a grid of {:?} for {:?}; images are implemented",
            grid.array.dims, image.array.dims
        )));
    };
    if number != of_number {
        return Err(Error::engine(format!(
            "{number} images with {of_number} grids"
        )));
    }
    let mode = match call.word("mode", "linear").as_str() {
        "nearest" => Mode::Nearest,
        "linear" | "bilinear" => Mode::Linear,
        "cubic" | "bicubic" => Mode::Cubic,
        other => return Err(Error::engine(format!("it has no mode {other:?}"))),
    };
    let around = match call.word("padding_mode", "zeros").as_str() {
        "zeros" => Around::Zeros,
        "border" => Around::Border,
        "reflection" => Around::Reflection,
        other => return Err(Error::engine(format!("it has no padding {other:?}"))),
    };
    if (mode, around) == (Mode::Cubic, Around::Border) {
        // The standard's evaluator moves the place to the border, ONNX Runtime each pixel.
        return Err(Error::unsupported(
            "cubic, with the border around the image: ONNX leaves open what lies beyond it",
        ));
    }
    let aligns_corners = call.is_set("align_corners")?;
    let line = |length: usize| Line {
        length,
        aligns_corners,
        around,
    };
    if *height == 0 || *width == 0 {
        return Err(Error::engine("an image without pixels"));
    }
    let dims = [*number, *channels, *rows, *columns];
    let values = Places::new(&dims)?.map(|index| {
        let place = ((index[0] * rows + index[2]) * columns + index[3]) * 2;
        let [x, y] = [grid.array.values[place], grid.array.values[place + 1]];
        let (across, down) = (line(*width), line(*height));
        let columns = across.taps(mode, across.place(x));
        let plane = (index[0] * channels + index[1]) * height;
        let along = |(row, weight): (Option<usize>, f64)| {
            let of_row = columns.iter().map(|(column, weight)| match (row, column) {
                (Some(row), Some(column)) => {
                    weight * image.array.values[(plane + row) * width + column]
                }
                _ => 0.0,
            });
            weight * of_row.sum::<f64>()
        };
        down.taps(mode, down.place(y)).into_iter().map(along).sum()
    });
    let dims = dims.to_vec();
    Ok(vec![Value::real(Array { dims, values }, image.kind)])
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::{
        AttributeProto, GraphProto, NodeProto,
        write::{f32_value, node},
    };

    use super::*;
    use crate::{
        graph::{Interpretation, Model},
        rules::Rules,
    };

    /// What a node makes of two inputs.
    fn computed(node: NodeProto, inputs: [(&[usize], &[f32]); 2]) -> Result<Value> {
        let graph = GraphProto {
            node: vec![node],
            input: vec![f32_value("a", None), f32_value("b", None)],
            output: vec![f32_value("y", None)],
            ..GraphProto::default()
        };
        let model = Model::new(graph, 20, &["a", "b"], &["y"])?;
        let given = |(dims, values): (&[usize], &[f32])| {
            let array = Array {
                dims: dims.to_vec(),
                values: values.iter().map(|&value| value.into()).collect(),
            };
            Value::real(array, Kind::F32)
        };
        let [a, b] = inputs.map(given);
        let interpretation = Interpretation {
            rules: Rules::default(),
            threads: 1,
        };
        let mut found = model.run(
            interpretation,
            [("a", a), ("b", b)].into(),
            &mut |_, compute| compute(),
        )?;
        Ok(found.remove(0))
    }

    /// What ONNX's own evaluator and ONNX Runtime both give.
    #[test]
    fn images_are_sampled_beyond_their_ends() -> Result<()> {
        let image: [f32; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        let grid = [-1.3, -0.4, 0.2, 0.9, 1.6, 2.1, -0.7, 0.3];
        for (mode, around, aligns, expected) in [
            ("nearest", "zeros", 0, [0.0, 16.0, 0.0, 8.0]),
            ("nearest", "border", 0, [1.0, 16.0, 32.0, 8.0]),
            ("nearest", "reflection", 0, [1.0, 16.0, 4.0, 8.0]),
            ("nearest", "reflection", 1, [1.0, 16.0, 2.0, 8.0]),
            ("linear", "zeros", 0, [0.085, 12.48, 0.0, 6.27]),
            ("linear", "zeros", 1, [2.17, 18.36, 5.760_002, 7.215]),
            ("linear", "border", 0, [1.7, 20.8, 32.0, 6.6]),
            ("linear", "reflection", 0, [1.7, 20.8, 12.16, 6.6]),
            ("linear", "reflection", 1, [4.03, 18.36, 11.62, 7.215]),
            (
                "cubic",
                "zeros",
                0,
                [0.063_379, 16.149_18, 0.248_832, 7.006_942],
            ),
            (
                "cubic",
                "reflection",
                0,
                [1.517_926, 24.707_97, 12.247_94, 6.526_884],
            ),
            (
                "cubic",
                "reflection",
                1,
                [2.698_519, 19.841_32, 12.041_6, 6.475_314],
            ),
        ] {
            let node = node("GridSample", &["a", "b"], "y")
                .with(AttributeProto::text("mode", mode))
                .with(AttributeProto::text("padding_mode", around))
                .with(AttributeProto::int("align_corners", aligns));
            let found = computed(node, [(&[1, 1, 2, 3], &image), (&[1, 1, 4, 2], &grid)])?;
            assert_eq!(found.dims(), [1, 1, 1, 4]);
            for (found, expected) in found.reals()?.array.values.iter().zip(expected) {
                let off: f64 = found - expected;
                assert!(
                    off.abs() < 2e-6 * f64::max(expected, 1.0),
                    "{mode} {around} {aligns}: {found} {expected}"
                );
            }
        }
        Ok(())
    }

    #[test]
    fn the_better_of_two_boxes_that_overlap_is_kept() -> Result<()> {
        let node = node("NonMaxSuppression", &["a", "b", "most", "overlap"], "y");
        let graph = |most: i64, overlap: f32| GraphProto {
            node: vec![node.clone()],
            initializer: vec![
                firstpass_onnx::write::constant("most", &[], &[most]),
                firstpass_onnx::write::constant("overlap", &[], &[overlap]),
            ],
            input: vec![f32_value("a", None), f32_value("b", None)],
            output: vec![f32_value("y", None)],
            ..GraphProto::default()
        };
        // The first two have 9 of 11 parts in common; the corners of the third are the other way round.
        let boxes = [0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 6.0, 6.0, 5.0, 5.0];
        let scores = [0.5, 0.9, 0.7];
        let kept = |most: i64, overlap: f32| -> Result<Vec<i64>> {
            let model = Model::new(graph(most, overlap), 11, &["a", "b"], &["y"])?;
            let value = |dims: &[usize], values: &[f64]| {
                let (dims, values) = (dims.to_vec(), values.to_vec());
                Value::real(Array { dims, values }, Kind::F32)
            };
            let given = [
                ("a", value(&[1, 3, 4], &boxes)),
                ("b", value(&[1, 1, 3], &scores)),
            ];
            let interpretation = Interpretation {
                rules: Rules::default(),
                threads: 1,
            };
            let found = model.run(interpretation, given.into(), &mut |_, compute| compute())?;
            match &found[0] {
                Value::Whole(whole) => Ok(whole.array.values.clone()),
                other => panic!("{other:?} are no indices"),
            }
        };
        assert_eq!(kept(3, 0.5)?, [0, 0, 1, 0, 0, 2]);
        assert_eq!(kept(3, 0.9)?, [0, 0, 1, 0, 0, 2, 0, 0, 0]);
        assert_eq!(kept(1, 0.5)?, [0, 0, 1]);
        assert_eq!(kept(0, 0.5)?, [0; 0]);
        Ok(())
    }
}
