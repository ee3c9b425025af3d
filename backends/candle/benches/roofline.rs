//! How near the integer convolutions come to what one core can do.
//!
//! It begins with the peaks: as many multiply-adds of u8 and i8 a second as the core does in registers,
//! by the instructions that an instruction set has for them. `<operator>/<instruction set>/…` is a
//! convolution of the model as the executor runs it, on one thread: with what it gathers, with its
//! requantization, and with its input and output in memory. Its share of the peak is the quotient of
//! the two throughputs. The layers are those of the model file, each shape once.

use std::{collections::BTreeSet, time::Duration};

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput};
use firstpass_candle::{Candle, Convolution, Engine, Isa, Settings};
use firstpass_probe::{Backend, EngineResult, Result, peaks};

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/suite/common.rs"]
mod common;

const MODEL: &str = "faceboxes-int8-per-channel";

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    for peak in peaks() {
        let mut rounds_ns = peak.rounds_ns;
        rounds_ns.sort_unstable();
        // Products a nanosecond.
        let per_ns = |ns: u64| peak.multiply_adds as f64 / ns as f64;
        let [fastest, median] = [rounds_ns[0], rounds_ns[rounds_ns.len() / 2]];
        println!(
            "peak/{}: {:.1} Gelem/s, at most {:.1}",
            peak.instructions,
            per_ns(median),
            per_ns(fastest)
        );
    }
    for isa in Isa::available() {
        // The reference is a definition and no kernel.
        if isa != Isa::Reference {
            convolutions(&mut criterion, isa)?;
        }
    }
    criterion.final_summary();
    Ok(())
}

/// Runs the convolutions of the model one by one.
fn convolutions(criterion: &mut Criterion, kernels: Isa) -> Result<()> {
    let model = common::faceboxes(MODEL);
    let engine = Engine::new(Settings {
        kernels,
        ..Settings::default()
    })?;
    let prepared = Candle::prepare(&Candle::load(&engine, &model)?, &model.input_shapes())?;
    let mut seen = BTreeSet::new();
    for convolution in prepared.convolutions()? {
        let name = name(&convolution);
        let group = format!("{}/{}", convolution.operator(), kernels.name());
        if !seen.insert((group.clone(), name.clone())) {
            continue;
        }
        let [shape, _] = convolution.shapes();
        let input =
            Tensor::from_vec(activations(shape.iter().product()), &shape, &Device::Cpu).engine()?;
        convolution.run(&input)?;
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(convolution.multiply_adds()));
        group.bench_function(name, |bencher| bencher.iter(|| convolution.run(&input)));
        group.finish();
    }
    Ok(())
}

/// What it computes, as channels and size of its input and output.
fn name(convolution: &Convolution<'_>) -> String {
    let shapes = convolution.shapes();
    let [from, to] =
        shapes.map(|[_, height, width, channels]| format!("{channels}@{height}x{width}"));
    format!("{from}-{to}")
}

/// Numbers of 7 bits, as the calibrated activations of a model with reduced range.
fn activations(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 89 % 128) as u8).collect()
}
