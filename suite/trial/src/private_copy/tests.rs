use firstpass_onnx::{GraphProto, StringStringEntryProto, TensorProto, write::encode};

use super::*;

#[test]
fn what_was_hashed_is_what_is_read_whatever_happens_to_the_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    fs::create_dir(&models)?;
    let file = folder.path().join("model.pt");
    fs::write(&file, "what was looked at")?;
    let copy = PrivateCopy::below(&models, &file)?;
    fs::write(&file, "what was put in its place")?;
    assert_eq!(fs::read_to_string(&copy.path)?, "what was looked at");
    assert_eq!(sha256_of_file(&copy.path)?, copy.sha256);

    // The same content has the same place and date.
    let date = fs::metadata(&copy.path)?.modified()?;
    fs::write(&file, "what was looked at")?;
    let again = PrivateCopy::below(&models, &file)?;
    assert_eq!(again.path, copy.path);
    assert_eq!(fs::metadata(&again.path)?.modified()?, date);

    // A copy that was damaged is made anew.
    assert!(copy.is_unchanged());
    fs::remove_file(&copy.path)?;
    fs::write(&copy.path, "damaged")?;
    assert!(!copy.is_unchanged());
    PrivateCopy::below(&models, &file)?;
    assert_eq!(fs::read_to_string(&copy.path)?, "what was looked at");
    // Nothing half done is left.
    assert_eq!(fs::read_dir(&models)?.count(), 1);
    Ok(())
}

/// A model whose weights lie in a file of this name.
fn with_weights(location: &str) -> Vec<u8> {
    let entry = StringStringEntryProto {
        key: "location".into(),
        value: location.into(),
    };
    let weights = TensorProto {
        name: "w".into(),
        data_location: 1,
        external_data: vec![entry],
        ..TensorProto::default()
    };
    let graph = GraphProto {
        initializer: vec![weights],
        ..GraphProto::default()
    };
    encode(graph, 13)
}

#[cfg(unix)]
#[test]
fn weights_behind_a_link_out_of_the_folder_are_not_copied() -> Result<()> {
    use std::os::unix::fs::symlink;

    let root = tempfile::tempdir()?;
    let root = root.path();
    for folder in ["copies", "model/parts", "snapshot", "blobs"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("secret"), "of the user")?;
    fs::write(root.join("model/parts/w"), "weights")?;
    symlink("../secret", root.join("model/link"))?;
    symlink("..", root.join("model/up"))?;
    symlink("parts/w", root.join("model/within"))?;
    let copied = |folder: &str, location: &str| {
        let model = root.join(folder).join("model.onnx");
        if !model.exists() {
            fs::write(&model, with_weights(location))?;
        }
        PrivateCopy::below(&root.join("copies"), &model)
    };
    for (location, is_read) in [
        ("link", false),
        ("up/secret", false),
        ("", false),
        ("within", true),
        ("parts/w", true),
    ] {
        let copy = copied("model", location);
        assert_eq!(copy.is_ok(), is_read, "{location:?}: {copy:?}");
        fs::remove_file(root.join("model/model.onnx"))?;
    }
    // As the cache of a hub of models has it: links in one folder, the files in another.
    fs::write(root.join("blobs/1"), with_weights("model.data"))?;
    fs::write(root.join("blobs/2"), "weights")?;
    symlink("../blobs/1", root.join("snapshot/model.onnx"))?;
    symlink("../blobs/2", root.join("snapshot/model.data"))?;
    let copy = copied("snapshot", "")?;
    assert_eq!(
        fs::read_to_string(copy.path.with_file_name("model.data"))?,
        "weights"
    );
    Ok(())
}

