//! Quantized constants of a graph: weights and biases.

use std::sync::Arc;

use firstpass_onnx::{Constant, EngineResult, Error, Int8s, Result, Values};

use crate::graph::{Grid, WeightScales, constant_of, tensor_of};

/// DequantizeLinear of a constant: weights or a bias.
#[derive(Debug, Clone)]
pub struct DequantizedConstant {
    pub constant: Arc<Constant>,
    pub grid: Grid,
}

impl DequantizedConstant {
    /// Whether integer kernels can take it as weights.
    pub fn is_of_bytes(&self) -> bool {
        matches!(self.constant.values, Values::I8(_) | Values::U8(_))
    }

    /// As floats, as the file writes it.
    ///
    /// # Errors
    /// Fails where the scales do not fit its shape.
    pub fn floats(&self) -> Result<Constant> {
        let dims = &self.constant.dims;
        let values = self.grid.dequantized(&self.integers()?, dims)?;
        Ok(Constant {
            dims: dims.clone(),
            values: Values::F32(values),
        })
    }

    fn integers(&self) -> Result<Vec<i32>> {
        let integers = self.constant.values.integers();
        integers.ok_or_else(|| Error::unsupported("it dequantizes what are no integers"))
    }

    /// The values less their zero points as i8, where all of them are.
    ///
    /// # Errors
    /// Fails where one of them is not.
    pub fn weights(&self) -> Result<Int8s> {
        if let (Values::I8(values), false) = (&self.constant.values, self.grid.has_zero_points()) {
            return Ok(values.clone());
        }
        let values = self.integers()?.into_iter();
        let pairs = values.zip(self.grid.of(&self.constant.dims)?);
        let values: Option<Vec<i8>> = pairs
            .map(|(value, (_, zero))| i8::try_from(value.checked_sub(zero)?).ok())
            .collect();
        let values = values.ok_or_else(|| {
            Error::unsupported("quantized weights less their zero point must fit i8")
        })?;
        Ok(values.into())
    }

    /// One scale, or one for each place along `axis`.
    ///
    /// # Errors
    /// Fails where they lie along another axis.
    pub fn weight_scales(&self, axis: usize) -> Result<WeightScales> {
        let scales = self.grid.along(axis, &self.constant.dims)?;
        Ok(match scales {
            Some(scales) => WeightScales::PerChannel(scales.to_vec()),
            None => WeightScales::PerTensor(self.grid.scales()[0]),
        })
    }

    /// A matrix with its axes exchanged.
    ///
    /// # Errors
    /// Fails on other shapes.
    pub fn transposed(&self) -> Result<Self> {
        let rows = tensor_of(&self.constant)?
            .t()
            .and_then(|rows| rows.contiguous());
        Ok(Self {
            constant: Arc::new(constant_of(&rows.engine()?, None)?),
            grid: self.grid.transposed()?,
        })
    }
}
