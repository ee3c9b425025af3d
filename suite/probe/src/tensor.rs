//! Tensors and the files in which they travel between harness and probe.

use std::{collections::HashMap, fmt::Write as _, path::Path};

use safetensors::{SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3Default;

use crate::{Data, Dtype, Error, ErrorKind, Result, TensorSpec};

/// A dense tensor in row-major order.
///
/// It always holds exactly as many values as its shape says: engines read its memory by its shape. For
/// this reason its fields are private, and its values can be changed but neither added nor removed.
///
/// ```compile_fail,E0451
/// let data = vec![0.0_f32].into();
/// firstpass_probe::Tensor { shape: vec![1000], data };
/// ```
///
/// ```compile_fail,E0616
/// # use firstpass_probe::{Data, Tensor};
/// fn shorten(mut tensor: Tensor) {
///     tensor.data = Data::F32(Vec::new());
/// }
/// ```
///
/// ```compile_fail,E0596
/// # use firstpass_probe::{Data, Tensor};
/// fn shorten(mut tensor: Tensor) {
///     if let Data::F32(values) = tensor.data() {
///         values.clear();
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

/// The outputs of a pass, in the order of [`crate::Model::outputs`].
pub type Tensors = Vec<Tensor>;

/// The number of values in a tensor of this shape; `None` where it is more than `isize::MAX`.
///
/// A length of 0 does not make up for others that are too large: an engine multiplies in any order.
fn volume(shape: &[usize]) -> Option<usize> {
    let mut lengths = shape.iter().filter(|&&length| length > 0);
    let volume = lengths.try_fold(1_usize, |volume, &length| volume.checked_mul(length));
    let volume = volume.filter(|&volume| isize::try_from(volume).is_ok())?;
    Some(if shape.contains(&0) { 0 } else { volume })
}

impl Tensor {
    /// A tensor of these values in row-major order.
    ///
    /// # Errors
    /// Fails where the number of values is not the product of the shape.
    pub fn new(shape: &[usize], data: impl Into<Data>) -> Result<Self> {
        let data = data.into();
        let expected = volume(shape);
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
        let data = volume(&spec.shape).and_then(|count| Data::zeros(spec.dtype, count));
        let data =
            data.ok_or_else(|| Error::input(format!("a shape {:?} is too large", spec.shape)))?;
        Self::new(&spec.shape, data)
    }

    /// The length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, the last axis running fastest.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The type of the values.
    pub fn dtype(&self) -> Dtype {
        self.data.dtype()
    }

    /// Shape and values.
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }

    /// The values of a tensor of f32.
    ///
    /// # Errors
    /// Fails on a tensor of another type.
    pub fn f32s(&self) -> Result<&[f32]> {
        match &self.data {
            Data::F32(values) => Ok(values),
            other => Err(not_f32(other.dtype())),
        }
    }

    /// The values of a tensor of f32, to be changed.
    ///
    /// # Errors
    /// Fails on a tensor of another type.
    pub fn f32s_mut(&mut self) -> Result<&mut [f32]> {
        match &mut self.data {
            Data::F32(values) => Ok(values),
            other => Err(not_f32(other.dtype())),
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

fn not_f32(dtype: Dtype) -> Error {
    Error::input(format!(
        "a tensor of {} where one of f32 is needed",
        dtype.key()
    ))
}

/// The 64-bit XXH3 over the values of all tensors: equal digests mean equal bits.
///
/// It is made after every pass, so it has to cost next to nothing; nobody forges outputs.
pub(crate) fn digest(tensors: &[Tensor]) -> u64 {
    let mut hash = Xxh3Default::new();
    for tensor in tensors {
        hash.update(tensor.data.bytes());
    }
    hash.digest()
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
    read().map_err(|e| {
        e.context(format!("cannot read the tensors in {}", path.display()))
            .of_kind(ErrorKind::Input)
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
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn every_type_survives_a_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("t.safetensors");
        let all = [
            Data::F32(vec![1.5, f32::MIN_POSITIVE]),
            Data::F64(vec![-0.0, f64::MAX]),
            Data::F16(vec![f16::MAX, f16::NEG_ZERO]),
            Data::BF16(vec![bf16::MAX, bf16::MIN_POSITIVE]),
            Data::I64(vec![i64::MIN, 7]),
            Data::I32(vec![i32::MIN, 7]),
            Data::I16(vec![i16::MIN, 7]),
            Data::I8(vec![-128, 127]),
            Data::U64(vec![0, u64::MAX]),
            Data::U32(vec![0, u32::MAX]),
            Data::U16(vec![0, u16::MAX]),
            Data::U8(vec![0, 255]),
            Data::Bool(vec![true, false]),
        ];
        assert_eq!(all.each_ref().map(Data::dtype), Dtype::ALL);
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
        assert_eq!(back["a/b"].shape(), [2, 2]);
        Ok(())
    }

    #[test]
    fn a_truth_value_of_a_file_may_be_any_byte() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("t.safetensors");
        let header = br#"{"t":{"dtype":"BOOL","shape":[4],"data_offsets":[0,4]}}     "#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend([0, 1, 2, 255]);
        std::fs::write(&path, bytes)?;
        let (read, _) = read_tensors(&path)?;
        assert_eq!(read["t"].data().bytes(), [0, 1, 1, 1]);
        Ok(())
    }

    #[test]
    fn a_damaged_file_is_an_input_error() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("t.safetensors");
        std::fs::write(&path, b"not tensors")?;
        let error = read_tensors(&path).expect_err("must fail");
        assert_eq!(error.kind, ErrorKind::Input);
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
    fn refuses_shapes_that_are_too_large() {
        // 2^63 · 2 wraps to 0 and 2^32 · 2^32 · 2 as well; (2^63 + 1) · 2 wraps to 2.
        let half = 1_usize << (usize::BITS - 1);
        for shape in [
            &[half, 2][..],
            &[1 << 32, 1 << 32, 2],
            &[half + 1, 2],
            &[usize::MAX, usize::MAX],
            &[0, half, 2],
            &[0, half],
            &[half, 2, 0],
        ] {
            for count in [0, 1, 2] {
                assert!(Tensor::new(shape, vec![0_u8; count]).is_err(), "{shape:?}");
            }
            assert!(Tensor::zeros(&TensorSpec::f32("x", shape)).is_err());
        }
        // Fits into a `usize`, but not into memory.
        for count in [usize::MAX, usize::MAX / 4, usize::MAX / 8] {
            let error = Tensor::zeros(&TensorSpec::f32("x", [count])).expect_err("must fail");
            assert_eq!(error.kind, ErrorKind::Input);
        }
    }

    #[test]
    fn a_shape_without_values_and_one_without_axes() -> Result<()> {
        assert_eq!(Tensor::new(&[3, 0], Vec::<f32>::new())?.shape(), [3, 0]);
        assert_eq!(Tensor::new(&[], vec![7_i64])?.dtype(), Dtype::I64);
        assert!(Tensor::new(&[], Vec::<f32>::new()).is_err());
        assert!(Tensor::new(&[3, 0], vec![0.0_f32]).is_err());
        let zeros = Tensor::zeros(&TensorSpec::f32("x", [2, 3]))?;
        assert_eq!(zeros.into_parts(), (vec![2, 3], vec![0.0_f32; 6].into()));
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
