//! How near the integer convolutions come to what one core can do.
//!
//! Each line is a convolution of the model as the executor runs it, on one thread: with what it gathers, with
//! its requantization, and with its input and output in memory. Behind it stand its share of each peak of its
//! instruction set. The layers are those of the model file, each shape once; the last line is all of them.
//!
//! A round of each peak is timed beside each run of a convolution, because the clock of a core moves: what is
//! compared saw the same clock. All times are medians.

use std::{
    collections::BTreeSet,
    hint::black_box,
    time::{Duration, Instant},
};

use candle_core::{Device, Tensor};
use firstpass_candle::{Candle, Convolution, Engine, Isa, Settings};
use firstpass_probe::{Backend, EngineResult, Result};

use crate::peak::{MultiplyAdd, multiply_adds_of};

#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../../tests/suite/common.rs"]
mod common;
mod peak;

const MODEL: &str = "faceboxes-int8-per-channel";

/// As many as see the clock of the core move.
const ROUNDS: usize = 50;

fn main() -> Result<()> {
    // Cargo says `--bench`.
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    for isa in Isa::available() {
        // The reference is a definition and no kernel.
        if isa != Isa::Reference {
            convolutions(isa, wanted.as_deref().unwrap_or_default())?;
        }
    }
    Ok(())
}

/// Runs the convolutions of the model one by one: those whose name has `wanted` in it.
fn convolutions(kernels: Isa, wanted: &str) -> Result<()> {
    let instructions = multiply_adds_of(kernels.name());
    let model = common::faceboxes(MODEL);
    let engine = Engine::new(Settings {
        kernels,
        ..Settings::default()
    })?;
    let prepared = Candle::prepare(&Candle::load(&engine, &model)?, &model.input_shapes())?;
    let mut seen = BTreeSet::new();
    let mut all = Speeds::none(&instructions);
    for convolution in prepared.convolutions()? {
        let name = name(&convolution, kernels);
        if !name.contains(wanted) || !seen.insert(name.clone()) {
            continue;
        }
        let speeds = Speeds::measure(&convolution, &instructions)?;
        println!("{name}: {}", speeds.shares(&instructions));
        all.add(&speeds);
    }
    if !seen.is_empty() {
        println!("all/{}: {}", kernels.name(), all.shares(&instructions));
    }
    Ok(())
}

/// What was multiplied and added in which time.
struct Speeds {
    multiply_adds: u64,
    time: Duration,
    /// What each of the instructions would take for as much.
    at_peak: Vec<Duration>,
}

impl Speeds {
    fn none(instructions: &[MultiplyAdd]) -> Self {
        Self {
            multiply_adds: 0,
            time: Duration::ZERO,
            at_peak: vec![Duration::ZERO; instructions.len()],
        }
    }

    fn measure(convolution: &Convolution<'_>, instructions: &[MultiplyAdd]) -> Result<Self> {
        let [shape, _] = convolution.shapes();
        let input =
            Tensor::from_vec(activations(shape.iter().product()), &shape, &Device::Cpu).engine()?;
        convolution.run(&input)?;
        let mut times = Vec::new();
        let mut rounds = vec![Vec::new(); instructions.len()];
        for _ in 0..ROUNDS {
            for (instruction, rounds) in instructions.iter().zip(&mut rounds) {
                rounds.push(instruction.round());
            }
            let began = Instant::now();
            black_box(convolution.run(&input)?);
            times.push(began.elapsed());
        }
        let multiply_adds = convolution.multiply_adds();
        let at_peak = instructions
            .iter()
            .zip(rounds)
            .map(|(instruction, rounds)| {
                median(rounds).mul_f64(multiply_adds as f64 / instruction.of_a_round() as f64)
            });
        Ok(Self {
            multiply_adds,
            time: median(times),
            at_peak: at_peak.collect(),
        })
    }

    fn add(&mut self, other: &Self) {
        self.multiply_adds += other.multiply_adds;
        self.time += other.time;
        for (sum, time) in self.at_peak.iter_mut().zip(&other.at_peak) {
            *sum += *time;
        }
    }

    fn shares(&self, instructions: &[MultiplyAdd]) -> String {
        let billions = |time: Duration| self.multiply_adds as f64 / time.as_secs_f64() / 1e9;
        let mut text = format!("{:.1} billion multiply-adds a second", billions(self.time));
        for (instruction, &at_peak) in instructions.iter().zip(&self.at_peak) {
            text += &format!(
                ", {:.0} % of {:.1} by {}",
                at_peak.div_duration_f64(self.time) * 100.0,
                billions(at_peak),
                instruction.name
            );
        }
        text
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Its operator and kernels, and what it computes, as channels and size of its input and output.
fn name(convolution: &Convolution<'_>, kernels: Isa) -> String {
    let [from, to] = convolution
        .shapes()
        .map(|[_, height, width, channels]| format!("{channels}@{height}x{width}"));
    format!("{}/{}/{from}-{to}", convolution.operator(), kernels.name())
}

/// Numbers of 7 bits, as the calibrated activations of a model with reduced range.
fn activations(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index * 89 % 128) as u8).collect()
}
