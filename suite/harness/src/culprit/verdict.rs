//! Of every engine that differs or fails: where it begins, what makes it go, and why.

use anyhow::Result;
use firstpass_probe::Knobs;
use firstpass_trial::{known::RoundingRule, setting::setting, workspace::Workspace};
use serde::Serialize;

use crate::{
    culprit::{
        Found, Investigation, Symptom,
        blame::{self, Blame, Meaning, Remedy},
        candidate::called,
        investigation::Verdict,
        reduce::{Question, Reduced, cut},
    },
    page::template,
    studies::tune::lines,
};

/// What `templates/culprit/verdict.txt.j2` says.
#[derive(Debug, Serialize)]
struct Shown {
    engines: Vec<OfEngine>,
    rounding: Vec<Rounding>,
    /// Whether no engine fails, and none differs by more than its rounding.
    is_clean: bool,
    subnormals: Option<SubnormalsShown>,
    is_out_of_time: bool,
}

/// What was found out of one engine.
#[derive(Debug, Serialize)]
struct OfEngine {
    called: String,
    layer: Layer,
    cause: Option<Cause>,
    remedies: Vec<RemedyShown>,
    /// Settings that were tried, and whether all were.
    tried: usize,
    is_complete: bool,
}

/// An engine that only rounds in its own way.
#[derive(Debug, Serialize)]
struct Rounding {
    called: String,
    /// The rule of the referee that it follows to the bit, where there is one, and how that rounds.
    rule: Option<String>,
    reason: Option<String>,
    /// What makes it agree.
    remedies: Vec<RemedyShown>,
}

/// Where it begins.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Layer {
    /// Nothing says what layers should give.
    Unknown,
    ReadsNoParts,
    /// There is no graph.
    None,
    /// It was not looked for.
    OutOfTime,
    NotCut {
        why: String,
    },
    Cut {
        first: Option<First>,
        nodes: Vec<String>,
        is_complete: bool,
    },
}

/// The node up to which the graph is needed to show it from its inputs on.
#[derive(Debug, Serialize)]
struct First {
    number: usize,
    of: usize,
    called: String,
}

/// By which rules of the referee an engine computes; none where no rule gives the same.
#[derive(Debug, Default, Serialize)]
struct Cause {
    rules: Option<String>,
    meanings: Vec<Meaning>,
}

