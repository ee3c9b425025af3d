//! What a user waits for, part by part.

use std::fmt;

/// A part of what a user waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// From the spawn to `main`: the system starts the process and links its libraries.
    ProcessStart,
    EngineStart,
    Load,
    Prepare,
    /// A pass on zeros before the first real one, where a knob asked for it.
    WarmUp,
    Pass1,
    Pass2,
    /// What passes 3 and later took beyond the steady time until it was reached.
    RestOfWarmUp,
}

impl Phase {
    pub const ALL: [Self; 8] = [
        Self::ProcessStart,
        Self::EngineStart,
        Self::Load,
        Self::Prepare,
        Self::WarmUp,
        Self::Pass1,
        Self::Pass2,
        Self::RestOfWarmUp,
    ];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProcessStart => "process start",
            Self::EngineStart => "engine start",
            Self::Load => "load",
            Self::Prepare => "prepare",
            Self::WarmUp => "warm-up pass",
            Self::Pass1 => "pass 1",
            Self::Pass2 => "pass 2",
            Self::RestOfWarmUp => "rest of the warm-up",
        })
    }
}
