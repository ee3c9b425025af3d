use std::{io::Cursor, os::unix::fs::PermissionsExt};

use super::*;
use crate::observation::Stage;

/// A probe made of shell commands, which misbehaves as it is told.
fn shell(script: &str, timeout: Duration) -> Process {
    limited(script, timeout, most_memory())
}

fn limited(script: &str, timeout: Duration, memory_bytes: u64) -> Process {
    let probe = Probe {
        timeout,
        memory_bytes,
        ..Probe::at(Path::new("/bin/sh"))
    };
    probe
        .run(&["-c".into(), script.into()], &Knobs::default(), timeout)
        .0
}

const LONG: Duration = Duration::from_secs(20);
const HELLO: &str = r#"echo '{"message":"hello","protocol":3,"backend":"x","main_ns":1}'; "#;
const PASS: &str = r#"echo '{"message":"pass","input":0,"digest":"d","start_ns":1,"wall_ns":2,"cpu_ns":3,"minor_faults":4,"major_faults":5,"voluntary_switches":6,"involuntary_switches":7,"reference_ns":8}'; "#;
const DONE: &str = r#"echo '{"message":"done","peak_memory_kib":9,"reference_ns":8}'; "#;

#[test]
fn a_launcher_runs_the_probe_with_its_arguments() {
    let probe = Probe {
        launcher: ["env", "FROM_THE_LAUNCHER=x"].map(OsString::from).to_vec(),
        ..Probe::at(Path::new("/bin/sh"))
    };
    let script = format!("[ $FROM_THE_LAUNCHER = x ] && {HELLO}{DONE}");
    let (process, _) = probe.run(&["-c".into(), script.into()], &Knobs::default(), LONG);
    assert_eq!(process.outcome, Outcome::Completed);
    let missing = Probe {
        launcher: vec!["/nonexistent/launcher".into()],
        ..Probe::at(Path::new("/bin/sh"))
    };
    let (process, _) = missing.run(&["-c".into(), "true".into()], &Knobs::default(), LONG);
    assert!(
        matches!(process.outcome, Outcome::NotStarted(_)),
        "{process:?}"
    );
}

/// What a probe leaves out was not counted, which is no fault.
#[test]
fn a_probe_need_not_count_what_it_cannot() {
    let pass = r#"echo '{"message":"pass","input":0,"digest":"d","start_ns":1,"wall_ns":2}'; "#;
    let done = r#"echo '{"message":"done"}'; "#;
    let process = shell(&format!("{HELLO}{pass}{done}"), LONG);
    assert_eq!(process.outcome, Outcome::Completed);
    assert_eq!(process.passes[0].span.cpu_ns, 0);
    assert_eq!(process.peak_memory_kib, None);
}

#[test]
#[cfg(target_os = "linux")]
fn a_probe_that_wants_more_memory_than_it_may_have_does_not_get_it() {
    // A shell keeps what it reads in memory.
    let script = format!("sleep 0.2; x=$(head -c 100000000 /dev/zero | tr '\\0' a); {HELLO}{DONE}");
    assert_eq!(limited(&script, LONG, 1 << 30).outcome, Outcome::Completed);
    let process = limited(&script, LONG, 50 << 20);
    assert!(
        matches!(process.outcome, Outcome::Crashed { .. }),
        "{process:?}"
    );
}

#[test]
fn hears_a_probe_out() {
    let process = shell(&format!("{HELLO}{PASS}{PASS}{DONE}"), LONG);
    assert_eq!(process.outcome, Outcome::Completed);
    assert_eq!(process.passes.len(), 2);
    assert_eq!(process.peak_memory_kib, Some(9));
}

#[test]
fn a_killed_probe_keeps_its_passes() {
    let process = shell(&format!("{HELLO}{PASS}{PASS}kill -9 $$"), LONG);
    assert_eq!(
        process.outcome,
        Outcome::Crashed {
            how: "signal 9 (SIGKILL)".into(),
            after: Stage::Passes(2)
        }
    );
    assert_eq!(process.passes.len(), 2);
}

#[test]
fn an_early_exit_is_a_crash_even_with_code_zero() {
    let process = shell(&format!("{HELLO}exit 0"), LONG);
    assert_eq!(
        process.outcome,
        Outcome::Crashed {
            how: "exit code 0".into(),
            after: Stage::Hello
        }
    );
}

