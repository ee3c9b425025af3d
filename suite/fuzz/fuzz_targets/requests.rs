//! A request to a probe: written again it is the same, and shapes of inputs are those of the request.

#![no_main]

use firstpass_probe::{Request, warm_up_passes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = serde_json::from_slice::<Request>(bytes) else {
        return;
    };
    let written = serde_json::to_string(&request).expect("what was read can be written");
    let again: Request = serde_json::from_str(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_string(&again).ok(), Some(written));
    let knobs = request.knobs();
    let _ = (knobs.threads(), warm_up_passes(&knobs), request.outputs());
    if let Request::Trial(trial) = &request {
        for input in 0..=trial.inputs.len() {
            let _ = trial.model_for(input).input_shapes();
        }
    }
});