/// What makes it go.
#[derive(Debug, Serialize)]
struct RemedyShown {
    setting: String,
    help: String,
    passes: Vec<String>,
    cost: Option<f64>,
    /// The lines of Rust that apply it, where it is the first.
    code: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SubnormalsShown {
    values: usize,
    constants: Vec<String>,
    slower: Vec<Slower>,
}

/// How many times as long an engine takes.
#[derive(Debug, Serialize)]
struct Slower {
    engine: String,
    ratio: f64,
}

/// What is found out of each engine, in lines.
///
/// # Errors
/// Fails where files cannot be written.
pub fn verdict(
    workspace: &Workspace,
    investigation: &mut Investigation,
    found: &Found,
) -> Result<String> {
    let alone = found.symptoms.iter().filter_map(|symptom| match symptom {
        Symptom::Differs(place) => Some((*place, symptom)),
        Symptom::Fails(failed) if failed.len() == 1 => {
            failed.keys().next().map(|place| (*place, symptom))
        }
        Symptom::Fails(_) | Symptom::SlowFirst(_) => None,
    });
    let alone: Vec<(usize, &Symptom)> = alone.collect();
    let mut engines = Vec::new();
    for (number, &(place, symptom)) in alone.iter().enumerate() {
        // One engine must not take the time of the others.
        let all = alone[number..].iter().map(|(_, symptom)| weight(symptom));
        investigation.share(weight(symptom), all.sum());
        let blame = blame::settings(investigation, found, place)?;
        let (layer, cause) = layer(investigation, found, symptom)?;
        engines.push(OfEngine {
            called: investigation.engines.all[place].versioned(),
            layer,
            cause,
            remedies: remedies(workspace, investigation, place, &blame),
            tried: blame.tried,
            is_complete: blame.is_complete,
        });
    }
    investigation.share_no_more();
    said(&Shown {
        engines,
        rounding: rounding(workspace, investigation, found)?,
        is_clean: found.symptoms.is_empty(),
        subnormals: subnormals(investigation)?,
        is_out_of_time: investigation.is_out_of_time(),
    })
}

/// How much of the time an engine gets: what it lacks is found sooner than where it differs.
fn weight(symptom: &Symptom) -> u32 {
    match symptom {
        Symptom::Differs(_) => 3,
        Symptom::Fails(_) | Symptom::SlowFirst(_) => 1,
    }
}

fn said(shown: &Shown) -> Result<String> {
    let words = template::render("culprit/verdict.txt.j2", shown)?;
    Ok(words.trim_end().to_owned())
}

/// Engines that only round in their own way.
fn rounding(
    workspace: &Workspace,
    investigation: &mut Investigation,
    found: &Found,
) -> Result<Vec<Rounding>> {
    let mut all = Vec::new();
    for (place, verdict) in found.verdicts.iter().enumerate() {
        let Verdict::Rounds { rule, .. } = verdict else {
            continue;
        };
        let blame = blame::settings(investigation, found, place)?;
        let referee = investigation.engines.referee.as_ref();
        let rules = referee.map_or(&[][..], |referee| &referee.rounding_rules);
        all.push(Rounding {
            called: investigation.engines.all[place].versioned(),
            reason: reason(rule.as_deref(), rules),
            rule: rule.clone(),
            remedies: remedies(workspace, investigation, place, &blame),
        });
    }
    Ok(all)
}

/// How a rule of the referee rounds, where it says so.
fn reason(rule: Option<&str>, rules: &[RoundingRule]) -> Option<String> {
    let known = rules
        .iter()
        .find(|known| Some(&*setting(&known.settings)) == rule);
    known.map(|known| known.reason.clone())
}

/// Where it begins, by itself and from the inputs on, and the rule of the referee that gives the same.
fn layer(
    investigation: &mut Investigation,
    found: &Found,
    symptom: &Symptom,
) -> Result<(Layer, Option<Cause>)> {
    let question = Question {
        symptom: symptom.clone(),
        reference: found.reference_of(symptom),
        knobs: Knobs::default(),
    };
    if question.reference.is_none() && matches!(symptom, Symptom::Differs(_)) {
        return Ok((Layer::Unknown, None));
    }
    if investigation.is_out_of_time() {
        return Ok((Layer::OutOfTime, None));
    }
    let is_of_whole =
        matches!(symptom, Symptom::Differs(place) if !investigation.reads_parts(*place));
    let (layer, part) = match (is_of_whole, investigation.whole.clone()) {
        (true, None) => return Ok((Layer::None, None)),
        (true, Some(whole)) => (Layer::ReadsNoParts, whole),
        (false, _) => match cut(investigation, &question) {
            Ok(reduced) => (layer_of(&reduced), reduced.candidate),
            Err(why) => {
                let why = format!("{why:#}");
                return Ok((Layer::NotCut { why }, None));
            }
        },
    };
    let cause = match blame::rule(investigation, &question, &part)? {
        Some((rules, meanings)) => Some(Cause {
            rules: Some(setting(&rules)),
            meanings,
        }),
        None => matches!(symptom, Symptom::Differs(_)).then(Cause::default),
    };
    Ok((layer, cause))
}

fn layer_of(reduced: &Reduced) -> Layer {
    let part = &reduced.candidate;
    let nodes = part.nodes.iter().map(|&at| called(&part.file, at));
    Layer::Cut {
        first: reduced.first.map(|first| First {
            number: first + 1,
            of: part.file.nodes().len(),
            called: called(&part.file, first),
        }),
        nodes: nodes.collect(),
        is_complete: reduced.is_complete,
    }
}

fn remedies(
    workspace: &Workspace,
    investigation: &Investigation,
    place: usize,
    blame: &Blame,
) -> Vec<RemedyShown> {
    let engine = &investigation.engines.all[place];
    let code = |remedy: &Remedy| {
        let backend = &engine.backend;
        let lines = lines(workspace, backend, Some(&engine.description), &remedy.knobs);
        lines.iter().flat_map(|lines| self::code(lines)).collect()
    };
    let remedies = blame.remedies.iter().enumerate();
    let shown = remedies.map(|(number, remedy)| match number {
        // The lines of one are enough to begin with: it is the most particular.
        0 => remedy_shown(remedy, code(remedy)),
        _ => remedy_shown(remedy, Vec::new()),
    });
    shown.collect()
}

fn remedy_shown(remedy: &Remedy, code: Vec<String>) -> RemedyShown {
    RemedyShown {
        setting: setting(&remedy.knobs),
        help: remedy.help.clone(),
        passes: remedy.passes.clone(),
        cost: remedy.cost,
        code,
    }
}

/// The lines of Rust in a piece of markdown.
fn code(markdown: &str) -> Vec<String> {
    let is_code = |line: &&str| !line.starts_with('`') && !line.trim().is_empty();
    markdown
        .lines()
        .filter(is_code)
        .map(str::to_owned)
        .collect()
}

fn subnormals(investigation: &mut Investigation) -> Result<Option<SubnormalsShown>> {
    let Some(found) = blame::subnormals(investigation)? else {
        return Ok(None);
    };
    let slower = found.slower.iter().map(|&(place, ratio)| Slower {
        engine: investigation.engines.all[place].called.clone(),
        ratio,
    });
    Ok(Some(SubnormalsShown {
        values: found.values,
        slower: slower.collect(),
        constants: found.constants,
    }))
}

#[cfg(test)]
mod tests;
