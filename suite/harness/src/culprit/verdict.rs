//! Of every engine that differs or fails: where it begins, what makes it go, and why, in words.

use anyhow::Result;
use firstpass_probe::Knobs;
use firstpass_trial::{known::RoundingRule, setting::setting, workspace::Workspace};

use crate::{
    culprit::{
        Found, Investigation, Symptom,
        blame::{self, Blame, Remedy},
        candidate::called,
        investigation::Verdict,
        reduce::{Question, Reduced, cut},
    },
    page::numbers::list,
    studies::tune::lines,
};

/// What is found out of each engine, in lines.
///
/// # Errors
/// Fails where files cannot be written.
pub fn verdict(
    workspace: &Workspace,
    investigation: &mut Investigation,
    found: &Found,
) -> Result<String> {
    let mut text = Vec::new();
    let alone = found.symptoms.iter().filter_map(|symptom| match symptom {
        Symptom::Differs(place) => Some((*place, symptom)),
        Symptom::Fails(failed) if failed.len() == 1 => {
            failed.keys().next().map(|place| (*place, symptom))
        }
        Symptom::Fails(_) => None,
    });
    for (place, symptom) in alone {
        let engine = &investigation.engines.all[place];
        text.push(format!("\n{}", engine.versioned()));
        let blame = blame::settings(investigation, found, place)?;
        let layer = layer(investigation, found, symptom)?;
        text.extend(layer.into_iter().map(|line| format!("  {line}")));
        for line in remedies(workspace, investigation, place, &blame) {
            text.push(format!("  {line}"));
        }
    }
    text.extend(roundings(workspace, investigation, found)?);
    if found.symptoms.is_empty() {
        let rounds = |verdict: &Verdict| matches!(verdict, Verdict::Rounds { .. });
        text.push(if found.verdicts.iter().any(rounds) {
            "\nno engine fails, and none differs by more than its rounding".into()
        } else {
            "\nno engine differs or fails".into()
        });
    }
    text.extend(subnormals(investigation)?);
    if investigation.is_out_of_time() {
        text.push(
            "\nThe time was used up before everything was tried: give a longer --budget.".into(),
        );
    }
    Ok(text.join("\n"))
}

/// Of engines that only round in their own way: by which rule, and which setting makes them agree.
fn roundings(
    workspace: &Workspace,
    investigation: &mut Investigation,
    found: &Found,
) -> Result<Vec<String>> {
    let mut text = Vec::new();
    for (place, verdict) in found.verdicts.iter().enumerate() {
        let Verdict::Rounds { rule, .. } = verdict else {
            continue;
        };
        text.push(format!(
            "\n{}",
            investigation.engines.all[place].versioned()
        ));
        let referee = investigation.engines.referee.as_ref();
        let rules = referee.map_or(&[][..], |referee| &referee.rounding_rules);
        for line in words_of_rounding(rule.as_deref(), rules) {
            text.push(format!("  {line}"));
        }
        let blame = blame::settings(investigation, found, place)?;
        for line in remedies(workspace, investigation, place, &blame) {
            text.push(format!("  {line}"));
        }
    }
    Ok(text)
}

fn words_of_rounding(rule: Option<&str>, rules: &[RoundingRule]) -> Vec<String> {
    let Some(rule) = rule else {
        return vec![
            "it differs by its rounding, which is no fault: by at most twice what the rules of other engines make, and \
             by no single one of these to the bit"
                .into(),
        ];
    };
    let mut lines = vec![format!(
        "it differs by its rounding, which is no fault: it follows the rule {rule} to the bit"
    )];
    let known = rules.iter().find(|known| setting(&known.settings) == rule);
    lines.extend(known.map(|known| format!("  it rounds {}", known.reason)));
    lines
}

/// Where it begins, by itself and from the inputs on, and the rule of the referee that gives the same.
fn layer(
    investigation: &mut Investigation,
    found: &Found,
    symptom: &Symptom,
) -> Result<Vec<String>> {
    let question = Question {
        symptom: symptom.clone(),
        reference: found.reference_of(symptom),
        knobs: Knobs::default(),
    };
    if question.reference.is_none() && matches!(symptom, Symptom::Differs(_)) {
        return Ok(vec![
            "layer: nothing says what its layers should give".into(),
        ]);
    }
    let is_of_whole =
        matches!(symptom, Symptom::Differs(place) if !investigation.reads_parts(*place));
    let (mut lines, part) = match (is_of_whole, investigation.whole.clone()) {
        (true, None) => return Ok(Vec::new()),
        (true, Some(whole)) => {
            let line = "layer: it reads no ONNX, so that parts of the graph cannot be given to it; `cargo firstpass \
                        diverge` looks at its own activations";
            (vec![line.to_owned()], whole)
        }
        (false, _) => match cut(investigation, &question) {
            Ok(reduced) => (words_of_layer(&reduced), reduced.candidate),
            Err(why) => return Ok(vec![format!("layer: {why:#}")]),
        },
    };
    match blame::rule(investigation, &question, &part)? {
        Some((rules, meanings)) => {
            lines.push(format!(
                "cause: it gives exactly what the referee gives by {}",
                setting(&rules)
            ));
            lines.extend(meanings.into_iter().map(|meaning| format!("  {meaning}")));
        }
        None if matches!(symptom, Symptom::Differs(_)) => {
            lines.push("cause: no rule of the referee gives what it gives there".into());
        }
        None => {}
    }
    Ok(lines)
}

