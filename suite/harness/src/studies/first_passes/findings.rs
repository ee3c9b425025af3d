//! What is wrong in a record: all of it, each once, the worst first.

use firstpass_trial::{
    expectation::ExpectationVerdict, known::Known, model::ModelDescription, observation::Outcome,
    setting::setting,
};

use crate::page::numbers::counted;
use crate::studies::first_passes::{
    analysis::{Analysis, Row, label},
    reference::Kind,
    untimed::{Untimed, Why, untimed},
    words::{brief, list},
};

/// How many engines one sentence names, each with its models.
const NAMED: usize = 3;

/// How much it hurts, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Nobody runs the model at all.
    NobodyRuns,
    /// Outputs that are no numbers.
    NotFinite,
    /// Outputs that are wrong, or no longer as declared.
    Wrong,
    /// Outputs that change where nothing else does.
    NotRepeatable,
    /// A process that ended without a word, or spoke nonsense.
    Crashed,
    /// An engine says that it does not run the model.
    Refused,
    /// An engine was not there.
    NotMeasured,
    /// Engines differ, and nothing says who is right.
    Undecided,
    /// Another arithmetic than expected.
    Arithmetic,
    /// What was asked for has no answer, because there was too little time.
    TooShort,
    /// Outputs on which agreement says little.
    SaysLittle,
}

/// One thing that is wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub harm: Harm,
    pub text: String,
}

impl Finding {
    fn new(harm: Harm, text: String) -> Self {
        Self { harm, text }
    }
}

/// Whether several engines, and all that gave outputs, give others in the next pass over the same input: that is
/// then the model's own doing.
fn draws_numbers(analysis: &Analysis, model: &str) -> bool {
    let mut of_model = analysis.repeatability.iter().filter(|r| r.model == model);
    let count = of_model.clone().count();
    count > 1 && of_model.all(|r| r.differs_from_pass.is_some())
}

impl Analysis {
    /// All that is wrong, the worst first, each once.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let unavailable = self.unavailable().map(|(backend, reason)| {
            let text = format!("{} was not measured: {reason}", self.called(backend));
            Finding::new(Harm::NotMeasured, text)
        });
        found.extend(unavailable);
        for model in self.models() {
            let rows = self.rows(model);
            found.extend(of_model(self, model, rows));
            let is_random = draws_numbers(self, &model.name);
            for row in rows {
                let of_row = of_row(self, row).into_iter();
                found.extend(of_row.filter(|finding| !is_random || finding.harm != Harm::Wrong));
            }
            if is_random {
                let text = format!(
                    "{} gives other outputs for the same input, on every engine alike: it seems to draw random \
                     numbers, so that no agreement can be told",
                    model.title
                );
                found.push(Finding::new(Harm::SaysLittle, text));
                continue;
            }
            found.extend(undecided(&model.title, rows));
            found.extend(contested(self, model));
        }
        found.extend(too_short(self));
        for r in &self.repeatability {
            if draws_numbers(self, &r.model) {
                continue;
            }
            let known = self.known.get(&r.backend);
            if let Some(fault) = r.fault(known.unwrap_or(&Known::default())) {
                let label = label(&r.backend, &r.model, r.format, self);
                // Its state is the model's own; the graph of an ONNX file keeps none.
                let state = if r.format.is_program() && r.differs_from_pass.is_some() {
                    "; a TorchScript module may keep a state from pass to pass"
                } else {
                    ""
                };
                let text = format!("{label} on {}: {fault}{state}", self.title(&r.model));
                found.push(Finding::new(Harm::NotRepeatable, text));
            }
        }
        let incidents = self
            .incidents()
            .filter(|o| !self.is_refused(o) && !self.is_declared_refusal(o));
        found.extend(incidents.map(|o| {
            let cell = &o.cell;
            let label = label(&cell.backend, &cell.model, cell.format, self);
            let harm = match o.process.outcome {
                Outcome::Failed(_) => Harm::Refused,
                _ => Harm::Crashed,
            };
            let outcome = brief(&o.process.outcome.to_string());
            Finding::new(
                harm,
                format!("{label} on {}: {outcome}", self.title(&cell.model)),
            )
        }));
        // Stable: of the same harm in the order of models and engines.
        found.sort_by_key(|finding| finding.harm);
        let mut once: Vec<Finding> = Vec::new();
        for finding in found {
            if !once.iter().any(|other| other.text == finding.text) {
                once.push(finding);
            }
        }
        once
    }

    /// The same in words.
    pub fn faults(&self) -> Vec<String> {
        self.findings().into_iter().map(|f| f.text).collect()
    }
}

