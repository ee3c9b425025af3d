//! Since which version an engine does what it does, by halving over the published ones.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::Knobs;
use firstpass_trial::{
    engine_spec::chosen_backends, setup, workload::Workload, workspace::Workspace,
};

use crate::culprit::{
    Found, Investigation, Symptom, Tensors,
    engines::{Answer, Engines},
    investigation::Verdict,
};

/// Between which versions something changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Since {
    /// These are neighbours among the versions that run: it is so in the newer and not in the older.
    Between { older: String, newer: String },
    /// It is so in the oldest version that runs, too.
    Always(String),
    /// It is not so in the newest.
    Never,
    /// No version could be asked.
    Unknown,
    /// The time was used up between these.
    Open { older: String, newer: String },
}

/// What was found out about versions of one engine.
#[derive(Debug)]
pub struct History {
    /// Since when the fault is there.
    pub fault: Since,
    /// Since when the outputs are those of the newest version, bit by bit.
    pub outputs: Since,
    /// What each version that was asked did, in the order of asking.
    pub asked: Vec<String>,
}

/// Whether something is so in a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    No,
    Yes,
    /// The version is not published for this machine, or cannot be used.
    Unknown,
}

/// What a version did with the model.
#[derive(Debug, Clone)]
struct Did {
    is_wrong: bool,
    /// `None` where it failed.
    outputs: Option<Tensors>,
}

/// Since when the engine in this place does what it does.
///
/// It is taken that what has changed once has stayed so since: of several changes one is found.
///
/// # Errors
/// Fails on an engine whose library has no other versions, and where these cannot be listed.
pub fn history(
    workspace: &Workspace,
    investigation: &Investigation,
    workload: &Workload,
    place: usize,
    oldest: &str,
) -> Result<History> {
    let engine = &investigation.engines.all[place];
    let native = engine.backend.native.as_ref().with_context(|| {
        format!(
            "{} is compiled into its probe and has no other versions here",
            engine.called
        )
    })?;
    let versions = native.published(oldest)?;
    let newest = versions.last().context("there are no versions")?.clone();
    let mut asked = Vec::new();
    let mut known: BTreeMap<String, Option<Did>> = BTreeMap::new();
    let mut ask = |version: &str| -> Option<Did> {
        if let Some(did) = known.get(version) {
            return did.clone();
        }
        let name = format!("{}@{version}", engine.backend.base());
        let did = did(workspace, workload, &name, investigation);
        asked.push(match &did {
            Ok(did) if did.is_wrong => format!("{version}: the fault"),
            Ok(_) => format!("{version}: no fault"),
            Err(why) => format!("{version}: {why:#}"),
        });
        let did = did.ok();
        known.insert(version.into(), did.clone());
        did
    };
    let is_out_of_time = || investigation.is_out_of_time();
    let fault = halve(
        &versions,
        |version| match ask(version) {
            Some(did) if did.is_wrong => State::Yes,
            Some(_) => State::No,
            None => State::Unknown,
        },
        is_out_of_time,
    );
    let today = ask(&newest).and_then(|did| did.outputs);
    let outputs = halve(
        &versions,
        |version| match ask(version) {
            Some(did) if did.outputs.is_some() && did.outputs == today => State::Yes,
            Some(_) => State::No,
            None => State::Unknown,
        },
        is_out_of_time,
    );
    Ok(History {
        fault,
        outputs,
        asked,
    })
}

fn did(
    workspace: &Workspace,
    workload: &Workload,
    name: &str,
    investigation: &Investigation,
) -> Result<Did> {
    let backends = chosen_backends(workspace, &[name.to_owned()])?;
    setup::run(workspace, &backends)?;
    let engines = Engines::start(workspace, &backends)?;
    if let Some((_, why)) = engines.absent.first() {
        bail!("{why}");
    }
    let mut asking = Investigation::new(&engines, workload, investigation.left())?;
    let found: Found = asking.look()?;
    let verdict = found.verdicts.first().context("it was not asked")?;
    ensure!(
        !matches!(verdict, Verdict::NotAsked(_)),
        "it reads no file of this model"
    );
    let is_wrong = |symptom: &Symptom| match symptom {
        Symptom::Differs(place) => *place == 0,
        Symptom::Fails(failed) => failed.contains_key(&0),
        Symptom::SlowFirst(slow) => slow.place == 0,
    };
    Ok(Did {
        is_wrong: found.symptoms.iter().any(is_wrong),
        outputs: asking
            .of_whole(0, &Knobs::default())
            .and_then(Answer::outputs),
    })
}

