//! The smallest part of a model that shows what the whole of it shows.
//!
//! First by outputs: the earliest place up to which the graph shows it, by halving (what torch's minifier calls to
//! truncate the suffix, and Polygraphy to bisect). Then by inputs: the fewest nodes before that place, with recorded
//! values for what they read. Then by delta debugging over these, and at last shapes and values.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use firstpass_probe::Knobs;
use serde::Serialize;

use crate::culprit::{
    Candidate, Investigation, Reference, Symptom,
    candidate::{Known, ancestors},
    ddmin::ddmin,
    record_values::record,
    simplify::simplify,
};

/// What is looked for, and by which settings and reference.
#[derive(Debug, Clone)]
pub struct Question {
    pub symptom: Symptom,
    pub reference: Option<Reference>,
    pub knobs: Knobs,
}

/// What is left of a model.
#[derive(Debug, Clone)]
pub struct Reduced {
    pub candidate: Candidate,
    /// The place of the node up to which the graph is needed to show it from its own inputs; `None` where that was
    /// not found out.
    pub first: Option<usize>,
    /// What became smaller.
    pub steps: Vec<Step>,
    /// Whether the time was enough to try everything.
    pub is_complete: bool,
}

/// How a model was cut down: `templates/reduced/report.md.j2` says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Step {
    /// It needs the types or open shapes that the file declares, so that nothing was cut.
    NeedsTypes,
    /// To the first nodes that lead to it.
    Leading { nodes: usize, of: usize },
    /// To the nodes that are needed.
    Needed { nodes: usize },
    /// To fewer values of the inputs that are not 0.
    Values { before: usize, after: usize },
}

/// Asks whether candidates show what is looked for, each once.
struct Asking<'a, 'b> {
    investigation: &'a mut Investigation<'b>,
    question: &'a Question,
    known: Known,
    asked: BTreeMap<BTreeSet<usize>, bool>,
}

/// Cuts the model of an investigation down.
///
/// # Errors
/// Fails where there is no graph, where a copy of the whole does not show it, and where files cannot be written.
pub fn reduce(investigation: &mut Investigation, question: &Question) -> Result<Reduced> {
    let mut reduced = cut(investigation, question)?;
    let before = size(&reduced.candidate);
    reduced.candidate = simplify(investigation, question, reduced.candidate)?;
    let after = size(&reduced.candidate);
    if after != before {
        reduced.steps.push(Step::Values { before, after });
    }
    reduced.is_complete = !investigation.is_out_of_time();
    Ok(reduced)
}

/// How many values the inputs hold that are not 0.
fn size(candidate: &Candidate) -> usize {
    let values = candidate
        .inputs
        .values()
        .map(|tensor| tensor.data().to_f64s());
    values
        .map(|values| values.iter().filter(|value| **value != 0.0).count())
        .sum()
}

/// The same without a look at shapes and values.
///
/// # Errors
/// Likewise.
pub fn cut(investigation: &mut Investigation, question: &Question) -> Result<Reduced> {
    let Some(whole) = investigation.whole.clone() else {
        bail!("the model has no ONNX file; give that, because only a graph of nodes can be cut");
    };
    let mut current = whole.clone();
    let is_shown = |investigation: &mut Investigation, candidate: &Candidate| {
        let (symptom, reference) = (&question.symptom, question.reference.as_ref());
        investigation.shows(candidate, symptom, reference, &question.knobs)
    };
    if !is_shown(investigation, &current)? {
        if investigation.is_out_of_time() {
            bail!(
                "the time was used up before a copy of the whole model had been asked about: give a longer --budget"
            );
        }
        bail!(
            "a copy of the whole model, written anew, does not show it: it does not come from the nodes of the graph \
             alone, or it comes and goes"
        );
    }
    let mut steps = Vec::new();
    let without_types = Candidate {
        declared: false,
        ..whole.clone()
    };
    if is_shown(investigation, &without_types)? {
        current = without_types;
    } else {
        steps.push(Step::NeedsTypes);
        return Ok(Reduced {
            candidate: current,
            first: None,
            steps,
            // An engine that was ended by the clock shows nothing.
            is_complete: !investigation.is_out_of_time(),
        });
    }
    let known = record(investigation, &whole, question.reference.as_ref())?;
    let mut asking = Asking {
        investigation,
        question,
        known,
        asked: BTreeMap::new(),
    };
    let all = whole.nodes.len();
    current = asking.earliest(current)?;
    // Where the time ended before, the halving did not: nobody knows the node.
    let is_found = !asking.investigation.is_out_of_time();
    let first = current.nodes.last().copied().filter(|_| is_found);
    steps.push(Step::Leading {
        nodes: current.nodes.len(),
        of: all,
    });
    current = asking.last_nodes(current)?;
    current = asking.without_needless(current)?;
    steps.push(Step::Needed {
        nodes: current.nodes.len(),
    });
    let is_complete = !asking.investigation.is_out_of_time();
    Ok(Reduced {
        candidate: current,
        first,
        steps,
        is_complete,
    })
}

