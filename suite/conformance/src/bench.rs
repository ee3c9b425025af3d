//! Criterion benchmarks, from the same clock as the report: the probe times, criterion samples.

use std::time::Duration;

use criterion::Criterion;
use firstpass_probe::Backend;

use crate::context::{Artifact, Context};

/// Passes that a steady benchmark runs before those that it counts.
const WARM_UP: usize = 10;

/// Runs `cold/<model>`, each iteration the first pass of a fresh process, and `steady/<model>`.
/// A backend that cannot run is said so and left out.
pub fn bench<B: Backend>(probe: &'static str, folder: &'static str) {
    let context = match Context::new(probe, folder) {
        Ok(context) => context,
        Err(error) => return eprintln!("{}: the benchmarks cannot start: {error:#}", B::NAME),
    };
    if let Err(outcome) = context.probe.describe() {
        return eprintln!("{}: nothing is measured: {outcome}", B::NAME);
    }
    let mut criterion = Criterion::default().configure_from_args();
    for artifact in context.artifacts::<B>() {
        if let Err(error) = context.subject.admit(&artifact.description, &artifact.file) {
            eprintln!("{}: {error:#}", B::NAME);
            continue;
        }
        let name = if B::FORMATS.first() == Some(&artifact.file.format) {
            B::NAME.to_owned()
        } else {
            format!("{}-{}", B::NAME, artifact.file.format.key())
        };
        let model = &artifact.description.name;
        let mut cold = criterion.benchmark_group(format!("cold/{model}"));
        cold.sample_size(10).warm_up_time(Duration::from_millis(1));
        cold.bench_function(&name, |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| passes(&context, &artifact, 1).iter().sum::<Duration>())
                    .sum()
            });
        });
        cold.finish();
        let mut steady = criterion.benchmark_group(format!("steady/{model}"));
        steady
            .sample_size(10)
            .warm_up_time(Duration::from_millis(1));
        steady.bench_function(&name, |bencher| {
            bencher.iter_custom(|iterations| {
                let counted = usize::try_from(iterations).unwrap_or(usize::MAX);
                let times = passes(&context, &artifact, WARM_UP.saturating_add(counted));
                times.iter().skip(WARM_UP).sum()
            });
        });
        steady.finish();
    }
    criterion.final_summary();
}

/// The times of the passes of one fresh process.
///
/// # Panics
/// Where the process fails: criterion has no other way to end a benchmark.
fn passes(context: &Context, artifact: &Artifact, number: usize) -> Vec<Duration> {
    let trial = context.trial(artifact, 1, number);
    let trial = trial.unwrap_or_else(|e| panic!("the input cannot be written: {e:#}"));
    let process = context.probe.trial(&trial);
    assert!(
        process.completed(),
        "the probe {}: {}",
        process.outcome,
        process.stderr
    );
    process
        .passes
        .iter()
        .map(|p| Duration::from_nanos(p.span.wall_ns))
        .collect()
}
