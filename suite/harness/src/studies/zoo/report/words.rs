//! What is said of each engine, as data: `templates/said/zoo.md.j2` says it in words.

use serde::Serialize;

use crate::studies::{
    first_passes::words::missing,
    zoo::judge::{Answer, Row, Titled, Verdicts, answers},
};

/// The answer of one engine.
#[derive(Debug, Serialize)]
pub(super) struct OfEngine {
    label: String,
    /// Models that it did not run.
    not_run: usize,
    first: Counted,
    second: Counted,
    /// Pass 1 with the recommended settings.
    tuned: Counted,
}

/// On how many models an early pass is slow, not slow or open.
#[derive(Debug, Serialize)]
struct Counted {
    models: usize,
    slow: Extent,
    not_slow: Extent,
    open: Extent,
    /// The highest end of the intervals of what is open.
    highest: Option<f64>,
    /// How many more processes would tell all that is open.
    more: Option<usize>,
}

/// What an early pass takes in units of the steady time on some models, in the order of these ratios.
#[derive(Debug, Serialize)]
struct Extent {
    models: usize,
    least: Option<OnModel>,
    greatest: Option<OnModel>,
    median: Option<f64>,
}

/// The ratio on one model.
#[derive(Debug, Serialize)]
struct OnModel {
    ratio: f64,
    title: String,
}

impl From<&Titled> for OnModel {
    fn from(one: &Titled) -> Self {
        Self {
            ratio: one.pass.ratio(),
            title: one.title.clone(),
        }
    }
}

impl From<&[Titled]> for Extent {
    fn from(models: &[Titled]) -> Self {
        Self {
            models: models.len(),
            least: models.first().map(Into::into),
            greatest: models.last().map(Into::into),
            median: firstpass_statistics::median(models.iter().map(|one| one.pass.ratio())),
        }
    }
}

impl From<&Verdicts> for Counted {
    fn from(verdicts: &Verdicts) -> Self {
        let Verdicts {
            slow,
            not_slow,
            open,
        } = verdicts;
        let highest = open.iter().map(|one| one.pass.interval().1);
        Self {
            models: verdicts.models(),
            slow: slow.as_slice().into(),
            not_slow: not_slow.as_slice().into(),
            open: open.as_slice().into(),
            highest: highest.reduce(f64::max),
            more: missing(open.iter().map(|one| &one.pass.0)),
        }
    }
}

impl From<&Answer> for OfEngine {
    fn from(answer: &Answer) -> Self {
        Self {
            label: answer.label.clone(),
            not_run: answer.not_run,
            first: (&answer.first).into(),
            second: (&answer.second).into(),
            tuned: (&answer.tuned).into(),
        }
    }
}

/// One answer an engine.
pub(super) fn engines(rows: &[Row]) -> Vec<OfEngine> {
    answers(rows).iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use minijinja::context;

    use super::super::tables::agreement;
    use crate::{
        page::template,
        studies::zoo::judge::{
            lone_faces,
            tests::{detectors, zoo},
        },
    };

    #[test]
    fn nonsense_is_said_to_be_nonsense() -> Result<()> {
        let zoo = zoo()?;
        let rows = detectors(&zoo, &[("p", 1), ("q", 1320), ("r", 1)])?;
        let data = context! { lone => lone_faces(&rows), some => [""; 0], without => [""; 0] };
        let said = template::answer("zoo.md.j2", data)?;
        assert!(
            said.contains(
                "**q** finds 1320 faces of Model a on `crowd`, where all other engines find 1:"
            ),
            "{said}"
        );
        assert_eq!(agreement(&rows[1]), "⚠ differ from p and r");
        assert_eq!(agreement(&rows[0]), "⚠ differ from q, agree with r");
        let alike = detectors(&zoo, &[("p", 1), ("q", 1)])?;
        assert!(lone_faces(&alike).is_empty());
        assert_eq!(agreement(&alike[0]), "agree with q");
        Ok(())
    }
}
