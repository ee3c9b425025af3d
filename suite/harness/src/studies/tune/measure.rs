//! Measures every setting by itself, then the promising ones together; each time as a race, in which only
//! settings get more rounds that may still be recommended.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use firstpass_probe::{Knobs, Need};
use firstpass_trial::{
    affinity::Affinity, engine::Backend, process::Probe, workload::Workload, workspace::Workspace,
};

use crate::{
    page::numbers::setting,
    record::{RunSettings, Target},
    studies::{
        first_passes::{
            arguments::{self as measure},
            chosen::chosen,
            measure as campaign,
        },
        tune::{
            self as tuning,
            judge::{
                Ablation,
                candidates::{combinations, one_at_a_time},
                judge,
                race::{LOOKS, MOST_ROUNDS, still_in_the_race},
                recommend::SCREENING,
            },
        },
    },
};

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
    let (singles, likely) = candidates(workspace, backends)?;
    if singles.values().all(Vec::is_empty) {
        bail!("no engine that runs here has a setting to try");
    }
    let settings = arguments.settings(RunSettings {
        processes: MOST_ROUNDS,
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
        variants: Variants::new(),
        first_format_only: true,
        agreement_only: BTreeSet::new(),
        seek_reference: false,
        asked_budget_s: None,
        command: Vec::new(),
    })?;
    let (whole, began) = (settings.budget_s, Instant::now());
    let races = |title: &'static str, folder: &Path, share: f64, mut variants: Variants| {
        let races = backends.iter().filter_map(|backend| {
            let variants = variants.remove(&backend.name)?;
            let folder = tuning::race(folder, &backend.name);
            Some(folder.map(|folder| Race {
                title,
                workspace,
                backend,
                workload: workload.clone(),
                settings: RunSettings {
                    variants: Variants::from([(backend.name.clone(), variants)]),
                    asked_budget_s: settings.asked_budget_s.or(Some(whole)),
                    ..settings.clone()
                },
                folder,
                looks: looks(settings.processes),
                rounds: 0,
                heats: 0,
                ablations: Vec::new(),
            }))
        });
        let left = Duration::from_secs_f64(whole).saturating_sub(began.elapsed());
        run(races.collect::<Result<_>>()?, left.mul_f64(share))
    };
    let folder = record.join(tuning::FOLDER);
    let first = folder.join(tuning::ONE_AT_A_TIME);
    let ablations = if combined_only {
        let mut judged = Vec::new();
        for measured in tuning::races(&first)? {
            judged.extend(judge(&measured, &workload.models)?);
        }
        judged
    } else {
        races("settings by themselves", &first, SCREENING, singles)?
    };
    let variants = likely.into_iter().map(|(backend, likely)| {
        let own: Vec<_> = ablations.iter().filter(|a| a.backend == backend).collect();
        (backend, combinations(&own, &likely))
    });
    let combined = folder.join(tuning::COMBINED);
    races("settings together", &combined, 1.0, variants.collect())?;
    Ok(())
}

/// Runs races side by side, one heat of each after the other. Each may use an even share of the time that
/// is left, so that a slow engine is not left without any; what one does not use is there for the others.
/// Returns how the settings stand at the end.
fn run(mut races: Vec<Race>, budget: Duration) -> Result<Vec<Ablation>> {
    let began = Instant::now();
    loop {
        let mut waiting = races.iter().filter(|race| race.goes_on()).count();
        if waiting == 0 {
            break;
        }
        for race in races.iter_mut().filter(|race| race.goes_on()) {
            let left = budget.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(races.into_iter().flat_map(|race| race.ablations).collect());
            }
            race.heat(left / u32::try_from(waiting)?)?;
            waiting -= 1;
        }
    }
    Ok(races.into_iter().flat_map(|race| race.ablations).collect())
}

/// Some settings of an engine that are measured until it is told which help, or the time is used up.
struct Race<'a> {
    title: &'static str,
    workspace: &'a Workspace,
    backend: &'a Backend,
    workload: Workload,
    settings: RunSettings,
    folder: PathBuf,
    /// The rounds, in all, after which is looked; those that are still to come.
    looks: VecDeque<usize>,
    /// The rounds that there were.
    rounds: usize,
    heats: usize,
    /// How the settings stand after the last.
    ablations: Vec<Ablation>,
}

impl Race<'_> {
    /// Rounds are left, and may change something.
    fn goes_on(&self) -> bool {
        !self.looks.is_empty() && self.settings.variants.values().any(|v| !v.is_empty())
    }

    /// Measures until the next look, or until the time is used up.
    fn heat(&mut self, budget: Duration) -> Result<()> {
        let Some(look) = self.looks.pop_front() else {
            return Ok(());
        };
        self.heats += 1;
        let place = match self.heats {
            1 => self.folder.clone(),
            number => tuning::heat(&self.folder, number),
        };
        let settings = RunSettings {
            processes: look - self.rounds,
            budget_s: budget.as_secs_f64(),
            ..self.settings.clone()
        };
        let backends = std::slice::from_ref(self.backend);
        campaign::run(self.workspace, backends, &self.workload, &settings, &place)?;
        self.rounds = look;
        let record = tuning::with_heats(&self.folder)?;
        self.ablations = judge(&record, &self.workload.models)?;
        let runs = record.observations().any(|o| o.process.completed());
        if runs && !self.ablations.iter().any(Ablation::compares) {
            let name = &self.backend.name;
            eprintln!("{}: {name} was too slow to be timed yet", self.title);
        } else {
            self.settings.variants = variants(&self.ablations);
        }
        for line in standings(&self.ablations) {
            eprintln!("{}, {look} rounds: {line}", self.title);
        }
        // Outputs were looked at in the first heat; how fast an engine is one photograph tells.
        self.workload.samples.truncate(1);
        Ok(())
    }
}

/// The rounds after which is looked where there are at most so many.
fn looks(most: usize) -> VecDeque<usize> {
    let looks = LOOKS.into_iter().filter(|look| *look < most);
    looks.chain([most]).collect()
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

/// Every setting by itself of each backend whose engine runs, and those that helped it elsewhere.
fn candidates(workspace: &Workspace, backends: &[Backend]) -> Result<(Variants, Variants)> {
    let tuned = chosen(workspace)?;
    let (mut singles, mut likely) = (Variants::new(), Variants::new());
    for backend in backends {
        // Why it does not run is said, and recorded, by the campaign.
        let description = Probe::build(workspace, backend).map(|probe| probe.describe());
        let Ok(Ok(description)) = description else {
            continue;
        };
        let knobs = &description.knobs;
        let is_known = |(name, _): (&str, &str)| knobs.iter().any(|knob| knob.name == name);
        let helped = Need::ALL.map(|need| tuned.for_need(&backend.name, need));
        let helped = helped
            .into_iter()
            .filter(|knobs| *knobs != Knobs::default() && knobs.settings().all(is_known));
        likely.insert(backend.name.clone(), helped.collect());
        singles.insert(backend.name.clone(), one_at_a_time(&description));
    }
    Ok((singles, likely))
}
