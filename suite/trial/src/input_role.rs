//! What an input of a model is for, so that made-up values make sense: a token must be in the table that it
//! indexes, a mask must let something through. The graph says it where it can, and else the name of the input.

mod tables;

use firstpass_probe::{Dtype, TensorSpec};

use crate::model::ModelDescription;

/// What an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is known.
    Unknown,
    /// Numbers of rows of a table, such as tokens.
    Index,
    /// 1 or true where something counts.
    Mask,
    /// Likewise false where something counts.
    Ignored,
    /// To which of two sentences a token belongs.
    TokenType,
    /// 0, 1, 2 and so on along the last axis.
    Position,
    /// How long another input is.
    Length,
    /// The height and the width of a picture.
    PictureSize,
    /// Samples of sound in a second.
    SamplingRate,
    /// What is as it is without a change: a factor of 1.
    Factor,
    /// A share, such as the least score of what is found.
    Threshold,
    /// What the model remembers: nothing at first. A switch is off.
    State,
}

/// What an input is for, and how many rows the smallest table has that it indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    pub kind: Kind,
    /// Values are below this; `None` where no table is known.
    pub rows: Option<u64>,
}

impl Role {
    /// Of an input of which nothing is known.
    pub const UNKNOWN: Self = Self {
        kind: Kind::Unknown,
        rows: None,
    };

    /// The role of each input of a model, from its ONNX file if it has one that can be read, and from names.
    pub fn of_model(model: &ModelDescription) -> Vec<Self> {
        let mut graphs = model
            .artifacts
            .iter()
            .filter(|(format, _)| format.is_onnx());
        let tables = graphs.find_map(|(_, path)| tables::read(&model.path(path)).ok());
        let tables = tables.unwrap_or_default();
        let specs = model.inputs.iter().map(|input| input.tensor());
        specs
            .map(|spec| Self::of(&spec, tables.get(&spec.name).copied()))
            .collect()
    }

    /// The role of an input that indexes a table of so many rows, or none.
    fn of(spec: &TensorSpec, rows: Option<u64>) -> Self {
        let named = of_name(spec);
        let kind = match (named, rows) {
            // What indexes a table is no factor, whatever its name.
            (Kind::Mask | Kind::TokenType | Kind::Position | Kind::State, Some(_)) => named,
            (_, Some(_)) => Kind::Index,
            (named, None) => named,
        };
        Self { kind, rows }
    }
}

/// What a name says, if it says anything that fits type and shape.
fn of_name(spec: &TensorSpec) -> Kind {
    let name = spec.name.to_lowercase();
    let words: Vec<&str> = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let says = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let holds = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    let is_integer = matches!(spec.dtype, Dtype::I64 | Dtype::I32);
    let is_float = matches!(spec.dtype, Dtype::F32 | Dtype::F64);
    let is_small = spec.shape.iter().product::<usize>() <= 4;
    if says(&["sr", "fs", "samplerate"])
        || holds(&["sampling_rate", "sample_rate", "sampling-rate"])
    {
        return Kind::SamplingRate;
    }
    if is_small
        && holds(&[
            "im_shape",
            "image_shape",
            "image_size",
            "img_size",
            "orig_size",
            "target_size",
        ])
    {
        return Kind::PictureSize;
    }
    // PyTorch's masks of keys are true where nothing counts.
    if holds(&["key_padding_mask"])
        || (spec.dtype == Dtype::Bool && holds(&["padding_mask", "pad_mask"]))
    {
        return Kind::Ignored;
    }
    if says(&["mask", "masks"]) || holds(&["attention_mask", "attn_mask", "input_mask"]) {
        return Kind::Mask;
    }
    if is_integer && holds(&["token_type", "segment"]) {
        return Kind::TokenType;
    }
    if is_integer && says(&["position", "positions", "pos", "cache_position"]) {
        return Kind::Position;
    }
    if is_integer && (says(&["length", "lengths", "len", "lens", "seqlen", "lengths1"])) {
        return Kind::Length;
    }
    if is_float && is_small && (says(&["scale", "scales", "factor", "temperature", "speed"])) {
        return Kind::Factor;
    }
    if is_float && is_small && says(&["threshold", "thresh", "iou", "conf"]) {
        return Kind::Threshold;
    }
    let remembers = says(&[
        "past", "state", "states", "hidden", "cache", "h0", "c0", "h", "c", "hx", "cx",
    ]);
    if remembers || (spec.dtype == Dtype::Bool && says(&["use", "is"])) {
        return Kind::State;
    }
    Kind::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, shape: &[usize], dtype: Dtype) -> Kind {
        of_name(&TensorSpec {
            name: name.into(),
            shape: shape.into(),
            dtype,
        })
    }

    #[test]
    fn names_say_what_inputs_are_for() {
        for (name, shape, dtype, expected) in [
            ("input_ids", &[1, 8][..], Dtype::I64, Kind::Unknown),
            ("attention_mask", &[1, 8], Dtype::I64, Kind::Mask),
            ("src_key_padding_mask", &[1, 8], Dtype::Bool, Kind::Ignored),
            ("token_type_ids", &[1, 8], Dtype::I64, Kind::TokenType),
            ("segment_ids:0", &[1, 8], Dtype::I32, Kind::TokenType),
            ("position_ids", &[1, 8], Dtype::I64, Kind::Position),
            ("x_lengths", &[1], Dtype::I64, Kind::Length),
            ("sr", &[], Dtype::I64, Kind::SamplingRate),
            ("sampling_rate", &[1], Dtype::F32, Kind::SamplingRate),
            ("im_shape", &[1, 2], Dtype::F32, Kind::PictureSize),
            ("scale_factor", &[1, 2], Dtype::F32, Kind::Factor),
            ("iou_threshold", &[1], Dtype::F32, Kind::Threshold),
            (
                "past_key_values.0.key",
                &[1, 2, 4, 8],
                Dtype::F32,
                Kind::State,
            ),
            ("state", &[2, 1, 128], Dtype::F32, Kind::State),
            ("use_cache_branch", &[1], Dtype::Bool, Kind::State),
            ("images", &[1, 3, 8, 8], Dtype::F32, Kind::Unknown),
            ("x", &[1, 3, 8, 8], Dtype::F32, Kind::Unknown),
        ] {
            assert_eq!(kind(name, shape, dtype), expected, "{name}");
        }
    }

    #[test]
    fn a_table_in_the_graph_says_more_than_a_name() {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            shape: vec![1, 8],
            dtype: Dtype::I64,
        };
        let of = |name: &str| Role::of(&spec(name), Some(16));
        assert_eq!(of("x").kind, Kind::Index);
        assert_eq!(of("length").kind, Kind::Index);
        assert_eq!(of("position_ids").kind, Kind::Position);
        assert_eq!(of("token_type_ids").rows, Some(16));
    }
}
