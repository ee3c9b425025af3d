//! Gates on damaged records, and with limits that are none: nothing is called kept that was not seen.

use std::fs;

use super::{gated, limited, numbers, replaced};
use crate::fault::Fault;

pub const FAULTS: &[Fault] = &[
    Fault::damaged(
        "times of 0",
        gated,
        |record| {
            for name in ["wall_ns", "cpu_ns"] {
                numbers(record, name, 0)?;
            }
            Ok(())
        },
        1,
        &["alpha", "broken"],
    ),
    Fault::damaged(
        "a gate on an engine whose measurements are lost",
        gated,
        |record| Ok(fs::write(record.join("alpha.jsonl"), "")?),
        1,
        &["alpha", "its file in the record is empty", "gate: broken"],
    ),
    Fault::damaged(
        "a gate on an engine whose measurements are zeros, as after a crash of the system",
        gated,
        |record| Ok(fs::write(record.join("alpha.jsonl"), [0; 4096])?),
        1,
        &[
            "is cut off in line 1",
            "its file in the record is empty",
            "gate: broken",
        ],
    ),
    Fault::damaged(
        "a gate on a record that was interrupted",
        gated,
        |record| {
            replaced(
                record,
                "run.json",
                "\"duration_s\": 1.0",
                "\"duration_s\": null",
            )
        },
        3,
        &["the record", "it was interrupted", "gate: undecided"],
    ),
    Fault::damaged(
        "a gate on a record without measurements",
        gated,
        |record| {
            fs::remove_file(record.join("alpha.jsonl"))?;
            Ok(fs::remove_file(record.join("beta.jsonl"))?)
        },
        2,
        &["nothing to judge", "no cell at all"],
    ),
    Fault::new(
        "a gate without a limit",
        |place| {
            let record = place.example()?;
            place.run(place.firstpass(["gate"]).arg(record))
        },
        2,
        &["nothing to judge", "give --first-pass-max"],
    ),
    Fault::new(
        "a gate with a limit that is no number",
        |place| limited(place, &["--first-pass-max", "nanx"]),
        2,
        &["\"nanx\" is not above 0"],
    ),
    Fault::new(
        "a gate with a limit of 0",
        |place| limited(place, &["--first-pass-max", "0x"]),
        2,
        &["\"0x\" is not above 0"],
    ),
    Fault::new(
        "a gate of a number of threads that was not measured",
        |place| limited(place, &["--first-pass-max", "3x", "--threads", "64"]),
        2,
        &["nothing answers to the number of threads 64", "there is: 1"],
    ),
    Fault::new(
        "a gate of an engine that there is not",
        |place| limited(place, &["--first-pass-max", "3x", "--engine", "nosuch"]),
        2,
        &[
            "nothing answers to the engine nosuch",
            "there is: alpha, beta",
        ],
    ),
    Fault::new(
        "a gate of a model without a name",
        |place| limited(place, &["--first-pass-max", "3x", "--model", ""]),
        2,
        &["nothing answers to the model"],
    ),
    Fault::new(
        "a gate against a record that is none",
        |place| limited(place, &["--steady-max", "+5%", "--against", "/dev/null"]),
        2,
        &["/dev/null is not a record"],
    ),
    Fault::damaged(
        "a gate on measurements that were joined with themselves",
        gated,
        |record| {
            let lines = fs::read_to_string(record.join("alpha.jsonl"))?;
            Ok(fs::write(
                record.join("alpha.jsonl"),
                lines.clone() + &lines,
            )?)
        },
        2,
        &[
            "alpha.jsonl, line ",
            "this process is there already, in an earlier line",
        ],
    ),
];
