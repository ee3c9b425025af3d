//! What a module returns: tensors and numbers in any nesting, with the names that they have.

use std::collections::{BTreeMap, BTreeSet};

use firstpass_probe::{Data, Dtype, Error, Result, Tensor};
use tch::{IValue, Kind, kind::Element};

use super::torch_error;

/// The names of fields of named tuples by their places in what `forward` returns, such as `1.0`.
pub(super) type Fields = BTreeMap<String, String>;

/// The tensors in what a module returned, in order, with their names; `None` counts for nothing. Keys of
/// dictionaries and fields of named tuples are names, and `NAME.0` is the first of a list. What has no name is
/// called by its place, `output-0`.
pub(super) fn collect(value: IValue, fields: &Fields) -> Result<Vec<(String, tch::Tensor)>> {
    let mut tensors = Vec::new();
    match value {
        IValue::Tuple(_)
        | IValue::TensorList(_)
        | IValue::GenericList(_)
        | IValue::GenericDict(_) => walk(value, "", "", fields, &mut tensors)?,
        single => walk(single, "output-0", "0", fields, &mut tensors)?,
    }
    let names: BTreeSet<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() < tensors.len() {
        for (place, (name, _)) in tensors.iter_mut().enumerate() {
            *name = format!("output-{place}");
        }
    }
    Ok(tensors)
}

fn walk(
    value: IValue,
    name: &str,
    place: &str,
    fields: &Fields,
    tensors: &mut Vec<(String, tch::Tensor)>,
) -> Result<()> {
    let below = |number: usize, value, tensors: &mut Vec<_>| {
        let place = join(place, &number.to_string());
        let name = match fields.get(&place) {
            Some(field) => join(name, field),
            None if name.is_empty() => format!("output-{number}"),
            None => format!("{name}.{number}"),
        };
        walk(value, &name, &place, fields, tensors)
    };
    let mut found = |tensor| tensors.push((name.to_owned(), tensor));
    match value {
        IValue::None => {}
        IValue::Tensor(tensor) => found(tensor),
        IValue::Int(number) => found(tch::Tensor::from(number)),
        IValue::Double(number) => found(tch::Tensor::from(number)),
        IValue::Bool(truth) => found(tch::Tensor::from(truth)),
        IValue::IntList(numbers) => found(tch::Tensor::from_slice(&numbers)),
        IValue::DoubleList(numbers) => found(tch::Tensor::from_slice(&numbers)),
        IValue::BoolList(truths) => found(tch::Tensor::from_slice(&truths)),
        IValue::TensorList(list) => {
            let mut list = list.into_iter().enumerate();
            list.try_for_each(|(number, tensor)| below(number, IValue::Tensor(tensor), tensors))?;
        }
        IValue::Tuple(values) | IValue::GenericList(values) => {
            let mut values = values.into_iter().enumerate();
            values.try_for_each(|(number, value)| below(number, value, tensors))?;
        }
        IValue::GenericDict(entries) => {
            for (number, (key, value)) in entries.into_iter().enumerate() {
                let key = match key {
                    IValue::String(text) => text,
                    IValue::Int(key) => key.to_string(),
                    _ => number.to_string(),
                };
                let place = join(place, &number.to_string());
                walk(value, &join(name, &key), &place, fields, tensors)?;
            }
        }
        other => {
            return Err(Error::unsupported(format!(
                "the module returned something other than tensors and numbers in tuples, lists and \
                 dictionaries: {other:?}"
            )));
        }
    }
    Ok(())
}

fn join(outer: &str, inner: &str) -> String {
    if outer.is_empty() {
        inner.to_owned()
    } else {
        format!("{outer}.{inner}")
    }
}

/// Copies an output, whatever its strides. tch and libtorch check its type and its number of values.
pub(super) fn copy(tensor: &tch::Tensor) -> Result<Tensor> {
    let shape = tensor
        .size()
        .into_iter()
        .map(|n| Ok(usize::try_from(n)?))
        .collect::<Result<Vec<_>>>()?;
    fn of<T: Element + Default + Clone>(tensor: &tch::Tensor) -> Result<Vec<T>> {
        let mut values = vec![T::default(); tensor.numel()];
        let count = values.len();
        tensor
            .f_copy_data(&mut values, count)
            .map_err(torch_error)?;
        Ok(values)
    }
    let data: Data = match tensor.f_kind().map_err(torch_error)? {
        Kind::Float => of::<f32>(tensor)?.into(),
        Kind::Double => of::<f64>(tensor)?.into(),
        Kind::Int64 => of::<i64>(tensor)?.into(),
        Kind::Int => of::<i32>(tensor)?.into(),
        Kind::Int16 => of::<i16>(tensor)?.into(),
        Kind::Int8 => of::<i8>(tensor)?.into(),
        Kind::Uint8 => of::<u8>(tensor)?.into(),
        // Truth values as Rust knows them: a module may make them of any bytes (`view(torch.bool)`), and a
        // `bool` of another byte than 0 and 1 must not exist.
        Kind::Bool => bytes(tensor, Dtype::Bool, 1)?,
        Kind::Half => bytes(tensor, Dtype::F16, 2)?,
        // tch takes Rust's bf16 for an f16.
        Kind::BFloat16 => bytes(tensor, Dtype::BF16, 2)?,
        other => {
            return Err(Error::unsupported(format!(
                "the module returned values of {other:?}"
            )));
        }
    };
    Tensor::new(&shape, data)
}

