//! Records that are damaged, or that somebody else has made, one row a fault. Each is compared with a sound one, or
//! judged by a gate, which calls nothing kept that it has not seen.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use anyhow::{Context, Result, ensure};

use crate::{
    inputs::pipe,
    place::{Ended, Place},
    table::{Fault, On, example},
};

/// A record that no comparison reads, with the words that it is refused with.
const fn unreadable(
    what: &'static str,
    done: fn(&Place) -> Result<Ended>,
    says: &'static [&'static str],
) -> Fault {
    judged(what, done, 1, says)
}

/// What a command says of a record, with its exit code.
const fn judged(
    what: &'static str,
    done: fn(&Place) -> Result<Ended>,
    code: i32,
    says: &'static [&'static str],
) -> Fault {
    Fault {
        what,
        on: On::Once,
        done,
        code,
        says,
        survives: |_, _| Ok(()),
    }
}

pub const FAULTS: &[Fault] = &[
    unreadable(
        "a pipe in place of run.json",
        |place| {
            compared(place, |record| {
                fs::remove_file(record.join("run.json"))?;
                pipe(&record.join("run.json"))
            })
        },
        &["is not a record", "it is a pipe"],
    ),
    unreadable(
        "a device in place of run.json",
        |place| compared(place, |record| device(&record.join("run.json"))),
        &["is not a record", "or a device"],
    ),
    unreadable(
        "a folder in place of run.json",
        |place| {
            compared(place, |record| {
                fs::remove_file(record.join("run.json"))?;
                Ok(fs::create_dir(record.join("run.json"))?)
            })
        },
        &["is not a record", "it is a folder"],
    ),
    unreadable(
        "a run.json without an end",
        |place| {
            compared(place, |record| {
                let text = fs::read_to_string(record.join("run.json"))?;
                let half = text.get(..text.len() / 2).context("it is no ASCII")?;
                Ok(fs::write(record.join("run.json"), half)?)
            })
        },
        &["run.json is not as expected", "EOF"],
    ),
    unreadable(
        "a run.json of another version",
        |place| {
            compared(place, |record| {
                replaced(record, "run.json", "\"version\": 3", "\"version\": 999")
            })
        },
        &["has version 999", "measure again"],
    ),
    unreadable(
        "a run.json of brackets, 200,000 deep",
        |place| {
            compared(place, |record| {
                Ok(fs::write(record.join("run.json"), "[".repeat(200_000))?)
            })
        },
        &["run.json is not as expected"],
    ),
    unreadable(
        "a pipe in place of measurements",
        |place| {
            compared(place, |record| {
                fs::remove_file(record.join("alpha.jsonl"))?;
                pipe(&record.join("alpha.jsonl"))
            })
        },
        &["cannot read", "alpha.jsonl", "it is a pipe"],
    ),
    unreadable(
        "a device in place of measurements",
        |place| compared(place, |record| device(&record.join("alpha.jsonl"))),
        &["cannot read", "alpha.jsonl", "or a device"],
    ),
    unreadable(
        "measurements that link to themselves",
        |place| {
            compared(place, |record| {
                fs::remove_file(record.join("alpha.jsonl"))?;
                Ok(symlink("alpha.jsonl", record.join("alpha.jsonl"))?)
            })
        },
        &["cannot read", "alpha.jsonl", "symbolic links"],
    ),
    unreadable(
        "compressed measurements that are not",
        |place| {
            compared(place, |record| {
                fs::remove_file(record.join("alpha.jsonl"))?;
                Ok(fs::write(
                    record.join("alpha.jsonl.zst"),
                    "no frame at all",
                )?)
            })
        },
        &["cannot read", "alpha.jsonl.zst"],
    ),
    unreadable(
        "a small compressed file of measurements that unfolds to 2 GiB",
        |place| {
            compared(place, |record| {
                fs::remove_file(record.join("alpha.jsonl"))?;
                let zeros = std::io::Read::take(std::io::repeat(b'\n'), 2 << 30);
                let file = fs::File::create(record.join("alpha.jsonl.zst"))?;
                Ok(zstd::stream::copy_encode(zeros, file, 1)?)
            })
        },
        &["alpha.jsonl.zst holds more than", "which are not read"],
    ),
    unreadable(
        "compressed measurements with something else behind them",
        |place| {
            compared(place, |record| {
                compressed(record, |bytes| bytes.extend_from_slice(b"something else"))
            })
        },
        &["cannot read", "alpha.jsonl.zst"],
    ),
    judged(
        "compressed measurements that end before the first line does",
        |place| {
            compared(place, |record| {
                compressed(record, |bytes| bytes.truncate(20))
            })
        },
        0,
        &["alpha.jsonl.zst is cut off after line 0", "is lost"],
    ),
    judged(
        "compressed measurements that are empty",
        |place| compared(place, |record| compressed(record, Vec::clear)),
        0,
        &["alpha.jsonl.zst is cut off after line 0", "is lost"],
    ),
    unreadable(
        "a text in place of a list in run.json",
        |place| {
            compared(place, |record| {
                replaced(
                    record,
                    "run.json",
                    "\"models\": [",
                    "\"models\": \"\", \"more\": [",
                )
            })
        },
        &["run.json is not as expected", "expected a sequence"],
    ),
    unreadable(
        "a field that a line has twice",
        |place| {
            compared(place, |record| {
                replaced(
                    record,
                    "alpha.jsonl",
                    "\"round\":",
                    "\"round\":0,\"round\":",
                )
            })
        },
        &["alpha.jsonl, line 1", "duplicate field `round`"],
    ),
    // Pages of a record.
    unreadable(
        "outputs in a folder that links to itself",
        |place| {
            shown(place, |record| {
                Ok(symlink("outputs", record.join("outputs"))?)
            })
        },
        &["cannot read", "outputs/", "symbolic links"],
    ),
    unreadable(
        "a file in place of the folder for pages",
        |place| {
            place.write("shown", "")?;
            shown(place, |_| Ok(()))
        },
        &["shown: what has this name is no folder", "name another one"],
    ),
    unreadable(
        "a folder for pages that links to itself",
        |place| {
            symlink("shown", place.path("shown"))?;
            shown(place, |_| Ok(()))
        },
        &["shown: what has this name is no folder", "name another one"],
    ),
    unreadable(
        "a folder for pages where no folder can be made",
        |place| {
            let record = example(place)?;
            let mut report = place.firstpass(["report", "--out", "/proc/shown", "--from"]);
            place.run(report.arg(record))
        },
        &["cannot make the folder /proc/shown", "name another one"],
    ),
    Fault {
        what: "a processor that is called like a heading",
        on: On::Once,
        done: |place| {
            shown(place, |record| {
                let text = fs::read_to_string(record.join("run.json"))?;
                let (before, after) = text
                    .split_once("\"cpu\": \"")
                    .context("it has no processor")?;
                let text = format!("{before}\"cpu\": \"x\\n# y <b>{after}");
                Ok(fs::write(record.join("run.json"), text)?)
            })
        },
        code: 0,
        says: &["report: "],
        survives: |place, _| {
            let page = fs::read_to_string(place.path("shown/README.md"))?;
            ensure!(
                page.contains("x # y"),
                "the processor is not there:\n{page}"
            );
            ensure!(!page.contains("\n# y"), "it is a heading:\n{page}");
            ensure!(!page.contains("<b>"), "it is a mark:\n{page}");
            Ok(())
        },
    },
    unreadable(
        "a line of brackets, 100,000 deep",
        |place| {
            compared(place, |record| {
                let line = format!(
                    "{{\"record\":\"observation\",\"more\":{}\n",
                    "[".repeat(100_000)
                );
                prefixed(record, &line)
            })
        },
        &["alpha.jsonl, line 1", "recursion limit"],
    ),
    unreadable(
        "a line that is no measurement",
        |place| compared(place, |record| prefixed(record, "garbage\n")),
        &["alpha.jsonl, line 1", "expected value"],
    ),
    unreadable(
        "a time below 0",
        |place| {
            compared(place, |record| {
                replaced(
                    record,
                    "alpha.jsonl",
                    "\"spawned_ns\":0",
                    "\"spawned_ns\":-1",
                )
            })
        },
        &["alpha.jsonl, line 1", "-1"],
    ),
    unreadable(
        "a number that no number of this machine holds",
        |place| {
            compared(place, |record| {
                replaced(
                    record,
                    "alpha.jsonl",
                    "\"load_average\":0.0",
                    "\"load_average\":1e999",
                )
            })
        },
        &["alpha.jsonl, line 1", "number out of range"],
    ),
    unreadable(
        "measurements of one engine under the name of another",
        |place| {
            compared(place, |record| {
                Ok(fs::rename(
                    record.join("alpha.jsonl"),
                    record.join("gamma.jsonl"),
                )?)
            })
        },
        &[
            "gamma.jsonl is not as expected",
            "of the engine \"alpha\"",
            "named after \"gamma\"",
        ],
    ),
    unreadable(
        "measurements that are there twice, which would count twice",
        |place| {
            compared(place, |record| {
                fs::copy(record.join("alpha.jsonl"), record.join("gamma.jsonl"))?;
                Ok(())
            })
        },
        &["gamma.jsonl is not as expected"],
    ),
    unreadable(
        "measurements whose name is not UTF-8",
        |place| {
            compared(place, |record| {
                let name = OsStr::from_bytes(b"al\xff.jsonl");
                Ok(fs::rename(record.join("alpha.jsonl"), record.join(name))?)
            })
        },
        &["is not UTF-8", "give it its name"],
    ),
    judged(
        "times of 584 years, and a clock that stands at its end",
        |place| {
            compared(place, |record| {
                for name in ["start_ns", "wall_ns", "cpu_ns", "main_ns", "spawned_ns"] {
                    numbers(record, name, u64::MAX)?;
                }
                Ok(())
            })
        },
        0,
        &["pass 1"],
    ),
    judged(
        "times of 0",
        |place| {
            gated(place, |record| {
                for name in ["wall_ns", "cpu_ns"] {
                    numbers(record, name, 0)?;
                }
                Ok(())
            })
        },
        1,
        &["alpha", "broken"],
    ),
    judged(
        "a gate on an engine whose measurements are lost",
        |place| {
            gated(place, |record| {
                Ok(fs::write(record.join("alpha.jsonl"), "")?)
            })
        },
        1,
        &["alpha", "its file in the record is empty", "gate: broken"],
    ),
    judged(
        "a gate on an engine whose measurements are zeros, as after a crash of the system",
        |place| {
            gated(place, |record| {
                Ok(fs::write(record.join("alpha.jsonl"), [0; 4096])?)
            })
        },
        1,
        &[
            "is cut off in line 1",
            "its file in the record is empty",
            "gate: broken",
        ],
    ),
    judged(
        "a gate on a record that was interrupted",
        |place| {
            gated(place, |record| {
                replaced(
                    record,
                    "run.json",
                    "\"duration_s\": 1.0",
                    "\"duration_s\": null",
                )
            })
        },
        3,
        &["the record", "it was interrupted", "gate: undecided"],
    ),
    judged(
        "a gate on a record without measurements",
        |place| {
            gated(place, |record| {
                fs::remove_file(record.join("alpha.jsonl"))?;
                Ok(fs::remove_file(record.join("beta.jsonl"))?)
            })
        },
        2,
        &["nothing to judge", "no cell at all"],
    ),
    judged(
        "a gate without a limit",
        |place| {
            let record = example(place)?;
            place.run(place.firstpass(["gate"]).arg(record))
        },
        2,
        &["nothing to judge", "give --first-pass-max"],
    ),
    judged(
        "a gate with a limit that is no number",
        |place| limited(place, &["--first-pass-max", "nanx"]),
        2,
        &["\"nanx\" is not above 0"],
    ),
    judged(
        "a gate with a limit of 0",
        |place| limited(place, &["--first-pass-max", "0x"]),
        2,
        &["\"0x\" is not above 0"],
    ),
    judged(
        "a gate of a number of threads that was not measured",
        |place| limited(place, &["--first-pass-max", "3x", "--threads", "64"]),
        2,
        &["nothing answers to the number of threads 64", "there is: 1"],
    ),
    judged(
        "a gate of an engine that there is not",
        |place| limited(place, &["--first-pass-max", "3x", "--engine", "nosuch"]),
        2,
        &[
            "nothing answers to the engine nosuch",
            "there is: alpha, beta",
        ],
    ),
    judged(
        "a gate of a model without a name",
        |place| limited(place, &["--first-pass-max", "3x", "--model", ""]),
        2,
        &["nothing answers to the model"],
    ),
    judged(
        "a gate against a record that is none",
        |place| limited(place, &["--steady-max", "+5%", "--against", "/dev/null"]),
        2,
        &["/dev/null is not a record"],
    ),
    judged(
        "a gate on measurements that were joined with themselves",
        |place| {
            gated(place, |record| {
                let lines = fs::read_to_string(record.join("alpha.jsonl"))?;
                Ok(fs::write(
                    record.join("alpha.jsonl"),
                    lines.clone() + &lines,
                )?)
            })
        },
        2,
        &[
            "alpha.jsonl, line ",
            "this process is there already, in an earlier line",
        ],
    ),
    Fault {
        what: "names in a record that look like lines of their own",
        on: On::Once,
        done: |place| {
            let record = example(place)?;
            fs::rename(&record, place.path("sound"))?;
            let odd = "\"model\":\"m\\ngate: kept\\n# x <b>\"";
            replaced(&example(place)?, "alpha.jsonl", "\"model\":\"model\"", odd)?;
            place.run(&mut place.firstpass(["compare", "sound", "record", "--out", "page.md"]))
        },
        code: 0,
        says: &["gate: kept"],
        survives: |place, ended| {
            let page = fs::read_to_string(place.path("page.md"))?;
            for text in [&page, &ended.said] {
                let mut lines = text.lines().map(str::trim);
                let looks = |line: &str| line.starts_with("gate: kept") || line.starts_with("# x");
                ensure!(!lines.any(looks), "a name is a line:\n{text}");
            }
            ensure!(!page.contains("<b>"), "a name is HTML:\n{page}");
            Ok(())
        },
    },
    unreadable(
        "a page of the user's own where a report would write one",
        |place| {
            place.write("shown/why.md", "notes of my own")?;
            shown(place, |_| Ok(()))
        },
        &[
            "shown/why.md is there already and is none of a report",
            "name another folder",
        ],
    ),
    Fault {
        what: "plots of the user's own in the folder of a report",
        on: On::Once,
        done: |place| {
            place.write("shown/plots/mine.svg", "<svg>mine</svg>")?;
            let first = shown(place, |_| Ok(()))?;
            ensure!(first.code == Some(0), "no report:\n{}", first.said);
            shown(place, |_| Ok(()))
        },
        code: 0,
        says: &["report: "],
        survives: |place, _| {
            let own = fs::read_to_string(place.path("shown/plots/mine.svg"))?;
            ensure!(own == "<svg>mine</svg>", "{own}");
            Ok(())
        },
    },
    Fault {
        what: "a page that is a link to a file of the user's",
        on: On::Once,
        done: |place| {
            place.write("victim", "kept")?;
            fs::create_dir(place.path("shown"))?;
            symlink("../victim", place.path("shown/report.html"))?;
            shown(place, |_| Ok(()))
        },
        code: 1,
        says: &["shown/report.html is a link, through which no page is written"],
        survives: |place, _| {
            ensure!(
                fs::read_to_string(place.path("victim"))? == "kept",
                "it is written to"
            );
            Ok(())
        },
    },
    Fault {
        what: "a folder of plots that is a link to one of the user's",
        on: On::Once,
        done: |place| {
            place.write("victim/mine.svg", "<svg>mine</svg>")?;
            fs::create_dir(place.path("shown"))?;
            symlink("../victim", place.path("shown/plots"))?;
            shown(place, |_| Ok(()))
        },
        code: 1,
        says: &["shown/plots is a link, through which no page is written"],
        survives: |place, _| {
            let left: Vec<_> = fs::read_dir(place.path("victim"))?.collect();
            ensure!(left.len() == 1, "{left:?}");
            Ok(())
        },
    },
    kept(
        "a report into its own record",
        |place| into_record(place, &["report", "--from", "record", "--out", "record"]),
        &[
            "record lies in the measurements",
            "name another place with --out",
        ],
    ),
    kept(
        "a report into a folder of its own record, by way of a link",
        |place| {
            symlink(example(place)?, place.path("link"))?;
            into_record(place, &["report", "--from", "record", "--out", "link/new"])
        },
        &["link/new lies in the measurements"],
    ),
    kept(
        "a comparison in place of measurements",
        |place| {
            into_record(
                place,
                &["compare", "record", "record", "--out", "record/alpha.jsonl"],
            )
        },
        &["record/alpha.jsonl lies in the measurements"],
    ),
    kept(
        "hosts side by side, written into the record of one",
        |place| {
            into_record(
                place,
                &[
                    "report", "--from", "record", "--from", "record", "--out", "record",
                ],
            )
        },
        &["lies in the measurements"],
    ),
];