#[test]
fn dying_after_the_last_message_is_a_crash() {
    let process = shell(&format!("{HELLO}{PASS}{DONE}exit 3"), LONG);
    assert!(matches!(process.outcome, Outcome::Crashed { .. }));
}

#[test]
fn a_hanging_probe_is_killed_and_keeps_its_passes() {
    let process = shell(
        &format!("{HELLO}{PASS}exec sleep 60"),
        Duration::from_millis(800),
    );
    assert!(
        matches!(
            process.outcome,
            Outcome::TimedOut {
                after: Stage::Passes(1),
                ..
            }
        ),
        "{:?}",
        process.outcome
    );
    assert_eq!(process.passes.len(), 1);
}

#[test]
fn a_process_that_a_probe_leaves_behind_holds_nothing_up() {
    // It keeps standard output open.
    for (end, how) in [
        ("exit 0", "exit code 0"),
        ("kill -9 $$", "signal 9 (SIGKILL)"),
    ] {
        let process = shell(&format!("{HELLO}{PASS}sleep 15 & {end}"), LONG);
        let after = Stage::Passes(1);
        let how = how.into();
        assert_eq!(process.outcome, Outcome::Crashed { how, after });
    }
    let process = shell(&format!("{HELLO}{PASS}{DONE}sleep 15 &"), LONG);
    assert_eq!(process.outcome, Outcome::Completed);
}

#[test]
fn a_probe_that_never_stops_talking_is_ended() {
    let pass = PASS.trim_start_matches("echo '").trim_end_matches("'; ");
    let process = shell(&format!("{HELLO}yes '{pass}'"), TIMEOUT);
    let said = process.outcome.to_string();
    assert!(said.contains("more than 250,000 messages"), "{said}");
    // Either way; the second has closed standard output as well.
    for flood in ["yes >&2", "exec yes >&2"] {
        let process = shell(&format!("{HELLO}{flood}"), TIMEOUT);
        let said = process.outcome.to_string();
        assert!(
            said.contains("more than 256 MiB to standard error"),
            "{flood}: {said}"
        );
    }
}

#[test]
fn garbage_is_named() {
    let process = shell(&format!("{HELLO}echo Segmentation fault; {DONE}"), LONG);
    assert_eq!(
        process.outcome,
        Outcome::Garbled {
            line: "Segmentation fault".into(),
            after: Stage::Hello
        }
    );
    let process = shell("head -c 3000000 /dev/zero", LONG);
    assert!(matches!(process.outcome, Outcome::Garbled { .. }));
}

#[test]
fn another_protocol_is_refused() {
    let process = shell(&HELLO.replace(":3,\"backend", ":99,\"backend"), LONG);
    assert!(process.outcome.to_string().contains("protocol 99"));
}

#[test]
fn a_long_request_comes_in_a_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let binary = folder.path().join("probe");
    // What a probe does: it reads its request, and here says how long it is.
    let script = format!(
        "#!/bin/sh\n{HELLO}case $1 in @*) n=$(wc -c < \"${{1#@}}\");; *) n=$(printf %s \"$1\" | wc -c);; esac\n\
         echo length $n >&2\n{DONE}"
    );
    std::fs::write(&binary, script)?;
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))?;
    for outputs in [1, 3000] {
        let mut model = Model {
            name: "m".into(),
            format: firstpass_probe::Format::ONNX,
            path: "m.onnx".into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        model.outputs = (0..outputs)
            .map(|n| firstpass_probe::OutputSpec::new(format!("output {n:0>60}"), [1]))
            .collect();
        let (inputs, passes) = (Vec::new(), PassPlan::exactly(1));
        let trial = Trial::new(model, Knobs::default(), inputs, passes);
        let length = serde_json::to_string(&Request::Trial(trial.clone()))?.len();
        let process = Probe::at(&binary).trial(&trial);
        assert_eq!(process.outcome, Outcome::Completed, "{outputs} outputs");
        assert_eq!(process.stderr.trim(), format!("length {length}"));
    }
    Ok(())
}

