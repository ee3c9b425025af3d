//! What is given wrongly fails where it is given, or before any engine runs, in the words of this crate.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use firstpass::{Check, Dtype, Error, ErrorKind, InputSpec, Result};
use firstpass_onnx::{
    DimensionProto, GraphProto,
    write::{encode, f32_value, node},
};

const MODEL: &str = "tests/example/model.onnx";
const GOLDEN: &str = "tests/example/golden.safetensors";

fn invalid<T>(result: Result<T>, words: &[&str]) -> Error {
    failure(result, ErrorKind::Invalid, words)
}

fn failure<T>(result: Result<T>, kind: ErrorKind, words: &[&str]) -> Error {
    let error = result.err().expect("must fail");
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    for words in words {
        assert!(text.contains(words), "{words:?}: {text}");
    }
    // The command line is named only as a whole, to be copied.
    for option in ["--input", "--trust", "--golden", "--sample"] {
        let alone = !text.contains("`cargo firstpass") && text.contains(option);
        assert!(!alone, "{option}: {text}");
    }
    assert_eq!(format!("{error:?}"), text, "a test that fails shows it");
    error
}

/// A folder of this name that is empty. It is the same in every run, because what is measured is kept by the
/// path of the model.
fn empty(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("a folder of this test");
    }
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// A model whose input has these lengths; those that are no numbers are open.
fn model(folder: &Path, lengths: &[&str]) -> PathBuf {
    let mut input = f32_value("image", Some(&vec![1; lengths.len()]));
    let tensor = input.r#type.as_mut().and_then(|t| t.tensor_type.as_mut());
    if let Some(shape) = tensor.and_then(|tensor| tensor.shape.as_mut()) {
        shape.dim = lengths
            .iter()
            .map(|length| DimensionProto {
                dim_value: length.parse().ok(),
                dim_param: length.parse::<i64>().is_err().then(|| (*length).into()),
            })
            .collect();
    }
    let graph = GraphProto {
        node: vec![node("Identity", &["image"], "y")],
        output: vec![f32_value("y", None)],
        input: vec![input],
        ..GraphProto::default()
    };
    let path = folder.join("m.onnx");
    fs::write(&path, encode(graph, 13)).expect("a model");
    path
}

#[test]
fn engines_are_listed() -> Result<()> {
    let error = invalid(Check::new(MODEL).engine("no such engine"), &["there are: "]);
    let text = error.to_string();
    let (_, names) = text.split_once("there are: ").expect("a list");
    let names: Vec<&str> = names.trim_end_matches(')').split(", ").collect();
    let longest = names
        .iter()
        .max_by_key(|name| name.len())
        .expect("an engine");
    let _ = Check::new(MODEL).engine(longest)?;
    let (first, rest) = longest.split_at(longest.len() / 2);
    let meant = format!("did you mean {longest:?}?");
    invalid(
        Check::new(MODEL).engine(&format!("{first}-{rest}")),
        &[&meant],
    );
    invalid(Check::new(MODEL).engine(&longest.to_uppercase()), &[&meant]);
    Ok(())
}

#[test]
fn absurd_numbers_are_refused() -> Result<()> {
    let check = Check::new(MODEL).threads(2)?.processes(2)?;
    invalid(check.clone().threads(0), &["0 threads"]);
    invalid(check.clone().threads(100_000), &["100000 threads"]);
    invalid(check.clone().processes(1), &["1 processes"]);
    invalid(check.clone().processes(10_000), &["2 to 1000"]);
    invalid(check.budget(Duration::from_millis(999)), &["999ms"]);
    Ok(())
}

#[test]
fn inputs_are_refused_where_they_are_given() -> Result<()> {
    invalid(Check::new(MODEL).input("x=1x0"), &["x=1x0"]);
    invalid(Check::new(MODEL).input("x=1x3:f8"), &["f8", "i64"]);
    let check = Check::new(MODEL).input(InputSpec::new("x", [1, 3])?.of(Dtype::F32))?;
    invalid(check.input("x=1x3"), &["given twice"]);
    invalid(Check::new(MODEL).sample(MODEL), &["model.onnx", ".npz"]);
    invalid(Check::new(MODEL).sample("no/such.npz"), &["no/such.npz"]);
    invalid(Check::new(MODEL).golden("golden.txt"), &["golden.txt"]);
    Ok(())
}

#[test]
fn files_are_looked_for_first() {
    invalid(Check::new("no/such.onnx").run(), &["no/such.onnx"]);
    invalid(Check::new(MODEL).also("no/such.pt").run(), &["no/such.pt"]);
    invalid(
        Check::new(GOLDEN).run(),
        &[GOLDEN, "weights without a graph"],
    );
}

#[test]
fn golden_outputs_that_are_not_there_are_no_reason_to_pass() -> Result<()> {
    let check = Check::new(MODEL)
        .input("x=1x3")?
        .golden("tests/no.golden.safetensors")?;
    failure(
        check.run(),
        ErrorKind::NothingToCompare,
        &[
            "tests/no.golden.safetensors are not there",
            "FIRSTPASS_GOLDEN=write",
            "`cargo firstpass golden tests/example/model.onnx --input x=1x3 --force --out \
             tests/no.golden.safetensors`",
        ],
    );
    assert!(!Path::new("tests/no.golden.safetensors").exists());
    Ok(())
}

#[test]
fn golden_outputs_are_those_of_their_inputs() -> Result<()> {
    let folder = empty("golden");
    let other = model(&folder, &["1", "4"]);
    let check = Check::new(&other).golden(GOLDEN)?;
    let words = [
        "[1, 3]",
        "[1, 4]",
        "if that is meant",
        "FIRSTPASS_GOLDEN=write",
    ];
    invalid(check.run(), &words);

    // Numpy does not say what they were made from, so that the inputs have to be given.
    let foreign = folder.join("expected.npz");
    fs::write(&foreign, b"").expect("a file");
    let check = Check::new(MODEL).golden(foreign)?;
    invalid(check.run(), &["expected.npz", "`.sample(…)`"]);
    Ok(())
}

#[test]
fn an_open_shape_is_asked_for_in_the_words_of_this_crate() -> Result<()> {
    let open = model(&empty("open"), &["batch", "3", "height", "width"]);
    let words = [
        "[batch, 3, height, width]",
        "`.input(\"image=1x3x224x224\")`",
    ];
    invalid(Check::new(&open).run(), &words);
    let wrong = Check::new(&open).input("picture=1x3x8x8")?;
    invalid(wrong.run(), &["no input \"picture\"", "\"image\""]);
    Ok(())
}

#[test]
fn a_program_has_to_be_trusted() -> Result<()> {
    let fixtures = fs::read_dir("../../fixtures/models").expect("the fixtures");
    let files = fixtures.flat_map(|model| {
        let folder = model.expect("a model").path();
        fs::read_dir(folder).into_iter().flatten().flatten()
    });
    let mut programs = files.map(|file| file.path()).filter(|path| {
        let begin = fs::read(path).map(|bytes| bytes.starts_with(b"PK"));
        begin.unwrap_or(false) && path.extension().is_some_and(|e| e == "pt")
    });
    let program = programs.next().expect("a TorchScript file");
    invalid(Check::new(&program).run(), &["program", "`.trust()`"]);
    let undecided = Check::new(&program).trust();
    invalid(
        undecided.run(),
        &["forward()", "`.input(\"image=1x3x224x224:f32\")`"],
    );
    Ok(())
}
