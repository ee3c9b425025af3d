//! Which settings make the first passes fast: what was measured of them, kept beside a record.
//!
//! Two folders lie in the folder [`FOLDER`] of a record: every setting by itself, and the promising ones
//! together. In each lies one record an engine. That is a race: in its folder lie further heats, with more
//! rounds of the settings that were still in it. Older records have one race of all engines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context, Result};
use firstpass_probe::{Description, Need, Tuned, file_name};
use firstpass_trial::{
    model::ModelDescription,
    observation::{Observation, Purpose},
    workspace::Workspace,
};

use crate::{
    record::{RUN, Record, Recorder, Run, code::Code},
    studies::{
        study::Scope,
        tune::judge::{Ablation, judge, recommend::recommended},
    },
};

/// The folder inside of a record.
pub const FOLDER: &str = "tune";

/// The records of every setting by itself.
pub const ONE_AT_A_TIME: &str = "one-at-a-time";

/// The records of the promising settings together.
pub const COMBINED: &str = "combined";

/// All that was measured of settings, judged.
#[derive(Debug)]
pub struct Tuning {
    pub one_at_a_time: MeasuredSettings,
    /// `None` where the run was interrupted before.
    pub combined: Option<MeasuredSettings>,
}

/// What was measured in one of the two folders.
#[derive(Debug)]
pub struct MeasuredSettings {
    /// One a race.
    pub records: Vec<Record>,
    pub models: Vec<ModelDescription>,
    pub ablations: Vec<Ablation>,
}

impl MeasuredSettings {
    /// `None` where nothing was measured.
    fn read(workspace: &Workspace, folder: &Path) -> Result<Option<Self>> {
        let mut measured = Self {
            records: races(folder)?,
            models: Vec::new(),
            ablations: Vec::new(),
        };
        for record in &measured.records {
            let models = record.workload(workspace)?.models;
            measured.ablations.extend(judge(record, &models)?);
            for model in models {
                if measured.models.iter().all(|known| known.name != model.name) {
                    measured.models.push(model);
                }
            }
        }
        Ok((!measured.records.is_empty()).then_some(measured))
    }

    /// What an engine said of itself.
    pub fn description(&self, backend: &str) -> Option<&Description> {
        let mut found = self.records.iter().filter_map(|r| r.backends.get(backend));
        found.find_map(|backend| backend.description.as_ref())
    }
}

impl Tuning {
    /// The folder of both: [`FOLDER`] of a record.
    pub fn folder(&self) -> PathBuf {
        let race = self.one_at_a_time.records.first().map(|r| &r.folder);
        let mut above = race.into_iter().flat_map(|folder| folder.ancestors());
        let found = above.find(|folder| folder.ends_with(FOLDER));
        found.map_or_else(PathBuf::new, Path::to_owned)
    }

    /// The ablations that a recommendation is made from, in the order of the engines: the combined settings
    /// where at least one of them was compared.
    pub fn decisive(&self) -> Vec<&Ablation> {
        let mut decisive: BTreeMap<(&str, &str), &Ablation> = BTreeMap::new();
        for ablation in self.ablations() {
            let key = (ablation.backend.as_str(), ablation.model.as_str());
            if ablation.compares() || !decisive.contains_key(&key) {
                decisive.insert(key, ablation);
            }
        }
        decisive.into_values().collect()
    }

    /// Of all races, those of single settings first.
    fn ablations(&self) -> impl Iterator<Item = &Ablation> {
        let measured = [Some(&self.one_at_a_time), self.combined.as_ref()];
        measured.into_iter().flatten().flat_map(|m| &m.ablations)
    }

    /// What is recommended for each backend that was tried, by the first model that it was tried on.
    pub fn tuned(&self) -> Tuned {
        let mut tuned = Tuned::default();
        self.recommend(&mut tuned);
        tuned
    }

    /// Replaces what is recommended for the backends that were tried, and for no other.
    fn recommend(&self, tuned: &mut Tuned) {
        let compared = self.decisive().into_iter().filter(|a| a.compares());
        let mut seen = BTreeSet::new();
        // By the first model that it was tried on.
        for ablation in compared.filter(|a| seen.insert(a.backend.as_str())) {
            tuned.clear(&ablation.backend);
            for need in Need::ALL {
                if let Some(setting) = recommended(ablation, need) {
                    tuned.insert(&ablation.backend, need, &setting.knobs);
                }
            }
        }
    }

    /// The backends of which a process gave outputs.
    pub fn ran(&self) -> BTreeSet<&str> {
        let measured = [Some(&self.one_at_a_time), self.combined.as_ref()];
        let records = measured.into_iter().flatten().flat_map(|m| &m.records);
        let observations = records.flat_map(Record::observations);
        let completed = observations.filter(|o| o.process.completed());
        completed.map(|o| o.cell.backend.as_str()).collect()
    }

    /// The backends that were tried, in order.
    pub fn backends(&self) -> Vec<&str> {
        let names: BTreeSet<&str> = self.ablations().map(|a| a.backend.as_str()).collect();
        names.into_iter().collect()
    }
}

