//! What of a record is not of the workspace as it stands. That is a warning: a page that says by which
//! code its figures were measured is not wrong.
//!
//! **The rule.** Whoever renders a page writes at its top what is stale ([`mark`]). That block depends on
//! the code of the day and not on the record alone, so `report --check` compares pages without it
//! ([`unmarked`]). A change of code then makes no page differ, and a page that is not what its record
//! gives still fails. `report --check` prints what is stale, and only `--strict` fails on it.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;
use firstpass_trial::workspace::Workspace;

use crate::{
    record::{Stale, code::Code},
    report::Rendered,
    studies::{
        self, State,
        first_passes::{analysis::Analysis, chosen},
    },
};

const BEGIN: &str = "<!-- firstpass: begin of what is stale -->\n";
const END: &str = "<!-- firstpass: end of what is stale -->\n\n";

/// What makes a record fresh again.
pub const REMEDY: &str = "`cargo firstpass record` measures again.";

/// How many changes a page names.
const NAMED: usize = 3;

/// The study of the record itself. What holds for it is said of all that was measured.
pub(super) const WHOLE: &str = "";

/// A study that is stale, and one reason why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaleStudy {
    /// The study, by its folder in the record; empty for the record itself.
    pub study: &'static str,
    pub stale: Stale,
}

/// Everything of a record that is stale.
///
/// # Errors
/// Fails where sources of the workspace, its lock file or `tuned.toml` cannot be read.
pub fn stale(workspace: &Workspace, analysis: &Analysis) -> Result<Vec<StaleStudy>> {
    let now = Code::observe(workspace)?;
    let record = &analysis.record;
    let mut of_fixtures = true;
    for model in analysis.models() {
        of_fixtures &= analysis.workload.is_of_fixtures(model)?;
    }
    let mut whole = Vec::from_iter(Stale::by_code(workspace, &record.run.code, &now));
    // The settings of a user's own model lie beside its report.
    if of_fixtures {
        whole.extend(chosen::stale(workspace, record)?);
    }
    let mut by_study = vec![(WHOLE, whole)];
    for study in studies::ALL {
        if let State::Measured(stale) = study.state(workspace, &record.folder, &now)? {
            by_study.push((study.name(), stale));
        }
    }
    let stale = by_study.into_iter().flat_map(|(study, reasons)| {
        let reasons = reasons.into_iter();
        reasons.map(move |stale| StaleStudy { study, stale })
    });
    Ok(stale.collect())
}

/// Says on each page what is stale of all that it shows.
pub(crate) fn mark(rendered: &mut Rendered, stale: &[StaleStudy]) {
    rendered.block = header(stale, None) + &rendered.block;
    let of_nothing = BTreeSet::new();
    let shown_on = |path: &Path| rendered.studies.get(path).unwrap_or(&of_nothing);
    for (path, bytes) in &mut rendered.files {
        let shown: Vec<StaleStudy> = stale
            .iter()
            .filter(|s| shown_on(path).contains(s.study))
            .cloned()
            .collect();
        if let Ok(text) = std::str::from_utf8(bytes)
            && !shown.is_empty()
        {
            let title = text.find("\n\n").map_or(0, |at| at + 2);
            let header = header(&shown, Some(shown_on(path)));
            *bytes = [&text[..title], &header, &text[title..]].concat().into();
        }
    }
}

/// A page without what [`mark`] put there.
pub(crate) fn unmarked(page: &str) -> String {
    match page.split_once(BEGIN) {
        Some((before, rest)) => match rest.split_once(END) {
            Some((_, after)) => before.to_owned() + after,
            None => page.to_owned(),
        },
        None => page.to_owned(),
    }
}

/// The block that a page has at its top; empty where nothing is stale. The first page is of all studies, another one
/// `of` some: it names those that are stale, unless all are.
fn header(stale: &[StaleStudy], of: Option<&BTreeSet<&'static str>>) -> String {
    if stale.is_empty() {
        return String::new();
    }
    let mut lines: Vec<String> = groups(stale)
        .into_iter()
        .map(|(studies, reason, changes)| {
            let named = &changes[..changes.len().min(NAMED)];
            let more = changes.len() - named.len();
            let mut named: Vec<String> = named.iter().map(|name| format!("`{name}`")).collect();
            if more > 0 {
                named.push(format!("{more} more"));
            }
            let has = if changes.len() == 1 { "has" } else { "have" };
            let since = match &named[..] {
                [] => String::new(),
                named => format!(": {} {has} changed since", and(named)),
            };
            let is_all = match of {
                Some(of) => of.iter().all(|study| studies.contains(study)),
                None => studies.contains(&WHOLE),
            };
            match of {
                _ if is_all => format!("> {}{since}.", capitalized(reason)),
                Some(_) => format!("> Of this page, {} {reason}{since}.", given(&studies)),
                None => format!("> {} {reason}{since}.", subject(&studies)),
            }
        })
        .collect();
    lines.push(format!("> {REMEDY}"));
    format!("{BEGIN}{}\n{END}", lines.join("\n"))
}

