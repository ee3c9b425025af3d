//! Where do the first passes spend their time? Processes that profile themselves by the engine's
//! own hooks, each beside a plain one that shows what the hooks cost.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use firstpass_probe::{Format, Knobs, Profile, Span, WARM_UP};
use firstpass_trial::machine::Machine;
use serde::{Deserialize, Serialize};

use crate::record::{code::Code, sidecar::Sidecar};

/// Raised when the meaning of these files changes.
pub const VERSION: u32 = 3;

/// Where it is kept.
pub const SIDECAR: Sidecar = Sidecar {
    name: "explain",
    version: VERSION,
};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExplainSettings {
    /// Processes of each variant.
    pub rounds: usize,
    /// Passes of each process.
    pub passes: usize,
    pub threads: usize,
    /// The time for all measuring, in s: after the first round no process is started once it is
    /// used up. Builds are not part of it.
    pub budget_s: f64,
}

/// `run.json`: what the measuring was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExplainRun {
    pub version: u32,
    /// When it began, in UTC.
    pub date: String,
    pub machine: Machine,
    pub code: Code,
    #[serde(flatten)]
    pub settings: ExplainSettings,
    /// The photograph that all passes are on.
    pub image: String,
}

/// How a process ran the passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// With the engine's own hooks.
    Profiled,
    /// As in every report.
    Plain,
}

/// One process, as one line of a backend's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainProcess {
    pub variant: Variant,
    /// Both processes of a round ran one after the other; ratios are taken within a round.
    pub round: usize,
    /// `None` where the backend failed before a model was chosen for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// `None` where the engine reads no file of the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    pub threads: usize,
    /// What was set besides: tuned settings, or nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub knobs: Knobs,
    /// The engine's version, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// One-minute load average of the machine just before the process was started.
    pub load_average: f64,
    /// Of a profiled process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Of a plain process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<Span>,
    /// Why there is nothing; `None` where all went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

fn is_default(knobs: &Knobs) -> bool {
    *knobs == Knobs::default()
}

/// All that was measured.
#[derive(Debug, Clone)]
pub struct Explain {
    pub run: ExplainRun,
    /// By backend, in the order in which they ran.
    pub processes: BTreeMap<String, Vec<ExplainProcess>>,
}

/// A setting without its warm-up pass, which would hide the pass that a profile is of.
pub fn without_warm_up(knobs: &Knobs) -> Knobs {
    let settings = knobs.settings();
    settings.filter(|(name, _)| *name != WARM_UP).collect()
}

/// Reads what was measured beside a record; `None` where nothing was.
///
/// # Errors
/// Fails where a file is there and cannot be read, or is of another version.
pub fn read(record: &Path) -> Result<Option<Explain>> {
    let kept = SIDECAR.read(record)?;
    Ok(kept.map(|(run, processes)| Explain { run, processes }))
}

#[cfg(test)]
pub(crate) mod tests {
    use anyhow::Context;
    use firstpass_probe::{ProfiledOperator, ProfiledPass};

    use super::*;

    pub(crate) fn run() -> ExplainRun {
        ExplainRun {
            version: VERSION,
            date: "2026-01-01T00:00:00Z".into(),
            machine: Machine::observe(),
            code: Code::default(),
            settings: ExplainSettings {
                rounds: 5,
                passes: 12,
                threads: 1,
                budget_s: 600.0,
            },
            image: "photo".into(),
        }
    }

    pub(crate) fn process(variant: Variant, round: usize) -> ExplainProcess {
        ExplainProcess {
            variant,
            round,
            model: Some("m".into()),
            format: Some(Format::ONNX),
            threads: 1,
            knobs: Knobs::default(),
            engine: Some("1.2".into()),
            load_average: 0.5,
            profile: None,
            passes: Vec::new(),
            failure: None,
        }
    }

    pub(crate) fn operator(layer: &str, kind: &str) -> ProfiledOperator {
        ProfiledOperator {
            layer: layer.into(),
            kind: kind.into(),
        }
    }

    #[test]
    fn a_warm_up_pass_is_no_part_of_what_is_profiled() {
        let other = Knobs::default().with("fusion", "off");
        assert_eq!(without_warm_up(&other), other);
        assert_eq!(without_warm_up(&other.clone().with(WARM_UP, "full")), other);
    }

    #[test]
    fn what_was_written_can_be_read() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(read(dir.path())?.is_none());
        let mut recorder = SIDECAR.begin(dir.path(), dir.path(), &run())?;
        let mut profiled = process(Variant::Profiled, 0);
        let pass = ProfiledPass {
            span: Span::default(),
            self_ns: vec![5],
            minor_faults: vec![1],
            counts: BTreeMap::from([("nodes".into(), 3)]),
        };
        let operators = vec![operator("a", "conv")];
        profiled.profile = Some(Profile::new("a hook", operators, vec![pass]));
        let mut plain = process(Variant::Plain, 0);
        plain.knobs = Knobs::default().with("fusion", "off");
        plain.passes.push(Span::default());
        recorder.write("x", &profiled)?;
        recorder.write("x", &plain)?;
        recorder.finish()?;
        let read = read(dir.path())?.context("nothing there")?;
        assert_eq!(read.run.settings, run().settings);
        assert_eq!(read.processes["x"], [profiled, plain]);
        Ok(())
    }
}
