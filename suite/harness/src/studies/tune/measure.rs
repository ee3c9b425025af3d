//! Measures every setting by itself, then the promising ones together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Result, bail};
use firstpass_probe::Knobs;
use firstpass_trial::{
    affinity::Affinity,
    process::Probe,
    workload::Workload,
    workspace::{Backend, Workspace},
};

use crate::{
    record::{Record, RunSettings, Target},
    studies::{
        first_passes::{
            arguments::{self as measure},
            measure as campaign,
        },
        tune::{
            self as tuning,
            judge::{combinations, judge, one_at_a_time},
        },
    },
};

/// The share of the time that the settings one at a time get.
const SCREENING: f64 = 0.55;

const TARGET: Target = Target {
    steady: 0.02,
    first_pass: 0.05,
};

/// Measures the settings of these backends on this subject, beside a record.
pub fn try_settings(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    of: &measure::Arguments,
    record: &Path,
    combined_only: bool,
) -> Result<()> {
    let singles = singles(workspace, backends);
    if singles.values().all(Vec::is_empty) {
        bail!("no backend that runs here has a setting to try");
    }
    let preset = |share: f64, variants: BTreeMap<String, Vec<Knobs>>| -> Result<RunSettings> {
        let settings = of.settings(RunSettings {
            processes: 40,
            least_processes: 6,
            passes: 25,
            agreement_passes: 1,
            skip_arithmetic: true,
            threads: vec![1],
            budget_s: 1200.0,
            process_budget_ms: 900,
            target: TARGET,
            affinity: Affinity::default(),
            cold_files: false,
            entries: 1,
            variants,
            first_format_only: true,
            agreement_only: BTreeSet::new(),
        })?;
        Ok(RunSettings {
            budget_s: settings.budget_s * share,
            ..settings
        })
    };
    let folder = record.join(tuning::FOLDER);
    let (first, share) = if combined_only {
        (folder.join(tuning::ONE_AT_A_TIME), 1.0)
    } else {
        let settings = preset(SCREENING, singles)?;
        let first = folder.join(tuning::ONE_AT_A_TIME);
        let first = campaign::run(workspace, backends, workload, &settings, &first)?;
        (first, 1.0 - SCREENING)
    };

    let ablations = judge(&Record::read(&first)?, &workload.models)?;
    let names = ablations.iter().map(|a| a.backend.clone());
    let variants: BTreeMap<String, Vec<Knobs>> = names
        .map(|backend| {
            let of_backend: Vec<_> = ablations.iter().filter(|a| a.backend == backend).collect();
            let combined = combinations(&of_backend);
            (backend, combined)
        })
        .collect();
    campaign::run(
        workspace,
        backends,
        workload,
        &preset(share, variants)?,
        &folder.join(tuning::COMBINED),
    )?;
    Ok(())
}

/// Every setting by itself of each backend whose engine runs.
fn singles(workspace: &Workspace, backends: &[Backend]) -> BTreeMap<String, Vec<Knobs>> {
    let described = backends.iter().filter_map(|backend| {
        // Why it does not run is said, and recorded, by the campaign.
        let description = Probe::build(workspace, backend).ok()?.describe().ok()?;
        Some((backend.name.clone(), one_at_a_time(&description)))
    });
    described.collect()
}
