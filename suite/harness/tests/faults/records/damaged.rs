//! Records that are damaged, or that somebody else has made. Each is compared with a sound one.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
};

use anyhow::Context;

use super::{compared, compressed, device, numbers, prefixed, replaced};
use crate::{fault::Fault, inputs::pipe};

pub const FAULTS: &[Fault] = &[
    Fault::damaged(
        "a pipe in place of run.json",
        compared,
        |record| {
            fs::remove_file(record.join("run.json"))?;
            pipe(&record.join("run.json"))
        },
        1,
        &["is not a record", "it is a pipe"],
    ),
    Fault::damaged(
        "a device in place of run.json",
        compared,
        |record| device(&record.join("run.json")),
        1,
        &["is not a record", "or a device"],
    ),
    Fault::damaged(
        "a folder in place of run.json",
        compared,
        |record| {
            fs::remove_file(record.join("run.json"))?;
            Ok(fs::create_dir(record.join("run.json"))?)
        },
        1,
        &["is not a record", "it is a folder"],
    ),
    Fault::damaged(
        "a run.json without an end",
        compared,
        |record| {
            let text = fs::read_to_string(record.join("run.json"))?;
            let half = text.get(..text.len() / 2).context("it is no ASCII")?;
            Ok(fs::write(record.join("run.json"), half)?)
        },
        1,
        &["run.json is not as expected", "EOF"],
    ),
    Fault::damaged(
        "a run.json of another version",
        compared,
        |record| replaced(record, "run.json", "\"version\": 3", "\"version\": 999"),
        1,
        &["has version 999", "measure again"],
    ),
    Fault::damaged(
        "a run.json of brackets, 200,000 deep",
        compared,
        |record| Ok(fs::write(record.join("run.json"), "[".repeat(200_000))?),
        1,
        &["run.json is not as expected"],
    ),
    Fault::damaged(
        "a pipe in place of measurements",
        compared,
        |record| {
            fs::remove_file(record.join("alpha.jsonl"))?;
            pipe(&record.join("alpha.jsonl"))
        },
        1,
        &["cannot read", "alpha.jsonl", "it is a pipe"],
    ),
    Fault::damaged(
        "a device in place of measurements",
        compared,
        |record| device(&record.join("alpha.jsonl")),
        1,
        &["cannot read", "alpha.jsonl", "or a device"],
    ),
    Fault::damaged(
        "measurements that link to themselves",
        compared,
        |record| {
            fs::remove_file(record.join("alpha.jsonl"))?;
            Ok(symlink("alpha.jsonl", record.join("alpha.jsonl"))?)
        },
        1,
        &["cannot read", "alpha.jsonl", "symbolic links"],
    ),
    Fault::damaged(
        "compressed measurements that are not",
        compared,
        |record| {
            fs::remove_file(record.join("alpha.jsonl"))?;
            Ok(fs::write(
                record.join("alpha.jsonl.zst"),
                "no frame at all",
            )?)
        },
        1,
        &["cannot read", "alpha.jsonl.zst"],
    ),
    Fault::damaged(
        "a small compressed file of measurements that unfolds to 2 GiB",
        compared,
        |record| {
            fs::remove_file(record.join("alpha.jsonl"))?;
            let zeros = std::io::Read::take(std::io::repeat(b'\n'), 2 << 30);
            let file = fs::File::create(record.join("alpha.jsonl.zst"))?;
            Ok(zstd::stream::copy_encode(zeros, file, 1)?)
        },
        1,
        &["alpha.jsonl.zst holds more than", "which are not read"],
    ),
    Fault::damaged(
        "compressed measurements with something else behind them",
        compared,
        |record| compressed(record, |bytes| bytes.extend_from_slice(b"something else")),
        1,
        &["cannot read", "alpha.jsonl.zst"],
    ),
    Fault::damaged(
        "compressed measurements that end before the first line does",
        compared,
        |record| compressed(record, |bytes| bytes.truncate(20)),
        0,
        &["alpha.jsonl.zst is cut off after line 0", "is lost"],
    ),
    Fault::damaged(
        "compressed measurements that are empty",
        compared,
        |record| compressed(record, Vec::clear),
        0,
        &["alpha.jsonl.zst is cut off after line 0", "is lost"],
    ),
    Fault::damaged(
        "a text in place of a list in run.json",
        compared,
        |record| {
            replaced(
                record,
                "run.json",
                "\"models\": [",
                "\"models\": \"\", \"more\": [",
            )
        },
        1,
        &["run.json is not as expected", "expected a sequence"],
    ),
    Fault::damaged(
        "a field that a line has twice",
        compared,
        |record| {
            replaced(
                record,
                "alpha.jsonl",
                "\"round\":",
                "\"round\":0,\"round\":",
            )
        },
        1,
        &["alpha.jsonl, line 1", "duplicate field `round`"],
    ),
    Fault::damaged(
        "a line of brackets, 100,000 deep",
        compared,
        |record| {
            let line = format!(
                "{{\"record\":\"observation\",\"more\":{}\n",
                "[".repeat(100_000)
            );
            prefixed(record, &line)
        },
        1,
        &["alpha.jsonl, line 1", "recursion limit"],
    ),
    Fault::damaged(
        "a line that is no measurement",
        compared,
        |record| prefixed(record, "garbage\n"),
        1,
        &["alpha.jsonl, line 1", "expected value"],
    ),
    Fault::damaged(
        "a time below 0",
        compared,
        |record| {
            replaced(
                record,
                "alpha.jsonl",
                "\"spawned_ns\":0",
                "\"spawned_ns\":-1",
            )
        },
        1,
        &["alpha.jsonl, line 1", "-1"],
    ),
    Fault::damaged(
        "a number that no number of this machine holds",
        compared,
        |record| {
            replaced(
                record,
                "alpha.jsonl",
                "\"load_average\":0.0",
                "\"load_average\":1e999",
            )
        },
        1,
        &["alpha.jsonl, line 1", "number out of range"],
    ),
    Fault::damaged(
        "measurements of one engine under the name of another",
        compared,
        |record| {
            Ok(fs::rename(
                record.join("alpha.jsonl"),
                record.join("gamma.jsonl"),
            )?)
        },
        1,
        &[
            "gamma.jsonl is not as expected",
            "of the engine \"alpha\"",
            "named after \"gamma\"",
        ],
    ),
    Fault::damaged(
        "measurements that are there twice, which would count twice",
        compared,
        |record| {
            fs::copy(record.join("alpha.jsonl"), record.join("gamma.jsonl"))?;
            Ok(())
        },
        1,
        &["gamma.jsonl is not as expected"],
    ),
    Fault::damaged(
        "measurements whose name is not UTF-8",
        compared,
        |record| {
            let name = OsStr::from_bytes(b"al\xff.jsonl");
            Ok(fs::rename(record.join("alpha.jsonl"), record.join(name))?)
        },
        1,
        &["is not UTF-8", "give it its name"],
    ),
    Fault::damaged(
        "times of 584 years, and a clock that stands at its end",
        compared,
        |record| {
            for name in ["start_ns", "wall_ns", "cpu_ns", "main_ns", "spawned_ns"] {
                numbers(record, name, u64::MAX)?;
            }
            Ok(())
        },
        0,
        &["pass 1"],
    ),
];