/// What would be written into a record, where only measurements lie.
const fn kept(
    what: &'static str,
    done: fn(&Place) -> Result<Ended>,
    says: &'static [&'static str],
) -> Fault {
    Fault {
        what,
        on: On::Once,
        done,
        code: 1,
        says,
        survives: |place, _| {
            let mut files = fs::read_dir(place.path("record"))?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<Result<Vec<_>>>()?;
            files.sort();
            ensure!(
                files == ["alpha.jsonl", "beta.jsonl", "run.json"],
                "{files:?}"
            );
            let compared = place.run(
                place
                    .firstpass(["compare", "record", "record"])
                    .arg("--all"),
            )?;
            ensure!(
                compared.code == Some(0),
                "it is damaged:\n{}",
                compared.said
            );
            Ok(())
        },
    }
}

fn into_record(place: &Place, arguments: &[&str]) -> Result<Ended> {
    example(place)?;
    place.run(&mut place.firstpass(arguments))
}

/// A comparison of a sound record with one to which this was done.
fn compared(place: &Place, damage: fn(&Path) -> Result<()>) -> Result<Ended> {
    let record = example(place)?;
    let sound = place.path("sound");
    fs::rename(&record, &sound)?;
    let record = example(place)?;
    damage(&record)?;
    place.run(place.firstpass(["compare", "--all"]).arg(sound).arg(record))
}