fn of_model(analysis: &Analysis, model: &ModelDescription, rows: &[Row]) -> Vec<Finding> {
    let mut found = Vec::new();
    let facts = analysis.of_models.get(&model.name);
    let model = &model.title;
    if rows.iter().all(|row| row.outputs.is_none()) {
        let text = format!("no engine gave outputs for {model}");
        found.push(Finding::new(Harm::NobodyRuns, text));
        return found;
    }
    let Some(facts) = facts else {
        return found;
    };
    if !facts.not_finite.is_empty() {
        let mut text = format!(
            "{model} itself gives what is no number: {}",
            facts.not_finite.join("; ")
        );
        if !facts.numbers_on.is_empty() {
            let labels: Vec<&str> = facts.numbers_on.iter().map(String::as_str).collect();
            text += &format!("; {} gives other values there", list(&labels));
        }
        if analysis.are_made_up() {
            text += "; the inputs were made up: give some of the kind that it is made for with `--sample`";
        }
        found.push(Finding::new(Harm::SaysLittle, text));
    }
    if !facts.independent.is_empty() {
        let names: Vec<&str> = facts.independent.iter().map(String::as_str).collect();
        let (is, it) = match names.len() {
            1 => ("is", "it"),
            _ => ("are", "them"),
        };
        let how = if analysis.samples().len() > 1 {
            "the same for every input"
        } else {
            "0 everywhere"
        };
        let text = format!(
            "{} of {model} {is} {how}: that engines agree on {it} says little; give inputs on which {it} \
             would differ with `--sample`",
            list(&names)
        );
        found.push(Finding::new(Harm::SaysLittle, text));
    }
    found
}

fn of_row(analysis: &Analysis, row: &Row) -> Vec<Finding> {
    let name = &row.cell.model;
    let model = analysis.title(name);
    let mut found = Vec::new();
    if !row.not_finite.is_empty() {
        let text = format!("{} on {model}: {}", row.label, row.not_finite.join("; "));
        found.push(Finding::new(Harm::NotFinite, text));
    }
    let kind = analysis
        .references
        .get(name)
        .map(|reference| &reference.kind);
    let than = match kind {
        Some(Kind::Golden(from)) => format!("the golden outputs of {from}"),
        Some(Kind::Referee(_)) => "the file defines".into(),
        Some(Kind::Agreed { engines, .. }) => {
            let labels: Vec<&str> = engines.iter().map(String::as_str).collect();
            format!("{} without their optimizations", list(&labels))
        }
        _ => String::new(),
    };
    if let Some(ExpectationVerdict::Unexpected(how) | ExpectationVerdict::Differs(how)) =
        &row.verdict
    {
        // What is said already of an output that holds no numbers is said once.
        let is_said = |text: &&String| {
            let output = text.split_once(": ").map(|(output, _)| output);
            let mut said = row.not_finite.iter();
            said.any(|other| other.split_once(": ").map(|(output, _)| output) == output)
        };
        let how: Vec<&str> = how
            .iter()
            .filter(|text| !is_said(text))
            .map(String::as_str)
            .collect();
        if !how.is_empty() {
            let mut text = format!(
                "{} on {model} gives other outputs than {than}: {}",
                row.label,
                how.join("; ")
            );
            if row.agrees_unoptimized {
                text += "; without its optimizations it does not";
                let known = analysis.known.get(&row.cell.backend);
                let plain = known.and_then(|known| known.without_optimizations.as_ref());
                text += &plain.map_or_else(String::new, |plain| {
                    format!(" (`{}`)", setting(&plain.settings))
                });
            }
            let harm = if analysis.rounding_is_open(name) && !row.is_far() {
                text += "; whether that is more than rounding is not known: the time ended before the referee computed \
                         the model by other rules of rounding, give a longer `--budget`";
                Harm::Undecided
            } else {
                Harm::Wrong
            };
            found.push(Finding::new(harm, text));
        }
    }
    if let Some(fault) = &row.arithmetic_fault {
        let text = format!("{} on {model}: {fault}", row.label);
        found.push(Finding::new(Harm::Arithmetic, text));
    }
    found
}

