//! Measures every setting by itself, then the promising ones together; each time as a race, in which only
//! settings get more rounds that may still be recommended.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
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
    page::numbers::setting,
    record::{RunSettings, Target},
    studies::{
        first_passes::{
            arguments::{self as measure},
            measure as campaign,
        },
        tune::{
            self as tuning,
            judge::{
                Ablation,
                candidates::{combinations, one_at_a_time},
                judge,
                race::{LOOKS, still_in_the_race},
            },
        },
    },
};

/// The share of the time that the settings one at a time get.
const SCREENING: f64 = 0.55;

/// No cell is done because its own intervals are narrow: comparisons say when it is.
const NEVER: Target = Target {
    steady: 0.0,
    first_pass: 0.0,
};

/// How many settings are named while they race.
const NAMED: usize = 3;

/// By backend, the settings that are in a race.
type Variants = BTreeMap<String, Vec<Knobs>>;

/// Measures the settings of these backends on this subject, beside a record.
///
/// # Errors
/// Fails where no engine has a setting to try, and where measurements cannot be written or read.
pub fn try_settings(
    workspace: &Workspace,
    backends: &[Backend],
    workload: &Workload,
    arguments: &measure::Arguments,
    record: &Path,
    combined_only: bool,
) -> Result<()> {
    let singles = singles(workspace, backends);
    if singles.values().all(Vec::is_empty) {
        bail!("no engine that runs here has a setting to try");
    }
    let race = |title: &'static str, folder: &Path, share: f64, variants: Variants| {
        let settings = arguments.settings(RunSettings {
            processes: 64,
            least_processes: 2,
            passes: 25,
            agreement_passes: 1,
            skip_arithmetic: true,
            threads: vec![1],
            budget_s: 1200.0,
            process_budget_ms: 900,
            target: NEVER,
            affinity: Affinity::default(),
            cold_files: false,
            entries: 1,
            variants,
            first_format_only: true,
            agreement_only: BTreeSet::new(),
            seek_reference: false,
            asked_budget_s: None,
        })?;
        let budget_s = settings.budget_s * share;
        Race {
            title,
            workspace,
            backends,
            workload,
            settings: RunSettings {
                budget_s,
                ..settings
            },
            folder,
        }
        .run()
    };
    let folder = record.join(tuning::FOLDER);
    let first = folder.join(tuning::ONE_AT_A_TIME);
    let (ablations, share) = if combined_only {
        let measured = tuning::with_heats(&first)?;
        (judge(&measured, &workload.models)?, 1.0)
    } else {
        let judged = race("settings by themselves", &first, SCREENING, singles)?;
        (judged, 1.0 - SCREENING)
    };
    let names = ablations.iter().map(|a| a.backend.clone());
    let variants = names.map(|backend| {
        let own: Vec<_> = ablations.iter().filter(|a| a.backend == backend).collect();
        let combined = combinations(&own);
        (backend, combined)
    });
    let combined = folder.join(tuning::COMBINED);
    race("settings together", &combined, share, variants.collect())?;
    Ok(())
}

/// Some settings that are measured until it is told which help, or the time is used up.
struct Race<'a> {
    title: &'static str,
    workspace: &'a Workspace,
    backends: &'a [Backend],
    workload: &'a Workload,
    settings: RunSettings,
    folder: &'a Path,
}

impl Race<'_> {
    /// Measures one heat after the other and returns how the settings stand at the end.
    fn run(self) -> Result<Vec<Ablation>> {
        let began = Instant::now();
        let budget = Duration::from_secs_f64(self.settings.budget_s);
        let mut settings = self.settings.clone();
        let mut workload = self.workload.clone();
        let mut backends = self.backends.to_vec();
        let mut done = 0;
        let mut ablations = Vec::new();
        let most = self.settings.processes;
        let looks = LOOKS.iter().copied().filter(|look| *look < most);
        for (number, look) in (1..).zip(looks.chain([most])) {
            let left = budget.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            settings.processes = look - done;
            settings.budget_s = left.as_secs_f64();
            let place = match number {
                1 => self.folder.to_owned(),
                number => tuning::heat(self.folder, number),
            };
            campaign::run(self.workspace, &backends, &workload, &settings, &place)?;
            done = look;
            let record = tuning::with_heats(self.folder)?;
            ablations = judge(&record, &self.workload.models)?;
            settings.variants = variants(&ablations);
            for line in standings(&ablations) {
                eprintln!("{}, {done} rounds: {line}", self.title);
            }
            if settings.variants.is_empty() {
                break;
            }
            // Outputs were looked at in the first heat; how fast an engine is one photograph tells.
            workload.samples.truncate(1);
            backends.retain(|backend| settings.variants.contains_key(&backend.name));
        }
        Ok(ablations)
    }
}

/// The settings that get more rounds, by backend; nothing of a backend of which everything is told.
fn variants(ablations: &[Ablation]) -> Variants {
    let mut variants = Variants::new();
    for ablation in ablations {
        for setting in still_in_the_race(ablation) {
            let own = variants.entry(ablation.backend.clone()).or_default();
            if !own.contains(&setting.knobs) {
                own.push(setting.knobs.clone());
            }
        }
    }
    variants
}

/// Who is still in the race, one line for each engine and model.
fn standings(ablations: &[Ablation]) -> Vec<String> {
    let lines = ablations.iter().map(|ablation| {
        let left = still_in_the_race(ablation);
        let names: Vec<String> = left.iter().map(|s| setting(&s.knobs)).collect();
        let all = ablation.settings.len();
        let of_engine = format!("{} on {}", ablation.backend, ablation.model);
        match names.len() {
            0 => format!("{of_engine}: decided"),
            left if left <= NAMED => {
                format!(
                    "{of_engine}: {left} of {all} settings may win: {}",
                    names.join("; ")
                )
            }
            left => format!("{of_engine}: {left} of {all} settings may win"),
        }
    });
    lines.collect()
}

/// Every setting by itself of each backend whose engine runs.
fn singles(workspace: &Workspace, backends: &[Backend]) -> Variants {
    let described = backends.iter().filter_map(|backend| {
        // Why it does not run is said, and recorded, by the campaign.
        let description = Probe::build(workspace, backend).ok()?.describe().ok()?;
        Some((backend.name.clone(), one_at_a_time(&description)))
    });
    described.collect()
}
