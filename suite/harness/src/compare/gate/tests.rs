use firstpass_statistics::comparison::Comparison;
use firstpass_trial::observation::Outcome;

use super::{questions::Question, *};
use crate::{
    compare::limits::{Growth, Times},
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
    refuses.process.outcome = Outcome::Failed(firstpass_probe::Error::engine("no type i8 here"));
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
