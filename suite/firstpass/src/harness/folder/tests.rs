use super::*;

#[test]
fn a_record_is_shown_from_where_cargo_runs() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = Folder {
        path: root.path().join("target/firstpass/model"),
        target: root.path().join("target"),
        _lock: tempfile::tempfile().expect("a temporary file"),
    };
    let record = folder.path.join("record");
    assert_eq!(folder.shown(&record), record.display().to_string());
    fs::write(root.path().join("Cargo.toml"), "").expect("a manifest");
    assert_eq!(folder.shown(&record), "target/firstpass/model/record");
}

#[test]
fn one_check_waits_for_another() -> Result<()> {
    let target = tempfile::tempdir().expect("a temporary folder");
    let of = || Folder::of(&Check::new("m.onnx"), target.path().into());
    let folder = of()?;
    let other = File::create(target.path().join("firstpass/.lock")).expect("a lock");
    assert!(other.try_lock().is_err());
    fs::write(folder.path.join("old"), "").expect("a file");
    let path = folder.path.clone();
    drop(folder);
    other.try_lock().expect("a lock that is free");
    other.unlock().expect("a lock");
    // The same folder, and empty again.
    assert!(of()?.path == path && !path.join("old").exists());
    Ok(())
}
