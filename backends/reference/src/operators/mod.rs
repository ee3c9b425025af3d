//! The operators, each as the ONNX specification defines it, but exact on quantized values until
//! QuantizeLinear rounds them. Plain, slow code: numbers are computed in f64 and rounded once to their
//! type, integers are exact and keep the lowest bits of their type.

mod activations;
mod binary;
mod control;
mod conv;
mod dynamic_lstm;
mod geometry;
mod indices;
mod matmul;
mod microsoft;
mod movement;
mod normalization;
mod on_bytes;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod shapes;
mod unary;
mod vision;

use std::sync::Arc;

use firstpass_onnx::{NodeProto, TensorProto};
use firstpass_probe::{Error, Result};

use crate::{
    graph::{Context, Scope},
    kind::Kind,
    rules::{Arithmetic, Sums},
    value::{Integers, Reals, Value},
};

/// What computes the outputs of a node.
pub type Operator = fn(&Call<'_>) -> Result<Vec<Value>>;

/// Operators by name.
type Table = &'static [(&'static str, Operator)];

/// Of ONNX's own domain.
const STANDARD: &[Table] = &[
    activations::TABLE,
    binary::TABLE,
    control::TABLE,
    conv::TABLE,
    matmul::TABLE,
    indices::TABLE,
    movement::TABLE,
    normalization::TABLE,
    pool::TABLE,
    quantize::TABLE,
    recurrent::TABLE,
    reduce::TABLE,
    resize::TABLE,
    shapes::TABLE,
    unary::TABLE,
    vision::TABLE,
];

/// The operator of a node; `None` where it is not implemented.
pub fn find(node: &NodeProto) -> Option<Operator> {
    let tables: &[Table] = match node.domain.as_str() {
        "" | "ai.onnx" => STANDARD,
        "com.microsoft" => &[microsoft::TABLE],
        _ => &[],
    };
    let mut all = tables.iter().flat_map(|table| table.iter());
    let found = all.find(|(name, _)| *name == node.op_type);
    found.map(|(_, operator)| *operator)
}

/// The names of all operators, in the order of the alphabet.
pub fn names() -> Vec<String> {
    let names = |tables: &[Table], prefix: &str| -> Vec<String> {
        let all = tables.iter().flat_map(|table| table.iter());
        let mut names: Vec<String> = all.map(|(name, _)| format!("{prefix}{name}")).collect();
        names.sort_unstable();
        names
    };
    let mut all = names(STANDARD, "");
    all.extend(names(&[microsoft::TABLE], "com.microsoft."));
    all
}

/// A node with its inputs.
pub struct Call<'a> {
    pub node: &'a NodeProto,
    /// An optional one may be left out.
    pub inputs: &'a [Option<Value>],
    pub context: Context,
    /// What the graphs in the node's attributes may read as well.
    pub scope: Scope<'a>,
}

impl Call<'_> {
    pub fn optional(&self, position: usize) -> Option<&Value> {
        self.inputs.get(position).and_then(Option::as_ref)
    }

    pub fn value(&self, position: usize) -> Result<&Value> {
        let input = self.optional(position);
        input.ok_or_else(|| Error::engine(format!("its input {position} is missing")))
    }

    pub fn reals(&self, position: usize) -> Result<Arc<Reals>> {
        self.value(position)?.reals()
    }

    pub fn integers(&self, position: usize) -> Result<Arc<Integers>> {
        match self.value(position)? {
            Value::Whole(integers) => Ok(Arc::clone(integers)),
            other => Err(Error::engine(format!(
                "its input {position} must be integers and not {}",
                other.kind()
            ))),
        }
    }

    /// The values of an input that lists whole numbers, such as a shape or axes.
    pub fn list(&self, position: usize) -> Result<Vec<i64>> {
        Ok(self.integers(position)?.array.values.clone())
    }

    /// The same of what was an attribute in older operator sets; `None` where it is left out.
    pub fn list_or_attribute(&self, position: usize, name: &str) -> Result<Option<Vec<i64>>> {
        match self.optional(position) {
            Some(_) => self.list(position).map(Some),
            None => Ok(self.node.ints(name).map(<[i64]>::to_vec)),
        }
    }

    /// The only value of an input, as a number.
    pub fn number(&self, position: usize) -> Result<f64> {
        let one = |values: Vec<f64>| match values[..] {
            [value] => Ok(value),
            _ => Err(Error::engine(format!(
                "its input {position} is no single number"
            ))),
        };
        match self.value(position)? {
            Value::Whole(integers) => one(integers.array.map(|v| v as f64).values),
            other => one(other.reals()?.array.values.clone()),
        }
    }

    pub fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.node.int(name)?.unwrap_or(default))
    }

    pub fn is_set(&self, name: &str) -> Result<bool> {
        Ok(self.int(name, 0)? != 0)
    }

    pub fn float(&self, name: &str, default: f32) -> f64 {
        self.node.float(name).unwrap_or(default).into()
    }

    /// An attribute that is a word, in lower case.
    pub fn word(&self, name: &str, default: &str) -> String {
        let given = self.node.text(name).map(String::from_utf8_lossy);
        given.as_deref().unwrap_or(default).to_ascii_lowercase()
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorProto> {
        self.node.tensor(name)
    }

    /// An attribute that names a type.
    pub fn kind(&self, name: &str) -> Result<Option<Kind>> {
        let number = self.node.int(name)?.filter(|&number| number != 0);
        let number = number.map(|number| Kind::of(i32::try_from(number).unwrap_or(i32::MAX)));
        number.transpose()
    }

    /// Whether values stay integers with their scales where that is possible, so that a rule decides how
    /// they are rounded. Else everything is computed on dequantized values, as the file says.
    pub fn keeps_integers(&self) -> bool {
        let Context {
            arithmetic, rules, ..
        } = self.context;
        let of_floats = matches!(arithmetic, Arithmetic::Standard | Arithmetic::FakeQuantize);
        // Only integers saturate.
        let is_needed = !of_floats || rules.sums != Sums::Exact;
        rules.end.is_none() && is_needed
    }
}

/// An axis that may be counted from the end, of `rank`.
pub fn axis(given: i64, rank: usize) -> Result<usize> {
    let found = if given < 0 {
        let back = usize::try_from(given.unsigned_abs()).ok();
        back.and_then(|back| rank.checked_sub(back))
    } else {
        usize::try_from(given).ok().filter(|&axis| axis < rank)
    };
    found.ok_or_else(|| Error::engine(format!("{rank} axes have no axis {given}")))
}

/// Each of some axes.
pub fn axes(given: &[i64], rank: usize) -> Result<Vec<usize>> {
    given.iter().map(|&given| axis(given, rank)).collect()
}

/// A length or a count that a file gives.
pub fn length(given: i64) -> Result<usize> {
    usize::try_from(given).map_err(|_| Error::engine(format!("{given} is no length")))
}
