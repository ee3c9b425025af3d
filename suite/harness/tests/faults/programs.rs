//! Programs that are to be engines and are not as they should be, one row a fault. Each is measured as a user's own,
//! beside an engine that is well: that one has its row whatever the other does.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio};

use anyhow::{Result, ensure};

use crate::{
    fault::Fault,
    left::read,
    models,
    place::{Ended, Place, finish},
    signals,
};

/// What every probe says first, and how it answers what it is.
const HEAD: &str = r#"#!/bin/sh
say() { printf '%s\n' "$1"; }
now=1
span="\"span\":{\"start_ns\":$now,\"wall_ns\":1}"
pass="{\"message\":\"pass\",\"input\":0,\"digest\":\"d\",\"start_ns\":$now,\"wall_ns\":1}"
second="{\"message\":\"pass\",\"input\":1,\"digest\":\"d\",\"start_ns\":$now,\"wall_ns\":1}"
out=$(printf %s "$1" | sed -n 's/.*"outputs":"\([^"]*\)".*/\1/p')
say "{\"message\":\"hello\",\"protocol\":3,\"backend\":\"odd\",\"main_ns\":$now}"
say "{\"message\":\"started\",$span}"
case "$1" in
'"describe"')
    say '{"message":"description","engine":{"version":"1","binding":"sh","library":null,"details":{}},"formats":["onnx"],"knobs":[{"name":"threads","values":"count","default":"1","help":"x"}]}'
    say '{"message":"done"}'
    exit 0;;
'{"trial"'*) ;;
*)
    say '{"message":"failed","kind":"unsupported","phase":null,"chain":["not answered"]}'
    exit 1;;
esac
say "{\"message\":\"loaded\",$span}"
say "{\"message\":\"prepared\",$span}"
"#;

/// Leaves a program behind in a session of its own, and its number in the folder of the place, above that for
/// temporary files.
const LEAVING_ONE: &str =
    "setsid sh -c 'echo $$ >> \"$TMPDIR/../../../left\"; exec sleep 300' >/dev/null 2>&1 &";

/// A program that does this when it is asked for passes, beside an engine that is well.
const fn beside(
    what: &'static str,
    done: fn(&Place) -> Result<Ended>,
    says: &'static [&'static str],
) -> Fault {
    Fault::new(what, done, 0, says).surviving(has_both_rows)
}

