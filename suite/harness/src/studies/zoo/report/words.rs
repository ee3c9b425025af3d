//! What is said of each engine, in sentences.

use crate::{
    page::numbers::{self, times},
    studies::{
        first_passes::words::outlook,
        zoo::judge::{Answer, Row, Titled, Verdicts, answers, lone_faces},
    },
};

/// Detectors that find what no other finds, said before any table of faces.
pub(super) fn nonsense(rows: &[Row]) -> Vec<String> {
    let lines = lone_faces(rows).into_iter().map(|one| {
        format!(
            "⚠ **{}** finds {} of {} on `{}`, where all other engines find {}: its outputs are wrong \
             there, or theirs are.",
            one.label,
            numbers::counted(one.found, "face"),
            one.title,
            one.sample,
            one.others
        )
    });
    lines.collect()
}

/// One answer an engine.
pub(super) fn sentences(rows: &[Row]) -> Vec<String> {
    answers(rows).iter().map(sentence).collect()
}

pub(super) fn sentence(answer: &Answer) -> String {
    let Answer {
        label,
        not_run,
        first,
        second,
        tuned,
    } = answer;
    let all = first.models();
    if all == 0 {
        return format!("**{label}**: open, because it ran none of the models.");
    }
    let answer = match first.slow.len() {
        0 if first.open.is_empty() => "no",
        0 => "open",
        slow if slow == all => "yes, all of them",
        slow if 2 * slow > all => "yes, most of them",
        _ => "yes, some of them",
    };
    let mut text = format!(
        "**{label}**: {answer}. Pass 1 is {}. Pass 2 is {}.",
        counted(first),
        counted(second)
    );
    if tuned.models() > 0 {
        text += &format!(
            " With the settings of `tuned.toml` pass 1 is {}.",
            counted(tuned)
        );
    }
    if *not_run > 0 {
        text += &format!(" It does not run {not_run} more.");
    }
    text
}

/// On how many models an early pass is slow, not slow or open, with what it takes in units of the steady time.
pub(super) fn counted(verdicts: &Verdicts) -> String {
    let Verdicts {
        slow,
        not_slow,
        open,
    } = verdicts;
    let all = verdicts.models();
    let of_all = format!("of {all} model{}", if all == 1 { "" } else { "s" });
    let mut parts = vec![match &slow[..] {
        [] => format!("slow on none {of_all}"),
        slow => format!("slow on {} {of_all}, {}", slow.len(), extent(slow)),
    }];
    if let Some(greatest) = not_slow.last() {
        parts.push(format!(
            "not slow on {}, at most {} ({})",
            not_slow.len(),
            times(greatest.pass.ratio()),
            greatest.title
        ));
    }
    let highest = open.iter().map(|one| one.pass.interval().1);
    if let Some(highest) = highest.reduce(f64::max) {
        parts.push(format!(
            "open on {}, {}, with intervals up to {}; {}",
            open.len(),
            extent(open),
            times(highest),
            outlook(open.iter().map(|one| &one.pass.0))
        ));
    }
    parts.join("; ")
}

/// Of models in the order of their ratios.
pub(super) fn extent(models: &[Titled]) -> String {
    let named = |one: &Titled| format!("{} ({})", times(one.pass.ratio()), one.title);
    let ratios = models.iter().map(|one| one.pass.ratio());
    match (models, firstpass_statistics::median(ratios)) {
        ([only], _) => named(only),
        ([least, .., greatest], Some(median)) => format!(
            "from {} to {}, {} in the median",
            named(least),
            named(greatest),
            times(median)
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::{super::tables::agreement, *};
    use crate::studies::zoo::judge::tests::{detectors, zoo};

    #[test]
    fn nonsense_is_said_to_be_nonsense() -> Result<()> {
        let zoo = zoo()?;
        let rows = detectors(&zoo, &[("p", 1), ("q", 1320), ("r", 1)])?;
        let said = nonsense(&rows).join("\n");
        assert!(
            said.contains("**q** finds 1320 faces of Model a on `crowd`"),
            "{said}"
        );
        assert_eq!(agreement(&rows[1]), "⚠ differ from p and r");
        assert_eq!(agreement(&rows[0]), "⚠ differ from q, agree with r");
        let alike = detectors(&zoo, &[("p", 1), ("q", 1)])?;
        assert_eq!(nonsense(&alike), Vec::<String>::new());
        assert_eq!(agreement(&alike[0]), "agree with q");
        Ok(())
    }
}
