//! What is said about a model of the user's own: each sentence, and the record in which it must be another.

use std::path::Path;

use anyhow::{Context, Result};
use firstpass_onnx::{
    GraphProto,
    write::{constant, encode, f32_value, node},
};
use firstpass_probe::{Description, EngineInfo, Error, Format, Knobs};
use firstpass_trial::{
    observation::{Observation, Outcome, Purpose},
    workload::Workload,
    workspace::Workspace,
};

use crate::{
    record::{Line, Recorder, Stop, tests::run, write_outputs},
    report::terminal,
    studies::first_passes::{
        analysis::Analysis,
        findings::Harm,
        judge::latency::tests::{observation, times},
        made_up::{Multiplied, analysis, analysis_of, analysis_with, cell, observed},
    },
    user_model::{Inputs, UserModel, lay_out},
};

/// A model that multiplies its input, without golden outputs; its weight matters to nobody here.
fn workload(folder: &Path) -> Result<Workload> {
    let workspace = Workspace::find()?;
    let file = folder.join("m.onnx");
    let graph = GraphProto {
        node: vec![node("Mul", &["x", "weight"], "y")],
        initializer: vec![constant("weight", &[1], &[2.0])],
        input: vec![f32_value("x", Some(&[1, 3]))],
        output: vec![f32_value("y", Some(&[1, 3]))],
        ..GraphProto::default()
    };
    std::fs::write(&file, encode(graph, 13))?;
    let own = UserModel {
        files: vec![file],
        ..UserModel::default()
    };
    let model = own.describe(&workspace)?;
    lay_out(&workspace, model, &Inputs::default(), folder, false)
}

