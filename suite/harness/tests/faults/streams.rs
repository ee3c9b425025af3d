//! Standard output and standard error that take no word: nothing panics, and no verdict is given that nobody saw.

use std::{
    fs::File,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::{
    fault::Fault,
    left::has_report,
    models,
    place::{Ended, finish},
};

pub const FAULTS: &[Fault] = &[
    Fault::new(
        "help to a full disk",
        |place| to_full_disk(&mut place.firstpass(["--help"])),
        1,
        &["cannot write the help"],
    ),
    Fault::new(
        "a comparison to a full disk",
        |place| {
            let record = place.example()?;
            to_full_disk(place.firstpass(["compare"]).arg(&record).arg(&record))
        },
        1,
        &["cannot write to standard output"],
    ),
    Fault::new(
        "a gate to a full disk: no verdict",
        |place| {
            let record = place.example()?;
            let mut gate = place.firstpass(["gate", "--first-pass-max", "100x"]);
            to_full_disk(gate.arg(record))
        },
        2,
        &["cannot write to standard output"],
    ),
    Fault::new(
        "a trusted file said to a full disk",
        |place| {
            let file = place.write("model.pt", "PK")?;
            to_full_disk(place.firstpass(["trust"]).arg(file))
        },
        1,
        &["cannot write to standard output"],
    ),
    Fault::new(
        "a check to a full disk",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            to_full_disk(&mut place.check(&model))
        },
        1,
        &["cannot write to standard output", "the work itself is done"],
    )
    .surviving(|place, _| has_report(place)),
    Fault::new(
        "a comparison to a pipe that nobody reads",
        |place| {
            let record = place.example()?;
            let mut compare = place.firstpass(["compare"]);
            compare.arg(&record).arg(&record).stdout(Stdio::piped());
            let mut child = compare.stderr(Stdio::piped()).spawn()?;
            drop(child.stdout.take());
            finish(child)
        },
        1,
        &["cannot write to standard output"],
    ),
    Fault::new(
        "standard error to a full disk",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            let mut check = place.check(&model);
            check.stdout(Stdio::piped()).stderr(full()?);
            finish(check.spawn()?)
        },
        0,
        &["report: "],
    )
    .surviving(|place, _| has_report(place)),
];

fn full() -> Result<Stdio> {
    let full = File::options().write(true).open("/dev/full");
    Ok(full.context("this system has no /dev/full")?.into())
}

fn to_full_disk(command: &mut Command) -> Result<Ended> {
    finish(command.stdout(full()?).stderr(Stdio::piped()).spawn()?)
}
