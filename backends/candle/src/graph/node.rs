//! A node with the operator set that says what it means.

use std::ops::Deref;

use firstpass_onnx::NodeProto;
use firstpass_probe::Result;

use crate::geometry::{Geometry, Padding};

/// A node of the graph.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    pub proto: &'a NodeProto,
    pub opset: i64,
}

impl Deref for Node<'_> {
    type Target = NodeProto;

    fn deref(&self) -> &NodeProto {
        self.proto
    }
}

impl Node<'_> {
    /// An attribute of `count` integers that are not negative.
    ///
    /// # Errors
    /// Fails where it is another list.
    pub fn sizes(&self, name: &str, count: usize, default: usize) -> Result<Vec<usize>> {
        let Some(given) = self.ints(name) else {
            return Ok(vec![default; count]);
        };
        let sizes = given.iter().filter_map(|&int| usize::try_from(int).ok());
        let sizes: Vec<usize> = sizes.collect();
        if given.len() == count && sizes.len() == count {
            Ok(sizes)
        } else {
            Err(self.malformed(format!("it has {name} {given:?}")))
        }
    }

    /// Strides, dilations and padding of a window over an image.
    ///
    /// # Errors
    /// Fails where they are not of an image.
    pub fn geometry(&self) -> Result<Geometry> {
        let pair = |name: &str| {
            let sizes = self.sizes(name, 2, 1)?;
            if sizes.contains(&0) {
                return Err(self.malformed(format!("its {name} must be at least 1")));
            }
            Ok([sizes[0], sizes[1]])
        };
        let padding = match self.text("auto_pad").unwrap_or(b"NOTSET") {
            b"NOTSET" => {
                let pads = self.sizes("pads", 4, 0)?;
                Padding::Explicit([pads[0], pads[1], pads[2], pads[3]])
            }
            b"VALID" => Padding::Explicit([0; 4]),
            b"SAME_UPPER" => Padding::SameUpper,
            b"SAME_LOWER" => Padding::SameLower,
            _ => return Err(self.malformed("its auto_pad is unknown")),
        };
        Ok(Geometry {
            strides: pair("strides")?,
            dilations: pair("dilations")?,
            padding,
        })
    }

    /// The groups of a convolution.
    ///
    /// # Errors
    /// Fails where there is none.
    pub fn groups(&self) -> Result<usize> {
        let groups = self.int("group")?.unwrap_or(1);
        let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
        groups.ok_or_else(|| self.malformed("it has no groups"))
    }
}
