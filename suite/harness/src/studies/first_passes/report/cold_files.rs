//! Cold starts after the model, the library and the probe were taken out of the page cache.

use minijinja::Value;
use serde::Serialize;

use super::tables::{interval, phases};
use crate::{
    page::{numbers::milliseconds, table::Table},
    studies::first_passes::{
        analysis::{Analysis, Row},
        judge::latency::Phase,
    },
};

/// Cold starts of one model, with warm and with cold files.
#[derive(Debug, Serialize)]
pub(super) struct ColdFiles {
    table: Value,
    /// Why some files may have stayed in the page cache.
    notes: Vec<Note>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Note {
    label: String,
    reason: String,
}

/// What a process with cold files goes through: it is over before its warm-up is.
const COLD_PHASES: [Phase; 5] = [
    Phase::ProcessStart,
    Phase::EngineStart,
    Phase::Load,
    Phase::Prepare,
    Phase::Pass1,
];

/// `None` where no engine was started with cold files.
pub(super) fn cold_files(analysis: &Analysis, rows: &[Row]) -> Option<ColdFiles> {
    let mut lines = Vec::new();
    let mut notes: Vec<Note> = Vec::new();
    for row in rows {
        let Some(cold) = &row.cold else { continue };
        let warm = row.latency.get(&cold.cell.threads());
        let evictions: Vec<_> = analysis
            .record
            .observations()
            .filter(|o| o.cell == cold.cell)
            .filter_map(|o| o.eviction.as_ref())
            .collect();
        let files = evictions.first().map_or(0, |e| e.files);
        let bytes = evictions.first().map_or(0, |e| e.bytes);
        let resident = evictions.iter().map(|e| e.resident_bytes).max().flatten();
        let unknown = evictions.iter().any(|e| e.resident_bytes.is_none());
        for reason in evictions.iter().flat_map(|e| &e.reasons) {
            let note = Note {
                label: row.label.clone(),
                reason: reason.clone(),
            };
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        for (files_are, latency) in [("warm", warm), ("cold", Some(cold))] {
            let Some(latency) = latency else { continue };
            let mut line = vec![row.label.clone(), files_are.into()];
            // A process with cold files is over before its warm-up is.
            line.extend(phases(latency, &COLD_PHASES));
            line.push(interval(latency.cold_start.as_ref(), milliseconds));
            line.push(match (files_are, resident) {
                ("warm", _) => "–".into(),
                (_, Some(left)) if !unknown => format!(
                    "{files} files, {:.1} MiB; {:.1} MiB stayed",
                    mib(bytes),
                    mib(left)
                ),
                _ => format!(
                    "{files} files, {:.1} MiB; ⚠ unknown how much stayed",
                    mib(bytes)
                ),
            });
            lines.push(line);
        }
    }
    if lines.is_empty() {
        return None;
    }
    let mut header = vec!["engine".to_owned(), "files".into()];
    header.extend(COLD_PHASES.iter().map(ToString::to_string));
    header.extend(["cold start", "taken out of the page cache"].map(String::from));
    Some(ColdFiles {
        table: Table::new(header).rows(lines).page(),
        notes,
    })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
