//! An executor of ONNX graphs on candle, exact on quantized ones.
//!
//! candle has tensors and no executor of graphs, and no quantized convolutions of ONNX's kind. This crate has both:
//! integer operators are custom operators of candle with kernels for AVX2 and AVX-512 VNNI, and outputs are candle's
//! tensors. `README.md` says which operators there are, and what is exact.
//!
//! ```no_run
//! use firstpass_executor::{Engine, Settings, Values};
//!
//! # fn main() -> firstpass_executor::Result<()> {
//! let engine = Engine::new(Settings::default())?;
//! let model = engine.load("model.onnx")?;
//! let mut prepared = model.prepare(&[vec![1, 3, 480, 640]])?;
//! let image = vec![0.5_f32; 3 * 480 * 640];
//! for (name, output) in model.output_names().iter().zip(prepared.run(&[Values::F32(&image)])?) {
//!     println!("{name}: {:?}", output.shape());
//! }
//! # Ok(())
//! # }
//! ```

mod additions;
mod compilation;
mod engine;
mod fusion;
mod geometry;
mod graph;
mod kernels;
mod lifetimes;
mod memory;
mod model;
mod observer;
mod ops;
mod plan;
mod pool;
mod prepared;
mod room;
mod settings;
mod store;
#[cfg(test)]
mod tests;

pub use engine::{Engine, divide_products};
pub use firstpass_onnx::{Error, ErrorKind, Result, data_type};
pub use kernels::{Isa, Matrix, Output, Range, Requantization, Rows};
pub use model::Model;
pub use observer::{Observer, StepName};
pub use ops::{ConvKind, Meter};
pub use prepared::{Convolution, Prepared, Values};
pub use settings::{Buffers, Packing, Settings};
