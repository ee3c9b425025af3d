//! Whether a record keeps within limits: a regression, none, or not to be told yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Result, ensure};
use firstpass_statistics::comparison::{Comparison, INTERVAL, normal_quantile, spent, sure};
use firstpass_trial::observation::{Cell, Outcome};

use crate::{
    compare::{
        changes::{changes, latencies},
        changes_report::cell_name,
        limits::{Growth, Limits, Times},
        selection::Selection,
    },
    record::{Record, RunSettings, Stop},
    studies::first_passes::judge::{
        headlines::{Answer, Asked},
        latency::{Figure, Latency},
    },
};

/// How often a limit may be called broken, over all checks of a gate, or kept, of a single one, where the
/// truth lies just at the other side of it. A truth farther off is mistaken far more rarely.
const WRONG: f64 = 1.0 - INTERVAL;

/// What is said of one limit on one cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GateVerdict {
    /// The figure is below its limit.
    Kept,
    /// It may lie on either side.
    Undecided,
    /// The figure is above its limit, or what was to run did not.
    Broken,
}

impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "kept",
            Self::Undecided => "undecided",
            Self::Broken => "broken",
        })
    }
}

/// What a check is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// All that was measured.
    Record,
    /// All of an engine.
    Engine(String),
    Cell(Cell),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => f.write_str("the record"),
            Self::Engine(name) => f.write_str(name),
            Self::Cell(cell) => f.write_str(&cell_name(cell)),
        }
    }
}

/// What a check saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// A ratio that must not be above a limit.
    Ratio {
        limit: f64,
        ratio: f64,
        interval: (f64, f64),
        /// What would decide it, where it is undecided.
        forecast: Option<Forecast>,
    },
    /// Why there is no ratio.
    Nothing(String),
}

/// What it would take to decide a check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Forecast {
    /// About so many more processes, which take about so many seconds.
    Processes { more: usize, seconds: f64 },
    /// The baseline has too few processes, however many the later record gets.
    LargerBaseline,
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Processes { more, seconds } => write!(
                f,
                "about {more} more process{} would tell ({:.0} s)",
                if *more == 1 { "" } else { "es" },
                seconds.ceil()
            ),
            Self::LargerBaseline => f.write_str(
                "no number of processes would tell: the baseline has too few, measure it longer",
            ),
        }
    }
}

/// One limit on one cell, or that it should have run.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    pub subject: Subject,
    /// `pass 1 / steady`, `steady against the baseline`.
    pub what: String,
    pub finding: Finding,
    pub verdict: GateVerdict,
}

/// All checks of a gate.
#[derive(Debug, Default)]
pub struct Judged {
    pub checks: Vec<Check>,
    /// Cells of the baseline that the record was not asked to measure.
    pub not_asked: Vec<Cell>,
    /// Cells that their engines declare that they refuse.
    pub refused: Vec<Cell>,
}

/// Checks what is selected of a record; against a baseline, what that has must be there.
///
/// # Errors
/// Fails where there is nothing to check: that is no verdict.
pub fn judge(
    record: &Record,
    baseline: Option<&Record>,
    limits: &Limits,
    selection: &Selection,
) -> Result<Judged> {
    let now = latencies(record);
    let before = baseline.map(latencies).unwrap_or_default();
    let mut judged = Judged::default();
    let missing = missing_engines(record, &before, selection);
    let mut failed = failed_cells(record, selection);
    // What ran in the baseline has to run.
    let refused: Vec<&Cell> = refused_cells(record, selection)
        .into_iter()
        .filter(|cell| !before.contains_key(*cell))
        .collect();
    failed.retain(|cell, _| !refused.contains(cell));
    judged.refused = refused.iter().map(|cell| (*cell).clone()).collect();
    judged.checks.extend(missing.iter().map(|(engine, reason)| {
        did_not_run(
            Subject::Engine((*engine).into()),
            reason.clone(),
            GateVerdict::Broken,
        )
    }));
    judged.checks.extend(failed.iter().map(|(cell, reason)| {
        did_not_run(
            Subject::Cell((*cell).clone()),
            reason.clone(),
            GateVerdict::Broken,
        )
    }));
    let expected: BTreeSet<&Cell> = record.cells().into_iter().chain(before.keys()).collect();
    for cell in expected {
        let is_judged = now.contains_key(cell)
            || failed.contains_key(cell)
            || refused.contains(&cell)
            || missing.contains_key(cell.backend.as_str());
        if is_judged || !selection.has(cell) || !limits.concern(cell) {
            continue;
        }
        let stop = stop(record, cell);
        if stop.is_none() && !was_asked(record, cell) {
            judged.not_asked.push(cell.clone());
            continue;
        }
        let (verdict, reason) = match stop {
            Some(Stop::Budget) => (GateVerdict::Undecided, "no time was left for it"),
            _ => (GateVerdict::Broken, "nothing: it did not run"),
        };
        judged.checks.push(did_not_run(
            Subject::Cell(cell.clone()),
            reason.into(),
            verdict,
        ));
    }
    let whole = |cell: &&Cell| selection.has(cell) && !failed.contains_key(*cell);
    let questions = questions(&now, &before, limits, whole);
    judged.checks.extend(answers(&questions));
    ensure!(
        !judged.checks.is_empty(),
        "nothing to judge: no cell of {} answers to what was asked for; there is: {}",
        record.folder.display(),
        names(record.cells())
    );
    if record.run.duration_s.is_none() {
        judged.checks.push(Check {
            subject: Subject::Record,
            what: "is whole".into(),
            finding: Finding::Nothing("it was interrupted: what it lacks is not known".into()),
            verdict: GateVerdict::Undecided,
        });
    }
    Ok(judged)
}

