//! The programs `examples/ship-…`, which are there to be copied: each is built, run on photographs, and finds the
//! faces that its engine finds in the suite.
//!
//! An engine whose native library is not there is ignored and says so, but where [`REQUIRED`] is set that is a
//! failure.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

use anyhow::{Context, Result, ensure};
use firstpass_probe::{Knobs, Tensor, write_tensors};
use firstpass_trial::{
    detection::{BBox, Detection, match_boxes},
    engine::Backend,
    model::ModelDescription,
    process::{build_program, environment, once, start},
    sample::Sample,
    workspace::Workspace,
};
use libtest_mimic::{Arguments, Failed, Trial as Test};

/// Set by `firstpass test`.
const REQUIRED: &str = "FIRSTPASS_REQUIRE_ALL";

/// What the names of the programs begin with; the name of the engine follows.
const PREFIX: &str = "ship-";

const MODEL: &str = "models/faceboxes-int8-per-channel/model.toml";

/// A printed number may be off by half of its last digit: so much in a score, and in pixels.
const ROUNDING: [f32; 2] = [0.51e-4, 0.051];

/// A photograph, and where its upper left corner and its pixels lie in the input of the model.
struct Photo {
    file: PathBuf,
    corner: [f32; 2],
    scale: f32,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each builds.
    arguments.test_threads = Some(1);
    match tests() {
        Ok(tests) => libtest_mimic::run(&arguments, tests).exit_code(),
        Err(error) => {
            eprintln!("the programs cannot be tried: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn tests() -> Result<Vec<Test>> {
    let workspace = Arc::new(Workspace::find()?);
    let failed = |error: anyhow::Error| Failed::from(format!("{error:#}"));
    let mut tests = vec![Test::test("other faces are noticed", move || {
        other_faces_are_noticed().map_err(failed)
    })];
    for backend in workspace.engines()? {
        let program = format!("{PREFIX}{}", backend.name);
        if !workspace.root().join("examples").join(&program).is_dir() {
            continue;
        }
        let status = backend
            .native
            .as_ref()
            .map(|n| n.status(&workspace.native()));
        let missing = status.filter(|status| !status.is_usable());
        let is_ignored = missing.is_some() && std::env::var_os(REQUIRED).is_none();
        if let (Some(status), true) = (missing, is_ignored) {
            eprintln!("{program}: not tried: {status}; `cargo firstpass setup` installs it");
        }
        let workspace = Arc::clone(&workspace);
        let test = Test::test(program.clone(), move || {
            finds_the_faces_of_the_suite(&workspace, &backend, &program).map_err(failed)
        });
        tests.push(test.with_ignored_flag(is_ignored));
    }
    ensure!(
        tests.len() > 1,
        "no folder of examples begins with {PREFIX}"
    );
    Ok(tests)
}

fn finds_the_faces_of_the_suite(
    workspace: &Workspace,
    backend: &Backend,
    program: &str,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let description = ModelDescription::read(&workspace.fixtures().join(MODEL))?;
    let (probe, engine) = start(workspace, backend)?;
    let mut formats = engine.formats.iter();
    let model = formats.find_map(|format| description.artifact(*format));
    let model = model.with_context(|| format!("the fixtures have no file for {}", backend.name))?;
    // The program may write beside it.
    let name = model.path.file_name().context("the model is no file")?;
    let copy = folder.path().join(name);
    std::fs::copy(&model.path, &copy)?;
    let executable = build_program(workspace, backend, program)?;

    let (input, saved) = (folder.path().join("input"), folder.path().join("outputs"));
    for photo in photos(workspace, folder.path())? {
        let inputs = Sample::from_file(&photo.file).inputs(&description)?;
        write_tensors(
            &input,
            inputs.iter().map(|(name, tensor)| (name.clone(), tensor)),
        )?;
        let mut outputs = once(&probe, &model, &Knobs::default(), &input, &saved)?;
        let outputs = description.outputs.iter().map(|o| outputs.remove(&o.name));
        let outputs: Vec<Tensor> = outputs
            .collect::<Option<_>>()
            .context("an output is missing")?;
        let detection = description.detection.as_ref().context("no [detection]")?;
        let expected = detection.detect(&description, &outputs);
        ensure!(
            expected.len() > 1,
            "the suite finds {} faces",
            expected.len()
        );

        // Twice, where the first run prepares something for the second.
        for run in ["first", "second"] {
            let found = run_program(&executable, &environment(workspace, backend), &copy, &photo)?;
            same_faces(&expected, &found)
                .with_context(|| format!("{run} run on {}", photo.file.display()))?;
        }
    }
    Ok(())
}

/// One of the size that the model takes, and a square one that is enlarged and gets borders.
fn photos(workspace: &Workspace, folder: &Path) -> Result<[Photo; 2]> {
    let whole = workspace.fixtures().join("images/crowd-1.png");
    let square = folder.join("square.png");
    let part = image::open(&whole)?.crop_imm(60, 200, 240, 240);
    part.save(&square)?;
    Ok([
        Photo {
            file: whole,
            corner: [0.0, 0.0],
            scale: 1.0,
        },
        Photo {
            file: square,
            corner: [80.0, 0.0],
            scale: 2.0,
        },
    ])
}

/// The faces that a program prints, in pixels of the model's input.
fn run_program(
    executable: &Path,
    environment: &[(String, PathBuf)],
    model: &Path,
    photo: &Photo,
) -> Result<Vec<Detection>> {
    let mut command = Command::new(executable);
    command.args([model, &photo.file]);
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    let printed = String::from_utf8(output.stdout)?;
    printed.lines().map(|line| face(line, photo)).collect()
}

/// A line `score x0 y0 x1 y1`.
fn face(line: &str, photo: &Photo) -> Result<Detection> {
    let numbers = line.split(' ').map(str::parse);
    let numbers: Vec<f32> = numbers
        .collect::<Result<_, _>>()
        .with_context(|| line.to_owned())?;
    let [score, x0, y0, x1, y1] = numbers[..] else {
        anyhow::bail!("{line:?} does not hold five numbers");
    };
    let [x, y] = photo.corner;
    let place = |pixels: f32, corner: f32| pixels * photo.scale + corner;
    let bbox = [place(x0, x), place(y0, y), place(x1, x), place(y1, y)];
    Ok(Detection {
        bbox: bbox.into(),
        score,
    })
}

fn same_faces(expected: &[Detection], found: &[Detection]) -> Result<()> {
    let boxes = |faces: &[Detection]| faces.iter().map(|face| face.bbox).collect::<Vec<_>>();
    let matching = match_boxes(&boxes(expected), &boxes(found), 0.5);
    ensure!(
        matching.missed.is_empty() && matching.extra.is_empty(),
        "the suite finds {expected:?}, the program {found:?}"
    );
    let [of_score, of_place] = ROUNDING;
    for (i, j, _) in matching.pairs {
        let (wanted, face) = (&expected[i], &found[j]);
        let places = <[f32; 4]>::from(wanted.bbox)
            .into_iter()
            .zip(<[f32; 4]>::from(face.bbox));
        let apart = places.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        ensure!(
            // Twice, because the square photograph is enlarged so.
            apart <= 2.0 * of_place && (wanted.score - face.score).abs() <= of_score,
            "the suite finds {wanted:?}, the program {face:?}"
        );
    }
    Ok(())
}

fn other_faces_are_noticed() -> Result<()> {
    let face = |left: f32, score: f32| Detection {
        bbox: BBox::from([left, 20.0, left + 50.0, 80.0]),
        score,
    };
    let expected = [face(10.0, 0.9), face(200.0, 0.7)];
    same_faces(&expected, &[face(10.04, 0.90004), face(199.96, 0.7)])?;
    for (what, found) in [
        ("none", vec![]),
        ("one is missing", vec![face(10.0, 0.9)]),
        (
            "one more",
            vec![face(10.0, 0.9), face(200.0, 0.7), face(400.0, 0.6)],
        ),
        ("one elsewhere", vec![face(10.0, 0.9), face(201.0, 0.7)]),
        ("another score", vec![face(10.0, 0.9), face(200.0, 0.71)]),
        ("scores exchanged", vec![face(10.0, 0.7), face(200.0, 0.9)]),
    ] {
        ensure!(
            same_faces(&expected, &found).is_err(),
            "not noticed: {what}"
        );
    }
    Ok(())
}
