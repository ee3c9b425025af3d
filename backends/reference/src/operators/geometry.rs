//! Where the windows of convolutions and pools lie, along any number of axes.

use firstpass_probe::{Error, Result};

use crate::{
    array::{Places, strides},
    operators::Call,
};

/// The windows along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Of the input.
    pub size: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    /// Before the first value and after the last.
    pub padding: [usize; 2],
    /// How many windows there are.
    pub positions: usize,
}

impl Axis {
    /// What a tap reads at a position; `None` in the padding.
    pub fn source(&self, position: usize, tap: usize) -> Option<usize> {
        let padded = position * self.stride + tap * self.dilation;
        let at = padded.checked_sub(self.padding[0]);
        at.filter(|&at| at < self.size)
    }

    /// Whether it is within the values and their padding; a window at the end may reach further.
    pub fn is_padded(&self, position: usize, tap: usize) -> bool {
        position * self.stride + tap * self.dilation < self.size + self.padding[0] + self.padding[1]
    }
}

/// An attribute with a number for each axis.
pub fn each(call: &Call<'_>, name: &str, count: usize, default: usize) -> Result<Vec<usize>> {
    let Some(given) = call.node.ints(name) else {
        return Ok(vec![default; count]);
    };
    let lengths = given.iter().map(|&v| usize::try_from(v).ok());
    let lengths: Option<Vec<usize>> = lengths.collect();
    lengths
        .filter(|lengths| lengths.len() == count)
        .ok_or_else(|| Error::unsupported(format!("it has {name} {given:?} for {count} axes")))
}

/// The windows of a node over an input of these lengths.
pub fn windows(call: &Call<'_>, sizes: &[usize], kernel: &[usize]) -> Result<Vec<Axis>> {
    let count = sizes.len();
    let strides = each(call, "strides", count, 1)?;
    let dilations = each(call, "dilations", count, 1)?;
    let pads = each(call, "pads", 2 * count, 0)?;
    let rounds_up = call.is_set("ceil_mode")?;
    let auto = call.word("auto_pad", "notset");
    let of_axis = |axis: usize| -> Result<Axis> {
        let (size, stride) = (sizes[axis], strides[axis]);
        let misfit = || {
            Error::engine(format!(
                "a window of {} does not fit {size} values with pads {pads:?}",
                kernel[axis]
            ))
        };
        if stride == 0 || dilations[axis] == 0 || kernel[axis] == 0 {
            return Err(Error::engine(
                "windows, strides and dilations are at least 1",
            ));
        }
        let reach = (kernel[axis] - 1) * dilations[axis] + 1;
        let (padding, positions) = match &auto[..] {
            "same_upper" | "same_lower" => {
                let positions = size.div_ceil(stride);
                let needed = (positions.saturating_sub(1) * stride + reach).saturating_sub(size);
                let (less, more) = (needed / 2, needed - needed / 2);
                let padding = if auto == "same_upper" {
                    [less, more]
                } else {
                    [more, less]
                };
                (padding, positions)
            }
            "notset" | "valid" | "" => {
                let padding = if auto == "valid" {
                    [0, 0]
                } else {
                    [pads[axis], pads[count + axis]]
                };
                let room = (size + padding[0] + padding[1]).checked_sub(reach);
                let room = room.ok_or_else(misfit)?;
                let mut positions = room / stride + 1;
                if rounds_up {
                    positions = room.div_ceil(stride) + 1;
                    // The last window begins on a value or in the padding before the first.
                    if (positions - 1) * stride >= size + padding[0] {
                        positions -= 1;
                    }
                }
                (padding, positions)
            }
            other => return Err(Error::unsupported(format!("it pads by {other:?}"))),
        };
        Ok(Axis {
            size,
            kernel: kernel[axis],
            stride,
            dilation: dilations[axis],
            padding,
            positions,
        })
    };
    (0..count).map(of_axis).collect()
}

/// Every position of the windows, with the taps that read a value: the number of the tap and the place of
/// the value within the input's axes.
pub fn positions<T>(axes: &[Axis], mut of: impl FnMut(&[(usize, usize)]) -> T) -> Result<Vec<T>> {
    let sizes: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
    let kernel: Vec<usize> = axes.iter().map(|axis| axis.kernel).collect();
    let counts: Vec<usize> = axes.iter().map(|axis| axis.positions).collect();
    let (to, taps) = (strides(&sizes), Places::new(&kernel)?);
    let mut read = Vec::new();
    Ok(Places::new(&counts)?.map(|position| {
        read.clear();
        let mut number = 0;
        taps.map(|tap| {
            let along = axes.iter().zip(position).zip(tap).zip(&to);
            let sources = along.map(|(((axis, &p), &t), stride)| Some(axis.source(p, t)? * stride));
            if let Some(place) = sources.sum::<Option<usize>>() {
                read.push((number, place));
            }
            number += 1;
        });
        of(&read)
    }))
}