/// What is stale, in full, for the terminal: an entry for each reason.
pub fn listed(stale: &[StaleStudy]) -> Vec<String> {
    let entries = groups(stale).into_iter();
    let entries = entries.map(|(studies, reason, changes)| {
        let since = match changes {
            [] => String::new(),
            changes => format!("; changed since:\n    {}", changes.join("\n    ")),
        };
        format!("{} {reason}{since}", subject(&studies))
    });
    entries.collect()
}

/// The studies that are stale for the same reason, by that and by what has changed.
type Group<'a> = (Vec<&'static str>, &'a str, &'a [String]);

fn groups(stale: &[StaleStudy]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for StaleStudy { study, stale } in stale {
        let Stale { reason, changes } = stale;
        let same = groups
            .iter_mut()
            .find(|(_, r, c)| r == reason && c == changes);
        match same {
            Some((studies, ..)) if studies.contains(study) => {}
            Some((studies, ..)) => studies.push(study),
            None => groups.push((vec![study], reason, changes)),
        }
    }
    groups
}

/// What was measured, with its verb.
fn subject(studies: &[&str]) -> String {
    if studies.contains(&WHOLE) {
        return "the record was".into();
    }
    let folders: Vec<String> = studies.iter().map(|study| format!("`{study}/`")).collect();
    let verb = if folders.len() == 1 { "was" } else { "were" };
    format!("{} {verb}", and(&folders))
}

/// What commands gave that a page shows, with its verb.
fn given(studies: &[&str]) -> String {
    let commands: Vec<String> = studies
        .iter()
        .map(|study| match *study {
            WHOLE => "`firstpass report`".into(),
            study => format!("`firstpass {study}`"),
        })
        .collect();
    format!("what {} gave was", and(&commands))
}

