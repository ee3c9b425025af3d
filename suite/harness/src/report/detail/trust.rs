//! What the page about trust says: noise, what failed, and where the figures come from.

use std::{collections::BTreeSet, path::Path};

use firstpass_probe::ErrorKind;
use firstpass_statistics::Spread;
use firstpass_trial::{observation::Outcome, workspace::Workspace};
use minijinja::Value;
use serde::Serialize;

use crate::{
    page::{
        markdown,
        numbers::{brief, counted, lasted},
        table::Table,
        template::markdown as safe,
    },
    record::RunSettings,
    studies::first_passes::{
        analysis::Analysis,
        report::{Noise, noise},
    },
};

/// What the page says.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    /// Everything that was found to be wrong.
    findings: Vec<Value>,
    /// What did not run.
    incidents: Option<Value>,
    noise: Noise,
    provenance: Provenance,
}

/// Where the figures come from.
#[derive(Debug, Serialize)]
struct Provenance {
    record: Value,
    facts: Vec<Fact>,
    engines: Vec<Engine>,
    files: Value,
}

#[derive(Debug, Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

/// An engine as it describes itself.
#[derive(Debug, Serialize)]
struct Engine {
    name: String,
    version: String,
    binding: String,
    details: String,
}

/// What the page says.
pub(crate) fn trust(workspace: &Workspace, analysis: &Analysis) -> Page {
    let findings = analysis.findings();
    Page {
        findings: findings
            .iter()
            .map(|f| safe(markdown::sentence(&f.text)))
            .collect(),
        incidents: incidents(analysis),
        noise: noise(analysis),
        provenance: provenance(workspace, analysis),
    }
}

fn incidents(analysis: &Analysis) -> Option<Value> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (name, reason) in analysis.unavailable() {
        lines.push(vec![analysis.called(name), "–".into(), brief(reason)]);
    }
    lines.extend(analysis.incidents().map(|o| {
        let mut what = o.process.outcome.to_string();
        let last = o
            .process
            .stderr
            .lines()
            .rfind(|line| !line.trim().is_empty());
        // A failure that the probe itself explains needs no more.
        let explained =
            matches!(&o.process.outcome, Outcome::Failed(e) if e.kind != ErrorKind::Engine);
        if let (Some(last), false) = (last, explained) {
            what += &format!(" (last on standard error: {})", last.trim());
        }
        vec![
            analysis.called(&o.cell.backend),
            format!("{} ({})", o.cell.model, o.cell.format.key()),
            brief(&what),
        ]
    }));
    for model in analysis.models() {
        if let Some((referee, outcome)) = analysis.refusal(&model.name) {
            let name = format!("{referee} (the referee)");
            lines.push(vec![name, model.name.clone(), brief(&outcome.to_string())]);
        }
    }
    // The same of several processes is said once.
    let mut said = BTreeSet::new();
    lines.retain(|line| said.insert(line.clone()));
    let table = Table::new(["engine", "model", "what happened"]).rows(lines);
    (!table.is_empty()).then(|| table.page())
}

fn provenance(workspace: &Workspace, analysis: &Analysis) -> Provenance {
    let run = &analysis.record.run;
    let machine = &run.machine;
    let loads = Spread::of(
        analysis
            .record
            .observations()
            .map(|o| o.system_counters.load_average),
    );
    let temperatures = Spread::of(
        analysis
            .record
            .observations()
            .filter_map(|o| o.system_counters.temperature_c),
    );
    let mut facts = vec![
        (
            "measured",
            format!(
                "{}, {}",
                run.date,
                run.duration_s.map_or_else(
                    || "⚠ interrupted before its end".into(),
                    |s| format!("in {}", lasted(s))
                )
            ),
        ),
        (
            "processor",
            format!("{}, {}", machine.cpu, counted(machine.cores, "core")),
        ),
        ("instruction sets", machine.cpu_flags.join(" ")),
        ("memory", format!("{} MiB", machine.memory_mib)),
        (
            "system",
            format!("{}, kernel {}", machine.os, machine.kernel),
        ),
        (
            "frequency governor",
            machine
                .governor
                .clone()
                .unwrap_or_else(|| "not readable".into()),
        ),
        (
            "load average during the run",
            loads.map_or_else(
                || "–".into(),
                |l| format!("{:.1} ({:.1}–{:.1})", l.median, l.low, l.high),
            ),
        ),
        (
            "temperature",
            temperatures.map_or_else(
                || "not readable".into(),
                |t| format!("{:.0} °C ({:.0}–{:.0})", t.median, t.low, t.high),
            ),
        ),
        ("placement", affinity(&run.settings)),
        ("compiler", format!("{}, release profile", machine.rustc)),
        (
            "code",
            format!(
                "commit {}, measured sources {}",
                run.code.commit.as_deref().unwrap_or("unknown"),
                &run.code.measured_sha256.get(..16).unwrap_or_default()
            ),
        ),
    ];
    if !machine.environment.is_empty() {
        let variables: Vec<String> = machine
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        facts.push(("environment", variables.join(" ")));
    }
    let backends = analysis.record.backends.iter();
    let engines = backends.filter_map(|(name, backend)| {
        let engine = &backend.description.as_ref()?.engine;
        let details = engine.details.iter();
        let details = details.map(|(name, value)| format!("{name}: {value}"));
        let library = engine.library.as_ref().map(|path| {
            let file = Path::new(path).file_name();
            let file = file.map_or(path.into(), |file| file.to_string_lossy());
            format!("library: {file}")
        });
        Some(Engine {
            name: analysis.called(name),
            version: engine.version.clone(),
            binding: engine.binding.clone(),
            details: library
                .into_iter()
                .chain(details)
                .collect::<Vec<_>>()
                .join("; "),
        })
    });
    let files = run.files.iter().map(|(path, sha256)| {
        let first = sha256.get(..16).unwrap_or(sha256);
        let replaced = analysis.workload.replaced.values().any(|sum| sum == sha256);
        let note = if replaced {
            ", measured; another file lies there now"
        } else {
            ""
        };
        [path.display().to_string(), format!("`{first}`{note}")]
    });
    let record = firstpass_trial::workload::relative(workspace, &analysis.record.folder);
    Provenance {
        record: safe(markdown::code(&record.display().to_string())),
        facts: facts
            .into_iter()
            .map(|(name, value)| Fact { name, value })
            .collect(),
        engines: engines.collect(),
        files: Table::new(["file", "sha256 (first 16 digits)"])
            .rows(files)
            .page(),
    }
}

fn affinity(settings: &RunSettings) -> String {
    let pinned = if settings.affinity.pin {
        "each process pinned to as many CPUs as it has threads"
    } else {
        "wherever the scheduler put the processes"
    };
    match settings.affinity.nice {
        Some(nice) => format!("{pinned}, nice value {nice}"),
        None => pinned.into(),
    }
}
