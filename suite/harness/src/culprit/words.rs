//! What was found, as data: `templates/culprit/` says it in words.

use anyhow::Result;
use serde::Serialize;

use crate::{
    culprit::{
        Found, History, Investigation, Since,
        investigation::{ByGoldenRule, Verdict},
    },
    page::template,
    studies::first_passes::reference::Explanation,
};

/// What `templates/culprit/found.txt.j2` says.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// With whose outputs the others are compared; `None` where nothing says who is right.
    compared: Option<String>,
    explained: Option<Explanation>,
    golden_against_referee: &'a [String],
    golden_rule: Option<&'a ByGoldenRule>,
    engines: Vec<OfEngine<'a>>,
    absent: Vec<Absent<'a>>,
}

#[derive(Debug, Serialize)]
struct OfEngine<'a> {
    called: &'a str,
    /// `agrees`, `differs`, `rounds`, `differs-from-itself`, `fails`, `open` or `not-asked`.
    verdict: &'static str,
    /// How it differs or fails, or why it was not asked.
    how: Vec<String>,
    /// The rule of rounding that it follows to the bit, where it only rounds in its own way.
    rule: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Absent<'a> {
    called: &'a str,
    why: &'a str,
}

/// Since when something is so, as a template asks for it.
#[derive(Debug, Default, Serialize)]
struct SinceShown<'a> {
    /// `between`, `always`, `never`, `unknown` or `open`.
    since: &'static str,
    older: &'a str,
    newer: &'a str,
    oldest: &'a str,
}

#[derive(Debug, Serialize)]
struct HistoryShown<'a> {
    fault: SinceShown<'a>,
    outputs: SinceShown<'a>,
    asked: &'a [String],
}

/// Who is right as far as that can be told, and how each engine did: a line each.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub fn investigation_words(investigation: &Investigation, found: &Found) -> Result<String> {
    let engines = investigation.engines.all.iter().zip(&found.verdicts);
    let absent = investigation.engines.absent.iter();
    said(&Shown {
        compared: found.compared.name(),
        explained: found.compared.explanation(),
        golden_against_referee: &found.golden_against_referee,
        golden_rule: found.golden_rule.as_ref(),
        engines: engines
            .map(|(engine, verdict)| of(&engine.called, verdict))
            .collect(),
        absent: absent.map(|(called, why)| Absent { called, why }).collect(),
    })
}

fn said(shown: &Shown) -> Result<String> {
    let words = template::render("culprit/found.txt.j2", shown)?;
    Ok(words.trim_end().to_owned())
}

fn of<'a>(called: &'a str, verdict: &'a Verdict) -> OfEngine<'a> {
    let rule = match verdict {
        Verdict::Rounds { rule, .. } => rule.as_deref(),
        _ => None,
    };
    let (verdict, how) = match verdict {
        Verdict::Agrees => ("agrees", Vec::new()),
        Verdict::Differs(how) => ("differs", how.clone()),
        Verdict::Rounds { differences, .. } => ("rounds", differences.clone()),
        Verdict::DiffersFromItself(how) => ("differs-from-itself", how.clone()),
        Verdict::Fails(outcome) => ("fails", vec![outcome.to_string()]),
        Verdict::Open => ("open", Vec::new()),
        Verdict::NotAsked(why) => ("not-asked", vec![why.clone()]),
    };
    OfEngine {
        called,
        verdict,
        how,
        rule,
    }
}

/// Since when an engine does what it does: a line for the fault, one for the outputs, one for what was asked.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub fn history_words(history: &History) -> Result<String> {
    let shown = HistoryShown {
        fault: since(&history.fault),
        outputs: since(&history.outputs),
        asked: &history.asked,
    };
    let words = template::render("culprit/history.txt.j2", shown)?;
    Ok(words.trim_end().to_owned())
}

fn since(since: &Since) -> SinceShown<'_> {
    let none = SinceShown::default();
    match since {
        Since::Between { older, newer } => SinceShown {
            since: "between",
            older,
            newer,
            ..none
        },
        Since::Always(oldest) => SinceShown {
            since: "always",
            oldest,
            ..none
        },
        Since::Never => SinceShown {
            since: "never",
            ..none
        },
        Since::Unknown => SinceShown {
            since: "unknown",
            ..none
        },
        Since::Open { older, newer } => SinceShown {
            since: "open",
            older,
            newer,
            ..none
        },
    }
}

