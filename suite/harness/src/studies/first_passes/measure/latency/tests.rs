use super::*;
use crate::{
    record::tests::run,
    studies::first_passes::judge::{
        headlines::ask,
        latency::tests::{observation, times},
    },
};

fn progress(processes: usize, expected_s: u64) -> Progress {
    Progress {
        processes,
        expected: Duration::from_secs(expected_s),
        ..Progress::default()
    }
}

#[test]
fn a_dear_cell_waits_for_the_others() {
    let cheap = observation(0, &[1.0]).cell;
    let expensive = Cell {
        backend: "dear".into(),
        ..cheap.clone()
    };
    let shares = Shares {
        even: Duration::from_secs(10),
        least_processes: 5,
    };
    let allowed = |of_cheap: usize, of_expensive: usize, left_s: u64| {
        let all = BTreeMap::from([
            (&cheap, progress(of_cheap, 4)),
            (&expensive, progress(of_expensive, 30)),
        ]);
        shares.allow(&expensive, &all, Duration::from_secs(left_s))
    };
    // Its first, as long as each of the others can have one as well.
    assert!(allowed(0, 0, 34));
    assert!(!allowed(0, 0, 33));
    // Its second only when the others can have ten.
    assert!(!allowed(1, 1, 65));
    assert!(allowed(1, 1, 66));
    assert!(allowed(10, 1, 30));
    assert!(!allowed(10, 1, 29));
}

#[test]
fn a_cell_beyond_its_share_waits_while_others_are_measured() {
    let shares = Shares {
        even: Duration::from_secs(10),
        least_processes: 5,
    };
    let (slow, other) = (observation(0, &[1.0]).cell, observation(0, &[1.0]).cell);
    let other = Cell { entry: 1, ..other };
    let allowed = |stop: Option<Stop>| {
        let spent = Progress {
            spent: Duration::from_secs(31),
            ..progress(6, 5)
        };
        let waiting = Progress {
            stop,
            ..progress(3, 5)
        };
        let all = BTreeMap::from([(&slow, spent), (&other, waiting)]);
        shares.allow(&slow, &all, Duration::from_secs(60))
    };
    assert!(!allowed(None));
    assert!(allowed(Some(Stop::Narrow)));
}

#[test]
fn of_an_engine_beside_itself_short_processes_end_what_is_left() {
    let settings = RunSettings {
        entries: 2,
        least_processes: 3,
        ..run().settings
    };
    let mut observations = Vec::new();
    for round in 0..20 {
        for entry in 0..2 {
            let first = if (round + entry) % 2 == 0 { 50.0 } else { 80.0 };
            let mut observation = observation(round, &times(&[first], 10.0));
            observation.cell.entry = entry;
            observations.push(observation);
        }
    }
    let cells = [observations[0].cell.clone(), observations[1].cell.clone()];
    let mut all: BTreeMap<&Cell, Progress> =
        cells.iter().map(|cell| (cell, progress(20, 1))).collect();
    stop_what_is_known(&mut all, &observations, &settings);
    assert!(all.values().all(|p| p.stop.is_none() && p.steady_is_known));
}

#[test]
fn equal_entries_run_one_after_the_other() {
    let cell = |backend: &str, entry: usize| Cell {
        backend: backend.into(),
        entry,
        ..observation(0, &[1.0]).cell
    };
    let mut due = [cell("a", 1), cell("b", 0), cell("a", 0), cell("b", 1)];
    keep_twins_together(&mut due, |cell| cell);
    let expected = [cell("a", 1), cell("a", 0), cell("b", 0), cell("b", 1)];
    assert_eq!(due, expected);
}

/// Processes of two engines, one of which may be dear, and how their rounds go on.
fn asked(level: f64, noise: f64, rounds: usize, left_s: u64) -> (usize, Vec<Option<Stop>>) {
    let mut observations = Vec::new();
    for round in 0..rounds {
        for (backend, level) in [("a", 10.0), ("b", level)] {
            let sign = if (round % 2 == 0) == (backend == "a") {
                1.0
            } else {
                -1.0
            };
            let level = level * (1.0 + sign * noise);
            let mut observation = observation(round, &times(&[5.0 * level], level));
            observation.cell.backend = backend.into();
            observations.push(observation);
        }
    }
    let cells = [observations[0].cell.clone(), observations[1].cell.clone()];
    let mut all: BTreeMap<&Cell, Progress> = cells
        .iter()
        .map(|cell| (cell, progress(rounds, 2)))
        .collect();
    let settings = RunSettings {
        least_processes: 4,
        ..run().settings
    };
    let budget = Budget {
        began: std::time::Instant::now(),
        all: Duration::from_secs(left_s),
    };
    let asked = stop_what_is_answered(
        &mut all,
        &observations,
        &settings,
        &budget,
        |measured: &[Latency]| ask(measured, &NoChoice::default()),
    );
    (asked.open.len(), all.values().map(|p| p.stop).collect())
}

#[test]
fn rounds_go_on_where_a_question_is_open() {
    let answered = (0, vec![Some(Stop::Answered); 2]);
    assert_eq!(asked(20.0, 0.01, 4, 600), answered);
    let (open, stops) = asked(10.6, 0.06, 4, 600);
    assert!(open > 0);
    assert_eq!(stops, [None, None]);
    // Too few processes to stop, whatever is answered.
    assert_eq!(asked(20.0, 0.01, 2, 600), (0, vec![None, None]));
    // No time is left to ask.
    assert_eq!(asked(10.6, 0.06, 4, 0).1, [Some(Stop::Budget); 2]);
}

#[test]
fn what_is_cheap_to_answer_is_asked_first() {
    let cheap = observation(0, &[1.0]).cell;
    let dear = Cell {
        backend: "dear".into(),
        ..cheap.clone()
    };
    let all = BTreeMap::from([(&cheap, progress(4, 1)), (&dear, progress(4, 30))]);
    let open = |cell: &Cell, rounds: Option<usize>| Answer::Open {
        cells: BTreeSet::from([cell.clone()]),
        rounds,
    };
    let (a, b) = (open(&dear, Some(8)), open(&cheap, Some(14)));
    let wanted =
        |left_s: u64| worth_asking(&[a.clone(), b.clone()], &all, Duration::from_secs(left_s));
    assert_eq!(wanted(10), BTreeSet::from([cheap.clone()]));
    assert_eq!(wanted(11), BTreeSet::from([cheap.clone(), dear.clone()]));
    assert!(wanted(0).is_empty());
}
