//! A node with the operator set that says what it means.

use std::ops::Deref;

use firstpass_onnx::{NodeProto, Result};

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
    /// An attribute of integers that are not negative; empty where there is none.
    ///
    /// # Errors
    /// Fails where one of them is negative.
    pub fn list(&self, name: &str) -> Result<Vec<usize>> {
        let given = self.ints(name).unwrap_or_default();
        let sizes = given.iter().map(|&int| usize::try_from(int).ok());
        let sizes: Option<Vec<usize>> = sizes.collect();
        sizes.ok_or_else(|| self.unsupported(format!("its {name} are {given:?}")))
    }

    /// Strides, dilations and padding of a window.
    ///
    /// # Errors
    /// Fails where they are of no window.
    pub fn geometry(&self) -> Result<Geometry> {
        let steps = |name: &str| {
            let steps = self.list(name)?;
            if steps.contains(&0) {
                return Err(self.malformed(format!("its {name} must be at least 1")));
            }
            Ok(steps)
        };
        let padding = match self.text("auto_pad").unwrap_or(b"NOTSET") {
            // Some exporters leave the text empty.
            b"NOTSET" | b"" => Padding::Explicit(self.list("pads")?),
            b"VALID" => Padding::Explicit(Vec::new()),
            b"SAME_UPPER" => Padding::SameUpper,
            b"SAME_LOWER" => Padding::SameLower,
            _ => return Err(self.malformed("its auto_pad is unknown")),
        };
        Ok(Geometry {
            strides: steps("strides")?,
            dilations: steps("dilations")?,
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