/// The worst of all checks.
pub fn overall(checks: &[Check]) -> GateVerdict {
    let worst = checks.iter().map(|c| c.verdict).max();
    worst.unwrap_or(GateVerdict::Undecided)
}

/// What a gate asks while it measures by itself: whether limits are kept, of what was measured so far. What a
/// larger baseline alone would tell is not asked.
pub fn ask(latencies: &[Latency], before: &BTreeMap<Cell, Latency>, limits: &Limits) -> Asked {
    let now: BTreeMap<Cell, Latency> = latencies
        .iter()
        .map(|latency| (latency.cell.clone(), latency.clone()))
        .collect();
    let checks = answers(&questions(&now, before, limits, |_| true));
    let open = checks.iter().filter_map(|check| {
        let (Subject::Cell(cell), Finding::Ratio { forecast, .. }) =
            (&check.subject, &check.finding)
        else {
            return None;
        };
        let Forecast::Processes { more, .. } = (*forecast)? else {
            return None;
        };
        Some(Answer::Open {
            cells: BTreeSet::from([cell.clone()]),
            rounds: Some(now.get(cell)?.processes.len() + more),
        })
    });
    Asked {
        open: open.collect(),
        all: checks.len(),
    }
}

fn names(cells: BTreeSet<&Cell>) -> String {
    let names: Vec<String> = cells.into_iter().map(cell_name).collect();
    if names.is_empty() {
        "no cell at all".into()
    } else {
        names.join("; ")
    }
}

fn did_not_run(subject: Subject, reason: String, verdict: GateVerdict) -> Check {
    Check {
        subject,
        what: "runs".into(),
        finding: Finding::Nothing(reason),
        verdict,
    }
}

/// Engines that were asked for, or that the baseline has, and of which there is nothing.
fn missing_engines<'a>(
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
fn failed_cells<'a>(record: &'a Record, selection: &Selection) -> BTreeMap<&'a Cell, String> {
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
fn refused_cells<'a>(record: &'a Record, selection: &Selection) -> Vec<&'a Cell> {
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
fn stop(record: &Record, cell: &Cell) -> Option<Stop> {
    let stops = &record.backends.get(&cell.backend)?.stops;
    let stop = stops.iter().find(|(stopped, _)| stopped == cell);
    stop.map(|(_, stop)| *stop)
}

/// Whether a cell of a baseline is one that this run was to measure as well.
fn was_asked(record: &Record, cell: &Cell) -> bool {
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

/// Whether a ratio is above its limit.
struct Question<'a> {
    cell: &'a Cell,
    what: String,
    limit: f64,
    /// With the part of its error that stays as it is, and how long a process takes, in s; or why there is
    /// none.
    ratio: Result<(Comparison, f64, f64), &'static str>,
}