/// Engines that differ from each other, where nothing says who is right.
fn undecided(model: &str, rows: &[Row]) -> Option<Finding> {
    let mut apart = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let Some(ExpectationVerdict::Undecided(how)) = &row.verdict else {
            continue;
        };
        // Each difference is seen from both sides, and said once.
        let is_later = |text: &&String| {
            let mut later = rows[at + 1..].iter();
            later.any(|other| text.starts_with(&format!("differs from {}: ", other.label)))
        };
        let how = how.iter().filter(is_later);
        apart.extend(how.map(|how| format!("{} {how}", row.label)));
    }
    (!apart.is_empty()).then(|| {
        let text = format!(
            "on {model} engines differ, and who is right cannot be told here: {}",
            apart.join("; ")
        );
        Finding::new(Harm::Undecided, text)
    })
}

/// A referee that gives what no engine gives, while engines agree with each other.
fn contested(analysis: &Analysis, model: &ModelDescription) -> Option<Finding> {
    let Kind::Agreed {
        engines,
        referee_differs,
    } = &analysis.references.get(&model.name)?.kind
    else {
        return None;
    };
    let engines: Vec<&str> = engines.iter().map(String::as_str).collect();
    (!referee_differs.is_empty()).then(|| {
        let text = format!(
            "on {} the referee gives other outputs than {}, which agree with each other without their \
             optimizations: either it is wrong, or they are ({})",
            model.title,
            list(&engines),
            referee_differs.join("; ")
        );
        Finding::new(Harm::Undecided, text)
    })
}

/// Engines whose times are not judged, with what would judge them: one remedy for all of the same reason.
fn too_short(analysis: &Analysis) -> Vec<Finding> {
    let mut all: Vec<(&str, &str, Untimed)> = Vec::new();
    for model in analysis.models() {
        for row in analysis.rows(model) {
            let found = untimed(analysis, row).into_iter();
            all.extend(found.map(|untimed| (row.label.as_str(), model.title.as_str(), untimed)));
        }
    }
    let mut reasons: Vec<&Untimed> = Vec::new();
    for (_, _, untimed) in &all {
        if !reasons.iter().any(|known| known.why == untimed.why) {
            reasons.push(untimed);
        }
    }
    let finding = |reason: &Untimed| {
        let same = all
            .iter()
            .filter(|(_, _, untimed)| untimed.why == reason.why);
        // Each engine is named once, with its models.
        let mut engines: Vec<(&str, Vec<&str>)> = Vec::new();
        for (label, model, _) in same {
            match engines.iter_mut().find(|(known, _)| known == label) {
                Some((_, models)) if models.contains(model) => {}
                Some((_, models)) => models.push(model),
                None => engines.push((label, vec![model])),
            }
        }
        let engines = engines.into_iter();
        let engines = engines.map(|(label, models)| match &models[..] {
            [model] => format!("{label} on {model}"),
            models => format!("{label} on {}", counted(models.len(), "model")),
        });
        let mut engines: Vec<String> = engines.collect();
        let more = engines.split_off(engines.len().min(NAMED)).len();
        engines.extend((more > 0).then(|| format!("{more} more")));
        let why = match reason.why {
            Why::Budget(_) => "the budget ended before they had 10 passes".to_owned(),
            Why::Passes(1) => "1 pass is too few".to_owned(),
            Why::Passes(passes) => format!("{passes} passes are too few"),
        };
        let text = format!(
            "No verdict about the time of {}: {why}, give `{}`",
            engines.join("; "),
            reason.remedy()
        );
        Finding::new(Harm::TooShort, text)
    };
    reasons.into_iter().map(finding).collect()
}
