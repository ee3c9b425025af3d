use firstpass_onnx::{
    GraphProto,
    write::{constant, encode, f32_value, node},
};
use firstpass_trial::{expectation::ExpectationVerdict, workload::Workload};

use super::*;
use crate::{
    studies::first_passes::made_up::{self, Multiplied},
    user_model::UserModel,
};

/// A model that multiplies its input of this shape by a weight.
fn write_model(path: &Path, shape: &[usize], weight: f32) -> Result<()> {
    let graph = GraphProto {
        node: vec![node("Mul", &["x", "weight"], "y")],
        initializer: vec![constant("weight", &[1], &[weight])],
        input: vec![f32_value("x", Some(shape))],
        output: vec![f32_value("y", Some(shape))],
        ..GraphProto::default()
    };
    Ok(fs::write(path, encode(graph, 13))?)
}

fn described(file: &Path, golden: Option<&Path>, folder: &Path) -> Result<Workload> {
    let workspace = Workspace::find()?;
    let own = UserModel {
        files: vec![file.into()],
        ..UserModel::default()
    };
    let inputs = Inputs {
        files: Vec::new(),
        golden: golden.map(Into::into),
    };
    lay_out(
        &workspace,
        own.describe(&workspace)?,
        &inputs,
        folder,
        false,
    )
}

/// A record in which each engine multiplies by a number of its own; without any engine.
fn analysis(workload: &Workload, folder: &Path, engines: &[(&str, f32)]) -> Result<Analysis> {
    let multiplied = engines.iter().map(|(engine, weight)| Multiplied {
        engine,
        weight: *weight,
        unoptimized: *weight,
    });
    made_up::analysis(workload, folder, &multiplied.collect::<Vec<_>>())
}

fn verdicts(analysis: &Analysis) -> Vec<Option<ExpectationVerdict>> {
    let rows = analysis.rows.values().flatten();
    rows.map(|row| row.verdict.clone()).collect()
}

struct Folder {
    _temporary: tempfile::TempDir,
    model: PathBuf,
    golden: PathBuf,
    root: PathBuf,
}

/// A model with the weight 2, whose golden outputs were kept from the engine `x`.
fn kept() -> Result<(Folder, Kept)> {
    let temporary = tempfile::tempdir()?;
    let root = temporary.path().to_owned();
    let folder = Folder {
        _temporary: temporary,
        model: root.join("m.onnx"),
        golden: root.join("m.golden.safetensors"),
        root,
    };
    write_model(&folder.model, &[1, 3], 2.0)?;
    let at = folder.root.join("first");
    let workload = described(&folder.model, None, &at)?;
    let kept = keep(&analysis(&workload, &at, &[("x", 2.0)])?, &folder.golden)?;
    Ok((folder, kept))
}

#[test]
fn other_weights_are_seen_by_one_engine_alone() -> Result<()> {
    let (folder, kept) = kept()?;
    assert_eq!(kept.engine, "x");
    assert_eq!(kept.samples, ["random-1", "random-2"]);

    let at = folder.root.join("same");
    let workload = described(&folder.model, Some(&folder.golden), &at)?;
    let same = analysis(&workload, &at, &[("x", 2.0)])?;
    assert_eq!(verdicts(&same), [Some(ExpectationVerdict::FloatRounding)]);
    let origin = Origin::read(&folder.golden)?.context("it says where it is from")?;
    assert!(origin.changed_files(&same.models()[0])?.is_empty());

    write_model(&folder.model, &[1, 3], 3.0)?;
    let at = folder.root.join("other");
    let workload = described(&folder.model, Some(&folder.golden), &at)?;
    let other = analysis(&workload, &at, &[("x", 3.0)])?;
    let [Some(ExpectationVerdict::Unexpected(faults))] = &verdicts(&other)[..] else {
        bail!("{:?}", verdicts(&other));
    };
    assert!(faults[0].starts_with("y: differs by"), "{faults:?}");
    let changed = origin.changed_files(&other.models()[0])?;
    assert_eq!(changed, std::slice::from_ref(&folder.model));
    Ok(())
}