/// The pages of a record to which this was done.
fn shown(place: &Place, damage: fn(&Path) -> Result<()>) -> Result<Ended> {
    let record = example(place)?;
    damage(&record)?;
    let mut report = place.firstpass(["report", "--from"]);
    place.run(report.arg(record).arg("--out").arg(place.path("shown")))
}

/// Compresses the measurements of an engine, and does this to the compressed form.
fn compressed(record: &Path, damage: fn(&mut Vec<u8>)) -> Result<()> {
    let path = record.join("alpha.jsonl");
    let mut bytes = zstd::encode_all(&fs::read(&path)?[..], 1)?;
    damage(&mut bytes);
    fs::write(record.join("alpha.jsonl.zst"), bytes)?;
    Ok(fs::remove_file(path)?)
}

/// A gate that the sound record passes, on one to which this was done.
fn gated(place: &Place, damage: fn(&Path) -> Result<()>) -> Result<Ended> {
    let gate = ["gate", "--first-pass-max", "100x"];
    let record = example(place)?;
    let sound = place.run(place.firstpass(gate).arg(&record))?;
    ensure!(
        sound.code == Some(0),
        "it is broken before:\n{}",
        sound.said
    );
    damage(&record)?;
    place.run(place.firstpass(gate).arg(record))
}