fn questions<'a>(
    now: &'a BTreeMap<Cell, Latency>,
    before: &BTreeMap<Cell, Latency>,
    limits: &Limits,
    is_asked: impl Fn(&&Cell) -> bool,
) -> Vec<Question<'a>> {
    let mut questions = Vec::new();
    let asked = || now.iter().filter(|(cell, _)| is_asked(cell));
    if let Some(Times(limit)) = limits.first_pass {
        for (cell, latency) in asked().filter(|(cell, _)| !cell.cold_files) {
            let first = latency.first_over_steady;
            questions.push(Question {
                cell,
                what: "pass 1 / steady".into(),
                limit,
                ratio: first
                    .map(|first| (first.0, 0.0, process_seconds(latency)))
                    .ok_or("no process has both"),
            });
        }
    }
    for (figure, limit) in [
        (Figure::Steady, limits.steady),
        (Figure::ColdStart, limits.cold_start),
    ] {
        let Some(Growth(limit)) = limit else { continue };
        let changes = changes(before, now, figure);
        let comparable = |cell: &Cell| before.contains_key(cell) && concerns(figure, cell);
        for (cell, latency) in asked().filter(|(cell, _)| comparable(cell)) {
            let change = changes.iter().find(|change| change.cell == *cell);
            questions.push(Question {
                cell,
                what: format!("{figure} against the baseline"),
                limit: 1.0 + limit,
                ratio: change
                    .map(|c| (c.comparison, c.error_before, process_seconds(latency)))
                    .ok_or("one of the records does not tell it"),
            });
        }
    }
    questions
}

/// Whether a cell has this figure: with cold files a process is over before it could be steady.
fn concerns(figure: Figure, cell: &Cell) -> bool {
    figure == Figure::ColdStart || !cell.cold_files
}

impl Limits {
    /// Whether there is a limit on any figure of a cell.
    fn concern(&self, cell: &Cell) -> bool {
        self.cold_start.is_some() || !cell.cold_files
    }
}

/// What a process of a cell takes from its spawn to its end, in s.
fn process_seconds(latency: &Latency) -> f64 {
    let whole = latency.processes.iter().map(|process| {
        let later: f64 = process.times.iter().skip(1).sum();
        (process.cold_start.unwrap_or(0.0) + later) / 1000.0
    });
    firstpass_statistics::median(whole).unwrap_or(0.0)
}

/// Each limit is tested on one side, and a gate looks again and again while it measures, so that each look
/// has a share of the level. All limits that are called broken are one family, so that a gate with many
/// cells cries wolf no more often than one with few.
fn answers(questions: &[Question]) -> Vec<Check> {
    let p_above = |question: &Question| match &question.ratio {
        Ok((comparison, ..)) => comparison.p_above(question.limit),
        Err(_) => 1.0,
    };
    let share = |question: &Question| match &question.ratio {
        Ok((comparison, ..)) => spent(comparison.samples),
        Err(_) => 1.0,
    };
    let p: Vec<f64> = questions.iter().map(p_above).collect();
    let at_this_look: Vec<f64> = questions
        .iter()
        .zip(&p)
        .map(|(question, p)| (p / share(question)).min(1.0))
        .collect();
    let broken = sure(&at_this_look, WRONG);
    let all = questions.iter().zip(p).zip(broken);
    all.map(|((question, p), broken)| {
        let (verdict, finding) = match question.ratio {
            Err(why) => (GateVerdict::Undecided, Finding::Nothing(why.into())),
            Ok((comparison, fixed, seconds)) => {
                let verdict = match broken {
                    true => GateVerdict::Broken,
                    false if 1.0 - p <= WRONG * share(question) => GateVerdict::Kept,
                    false => GateVerdict::Undecided,
                };
                let forecast = (verdict == GateVerdict::Undecided).then(|| {
                    forecast(&comparison, question.limit, fixed, seconds, questions.len())
                });
                let finding = Finding::Ratio {
                    limit: question.limit,
                    ratio: comparison.ratio,
                    interval: comparison.interval,
                    forecast,
                };
                (verdict, finding)
            }
        };
        Check {
            subject: Subject::Cell(question.cell.clone()),
            what: question.what.clone(),
            finding,
            verdict,
        }
    })
    .collect()
}

/// What more processes would do if the ratio stayed as it is: they lessen the error but for the part
/// that the baseline has.
fn forecast(
    comparison: &Comparison,
    limit: f64,
    fixed: f64,
    process_s: f64,
    all: usize,
) -> Forecast {
    let distance = comparison.ratio.ln() - limit.ln();
    // What breaks a limit has to stand out among all.
    let wrong = if distance > 0.0 {
        WRONG / all as f64
    } else {
        WRONG
    };
    let wanted = distance.abs() / normal_quantile(1.0 - wrong * spent(comparison.samples));
    let of_processes = comparison.error().powi(2) - fixed.powi(2);
    let allowed = wanted.powi(2) - fixed.powi(2);
    if fixed > 0.0 && allowed <= 0.0 {
        return Forecast::LargerBaseline;
    }
    let now = comparison.samples as f64;
    let more = (now * of_processes / allowed - now).ceil();
    let more = (more.max(1.0) as usize).min(MOST_FORECAST);
    Forecast::Processes {
        more,
        seconds: more as f64 * process_s,
    }
}

