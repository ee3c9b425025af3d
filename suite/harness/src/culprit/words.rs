//! What was found, in words.

use crate::culprit::{Found, History, Investigation, Since, investigation::Verdict};

/// Who is right as far as that can be told, and how each engine did: a line each.
pub fn investigation_words(investigation: &Investigation, found: &Found) -> String {
    let mut lines = Vec::new();
    lines.push(match &found.compared.name() {
        Some(name) => format!("compared with {name}"),
        None => "nothing says who is right".into(),
    });
    lines.extend(found.compared.explanation());
    if !found.golden_against_referee.is_empty() {
        lines.push(format!(
            "The referee, which computes what the file defines, gives other outputs than the golden ones: {}.",
            found.golden_against_referee.join("; ")
        ));
    }
    for (engine, verdict) in investigation.engines.all.iter().zip(&found.verdicts) {
        lines.push(format!("{}: {}", engine.called, of(verdict)));
    }
    for (name, why) in &investigation.engines.absent {
        lines.push(format!("{name}: not here: {why}"));
    }
    lines.join("\n")
}

/// Since when an engine does what it does: a line for the fault, one for the outputs, one for what was asked.
pub fn history_words(history: &History) -> String {
    let fault = match &history.fault {
        Since::Between { older, newer } => format!("it began in {newer}; {older} does not have it"),
        Since::Always(oldest) => format!("{oldest}, the oldest version that runs, has it too"),
        Since::Never => "the newest version has none".into(),
        Since::Unknown => "no version could be asked".into(),
        Since::Open { older, newer } => {
            format!(
                "it began after {older} and not after {newer}; the time was used up: give a longer --budget"
            )
        }
    };
    let outputs = match &history.outputs {
        Since::Between { older, newer } => {
            format!(
                "since {newer} they are those of the newest version, bit by bit; {older} gives others"
            )
        }
        Since::Always(oldest) => {
            format!("the same bits since {oldest}, the oldest version that runs")
        }
        // The newest gives none.
        Since::Never | Since::Unknown => "nothing is known of them".into(),
        Since::Open { older, newer } => {
            format!(
                "they changed after {older} and not after {newer}; the time was used up: give a longer --budget"
            )
        }
    };
    format!(
        "  fault: {fault}\n  outputs: {outputs}\n  asked: {}",
        history.asked.join("; ")
    )
}

fn of(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Agrees => "agrees".into(),
        Verdict::Differs(how) => format!("differs: {}", how.join("; ")),
        Verdict::Rounds { differences, rule } => {
            let rule = match rule {
                Some(rule) => format!("follows the rule {rule} to the bit"),
                None => "by no more than rules of rounding do".into(),
            };
            format!(
                "differs by its rounding, which is no fault: {rule} ({})",
                differences.join("; ")
            )
        }
        Verdict::DiffersFromItself(how) => format!(
            "with its optimizations differs from itself without: {}",
            how.join("; ")
        ),
        Verdict::Fails(outcome) => outcome.to_string(),
        Verdict::Open => "gives outputs that nothing is compared with".into(),
        Verdict::NotAsked(why) => format!("not asked: {why}"),
    }
}