impl Asking<'_, '_> {
    /// Once the time is used up nothing more is shown: what there is by then stays.
    fn shows(&mut self, candidate: &Candidate) -> Result<bool> {
        if self.investigation.is_out_of_time() {
            return Ok(false);
        }
        let question = self.question;
        let reference = question.reference.as_ref();
        self.investigation
            .shows(candidate, &question.symptom, reference, &question.knobs)
    }

    /// The candidate of these nodes with all its outputs, where it shows what is looked for.
    fn of_nodes(&mut self, nodes: &BTreeSet<usize>) -> Result<Option<Candidate>> {
        // To make thousands of candidates that nobody is asked about takes time too.
        if self.investigation.is_out_of_time() {
            return Ok(None);
        }
        let Some(candidate) = self.known.candidate(nodes.clone(), None) else {
            return Ok(None);
        };
        let shown = match self.asked.get(nodes) {
            Some(shown) => *shown,
            None => {
                let shown = self.shows(&candidate)?;
                self.asked.insert(nodes.clone(), shown);
                shown
            }
        };
        Ok(shown.then_some(candidate))
    }

    /// The fewest nodes from the beginning of the graph that show it.
    fn earliest(&mut self, whole: Candidate) -> Result<Candidate> {
        let mut best = whole.clone();
        let order: Vec<usize> = whole.nodes.iter().copied().collect();
        let (mut without, mut with) = (0, order.len());
        while with - without > 1 {
            let middle = usize::midpoint(without, with);
            let nodes: BTreeSet<usize> = order[..middle].iter().copied().collect();
            match self.of_nodes(&nodes)? {
                Some(candidate) => {
                    best = candidate;
                    with = middle;
                }
                None => without = middle,
            }
        }
        // Of what these nodes give, only what the last of them gives may be needed.
        let last = &whole.file.nodes()[order[with - 1]];
        let mut choices: Vec<Vec<String>> = vec![last.gives.clone()];
        choices.extend(best.outputs.iter().map(|output| vec![output.clone()]));
        for outputs in choices {
            let nodes: BTreeSet<usize> = ancestors(&whole.file, &outputs);
            if nodes.len() >= best.nodes.len() && outputs.len() >= best.outputs.len() {
                continue;
            }
            let Some(candidate) = self.known.candidate(nodes, Some(&outputs)) else {
                continue;
            };
            if self.shows(&candidate)? {
                return Ok(candidate);
            }
        }
        Ok(best)
    }

    /// The fewest nodes around the end of the part that show it: more and more of them, the nearest first.
    fn last_nodes(&mut self, part: Candidate) -> Result<Candidate> {
        let order = nearest_first(&part);
        let mut count = 1;
        while count < order.len() {
            let nodes: BTreeSet<usize> = order[..count].iter().copied().collect();
            if let Some(candidate) = self.of_nodes(&nodes)? {
                return Ok(candidate);
            }
            count += count.div_ceil(2);
        }
        Ok(part)
    }

    fn without_needless(&mut self, part: Candidate) -> Result<Candidate> {
        let nodes: Vec<usize> = part.nodes.iter().copied().collect();
        let mut best = part;
        let kept = ddmin(&nodes, |nodes| {
            let nodes = nodes.iter().copied().collect();
            Ok(match self.of_nodes(&nodes)? {
                Some(candidate) => {
                    best = candidate;
                    true
                }
                None => false,
            })
        })?;
        // The last that was shown is what is kept.
        debug_assert_eq!(kept.len(), best.nodes.len());
        for output in best.outputs.clone() {
            if best.outputs.len() == 1 {
                break;
            }
            let fewer = Candidate {
                outputs: vec![output],
                ..best.clone()
            };
            if self.shows(&fewer)? {
                best = fewer;
            }
        }
        Ok(best)
    }
}

/// The nodes of a part by how many others lie between them and its outputs.
fn nearest_first(part: &Candidate) -> Vec<usize> {
    let nodes = part.file.nodes();
    let mut wanted: BTreeSet<&String> = part.outputs.iter().collect();
    let mut order: Vec<usize> = Vec::new();
    loop {
        let next: Vec<usize> = part
            .nodes
            .iter()
            .rev()
            .copied()
            .filter(|at| !order.contains(at) && nodes[*at].gives.iter().any(|n| wanted.contains(n)))
            .collect();
        if next.is_empty() {
            return order;
        }
        wanted = next.iter().flat_map(|&at| &nodes[at].reads).collect();
        order.extend(next);
    }
}
