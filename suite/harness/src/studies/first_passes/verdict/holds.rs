//! What was seen to hold, and no more than that.

use firstpass_trial::{expectation::ExpectationVerdict, model::ModelDescription};
use serde::Serialize;

use crate::studies::first_passes::{
    analysis::{Analysis, Row},
    reference::Kind,
};

/// What holds of a record in which nothing was found wrong: `templates/answer/holds.md.j2` says it.
#[derive(Debug, Serialize)]
pub(crate) struct Holds {
    is_interrupted: bool,
    /// Rows that gave outputs.
    rows: usize,
    /// Rows whose engine declares that it refuses the model: a row too, and no outputs.
    refused: usize,
    /// Whether all models have golden outputs, so that something is expected.
    all_golden: bool,
    /// Whether every row had something to be compared with.
    is_judged: bool,
    /// Whether anything differs as is declared.
    is_declared: bool,
}

/// What was seen to hold; `None` where anything was found wrong.
pub(crate) fn what_holds(analysis: &Analysis) -> Option<Holds> {
    if !analysis.findings().is_empty() {
        return None;
    }
    let all = analysis.rows.values().flatten();
    let (rows, refused): (Vec<&Row>, Vec<&Row>) = all.partition(|row| row.outputs.is_some());
    let is_declared = |row: &&Row| matches!(row.verdict, Some(ExpectationVerdict::Declared { .. }));
    let is_golden = |model: &ModelDescription| {
        let reference = analysis.references.get(&model.name);
        reference.is_some_and(|reference| matches!(reference.kind, Kind::Golden(_)))
    };
    Some(Holds {
        is_interrupted: analysis.record.run.duration_s.is_none(),
        rows: rows.len(),
        refused: refused.len(),
        all_golden: analysis.models().iter().all(is_golden),
        is_judged: rows.iter().all(|row| row.verdict.is_some()),
        is_declared: rows.iter().any(is_declared),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::*;
    use crate::page::template;

    #[test]
    fn no_more_is_said_than_was_seen() -> Result<()> {
        let said = |change: fn(&mut Holds)| {
            let mut holds = Holds {
                is_interrupted: false,
                rows: 3,
                refused: 0,
                all_golden: true,
                is_judged: true,
                is_declared: false,
            };
            change(&mut holds);
            template::on_terminal("answer/holds.md.j2", minijinja::context! { holds })
        };
        let expected = said(|_| ())?;
        assert!(expected.starts_with("- Everything is as expected: all 3 rows gave outputs."));
        assert!(
            expected.contains("All outputs are the golden ones."),
            "{expected}"
        );
        let declared = said(|holds| holds.is_declared = true)?;
        assert!(
            declared.contains("Whatever differs is declared"),
            "{declared}"
        );
        let refused = said(|holds| (holds.rows, holds.refused) = (1, 2))?;
        assert!(
            refused.contains("1 of 3 rows gave outputs; the others refuse"),
            "{refused}"
        );
        let one = said(|holds| holds.rows = 1)?;
        assert!(one.contains("its one row gave outputs"), "{one}");
        let own = said(|holds| holds.all_golden = false)?;
        assert!(
            own.contains("Nothing was seen to be wrong") && own.contains("that was compared"),
            "{own}"
        );
        let unjudged = said(|holds| holds.is_judged = false)?;
        assert!(
            unjudged.contains("Not everything had something to be compared with"),
            "{unjudged}"
        );
        let interrupted = said(|holds| holds.is_interrupted = true)?;
        assert!(
            interrupted.contains("interrupted") && !interrupted.contains("golden"),
            "{interrupted}"
        );
        Ok(())
    }
}