/// What the terminal shows, each paragraph in one line.
fn summary(analysis: &Analysis) -> Result<String> {
    let words = terminal::summary(analysis)?;
    Ok(words.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn engine(engine: &str, weight: f32) -> Multiplied<'_> {
    Multiplied {
        engine,
        weight,
        unoptimized: weight,
    }
}

/// What is recorded of these engines, and of more.
fn said(
    engines: &[Multiplied],
    more: impl FnOnce(&Workload, &mut Recorder) -> Result<()>,
) -> Result<Analysis> {
    let folder = tempfile::tempdir()?;
    let workload = workload(folder.path())?;
    analysis_with(&workload, folder.path(), engines, |recorder| {
        more(&workload, recorder)
    })
}

fn plain(engines: &[Multiplied]) -> Result<Analysis> {
    said(engines, |_, _| Ok(()))
}

fn judge() -> Result<String> {
    let backends = Workspace::find()?.backends()?.into_iter();
    let mut referees = backends.filter(|backend| backend.is_referee);
    Ok(referees.next().context("there is a referee")?.name)
}

/// The referee multiplies by this.
fn referee(weight: f32) -> impl FnOnce(&Workload, &mut Recorder) -> Result<()> {
    referee_by(vec![(Knobs::default(), weight)])
}

/// The referee multiplies by these, each under its rule.
fn referee_by(rules: Vec<(Knobs, f32)>) -> impl FnOnce(&Workload, &mut Recorder) -> Result<()> {
    move |workload, recorder| {
        let judge = judge()?;
        for (knobs, weight) in rules {
            let cell = cell(workload, &judge, knobs);
            let (seen, outputs) = observed(workload, &cell, Purpose::Reference, weight)?;
            recorder.write(&judge, &Line::Observation(Box::new(seen)))?;
            write_outputs(recorder.folder(), &cell, &["y".into()], &outputs)?;
        }
        Ok(())
    }
}

/// The referee says that it cannot.
fn refusal(workload: &Workload, recorder: &mut Recorder) -> Result<()> {
    let judge = judge()?;
    let cell = cell(workload, &judge, Knobs::default());
    let (mut seen, _) = observed(workload, &cell, Purpose::Reference, 1.0)?;
    seen.process.passes.clear();
    seen.process.outcome = Outcome::Failed(Error::unsupported("it has no operator Fancy"));
    recorder.write(&judge, &Line::Observation(Box::new(seen)))
}

fn harms(analysis: &Analysis) -> Vec<Harm> {
    analysis.findings().iter().map(|f| f.harm).collect()
}

#[test]
fn all_is_well_where_engines_agree_with_the_referee() -> Result<()> {
    let analysis = said(&[engine("a", 2.0), engine("b", 2.0)], referee(2.0))?;
    assert_eq!(harms(&analysis), []);
    let text = summary(&analysis)?;
    assert!(text.contains("against the referee"), "{text}");
    assert!(
        text.contains("Nothing was seen to be wrong: all 2 rows"),
        "{text}"
    );
    // There were no expectations, and nothing is declared.
    for never in [
        "Everything is as expected",
        "golden are",
        "declared",
        "against golden",
    ] {
        assert!(!text.contains(never), "{never}: {text}");
    }
    Ok(())
}

#[test]
fn the_engine_is_blamed_that_the_referee_is_against() -> Result<()> {
    // As many zeros as one likes are nearest to everything in units of the others.
    for (wrong, right) in [("a", "b"), ("b", "a")] {
        let analysis = said(&[engine(wrong, 0.0), engine(right, 2.0)], referee(2.0))?;
        let [finding] = &analysis.findings()[..] else {
            panic!("{:?}", analysis.findings());
        };
        let expected = format!("{wrong} on m.onnx gives other outputs than the file defines: y");
        assert!(finding.text.starts_with(&expected), "{}", finding.text);
    }
    Ok(())
}

#[test]
fn what_rules_of_rounding_do_is_no_fault_and_more_is_one() -> Result<()> {
    let rule = Knobs::default().with("arithmetic", "another");
    for (weight, found) in [(2.1, vec![]), (2.3, vec![]), (3.0, vec![Harm::Wrong])] {
        let rules = vec![(Knobs::default(), 2.0), (rule.clone(), 2.2)];
        let engines = [engine("a", weight), engine("b", 2.0)];
        let analysis = said(&engines, referee_by(rules))?;
        assert_eq!(harms(&analysis), found, "{weight}");
        let text = summary(&analysis)?;
        assert_eq!(text.contains("rounding, ≤"), found.is_empty(), "{text}");
        assert!(text.contains("is rounding, and no fault"), "{text}");
    }
    // An engine that follows a rule to the bit is said to.
    let rules = vec![(Knobs::default(), 2.0), (rule, 2.2)];
    let analysis = said(&[engine("a", 2.2), engine("b", 2.0)], referee_by(rules))?;
    let verdicts = analysis.rows.values().flatten().map(|row| {
        let verdict = row.verdict.as_ref().map(ToString::to_string);
        verdict.unwrap_or_default()
    });
    let verdicts: Vec<String> = verdicts.collect();
    let exactly = "gives exactly what the referee gives by arithmetic=another: y";
    assert!(verdicts[0].starts_with(exactly), "{verdicts:?}");
    // Nothing is said of rules where none was tried.
    let analysis = said(&[engine("a", 2.1), engine("b", 2.0)], referee(2.0))?;
    assert_eq!(harms(&analysis), [Harm::Wrong]);
    assert!(!summary(&analysis)?.contains("is rounding"));
    Ok(())
}

/// A model whose output has steps.
fn quantized(folder: &Path) -> Result<Workload> {
    let workspace = Workspace::find()?;
    let file = folder.join("m.onnx");
    let graph = GraphProto {
        node: vec![
            node("Mul", &["x", "weight"], "m"),
            node("QuantizeLinear", &["m", "scale", "zero"], "q"),
            node("DequantizeLinear", &["q", "scale", "zero"], "y"),
        ],
        initializer: vec![
            constant("weight", &[1], &[2.0_f32]),
            constant("scale", &[], &[0.05_f32]),
            constant("zero", &[], &[0_i8]),
        ],
        input: vec![f32_value("x", Some(&[1, 3]))],
        output: vec![f32_value("y", Some(&[1, 3]))],
        ..GraphProto::default()
    };
    std::fs::write(&file, encode(graph, 13))?;
    let own = UserModel {
        files: vec![file],
        ..UserModel::default()
    };
    let model = own.describe(&workspace)?;
    lay_out(&workspace, model, &Inputs::default(), folder, false)
}

/// The time ended before the referee knew how far rounding moves the outputs.
#[test]
fn a_small_difference_is_open_where_no_rule_of_rounding_was_tried() -> Result<()> {
    let rule = Knobs::default().with("arithmetic", "another");
    let as_written = || (Knobs::default(), 2.0);
    for (weight, rules, harm) in [
        (2.1, vec![as_written()], Harm::Undecided),
        // No rounding does that.
        (7.0, vec![as_written()], Harm::Wrong),
        // A rule was tried, and moves nothing.
        (2.1, vec![as_written(), (rule, 2.0)], Harm::Wrong),
    ] {
        let folder = tempfile::tempdir()?;
        let workload = quantized(folder.path())?;
        let engines = [engine("a", weight), engine("b", 2.0)];
        let analysis = analysis_with(&workload, folder.path(), &engines, |recorder| {
            referee_by(rules)(&workload, recorder)
        })?;
        assert_eq!(harms(&analysis), [harm], "{weight}");
        let is_said =
            analysis.faults()[0].contains("whether that is more than rounding is not known");
        assert_eq!(is_said, harm == Harm::Undecided);
    }
    Ok(())
}

#[test]
fn two_that_differ_are_not_judged_without_a_referee() -> Result<()> {
    let analysis = said(&[engine("a", 0.0), engine("b", 2.0)], refusal)?;
    assert_eq!(harms(&analysis), [Harm::Undecided]);
    let text = summary(&analysis)?;
    for expected in [
        "who is right cannot be told here",
        "a differs from b: y",
        "no operator Fancy",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.contains("against each other"), "{text}");
    // The refusal is the referee's, and no engine's.
    assert!(!analysis.faults().iter().any(|f| f.contains("Fancy")));
    Ok(())
}

#[test]
fn two_that_agree_without_optimizations_stand_in_and_optimizations_are_blamed() -> Result<()> {
    let optimizes = Multiplied {
        unoptimized: 2.0,
        ..engine("a", 3.0)
    };
    let analysis = said(&[optimizes, engine("b", 2.0)], refusal)?;
    let [finding] = &analysis.findings()[..] else {
        panic!("{:?}", analysis.findings());
    };
    let than = "a on m.onnx gives other outputs than a and b without their optimizations: y";
    assert!(finding.text.starts_with(than), "{}", finding.text);
    assert!(
        finding
            .text
            .ends_with("; without its optimizations it does not")
    );
    assert!(summary(&analysis)?.contains("That does not prove them right"));

    // Without optimizations it is wrong as well.
    let analysis = plain(&[engine("a", 3.0), engine("b", 2.0), engine("c", 2.0)])?;
    let [finding] = &analysis.findings()[..] else {
        panic!("{:?}", analysis.findings());
    };
    assert!(finding.text.starts_with("a on m.onnx"), "{}", finding.text);
    assert!(!finding.text.contains("optimizations it does not"));
    Ok(())
}

#[test]
fn a_referee_alone_against_engines_that_agree_accuses_nobody() -> Result<()> {
    let contested = said(&[engine("a", 2.0), engine("b", 2.0)], referee(5.0))?;
    assert_eq!(harms(&contested), [Harm::Undecided]);
    let text = summary(&contested)?;
    assert!(text.contains("either it is wrong, or they are"), "{text}");
    assert!(
        text.contains("against a and b without optimizations"),
        "{text}"
    );
    // One engine gives what the referee gives.
    let supported = said(
        &[engine("a", 2.0), engine("b", 2.0), engine("c", 5.0)],
        referee(5.0),
    )?;
    assert_eq!(harms(&supported), [Harm::Wrong, Harm::Wrong]);
    Ok(())
}

#[test]
fn values_that_are_no_numbers_are_said_first() -> Result<()> {
    let analysis = said(&[engine("a", 2.0), engine("b", f32::NAN)], referee(2.0))?;
    assert_eq!(harms(&analysis), [Harm::NotFinite]);
    let text = summary(&analysis)?;
    assert!(
        text.contains("b on m.onnx: y: 6 of 6 values are NaN or infinite"),
        "{text}"
    );
    assert!(text.contains("⚠ NaN or infinite"), "{text}");
    // One alone.
    assert_eq!(harms(&plain(&[engine("a", f32::NAN)])?), [Harm::NotFinite]);
    // The model's, where all agree.
    let alike = [engine("a", f32::NAN), engine("b", f32::NAN)];
    let analysis = said(&alike, referee(f32::NAN))?;
    let text = summary(&analysis)?;
    assert!(
        text.contains("m.onnx itself gives what is no number"),
        "{text}"
    );
    assert!(!harms(&analysis).contains(&Harm::NotFinite));
    Ok(())
}

/// Such as the logarithm of a frequency that was made up, and is negative.
#[test]
fn nobody_is_accused_where_made_up_inputs_give_no_number() -> Result<()> {
    let engines = [engine("a", f32::NAN), engine("b", 2.0)];
    let analysis = said(&engines, referee(f32::NAN))?;
    assert_eq!(harms(&analysis), [Harm::SaysLittle]);
    let text = analysis.findings()[0].text.clone();
    for words in [
        "m.onnx itself gives what is no number: y: 6 of 6 values are NaN or infinite",
        "b gives other values there",
        "with `--sample`",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert!(!summary(&analysis)?.contains("no choice"));
    // Where only some values are none, each counts.
    Ok(())
}

#[test]
fn outputs_that_do_not_depend_on_the_input_say_little() -> Result<()> {
    let analysis = said(&[engine("a", 0.0), engine("b", 0.0)], referee(0.0))?;
    assert_eq!(harms(&analysis), [Harm::SaysLittle]);
    let text = summary(&analysis)?;
    assert!(
        text.contains("y of m.onnx is the same for every input"),
        "{text}"
    );
    assert!(!text.contains("equal up to f32 rounding"), "{text}");
    Ok(())
}

/// The engine at fault comes first, and nothing hides anything.
#[test]
fn all_that_is_wrong_is_listed_once_the_worst_first() -> Result<()> {
    let analysis = said(
        &[engine("a", 2.0), engine("b", 7.0), engine("c", f32::NAN)],
        |workload, recorder| {
            for round in 0..2 {
                let mut refuses = Observation {
                    cell: cell(workload, "d", Knobs::default()),
                    ..observation(round, &[])
                };
                refuses.process.outcome = Outcome::Failed(Error::unsupported("no such operator"));
                recorder.write("d", &Line::Observation(Box::new(refuses)))?;
            }
            let reason = "no library".into();
            recorder.write("e", &Line::Unavailable { reason })?;
            referee(2.0)(workload, recorder)
        },
    )?;
    let expected = [
        Harm::NotFinite,
        Harm::Wrong,
        Harm::Refused,
        Harm::NotMeasured,
    ];
    assert_eq!(harms(&analysis), expected, "{:#?}", analysis.findings());
    Ok(())
}

/// What a record says of an engine.
fn described(version: &str) -> Line {
    let info = EngineInfo::new(version, "none");
    Line::Description(Description::new(info, vec![Format::ONNX], Vec::new()))
}

#[test]
fn an_upgrade_says_what_changes_and_what_does_not() -> Result<()> {
    let versions = [("e@1.9", 2.0), ("e@1.20", 2.0), ("e@2.0", 3.0), ("f", 2.0)];
    let engines = versions.map(|(name, weight)| engine(name, weight));
    let analysis = said(&engines, |_, recorder| {
        for (name, _) in versions {
            let version = name.split('@').nth(1).unwrap_or("7");
            recorder.write(name, &described(version))?;
        }
        Ok(())
    })?;
    let text = summary(&analysis)?;
    for words in [
        "what changes from e@1.9 to e@1.20? No bit of the outputs",
        "what changes from e@1.20 to e@2.0? The outputs: y: 100.0 % of the values differ",
    ] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    assert_eq!(text.matches("what changes from").count(), 2, "{text}");
    Ok(())
}

#[test]
fn outputs_on_another_processor_are_compared_with_those_here() -> Result<()> {
    let on = |weight: f32| -> Result<String> {
        let folder = tempfile::tempdir()?;
        let workload = workload(folder.path())?;
        let mut about = run();
        about.processors = [("e@old".to_owned(), "old".to_owned())].into();
        let engines = [engine("e", 2.0), engine("e@old", weight)];
        summary(&analysis_of(
            about,
            &workload,
            folder.path(),
            &engines,
            |_| Ok(()),
        )?)
    };
    let same = on(2.0)?;
    assert!(
        same.contains("the same on other processors? These were emulated. Yes, bit by bit"),
        "{same}"
    );
    let other = on(3.0)?;
    let words = "the same on other processors? These were emulated. No. e@old: y: 100.0 % of the values differ";
    assert!(other.contains(words), "{other}");
    assert!(
        !plain(&[engine("e", 2.0)])
            .and_then(|a| summary(&a))?
            .contains("processors")
    );
    Ok(())
}

/// What a model draws at random is no engine's fault, and one engine alone whose passes differ is.
#[test]
fn a_model_that_draws_random_numbers_accuses_nobody() -> Result<()> {
    let drawing = |engines: &'static [&'static str]| {
        move |workload: &Workload, recorder: &mut Recorder| {
            for (number, engine) in engines.iter().enumerate() {
                let cell = cell(workload, engine, Knobs::default());
                let weight = 2.0 + number as f32;
                let (mut seen, outputs) = observed(workload, &cell, Purpose::Agreement, weight)?;
                for pass in &mut seen.process.passes {
                    pass.input = 0;
                }
                let mut again = seen.process.passes[0].clone();
                again.digest += "other";
                seen.process.passes.push(again);
                recorder.write(engine, &Line::Observation(Box::new(seen)))?;
                write_outputs(recorder.folder(), &cell, &["y".into()], &outputs)?;
            }
            Ok(())
        }
    };
    let all = said(&[], drawing(&["a", "b"]))?;
    assert_eq!(harms(&all), [Harm::SaysLittle], "{:#?}", all.findings());
    let text = summary(&all)?;
    assert!(text.contains("it seems to draw random numbers"), "{text}");
    let one = said(&[engine("a", 2.0)], drawing(&["b"]))?;
    assert!(
        harms(&one).contains(&Harm::NotRepeatable),
        "{:#?}",
        one.findings()
    );
    Ok(())
}

#[test]
fn nobody_running_is_no_success() -> Result<()> {
    let analysis = plain(&[])?;
    assert_eq!(harms(&analysis), [Harm::NobodyRuns]);
    let text = summary(&analysis)?;
    assert!(text.contains("no engine gave outputs for m.onnx"), "{text}");
    assert!(!text.contains("all 0 rows"), "{text}");
    Ok(())
}

/// The slowest engine is not left out in silence.
#[test]
fn a_budget_that_ended_first_is_said_with_one_that_would_do() -> Result<()> {
    let slow = |workload: &Workload, recorder: &mut Recorder| {
        let cell = cell(workload, "slow", Knobs::default());
        let (mut seen, outputs) = observed(workload, &cell, Purpose::Agreement, 2.0)?;
        let timed = observation(0, &times(&[165.0], 42.0)).process;
        seen.process.started = timed.started;
        seen.process.loaded = timed.loaded;
        seen.process.prepared = timed.prepared;
        seen.process.main_ns = timed.main_ns;
        for (pass, wall_ns) in seen
            .process
            .passes
            .iter_mut()
            .zip([1_650_000_000, 420_000_000])
        {
            pass.input = 0;
            pass.digest = "same".into();
            pass.span.wall_ns = wall_ns;
        }
        recorder.write("slow", &Line::Observation(Box::new(seen)))?;
        write_outputs(recorder.folder(), &cell, &["y".into()], &outputs)?;
        let reason = Stop::Budget;
        recorder.write("slow", &Line::Stop { cell, reason })
    };
    let analysis = said(&[engine("a", 2.0)], |workload, recorder| {
        slow(workload, recorder)?;
        referee(2.0)(workload, recorder)
    })?;
    assert_eq!(
        harms(&analysis),
        [Harm::TooShort],
        "{:#?}",
        analysis.findings()
    );
    let text = summary(&analysis)?;
    // 1 s was given, and a process of ten passes takes some 5.5 s.
    assert!(text.contains("give --budget 20s"), "{text}");
    assert!(
        text.contains("about 1650") && text.contains("about 420"),
        "{text}"
    );
    Ok(())
}

/// 165, 42, 2.3, 1.6 and 0.95 ms were once "flat, steady 42.3 ms".
#[test]
fn five_passes_make_no_verdict() -> Result<()> {
    let few = |passes: &[f64]| {
        let passes = passes.to_vec();
        said(&[], move |workload, recorder| {
            let cell = cell(workload, "a", Knobs::default());
            let (seen, outputs) = observed(workload, &cell, Purpose::Agreement, 2.0)?;
            let digest = seen.process.passes[0].digest.clone();
            recorder.write("a", &Line::Observation(Box::new(seen)))?;
            write_outputs(recorder.folder(), &cell, &["y".into()], &outputs)?;
            let mut timed = Observation {
                cell,
                images: vec![workload.samples[0].name.clone()],
                ..observation(0, &passes)
            };
            for pass in &mut timed.process.passes {
                pass.digest.clone_from(&digest);
            }
            recorder.write("a", &Line::Observation(Box::new(timed)))
        })
    };
    let analysis = few(&[165.0, 42.0, 2.3, 1.6, 0.95])?;
    let text = summary(&analysis)?;
    assert!(text.contains("5 passes are too few"), "{text}");
    assert!(!text.contains("flat"), "{text}");
    assert!(text.contains("give --passes 10"), "{text}");
    let enough = few(&[2.0; 12])?;
    let text = summary(&enough)?;
    assert!(text.contains("only a was timed"), "{text}");
    Ok(())
}

#[test]
fn one_engine_alone_is_compared_with_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let workload = workload(folder.path())?;
    let alone = analysis(&workload, folder.path(), &[engine("a", 2.0)])?;
    let text = summary(&alone)?;
    assert!(
        text.contains("There is nothing to compare the outputs with"),
        "{text}"
    );
    assert!(text.contains("Not everything had something"), "{text}");
    Ok(())
}

/// A summary is read at once: it fits a terminal, however much goes wrong.
#[test]
fn the_summary_fits_a_terminal() -> Result<()> {
    let engines =
        ["a", "b", "c", "d"].map(|name| engine(name, if name == "a" { 2.0 } else { 5.0 }));
    let analysis = said(&engines, referee(2.0))?;
    let words = terminal::summary(&analysis)?;
    assert!(words.lines().count() <= 25, "{words}");
    for line in words.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    Ok(())
}

/// An engine that computes something else is no choice, and one that is a little off is a choice of the reader's.
#[test]
fn an_engine_is_no_choice_only_where_its_outputs_are_far_off() -> Result<()> {
    let shown = |weight| -> Result<String> {
        let analysis = said(&[engine("a", 2.0), engine("b", weight)], referee(2.0))?;
        summary(&analysis)
    };
    let far = shown(5.0)?;
    assert!(far.contains("b is no choice"), "{far}");
    let near = shown(2.02)?;
    assert!(!near.contains("no choice"), "{near}");
    assert!(near.contains("b on m.onnx gives other outputs"), "{near}");
    Ok(())
}