/// The values of a tensor by their bytes, `size` for each.
fn bytes(tensor: &tch::Tensor, dtype: Dtype, size: usize) -> Result<Data> {
    let count = tensor.numel();
    let mut bytes = vec![0_u8; count * size];
    tensor
        .f_copy_data_u8(&mut bytes, count)
        .map_err(torch_error)?;
    Data::from_bytes(dtype, &bytes).ok_or_else(|| Error::engine("an output of half a value"))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn outputs_are_copied_in_the_order_of_their_shape() -> Result<()> {
        let values = tch::Tensor::from_slice(&[1_i32, 2, 3, 4, 5, 6]).view([2, 3]);
        assert_eq!(
            copy(&values.tr())?,
            Tensor::new(&[3, 2], vec![1, 4, 2, 5, 3, 6])?
        );
        let repeated = tch::Tensor::from_slice(&[7_u8]).expand([3], false);
        assert_eq!(copy(&repeated)?, Tensor::new(&[3], vec![7_u8; 3])?);
        assert_eq!(
            copy(&values.slice(0, 0, 0, 1))?,
            Tensor::new(&[0, 3], Vec::<i32>::new())?
        );
        Ok(())
    }

    #[test]
    fn a_truth_value_may_be_any_byte() -> Result<()> {
        let bytes = tch::Tensor::from_slice(&[0_u8, 1, 2, 255]);
        let truths = copy(&bytes.view_dtype(Kind::Bool))?;
        assert_eq!(truths.data().bytes(), [0, 1, 1, 1]);
        Ok(())
    }

    #[test]
    fn values_of_a_type_that_is_not_here_are_refused() {
        let complex = tch::Tensor::zeros([2], (Kind::ComplexFloat, Device::Cpu));
        let quantized = tch::Tensor::zeros([2], (Kind::Float, Device::Cpu)).quantize_per_tensor(
            0.1,
            0,
            Kind::QUInt8,
        );
        for tensor in [complex, quantized] {
            assert!(copy(&tensor).is_err());
        }
    }

    #[test]
    fn takes_the_tensors_of_any_nesting_in_order() -> Result<()> {
        let number = |n: f32| tch::Tensor::from_slice(&[n]);
        let returned = IValue::Tuple(vec![
            IValue::TensorList(vec![number(1.0), number(2.0)]),
            IValue::None,
            IValue::GenericList(vec![IValue::Tensor(number(3.0))]),
            IValue::Double(4.0),
        ]);
        let fields = Fields::new();
        let tensors = collect(returned, &fields)?;
        let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["output-0.0", "output-0.1", "output-2.0", "output-3"]
        );
        let values: Result<Vec<_>> = tensors.iter().map(|(_, tensor)| copy(tensor)).collect();
        let values: Vec<f64> = values?.iter().flat_map(|t| t.data().to_f64s()).collect();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
        assert!(collect(IValue::String("no".into()), &fields).is_err());
        Ok(())
    }

    #[test]
    fn keys_and_fields_are_names() -> Result<()> {
        let number = |n: f32| IValue::Tensor(tch::Tensor::from_slice(&[n]));
        let names = |value, fields: &[(&str, &str)]| -> Result<Vec<String>> {
            let fields = fields
                .iter()
                .map(|&(place, name)| (place.into(), name.into()));
            let found = collect(value, &fields.collect())?;
            Ok(found.into_iter().map(|(name, _)| name).collect())
        };
        let key = |text: &str| IValue::String(text.into());
        let dict = IValue::GenericDict(vec![
            (key("out"), number(1.0)),
            (
                key("aux"),
                IValue::GenericList(vec![number(2.0), number(3.0)]),
            ),
            (IValue::Int(7), number(4.0)),
        ]);
        assert_eq!(names(dict, &[])?, ["out", "aux.0", "aux.1", "7"]);
        let tuple = || IValue::Tuple(vec![number(1.0), IValue::Tuple(vec![number(2.0)])]);
        assert_eq!(names(tuple(), &[])?, ["output-0", "output-1.0"]);
        let fields = [("0", "boxes"), ("1", "rest"), ("1.0", "scores")];
        assert_eq!(names(tuple(), &fields)?, ["boxes", "rest.scores"]);
        assert_eq!(names(number(1.0), &[])?, ["output-0"]);
        // Two of one name would be one.
        let twice = IValue::Tuple(vec![
            IValue::GenericDict(vec![(key("a"), number(1.0))]),
            number(2.0),
        ]);
        let fields = [("0", "b"), ("1", "b.a")];
        assert_eq!(names(twice, &fields)?, ["output-0", "output-1"]);
        Ok(())
    }

    #[test]
    fn halves_are_copied_bit_for_bit() -> Result<()> {
        let values = tch::Tensor::from_slice(&[1.5_f32, -0.0, 65504.0]);
        let half = copy(&values.to_kind(Kind::Half))?;
        assert_eq!(half.data().to_f64s(), [1.5, -0.0, 65504.0]);
        assert_eq!(half.dtype().key(), "f16");
        let half = copy(&values.to_kind(Kind::BFloat16))?;
        assert_eq!(half.data().to_f64s(), [1.5, -0.0, 65536.0]);
        assert_eq!(half.dtype().key(), "bf16");
        Ok(())
    }
}
