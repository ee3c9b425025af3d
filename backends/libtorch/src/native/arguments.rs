//! How inputs become arguments of `forward`, as the module's own schema says.

use firstpass_probe::{Data, Error, Result, Tensor, TensorSpec};
use tch::IValue;

/// What an argument takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    Tensor,
    Int,
    Float,
    Bool,
}

impl Argument {
    fn of(schema: &str) -> Self {
        let inner = schema
            .strip_prefix("Optional[")
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(schema);
        match inner.trim_end_matches('?') {
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            // Whatever else it takes is libtorch's to say.
            _ => Self::Tensor,
        }
    }

    /// The one number of a tensor as an argument.
    pub(super) fn given_as(self, input: &Tensor) -> Result<IValue> {
        let [number] = input.data().to_f64s()[..] else {
            return Err(Error::input(format!(
                "forward() takes one number ({self:?}) where a tensor of shape {:?} is given; give a \
                 scalar, for example --input NAME=scalar:i64",
                input.shape()
            )));
        };
        Ok(match (self, input.data()) {
            (Self::Int, Data::I64(values)) => IValue::Int(values[0]),
            (Self::Int, _) if number.fract() == 0.0 => IValue::Int(number as i64),
            (Self::Bool, _) => IValue::Bool(number != 0.0),
            (Self::Float, _) => IValue::Double(number),
            _ => {
                return Err(Error::input(format!(
                    "forward() takes a whole number where {number} is given"
                )));
            }
        })
    }
}

/// For each argument that is given, the input that it is: inputs with the names of arguments are these,
/// in any order; others are given in their order.
pub(super) fn arguments(
    schema: &[(String, String)],
    inputs: &[TensorSpec],
) -> Result<Vec<(usize, Argument)>> {
    if inputs.len() > schema.len() {
        let names: Vec<&str> = schema.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Error::input(format!(
            "{} inputs are given, but forward() takes {}: {}",
            inputs.len(),
            schema.len(),
            names.join(", ")
        )));
    }
    let by_name = schema[..inputs.len()].iter();
    let by_name = by_name.map(|(name, _)| inputs.iter().position(|input| &input.name == name));
    let order: Vec<usize> = by_name
        .collect::<Option<_>>()
        .unwrap_or_else(|| (0..inputs.len()).collect());
    let kinds = schema.iter().map(|(_, kind)| Argument::of(kind));
    Ok(order.into_iter().zip(kinds).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(arguments: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = arguments.iter().map(|&(n, k)| (n.to_owned(), k.to_owned()));
        owned.collect()
    }

    #[test]
    fn inputs_are_given_by_name_or_else_in_order() -> Result<()> {
        let silero = schema(&[("x", "Tensor"), ("sr", "int")]);
        let spec = |name: &str| TensorSpec::f32(name, []);
        let both = [(1, Argument::Tensor), (0, Argument::Int)];
        assert_eq!(arguments(&silero, &[spec("sr"), spec("x")])?, both);
        let both = [(0, Argument::Tensor), (1, Argument::Int)];
        assert_eq!(arguments(&silero, &[spec("a"), spec("b")])?, both);
        // What has a default may be left out.
        assert_eq!(arguments(&silero, &[spec("x")])?, both[..1]);
        let error = arguments(&silero, &[spec("a"), spec("b"), spec("c")]);
        let error = error.map_err(|e| e.to_string()).expect_err("too many");
        assert!(error.contains("x, sr"), "{error}");
        Ok(())
    }

    #[test]
    fn a_number_is_given_as_the_schema_wants_it() -> Result<()> {
        for (kind, data, expected) in [
            ("int", Data::I64(vec![i64::MAX]), IValue::Int(i64::MAX)),
            ("Optional[int]", Data::I32(vec![7]), IValue::Int(7)),
            ("int?", Data::F32(vec![16000.0]), IValue::Int(16000)),
            ("float", Data::F64(vec![0.5]), IValue::Double(0.5)),
            ("bool", Data::Bool(vec![true]), IValue::Bool(true)),
        ] {
            let given = Argument::of(kind).given_as(&Tensor::new(&[], data)?)?;
            assert_eq!(given, expected);
        }
        for wrong in [
            Tensor::new(&[2], vec![1_i64, 2])?,
            Tensor::new(&[], vec![0.5_f32])?,
        ] {
            assert!(Argument::Int.given_as(&wrong).is_err());
        }
        assert_eq!(Argument::of("Optional[Tensor]"), Argument::Tensor);
        Ok(())
    }
}
