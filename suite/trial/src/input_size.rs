//! How much memory the inputs of a model may take.

use anyhow::{Result, ensure};
use firstpass_probe::{Tensor, TensorSpec};

/// Bytes of all inputs of a model: more are an error, before any memory is taken.
pub const MOST_BYTES: u64 = 1 << 30;

/// Fails where inputs take more memory than is given to them.
///
/// # Errors
/// Names the largest input and its size.
pub fn check_size<'a>(specs: impl IntoIterator<Item = &'a TensorSpec>) -> Result<()> {
    let mut sizes = Vec::new();
    for spec in specs {
        let one = TensorSpec {
            shape: vec![1],
            ..spec.clone()
        };
        let one = Tensor::zeros(&one)?.data().bytes().len() as u64;
        let lengths = spec.shape.iter().map(|&length| length as u64);
        sizes.push((lengths.fold(one, u64::saturating_mul), spec));
    }
    let all = sizes
        .iter()
        .fold(0_u64, |all, (bytes, _)| all.saturating_add(*bytes));
    let Some((size, largest)) = sizes.into_iter().max_by_key(|(bytes, _)| *bytes) else {
        return Ok(());
    };
    ensure!(
        all <= MOST_BYTES,
        "the inputs take {:.1} GiB, of which {:?} of shape {:?} takes {:.1}; inputs of more than {} GiB are \
         given to no engine: choose a smaller shape",
        gib(all),
        largest.name,
        largest.shape,
        gib(size),
        MOST_BYTES >> 30
    );
    Ok(())
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