#[test]
fn what_it_was_made_from_travels_with_a_copy() -> Result<()> {
    let (folder, _) = kept()?;
    let at = folder.root.join("again");
    let workload = described(&folder.model, Some(&folder.golden), &at)?;
    let model = &workload.models[0];
    let copy = model.path(model.golden.as_deref().context("it has golden outputs")?);
    assert_ne!(copy, folder.golden);
    assert_eq!(Origin::read(&copy)?, Origin::read(&folder.golden)?);
    Ok(())
}

#[test]
fn another_input_is_an_error() -> Result<()> {
    let (folder, _) = kept()?;
    write_model(&folder.model, &[1, 4], 2.0)?;
    let at = folder.root.join("other");
    let error = described(&folder.model, Some(&folder.golden), &at).expect_err("must fail");
    assert!(error.downcast_ref::<Mismatch>().is_some());
    let error = error.to_string();
    assert!(
        error.contains("[1, 3]") && error.contains("[1, 4]"),
        "{error}"
    );

    // Of the same shape, so that only the values tell.
    write_model(&folder.model, &[1, 3], 2.0)?;
    let mut origin = Origin::read(&folder.golden)?.context("it says where it is from")?;
    let workload = described(&folder.model, None, &at)?;
    let check =
        |origin: &Origin| origin.check(&folder.golden, &workload.models[0], &workload.samples);
    check(&origin)?;
    let first = origin.inputs.values_mut().next().context("a sample")?;
    first[0].sha256 = "00".into();
    let error = check(&origin).expect_err("must fail");
    assert!(error.to_string().contains("random-1"), "{error}");
    origin.inputs.clear();
    let error = check(&origin).expect_err("must fail");
    assert!(error.downcast_ref::<Mismatch>().is_some(), "{error}");
    Ok(())
}

#[test]
fn the_same_outputs_are_the_same_file() -> Result<()> {
    let ((a, _), (b, _)) = (kept()?, kept()?);
    assert_eq!(fs::read(&a.golden)?, fs::read(&b.golden)?);
    Ok(())
}

/// As when a model is run for the first time on several engines.
#[test]
fn of_several_engines_one_that_agrees_is_kept_and_others_are_named() -> Result<()> {
    let (folder, _) = kept()?;
    let at = folder.root.join("several");
    let workload = described(&folder.model, None, &at)?;
    let several = analysis(&workload, &at, &[("a", 9.0), ("b", 2.0), ("c", 2.0)])?;
    let kept = keep(&several, &folder.golden)?;
    assert_eq!(kept.engine, "b");
    assert_eq!(kept.differing.len(), 1);
    assert!(kept.differing[0].starts_with("a differs: y"), "{kept}");

    // Of two that differ nobody is right for having smaller outputs.
    let at = folder.root.join("two");
    let workload = described(&folder.model, None, &at)?;
    let two = analysis(&workload, &at, &[("a", 0.0), ("b", 2.0)])?;
    let error = keep(&two, &folder.golden).expect_err("must fail");
    assert!(error.to_string().contains("nothing says who"), "{error}");
    Ok(())
}

#[test]
fn what_cannot_be_golden_is_refused() -> Result<()> {
    let (folder, _) = kept()?;
    let at = folder.root.join("refused");
    let workload = described(&folder.model, None, &at)?;
    let nobody = analysis(&workload, &at, &[])?;
    let error = keep(&nobody, &folder.golden).expect_err("must fail");
    assert!(error.to_string().contains("no engine"), "{error}");

    let mut moody = analysis(&workload, &at, &[("x", 2.0)])?;
    moody.repeatability[0].differs_from_pass = Some(2);
    let error = keep(&moody, &folder.golden).expect_err("must fail");
    assert!(error.to_string().contains("pass 2"), "{error}");
    let error = keep(&moody, Path::new("golden.npz")).expect_err("must fail");
    assert!(error.to_string().contains(".safetensors"), "{error}");
    Ok(())
}