pub const FAULTS: &[Fault] = &[
    Fault::new(
        "a program that floods standard error and outlives a firstpass that was killed",
        |place| outlived(place, "exec yes >&2", "yes"),
        0,
        &["report: "],
    ),
    Fault::new(
        "a program that does nothing and outlives a firstpass that was killed",
        |place| outlived(place, "exec sleep 300", "sleep 300"),
        0,
        &["report: "],
    ),
    Fault::new(
        "a firstpass that is killed, and what a program has started in a session of its own",
        |place| {
            let waiting = "while [ ! -s \"$TMPDIR/../../../left\" ]; do sleep 0.1; done";
            let script = format!("{LEAVING_ONE}\n{waiting}; exec sleep 301");
            outlived(place, &script, "sleep 301")
        },
        0,
        &["report: "],
    )
    .surviving(|place, _| {
        let left = fs::read_to_string(place.path("left"))?;
        ensure!(!left.is_empty(), "none was left behind");
        for pid in left.lines() {
            signals::gone(pid.parse()?)?;
        }
        Ok(())
    }),
    Fault::new(
        "a program that may not be run",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            place.write("odd", HEAD)?;
            place.run(place.check(&model).args(["--engine", "odd=./odd"]))
        },
        1,
        &[
            "the engine odd is no program",
            "./odd may not be run: `chmod +x`",
        ],
    ),
    beside(
        "a program that fills the disk",
        // A byte behind a hole takes no room.
        |place| measured(place, "exec dd if=/dev/zero of=\"$TMPDIR/all\" bs=1 count=1 conv=notrunc seek=17179869184 2>/dev/null"),
        &["odd", "crashed with signal 25 (SIGXFSZ)"],
    ),
    beside(
        "a program that floods standard error",
        |place| measured(place, "exec yes >&2"),
        &["odd", "it wrote more than 256 MiB to standard error"],
    ),
    Fault::new(
        "a program that says what it is and then hangs, with a budget of a second",
        hanging,
        0,
        &["odd", "killed after 10 s without an end"],
    )
    .surviving(has_both_rows),
    beside(
        "a program that ends and leaves another behind, which holds its output open",
        |place| measured(place, "sleep 300 & exit 0"),
        &["odd", "crashed with exit code 0"],
    ),
    Fault::new(
        "a program that leaves another behind, in a session of its own",
        |place| measured(place, &format!("{LEAVING_ONE}\nsleep 1; exit 0")),
        0,
        &["odd", "crashed with exit code 0"],
    )
    .surviving(|place, ended| {
        let left = fs::read_to_string(place.path("left"))?;
        ensure!(!left.is_empty(), "none was left behind");
        for pid in left.lines() {
            signals::gone(pid.parse()?)?;
        }
        has_both_rows(place, ended)
    }),
    beside(
        "a program that prints what is no text",
        |place| measured(place, r"printf '\377\376\000\001garbage\n'"),
        &["odd", "printed something that is not a message"],
    ),
    beside(
        "a program whose times are no numbers",
        |place| {
            measured(
                place,
                r#"say '{"message":"pass","input":0,"digest":"d","start_ns":1,"wall_ns":NaN}'"#,
            )
        },
        &["odd", "printed something that is not a message"],
    ),
    beside(
        "a program whose times are below 0",
        |place| {
            measured(
                place,
                r#"say '{"message":"pass","input":0,"digest":"d","start_ns":1,"wall_ns":-5}'"#,
            )
        },
        &["odd", "printed something that is not a message"],
    ),
    beside(
        "a program that does a pass on an input below 0",
        |place| {
            measured(
                place,
                r#"say '{"message":"pass","input":-1,"digest":"d","start_ns":1,"wall_ns":1}'"#,
            )
        },
        &["odd", "printed something that is not a message"],
    ),
    Fault::new(
        "a program that fails with two million letters",
        |place| measured(place, r#"say "{\"message\":\"failed\",\"kind\":\"engine\",\"phase\":null,\"chain\":[\"$(head -c 2000000 /dev/zero | tr '\0' x)\"]}"; exit 1"#),
        0,
        &["odd", "failed: xxx", "more characters)"],
    )
    .surviving(|place, ended| {
        let length = ended.said.len();
        ensure!(length < 50_000, "it said {length} bytes");
        has_both_rows(place, ended)
    }),
    beside(
        "a program that never stops talking",
        |place| measured(place, r#"yes "$pass""#),
        &["odd", "it wrote more than 250,000 messages"],
    ),
    beside(
        "a program that fails without a word",
        |place| {
            measured(
                place,
                r#"say '{"message":"failed","kind":"engine","phase":null,"chain":[]}'; exit 1"#,
            )
        },
        &["odd", "failed: it gave no reason"],
    ),
    beside(
        "a program that prints half a message",
        |place| measured(place, r#"printf '{"message":"pa'"#),
        &["odd", "printed something that is not a message"],
    ),
    beside(
        "a program of another protocol",
        |place| {
            measured(
                place,
                r#"say '{"message":"hello","protocol":99,"backend":"odd","main_ns":1}'"#,
            )
        },
        &["odd", "speaks protocol 99"],
    ),
    beside(
        "a program that writes no outputs after one that did",
        |place| measured(place, r#"say "$pass"; say '{"message":"done"}'"#),
        &["odd", "it wrote no file of outputs"],
    ),
    beside(
        "a program whose outputs are a pipe",
        |place| {
            measured(
                place,
                r#"say "$pass"; [ -z "$out" ] || mkfifo "$out"; say '{"message":"done"}'"#,
            )
        },
        &["odd", "it wrote no file of outputs"],
    ),
    beside(
        "a program whose outputs are no tensors",
        |place| measured(place, r#"say "$pass"; [ -z "$out" ] || echo nonsense > "$out"; say '{"message":"done"}'"#),
        &["odd", "the outputs that it wrote cannot be read"],
    ),
    beside(
        "a program whose outputs are 12 GiB, as a file of holes",
        |place| measured(place, r#"say "$pass"; header='{"0/y":{"dtype":"U8","shape":[12884901888],"data_offsets":[0,12884901888]}}'
[ -z "$out" ] || { printf "\\$(printf %o ${#header})\000\000\000\000\000\000\000%s" "$header" > "$out"; truncate -s 12884901971 "$out"; }
say '{"message":"done"}'"#),
        &[
            "odd",
            "the outputs that it wrote are too large",
            "more than 2048 MiB are not read",
        ],
    ),
    beside(
        "a program whose digests are 2 MB each",
        |place| measured(place, r#"say "{\"message\":\"pass\",\"input\":0,\"digest\":\"$(head -c 2000000 /dev/zero | tr '\0' x)\",\"start_ns\":1,\"wall_ns\":1}""#),
        &["odd", "a digest is longer than 1024 bytes"],
    ),
    beside(
        "a program that says 256 MiB",
        // A field that is not known is not looked at.
        |place| measured(place, r#"yes "{\"message\":\"pass\",\"input\":0,\"digest\":\"d\",\"start_ns\":1,\"wall_ns\":1,\"more\":\"$(head -c 100000 /dev/zero | tr '\0' x)\"}""#),
        &["odd", "it wrote more than 256 MiB of messages"],
    ),
    beside(
        "a program whose outputs have other names",
        |place| {
            // A header of 2 bytes: no tensor at all.
            in_time(place, r#"say "$pass"; say "$second"; [ -z "$out" ] || printf '\002\000\000\000\000\000\000\000{}' > "$out"; say '{"message":"done"}'"#)
        },
        &["odd", "the probe gave no outputs for"],
    ),
    beside(
        "a program that does fewer passes than it is asked for",
        |place| in_time(place, r#"say "$pass"; [ -z "$out" ] || printf '\002\000\000\000\000\000\000\000{}' > "$out"; say '{"message":"done"}'"#),
        &[
            "odd",
            "it did too few passes on input 1: 0 of at least 1",
            "firstpass engines test",
        ],
    ),
    beside(
        "a program that empties the folder for temporary files",
        |place| measured(place, r#"rm -rf "$TMPDIR" "$TMPDIR"/*; exit 7"#),
        &["odd", "crashed with exit code 7"],
    ),
    Fault::new(
        "a program that writes to the model file",
        |place| measured(place, r#"model=$(printf %s "$1" | sed -n 's/.*"path":"\([^"]*\)".*/\1/p'); chmod u+w "$model"; echo more >> "$model"; exit 7"#),
        1,
        &[
            "an engine has changed the copy of",
            "model.onnx that all engines read",
            "Measure again",
            "crashed with exit code 7",
        ],
    ),
    beside(
        "a program that tells a step twice",
        |place| measured(place, r#"say "{\"message\":\"loaded\",$span}"; say "$pass"; say '{"message":"done"}'"#),
        &["odd", "it told \"loaded\" twice", "firstpass engines test"],
    ),
    beside(
        "a program that tells a step after its passes",
        |place| measured(place, r#"say "$pass"; say "{\"message\":\"warmed-up\",$span}"; say '{"message":"done"}'"#),
        &[
            "odd",
            "it told \"warmed-up\" after \"pass\"",
            "firstpass engines test",
        ],
    ),
    beside(
        "a program that tells the date in place of the monotonic clock",
        |place| measured(place, r#"say '{"message":"pass","input":0,"digest":"d","start_ns":1767225600000000000,"wall_ns":1}'
say "$second"; [ -z "$out" ] || printf '\002\000\000\000\000\000\000\000{}' > "$out"; say '{"message":"done"}'"#),
        &[
            "odd",
            "they must be of the monotonic clock",
            "firstpass engines test",
        ],
    ),
    beside(
        "a program that does a pass on an input that there is not",
        |place| in_time(place, r#"say "{\"message\":\"pass\",\"input\":99,\"digest\":\"d\",\"start_ns\":$now,\"wall_ns\":1}"
[ -z "$out" ] || printf '\002\000\000\000\000\000\000\000{}' > "$out"; say '{"message":"done"}'"#),
        &[
            "odd",
            "it did a pass on input 99, counted from 0, and was given 2",
        ],
    ),
    beside(
        "a program whose outputs have another shape",
        |place| {
            // The length of the header, the header, and a byte for each of the two inputs.
            in_time(place, r#"say "$pass"; say "$second"; header='{"0/y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"1/y":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'
[ -z "$out" ] || { printf "\\$(printf %o ${#header})\000\000\000\000\000\000\000%sab" "$header" > "$out"; }
say '{"message":"done"}'"#)
        },
        &[
            "odd",
            "has the shape [1], but the model declares [1, 3, 8, 8]",
        ],
    ),
];

/// A check that is killed while this program runs, which must end; then the same check with a sound program.
fn outlived(place: &Place, trial: &str, command: &str) -> Result<Ended> {
    let model = place.write("model.onnx", models::sound())?;
    let program = place.write("odd", format!("{HEAD}{trial}\n"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let mut check = place.firstpass(["check", "--quick", "--threads", "1", "--budget", "100s"]);
    check
        .arg("--engine")
        .arg(format!("odd={}", program.display()));
    check.arg("--out").arg(place.out()).arg(&model);
    let child = check
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let running = signals::child_that_runs(child.id(), command)?;
    signals::kill(child.id())?;
    let killed = finish(child)?;
    ensure!(killed.code.is_none(), "it was not killed:\n{}", killed.said);
    signals::gone(running)?;
    fs::remove_dir_all(place.out())?;
    place.run(&mut place.check(&model))
}

/// A check of a second with a program that answers what it is and nothing else. The first wait is a minute, which a
/// slow model may need.
fn hanging(place: &Place) -> Result<Ended> {
    let model = place.write("model.onnx", models::sound())?;
    let head = HEAD.replace("'{\"trial\"'*) ;;", "*) exec sleep 300;;");
    ensure!(head != HEAD, "the head of programs has changed");
    let program = place.write("odd", head)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let mut check = place.check(&model);
    place.run(
        check
            .arg("--engine")
            .arg(format!("odd={}", program.display())),
    )
}

/// A look at a model on an engine that is well and on this program.
fn measured(place: &Place, trial: &str) -> Result<Ended> {
    run(place, HEAD, trial)
}

fn run(place: &Place, head: &str, trial: &str) -> Result<Ended> {
    let model = place.write("model.onnx", models::sound())?;
    let program = place.write("odd", format!("{head}{trial}\n"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let mut check = place.check(&model);
    place.run(
        check
            .arg("--engine")
            .arg(format!("odd={}", program.display())),
    )
}

/// The same, of a program that tells the time.
fn in_time(place: &Place, trial: &str) -> Result<Ended> {
    // No command of a plain shell does.
    let clock = "now=$(python3 -c 'import time; print(time.monotonic_ns())')";
    let head = HEAD.replace("now=1", clock);
    ensure!(head != HEAD, "the head of programs has changed");
    run(place, &head, trial)
}

fn has_both_rows(place: &Place, _: &Ended) -> Result<()> {
    let record = place.record()?;
    for engine in [&place.engine, "odd"] {
        let lines = read(&record.join(format!("{engine}.jsonl.zst")))?;
        ensure!(lines.contains("\"observation\""), "{engine} has no row");
    }
    Ok(())
}
