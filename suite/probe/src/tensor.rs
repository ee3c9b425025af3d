//! Tensors and the files in which they travel between harness and probe.

use std::{collections::HashMap, fmt::Write as _, path::Path};

use safetensors::{SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3Default;

use crate::{Data, Error, Result, TensorSpec};

/// A dense tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Data,
}

/// The outputs of a pass, in the order of [`crate::Model::outputs`].
pub type Tensors = Vec<Tensor>;

impl Tensor {
    /// # Errors
    /// Fails where the number of values is not the product of the shape.
    pub fn new(shape: &[usize], data: impl Into<Data>) -> Result<Self> {
        let data = data.into();
        let expected = shape
            .iter()
            .try_fold(1_usize, |volume, &length| volume.checked_mul(length));
        if expected != Some(data.len()) {
            let expected = expected.map_or("too many".into(), |count| count.to_string());
            return Err(Error::input(format!(
                "a tensor of shape {shape:?} holds {expected} values, not {}",
                data.len()
            )));
        }
        Ok(Self {
            shape: shape.to_vec(),
            data,
        })
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// Fails where the shape holds more values than memory can.
    pub fn zeros(spec: &TensorSpec) -> Result<Self> {
        let count = spec
            .shape
            .iter()
            .try_fold(1_usize, |volume, &length| volume.checked_mul(length))
            .ok_or_else(|| Error::input(format!("a shape {:?} is too large", spec.shape)))?;
        Self::new(&spec.shape, Data::zeros(spec.dtype, count))
    }

    /// The values of a tensor of f32.
    ///
    /// # Errors
    /// Fails on a tensor of another type.
    pub fn f32s(&self) -> Result<&[f32]> {
        match &self.data {
            Data::F32(values) => Ok(values),
            other => Err(Error::input(format!(
                "a tensor of {} where one of f32 is needed",
                other.dtype().key()
            ))),
        }
    }

    /// # Errors
    /// Fails where type or shape is not the one that `spec` names or where a value is NaN or infinite:
    /// a quantizer turns those into some integer without a word, and each engine into another.
    pub fn check_input(&self, spec: &TensorSpec) -> Result<()> {
        if self.shape != spec.shape {
            return Err(Error::input(format!(
                "input {:?} has shape {:?}, but the model takes {:?}",
                spec.name, self.shape, spec.shape
            )));
        }
        if self.data.dtype() != spec.dtype {
            return Err(Error::input(format!(
                "input {:?} is of {}, but the model takes {}",
                spec.name,
                self.data.dtype().key(),
                spec.dtype.key()
            )));
        }
        match self.data.first_not_finite() {
            None => Ok(()),
            Some((at, value)) => Err(Error::input(format!(
                "input {:?} holds {value} at index {at}; every value must be finite",
                spec.name
            ))),
        }
    }

    /// SHA-256 of the little-endian values, in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(self.data.bytes()))
    }
}

/// The 64-bit XXH3 over the values of all tensors, in hexadecimal: equal digests mean equal bits.
///
/// It is made after every pass, so it has to cost next to nothing; nobody forges outputs.
pub(crate) fn digest(tensors: &[Tensor]) -> String {
    let mut hash = Xxh3Default::new();
    for tensor in tensors {
        hash.update(tensor.data.bytes());
    }
    format!("{:016x}", hash.digest())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads every tensor of a safetensors file, with the file's metadata.
///
/// # Errors
/// Fails on an unreadable or malformed file and on a tensor of a type that is not in [`Dtype`].
///
/// [`Dtype`]: crate::Dtype
pub fn read_tensors(path: &Path) -> Result<(HashMap<String, Tensor>, HashMap<String, String>)> {
    let read = || -> Result<_> {
        let bytes = std::fs::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut tensors = HashMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes)?.tensors() {
            let data = Data::read(view.dtype(), view.data())
                .ok_or_else(|| Error::input(format!("tensor {name:?} is of {:?}", view.dtype())))?;
            tensors.insert(name, Tensor::new(view.shape(), data)?);
        }
        Ok((tensors, metadata))
    };
    read().map_err(|e| Error {
        kind: crate::ErrorKind::Input,
        ..e.context(format!("cannot read the tensors in {}", path.display()))
    })
}