#[test]
fn outputs_that_are_none_are_the_fault_of_who_wrote_them() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let binary = folder.path().join("probe");
    let outputs = folder.path().join("outputs.safetensors");
    for (write, words) in [
        ("true", "it wrote no file of outputs"),
        ("mkdir out", "it wrote no file of outputs"),
        ("mkfifo out", "it wrote no file of outputs"),
        ("ln -s /etc/passwd out", "it wrote no file of outputs"),
        ("touch out", "cannot be read"),
        (
            "head -c 100 /dev/zero | tr '\\0' '\\377' > out",
            "cannot be read",
        ),
    ] {
        let write = write.replace("out", &outputs.display().to_string());
        let script = format!("#!/bin/sh\n{HELLO}{PASS}{write}\n{DONE}\n");
        std::fs::write(&binary, script)?;
        std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))?;
        let model = Model {
            name: "m".into(),
            format: firstpass_probe::Format::ONNX,
            path: "m.onnx".into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let passes = PassPlan::exactly(1);
        let mut trial = Trial::new(model, Knobs::default(), Vec::new(), passes);
        trial.outputs = Some(outputs.clone());
        // What lies there is another engine's.
        clear(&outputs)?;
        let y = Tensor::new(&[1], vec![1.0_f32])?;
        firstpass_probe::write_tensors(&outputs, [("0/y".to_owned(), &y)])?;
        let said = Probe::at(&binary).trial(&trial).outcome.to_string();
        assert!(said.contains(words), "{write}: {said}");
    }
    Ok(())
}

#[test]
fn a_program_that_does_not_do_its_passes_has_not_completed() -> Result<()> {
    let second = said_pass(1);
    let third = said_pass(2);
    for (said, words) in [
        (vec![STEPS, PASS, &second, &second, PASS], None),
        (
            vec![STEPS, PASS, PASS, &second],
            Some("it did too few passes on input 1: 1 of at least 2"),
        ),
        (
            vec![STEPS],
            Some("it did too few passes on input 0: 0 of at least 2"),
        ),
        (
            vec![STEPS, &third],
            Some("it did a pass on input 2, counted from 0, and was given 2"),
        ),
        (
            vec![PASS, PASS, &second, &second],
            Some("it did not tell the step \"started\""),
        ),
    ] {
        let trial = two_passes_on_two_inputs();
        // It was spawned when the clock began.
        let process = parse_process(Cursor::new(output_of(&said)?));
        assert_eq!(process.outcome, Outcome::Completed, "{said:?}");
        let fault = check_passes(&trial, &process).err();
        match (&fault, words) {
            (None, None) => {}
            (Some(fault), Some(words)) => {
                assert!(fault.chain[0].contains(words), "{fault:?}");
            }
            _ => panic!("{said:?}: {fault:?}"),
        }
    }
    // A program of the user's own is looked at like that, one of this project is not.
    let folder = tempfile::tempdir()?;
    let binary = folder.path().join("probe");
    std::fs::write(&binary, format!("#!/bin/sh\n{HELLO}{PASS}{DONE}\n"))?;
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755))?;
    let mut probe = Probe::at(&binary);
    let outcome = |probe: &Probe| probe.trial(&two_passes_on_two_inputs()).outcome;
    assert_eq!(outcome(&probe), Outcome::Completed);
    probe.is_own = true;
    let said = outcome(&probe).to_string();
    assert!(said.contains("did not tell the step"), "{said}");
    Ok(())
}

#[test]
fn times_of_another_clock_are_an_error_of_the_program() -> Result<()> {
    let mut process = parse_process(Cursor::new(output_of(&[STEPS, PASS, &said_pass(1)])?));
    let trial = || {
        let mut trial = two_passes_on_two_inputs();
        trial.passes = PassPlan::exactly(1);
        trial
    };
    assert_eq!(check_passes(&trial(), &process).err(), None);
    let fault = |process: &Process| {
        let fault = check_passes(&trial(), process).err();
        fault.map_or_else(String::new, |fault| fault.chain[0].clone())
    };
    let sound = process.clone();
    // The date in place of the time since the machine was started.
    let date = 1_767_225_600_000_000_000;
    process.passes[1].span.start_ns = date;
    assert!(
        fault(&process).contains("the times of \"pass\""),
        "{}",
        fault(&process)
    );
    process = sound.clone();
    process.prepared = process.prepared.map(|mut span| {
        span.wall_ns = u64::MAX;
        span
    });
    assert!(
        fault(&process).contains("the times of \"prepared\""),
        "{}",
        fault(&process)
    );
    process = sound.clone();
    process.main_ns = Some(date);
    assert!(
        fault(&process).contains("the times of \"hello\""),
        "{}",
        fault(&process)
    );
    // Before it was spawned.
    process = sound;
    process.spawned_ns = 2;
    assert!(
        fault(&process).contains("monotonic clock"),
        "{}",
        fault(&process)
    );
    Ok(())
}

