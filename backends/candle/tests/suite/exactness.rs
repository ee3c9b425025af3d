//! The quantized fixtures give the same bits with every instruction set and number of threads.

use crate::common::{faceboxes, noise};
use firstpass_candle::{Candle, Engine, Isa, Settings};
use firstpass_conformance::Test;
use firstpass_probe::{Backend, Result};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![no_machine_changes_a_bit,]
}

fn no_machine_changes_a_bit() -> Result<()> {
    let input = noise()?;
    for name in ["faceboxes-int8-per-channel", "faceboxes-int8-per-tensor"] {
        let model = faceboxes(name);
        let run = |threads: usize, kernels: Isa| -> Result<_> {
            let engine = Engine::new(Settings {
                threads,
                kernels,
                ..Settings::default()
            })?;
            let loaded = Candle::load(&engine, &model)?;
            Candle::pass(
                &mut Candle::prepare(&loaded, &model.input_shapes())?,
                std::slice::from_ref(&input),
            )
        };
        let expected = run(2, Isa::Reference)?;
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                assert!(
                    run(threads, isa)? == expected,
                    "{name}: {} on {threads} threads differs",
                    isa.name()
                );
            }
        }
    }
    Ok(())
}
