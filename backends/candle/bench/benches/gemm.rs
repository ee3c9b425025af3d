//! Our pointwise convolutions against a product of matrices of another crate.
//!
//! Both multiply the same u8 activations by the same i8 weights, which both have packed before, on one
//! thread, at the shapes that the model has. `rten-gemm` stops at sums of i32, which it cannot turn
//! into u8; our kernel requantizes and writes a quarter of the bytes. So it does more arithmetic and
//! less writing. First it is asserted that requantizing the sums of `rten-gemm` gives our result.

use std::{collections::BTreeSet, time::Duration};

use criterion::{Criterion, Throughput};
use firstpass_candle::Candle;
use firstpass_executor::{Engine, Isa, Matrix, Output, Range, Requantization, Rows, Settings};
use firstpass_probe::{Backend, EngineResult, Result};
use rayon::ThreadPoolBuilder;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions};
use rten_tensor::NdTensorView;

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/suite/common.rs"]
mod common;

const MODEL: &str = "faceboxes-int8-per-channel";

/// Rows times k by k times channels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    rows: usize,
    k: usize,
    channels: usize,
}

fn main() -> Result<()> {
    // rten-gemm computes in the pool that it is called from.
    let pool = ThreadPoolBuilder::new().num_threads(1).build().engine()?;
    pool.install(|| {
        let mut criterion = Criterion::default()
            .sample_size(20)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(600))
            .configure_from_args();
        for shape in shapes()? {
            bench(&mut criterion, shape);
        }
        criterion.final_summary();
        Ok(())
    })
}

/// Those of the pointwise convolutions of the model, each once.
fn shapes() -> Result<BTreeSet<Shape>> {
    let model = common::faceboxes(MODEL);
    let engine = Engine::new(Settings::default())?;
    let prepared = Candle::prepare(&Candle::load(&engine, &model)?, &model.input_shapes())?;
    let convolutions = prepared.convolutions()?;
    let pointwise = convolutions.into_iter().filter_map(|convolution| {
        let [[_, _, _, k], [number, height, width, channels]] = convolution.shapes();
        let rows = number * height * width;
        // One with groups is many small products.
        let is_dense = convolution.multiply_adds() == (rows * k * channels) as u64;
        let is_pointwise = convolution.operator() == "int-conv-1x1";
        (is_pointwise && is_dense).then_some(Shape { rows, k, channels })
    });
    Ok(pointwise.collect())
}

fn bench(criterion: &mut Criterion, shape: Shape) {
    let Shape { rows, k, channels } = shape;
    // Activations of 7 bits: without VNNI rten-gemm saturates on larger ones.
    let activations: Vec<u8> = (0..rows * k)
        .map(|index| (index * 89 % 128) as u8)
        .collect();
    let weights: Vec<i8> = (0..channels * k)
        .map(|index| (index * 101 % 255) as u8 as i8)
        .collect();

    let executor = GemmExecutor::<u8, i8, i32>::new();
    let a = NdTensorView::from_data([rows, k], &activations[..]);
    let b = NdTensorView::from_data([channels, k], &weights[..]);
    let packed = executor.prepack_b(b.transposed());
    let mut sums = vec![0; rows * channels];
    let multiply = |sums: &mut [i32]| {
        executor.gemm(
            sums,
            GemmInputA::Unpacked(a),
            GemmInputB::Packed(&packed),
            GemmOptions::default(),
        )
    };

    let range = Range::new(64, 0, 255);
    let factor = 1.0 / (k as f32 * 16.0);
    let requantization = Requantization::new(
        vec![0; channels],
        vec![0.0; channels],
        1.0,
        vec![factor; channels],
        range,
    );
    let matrix = Matrix::pack(Isa::detect(), &weights, 1, k, &requantization);
    let rows_of = Rows::in_line(&activations, k, rows);
    let mut out = vec![0; rows * channels];
    let requantized = |out: &mut [u8]| {
        matrix.multiply(&rows_of, &mut Output::new(out, channels));
    };

    multiply(&mut sums).expect("the shapes agree");
    requantized(&mut out);
    let expected: Vec<u8> = sums
        .iter()
        .map(|&sum| range.round(sum as f32 * factor))
        .collect();
    assert!(out == expected, "{rows}x{k}x{channels}: the results differ");

    let mut group = criterion.benchmark_group(format!("gemm/{rows}x{k}x{channels}"));
    group.throughput(Throughput::Elements((rows * k * channels) as u64));
    group.bench_function("firstpass to u8", |bencher| {
        bencher.iter(|| requantized(&mut out));
    });
    group.bench_function("rten-gemm to i32", |bencher| {
        bencher.iter(|| multiply(&mut sums));
    });
    group.finish();
}
