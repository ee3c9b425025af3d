use std::collections::BTreeMap;

use anyhow::Result;

use super::*;
use crate::{
    page::template,
    studies::first_passes::judge::latency::{
        summarise,
        tests::{observation, times},
    },
};

/// What a page says of this alone.
fn said(model: &Time) -> Result<String> {
    template::on_terminal("said/time.md.j2", minijinja::context! { model })
}

/// Nothing that was timed.
fn nothing() -> Time {
    Time {
        title: "m".into(),
        slow: Vec::new(),
        not_slow: Vec::new(),
        open: Vec::new(),
        unsteady: Vec::new(),
        fastest: Vec::new(),
    }
}

/// Engines with the steady time of each of their rounds; `None` where a round has none of the engine.
fn latencies(engines: &[(&str, &[Option<f64>])]) -> Vec<Latency> {
    let mut observations = Vec::new();
    for (backend, levels) in engines {
        for (round, level) in levels.iter().enumerate() {
            let Some(level) = level else { continue };
            let mut process = observation(round, &times(&[*level], *level));
            process.cell.backend = (*backend).to_owned();
            observations.push(process);
        }
    }
    summarise(&observations)
}

fn fastest_of(engines: &[(&str, &[Option<f64>])]) -> Result<String> {
    let latencies = latencies(engines);
    let rows: Vec<Row> = latencies
        .iter()
        .map(|latency| Row {
            latency: BTreeMap::from([(1, latency.clone())]),
            ..Row::without_outputs(latency.cell.clone())
        })
        .collect();
    let comparisons = Comparisons::of_run(&latencies);
    let first = first_of(&comparisons, &rows, 1, Figure::Steady);
    said(&Time {
        fastest: first.into_iter().collect(),
        ..nothing()
    })
}

#[test]
fn who_is_fastest_is_named_with_what_the_next_takes() -> Result<()> {
    let said = fastest_of(&[("a", &[Some(20.0); 6]), ("b", &[Some(10.0); 6])])?;
    assert!(
        said.starts_with("- With 1 thread, b (10.00 ms) is fastest in the steady state"),
        "{said}"
    );
    assert!(said.contains("2.00× faster than a"), "{said}");
    let alike = fastest_of(&[("a", &[Some(10.0); 12]), ("b", &[Some(10.0); 12])])?;
    assert!(
        alike.contains("are fastest") && alike.contains("no difference"),
        "{alike}"
    );
    assert_eq!(fastest_of(&[("a", &[Some(10.0); 6])])?, "", "one alone");
    Ok(())
}

/// An engine that was measured in quiet rounds only has the smallest median, and is slower within each of
/// them.
#[test]
fn nobody_is_called_fastest_who_is_slower_within_rounds() -> Result<()> {
    let quiet: [Option<f64>; 12] = [11.0; 12].map(Some);
    let all: Vec<Option<f64>> = (0..30)
        .map(|round| Some(if round < 12 { 10.0 } else { 20.0 }))
        .collect();
    let said = fastest_of(&[("a", &quiet), ("b", &all)])?;
    let medians = latencies(&[("a", &quiet), ("b", &all)]);
    let of = |at: usize| median(medians[at].by_round(Figure::Steady).into_values());
    assert!(of(0) < of(1), "the median of a is the smaller one");
    assert!(said.starts_with("- With 1 thread, b ("), "{said}");
    Ok(())
}

#[test]
fn what_may_be_as_fast_is_said_with_its_bounds() -> Result<()> {
    let timed = |label: &str| Timed {
        label: label.into(),
        ms: 10.0,
    };
    let fastest = |open| Fastest {
        threads: 2,
        is_cold_start: true,
        engines: vec![timed("a")],
        resolution: 0.05,
        nearest: None,
        open,
    };
    let may_be = Against {
        label: "b".into(),
        ms: 11.0,
        ratio: 1.1,
        low: 0.9,
        high: 1.3,
        more: Some(1),
    };
    let text = |open| {
        said(&Time {
            fastest: vec![fastest(open)],
            ..nothing()
        })
    };
    assert_eq!(
        text(vec![may_be])?,
        "- With 2 threads, a (10.0 ms) seems fastest to the first answer. b (11.0 ms) may be as fast: it \
         takes between 0.90× and 1.30× of that time, and one more process would probably tell.\n"
    );
    assert_eq!(
        text(Vec::new())?,
        "- With 2 threads, a (10.0 ms) is fastest to the first answer.\n"
    );
    Ok(())
}

#[test]
fn what_single_processes_did_may_be_the_machines_doing() -> Result<()> {
    let unsteady = |groups, restless| {
        said(&Time {
            unsteady: vec![Unsteady {
                label: "x".into(),
                threads: 1,
                groups,
                restless,
                processes: 7,
            }],
            ..nothing()
        })
    };
    let group = |processes, class: Option<&str>| Group {
        processes,
        class: class.map(Into::into),
    };
    let mixed = vec![
        group(4, Some("flat")),
        group(2, Some("warm-up")),
        group(1, None),
    ];
    assert_eq!(
        unsteady(mixed, None)?,
        "- The processes of x with 1 thread provably differ: 4 flat, 2 warm-up and 1 that may be either.\n"
    );
    let doubtful = unsteady(Vec::new(), Some(2))?;
    assert!(
        doubtful.starts_with("- x reaches no steady state with 1 thread. That may be"),
        "{doubtful}"
    );
    assert!(
        doubtful.contains("2 of 7 processes") && doubtful.contains("--pin"),
        "{doubtful}"
    );
    Ok(())
}
