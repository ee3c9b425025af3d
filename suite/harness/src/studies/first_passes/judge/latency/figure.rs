//! The figures that cells are compared by.

use std::fmt;

use firstpass_statistics::comparison::{FIRST_RESOLUTION, STEADY_RESOLUTION};

use super::ProcessLatency;
use crate::studies::first_passes::judge::core_correction::factor;

/// A figure that two cells are compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    Steady,
    FirstPass,
    ColdStart,
    SecondPass,
    /// Passes 1 and 2 together.
    FirstTwo,
    /// Pass 1 in units of the steady time of its own process, whose core may be slower than that of another.
    FirstOverSteady,
    /// The same of pass 2.
    SecondOverSteady,
    /// From the spawn to the third outputs: what a program waits for whose first passes are slow.
    ThreeAnswers,
    /// From the spawn until the first real pass could begin: what a service takes to start.
    Ready,
}

impl Figure {
    /// Those that every pair of engines is compared by.
    pub const ALL: [Self; 3] = [Self::Steady, Self::FirstPass, Self::ColdStart];

    /// All of them.
    pub const EVERY: [Self; 9] = [
        Self::Steady,
        Self::FirstPass,
        Self::ColdStart,
        Self::SecondPass,
        Self::FirstTwo,
        Self::FirstOverSteady,
        Self::SecondOverSteady,
        Self::ThreeAnswers,
        Self::Ready,
    ];

    /// Differences below this share are no difference.
    pub fn resolution(self) -> f64 {
        match self {
            Self::Steady => STEADY_RESOLUTION,
            _ => FIRST_RESOLUTION,
        }
    }

    /// On a core that was not slowed meanwhile.
    pub fn of(self, process: &ProcessLatency) -> Option<f64> {
        match self {
            Self::Steady => process.steady_mean,
            Self::FirstPass => process.pass(1),
            Self::ColdStart => process.undisturbed_cold_start(),
            Self::SecondPass => process.pass(2),
            Self::FirstTwo => Some(process.pass(1)? + process.pass(2)?),
            Self::FirstOverSteady => Some(process.pass(1)? / process.steady_mean?),
            Self::SecondOverSteady => Some(process.pass(2)? / process.steady_mean?),
            Self::ThreeAnswers => {
                Some(process.undisturbed_cold_start()? + process.pass(2)? + process.pass(3)?)
            }
            Self::Ready => Some(process.undisturbed_cold_start()? - process.pass(1)?),
        }
    }

    /// How slow the core was meanwhile, as a multiple of what is usual.
    pub fn core(self, process: &ProcessLatency) -> Option<f64> {
        let core = process.core.as_ref()?;
        let pass = |number: usize| core.passes.get(number - 1).copied();
        match self {
            Self::Steady => Some(core.steady),
            Self::FirstPass => pass(1),
            Self::SecondPass => pass(2),
            Self::FirstTwo => Some(f64::midpoint(pass(1)?, pass(2)?)),
            Self::FirstOverSteady => Some(pass(1)? / core.steady),
            Self::SecondOverSteady => Some(pass(2)? / core.steady),
            Self::ColdStart | Self::ThreeAnswers | Self::Ready => Some(core.start),
        }
    }

    /// On the fastest core that the cell had, as far as is known.
    pub fn corrected(self, process: &ProcessLatency) -> Option<f64> {
        Some(self.of(process)? * factor(&process.core_correction, self))
    }

    /// The same of [`Figure::of_any`].
    pub fn any_corrected(self, process: &ProcessLatency) -> Option<f64> {
        Some(self.of_any(process)? * factor(&process.core_correction, self))
    }

    /// Whether or not the core was slowed. A steady state knows only undisturbed passes.
    pub fn of_any(self, process: &ProcessLatency) -> Option<f64> {
        let pass = |number: usize| process.times.get(number - 1).copied();
        match self {
            Self::Steady => process.steady_mean,
            Self::FirstPass => pass(1),
            Self::ColdStart => process.cold_start,
            Self::SecondPass => pass(2),
            Self::FirstTwo => Some(pass(1)? + pass(2)?),
            Self::FirstOverSteady => Some(pass(1)? / process.steady_mean?),
            Self::SecondOverSteady => Some(pass(2)? / process.steady_mean?),
            Self::ThreeAnswers => Some(process.cold_start? + pass(2)? + pass(3)?),
            Self::Ready => Some(process.cold_start? - pass(1)?),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steady => "steady",
            Self::FirstPass => "pass 1",
            Self::ColdStart => "cold start",
            Self::SecondPass => "pass 2",
            Self::FirstTwo => "passes 1 and 2",
            Self::FirstOverSteady => "pass 1 / steady",
            Self::SecondOverSteady => "pass 2 / steady",
            Self::ThreeAnswers => "three answers",
            Self::Ready => "ready",
        })
    }
}