/// `a`, `a and b`, `a, b and c`.
fn and(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::{collections::BTreeMap, path::PathBuf};

    use super::*;
    use crate::{
        record::{Recorder, tests::run},
        report::{check, write},
        studies::{tune, zoo},
    };

    fn changes(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn stale_study(study: &'static str, reason: &str, changes: &[String]) -> StaleStudy {
        StaleStudy {
            study,
            stale: Stale {
                reason: reason.into(),
                changes: changes.to_vec(),
            },
        }
    }

    /// A report of a record without engines, which this code measured.
    fn report(folder: &Path, code: Code) -> Result<PathBuf> {
        let workspace = Workspace::find()?;
        let run = crate::record::Run {
            code,
            engines: BTreeMap::new(),
            processors: BTreeMap::new(),
            duration_s: Some(1.0),
            ..run()
        };
        let record = folder.join("records/one");
        let record = Recorder::begin(&record, workspace.root(), &run)?.finish()?;
        write(&workspace, folder, &record, false)?;
        Ok(folder.join("README.md"))
    }

    #[test]
    fn a_stale_record_is_a_warning_and_a_fault_only_where_that_is_asked_for() -> Result<()> {
        let workspace = Workspace::find()?;
        let now = Code::observe(&workspace)?;
        let mut then = now.clone();
        then.parts
            .insert("suite/probe/src/gone.rs".into(), "0".into());
        then.measured_sha256 = "another".into();
        let dir = tempfile::tempdir()?;
        let page = report(dir.path(), then)?;
        let text = std::fs::read_to_string(&page)?;
        let expected = "> Measured by older code: `suite/probe/src/gone.rs` has changed since.\n";
        assert!(
            text.contains(&format!("{BEGIN}{expected}> {REMEDY}")),
            "{text}"
        );

        let stale = check(&workspace, dir.path(), false)?;
        let expected = [
            "the record was measured by older code; changed since:\n    \
                         suite/probe/src/gone.rs",
        ];
        assert_eq!(listed(&stale), expected);
        let error = check(&workspace, dir.path(), true).expect_err("it is stale");
        assert!(format!("{error:#}").contains(expected[0]), "{error:#}");

        // What the code of the day makes of a page is not compared, and all else is.
        std::fs::write(&page, unmarked(&text))?;
        check(&workspace, dir.path(), false)?;
        std::fs::write(&page, text.replace("## The answer", "## My answer"))?;
        let error = check(&workspace, dir.path(), false).expect_err("the page differs");
        let differs = "README.md is not what its record renders to";
        assert!(format!("{error:#}").contains(differs), "{error:#}");
        Ok(())
    }

    #[test]
    fn a_fresh_record_has_no_warning() -> Result<()> {
        let workspace = Workspace::find()?;
        let dir = tempfile::tempdir()?;
        let page = report(dir.path(), Code::observe(&workspace)?)?;
        assert!(!std::fs::read_to_string(page)?.contains(BEGIN));
        assert_eq!(check(&workspace, dir.path(), true)?, []);
        Ok(())
    }

    #[test]
    fn an_interrupted_run_is_a_fault() -> Result<()> {
        let workspace = Workspace::find()?;
        let dir = tempfile::tempdir()?;
        report(dir.path(), Code::observe(&workspace)?)?;
        let path = dir.path().join("records/one/run.json");
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(
            &path,
            text.replace("\"duration_s\": 1.0", "\"duration_s\": null"),
        )?;
        write(
            &workspace,
            dir.path(),
            &dir.path().join("records/one"),
            false,
        )?;
        let error = check(&workspace, dir.path(), false).expect_err("it was interrupted");
        assert!(format!("{error:#}").contains("interrupted"), "{error:#}");
        Ok(())
    }

    #[test]
    fn each_page_says_what_is_stale_of_what_it_shows() {
        let pages = [zoo::report::PAGE, tune::report::PAGE, "plot.svg"];
        let page = |name: &&str| (PathBuf::from(name), b"# Title\n\nText\n".to_vec());
        let shows = [(pages[0], zoo::FOLDER), (pages[1], tune::FOLDER)];
        let mut rendered = Rendered {
            block: "## Verdict".into(),
            files: pages.iter().map(page).collect(),
            pages: Vec::new(),
            studies: BTreeMap::from(shows.map(|(page, study)| (page.into(), [study].into()))),
        };
        let many = changes(&["a", "b", "c", "d", "e"]);
        let stale = [
            stale_study(zoo::FOLDER, "measured by older code", &many),
            stale_study("overhead", "measured by older code", &many),
            stale_study("overhead", "compared with another", &[]),
        ];
        mark(&mut rendered, &stale);
        let since = "`a`, `b`, `c` and 2 more have changed since.";
        let expected = format!(
            "{BEGIN}> `zoo/` and `overhead/` were measured by older code: {since}\n\
             > `overhead/` was compared with another.\n> {REMEDY}\n{END}## Verdict"
        );
        assert_eq!(rendered.block, expected);
        let text = |name: &str| String::from_utf8_lossy(&rendered.files[Path::new(name)]);
        let expected =
            format!("# Title\n\n{BEGIN}> Measured by older code: {since}\n> {REMEDY}\n{END}Text\n");
        assert_eq!(text(zoo::report::PAGE), expected);
        for other in [tune::report::PAGE, "plot.svg"] {
            assert_eq!(text(other), "# Title\n\nText\n");
        }
    }

    #[test]
    fn a_page_of_several_studies_names_those_that_are_stale() {
        let page = PathBuf::from("layers.md");
        let marked = |stale: &[&'static str]| {
            let studies = [WHOLE, "diverge", "saturation"];
            let mut rendered = Rendered {
                block: String::new(),
                files: BTreeMap::from([(page.clone(), b"# Title\n\nText\n".to_vec())]),
                pages: Vec::new(),
                studies: BTreeMap::from([(page.clone(), studies.into())]),
            };
            let older = |study: &&'static str| stale_study(study, "measured by older code", &[]);
            let stale: Vec<StaleStudy> = stale.iter().map(older).collect();
            mark(&mut rendered, &stale);
            let text = String::from_utf8_lossy(&rendered.files[&page]).into_owned();
            text.lines().nth(3).unwrap_or_default().to_owned()
        };
        let page_has =
            |words: &str| format!("> Of this page, what {words} was measured by older code.");
        assert_eq!(
            marked(&["saturation"]),
            page_has("`firstpass saturation` gave")
        );
        assert_eq!(
            marked(&[WHOLE, "saturation"]),
            page_has("`firstpass report` and `firstpass saturation` gave")
        );
        assert_eq!(
            marked(&[WHOLE, "diverge", "saturation"]),
            "> Measured by older code."
        );
    }

    proptest! {
        #[test]
        fn a_page_without_its_mark_is_the_page(title in "(# [a-z]{1,9}\n\n)?", text in "[a-z<>\n]{0,40}") {
            let page = title + &text;
            let path = PathBuf::from("story.md");
            let files = BTreeMap::from([(path.clone(), page.clone().into_bytes())]);
            let studies = BTreeMap::from([(path.clone(), [WHOLE].into())]);
            let mut rendered = Rendered { block: page.clone(), files, pages: Vec::new(), studies };
            mark(&mut rendered, &[stale_study(WHOLE, "measured", &[])]);
            prop_assert!(rendered.block.contains(BEGIN));
            prop_assert_eq!(unmarked(&rendered.block), page.clone());
            let marked = String::from_utf8_lossy(&rendered.files[&path]);
            prop_assert!(marked.contains(BEGIN));
            prop_assert_eq!(unmarked(&marked), page);
        }
    }
}
