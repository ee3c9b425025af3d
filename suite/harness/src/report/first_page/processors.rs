//! Whether engines give the same outputs on processors that this machine does not have.

use firstpass_trial::{engine::base, model::ModelDescription};
use serde::Serialize;

use super::versions::differing;
use crate::studies::first_passes::analysis::{Analysis, Row};

/// What was found on emulated processors.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// Engines with the same bits as on this machine, by processor: `A on haswell`.
    pub same: Vec<String>,
    /// Those with other outputs, in words.
    pub other: Vec<String>,
    /// Those that gave none.
    pub failed: Vec<String>,
}

/// `None` where no processor was emulated.
pub(super) fn answer(analysis: &Analysis, model: &ModelDescription) -> Option<Answer> {
    let rows = analysis.rows(model);
    let mut answer = Answer {
        same: Vec::new(),
        other: Vec::new(),
        failed: Vec::new(),
    };
    let processors = &analysis.record.run.processors;
    for row in rows
        .iter()
        .filter(|row| processors.contains_key(&row.cell.backend))
    {
        let is_here = |here: &&Row| {
            here.cell.backend == base(&row.cell.backend) && here.cell.format == row.cell.format
        };
        let here = rows
            .iter()
            .find(is_here)
            .and_then(|here| here.outputs.as_ref());
        match (here, &row.outputs) {
            // Nothing to compare with.
            (None, Some(_)) => {}
            (_, None) => answer.failed.push(row.label.clone()),
            (Some(here), Some(there)) => {
                let differing = differing(model, here, there);
                if differing.is_empty() {
                    answer.same.push(row.label.clone());
                } else {
                    answer
                        .other
                        .push(format!("{}: {}", row.label, differing.join("; ")));
                }
            }
        }
    }
    let is_asked = !(answer.same.is_empty() && answer.other.is_empty() && answer.failed.is_empty());
    is_asked.then_some(answer)
}
