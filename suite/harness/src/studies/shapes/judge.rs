//! The passes of each process, divided by shape and judged as if each shape had a process of its own.

use std::collections::BTreeMap;

use firstpass_trial::observation::{Cell, Observation};

use crate::studies::{
    first_passes::judge::latency::{Latency, summarise},
    shapes::Found,
};

/// The processes of one engine on one model.
#[derive(Debug)]
pub struct Measured {
    pub backend: String,
    pub model: String,
    pub observations: Vec<Observation>,
}

/// Judges all shapes of all engines together: the run knows how much a first pass varies from process to
/// process, and its verdicts are one family.
pub fn judge(measured: Vec<Measured>, shapes: usize) -> Vec<Found> {
    let observations = || measured.iter().flat_map(|one| &one.observations);
    let parts: Vec<Observation> = observations()
        .flat_map(|observation| (0..shapes).filter_map(|number| part(observation, number)))
        .collect();
    let mut latencies: BTreeMap<Cell, Latency> = summarise(&parts)
        .into_iter()
        .map(|latency| (latency.cell.clone(), latency))
        .collect();
    let mut found = Vec::new();
    for one in measured {
        let cell = one.observations.first().map(|o| &o.cell);
        let of_shape = |number| latencies.remove(&cell_of_shape(cell?, number));
        let latencies = (0..shapes).map(of_shape).collect();
        let failed = one.observations.iter().find(|o| !o.process.completed());
        found.push(Found {
            latencies,
            failure: failed.map(|o| o.process.outcome.to_string()),
            backend: one.backend,
            model: one.model,
        });
    }
    found
}

/// Each shape is an entry of its own.
fn cell_of_shape(cell: &Cell, number: usize) -> Cell {
    Cell {
        entry: number,
        ..cell.clone()
    }
}

/// What a process did on one shape, as if it had done nothing else; `None` where it did not come so far.
fn part(observation: &Observation, number: usize) -> Option<Observation> {
    let mut part = observation.clone();
    part.cell = cell_of_shape(&observation.cell, number);
    let process = &mut part.process;
    let later = observation.process.passes.iter().find(|p| p.input > number);
    if let Some(next) = later {
        process.last_reference_ns = Some(next.span.reference_ns);
    }
    process.passes.retain(|pass| pass.input == number);
    for pass in &mut process.passes {
        pass.input = 0;
    }
    if let Some(again) = number.checked_sub(1) {
        process.prepared = observation.process.prepared_again.get(again).copied();
    }
    process.prepared_again.clear();
    (!process.passes.is_empty()).then_some(part)
}

#[cfg(test)]
pub(crate) mod tests {
    use firstpass_probe::{Format, Knobs, Pass, Span};

    use super::*;
    use crate::studies::first_passes::judge::{
        first_pass::FirstPassVerdict,
        latency::tests::{observation, times},
    };
    use firstpass_trial::{
        observation::{Process, Purpose},
        system_counters::SystemCounters,
    };

    /// The processes of an engine whose passes on two shapes take 10 ms, but the first on each: 40 ms on
    /// the first shape and so many on the second, one for each process.
    pub(crate) fn measured(backend: &str, again: &[f64]) -> Measured {
        let process = |(round, again): (usize, &f64)| {
            let first = times(&[40.0], 10.0);
            let mut whole = observation(round, &[first.clone(), times(&[*again], 10.0)].concat());
            whole.cell.backend = backend.into();
            for pass in &mut whole.process.passes[first.len()..] {
                pass.input = 1;
            }
            whole
        };
        Measured {
            backend: backend.into(),
            model: "m".into(),
            observations: again.iter().enumerate().map(process).collect(),
        }
    }

    fn verdicts(again: &[&[f64]]) -> Vec<Option<FirstPassVerdict>> {
        let numbered = again.iter().enumerate();
        let run = numbered.map(|(number, again)| measured(&format!("b{number}"), again));
        let found = judge(run.collect(), 2);
        let second = found.iter().map(|one| {
            let latency = one.latencies.get(1)?.as_ref()?;
            Some(latency.first_over_steady?.verdict())
        });
        second.collect()
    }

    #[test]
    fn a_new_shape_is_slow_or_not_or_that_is_open() {
        let expected = [
            FirstPassVerdict::Slow,
            FirstPassVerdict::NotSlow,
            FirstPassVerdict::Open,
        ];
        let judged = verdicts(&[
            &[19.5, 20.1, 20.4, 19.9, 20.6],
            &[10.1, 9.9, 10.3, 10.2, 9.8],
            &[10.0, 14.0, 9.8, 13.0, 9.6],
        ]);
        assert_eq!(judged, expected.map(Some));
    }

    /// Two processes alone do not know how much they vary. What the other engines of the run vary tells.
    #[test]
    fn two_processes_are_judged_by_what_the_run_knows() {
        let two: &[f64] = &[20.0, 20.2];
        let wild: &[f64] = &[10.0, 30.0, 11.0, 26.0, 10.0];
        let verdict = |others: &[f64]| {
            let run: Vec<&[f64]> = [two].into_iter().chain([others; 6]).collect();
            verdicts(&run)[0]
        };
        let quiet: &[f64] = &[10.1, 9.9, 10.3, 10.2, 9.8];
        assert_eq!(verdict(quiet), Some(FirstPassVerdict::Slow));
        assert_eq!(verdict(wild), Some(FirstPassVerdict::Open));
    }

    #[test]
    fn a_process_is_divided_by_shape() {
        let span = |start_ns| Span {
            start_ns,
            reference_ns: start_ns,
            ..Span::default()
        };
        let pass = |input, start_ns| Pass {
            input,
            digest: String::new(),
            memory_kib: None,
            span: span(start_ns),
        };
        let mut process = Process::new(0);
        process.prepared = Some(span(1));
        process.prepared_again = vec![span(4)];
        process.passes = vec![pass(0, 2), pass(0, 3), pass(1, 5)];
        process.last_reference_ns = Some(9);
        let whole = Observation {
            cell: Cell {
                backend: "b".into(),
                model: "m".into(),
                format: Format::ONNX,
                knobs: Knobs::default(),
                cold_files: false,
                entry: 0,
            },
            purpose: Purpose::Latency,
            round: 0,
            images: Vec::new(),
            system_counters: SystemCounters::before().after(),
            eviction: None,
            process,
        };
        let first = part(&whole, 0).map(|o| o.process);
        let second = part(&whole, 1).map(|o| o.process);
        let told = |process: &Option<Process>| {
            let process = process.as_ref()?;
            let prepared = process.prepared?.start_ns;
            Some((prepared, process.passes.len(), process.last_reference_ns?))
        };
        assert_eq!(told(&first), Some((1, 2, 5)));
        assert_eq!(told(&second), Some((4, 1, 9)));
        assert!(part(&whole, 2).is_none());
    }
}
