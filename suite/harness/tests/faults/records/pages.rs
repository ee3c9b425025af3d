//! Pages of damaged records, and pages written where something of the user's lies.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context, Result, ensure};

use super::{replaced, shown};
use crate::{
    fault::Fault,
    place::{Ended, Place},
};

pub const FAULTS: &[Fault] = &[
    // Pages of a record.
    Fault::damaged(
        "outputs in a folder that links to itself",
        shown,
        |record| Ok(symlink("outputs", record.join("outputs"))?),
        1,
        &["cannot read", "outputs/", "symbolic links"],
    ),
    Fault::new(
        "a file in place of the folder for pages",
        |place| {
            place.write("shown", "")?;
            shown(place, |_| Ok(()))
        },
        1,
        &["shown: what has this name is no folder", "name another one"],
    ),
    Fault::new(
        "a folder for pages that links to itself",
        |place| {
            symlink("shown", place.path("shown"))?;
            shown(place, |_| Ok(()))
        },
        1,
        &["shown: what has this name is no folder", "name another one"],
    ),
    Fault::new(
        "a folder for pages where no folder can be made",
        |place| {
            let record = place.example()?;
            let mut report = place.firstpass(["report", "--out", "/proc/shown", "--from"]);
            place.run(report.arg(record))
        },
        1,
        &["cannot make the folder /proc/shown", "name another one"],
    ),
    Fault::new(
        "a processor that is called like a heading",
        |place| {
            shown(place, |record| {
                let text = fs::read_to_string(record.join("run.json"))?;
                let (before, after) = text
                    .split_once("\"cpu\": \"")
                    .context("it has no processor")?;
                let text = format!("{before}\"cpu\": \"x\\n# y <b>{after}");
                Ok(fs::write(record.join("run.json"), text)?)
            })
        },
        0,
        &["report: "],
    )
    .surviving(|place, _| {
        let page = fs::read_to_string(place.path("shown/README.md"))?;
        ensure!(
            page.contains("x # y"),
            "the processor is not there:\n{page}"
        );
        ensure!(!page.contains("\n# y"), "it is a heading:\n{page}");
        ensure!(!page.contains("<b>"), "it is a mark:\n{page}");
        Ok(())
    }),
    Fault::new(
        "names in a record that look like lines of their own",
        |place| {
            let record = place.example()?;
            fs::rename(&record, place.path("sound"))?;
            let odd = "\"model\":\"m\\ngate: kept\\n# x <b>\"";
            replaced(&place.example()?, "alpha.jsonl", "\"model\":\"model\"", odd)?;
            place.run(&mut place.firstpass(["compare", "sound", "record", "--out", "page.md"]))
        },
        0,
        &["gate: kept"],
    )
    .surviving(|place, ended| {
        let page = fs::read_to_string(place.path("page.md"))?;
        for text in [&page, &ended.said] {
            let mut lines = text.lines().map(str::trim);
            let looks = |line: &str| line.starts_with("gate: kept") || line.starts_with("# x");
            ensure!(!lines.any(looks), "a name is a line:\n{text}");
        }
        ensure!(!page.contains("<b>"), "a name is HTML:\n{page}");
        Ok(())
    }),
    Fault::new(
        "a page of the user's own where a report would write one",
        |place| {
            place.write("shown/why.md", "notes of my own")?;
            shown(place, |_| Ok(()))
        },
        1,
        &[
            "shown/why.md is there already and is none of a report",
            "name another folder",
        ],
    ),
    Fault::new(
        "plots of the user's own in the folder of a report",
        |place| {
            place.write("shown/plots/mine.svg", "<svg>mine</svg>")?;
            let first = shown(place, |_| Ok(()))?;
            ensure!(first.code == Some(0), "no report:\n{}", first.said);
            shown(place, |_| Ok(()))
        },
        0,
        &["report: "],
    )
    .surviving(|place, _| {
        let own = fs::read_to_string(place.path("shown/plots/mine.svg"))?;
        ensure!(own == "<svg>mine</svg>", "{own}");
        Ok(())
    }),
    Fault::new(
        "a page that is a link to a file of the user's",
        |place| {
            place.write("victim", "kept")?;
            fs::create_dir(place.path("shown"))?;
            symlink("../victim", place.path("shown/report.html"))?;
            shown(place, |_| Ok(()))
        },
        1,
        &["shown/report.html is a link, through which no page is written"],
    )
    .surviving(|place, _| {
        ensure!(
            fs::read_to_string(place.path("victim"))? == "kept",
            "it is written to"
        );
        Ok(())
    }),
    Fault::new(
        "a folder of plots that is a link to one of the user's",
        |place| {
            place.write("victim/mine.svg", "<svg>mine</svg>")?;
            fs::create_dir(place.path("shown"))?;
            symlink("../victim", place.path("shown/plots"))?;
            shown(place, |_| Ok(()))
        },
        1,
        &["shown/plots is a link, through which no page is written"],
    )
    .surviving(|place, _| {
        let left: Vec<_> = fs::read_dir(place.path("victim"))?.collect();
        ensure!(left.len() == 1, "{left:?}");
        Ok(())
    }),
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
            symlink(place.example()?, place.path("link"))?;
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
    Fault::new(what, done, 1, says).surviving(|place, _| {
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
    })
}

fn into_record(place: &Place, arguments: &[&str]) -> Result<Ended> {
    place.example()?;
    place.run(&mut place.firstpass(arguments))
}
