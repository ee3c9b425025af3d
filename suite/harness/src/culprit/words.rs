//! What was found, in words.

use crate::culprit::{Found, Investigation, investigation::Verdict};

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

fn of(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Agrees => "agrees".into(),
        Verdict::Differs(how) => format!("differs: {}", how.join("; ")),
        Verdict::DiffersFromItself(how) => format!(
            "with its optimizations differs from itself without: {}",
            how.join("; ")
        ),
        Verdict::Fails(outcome) => outcome.to_string(),
        Verdict::Open => "gives outputs that nothing is compared with".into(),
        Verdict::NotAsked(why) => format!("not asked: {why}"),
    }
}