#[test]
fn what_no_process_could_have_in_memory_is_not_copied() -> Result<()> {
    let root = tempfile::tempdir()?;
    let copies = root.path().join("copies");
    fs::create_dir(&copies)?;
    let model = root.path().join("model.onnx");
    fs::write(&model, with_weights("w"))?;
    // A hole takes no room.
    let weights = root.path().join("w");
    File::create(&weights)?.set_len(most_memory())?;
    let error = PrivateCopy::below(&copies, &model).expect_err("too large with the model");
    assert!(
        format!("{error:#}").contains("larger than the memory"),
        "{error:#}"
    );
    assert_eq!(fs::read_dir(&copies)?.count(), 0, "something is left");
    File::create(&weights)?.set_len(1)?;
    PrivateCopy::below(&copies, &model)?;
    Ok(())
}

#[test]
fn weights_may_be_named_in_several_ways_and_lie_in_the_model_itself() -> Result<()> {
    let root = tempfile::tempdir()?;
    let model = root.path().join("model.onnx");
    fs::write(root.path().join("w"), "weights")?;
    for location in ["./w", "model.onnx", "./model.onnx"] {
        fs::write(&model, with_weights(location))?;
        let copy = PrivateCopy::below(root.path(), &model)?;
        let read = fs::read(copy.path.with_file_name(location.trim_start_matches("./")))?;
        assert_eq!(read, fs::read(root.path().join(location))?, "{location}");
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn weights_in_a_pipe_are_not_waited_for() -> Result<()> {
    let root = tempfile::tempdir()?;
    let model = root.path().join("model.onnx");
    fs::write(&model, with_weights("pipe"))?;
    nix::unistd::mkfifo(&root.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU)?;
    let error = PrivateCopy::below(root.path(), &model).expect_err("no file");
    assert!(format!("{error:#}").contains("it is a pipe"), "{error:#}");
    Ok(())
}

#[test]
fn only_what_was_not_used_for_long_is_removed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let now = SystemTime::now();
    let dates = [
        ("old", now - 2 * KEPT),
        ("new", now),
        ("future", now + 2 * KEPT),
    ];
    for (name, date) in dates {
        fs::create_dir(folder.path().join(name))?;
        File::open(folder.path().join(name))?.set_modified(date)?;
    }
    remove_old(folder.path(), MOST);
    let left = |name: &str| folder.path().join(name).exists();
    assert!(!left("old") && left("new") && left("future"));
    Ok(())
}

#[test]
fn what_takes_too_much_is_removed_but_for_what_may_be_in_use() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let now = SystemTime::now();
    for (name, days, length) in [("a", 0, 50), ("b", 2, 40), ("c", 3, 40), ("d", 4, 5)] {
        let date = now - days * IN_USE;
        let copy = folder.path().join(name);
        fs::create_dir(&copy)?;
        fs::write(copy.join("m.onnx"), vec![0; length])?;
        let times = fs::FileTimes::new().set_accessed(date).set_modified(date);
        File::options()
            .write(true)
            .open(copy.join("m.onnx"))?
            .set_times(times)?;
        File::open(&copy)?.set_modified(date)?;
    }
    let left = |most| {
        remove_old(folder.path(), most);
        ["a", "b", "c", "d"].map(|name| folder.path().join(name).exists())
    };
    assert_eq!(left(135), [true; 4]);
    assert_eq!(left(134), [true, true, true, false]);
    assert_eq!(left(90), [true, true, false, false]);
    // It is of today.
    assert_eq!(left(1), [true, false, false, false]);
    Ok(())
}

#[test]
fn a_copy_is_found_by_what_it_holds() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let models = folder.path().join("models");
    fs::create_dir(&models)?;
    let file = folder.path().join("model.pt");
    fs::write(&file, "what was measured")?;
    let copy = PrivateCopy::below(&models, &file)?;
    fs::write(&file, "what was put in its place")?;
    let find = |sha256: &str| PrivateCopy::find_below(&models, &file, sha256, |_| None);
    assert_eq!(find(&copy.sha256), Some(copy.path.clone()));
    assert_eq!(find(&sha256_of_file(&file)?), None);
    fs::remove_file(&copy.path)?;
    assert_eq!(find(&copy.sha256), None);
    Ok(())
}