#[test]
fn what_is_told_twice_or_out_of_turn_is_an_error_of_the_program() -> Result<()> {
    let step = |step: &str| {
        format!("echo '{{\"message\":\"{step}\",\"span\":{{\"start_ns\":1,\"wall_ns\":1}}}}'; ")
    };
    let (started, loaded, prepared) = (step("started"), step("loaded"), step("prepared"));
    let (warmed_up, again) = (step("warmed-up"), step("prepared-again"));
    for (said, words) in [
        (
            vec![
                &*started, &loaded, &prepared, &warmed_up, PASS, &again, PASS,
            ],
            None,
        ),
        (
            vec![&*started, &loaded, &loaded, &prepared, PASS],
            Some("it told \"loaded\" twice"),
        ),
        (
            vec![&*started, &loaded, &prepared, PASS, &prepared],
            Some("it told \"prepared\" twice"),
        ),
        (
            vec![&*started, &loaded, &prepared, PASS, &warmed_up],
            Some("it told \"warmed-up\" after \"pass\""),
        ),
        (
            vec![&*started, &prepared, &loaded, PASS],
            Some("it told \"loaded\" after \"prepared\""),
        ),
        (vec![HELLO], Some("it told \"hello\" twice")),
    ] {
        let outcome = parse_process(Cursor::new(output_of(&said)?)).outcome;
        match words {
            None => assert_eq!(outcome, Outcome::Completed),
            Some(words) => assert!(outcome.to_string().contains(words), "{outcome}"),
        }
    }
    // Who does not greet first speaks no protocol, but may say why it fails.
    let process = shell(&format!("{PASS}{HELLO}{DONE}"), LONG);
    let said = process.outcome.to_string();
    assert!(
        said.contains("its first message is not \"hello\""),
        "{said}"
    );
    let failed = r#"echo '{"message":"failed","kind":"engine","phase":null,"chain":["no library"]}'; exit 1"#;
    assert!(
        shell(failed, LONG)
            .outcome
            .to_string()
            .contains("no library")
    );
    Ok(())
}

const STEPS: &str = r#"for step in started loaded prepared; do echo "{\"message\":\"$step\",\"span\":{\"start_ns\":1,\"wall_ns\":1}}"; done; "#;

fn said_pass(input: usize) -> String {
    PASS.replace("\"input\":0", &format!("\"input\":{input}"))
}

/// What a shell prints between the first and the last message.
fn output_of(said: &[&str]) -> Result<Vec<u8>> {
    let script = format!("{HELLO}{}{DONE}", said.concat());
    Ok(Command::new("/bin/sh")
        .args(["-c", &script])
        .output()?
        .stdout)
}

fn two_passes_on_two_inputs() -> Trial {
    let model = Model {
        name: "m".into(),
        format: firstpass_probe::Format::ONNX,
        path: "m.onnx".into(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    let inputs = vec!["a".into(), "b".into()];
    Trial::new(model, Knobs::default(), inputs, PassPlan::exactly(2))
}

#[test]
fn a_failure_without_a_word_is_a_sentence() {
    let failed = r#"echo '{"message":"failed","kind":"engine","phase":null,"chain":[]}'; "#;
    let process = shell(&format!("{HELLO}{failed}exit 1"), LONG);
    assert_eq!(process.outcome.to_string(), "failed: it gave no reason");
}

#[test]
fn standard_error_is_kept() {
    let process = shell(&format!("{HELLO}echo no such library >&2; exit 1"), LONG);
    assert!(process.stderr.contains("no such library"));
}

#[test]
fn a_missing_binary_is_an_outcome() {
    let process = Probe::at(Path::new("/nonexistent/probe"))
        .run(&[], &Knobs::default(), LONG)
        .0;
    assert!(matches!(process.outcome, Outcome::NotStarted(_)));
    assert!(process.outcome.to_string().contains("/nonexistent/probe"));
}
