//! The command where it was installed: in no checkout, with engines in a folder of the user's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use firstpass_onnx::{
    GraphProto,
    write::{encode, f32_value, node},
};
use firstpass_trial::workspace::{HOME, Workspace};
use tempfile::TempDir;

const FIRSTPASS: &str = env!("CARGO_BIN_EXE_firstpass");

struct Place(TempDir);

impl Place {
    fn new() -> Result<Self> {
        let place = Self(tempfile::tempdir()?);
        fs::create_dir(place.own())?;
        Ok(place)
    }

    /// A project of the user's own.
    fn own(&self) -> PathBuf {
        self.0.path().join("own")
    }

    fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    fn firstpass(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(FIRSTPASS);
        command
            .args(arguments)
            .current_dir(self.own())
            .env(HOME, self.home())
            .env("XDG_CACHE_HOME", self.0.path().join("cache"))
            // Of the checkout that this test runs in.
            .env_remove("CARGO_MANIFEST_DIR");
        command.output().context("cannot run the command")
    }

    fn succeeds(&self, arguments: &[&str]) -> Result<String> {
        let output = self.firstpass(arguments)?;
        ensure!(
            output.status.success(),
            "{arguments:?} failed:\n{}",
            said(&output)
        );
        Ok(said(&output))
    }

    fn fails(&self, arguments: &[&str]) -> Result<String> {
        let output = self.firstpass(arguments)?;
        ensure!(
            !output.status.success(),
            "{arguments:?} did not fail:\n{}",
            said(&output)
        );
        Ok(said(&output))
    }

    fn write_model(&self) -> Result<()> {
        let graph = GraphProto {
            node: vec![node("Relu", &["x"], "y")],
            input: vec![f32_value("x", Some(&[1, 8]))],
            output: vec![f32_value("y", Some(&[1, 8]))],
            ..GraphProto::default()
        };
        Ok(fs::write(self.own().join("relu.onnx"), encode(graph, 13))?)
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// What is built already is not built again: the folder that this test was built in.
fn target() -> Result<PathBuf> {
    let program = Path::new(FIRSTPASS);
    let target = program.parent().and_then(Path::parent);
    Ok(target
        .context("the command lies in no target folder")?
        .to_owned())
}

#[test]
fn without_engines_it_is_said_how_to_have_some() -> Result<()> {
    let place = Place::new()?;
    place.write_model()?;
    for command in [&["check", "relu.onnx"][..], &["doctor"]] {
        let text = place.fails(command)?;
        assert!(text.contains("firstpass engines add"), "{text}");
    }
    assert!(place.succeeds(&["engines"])?.contains("no engine is here"));
    assert!(place.fails(&["bench"])?.contains("works on a checkout"));
    assert!(
        place
            .fails(&["engines", "remove", "nosuch"])?
            .contains("is not installed")
    );
    assert!(
        place
            .fails(&["engines", "add", "nosuch"])?
            .contains("there are: ")
    );
    Ok(())
}

#[test]
fn an_installed_engine_measures_in_any_folder_and_writes_only_there() -> Result<()> {
    let place = Place::new()?;
    place.write_model()?;
    let engines = Workspace::find()?.engines()?.into_iter();
    let mut engines = engines.filter(|engine| engine.native.is_none());
    let engine = engines.next().context("every engine needs a library")?.name;
    let target = target()?;
    let add = ["engines", "add", &engine, "--target-dir"];
    let target = target.to_string_lossy();
    place.succeeds(&[&add[..], &[&target]].concat())?;

    assert!(place.succeeds(&["engines"])?.contains(&engine));
    assert!(place.succeeds(&["doctor"])?.contains("1 of 1 engine run"));
    place.succeeds(&["check", "relu.onnx", "--quick", "--budget", "2s"])?;
    let report = fs::read_to_string(place.own().join("firstpass/relu/README.md"))?;
    assert!(report.contains("relu"), "{report}");
    // Which works in a checkout only.
    assert!(!report.contains("cargo firstpass"), "{report}");
    let mut found: Vec<_> = fs::read_dir(place.own())?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_>>()?;
    found.sort();
    assert_eq!(found, ["firstpass", "relu.onnx"]);

    place.succeeds(&["engines", "remove", &engine])?;
    assert!(place.succeeds(&["engines"])?.contains("no engine is here"));
    Ok(())
}
