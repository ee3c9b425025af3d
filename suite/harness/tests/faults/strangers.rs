//! Programs, lists and folders of others: nobody is let in, and nothing of the user's is told.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use anyhow::{Context, Result, ensure};

use crate::{
    fault::Fault,
    left::{read, says_nowhere},
    models,
    place::Place,
};

const SECRET: &str = "do-not-tell";

pub const FAULTS: &[Fault] = &[
    Fault::new(
        "a program that nobody trusts",
        |place| {
            let file = place.write("model.pt", program(place)?)?;
            place.run(place.check(&file).args(["--input", "1x3x8x8"]))
        },
        1,
        &["--trust", "cargo firstpass trust"],
    ),
    Fault::new(
        "a list of trusted programs that others can write",
        |place| {
            let file = place.write("model.pt", program(place)?)?;
            place.run(place.firstpass(["trust"]).arg(&file))?;
            let list = place.path("config/firstpass/trusted.toml");
            fs::set_permissions(&list, Permissions::from_mode(0o666))?;
            place.run(place.check(&file).args(["--input", "1x3x8x8"]))
        },
        1,
        &["trusted.toml is not used", "mode 666"],
    ),
    Fault::new(
        "a folder of copies that others can write",
        |place| {
            let planted = place.path("cache/firstpass");
            fs::create_dir(&planted)?;
            fs::set_permissions(&planted, Permissions::from_mode(0o777))?;
            let model = place.write("model.onnx", models::sound())?;
            place.run(&mut place.check(&model))
        },
        1,
        &["is not used, because others may use it (mode 777)"],
    )
    .on_each_engine()
    .surviving(|place, _| {
        let left = fs::read_dir(place.path("cache/firstpass"))?.count();
        ensure!(left == 0, "something was written there");
        Ok(())
    }),
    Fault::new(
        "a secret in the environment",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            let mut check = place.check(&model);
            place.run(check.env("ORT_API_TOKEN", SECRET).env("OMP_SECRET", SECRET))
        },
        0,
        &["report: "],
    )
    .surviving(|place, _| says_nowhere(place, SECRET)),
    Fault::new(
        "a checkout's owner's folders in a record",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            place.run(&mut place.check(&model))
        },
        0,
        &["report: "],
    )
    .on_each_engine()
    .surviving(|place, _| {
        let record = place.record()?;
        for file in ["run.json", &format!("{}.jsonl.zst", place.engine)] {
            let text = read(&record.join(file))?;
            let here = place.path("").display().to_string();
            ensure!(!text.contains(here.trim_end_matches('/')), "{file}: {text}");
        }
        Ok(())
    }),
];

/// A TorchScript file of the fixtures.
fn program(place: &Place) -> Result<Vec<u8>> {
    let models = fs::read_dir(place.of_project("fixtures/models"))?;
    let files = models.flatten().map(|model| model.path().join("model.pt"));
    let file = files.into_iter().find(|file| file.is_file());
    Ok(fs::read(
        file.context("no model of the fixtures is a program")?,
    )?)
}
