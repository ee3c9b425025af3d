//! What a probe says, down to its judgement as a measured process.

#![no_main]

use std::io::Cursor;

use firstpass_harness::studies::first_passes::judge::{disturbance, latency};
use firstpass_probe::{Format, Knobs};
use firstpass_trial::{
    observation::{Cell, Observation, Purpose},
    process::parse_process,
    system_counters::SystemCounters,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let observation = Observation {
        cell: Cell {
            backend: "engine".into(),
            model: "model".into(),
            format: Format::ONNX,
            knobs: Knobs::default(),
            cold_files: false,
            entry: 0,
        },
        purpose: Purpose::Latency,
        round: 0,
        images: vec!["image".into()],
        system_counters: SystemCounters {
            load_average: 0.0,
            wall_ms: 0.0,
            others_cpu_ms: None,
            other_measurements: 0,
            steal_ms: None,
            iowait_ms: None,
            temperature_c: None,
            frequency_mhz: None,
        },
        eviction: None,
        process: parse_process(Cursor::new(bytes.to_vec())),
    };
    let _ = latency::summarise([&observation]);
    let _ = disturbance::summarise([&observation], 2);
});
