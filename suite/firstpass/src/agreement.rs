//! Outputs, compared.

use std::fmt;

/// What the outputs of an engine were compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reference {
    /// Golden outputs, by the name of their file.
    Golden(String),
    /// For lack of golden outputs those of Firstpass's referee, which computes what the file defines.
    Referee,
    /// For lack of these as well what these engines agree on without their optimizations. It may be wrong all
    /// the same.
    Engines(Vec<String>),
    /// Each other: nothing says who is right where they differ.
    EachOther,
    /// Nothing: fewer than two engines gave outputs, and there are no golden ones.
    Nothing,
}

/// What came of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The outputs are those of the reference, and how well.
    Same(String),
    /// They differ by more than they may, and how.
    Other(String),
    /// Not all was compared, and why.
    NotCompared(String),
}

/// The outputs of one engine against the [`Reference`]: integers must be equal, floats up to the
/// rounding of f32.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    pub(crate) outcome: Outcome,
    pub(crate) outputs: Vec<Difference>,
}

impl Agreement {
    /// Whether all outputs were compared and none differs by more than it may.
    pub fn holds(&self) -> bool {
        matches!(self.outcome, Outcome::Same(_))
    }

    /// How far each output is from the reference; none where nothing was compared.
    pub fn outputs(&self) -> &[Difference] {
        &self.outputs
    }

    /// The largest difference of a value of any output.
    pub fn max_difference(&self) -> f64 {
        let all = self.outputs.iter().map(Difference::max_difference);
        all.fold(0.0, f64::max)
    }

    /// The largest difference in quantization steps; `None` where no output is of whole steps.
    pub fn max_steps(&self) -> Option<u64> {
        self.outputs.iter().filter_map(Difference::max_steps).max()
    }
}

impl fmt::Display for Agreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Same(how) => f.write_str(how),
            Outcome::Other(how) => write!(f, "other outputs: {how}"),
            Outcome::NotCompared(why) => write!(f, "not compared: {why}"),
        }
    }
}

/// How far one output is from the reference, over all samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub(crate) output: String,
    pub(crate) values: usize,
    pub(crate) same_bits: usize,
    pub(crate) max_difference: f64,
    pub(crate) max_relative_difference: f64,
    pub(crate) max_steps: Option<u64>,
}

impl Difference {
    /// The name of the output.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// How many values were compared.
    pub fn values(&self) -> usize {
        self.values
    }

    /// How many of them have the same bits.
    pub fn same_bits(&self) -> usize {
        self.same_bits
    }

    /// The largest difference of a value.
    pub fn max_difference(&self) -> f64 {
        self.max_difference
    }

    /// The largest difference of a value in units of its scale: the largest of the value, as one or the other
    /// has it, and the root mean square of the output.
    pub fn max_relative_difference(&self) -> f64 {
        self.max_relative_difference
    }

    /// The largest difference in quantization steps; `None` for an output that is not of whole steps.
    pub fn max_steps(&self) -> Option<u64> {
        self.max_steps
    }
}
