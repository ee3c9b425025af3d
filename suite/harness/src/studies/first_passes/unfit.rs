//! Engines whose outputs cannot be used.

use firstpass_trial::{agreement::Agreement, expectation::ExpectationVerdict};

use crate::studies::first_passes::{
    analysis::Analysis,
    judge::no_choice::NoChoice,
    row::{Row, USABLE_DB},
};

/// Why the outputs of an engine cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfit {
    pub why: String,
    /// Whether the size of the difference decides that, [`USABLE_DB`].
    pub is_far: bool,
}

impl Row {
    /// Why its outputs cannot be used; `None` where they can.
    pub(crate) fn unfit(&self) -> Option<Unfit> {
        let unfit = |why: String, is_far| Some(Unfit { why, is_far });
        if self.outputs.is_none() {
            return unfit("no outputs".into(), false);
        }
        if !self.not_finite.is_empty() {
            return unfit(self.not_finite.join("; "), false);
        }
        let mut compared = self.agreement.iter().flatten();
        match self.verdict.as_ref()? {
            ExpectationVerdict::Unexpected(how) => unfit(how.join("; "), false),
            ExpectationVerdict::Differs(how) if compared.clone().any(is_other) => {
                unfit(how.join("; "), false)
            }
            ExpectationVerdict::Differs(how) if compared.any(is_far) => unfit(how.join("; "), true),
            _ => None,
        }
    }
}

/// Whether a difference is so large that the engine computes something else: a step here and there is what the
/// optimizations of many engines cost, and the reader decides about that.
fn is_far(agreement: &Agreement) -> bool {
    agreement.sqnr_db < USABLE_DB
}

/// Whether outputs cannot be compared value by value.
fn is_other(agreement: &Agreement) -> bool {
    agreement.other_shape > 0 || agreement.not_finite > 0
}

/// Those of a record whose outputs cannot be used. It may still be written: its outputs come before its times.
pub fn no_choice(analysis: &Analysis) -> NoChoice {
    let rows = analysis.rows.values().flatten();
    // One whose outputs nobody has seen yet is not known to be wrong.
    let wrong = rows.filter(|row| row.outputs.is_some() && row.unfit().is_some());
    wrong.map(|row| &row.cell).collect()
}
