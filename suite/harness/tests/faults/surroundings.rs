//! What lies around a command: its environment, its limits, its folders, and other commands beside it, one row a fault.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
    process::Stdio,
};

use anyhow::{Result, ensure};

use crate::{
    fault::Fault,
    inputs::pipe,
    left::has_report,
    models,
    place::{Ended, Place, finish},
};

/// A command with its exit code and its words.
const fn said(
    what: &'static str,
    done: fn(&Place) -> Result<Ended>,
    code: i32,
    says: &'static [&'static str],
) -> Fault {
    Fault::new(what, done, code, says)
}

/// A value of a variable with which a comparison goes on as ever.
const fn harmless(what: &'static str, done: fn(&Place) -> Result<Ended>) -> Fault {
    said(what, done, 0, &["No change beyond noise"])
}

pub const FAULTS: &[Fault] = &[
    // Variables.
    said(
        "a folder for temporary files that is not there",
        |place| {
            compared_with(
                place,
                "TMPDIR",
                &place.path("nowhere").display().to_string(),
            )
        },
        1,
        &[
            "name another folder for temporary files in TMPDIR",
            "nowhere",
        ],
    ),
    said(
        "a file in place of the folder for temporary files",
        |place| {
            let file = place.write("file", "")?;
            compared_with(place, "TMPDIR", &file.display().to_string())
        },
        1,
        &[
            "name another folder for temporary files in TMPDIR",
            "Not a directory",
        ],
    ),
    harmless("a terminal without columns", |place| {
        compared_with(place, "COLUMNS", "0")
    }),
    harmless("a terminal of more columns than a number holds", |place| {
        compared_with(place, "COLUMNS", "99999999999999999999999")
    }),
    harmless("a time zone that there is not", |place| {
        compared_with(place, "TZ", "Nowhere/Nothing")
    }),
    harmless("a user without a home", |place| {
        compared_with(place, "HOME", "")
    }),
    said(
        "a variable for engines that names a file",
        |place| {
            let file = place.write("file", "")?;
            let mut engines = place.firstpass(["engines"]);
            engines.env("FIRSTPASS_HOME", file).current_dir("/");
            place.run(engines.env_remove("CARGO_MANIFEST_DIR"))
        },
        1,
        &[
            "is no folder",
            "name one for installed engines in FIRSTPASS_HOME",
        ],
    ),
    // Limits.
    said(
        "a page that may not grow beyond 512 bytes",
        |place| {
            let record = place.example()?;
            let mut shell = place
                .shell("ulimit -f 1; exec \"$0\" compare --all \"$1\" \"$1\" --out changes.md");
            place.run(shell.arg(record))
        },
        1,
        &["cannot write changes.md", "File too large"],
    ),
    said(
        "five open files at most",
        |place| {
            let record = place.example()?;
            let mut shell = place.shell("ulimit -n 5; exec \"$0\" compare \"$1\" \"$1\"");
            place.run(shell.arg(record))
        },
        1,
        &["Too many open files"],
    ),
    said(
        "a page to a full disk",
        |place| {
            let record = place.example()?;
            let mut compare = place.firstpass(["compare", "--out", "/dev/full"]);
            place.run(compare.arg(&record).arg(&record))
        },
        1,
        &["cannot write /dev/full"],
    ),
    // Trust.
    said(
        "a pipe that is to be trusted",
        |place| {
            pipe(&place.path("model.pt"))?;
            place.run(&mut place.firstpass(["trust", "model.pt"]))
        },
        1,
        &["model.pt", "it is no file"],
    ),
    said(
        "a device that is to be trusted",
        |place| place.run(&mut place.firstpass(["trust", "/dev/zero"])),
        1,
        &["/dev/zero", "it is no file"],
    ),
    said(
        "a list of trusted programs that is damaged",
        |place| with_list(place, "files = ["),
        1,
        &["trusted.toml is not as expected"],
    ),
    said(
        "a list of trusted programs with what it does not know",
        |place| with_list(place, "everything = true\n"),
        1,
        &[
            "trusted.toml is not as expected",
            "unknown field `everything`",
        ],
    ),
    said(
        "a pipe in place of the list of trusted programs",
        |place| {
            private(place)?;
            pipe(&place.path("config/firstpass/trusted.toml"))?;
            let file = place.write("model.pt", "PK")?;
            place.run(place.firstpass(["trust"]).arg(file))
        },
        1,
        &["trusted.toml", "it is a pipe"],
    ),
    said(
        "a file in place of the folder for settings",
        |place| {
            let file = place.write("model.pt", "PK")?;
            let mut trust = place.firstpass(["trust"]);
            place.run(trust.arg(&file).env("XDG_CONFIG_HOME", &file))
        },
        1,
        &["cannot use the folder"],
    ),
    said(
        "twenty programs trusted at once",
        |place| {
            let mut running = Vec::new();
            for number in 0..20 {
                let file = place.write(&format!("model-{number}.pt"), format!("PK {number}"))?;
                let mut trust = place.firstpass(["trust"]);
                trust
                    .arg(file)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                running.push(trust.spawn()?);
            }
            let mut last = None;
            for child in running {
                let ended = finish(child)?;
                ensure!(ended.code == Some(0), "one failed:\n{}", ended.said);
                last = Some(ended);
            }
            let list = fs::read_to_string(place.path("config/firstpass/trusted.toml"))?;
            let known = list.matches("\"model-").count();
            ensure!(known == 20, "{known} of 20 are in the list:\n{list}");
            last.ok_or_else(|| anyhow::anyhow!("nothing ran"))
        },
        0,
        &["added to"],
    ),
    // Locks.
    Fault::new(
        "a lock that leads to a file of the user's",
        |place| {
            let victim = place.write("victim", "precious")?;
            fs::create_dir(place.out())?;
            symlink(victim, place.out().join(".check.lock"))?;
            let model = place.write("model.onnx", models::sound())?;
            place.run(&mut place.check(&model))
        },
        1,
        &["cannot lock", ".check.lock", "it is a link"],
    )
    .surviving(|place, _| {
        let kept = fs::read_to_string(place.path("victim"))?;
        ensure!(kept == "precious", "the file was written to: {kept:?}");
        Ok(())
    }),
    said(
        "a pipe in place of a lock",
        |place| {
            fs::create_dir(place.out())?;
            pipe(&place.out().join(".check.lock"))?;
            let model = place.write("model.onnx", models::sound())?;
            place.run(&mut place.check(&model))
        },
        1,
        &["cannot lock", ".check.lock", "or a pipe"],
    ),
    said(
        "a lock of a process that is gone",
        |place| {
            place.write("out/.check.lock", "process 1 (firstpass check)")?;
            let model = place.write("model.onnx", models::sound())?;
            place.run(&mut place.check(&model))
        },
        0,
        &["report: "],
    ),
    Fault::new(
        "an environment variable that is not UTF-8",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            let mut check = place.check(&model);
            let other = OsStr::from_bytes(b"\xff");
            place.run(check.env("SOME_NAME", other).env("OMP_PROC_BIND", other))
        },
        0,
        &["report: "],
    )
    .surviving(|place, _| has_report(place)),
    Fault::new(
        "an environment variable of two lines, of which one is a heading",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            let mut check = place.check(&model);
            place.run(check.env("OMP_PROC_BIND", "x\n# y\u{1b}[31m"))
        },
        0,
        &["report: "],
    )
    .surviving(|place, ended| {
        let page = fs::read_to_string(place.out().join("trust.md"))?;
        ensure!(page.contains("OMP_PROC_BIND"), "the page does not tell");
        for text in [&page, &ended.said] {
            ensure!(!text.contains("\n# y"), "it is a heading:\n{text}");
            ensure!(!text.contains('\u{1b}'), "an escape: {text:?}");
        }
        has_report(place)
    }),
    Fault::new(
        "an argument that is not UTF-8",
        |place| {
            let name = OsStr::from_bytes(b"mod\xff.onnx");
            fs::write(place.path(name), models::sound())?;
            place.run(&mut place.check(Path::new(name)))
        },
        1,
        &["mod\\xFF.onnx", "is not UTF-8"],
    ),
];

/// A comparison of a record with itself, with this variable.
fn compared_with(place: &Place, variable: &str, value: &str) -> Result<Ended> {
    let record = place.example()?;
    let mut compare = place.firstpass(["compare"]);
    place.run(compare.arg(&record).arg(&record).env(variable, value))
}

/// Trusts a program where the list is this.
fn with_list(place: &Place, list: &str) -> Result<Ended> {
    private(place)?;
    let list = place.write("config/firstpass/trusted.toml", list)?;
    fs::set_permissions(list, PermissionsExt::from_mode(0o600))?;
    let file = place.write("model.pt", "PK")?;
    place.run(place.firstpass(["trust"]).arg(file))
}

/// Makes the user's own folder of settings.
fn private(place: &Place) -> Result<()> {
    let folder = place.path("config/firstpass");
    fs::create_dir_all(&folder)?;
    Ok(fs::set_permissions(
        folder,
        PermissionsExt::from_mode(0o700),
    )?)
}
