//! Commands that end before their work is done, or that meet another one: what was measured is never lost or mixed.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    fault::Fault,
    left::{has_no_row, has_report, lines},
    models,
    place::{Ended, Place, finish},
    signals,
};

pub const FAULTS: &[Fault] = &[
    Fault::new(
        "a second check into one folder",
        second_check,
        1,
        &["process ", "is checking into", "--out"],
    ),
    Fault::new(
        "a second check, into another folder",
        check_beside,
        0,
        &["is measuring on this machine as well", "report: "],
    )
    .surviving(|place, _| {
        let page = fs::read_to_string(place.path("second/trust.md"))?;
        let words = "another command of Firstpass measured meanwhile";
        ensure!(page.contains(words), "the page does not tell: {page}");
        Ok(())
    }),
    Fault::new(
        "SIGTERM",
        |place| ended_by(place, Signal::SIGTERM),
        143,
        &["interrupted by SIGTERM", ".partial", "report --from"],
    )
    .surviving(partial_record),
    Fault::new(
        "SIGHUP",
        |place| ended_by(place, Signal::SIGHUP),
        129,
        &["interrupted by SIGHUP", ".partial", "report --from"],
    )
    .surviving(partial_record),
    Fault::new(
        "SIGHUP, which it was started to ignore, and then SIGTERM",
        |place| ignored_and_ended(place, Signal::SIGHUP),
        143,
        &["interrupted by SIGTERM", ".partial", "report --from"],
    )
    .surviving(partial_record),
    Fault::new(
        "SIGINT, which a shell in the background has it ignore, and then SIGTERM",
        |place| ignored_and_ended(place, Signal::SIGINT),
        143,
        &["interrupted by SIGTERM", ".partial", "report --from"],
    )
    .surviving(partial_record),
    Fault::new(
        "SIGINT",
        |place| ended_by(place, Signal::SIGINT),
        130,
        &["interrupted", ".partial", "report --from"],
    )
    .surviving(partial_record),
    Fault::new(
        "SIGKILL, and the same command again",
        killed,
        0,
        &["report: "],
    )
    .on_each_engine(),
    Fault::new(
        "a model file that is cut while it is measured",
        cut_while_measured,
        0,
        &[
            "model.onnx is another file by now",
            "with SHA-256",
            "report: ",
        ],
    )
    .on_each_engine()
    .surviving(|place, _| {
        has_no_row(place, "\"crashed\"")?;
        let page = fs::read_to_string(place.out().join("trust.md"))?;
        ensure!(
            page.contains("another file lies there now"),
            "the page does not tell"
        );
        has_report(place)
    }),
    Fault::new(
        "a probe that is killed while it measures",
        probe_killed,
        0,
        &["report: "],
    )
    .on_each_engine()
    .surviving(|place, _| {
        let lines = lines(place)?;
        ensure!(lines.contains("SIGKILL"), "no row says how it ended");
        has_report(place)
    }),
    Fault::new(
        "a record that ends inside a character",
        cut_record,
        0,
        &["is cut off in line"],
    ),
];

fn second_check(place: &Place) -> Result<Ended> {
    let model = place.write("model.onnx", models::slow())?;
    let first = place.measuring(&model)?;
    let pid = first.id();
    let second = place.run(&mut place.check(&model))?;
    let named = second.said.contains(&format!("process {pid} "));
    ensure!(named, "it does not name process {pid}:\n{}", second.said);
    // The first goes on as if nothing had been.
    let first = place.end(first)?;
    ensure!(first.code == Some(0), "the first failed:\n{}", first.said);
    place.record()?;
    has_report(place)?;
    Ok(second)
}

/// A short check while another one measures into another folder, and keeps on.
fn check_beside(place: &Place) -> Result<Ended> {
    let model = place.write("model.onnx", models::slow())?;
    let first = place.measuring(&model)?;
    let ended = place.run(&mut place.check_into(&place.path("second"), &model))?;
    let named = ended.said.contains(&format!("process {} ", first.id()));
    ensure!(
        named,
        "it does not name process {}:\n{}",
        first.id(),
        ended.said
    );
    signals::send(first.id(), Signal::SIGTERM)?;
    place.end(first)?;
    Ok(ended)
}

fn ended_by(place: &Place, signal: Signal) -> Result<Ended> {
    let model = place.write("model.onnx", models::slow())?;
    let child = place.measuring(&model)?;
    let probe = signals::probe_of(child.id())?;
    signals::send(child.id(), signal)?;
    let ended = place.end(child)?;
    signals::gone(probe)?;
    Ok(ended)
}

fn ignored_and_ended(place: &Place, ignored: Signal) -> Result<Ended> {
    let model = place.write("model.onnx", models::slow())?;
    let child = place.measuring_without(ignored, &model)?;
    signals::send(child.id(), ignored)?;
    std::thread::sleep(Duration::from_millis(200));
    // Had the first signal ended it, its message would name that one.
    signals::send(child.id(), Signal::SIGTERM)?;
    place.end(child)
}

/// What was measured before an end can be shown, as was said.
fn partial_record(place: &Place, _: &Ended) -> Result<()> {
    let partial = place.record()?;
    let name = partial.display().to_string();
    ensure!(name.ends_with(".partial"), "{name} is not interrupted");
    let mut report = place.firstpass(["report", "--from"]);
    let shown = place.run(report.arg(partial).arg("--out").arg(place.path("shown")))?;
    ensure!(shown.code == Some(0), "it cannot be shown:\n{}", shown.said);
    ensure!(place.path("shown/README.md").is_file(), "no page is there");
    Ok(())
}

fn killed(place: &Place) -> Result<Ended> {
    let model = place.write("model.onnx", models::slow())?;
    let child = place.measuring(&model)?;
    let probe = signals::probe_of(child.id())?;
    signals::kill(child.id())?;
    let first = place.end(child)?;
    ensure!(first.code.is_none(), "it was not killed:\n{}", first.said);
    signals::gone(probe)?;
    let partial = place.record()?;
    let lines = fs::read(partial.join(format!("{}.jsonl", place.engine)))?;
    let second = place.run(&mut place.check(&model))?;
    // The second has taken nothing from the first, and swept up its temporary files.
    let kept = fs::read(partial.join(format!("{}.jsonl", place.engine)))?;
    ensure!(kept == lines, "the first record has changed");
    Ok(second)
}

fn cut_while_measured(place: &Place) -> Result<Ended> {
    let model = place.write("model.onnx", models::slow())?;
    let mut check = place.check(&model);
    let child = check
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    while place.record().is_err() {
        ensure!(
            Path::new(&format!("/proc/{}/stat", child.id())).exists(),
            "it made no record"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    File::options().write(true).open(&model)?.set_len(10)?;
    finish(child)
}

fn probe_killed(place: &Place) -> Result<Ended> {
    let model = place.write("model.onnx", models::slow())?;
    let mut child = place.measuring(&model)?;
    // A probe may end by itself before the signal comes.
    while !lines(place)?.contains("SIGKILL") {
        ensure!(child.try_wait()?.is_none(), "no probe was killed");
        for probe in signals::children(child.id())? {
            let _ = signals::kill(probe);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    place.end(child)
}

fn cut_record(place: &Place) -> Result<Ended> {
    let record = place.example()?;
    let path = record.join("alpha.jsonl");
    let mut lines = fs::read(&path)?;
    lines.extend_from_slice(b"{\"record\":\"unavailable\",\"reason\":\"zw\xc3");
    fs::write(path, lines)?;
    place.run(place.firstpass(["compare"]).arg(&record).arg(&record))
}
