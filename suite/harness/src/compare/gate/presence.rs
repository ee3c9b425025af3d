//! What was to run and did not.

use std::collections::BTreeMap;

use firstpass_trial::observation::{Cell, Outcome};

use crate::{
    compare::selection::Selection,
    record::{Record, RunSettings, Stop},
    studies::first_passes::judge::latency::Latency,
};

/// Engines that were asked for, or that the baseline has, and of which there is nothing.
pub(super) fn missing_engines<'a>(
    record: &'a Record,
    before: &'a BTreeMap<Cell, Latency>,
    selection: &'a Selection,
) -> BTreeMap<&'a str, String> {
    let of_baseline = before.keys().filter(|cell| selection.has(cell));
    let expected = of_baseline.map(|cell| &cell.backend);
    let absent = expected
        .chain(&selection.backends)
        .filter(|engine| !record.backends.contains_key(*engine))
        .map(|engine| (engine.as_str(), "nothing: it did not run".to_owned()));
    let unavailable = record.backends.iter().filter_map(|(engine, backend)| {
        let reason = match &backend.unavailable {
            Some(reason) => format!("unavailable: {reason}"),
            None if backend.is_empty() => "nothing: its file in the record is empty".into(),
            None => return None,
        };
        Some((engine.as_str(), reason))
    });
    absent
        .chain(unavailable.filter(|(engine, _)| selection.has_engine(engine)))
        .collect()
}

/// Cells of which a process did not complete, with how many and how the first of them ended.
pub(super) fn failed_cells<'a>(
    record: &'a Record,
    selection: &Selection,
) -> BTreeMap<&'a Cell, String> {
    let mut outcomes: BTreeMap<&Cell, Vec<&Outcome>> = BTreeMap::new();
    for observation in record.observations().filter(|o| selection.has(&o.cell)) {
        let of_cell = outcomes.entry(&observation.cell).or_default();
        of_cell.push(&observation.process.outcome);
    }
    let words = |outcomes: &[&Outcome]| {
        let mut failed = outcomes.iter().filter(|o| ***o != Outcome::Completed);
        let first = failed.next()?;
        let failed = failed.count() + 1;
        Some(format!("{failed} of {} processes: {first}", outcomes.len()))
    };
    let outcomes = outcomes.into_iter();
    outcomes
        .filter_map(|(cell, outcomes)| Some((cell, words(&outcomes)?)))
        .collect()
}

/// Cells whose every process failed as its engine declares.
pub(super) fn refused_cells<'a>(record: &'a Record, selection: &Selection) -> Vec<&'a Cell> {
    let of = |cell: &&Cell| {
        let mut outcomes = record
            .observations()
            .filter(|o| o.cell == **cell)
            .peekable();
        outcomes.peek().is_some() && outcomes.all(|o| selection.expects(cell, &o.process.outcome))
    };
    let cells = record.cells().into_iter();
    cells
        .filter(|cell| selection.has(cell))
        .filter(of)
        .collect()
}

/// Why a run measured a cell no further.
pub(super) fn stop(record: &Record, cell: &Cell) -> Option<Stop> {
    let stops = &record.backends.get(&cell.backend)?.stops;
    let stop = stops.iter().find(|(stopped, _)| stopped == cell);
    stop.map(|(_, stop)| *stop)
}

/// Whether a cell of a baseline is one that this run was to measure as well.
pub(super) fn was_asked(record: &Record, cell: &Cell) -> bool {
    let settings: &RunSettings = &record.run.settings;
    let cells = record.cells();
    let variants = settings.variants.get(&cell.backend).into_iter().flatten();
    let is_setting = cell.is_default()
        || variants.into_iter().any(|knobs| {
            let wanted = cell.knobs.settings();
            knobs.settings().eq(wanted)
        });
    let mut of_model = cells.iter().filter(|other| other.model == cell.model);
    let has_model = of_model.clone().next().is_some();
    let only_other_format = settings.first_format_only
        && of_model.any(|other| other.backend == cell.backend && other.format != cell.format);
    has_model
        && is_setting
        && !only_other_format
        && settings.threads.contains(&cell.threads())
        && (settings.cold_files || !cell.cold_files)
        && cell.entry < settings.entries
}
