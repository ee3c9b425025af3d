//! ONNX Runtime's own operators on bytes, in the arithmetic of its kernels: its documentation defines them in real
//! numbers, and nobody else has them, so that what becomes of a result halfway between two integers is for its
//! kernels to say. They add the zero point before they round. Where this processor has fused multiply-adds they use them.

use firstpass_probe::Result;

use crate::{
    array::Array,
    operators::{Call, binary::pairs, quantize::one, reduce::groups},
    requantize::Quantization,
    rules::Arithmetic,
    value::{Dequantized, Value},
};

/// Where the result of one of these operators goes.
pub struct Output {
    quantization: Quantization,
    kind: crate::kind::Kind,
}

impl Output {
    /// By scale and zero point at these inputs; `None` where they are several, of another type than a byte, or where
    /// a rule other than the standard's is asked for.
    pub fn of(call: &Call<'_>, of: &Dequantized, scales: [usize; 2]) -> Result<Option<Self>> {
        if call.context.arithmetic != Arithmetic::Standard {
            return Ok(None);
        }
        let kind = call
            .optional(scales[1])
            .map_or(of.integers.kind, Value::kind);
        let dims = &of.integers.array.dims;
        let found = one(call, dims, scales, kind)?;
        Ok(found.map(|quantization| Self { quantization, kind }))
    }

    fn zero(&self) -> f32 {
        self.quantization.zero as f32
    }

    /// The integer for a number that includes the zero point.
    fn store(&self, call: &Call<'_>, value: f32) -> i64 {
        let (low, high) = self.quantization.limits;
        let rounded = call.context.rules.rounding.round(value.into());
        rounded.max(low.into()).min(high.into()) as i64
    }
}

/// `fixed + qa·(sa/so) + qb·(sb/so)` with the zero points in `fixed`. MLAS, `qladd.cpp`.
pub fn sum(call: &Call<'_>, [a, b]: [&Dequantized; 2], output: &Output) -> Result<Option<Value>> {
    let (Some(of_a), Some(of_b)) = (a.quantization(), b.quantization()) else {
        return Ok(None);
    };
    let so = output.quantization.scale;
    let (to_a, to_b) = (of_a.scale / so, of_b.scale / so);
    let zeros = to_a.mul_add(of_a.zero as f32, to_b * of_b.zero as f32);
    let fixed = output.zero() - zeros;
    let of = |a: i64, b: i64| {
        let sum = (a as f32).mul_add(to_a, (b as f32).mul_add(to_b, fixed));
        output.store(call, sum)
    };
    let array = pairs(&a.integers.array, &b.integers.array, of)?;
    Ok(Some(Value::whole(array, output.kind)))
}

/// `(qa−za)·(qb−zb) · (sa·sb)/so + zo`. MLAS, `qlmul.cpp`.
pub fn product(
    call: &Call<'_>,
    [a, b]: [&Dequantized; 2],
    output: &Output,
) -> Result<Option<Value>> {
    let (Some(of_a), Some(of_b)) = (a.quantization(), b.quantization()) else {
        return Ok(None);
    };
    let factor = of_a.scale * of_b.scale / output.quantization.scale;
    let of = |a: i64, b: i64| {
        let product = (a - i64::from(of_a.zero)) * (b - i64::from(of_b.zero));
        output.store(call, product as f32 * factor + output.zero())
    };
    let array = pairs(&a.integers.array, &b.integers.array, of)?;
    Ok(Some(Value::whole(array, output.kind)))
}

/// The means of windows, of floats that were added up in f32, over the scale.
pub fn means(call: &Call<'_>, means: &Array<f64>, output: &Output) -> Value {
    let scale = output.quantization.scale;
    let of = |mean: f64| output.store(call, mean as f32 / scale + output.zero());
    Value::whole(means.map(of), output.kind)
}

