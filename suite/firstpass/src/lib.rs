//! Firstpass in the tests of your own crate: a test that fails when the first pass of your model
//! becomes slow, or when an engine no longer gives the outputs that it should.
//!
//! ```
//! use std::time::Duration;
//! use firstpass::{Check, Result};
//!
//! // With #[test] before it, in `tests/first_pass.rs`:
//! fn the_first_pass_stays_fast() -> Result<()> {
//!     let summary = Check::new("model.onnx")
//!         .input("image=1x3x224x224")? // where the file leaves the shape open
//!         .golden("tests/model.golden.safetensors")?
//!         .run()?;
//!     summary.assert_first_pass_below(20.0); // times the steady time
//!     summary.assert_cold_start_below(Duration::from_millis(500));
//!     summary.assert_agreement();
//!     Ok(())
//! }
//! # // Without the model it says that there is none.
//! # assert_eq!(the_first_pass_stays_fast().unwrap_err().kind(), firstpass::ErrorKind::Invalid);
//! ```
//!
//! - [`Check`] says what is measured, and how golden outputs are kept.
//! - [`Summary`] is what was measured: figures to read, and limits to hold them to.
//!
//! The engines run in processes of their own, whose probes are built in the checkout that this crate
//! comes from; the first run builds them and takes minutes. Run such tests with `--release` or without
//! as you like: what is measured is always built for release. A passing test prints its figures on
//! standard error, and everything that was measured stays in `target/firstpass`.

#![warn(missing_docs)]

mod agreement;
mod check;
mod error;
mod figure;
mod harness;
mod input;
mod limits;
mod summary;

pub use agreement::{Agreement, Difference, Reference};
pub use check::Check;
pub use error::{Error, ErrorKind, Result};
pub use figure::{Ratio, Time};
pub use input::{Dtype, InputSpec};
pub use limits::Verdict;
pub use summary::{Engine, Summary};
