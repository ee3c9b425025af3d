//! Who agrees with what the outputs are compared with.

use firstpass_trial::{
    expectation::ExpectationVerdict, model::ModelDescription, observation::Outcome,
    outputs::Outputs,
};
use serde::Serialize;

use crate::studies::first_passes::{
    analysis::{Analysis, Row},
    extent::{exact as exact_share, extent},
    reference::Explanation,
    words,
};

/// What stands in for golden outputs: `templates/said/compared-with.md.j2` says it.
#[derive(Debug, Serialize)]
pub(crate) struct ComparedWith {
    explanation: Explanation,
    /// All inputs, and those for which there is something to compare with.
    inputs: usize,
    compared: usize,
    refusal: Option<Refusal>,
}

/// A referee that gives no outputs.
#[derive(Debug, Serialize)]
struct Refusal {
    name: String,
    why: String,
}

/// What stands in for golden outputs, and what the referee says where it gives none.
pub(crate) fn compared_with(analysis: &Analysis, model: &ModelDescription) -> Option<ComparedWith> {
    let reference = analysis.references.get(&model.name)?;
    if analysis.rows(model).iter().all(|row| row.outputs.is_none()) {
        return None;
    }
    let inputs = analysis.samples().len();
    let refusal = analysis.refusal(&model.name);
    Some(ComparedWith {
        explanation: reference.explanation()?,
        inputs,
        compared: reference.outputs.as_ref().map_or(inputs, Outputs::len),
        refusal: refusal.map(|(name, outcome)| Refusal {
            name: name.to_owned(),
            why: why(outcome),
        }),
    })
}

/// The words of a referee that gives nothing, and what helps where it was only too slow.
fn why(outcome: &Outcome) -> String {
    let mut why = words::brief(&outcome.to_string());
    if matches!(outcome, Outcome::TimedOut { .. }) && !why.contains("--budget") {
        why += " (a longer --budget gives it more time)";
    }
    why
}

/// Who agrees on a model: `templates/said/agreement.md.j2` says it.
#[derive(Debug, Serialize)]
pub(crate) struct Agreement {
    title: String,
    /// Whose outputs the engines are compared with; `None` where there are none.
    reference: Option<String>,
    /// Whether outputs are the same whatever the input, so that engines may agree on them for nothing.
    says_little: bool,
    /// All engines, where nothing is there to compare them with and they agree with each other.
    alike: Vec<String>,
    /// Engines that give the very integers of the reference.
    exact: Vec<String>,
    /// Engines that agree up to the rounding of f32.
    rounded: Vec<String>,
    differing: Vec<Differing>,
    /// Whether all find the faces of the reference.
    same_faces: bool,
    other_faces: Vec<OtherFaces>,
}

/// An engine that differs, and how.
#[derive(Debug, Serialize)]
struct Differing {
    label: String,
    /// `declared`, `differs`, `rounding`, `undecided` or `unexpected`.
    kind: &'static str,
    /// The declared cause, or what differs.
    how: String,
    /// How far a declared difference goes, and the share of values that is exact all the same.
    extent: Option<String>,
    exact: Option<String>,
    /// Whether it agrees without its optimizations.
    agrees_unoptimized: bool,
}

/// An engine that finds other faces than the reference.
#[derive(Debug, Serialize)]
struct OtherFaces {
    label: String,
    matched: usize,
    missed: usize,
    extra: usize,
}

impl Agreement {
    /// `None` where nothing was compared.
    pub(super) fn of(analysis: &Analysis, model: &ModelDescription) -> Option<Self> {
        let rows = analysis.rows(model);
        let facts = analysis.of_models.get(&model.name);
        let with = |wanted: &dyn Fn(&ExpectationVerdict) -> bool| -> Vec<String> {
            let found = rows
                .iter()
                .filter(|r| r.verdict.as_ref().is_some_and(wanted));
            found.map(|row| row.label.clone()).collect()
        };
        let gave = rows.iter().filter(|row| row.outputs.is_some()).count();
        let mut alike =
            with(&|v| matches!(v, ExpectationVerdict::Undecided(how) if how.is_empty()));
        if alike.len() < 2 || alike.len() < gave {
            alike.clear();
        }
        let faces = || {
            rows.iter()
                .filter_map(|row| Some((row, row.golden_faces.as_ref()?)))
        };
        let other_faces = faces().filter(|(_, found)| !found.same_faces());
        let other_faces: Vec<OtherFaces> = other_faces
            .map(|(row, found)| OtherFaces {
                label: row.label.clone(),
                matched: found.matched,
                missed: found.missed,
                extra: found.extra,
            })
            .collect();
        let agreement = Self {
            title: model.title.clone(),
            reference: analysis.reference(model),
            says_little: facts.is_some_and(|facts| facts.says_little),
            alike,
            exact: with(&|v| *v == ExpectationVerdict::Exact),
            rounded: with(&|v| *v == ExpectationVerdict::FloatRounding),
            differing: rows.iter().filter_map(differing).collect(),
            same_faces: other_faces.is_empty() && faces().next().is_some(),
            other_faces,
        };
        agreement.says_anything().then_some(agreement)
    }