/// A gate with these options on a sound record.
fn limited(place: &Place, options: &[&str]) -> Result<Ended> {
    let record = example(place)?;
    place.run(place.firstpass(["gate"]).args(options).arg(record))
}

fn device(file: &Path) -> Result<()> {
    fs::remove_file(file)?;
    Ok(symlink("/dev/zero", file)?)
}

/// Puts another text in the place of one that is there.
fn replaced(record: &Path, file: &str, from: &str, to: &str) -> Result<()> {
    let text = fs::read_to_string(record.join(file))?;
    ensure!(text.contains(from), "{file} does not have {from}");
    Ok(fs::write(record.join(file), text.replace(from, to))?)
}

/// Puts a text before the lines of an engine.
fn prefixed(record: &Path, text: &str) -> Result<()> {
    let lines = fs::read_to_string(record.join("alpha.jsonl"))?;
    Ok(fs::write(
        record.join("alpha.jsonl"),
        text.to_owned() + &lines,
    )?)
}

/// Gives every number of this name another value.
fn numbers(record: &Path, name: &str, value: u64) -> Result<()> {
    let text = fs::read_to_string(record.join("alpha.jsonl"))?;
    let key = format!("\"{name}\":");
    let mut parts = text.split(&key);
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        changed += &format!("{key}{value}{rest}");
    }
    Ok(fs::write(record.join("alpha.jsonl"), changed)?)
}
