//! Which settings make the first passes fast: what was measured of them, kept beside a record.
//!
//! Two records lie in the folder [`FOLDER`] of a record: every setting by itself, and the promising
//! ones together.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_probe::Tuned;
use firstpass_trial::{workload::Workload, workspace::Workspace};

use crate::{
    record::{Record, code::Code},
    studies::tune::judge::{Ablation, Setting, judge, recommended},
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

    /// The backend's recommended setting, on the first model that it was tried on.
    pub fn recommended(&self, backend: &str) -> Option<&Setting> {
        let of_backend = |a: &&Ablation| a.backend == backend;
        recommended(self.decisive().iter().find(of_backend)?)
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
        let record = Record::read(&folder)?;
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

/// By which code the settings beside a record were measured; `None` where none were.
pub fn code(record: &Path) -> Option<Code> {
    let measured = Record::read(&record.join(FOLDER).join(ONE_AT_A_TIME)).ok()?;
    Some(measured.run.code)
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
    for backend in tuning.backends() {
        let setting = tuning.recommended(backend);
        tuned.insert(
            backend,
            setting.map(|s| s.knobs.clone()).unwrap_or_default(),
        );
    }
    let head = format!(
        "# Settings that make the first passes fast, by backend. Written by `cargo firstpass tune \
         --apply`\n# from the measurements in {}; `cargo firstpass report` measures them beside the \
         defaults,\n# and `firstpass_probe::Tuned` reads them in a program of your own.\n",
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