    fn says_anything(&self) -> bool {
        let lists = [&self.alike, &self.exact, &self.rounded];
        self.says_little
            || self.same_faces
            || lists.iter().any(|list| !list.is_empty())
            || !self.differing.is_empty()
            || !self.other_faces.is_empty()
    }
}

fn differing(row: &Row) -> Option<Differing> {
    let (kind, how) = match row.verdict.as_ref()? {
        ExpectationVerdict::Declared { name, .. } => ("declared", name.clone()),
        verdict @ ExpectationVerdict::Differs(_) => ("differs", verdict.to_string()),
        verdict @ (ExpectationVerdict::StepRounding(_)
        | ExpectationVerdict::InnerRounding(_)
        | ExpectationVerdict::OtherRounding { .. }) => ("rounding", verdict.to_string()),
        ExpectationVerdict::Undecided(how) if !how.is_empty() => ("undecided", how.join(", and ")),
        ExpectationVerdict::Unexpected(_) => ("unexpected", String::new()),
        _ => return None,
    };
    Some(Differing {
        label: row.label.clone(),
        kind,
        how,
        extent: row.agreement.as_deref().and_then(extent),
        exact: exact_share(row),
        agrees_unoptimized: row.agrees_unoptimized,
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use firstpass_trial::observation::Stage;
    use minijinja::context;

    use super::*;
    use crate::page::template;

    #[test]
    fn a_referee_that_was_too_slow_is_given_more_time() {
        let late = |seconds| {
            why(&Outcome::TimedOut {
                seconds,
                after: Stage::Prepared,
            })
        };
        assert!(late(6).ends_with("(a longer --budget gives it more time)"));
        assert_eq!(late(60).matches("--budget").count(), 1);
        let other = why(&Outcome::NotStarted("no such program".into()));
        assert!(!other.contains("--budget"), "{other}");
    }

    /// Nothing that was compared.
    fn nothing(reference: Option<&str>) -> Agreement {
        Agreement {
            title: "m".into(),
            reference: reference.map(Into::into),
            says_little: false,
            alike: Vec::new(),
            exact: Vec::new(),
            rounded: Vec::new(),
            differing: Vec::new(),
            same_faces: false,
            other_faces: Vec::new(),
        }
    }

    fn said(model: &Agreement) -> Result<String> {
        template::on_terminal("said/agreement.md.j2", context! { model })
    }

    #[test]
    fn faces_that_are_missed_or_found_beside_are_counted() -> Result<()> {
        let found = |reference: &str, [matched, missed, extra]: [usize; 3]| {
            let other = OtherFaces {
                label: "x".into(),
                matched,
                missed,
                extra,
            };
            said(&Agreement {
                other_faces: vec![other],
                ..nothing(Some(reference))
            })
        };
        assert_eq!(
            found("PyTorch", [28, 0, 1])?,
            "- x finds PyTorch's 28 faces and 1 more.\n"
        );
        assert_eq!(
            found("PyTorch", [27, 1, 0])?,
            "- x misses 1 of PyTorch's 28 faces, and finds 27.\n"
        );
        assert_eq!(
            found("y", [0, 1, 2])?,
            "- x misses 1 of y's 1 face, and finds 0 and 2 more.\n"
        );
        let same = Agreement {
            same_faces: true,
            ..nothing(None)
        };
        assert_eq!(said(&same)?, "- All find the same faces as each other.\n");
        Ok(())
    }

    #[test]
    fn who_agrees_and_how_others_differ_is_said_in_their_own_words() -> Result<()> {
        let differing = |kind, how: &str| Differing {
            label: "<b>".into(),
            kind,
            how: how.into(),
            extent: Some("≤ 2 steps".into()),
            exact: Some("99.0 %".into()),
            agrees_unoptimized: kind == "differs",
        };
        let text = said(&Agreement {
            says_little: true,
            exact: vec!["a".into()],
            rounded: vec!["b".into(), "c".into()],
            differing: vec![
                differing("declared", "an int32 bias"),
                differing("differs", "differs: a *lot*"),
                differing("undecided", "differs from a"),
                differing("unexpected", ""),
            ],
            ..nothing(Some("y"))
        })?;
        for line in [
            "- ⚠ No output depends on the input, so that agreement says little.",
            "- a gives exactly the integers of y.",
            "- b and c agree with y up to the rounding of f32.",
            "- <b> differs by ≤ 2 steps (99.0 % of the values exact), as declared: an int32 bias.",
            "- ⚠ <b> differs: a *lot*; its optimizations do this, because without them it agrees.",
            "- ⚠ <b> differs from a.",
            "- ⚠ <b> is not as expected.",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} in {text}");
        }
        assert_eq!(said(&nothing(None))?, "");
        Ok(())
    }
}