#[cfg(test)]
mod tests {
    use firstpass_probe::Knobs;
    use firstpass_trial::observation::Outcome;

    use super::*;
    use crate::studies::first_passes::reference::{Kind, Reference};

    #[test]
    fn each_engine_has_a_line_with_its_verdict() -> Result<()> {
        let how = vec!["by 2 steps".to_owned(), "by 3 faces".to_owned()];
        let verdicts = [
            ("a", Verdict::Agrees),
            ("b", Verdict::Differs(how.clone())),
            (
                "r",
                Verdict::Rounds {
                    differences: how.clone(),
                    rule: Some("sums=pairs".into()),
                },
            ),
            ("c", Verdict::DiffersFromItself(how.clone())),
            ("d", Verdict::Fails(Outcome::NotStarted("no file".into()))),
            ("e", Verdict::Open),
            ("f", Verdict::NotAsked("it reads pt2".into())),
        ];
        let shown = |compared: Option<&str>, explained, rule| Shown {
            compared: compared.map(str::to_owned),
            explained,
            golden_against_referee: &how,
            golden_rule: rule,
            engines: verdicts.iter().map(|(called, is)| of(called, is)).collect(),
            absent: vec![Absent {
                called: "g",
                why: "no library\u{1b}[31m",
            }],
        };
        let of_engines = "a: agrees\nb: differs: by 2 steps; by 3 faces\n\
             r: differs by its rounding, which is no fault: follows the rule sums=pairs to the bit (by 2 steps; by 3 \
             faces)\n\
             c: with its optimizations differs from itself without: by 2 steps; by 3 faces\n\
             d: could not be started: no file\ne: gives outputs that nothing is compared with\n\
             f: not asked: it reads pt2\ng: not here: no library\\u{1b}[31m";
        let golden = "The referee, which computes what the file defines, gives other outputs than the golden ones: by 2 \
                      steps; by 3 faces.";
        assert_eq!(
            said(&shown(Some("the file"), None, None))?,
            format!("compared with the file\n{golden}\n{of_engines}")
        );
        let rule = ByGoldenRule {
            name: "sums=pairs".into(),
            reason: "pairs saturate".into(),
            rules: Knobs::default(),
        };
        assert_eq!(
            said(&shown(Some("the file"), None, Some(&rule)))?,
            format!(
                "compared with the file\n{golden} It gives the golden ones by the rule sums=pairs: pairs \
                 saturate.\n{of_engines}"
            )
        );
        let nothing = Reference {
            kind: Kind::Nothing,
            outputs: None,
            by_rules: Vec::new(),
        };
        assert_eq!(
            said(&shown(None, nothing.explanation(), None))?,
            format!(
                "nothing says who is right\nThere is nothing to compare the outputs with: give the right ones with \
                 `--golden`.\n{golden}\n{of_engines}"
            )
        );
        Ok(())
    }

    #[test]
    fn a_history_says_since_when() -> Result<()> {
        let between = || (String::from("1.0"), String::from("1.1"));
        let said = |fault, outputs| {
            history_words(&History {
                fault,
                outputs,
                asked: vec!["1.1: the fault".into(), "1.0: no fault".into()],
            })
        };
        let (older, newer) = between();
        assert_eq!(
            said(Since::Between { older, newer }, Since::Always("0.9".into()))?,
            "  fault: it began in 1.1; 1.0 does not have it\n  \
             outputs: the same bits since 0.9, the oldest version that runs\n  asked: 1.1: the fault; 1.0: no fault"
        );
        let (older, newer) = between();
        assert!(
            said(Since::Never, Since::Open { older, newer })?.starts_with(
                "  fault: the newest version has none\n  outputs: they changed after 1.0 and not after 1.1; the time \
                 was used up: give a longer --budget\n"
            )
        );
        assert!(said(Since::Unknown, Since::Unknown)?.starts_with(
            "  fault: no version could be asked\n  outputs: nothing is known of them\n"
        ));
        Ok(())
    }
}
