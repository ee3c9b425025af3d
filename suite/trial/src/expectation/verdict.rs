//! What is said of the outputs of a backend.

use std::fmt;

use super::{
    apart,
    rounding::{ByRule, has_fine_steps, is_inner_rounding, is_rounding},
    undeclared,
};
use crate::{agreement::Agreement, model::Precision};

/// Whether a backend's outputs are as expected.
#[derive(Debug, Clone, PartialEq)]
pub enum ExpectationVerdict {
    /// Every quantized value equals the golden one.
    Exact,
    /// A float model within the rounding of f32.
    FloatRounding,
    /// No more than [`STEP_ROUNDING`] of the values are off, by one step: the share that is.
    StepRounding(f64),
    /// Float outputs of a quantized model whose difference is no more than single steps of rounding within give:
    /// the signal to noise ratio, in dB.
    InnerRounding(f64),
    /// No farther from the referee than rules of rounding that published engines follow are from each other on
    /// this model.
    OtherRounding {
        /// Each difference in words.
        differences: Vec<String>,
        /// The rule by which the referee gives these very outputs, where one does.
        rule: Option<String>,
    },
    /// As declared in `known.toml`: the name of the cause and the cause.
    Declared { name: String, reason: String },
    /// Not as expected: each fault in words.
    Unexpected(Vec<String>),
    /// There are no golden outputs, and it differs from what stands in for them.
    Differs(Vec<String>),
    /// There is nothing to compare it with but engines of which some differ from each other: how it differs
    /// from each of them, and nothing where it agrees with all.
    Undecided(Vec<String>),
}

impl ExpectationVerdict {
    pub fn is_expected(&self) -> bool {
        !matches!(self, Self::Unexpected(_))
    }

    /// Whether outputs differ more than they should.
    pub fn is_difference(&self) -> bool {
        match self {
            Self::Unexpected(_) | Self::Differs(_) => true,
            Self::Undecided(how) => !how.is_empty(),
            Self::Exact
            | Self::FloatRounding
            | Self::StepRounding(_)
            | Self::InnerRounding(_)
            | Self::OtherRounding { .. }
            | Self::Declared { .. } => false,
        }
    }

    /// The same where outputs were compared with what stands in for golden ones.
    #[must_use]
    pub fn without_golden(self, precision: Precision, agreements: &[Agreement]) -> Self {
        match self {
            Self::Unexpected(faults)
                if faults.len() <= agreements.len() && apart(precision, agreements).is_empty() =>
            {
                let off = agreements.iter().filter_map(|a| a.steps.as_ref());
                let off = off.map(|steps| 1.0 - steps.share_within(0));
                let noise = agreements
                    .iter()
                    .filter(|a| is_inner_rounding(precision, a));
                let of_floats = agreements.iter().filter(|a| undeclared(a).is_some());
                match noise.map(|a| a.sqnr_db).reduce(f64::min) {
                    Some(sqnr) => Self::InnerRounding(sqnr),
                    None if of_floats.clone().all(has_fine_steps) => Self::FloatRounding,
                    None => Self::StepRounding(off.fold(0.0, f64::max)),
                }
            }
            Self::Unexpected(faults) => Self::Differs(faults),
            other => other,
        }
    }

    /// The same where a referee says how far outputs move by rounding alone, from those that `agreements` are with.
    #[must_use]
    pub fn within_rules(
        self,
        precision: Precision,
        agreements: &[Agreement],
        rules: &[ByRule],
    ) -> Self {
        let is_rounding = || !rules.is_empty() && is_rounding(precision, agreements, rules);
        match self {
            // What is found in outputs (faces, classes) changes with them.
            Self::Differs(differences) if is_rounding() => Self::OtherRounding {
                differences,
                rule: None,
            },
            other => other,
        }
    }

    /// The same where a rule of the referee is known that gives these very outputs.
    #[must_use]
    pub fn following(self, rule: Option<String>) -> Self {
        match self {
            Self::OtherRounding { differences, .. } => Self::OtherRounding { differences, rule },
            other => other,
        }
    }
}

impl fmt::Display for ExpectationVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::FloatRounding => f.write_str("equal up to f32 rounding"),
            Self::StepRounding(share) => write!(
                f,
                "equal up to rounding at halves (1 step in {:.1} % of the values)",
                100.0 * share
            ),
            Self::InnerRounding(db) => {
                write!(
                    f,
                    "equal up to single steps of rounding within ({db:.0} dB)"
                )
            }
            Self::OtherRounding { differences, rule } => {
                match rule {
                    Some(rule) => write!(f, "gives exactly what the referee gives by {rule}: ")?,
                    None => f.write_str("differs by no more than rules of rounding do: ")?,
                }
                f.write_str(&differences.join("; "))
            }
            Self::Declared { name, .. } => write!(f, "differs as declared ({name})"),
            Self::Differs(faults) => write!(f, "differs: {}", faults.join("; ")),
            Self::Undecided(how) if how.is_empty() => f.write_str("agrees with the others"),
            Self::Undecided(how) => f.write_str(&how.join("; ")),
            Self::Unexpected(faults) => write!(f, "UNEXPECTED: {}", faults.join("; ")),
        }
    }
}