/// Writes tensors by name into a safetensors file.
///
/// # Errors
/// Fails where the file cannot be written, for example on a full disk.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
) -> Result<()> {
    write_tensors_with(path, tensors, None)
}

/// [`write_tensors`] with metadata, which [`read_tensors`] gives back.
///
/// # Errors
/// Likewise.
pub fn write_tensors_with<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
    metadata: Option<HashMap<String, String>>,
) -> Result<()> {
    let context = |e: Error| e.context(format!("cannot write the tensors to {}", path.display()));
    let mut views = Vec::new();
    for (name, tensor) in tensors {
        let data = &tensor.data;
        let dtype = data.dtype().in_files();
        let view = TensorView::new(dtype, tensor.shape.clone(), data.bytes())
            .map_err(|e| context(Error::from(e)))?;
        views.push((name, view));
    }
    safetensors::serialize_to_file(views, metadata, path).map_err(|e| context(Error::from(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_a_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("t.safetensors");
        let all = [
            Data::F32(vec![1.5, f32::MIN_POSITIVE]),
            Data::F64(vec![-0.0, f64::MAX]),
            Data::I64(vec![i64::MIN, 7]),
            Data::I32(vec![i32::MIN, 7]),
            Data::U8(vec![0, 255]),
            Data::I8(vec![-128, 127]),
            Data::Bool(vec![true, false]),
        ];
        for data in all {
            let tensor = Tensor::new(&[1, 2], data)?;
            write_tensors(&path, [("t".to_string(), &tensor)])?;
            let (back, _) = read_tensors(&path)?;
            assert_eq!(back["t"], tensor);
            assert_eq!(back["t"].sha256(), tensor.sha256());
        }
        Ok(())
    }

    #[test]
    fn survives_a_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("t.safetensors");
        let tensor = Tensor::new(&[2, 2], vec![1.0, -0.0, f32::MIN_POSITIVE, 3.5])?;
        write_tensors(&path, [("a/b".to_string(), &tensor)])?;
        let (back, _) = read_tensors(&path)?;
        assert_eq!(back["a/b"].sha256(), tensor.sha256());
        assert_eq!(back["a/b"].shape, [2, 2]);
        Ok(())
    }

    #[test]
    fn a_damaged_file_is_an_input_error() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("t.safetensors");
        std::fs::write(&path, b"not tensors")?;
        let error = read_tensors(&path).expect_err("must fail");
        assert_eq!(error.kind, crate::ErrorKind::Input);
        assert!(error.to_string().contains("t.safetensors"));
        Ok(())
    }

    #[test]
    fn refuses_wrong_shapes_and_values_that_are_not_finite() -> Result<()> {
        let spec = TensorSpec::f32("image", [2]);
        assert!(Tensor::new(&[3], vec![0.0_f32; 2]).is_err());
        assert!(
            Tensor::new(&[1, 2], vec![0.0_f32; 2])?
                .check_input(&spec)
                .is_err()
        );
        assert!(
            Tensor::new(&[2], vec![0.0_f32, 1.0])?
                .check_input(&spec)
                .is_ok()
        );
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = Tensor::new(&[2], vec![0.0, bad])?
                .check_input(&spec)
                .expect_err("must fail");
            assert!(error.to_string().contains("index 1"), "{error}");
        }
        let error = Tensor::new(&[2], vec![0_i64, 1])?
            .check_input(&spec)
            .expect_err("must fail");
        assert!(error.to_string().contains("i64"), "{error}");
        Ok(())
    }

    #[test]
    fn one_bit_changes_the_digest() -> Result<()> {
        let a = Tensor::new(&[1], vec![0.0_f32])?;
        let b = Tensor::new(&[1], vec![-0.0_f32])?;
        assert_ne!(digest(&[a]), digest(&[b]));
        Ok(())
    }
}
