//! A program in another language is an engine: `examples/python-engine` keeps every rule of the protocol, and one
//! that breaks a rule is told which.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use firstpass_harness::python;
use firstpass_onnx::{
    GraphProto,
    write::{encode, f32_value, node},
};
use firstpass_trial::workspace::Workspace;

const FIRSTPASS: &str = env!("CARGO_BIN_EXE_firstpass");

/// Where this is set, missing Python is a failure.
const REQUIRED: &str = "FIRSTPASS_REQUIRE_ALL";

const EXAMPLE: &str = include_str!("../../../examples/python-engine/engine.py");

/// What is changed in the example, and the rule that it breaks then.
const BREAKS: [(&str, &str, &str); 5] = [
    (
        "digest=digest",
        "digest=\"same\"",
        "equal outputs have equal digests",
    ),
    (
        "f\"{number}/{name}\"",
        "f\"{number + 1}/{name}\"",
        "its outputs are in the file",
    ),
    (
        "    saved = {}\n",
        "    saved = {}\n    messages.write(\"ready\\n\")\n",
        "it tells its steps in order",
    ),
    ("passes[\"at_most\"]", "1", "it does as many passes"),
    (
        "if unknown := (set(knobs) - {\"threads\"}) | set(more):",
        "if False:",
        "a knob that it does not declare",
    ),
];

/// Python with the packages of the example; `None` where there is none and none is required.
fn python() -> Result<Option<PathBuf>> {
    let workspace = Workspace::find()?;
    let requirements = workspace
        .root()
        .join("examples/python-engine/requirements.txt");
    let folder = workspace.native().join("python-example");
    match python::set_up(&python::interpreter(), &folder, &requirements) {
        Ok(python) => Ok(Some(python)),
        Err(error) if std::env::var_os(REQUIRED).is_none() => {
            eprintln!("not tested: {error:#}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A program that runs this text of the example.
fn engine(folder: &Path, python: &Path, text: &str) -> Result<PathBuf> {
    let script = folder.join("engine.py");
    fs::write(&script, text)?;
    let program = folder.join("engine");
    let start = format!(
        "#!/bin/sh\nexec '{}' -I '{}' \"$@\"\n",
        python.display(),
        script.display()
    );
    fs::write(&program, start)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    Ok(program)
}

fn said(command: &mut Command) -> Result<(bool, String)> {
    let output = command.output().context("cannot run the command")?;
    let text = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[test]
fn the_example_is_an_engine_and_what_it_breaks_is_told() -> Result<()> {
    let Some(python) = python()? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let test = |program: &Path| {
        said(
            Command::new(FIRSTPASS)
                .args(["engines", "test"])
                .arg(program),
        )
    };
    let sound = engine(folder.path(), &python, EXAMPLE)?;
    let (keeps, text) = test(&sound)?;
    ensure!(
        keeps && !text.contains("BROKEN"),
        "the example breaks a rule:\n{text}"
    );

    let model = folder.path().join("relu.onnx");
    let graph = GraphProto {
        node: vec![node("Relu", &["x"], "y")],
        input: vec![f32_value("x", Some(&[1, 8]))],
        output: vec![f32_value("y", Some(&[1, 8]))],
        ..GraphProto::default()
    };
    fs::write(&model, encode(graph, 13))?;
    let mut check = Command::new(FIRSTPASS);
    check
        .args(["check", "--quick", "--budget", "2s", "--engine"])
        .arg(format!("mine={}", sound.display()))
        .arg("--out")
        .arg(folder.path().join("out"))
        .arg(&model);
    let (ran, text) = said(&mut check)?;
    ensure!(
        ran && text.contains(" mine "),
        "it was not measured:\n{text}"
    );

    for (what, instead, rule) in BREAKS {
        ensure!(EXAMPLE.contains(what), "the example has no {what:?}");
        let broken = engine(folder.path(), &python, &EXAMPLE.replace(what, instead))?;
        let (keeps, text) = test(&broken)?;
        ensure!(
            !keeps && text.contains(&format!("BROKEN  {rule}")),
            "{instead:?} in place of {what:?} was not told:\n{text}"
        );
    }
    Ok(())
}
