//! Fails when the first pass becomes slow, or when the engine gives other outputs.

use std::time::Duration;

use firstpass::{Check, Result};

const MODEL: &str = "../../fixtures/models/faceboxes-int8-per-channel/model.onnx";

#[test]
fn the_first_pass_stays_fast() -> Result<()> {
    let summary = Check::new(MODEL)
        .engine("candle")?
        .golden("tests/model.golden.safetensors")?
        .run()?;
    summary.assert_first_pass_below(20.0); // times the steady time
    summary.assert_cold_start_below(Duration::from_secs(10));
    summary.assert_agreement();
    Ok(())
}
