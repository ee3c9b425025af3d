//! Tensors of f32 and the files in which they travel between harness and probe.

use std::{collections::HashMap, fmt::Write as _, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3Default;

use crate::{Error, Result, TensorSpec};

/// A dense f32 tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// The outputs of a pass, in the order of [`crate::Model::outputs`].
pub type Tensors = Vec<Tensor>;

impl Tensor {
    /// # Errors
    /// Fails where the number of values is not the product of the shape.
    pub fn new(shape: &[usize], data: Vec<f32>) -> Result<Self> {
        let expected: usize = shape.iter().product();
        if data.len() != expected {
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

    /// # Errors
    /// Fails where the shape is not the one that `spec` names or where a value is NaN or infinite:
    /// a quantizer turns those into some integer without a word, and each engine into another.
    pub fn check_input(&self, spec: &TensorSpec) -> Result<()> {
        if self.shape != spec.shape {
            return Err(Error::input(format!(
                "input {:?} has shape {:?}, but the model takes {:?}",
                spec.name, self.shape, spec.shape
            )));
        }
        match self.data.iter().position(|v| !v.is_finite()) {
            None => Ok(()),
            Some(at) => Err(Error::input(format!(
                "input {:?} holds {} at index {at}; every value must be finite",
                spec.name, self.data[at]
            ))),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.data.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// SHA-256 of the little-endian values, in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(self.bytes()))
    }
}

/// The 64-bit XXH3 over the values of all tensors, in hexadecimal: equal digests mean equal bits.
///
/// It is made after every pass, so it has to cost next to nothing; nobody forges outputs.
pub(crate) fn digest(tensors: &[Tensor]) -> String {
    let mut hash = Xxh3Default::new();
    for tensor in tensors {
        hash.update(&tensor.bytes());
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

/// Reads every f32 tensor of a safetensors file, with the file's metadata.
///
/// # Errors
/// Fails on an unreadable or malformed file and on a tensor that is not f32.
pub fn read_tensors(path: &Path) -> Result<(HashMap<String, Tensor>, HashMap<String, String>)> {
    let read = || -> Result<_> {
        let bytes = std::fs::read(path)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let mut tensors = HashMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes)?.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(Error::input(format!("tensor {name:?} is not f32")));
            }
            let data = view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect();
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
    let context = |e: Error| e.context(format!("cannot write the tensors to {}", path.display()));
    let owned: Vec<_> = tensors
        .into_iter()
        .map(|(name, tensor)| (name, tensor.shape.clone(), tensor.bytes()))
        .collect();
    let mut views = Vec::with_capacity(owned.len());
    for (name, shape, bytes) in &owned {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
            .map_err(|e| context(Error::from(e)))?;
        views.push((name, view));
    }
    safetensors::serialize_to_file(views, None, path).map_err(|e| context(Error::from(e)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let spec = TensorSpec {
            name: "image".into(),
            shape: vec![2],
        };
        assert!(Tensor::new(&[3], vec![0.0; 2]).is_err());
        assert!(
            Tensor::new(&[1, 2], vec![0.0; 2])?
                .check_input(&spec)
                .is_err()
        );
        assert!(
            Tensor::new(&[2], vec![0.0, 1.0])?
                .check_input(&spec)
                .is_ok()
        );
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = Tensor::new(&[2], vec![0.0, bad])?
                .check_input(&spec)
                .expect_err("must fail");
            assert!(error.to_string().contains("index 1"), "{error}");
        }
        Ok(())
    }

    #[test]
    fn one_bit_changes_the_digest() -> Result<()> {
        let a = Tensor::new(&[1], vec![0.0])?;
        let b = Tensor::new(&[1], vec![-0.0])?;
        assert_ne!(digest(&[a]), digest(&[b]));
        Ok(())
    }
}
