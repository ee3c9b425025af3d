use std::fs;

use firstpass_probe::Format;

use super::*;
use crate::model::Precision;

#[test]
fn the_word_of_a_file_beside_a_program_is_no_trust() -> Result<()> {
    let workspace = Workspace::find()?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("model.pt");
    fs::write(&program, "what the user has looked at")?;
    let mut model = ModelDescription::for_tests(Precision::Fp32);
    model.file = folder.path().join("model.toml");
    model
        .artifacts
        .insert(Format::TORCHSCRIPT, "model.pt".into());
    model
        .sha256
        .insert("model.pt".into(), sha256_of_file(&program)?);
    let file = model
        .artifact(Format::TORCHSCRIPT)
        .context("it has a file")?;

    let mut workload = Workload::new(&workspace, Vec::new(), Vec::new())?;
    let error = workload.admit(&model, &file).expect_err("not trusted");
    assert!(error.to_string().contains("--trust"), "{error}");

    // Trusted for this command. What is put in its place is not run.
    workload.trust = true;
    fs::write(&program, "what another has put there")?;
    let admitted = workload.admit(&model, &file)?;
    let read = fs::read_to_string(admitted.path)?;
    assert_eq!(read, "what the user has looked at");

    let changed = Workload::new(&workspace, Vec::new(), Vec::new())?;
    let error = changed.admit(&model, &file).expect_err("it was changed");
    assert!(error.to_string().contains("was changed"), "{error}");
    Ok(())
}
