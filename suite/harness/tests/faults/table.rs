//! One row a fault.

use std::{
    fs::{self, File, Permissions},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use firstpass_trial::workspace::Workspace;
use nix::sys::signal::Signal;

use crate::{
    models,
    place::{Ended, Place, finish},
    signals,
};

/// Something that goes wrong.
pub struct Fault {
    pub what: &'static str,
    pub on: On,
    /// Does it, and returns how the command ended that it was done to.
    pub done: fn(&Place) -> Result<Ended>,
    /// The exit code.
    pub code: i32,
    /// What must be said.
    pub says: &'static [&'static str],
    /// Whether what must survive has.
    pub survives: fn(&Place, &Ended) -> Result<()>,
}

/// How often a fault is tried.
#[derive(Clone, Copy)]
pub enum On {
    Once,
    EachEngine,
}

pub const FAULTS: &[Fault] = &[
    // What was measured is never lost or mixed.
    Fault {
        what: "a second check into one folder",
        on: On::Once,
        done: second_check,
        code: 1,
        says: &["process ", "is checking into", "--out"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a second check, into another folder",
        on: On::Once,
        done: check_beside,
        code: 0,
        says: &["is measuring on this machine as well", "report: "],
        survives: |place, _| {
            let page = fs::read_to_string(place.path("second/trust.md"))?;
            let words = "another command of Firstpass measured meanwhile";
            ensure!(page.contains(words), "the page does not tell: {page}");
            Ok(())
        },
    },
    Fault {
        what: "SIGTERM",
        on: On::Once,
        done: |place| ended_by(place, Signal::SIGTERM),
        code: 143,
        says: &["interrupted by SIGTERM", ".partial", "report --from"],
        survives: partial_record,
    },
    Fault {
        what: "SIGHUP",
        on: On::Once,
        done: |place| ended_by(place, Signal::SIGHUP),
        code: 129,
        says: &["interrupted by SIGHUP", ".partial", "report --from"],
        survives: partial_record,
    },
    Fault {
        what: "SIGHUP, which it was started to ignore, and then SIGTERM",
        on: On::Once,
        done: |place| ignored_and_ended(place, Signal::SIGHUP),
        code: 143,
        says: &["interrupted by SIGTERM", ".partial", "report --from"],
        survives: partial_record,
    },
    Fault {
        what: "SIGINT, which a shell in the background has it ignore, and then SIGTERM",
        on: On::Once,
        done: |place| ignored_and_ended(place, Signal::SIGINT),
        code: 143,
        says: &["interrupted by SIGTERM", ".partial", "report --from"],
        survives: partial_record,
    },
    Fault {
        what: "SIGINT",
        on: On::Once,
        done: |place| ended_by(place, Signal::SIGINT),
        code: 130,
        says: &["interrupted", ".partial", "report --from"],
        survives: partial_record,
    },
    Fault {
        what: "SIGKILL, and the same command again",
        on: On::EachEngine,
        done: killed,
        code: 0,
        says: &["report: "],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a model file that is cut while it is measured",
        on: On::EachEngine,
        done: cut_while_measured,
        code: 0,
        // What was measured is the copy.
        says: &[
            "model.onnx is another file by now",
            "with SHA-256",
            "report: ",
        ],
        survives: |place, _| {
            has_no_row(place, "\"crashed\"")?;
            let page = fs::read_to_string(place.out().join("trust.md"))?;
            ensure!(
                page.contains("another file lies there now"),
                "the page does not tell"
            );
            has_report(place)
        },
    },
    Fault {
        what: "a probe that is killed while it measures",
        on: On::EachEngine,
        done: probe_killed,
        code: 0,
        says: &["report: "],
        survives: |place, _| {
            let lines = lines(place)?;
            ensure!(lines.contains("SIGKILL"), "no row says how it ended");
            has_report(place)
        },
    },
    Fault {
        what: "a record that ends inside a character",
        on: On::Once,
        done: cut_record,
        code: 0,
        says: &["is cut off in line"],
        survives: |_, _| Ok(()),
    },
    // Nothing that is written to or read from makes it panic.
    Fault {
        what: "help to a full disk",
        on: On::Once,
        done: |place| to_full_disk(&mut place.firstpass(["--help"])),
        code: 1,
        says: &["cannot write the help"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a comparison to a full disk",
        on: On::Once,
        done: |place| {
            let record = example(place)?;
            to_full_disk(place.firstpass(["compare"]).arg(&record).arg(&record))
        },
        code: 1,
        says: &["cannot write to standard output"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a gate to a full disk: no verdict",
        on: On::Once,
        done: |place| {
            let record = example(place)?;
            let mut gate = place.firstpass(["gate", "--first-pass-max", "100x"]);
            to_full_disk(gate.arg(record))
        },
        code: 2,
        says: &["cannot write to standard output"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a trusted file said to a full disk",
        on: On::Once,
        done: |place| {
            let file = place.write("model.pt", "PK")?;
            to_full_disk(place.firstpass(["trust"]).arg(file))
        },
        code: 1,
        says: &["cannot write to standard output"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a check to a full disk",
        on: On::Once,
        done: |place| {
            let model = place.write("model.onnx", models::sound())?;
            to_full_disk(&mut place.check(&model))
        },
        code: 1,
        says: &["cannot write to standard output", "the work itself is done"],
        survives: |place, _| has_report(place),
    },
    Fault {
        what: "a comparison to a pipe that nobody reads",
        on: On::Once,
        done: |place| {
            let record = example(place)?;
            let mut compare = place.firstpass(["compare"]);
            compare.arg(&record).arg(&record).stdout(Stdio::piped());
            let mut child = compare.stderr(Stdio::piped()).spawn()?;
            drop(child.stdout.take());
            finish(child)
        },
        code: 1,
        says: &["cannot write to standard output"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "standard error to a full disk",
        on: On::Once,
        done: |place| {
            let model = place.write("model.onnx", models::sound())?;
            let mut check = place.check(&model);
            check.stdout(Stdio::piped()).stderr(full()?);
            finish(check.spawn()?)
        },
        code: 0,
        says: &["report: "],
        survives: |place, _| has_report(place),
    },
    Fault {
        what: "an environment variable that is not UTF-8",
        on: On::Once,
        done: |place| {
            let model = place.write("model.onnx", models::sound())?;
            let mut check = place.check(&model);
            let other = std::ffi::OsStr::from_bytes(b"\xff");
            place.run(check.env("SOME_NAME", other).env("OMP_PROC_BIND", other))
        },
        code: 0,
        says: &["report: "],
        survives: |place, _| has_report(place),
    },
    Fault {
        what: "an environment variable of two lines, of which one is a heading",
        on: On::Once,
        done: |place| {
            let model = place.write("model.onnx", models::sound())?;
            let mut check = place.check(&model);
            place.run(check.env("OMP_PROC_BIND", "x\n# y\u{1b}[31m"))
        },
        code: 0,
        says: &["report: "],
        survives: |place, ended| {
            let page = fs::read_to_string(place.out().join("trust.md"))?;
            ensure!(page.contains("OMP_PROC_BIND"), "the page does not tell");
            for text in [&page, &ended.said] {
                ensure!(!text.contains("\n# y"), "it is a heading:\n{text}");
                ensure!(!text.contains('\u{1b}'), "an escape: {text:?}");
            }
            has_report(place)
        },
    },
    Fault {
        what: "an argument that is not UTF-8",
        on: On::Once,
        done: |place| {
            let name = std::ffi::OsStr::from_bytes(b"mod\xff.onnx");
            fs::write(place.path(name), models::sound())?;
            place.run(&mut place.check(Path::new(name)))
        },
        code: 1,
        says: &["mod\\xFF.onnx", "is not UTF-8"],
        survives: |_, _| Ok(()),
    },
    // Nobody is let in.
    Fault {
        what: "a program that nobody trusts",
        on: On::Once,
        done: |place| {
            let file = place.write("model.pt", program(place)?)?;
            place.run(place.check(&file).args(["--input", "1x3x8x8"]))
        },
        code: 1,
        says: &["--trust", "cargo firstpass trust"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a list of trusted programs that others can write",
        on: On::Once,
        done: |place| {
            let file = place.write("model.pt", program(place)?)?;
            place.run(place.firstpass(["trust"]).arg(&file))?;
            let list = place.path("config/firstpass/trusted.toml");
            fs::set_permissions(&list, Permissions::from_mode(0o666))?;
            place.run(place.check(&file).args(["--input", "1x3x8x8"]))
        },
        code: 1,
        says: &["trusted.toml is not used", "mode 666"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a folder of copies that others can write",
        on: On::EachEngine,
        done: |place| {
            let planted = place.path("cache/firstpass");
            fs::create_dir(&planted)?;
            fs::set_permissions(&planted, Permissions::from_mode(0o777))?;
            let model = place.write("model.onnx", models::sound())?;
            place.run(&mut place.check(&model))
        },
        code: 1,
        says: &["is not used, because others may use it (mode 777)"],
        survives: |place, _| {
            let left = fs::read_dir(place.path("cache/firstpass"))?.count();
            ensure!(left == 0, "something was written there");
            Ok(())
        },
    },
    Fault {
        what: "a secret in the environment",
        on: On::Once,
        done: |place| {
            let model = place.write("model.onnx", models::sound())?;
            let mut check = place.check(&model);
            place.run(check.env("ORT_API_TOKEN", SECRET).env("OMP_SECRET", SECRET))
        },
        code: 0,
        says: &["report: "],
        survives: |place, _| says_nowhere(place, SECRET),
    },
    Fault {
        what: "a checkout's owner's folders in a record",
        on: On::EachEngine,
        done: |place| {
            let model = place.write("model.onnx", models::sound())?;
            place.run(&mut place.check(&model))
        },
        code: 0,
        says: &["report: "],
        survives: |place, _| {
            let record = place.record()?;
            for file in ["run.json", &format!("{}.jsonl.zst", place.engine)] {
                let text = read(&record.join(file))?;
                let here = place.path("").display().to_string();
                ensure!(!text.contains(here.trim_end_matches('/')), "{file}: {text}");
            }
            Ok(())
        },
    },
    // A name is a name.
    Fault {
        what: "a model that is named ..",
        on: On::Once,
        done: |place| described(place, ".."),
        code: 1,
        says: &["is no name of a model"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a model whose name is a path",
        on: On::Once,
        done: |place| described(place, &place.path("victim").display().to_string()),
        code: 1,
        says: &["is no name of a model"],
        survives: |place, _| {
            ensure!(
                !place.path("victim").exists(),
                "something was written there"
            );
            Ok(())
        },
    },
    Fault {
        what: "names that are commands to a terminal",
        on: On::Once,
        done: |place| {
            let model = models::graph(&["x\u{1b}[31m"], &["<script>y"], Some(&[1, 3, 8, 8]));
            check_of(place, &model)
        },
        code: 0,
        says: &["report: "],
        survives: |place, ended| {
            let page = fs::read_to_string(place.out().join("README.md"))?;
            for text in [&page, &ended.said] {
                ensure!(!text.contains('\u{1b}'), "an escape: {text:?}");
            }
            ensure!(!page.contains("<script>"), "a script is on the page");
            Ok(())
        },
    },
    // Sizes are looked at first.
    Fault {
        what: "two inputs of one name",
        on: On::Once,
        done: |place| {
            check_of(
                place,
                &models::graph(&["x", "x"], &["y"], Some(&[1, 3, 8, 8])),
            )
        },
        code: 1,
        says: &["two inputs are named \"x\""],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "two outputs of one name",
        on: On::Once,
        done: |place| {
            check_of(
                place,
                &models::graph(&["x"], &["y", "y"], Some(&[1, 3, 8, 8])),
            )
        },
        code: 1,
        says: &["two outputs are named \"y\""],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "an input that no memory holds",
        on: On::Once,
        done: |place| {
            let model = place.write("model.onnx", models::graph(&["x"], &["y"], None))?;
            place.run(place.check(&model).args(["--input", "1x3x100000x100000"]))
        },
        code: 1,
        says: &["input"],
        survives: |_, _| Ok(()),
    },
    // Verdicts are honest.
    Fault {
        what: "outputs that are no numbers",
        on: On::EachEngine,
        done: |place| check_of(place, &models::nothing()),
        code: 0,
        says: &["report: "],
        survives: |place, _| {
            let page = fs::read_to_string(place.out().join("README.md"))?;
            ensure!(page.contains("NaN") || page.contains("no number"), "{page}");
            Ok(())
        },
    },
    // What is no model.
    Fault {
        what: "an empty model file",
        on: On::Once,
        done: |place| check_of(place, b""),
        code: 1,
        says: &["it is empty"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a model file of text",
        on: On::Once,
        done: |place| check_of(place, b"no model, but a sentence of some length"),
        code: 1,
        says: &["it is neither ONNX nor TorchScript"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a model file that ends in the middle",
        on: On::Once,
        done: |place| {
            let model = models::sound();
            check_of(place, &model[..model.len() / 2])
        },
        code: 1,
        says: &["cannot read"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "a folder in place of a model file",
        on: On::Once,
        done: |place| {
            fs::create_dir(place.path("model.onnx"))?;
            place.run(&mut place.check(&place.path("model.onnx")))
        },
        code: 1,
        says: &["model.onnx"],
        survives: |_, _| Ok(()),
    },
    Fault {
        what: "an archive of inputs that is none",
        on: On::Once,
        done: |place| {
            let model = place.write("model.onnx", models::sound())?;
            let sample = place.write("in.npz", "PK\u{3}\u{4}, and no more")?;
            place.run(place.check(&model).arg("--sample").arg(sample))
        },
        code: 1,
        says: &["in.npz"],
        survives: |_, _| Ok(()),
    },
];

const SECRET: &str = "do-not-tell";

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
    let record = example(place)?;
    let path = record.join("alpha.jsonl");
    let mut lines = fs::read(&path)?;
    lines.extend_from_slice(b"{\"record\":\"unavailable\",\"reason\":\"zw\xc3");
    fs::write(path, lines)?;
    place.run(place.firstpass(["compare"]).arg(&record).arg(&record))
}

/// A copy of a small record.
pub fn example(place: &Place) -> Result<PathBuf> {
    let source = place.of_project("suite/firstpass/tests/example/record");
    for file in ["run.json", "alpha.jsonl", "beta.jsonl"] {
        place.write(&format!("record/{file}"), fs::read(source.join(file))?)?;
    }
    Ok(place.path("record"))
}

/// A TorchScript file of the fixtures.
fn program(place: &Place) -> Result<Vec<u8>> {
    let models = fs::read_dir(place.of_project("fixtures/models"))?;
    let files = models.flatten().map(|model| model.path().join("model.pt"));
    let file = files.into_iter().find(|file| file.is_file());
    Ok(fs::read(
        file.context("no model of the fixtures is a program")?,
    )?)
}

fn full() -> Result<Stdio> {
    let full = File::options().write(true).open("/dev/full");
    Ok(full.context("this system has no /dev/full")?.into())
}

fn to_full_disk(command: &mut Command) -> Result<Ended> {
    finish(command.stdout(full()?).stderr(Stdio::piped()).spawn()?)
}

pub fn check_of(place: &Place, bytes: &[u8]) -> Result<Ended> {
    let model = place.write("model.onnx", bytes)?;
    place.run(&mut place.check(&model))
}

fn described(place: &Place, name: &str) -> Result<Ended> {
    place.write("model.onnx", models::sound())?;
    let model = place.write("model.toml", models::described(name))?;
    place.run(&mut place.check(&model))
}

fn has_report(place: &Place) -> Result<()> {
    let page = fs::read_to_string(place.out().join("README.md"))?;
    let mut engines = Workspace::find()?.backends()?.into_iter();
    let engine = engines.find(|engine| engine.name == place.engine);
    let engine = engine.context("there is no such engine")?;
    let called = engine.known()?.called.unwrap_or(engine.name);
    ensure!(page.contains(&called), "{called} is not in the report");
    Ok(())
}

/// The text of a file, unpacked where it is compressed.
pub fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("{}", path.display()))?;
    let bytes = if path.extension().is_some_and(|e| e == "zst") {
        zstd::decode_all(&bytes[..])?
    } else {
        bytes
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn lines(place: &Place) -> Result<String> {
    let record = place.record()?;
    let plain = record.join(format!("{}.jsonl", place.engine));
    if plain.is_file() {
        return read(&plain);
    }
    read(&record.join(format!("{}.jsonl.zst", place.engine)))
}

fn has_no_row(place: &Place, words: &str) -> Result<()> {
    let lines = lines(place)?;
    ensure!(!lines.contains(words), "a row says {words:?}");
    Ok(())
}

/// Whether no file of the report and its record has these words.
fn says_nowhere(place: &Place, words: &str) -> Result<()> {
    let mut folders = vec![place.out()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = read(&path)?;
                ensure!(!text.contains(words), "{} tells it", path.display());
            }
        }
    }
    Ok(())
}
