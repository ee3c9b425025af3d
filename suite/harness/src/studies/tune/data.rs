//! Which settings make the first passes fast: what was measured of them, kept beside a record.
//!
//! Two records lie in the folder [`FOLDER`] of a record: every setting by itself, and the promising
//! ones together. Each is a race: in its folder lie further heats, with more rounds of the settings that
//! were still in it.

use std::{
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, Result};
use firstpass_probe::{Need, Tuned};
use firstpass_trial::{
    observation::{Observation, Purpose},
    workload::Workload,
    workspace::Workspace,
};

use crate::{
    record::{RUN, Record, Run, code::Code},
    studies::{
        study::Scope,
        tune::judge::{Ablation, judge, recommend::recommended},
    },
};

/// The folder inside of a record.
pub const FOLDER: &str = "tune";

/// The record of every setting by itself.
pub const ONE_AT_A_TIME: &str = "one-at-a-time";

/// The record of the promising settings together.
pub const COMBINED: &str = "combined";

/// All that was measured of settings, judged.
#[derive(Debug)]
pub struct Tuning {
    pub one_at_a_time: MeasuredSettings,
    /// `None` where the run was interrupted before.
    pub combined: Option<MeasuredSettings>,
}

/// One of the two records.
#[derive(Debug)]
pub struct MeasuredSettings {
    pub record: Record,
    pub workload: Workload,
    pub ablations: Vec<Ablation>,
}

impl Tuning {
    /// The ablations that a recommendation is made from: the combined settings where they were
    /// measured.
    pub fn decisive(&self) -> &[Ablation] {
        let measured = self.combined.as_ref().unwrap_or(&self.one_at_a_time);
        &measured.ablations
    }

    /// What is recommended for each backend that was tried, by the first model that it was tried on.
    pub fn tuned(&self) -> Tuned {
        let mut tuned = Tuned::default();
        self.recommend(&mut tuned);
        tuned
    }

    /// Replaces what is recommended for the backends that were tried, and for no other.
    fn recommend(&self, tuned: &mut Tuned) {
        for backend in self.backends() {
            tuned.clear(backend);
            let mut ablations = self.decisive().iter();
            let Some(ablation) = ablations.find(|a| a.backend == backend) else {
                continue;
            };
            for need in Need::ALL {
                if let Some(setting) = recommended(ablation, need) {
                    tuned.insert(backend, need, &setting.knobs);
                }
            }
        }
    }

    /// The backends that were tried, in order.
    pub fn backends(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .one_at_a_time
            .ablations
            .iter()
            .map(|a| a.backend.as_str())
            .collect();
        names.dedup();
        names
    }
}

/// Reads and judges what was measured beside a record; `None` where nothing was.
///
/// # Errors
/// Fails where a record or a model is there and cannot be read.
pub fn read(workspace: &Workspace, record: &Path) -> Result<Option<Tuning>> {
    let folder = record.join(FOLDER);
    let measured = |name: &str| -> Result<Option<MeasuredSettings>> {
        let folder = folder.join(name);
        if !folder.is_dir() {
            return Ok(None);
        }
        let record = with_heats(&folder)?;
        let workload = record.workload(workspace)?;
        let ablations = judge(&record, &workload.models)?;
        Ok(Some(MeasuredSettings {
            record,
            workload,
            ablations,
        }))
    };
    let Some(one_at_a_time) = measured(ONE_AT_A_TIME)? else {
        return Ok(None);
    };
    Ok(Some(Tuning {
        one_at_a_time,
        combined: measured(COMBINED)?,
    }))
}

/// What was measured beside the record of a report, as [`read`] gives it.
///
/// # Errors
/// As [`read`].
pub fn of(scope: &Scope) -> Result<Rc<Option<Tuning>>> {
    scope.kept.get(|| read(scope.workspace, scope.record()))
}

/// The folder of a later heat, in that of the first.
pub(crate) fn heat(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("heat-{number}"))
}

/// Reads a race: its first heat and those that lie in its folder, one after the other.
///
/// # Errors
/// Fails where a heat is there and cannot be read.
pub(crate) fn with_heats(folder: &Path) -> Result<Record> {
    let mut record = Record::read(folder)?;
    let later = (2..).map(|number| heat(folder, number));
    for folder in later.take_while(|folder| folder.join(RUN).is_file()) {
        append(&mut record, Record::read(&folder)?);
    }
    Ok(record)
}

/// Adds the rounds of a later heat. Outputs were looked at in the first.
fn append(record: &mut Record, heat: Record) {
    let timed = |o: &&Observation| o.purpose == Purpose::Latency;
    let rounds = record.observations().filter(timed).map(|o| o.round + 1);
    let before = rounds.max().unwrap_or(0);
    for (name, backend) in heat.backends {
        let timed = backend.observations.into_iter();
        let timed = timed.filter(|o| o.purpose == Purpose::Latency);
        let later = timed.map(|observation| Observation {
            round: observation.round + before,
            ..observation
        });
        let known = record.backends.entry(name).or_default();
        known.observations.extend(later);
    }
}

/// By which code the settings beside a record were measured; `None` where none were.
pub fn code(record: &Path) -> Option<Code> {
    let measured = Run::read(&record.join(FOLDER).join(ONE_AT_A_TIME)).ok()?;
    Some(measured.code)
}

/// Writes the recommended setting of each backend that has one. Backends that were not tried keep
/// what the file says of them.
///
/// # Errors
/// Fails where the file cannot be written, or is there and cannot be read.
pub fn apply(tuning: &Tuning, path: &Path) -> Result<()> {
    let mut tuned = if path.is_file() {
        Tuned::read(path)?
    } else {
        Tuned::default()
    };
    tuning.recommend(&mut tuned);
    let head = format!(
        "# Settings that make the first passes fast, by backend: *cold* for a process that answers a few \
         times,\n# *serve* for a service that may prepare before its first request. Written by `cargo \
         firstpass tune --apply`\n# from the measurements in {}; `cargo firstpass report` measures those \
         for a service,\n# else those for a cold start, beside the defaults, and `firstpass_probe::Tuned` \
         reads all in a program of your own.\n",
        shown(&tuning.one_at_a_time.record.folder)
    );
    fs::write(path, head + &tuned.to_toml())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The folder that holds both records, from the reports on: where a checkout lies is nobody's
/// business.
fn shown(folder: &Path) -> String {
    let folder = folder.parent().unwrap_or(folder);
    let parts: Vec<_> = folder.components().collect();
    let from = parts.iter().position(|part| part.as_os_str() == "reports");
    let shown: PathBuf = parts[from.unwrap_or(0)..].iter().collect();
    shown.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::tests::record, studies::first_passes::judge::latency::tests::observation};

    #[test]
    fn a_later_heat_goes_on_where_the_one_before_ended() {
        let timed = |round| observation(round, &[1.0]);
        let mut looked_at = observation(0, &[1.0]);
        looked_at.purpose = Purpose::Agreement;
        let mut all = record(vec![looked_at.clone(), timed(0), timed(1)]);
        append(&mut all, record(vec![looked_at, timed(0), timed(1)]));
        let rounds = |purpose| -> Vec<usize> {
            let observations = all.observations().filter(|o| o.purpose == purpose);
            observations.map(|o| o.round).collect()
        };
        assert_eq!(rounds(Purpose::Latency), [0, 1, 2, 3]);
        assert_eq!(rounds(Purpose::Agreement), [0], "that of the first heat");
    }
}
