//! How near the integer convolutions come to what one core can do.
//!
//! `peak/…` is as many multiply-adds of u8 and i8 a second as the core does in registers, by the
//! instructions that an instruction set has for them. `<operator>/<instruction set>/…` is a
//! convolution of the model as the executor runs it, on one thread: with what it gathers, with its
//! requantization, and with its input and output in memory. Its share of the peak is the quotient of
//! the two throughputs. The layers are those of the model file, each shape once.

use std::{collections::BTreeSet, time::Duration};

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput};
use firstpass_candle::{Candle, Convolution, Engine, Isa, Settings};
use firstpass_probe::{Backend, Result};

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../tests/common/mod.rs"]
mod common;

const MODEL: &str = "faceboxes-int8-per-channel";

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    #[cfg(target_arch = "x86_64")]
    peak::bench(&mut criterion);
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
        let input = Tensor::from_vec(activations(shape.iter().product()), &shape, &Device::Cpu)?;
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

/// The multiply-adds that a core does in registers.
#[cfg(target_arch = "x86_64")]
mod peak {
    use std::arch::asm;

    use criterion::{Criterion, Throughput};

    /// Times that the instructions of a function below are repeated in a call.
    const ROUNDS: u64 = 10_000;

    /// A function that repeats instructions, written in assembly so that no compiler merges, moves or
    /// drops any. They must only change vector registers.
    macro_rules! repeated {
        ($name:ident, $features:literal, $($instruction:expr),*) => {
            #[target_feature(enable = $features)]
            fn $name() {
                // SAFETY: only a counter and vector registers change, of which the compiler is told,
                // and memory is not used. The numbers in the registers do not matter.
                unsafe {
                    asm!(
                        "2:",
                        $($instruction,)*
                        "dec rcx",
                        "jnz 2b",
                        inout("rcx") ROUNDS => _,
                        clobber_abi("sysv64"),
                        options(nomem, nostack),
                    );
                }
            }
        };
    }

    /// Adds to every one of twelve sums, none of which waits for another: more than what is under
    /// way at the same time.
    macro_rules! to_twelve_sums {
        ($name:ident, $features:literal, $instructions:ident) => {
            repeated!(
                $name,
                $features,
                $instructions!("0"),
                $instructions!("1"),
                $instructions!("2"),
                $instructions!("3"),
                $instructions!("4"),
                $instructions!("5"),
                $instructions!("6"),
                $instructions!("7"),
                $instructions!("8"),
                $instructions!("9"),
                $instructions!("10"),
                $instructions!("11")
            );
        };
    }
    const SUMS: u64 = 12;

    /// 16 products of 16-bit numbers.
    macro_rules! vpmaddwd {
        ($sum:literal) => {
            concat!(
                "vpmaddwd ymm15, ymm12, ymm13\n",
                "vpaddd ymm",
                $sum,
                ", ymm",
                $sum,
                ", ymm15"
            )
        };
    }
    to_twelve_sums!(maddwd, "avx2", vpmaddwd);

    /// 32 products of u8 and i8.
    macro_rules! vpmaddubsw {
        ($sum:literal) => {
            concat!(
                "vpmaddubsw ymm15, ymm12, ymm13\n",
                "vpmaddwd ymm15, ymm15, ymm14\n",
                "vpaddd ymm",
                $sum,
                ", ymm",
                $sum,
                ", ymm15"
            )
        };
    }
    to_twelve_sums!(maddubsw, "avx2", vpmaddubsw);

    /// 64 products of u8 and i8.
    macro_rules! vpdpbusd {
        ($sum:literal) => {
            concat!("vpdpbusd zmm", $sum, ", zmm12, zmm13")
        };
    }
    to_twelve_sums!(dpbusd, "avx512f,avx512vnni", vpdpbusd);

    pub fn bench(criterion: &mut Criterion) {
        let mut group = criterion.benchmark_group("peak");
        if is_x86_feature_detected!("avx2") {
            group.throughput(Throughput::Elements(16 * SUMS * ROUNDS));
            // SAFETY: the machine has AVX2.
            group.bench_function("avx2/vpmaddwd", |b| b.iter(|| unsafe { maddwd() }));
            group.throughput(Throughput::Elements(32 * SUMS * ROUNDS));
            // SAFETY: the machine has AVX2.
            group.bench_function("avx2/vpmaddubsw", |b| b.iter(|| unsafe { maddubsw() }));
        }
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
            group.throughput(Throughput::Elements(64 * SUMS * ROUNDS));
            // SAFETY: the machine has AVX-512 VNNI.
            group.bench_function("avx512-vnni/vpdpbusd", |b| b.iter(|| unsafe { dpbusd() }));
        }
        group.finish();
    }
}
