//! Fails when the first pass becomes slow, or when the engine gives other outputs.

use firstpass::Check;

const MODEL: &str = "../../fixtures/models/faceboxes-int8-per-channel/model.onnx";

#[test]
fn the_first_pass_stays_fast() -> firstpass::Result<()> {
    let measured = Check::new(MODEL).engine("candle").run()?;
    measured.assert_first_pass_at_most(20.0)?;
    measured.assert_agreement()
}
