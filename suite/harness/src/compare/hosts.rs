//! Records of several hosts side by side.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_trial::observation::Cell;
use minijinja::context;

use crate::{
    compare::changes_report::cell_name,
    page::{
        numbers::{milliseconds, times},
        table::Table,
        template, write_file,
    },
    record::Record,
    studies::first_passes::judge::latency::{Figure, Latency, summarise},
};

/// The page.
const HOSTS: &str = "hosts.md";

/// Writes `hosts.md` into `folder` and returns its path. No fixtures are read and no engine runs:
/// hosts may have measured other models.
///
/// # Errors
/// Fails where a record cannot be read or the page cannot be written.
pub fn hosts(records: &[PathBuf], folder: &Path) -> Result<PathBuf> {
    let records = records
        .iter()
        .map(|record| Record::read(record))
        .collect::<Result<Vec<_>>>()?;
    write_file(folder, Path::new(HOSTS), render(&records)?.as_bytes())?;
    Ok(folder.join(HOSTS))
}

fn render(records: &[Record]) -> Result<String> {
    let latencies: Vec<BTreeMap<Cell, Latency>> = records
        .iter()
        .map(|record| {
            let latencies = summarise(record.observations());
            latencies.into_iter().map(|l| (l.cell.clone(), l)).collect()
        })
        .collect();
    let mut cells: Vec<&Cell> = latencies.iter().flat_map(BTreeMap::keys).collect();
    cells.sort();
    cells.dedup();
    let letter = |n: usize| format!("host {}", n + 1);
    let facts = records.iter().enumerate().map(|(n, record)| {
        let run = &record.run;
        vec![
            letter(n),
            format!("{}, {} cores", run.machine.cpu, run.machine.cores),
            run.machine.os.clone(),
            run.date.clone(),
            run.code.commit.clone().unwrap_or_else(|| "–".into()),
        ]
    });
    let mut header = vec!["engine".to_owned()];
    header.extend((0..records.len()).map(letter));
    let tabled = |title: &str, figure: &dyn Fn(&Latency) -> Option<String>| {
        let lines = cells.iter().map(|cell| {
            let mut line = vec![cell_name(cell)];
            line.extend(latencies.iter().map(|of_host| {
                let found = of_host.get(cell).and_then(figure);
                found.unwrap_or_else(|| "–".into())
            }));
            line
        });
        let table = Table::new(header.clone()).rows(lines).page();
        context! { title, table }
    };
    let median = |figure: Figure| {
        move |latency: &Latency| {
            let values = latency.by_round(figure).into_values();
            firstpass_statistics::median(values).map(milliseconds)
        }
    };
    let facts = Table::new(["", "processor", "system", "measured", "commit"]).rows(facts);
    let figures = [
        tabled("Pass 1 / steady", &|latency| {
            latency.first_over_steady.map(|first| times(first.ratio()))
        }),
        tabled("Steady, ms", &median(Figure::Steady)),
        tabled("Cold start, ms", &median(Figure::ColdStart)),
        tabled("Class", &|latency| Some(latency.class())),
    ];
    template::render("hosts.md.j2", context! { hosts => facts.page(), figures })
}

#[cfg(test)]
mod tests {
    use firstpass_trial::workspace::Workspace;

    use anyhow::Context;

    use super::*;
    use crate::{
        page::Block,
        record::tests::record,
        studies::first_passes::judge::latency::tests::{observation, times},
    };

    #[test]
    fn a_cell_that_a_host_lacks_is_a_dash() -> Result<()> {
        let mut second = observation(0, &times(&[30.0], 10.0));
        second.cell.backend = "y".into();
        let a = record(vec![observation(0, &times(&[90.0], 10.0))]);
        let b = record(vec![observation(0, &times(&[50.0], 20.0)), second]);
        let page = render(&[a, b])?;
        let lines: Vec<&str> = page
            .lines()
            .filter(|l| l.contains("on m, 1 thread"))
            .collect();
        assert_eq!(lines.len(), 8, "two cells in four tables");
        assert!(
            lines[0].contains("9.00×") && lines[0].contains("2.50×"),
            "{page}"
        );
        assert!(
            lines[1].contains('–') && lines[1].contains("3.00×"),
            "{page}"
        );
        Ok(())
    }

    /// The committed record, and the small one that the crate `firstpass` is tested with.
    #[test]
    fn records_of_two_hosts_stand_side_by_side() -> Result<()> {
        let workspace = Workspace::find()?;
        let reports = workspace.reports();
        let page = std::fs::read_to_string(reports.join("README.md"))?;
        let committed = reports.join(Block::source_of(&page).context("it names its record")?);
        let other = workspace
            .root()
            .join("suite/firstpass/tests/example/record");
        let folder = tempfile::tempdir()?;
        let page = super::hosts(&[committed.clone(), other.clone()], folder.path())?;
        let text = std::fs::read_to_string(page)?;
        for record in [&committed, &other] {
            let cpu = Record::read(record)?.run.machine.cpu;
            assert!(text.contains(&cpu), "{cpu} in {text}");
        }
        let missing = super::hosts(&[folder.path().join("none"), other], folder.path());
        assert!(missing.is_err());
        Ok(())
    }
}