/// Reads and judges what was measured beside a record; `None` where nothing was.
///
/// # Errors
/// Fails where a record or a model is there and cannot be read.
pub fn read(workspace: &Workspace, record: &Path) -> Result<Option<Tuning>> {
    let measured = |name: &str| MeasuredSettings::read(workspace, &record.join(FOLDER).join(name));
    let Some(one_at_a_time) = measured(ONE_AT_A_TIME)? else {
        return Ok(None);
    };
    Ok(Some(Tuning {
        one_at_a_time,
        combined: measured(COMBINED)?,
    }))
}

/// The folder of an engine's race. A record of all engines, as older versions made it, is put aside.
pub(crate) fn race(folder: &Path, backend: &str) -> Result<PathBuf> {
    if folder.join(RUN).is_file() {
        Recorder::keep_earlier(folder)?;
    }
    Ok(folder.join(file_name(backend)))
}

/// The races in a folder: one an engine, or that of all engines.
///
/// # Errors
/// Fails where a record is there and cannot be read.
pub(crate) fn races(folder: &Path) -> Result<Vec<Record>> {
    let folders = race_folders(folder)?.into_iter();
    folders.map(|folder| with_heats(&folder)).collect()
}

fn race_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join(RUN).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders: Vec<PathBuf> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect())
        .with_context(|| format!("cannot read {}", folder.display()))?;
    folders.retain(|folder| folder.join(RUN).is_file() && !Recorder::is_unfinished(folder));
    folders.sort();
    Ok(folders)
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
    let races = race_folders(&record.join(FOLDER).join(ONE_AT_A_TIME)).ok()?;
    Some(Run::read(races.first()?).ok()?.code)
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
        shown(&tuning.folder())
    );
    fs::write(path, head + &tuned.to_toml())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A folder from the reports on: where a checkout lies is nobody's business.
fn shown(folder: &Path) -> String {
    let parts: Vec<_> = folder.components().collect();
    let from = parts.iter().position(|part| part.as_os_str() == "reports");
    let shown: PathBuf = parts[from.unwrap_or(0)..].iter().collect();
    shown.display().to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        record::{
            Line,
            tests::{record, run},
        },
        studies::{first_passes::judge::latency::tests::observation, tune::judge::tests::ablation},
    };

    /// What engines with these ablations were found to do by single settings, and together.
    pub(crate) fn tuning(singles: Vec<Ablation>, combined: Vec<Ablation>) -> Tuning {
        let measured = |ablations: Vec<Ablation>| {
            let of = |ablation: &Ablation| {
                let mut observed = observation(0, &[1.0]);
                observed.cell = ablation.default.cell.clone();
                record(vec![observed])
            };
            MeasuredSettings {
                records: ablations.iter().map(of).collect(),
                models: Vec::new(),
                ablations,
            }
        };
        Tuning {
            one_at_a_time: measured(singles),
            combined: Some(measured(combined)),
        }
    }

    /// The same ablation of another engine.
    pub(crate) fn of_engine(name: &str, mut ablation: Ablation) -> Ablation {
        name.clone_into(&mut ablation.backend);
        name.clone_into(&mut ablation.default.cell.backend);
        ablation
    }

    #[test]
    fn a_race_together_that_timed_nothing_does_not_hide_what_single_settings_do() {
        let timed = || ablation(&[("", 100.0, 10.0, "same"), ("a=good", 20.0, 10.0, "same")]);
        let untimed = || ablation(&[("", 100.0, 10.0, "same")]);
        let good = |tuning: &Tuning| tuning.tuned().to_toml().contains("good");
        assert!(good(&tuning(vec![timed()], vec![untimed()])));
        assert!(!good(&tuning(vec![untimed()], vec![untimed()])));
        // What is tried of one engine says nothing of another.
        let other = tuning(vec![of_engine("y", timed())], vec![untimed()]);
        assert_eq!(other.decisive().len(), 2);
    }

    #[test]
    fn each_engine_has_a_race_of_its_own_and_older_records_one_of_all() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join(ONE_AT_A_TIME);
        let measure = |place: &Path, backend: &str| -> Result<()> {
            let mut recorder = Recorder::begin(place, dir.path(), &run())?;
            let mut observed = Box::new(observation(0, &[1.0]));
            backend.clone_into(&mut observed.cell.backend);
            recorder.write(backend, &Line::Observation(observed))?;
            recorder.finish().map(drop)
        };
        let engines = || -> Result<Vec<String>> {
            let races = races(&folder)?.into_iter();
            Ok(races.flat_map(|r| r.backends.into_keys()).collect())
        };
        assert_eq!(engines()?, [""; 0]);
        measure(&folder, "all")?;
        assert_eq!(engines()?, ["all"]);
        for backend in ["a", "b"] {
            measure(&race(&folder, backend)?, backend)?;
        }
        assert_eq!(engines()?, ["a", "b"]);
        assert_eq!(fs::read_dir(dir.path().join("earlier"))?.count(), 1);
        // One that is measured again leaves the other alone, and is not counted twice.
        measure(&race(&folder, "b")?, "b")?;
        drop(Recorder::begin(&race(&folder, "c")?, dir.path(), &run())?);
        assert_eq!(engines()?, ["a", "b"]);
        Ok(())
    }

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