/// Halves between the oldest version and the newest. Versions of which nothing is known are stepped over.
fn halve(
    versions: &[String],
    mut ask: impl FnMut(&str) -> State,
    is_out_of_time: impl Fn() -> bool,
) -> Since {
    let mut known: Vec<Option<State>> = vec![None; versions.len()];
    let mut state = |at: usize| *known[at].get_or_insert_with(|| ask(&versions[at]));
    let mut usable = |places: Vec<usize>| {
        let told = |at: usize| Some((at, state(at))).filter(|(_, is)| *is != State::Unknown);
        places.into_iter().find_map(told)
    };
    let Some((mut newer, is)) = usable((0..versions.len()).rev().collect()) else {
        return Since::Unknown;
    };
    if is == State::No {
        return Since::Never;
    }
    let Some((mut older, is)) = usable((0..=newer).collect()) else {
        return Since::Unknown;
    };
    if is == State::Yes {
        return Since::Always(versions[older].clone());
    }
    while newer - older > 1 {
        if is_out_of_time() {
            return Since::Open {
                older: versions[older].clone(),
                newer: versions[newer].clone(),
            };
        }
        let middle = usize::midpoint(older, newer);
        // The nearest to the middle that can be used.
        let mut between: Vec<usize> = (older + 1..newer).collect();
        between.sort_by_key(|at| at.abs_diff(middle));
        match usable(between) {
            Some((next, State::No)) => older = next,
            Some((next, _)) => newer = next,
            None => break,
        }
    }
    Since::Between {
        older: versions[older].clone(),
        newer: versions[newer].clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions 0 to 20, in which it is so from `first` on, and some cannot be used.
    fn found(first: usize, unknown: &[usize]) -> (Since, usize) {
        let versions: Vec<String> = (0..=20).map(|n| n.to_string()).collect();
        let mut asked = 0;
        let since = halve(
            &versions,
            |version| {
                asked += 1;
                let version: usize = version.parse().unwrap_or_default();
                match version {
                    _ if unknown.contains(&version) => State::Unknown,
                    _ if version >= first => State::Yes,
                    _ => State::No,
                }
            },
            || false,
        );
        (since, asked)
    }

    fn between(older: usize, newer: usize) -> Since {
        Since::Between {
            older: older.to_string(),
            newer: newer.to_string(),
        }
    }

    #[test]
    fn neighbours_are_found_in_few_steps() {
        for first in 1..=20 {
            let (since, asked) = found(first, &[]);
            assert_eq!(since, between(first - 1, first));
            assert!(asked <= 7, "{asked}");
        }
    }

    #[test]
    fn what_was_always_so_and_what_never_was_are_told_apart() {
        assert_eq!(found(0, &[]).0, Since::Always("0".into()));
        assert_eq!(found(21, &[]).0, Since::Never);
        assert_eq!(found(0, &[0, 1]).0, Since::Always("2".into()));
    }

    #[test]
    fn versions_that_cannot_be_used_are_stepped_over() {
        assert_eq!(found(10, &[9, 10, 11, 0, 20]).0, between(8, 12));
        assert_eq!(found(10, &(0..=20).collect::<Vec<_>>()).0, Since::Unknown);
    }

    #[test]
    fn what_the_time_does_not_suffice_for_is_open() {
        let versions: Vec<String> = (0..=20).map(|n| n.to_string()).collect();
        let ask = |version: &str| match version {
            "20" => State::Yes,
            _ => State::No,
        };
        let since = halve(&versions, ask, || true);
        let open = Since::Open {
            older: "0".into(),
            newer: "20".into(),
        };
        assert_eq!(since, open);
    }
}