/// A ratio that lies on its limit could be measured for ever.
const MOST_FORECAST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::{BackendRecord, tests::record},
        studies::first_passes::judge::latency::tests::{observation, times},
    };

    fn runs_with(noise: &[f64], first: f64, level: f64) -> Record {
        let process =
            |(round, factor): (usize, &f64)| observation(round, &times(&[first], level * factor));
        record(noise.iter().enumerate().map(process).collect())
    }

    fn runs(first: f64, level: f64) -> Record {
        runs_with(
            &[1.0, 1.01, 0.99, 1.005, 0.995, 1.002].repeat(3),
            first,
            level,
        )
    }

    fn first_pass(limit: f64) -> Limits {
        Limits {
            first_pass: Some(Times(limit)),
            ..Limits::default()
        }
    }

    fn steady(limit: f64) -> Limits {
        Limits {
            steady: Some(Growth(limit)),
            ..Limits::default()
        }
    }

    fn checks(record: &Record, baseline: Option<&Record>, limits: &Limits) -> Vec<Check> {
        let judged = judge(record, baseline, limits, &Selection::default());
        judged.expect("there is something to judge").checks
    }

    #[test]
    fn regressions_are_told_from_none() {
        let limits = Limits {
            first_pass: Some(Times(3.0)),
            steady: Some(Growth(0.05)),
            cold_start: Some(Growth(0.1)),
        };
        let baseline = runs(20.0, 10.0);
        let verdict = |record: &Record| overall(&checks(record, Some(&baseline), &limits));
        assert_eq!(verdict(&runs(20.0, 10.05)), GateVerdict::Kept);
        assert_eq!(verdict(&runs(20.0, 12.0)), GateVerdict::Broken, "steady");
        assert_eq!(
            verdict(&runs(40.0, 10.0)),
            GateVerdict::Broken,
            "first pass"
        );
        assert_eq!(verdict(&runs(20.0, 10.5)), GateVerdict::Undecided);
    }

    #[test]
    fn a_record_keeps_every_limit_against_itself_however_noisy_it_is() {
        let noise = [1.0, 1.6, 0.7, 1.3];
        let (noisy, again) = (runs_with(&noise, 20.0, 10.0), runs_with(&noise, 20.0, 10.0));
        let verdict = |record: &Record| overall(&checks(record, Some(&noisy), &steady(0.05)));
        assert_eq!(verdict(&again), GateVerdict::Kept);
        let other = runs_with(&[1.1, 1.5, 0.8, 1.2], 20.0, 10.0);
        assert_eq!(verdict(&other), GateVerdict::Undecided);
    }

    /// A process of a slow engine is all that there is time for.
    #[test]
    fn one_process_decides_what_is_far_from_the_limit() {
        let one = runs_with(&[1.0], 50.0, 10.0);
        let verdict = |limit: f64| overall(&checks(&one, None, &first_pass(limit)));
        assert_eq!(verdict(20.0), GateVerdict::Kept);
        assert_eq!(verdict(2.0), GateVerdict::Broken);
        assert_eq!(verdict(5.2), GateVerdict::Undecided);
    }

    #[test]
    fn an_undecided_check_says_what_would_decide_it() {
        let processes = |record: &Record, limit: f64| {
            let checks = checks(record, None, &first_pass(limit));
            assert_eq!(overall(&checks), GateVerdict::Undecided, "{checks:?}");
            match &checks[0].finding {
                Finding::Ratio {
                    forecast: Some(Forecast::Processes { more, seconds }),
                    ..
                } => (*more, *seconds),
                other => panic!("no forecast: {other:?}"),
            }
        };
        let noisy = runs_with(&[1.0, 1.2, 0.85], 50.0, 10.0);
        let (far, seconds) = processes(&noisy, 5.5);
        let (near, _) = processes(&noisy, 5.1);
        assert!((1..100).contains(&far) && near > 4 * far, "{far}, {near}");
        assert!((seconds / far as f64 / 0.39 - 1.0).abs() < 0.1, "{seconds}");
        // A baseline of one process knows its own time no better than by a tenth.
        let baseline = runs_with(&[1.0], 50.0, 10.0);
        let checks = checks(&runs(50.0, 10.0), Some(&baseline), &steady(0.05));
        let text = format!("{:?}", checks[0].finding);
        assert!(text.contains("LargerBaseline"), "{text}");
    }

    /// It goes on where more processes would tell, and nowhere else.
    #[test]
    fn while_it_measures_it_asks_what_is_undecided() {
        let noisy = runs_with(&[1.0, 1.2, 0.85], 50.0, 10.0);
        let measured: Vec<Latency> = latencies(&noisy).into_values().collect();
        let open = |limits: &Limits, before: &BTreeMap<Cell, Latency>| {
            let asked = ask(&measured, before, limits);
            assert_eq!(asked.all, 1);
            asked.open.len()
        };
        let nothing = BTreeMap::new();
        assert_eq!(open(&first_pass(5.5), &nothing), 1);
        assert_eq!(open(&first_pass(50.0), &nothing), 0, "it is kept");
        assert_eq!(open(&first_pass(1.1), &nothing), 0, "it is broken");
        // A baseline of one process knows its own time no better than by a tenth.
        let baseline = latencies(&runs_with(&[1.0], 50.0, 10.0));
        assert_eq!(
            open(&steady(0.05), &baseline),
            0,
            "no process of ours tells"
        );
    }

    #[test]
    fn one_limit_of_many_is_not_broken_by_chance() {
        let question = |cell, ratio: f64| {
            let sample = firstpass_statistics::comparison::LogSample::of(
                [0.9, 1.0, 1.1, 0.95, 1.05]
                    .repeat(2)
                    .into_iter()
                    .map(|x: f64| (x * ratio).ln()),
            );
            let comparison = Comparison::paired(
                &sample.expect("ten values"),
                &firstpass_statistics::moderation::Prior::UNKNOWN,
                firstpass_statistics::comparison::Rule::separate(0.05),
            );
            Question {
                cell,
                what: "x".into(),
                limit: 1.0,
                ratio: Ok((comparison, 0.0, 1.0)),
            }
        };
        let cell = observation(0, &[1.0]).cell;
        let verdicts = |others: usize| {
            let mut all = vec![question(&cell, 1.1)];
            all.extend((0..others).map(|_| question(&cell, 0.5)));
            answers(&all).iter().map(|c| c.verdict).collect::<Vec<_>>()
        };
        assert_eq!(verdicts(0), [GateVerdict::Broken]);
        assert_eq!(
            verdicts(100)[..2],
            [GateVerdict::Undecided, GateVerdict::Kept]
        );
    }

    #[test]
    fn what_failed_or_did_not_run_is_broken() {
        let limits = first_pass(20.0);
        let mut crashed = observation(6, &[]);
        crashed.process.outcome = Outcome::NotStarted("no such file".into());
        let mut all = runs(20.0, 10.0);
        let backend = all.backends.get_mut("x").expect("it is there");
        backend.observations.push(crashed.clone());
        let found = checks(&all, None, &limits);
        assert_eq!(overall(&found), GateVerdict::Broken);
        assert_eq!(
            found[0].finding,
            Finding::Nothing("1 of 19 processes: could not be started: no such file".into())
        );
        let only_crashed = record(vec![crashed]);
        assert_eq!(
            overall(&checks(&only_crashed, None, &limits)),
            GateVerdict::Broken
        );
        let mut unavailable = runs(20.0, 10.0);
        unavailable.backends.insert(
            "y".into(),
            BackendRecord {
                unavailable: Some("no library".into()),
                ..BackendRecord::default()
            },
        );
        let found = checks(&unavailable, None, &limits);
        assert_eq!(found[0].subject, Subject::Engine("y".into()));
        assert_eq!(overall(&found), GateVerdict::Broken);
        let asked = Selection {
            backends: vec!["x".into(), "y".into()],
            ..Selection::default()
        };
        let good = runs(20.0, 10.0);
        let verdict = |selection: &Selection| {
            let judged = judge(&good, None, &limits, selection).expect("something to judge");
            overall(&judged.checks)
        };
        assert_eq!(verdict(&asked), GateVerdict::Broken, "y did not run");
        assert_eq!(verdict(&Selection::default()), GateVerdict::Kept);
    }

    /// One that is named, one with other words and one that has run before are broken all the same.
    #[test]
    fn what_an_engine_declares_that_it_refuses_is_not_broken() {
        let mut refuses = observation(6, &[]);
        refuses.process.outcome =
            Outcome::Failed(firstpass_probe::Error::engine("no type i8 here"));
        refuses.cell.backend = "y".into();
        let mut all = runs(20.0, 10.0);
        let with = |observation: firstpass_trial::observation::Observation| BackendRecord {
            observations: vec![observation],
            ..BackendRecord::default()
        };
        all.backends.insert("y".into(), with(refuses.clone()));
        let declared = |words: &str| Selection {
            refusals: vec![(
                "y".into(),
                firstpass_trial::known::Refusal {
                    words: words.into(),
                    reason: String::new(),
                    models: vec![refuses.cell.model.clone()],
                    format: refuses.cell.format,
                },
            )],
            ..Selection::default()
        };
        let verdict = |baseline: Option<&Record>, selection: &Selection| {
            let limits = first_pass(20.0);
            let judged = judge(&all, baseline, &limits, selection).expect("something to judge");
            (overall(&judged.checks), judged.refused.len())
        };
        assert_eq!(
            verdict(None, &declared("no type i8")),
            (GateVerdict::Kept, 1)
        );
        assert_eq!(
            verdict(None, &declared("no operator")),
            (GateVerdict::Broken, 0)
        );
        assert_eq!(
            verdict(None, &Selection::default()),
            (GateVerdict::Broken, 0)
        );
        let named = Selection {
            backends: vec!["x".into(), "y".into()],
            ..declared("no type i8")
        };
        assert_eq!(verdict(None, &named), (GateVerdict::Broken, 0));
        let mut ran = runs(20.0, 10.0);
        let mut observations = ran.backends["x"].observations.clone();
        for observation in &mut observations {
            observation.cell.backend = "y".into();
        }
        let before = BackendRecord {
            observations,
            ..BackendRecord::default()
        };
        ran.backends.insert("y".into(), before);
        let judged = verdict(Some(&ran), &declared("no type i8"));
        assert_eq!(judged, (GateVerdict::Broken, 0));
    }

    #[test]
    fn what_the_baseline_has_must_run() {
        let baseline = runs(20.0, 10.0);
        let other_engine = |record: &Record| {
            let mut observations: Vec<_> = record.observations().cloned().collect();
            observations
                .iter_mut()
                .for_each(|o| o.cell.backend = "y".into());
            crate::record::tests::record(observations)
        };
        let gone = checks(&other_engine(&baseline), Some(&baseline), &first_pass(20.0));
        assert_eq!(gone[0].subject, Subject::Engine("x".into()));
        assert_eq!(overall(&gone), GateVerdict::Broken);

        // A cell that the later run was to measure, and one that it was not.
        let with_threads = |threads: usize| {
            let mut observations: Vec<_> = runs(20.0, 10.0).observations().cloned().collect();
            for observation in &mut observations {
                let knobs = observation.cell.knobs.clone();
                observation.cell.knobs = knobs.with(firstpass_probe::THREADS, threads);
            }
            observations
        };
        let both = record([with_threads(1), with_threads(2)].concat());
        let mut one = record(with_threads(1));
        let judged = |one: &Record| {
            let judged = judge(one, Some(&both), &steady(0.05), &Selection::default());
            judged.expect("something to judge")
        };
        assert_eq!(judged(&one).not_asked.len(), 1);
        assert_eq!(overall(&judged(&one).checks), GateVerdict::Kept);
        one.run.settings.threads = vec![1, 2];
        assert_eq!(judged(&one).not_asked.len(), 0);
        assert_eq!(overall(&judged(&one).checks), GateVerdict::Broken);
        // There was no time for it: that is no fault, and no pass.
        let absent = with_threads(2).remove(0).cell;
        let backend = one.backends.get_mut("x").expect("it is there");
        backend.stops.push((absent, Stop::Budget));
        assert_eq!(overall(&judged(&one).checks), GateVerdict::Undecided);
    }

    #[test]
    fn a_gate_with_nothing_to_judge_is_an_error() {
        let limits = first_pass(3.0);
        let nothing = record(Vec::new());
        assert!(judge(&nothing, None, &limits, &Selection::default()).is_err());
        let selection = Selection {
            models: vec!["another".into()],
            ..Selection::default()
        };
        let error = judge(&runs(20.0, 10.0), None, &limits, &selection);
        let error = error.expect_err("no cell of this model").to_string();
        assert!(error.contains("x (onnx) on m, 1 thread"), "{error}");
    }
}