/// The mean along some axes: the sum of the integers times `s/(so·n)`, rounded before the zero point is added. MLAS,
/// `qlgavgpool.cpp`.
pub fn mean(
    call: &Call<'_>,
    x: &Dequantized,
    along: &[usize],
    output: &Output,
) -> Result<Option<Value>> {
    let Some(of_x) = x.quantization() else {
        return Ok(None);
    };
    let (dims, groups) = groups(&x.integers.array, along);
    let of = |all: &Vec<i64>| {
        let sum: i64 = all.iter().map(|&v| v - i64::from(of_x.zero)).sum();
        let factor = of_x.scale / (output.quantization.scale * all.len() as f32);
        let rounding = call.context.rules.rounding;
        let steps = rounding.round((sum as f32 * factor).into());
        output.store(call, steps as f32 + output.zero())
    };
    let values = groups.iter().map(of).collect();
    Ok(Some(Value::whole(Array { dims, values }, output.kind)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use firstpass_onnx::{
        AttributeProto, GraphProto, NodeProto,
        write::{constant, f32_value, node},
    };

    use super::*;
    use crate::{
        graph::{Interpretation, Model},
        kind::Kind,
        rules::Rules,
    };

    /// What ONNX Runtime 1.32 gives, without optimizations, for these bytes.
    fn check(
        operator: NodeProto,
        operands: &[(&str, &[usize], &[u8])],
        expected: &[i64],
    ) -> Result<()> {
        let scale = |name: &str, value: f32| constant(name, &[], &[value]);
        let zero = |name: &str, value: u8| constant(name, &[], &[value]);
        let is_mean = operands.len() == 1;
        let (first, output) = match (is_mean, operator.op_type.as_str()) {
            (true, _) => ((0.03, 100), (0.03, 101)),
            (_, "QLinearMul") => ((0.02, 100), (0.04, 3)),
            _ => ((0.02, 3), (0.06, 1)),
        };
        let second = if operator.op_type == "QLinearMul" {
            90
        } else {
            9
        };
        let graph = GraphProto {
            node: vec![NodeProto {
                domain: "com.microsoft".into(),
                ..operator
            }],
            initializer: vec![
                scale("sa", first.0),
                zero("za", first.1),
                scale("sb", 0.05),
                zero("zb", second),
                scale("sy", output.0),
                zero("zy", output.1),
            ],
            input: operands
                .iter()
                .map(|(name, ..)| f32_value(name, None))
                .collect(),
            output: vec![f32_value("y", None)],
            ..GraphProto::default()
        };
        let names: Vec<&str> = operands.iter().map(|(name, ..)| *name).collect();
        let model = Model::new(graph, 17, &names, &["y"])?;
        let given = operands.iter().map(|(name, dims, values)| {
            let values = values.iter().map(|&v| v.into()).collect();
            let dims = dims.to_vec();
            (*name, Value::whole(Array { dims, values }, Kind::U8))
        });
        let given: HashMap<&str, Value> = given.collect();
        let interpretation = Interpretation {
            rules: Rules::default(),
            threads: 1,
        };
        let found = model.run(interpretation, given, &mut |_, compute| compute())?;
        let Some(Value::Whole(found)) = found.first() else {
            panic!("bytes come out");
        };
        assert_eq!(found.array.values, expected);
        Ok(())
    }

    #[test]
    fn results_at_halves_are_those_of_the_kernels() -> Result<()> {
        let of_two = |name: &str| node(name, &["a", "sa", "za", "b", "sb", "zb", "sy", "zy"], "y");
        // By the definition of Add on dequantized f32 the first three were one less.
        check(
            of_two("QLinearAdd"),
            &[
                ("a", &[5], &[210, 108, 69, 121, 131]),
                ("b", &[5], &[66, 198, 24, 66, 72]),
            ],
            &[118, 194, 36, 88, 96],
        )?;
        check(
            of_two("QLinearMul"),
            &[
                ("a", &[5], &[185, 185, 160, 36, 108]),
                ("b", &[5], &[110, 126, 237, 28, 198]),
            ],
            &[46, 80, 224, 102, 25],
        )?;
        let rows = [
            204, 176, 150, 136, 241, 190, 29, 229, 59, 117, 8, 8, 79, 196, 148, 117, 52, 200,
        ];
        let of_one = |name: &str| node(name, &["a", "sa", "za", "sy", "zy"], "y");
        // The second lies at 86.5 with its zero point, and at -14.5 without.
        check(
            of_one("QLinearAveragePool").with(AttributeProto::ints("kernel_shape", &[2, 2])),
            &[("a", &[1, 1, 2, 9], &rows)],
            &[127, 86, 94, 164, 195, 122, 108, 136],
        )?;
        check(
            of_one("QLinearGlobalAveragePool"),
            &[(
                "a",
                &[1, 6, 1, 2],
                &[231, 218, 116, 19, 229, 101, 159, 189, 251, 115, 68, 115],
            )],
            &[225, 69, 166, 175, 184, 93],
        )
    }
}