fn words_of_layer(reduced: &Reduced) -> Vec<String> {
    let part = &reduced.candidate;
    let mut lines = Vec::new();
    if let Some(first) = reduced.first {
        lines.push(format!(
            "layer: from the inputs on it begins at node {} of {}, {}",
            first + 1,
            part.file.nodes().len(),
            called(&part.file, first)
        ));
        let nodes: Vec<String> = part
            .nodes
            .iter()
            .map(|&at| called(&part.file, at))
            .collect();
        lines.push(format!("by itself it is in {}", list(&nodes)));
    }
    if !reduced.is_complete {
        lines.push("the time was used up: it may be in fewer nodes".into());
    }
    lines
}

fn remedies(
    workspace: &Workspace,
    investigation: &Investigation,
    place: usize,
    blame: &Blame,
) -> Vec<String> {
    let engine = &investigation.engines.all[place];
    let mut text = Vec::new();
    if blame.remedies.is_empty() {
        text.push(format!(
            "settings: none of the {} that were tried makes it go{}",
            blame.tried,
            if blame.is_complete {
                ""
            } else {
                ", and not all were"
            }
        ));
        return text;
    }
    let mut is_said = false;
    for remedy in &blame.remedies {
        text.push(format!("{}{}", words_of(remedy), cost(remedy)));
        // The lines of one are enough to begin with: it is the most particular.
        if !is_said {
            let lines = lines(
                workspace,
                &engine.backend,
                Some(&engine.description),
                &remedy.knobs,
            );
            text.extend(lines.iter().flat_map(|lines| code(lines)));
            is_said = true;
        }
    }
    text
}

/// The lines of Rust in a piece of markdown.
fn code(markdown: &str) -> Vec<String> {
    let is_code = |line: &&str| !line.starts_with('`') && !line.trim().is_empty();
    markdown
        .lines()
        .filter(is_code)
        .map(|line| format!("    {line}"))
        .collect()
}

fn words_of(remedy: &Remedy) -> String {
    match &remedy.passes[..] {
        [] => format!(
            "setting: it goes with {} ({})",
            setting(&remedy.knobs),
            remedy.help
        ),
        [pass] => format!("pass: it goes where {pass} is left out"),
        passes => format!(
            "pass: it goes where {} are left out, and with none of them back",
            list(passes)
        ),
    }
}

/// A look at two processes each, and said as such.
fn cost(remedy: &Remedy) -> String {
    match remedy.cost {
        Some(ratio) => format!("; a pass then takes about {ratio:.2} times as long (a short look)"),
        None => String::new(),
    }
}

fn subnormals(investigation: &mut Investigation) -> Result<Option<String>> {
    let Some(found) = blame::subnormals(investigation)? else {
        return Ok(None);
    };
    let slower = found.slower.iter().map(|(place, ratio)| {
        format!(
            "{} {ratio:.1} times",
            investigation.engines.all[*place].called
        )
    });
    let slower: Vec<String> = slower.collect();
    Ok(Some(format!(
        "\nsubnormal weights: {} values of {} are not 0 and below the smallest normal number of f32. A pass takes, of \
         the same model with zeros there: {}",
        found.values,
        list(&found.constants),
        list(&slower)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_rounding_is_named_with_who_follows_it() {
        let rule = RoundingRule {
            settings: Knobs::default().with("arithmetic", "fbgemm"),
            reason: "in f32 with products of inverses".into(),
        };
        let rules = [rule];
        assert_eq!(
            words_of_rounding(Some("arithmetic=fbgemm"), &rules),
            [
                "it differs by its rounding, which is no fault: it follows the rule arithmetic=fbgemm to the bit",
                "  it rounds in f32 with products of inverses"
            ]
        );
        let none = words_of_rounding(None, &rules);
        assert!(none[0].contains("by no single one"), "{none:?}");
    }

    #[test]
    fn a_pass_and_a_setting_are_said_apart() {
        let remedy = |passes: &[&str], cost| Remedy {
            knobs: Knobs::default().with("level", "none"),
            help: "what it does".into(),
            passes: passes.iter().map(ToString::to_string).collect(),
            cost,
        };
        let one = remedy(&["Fusion"], Some(1.251));
        assert_eq!(words_of(&one), "pass: it goes where Fusion is left out");
        assert_eq!(
            cost(&one),
            "; a pass then takes about 1.25 times as long (a short look)"
        );
        let other = remedy(&[], None);
        assert_eq!(
            words_of(&other),
            "setting: it goes with level=none (what it does)"
        );
        assert_eq!(cost(&other), "");
    }
}
