//! Floats that are off by some roundings, as they are in engines that add up, multiply and approximate functions in
//! another order than the file's: no rule of the referee gives their bits. In a model that quantizes what it has
//! computed, one bit decides now and then which of two steps a value takes, and later layers carry that on. How far
//! outputs move by it is no fault of an engine.

use firstpass_onnx::NodeProto;

use crate::{array::Array, value::Value};

/// One of several draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise(pub u64);

/// The most that a value is off, relative to itself: sixteen roundings of f32, which a sum of some hundred products
/// has in the mean.
const MOST: f64 = 1.0 / (1_u32 << 20) as f64;

/// So few values are shapes and factors of shapes, which every engine has alike.
const FEW: usize = 16;

/// Operators whose results are rounded. Those that move values, compare them or count them give the same everywhere.
const ROUNDED: [&str; 36] = [
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvTranspose",
    "Div",
    "Einsum",
    "Elu",
    "Erf",
    "Exp",
    "GRU",
    "Gelu",
    "Gemm",
    "GlobalAveragePool",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Mish",
    "Mul",
    "Pow",
    "RMSNormalization",
    "RNN",
    "ReduceMean",
    "ReduceSum",
    "Resize",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Sqrt",
    "Swish",
    "Tanh",
];

impl Noise {
    /// What a node gave, with noise.
    pub fn on(self, node: &NodeProto, found: Vec<Value>) -> Vec<Value> {
        if !ROUNDED.contains(&node.op_type.as_str()) {
            return found;
        }
        let values = found.into_iter().enumerate();
        let values = values.map(|(place, value)| match value {
            Value::Real(reals) if reals.array.values.len() > FEW => {
                let name = node.output.get(place).map_or("", String::as_str);
                let mut draw = self.of(name);
                let array = Array {
                    dims: reals.array.dims.clone(),
                    values: reals
                        .array
                        .values
                        .iter()
                        .map(|value| value * (1.0 + MOST * draw()))
                        .collect(),
                };
                Value::real(array, reals.kind)
            }
            other => other,
        });
        values.collect()
    }

    /// Numbers from −1 to 1 for the value of this name (Steele, Lea and Flood 2014: SplitMix64).
    fn of(self, name: &str) -> impl FnMut() -> f64 {
        let mut state = name.bytes().fold(self.0, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            (z >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use firstpass_onnx::write::node;
    use firstpass_probe::Result;

    use super::*;
    use crate::kind::Kind;

    fn numbers(value: &Value) -> Result<Vec<f64>> {
        Ok(value.reals()?.array.values.clone())
    }

    #[test]
    fn values_are_off_by_some_roundings_and_by_the_same_each_time() -> Result<()> {
        let many = |count: usize| {
            let array = Array {
                dims: vec![count],
                values: (0..count).map(|at| at as f64 - 50.0).collect(),
            };
            Value::real(array, Kind::F32)
        };
        let noisy = |draw: u64, operator: &str, count: usize| -> Result<Vec<f64>> {
            let found = Noise(draw).on(&node(operator, &["x"], "y"), vec![many(count)]);
            numbers(&found[0])
        };
        let exact = numbers(&many(100))?;
        let found = noisy(1, "Conv", 100)?;
        assert_eq!(found, noisy(1, "Conv", 100)?);
        assert_ne!(found, noisy(2, "Conv", 100)?);
        let off = exact
            .iter()
            .zip(&found)
            .filter(|(exact, found)| exact != found);
        assert!(off.count() > 80);
        for (exact, found) in exact.iter().zip(&found) {
            assert!(
                (exact - found).abs() <= exact.abs() * 1.1 * MOST,
                "{exact} {found}"
            );
        }
        // What is moved, and shapes.
        assert_eq!(noisy(1, "Transpose", 100)?, exact);
        assert_eq!(noisy(1, "Mul", 8)?, numbers(&many(8))?);
        Ok(())
    }
}
