//! Small graphs in this process, against what the referee gives of them under each of its rules.

use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use firstpass_probe::{Backend, Format, Knobs, Model, Session, Tensor};
use firstpass_trial::{
    machine::Machine,
    small_graphs::{CaseVerdict, ENOUGH, Findings, KINDS, Kind, Tried, fixed, frozen::Frozen},
};
use libtest_mimic::{Failed, Trial};

use crate::{check, context::Context, own::together};

/// A test for each kind of cases, where the backend reads their files.
pub fn tests<B: Backend + 'static>(context: &Context) -> Vec<Trial> {
    if !B::FORMATS.contains(&Format::ONNX) {
        return Vec::new();
    }
    // Read by the first test that runs.
    let frozen: Arc<OnceLock<Result<Frozen, String>>> = Arc::default();
    let of_kind = |kind: &'static Kind| {
        let (context, frozen) = (context.clone(), frozen.clone());
        Trial::test(format!("operators: {}", kind.name), move || {
            let frozen = frozen
                .get_or_init(|| Frozen::read(&context.small_graphs).map_err(|e| format!("{e:#}")))
                .as_ref()
                .map_err(Failed::from)?;
            let tried = attempt::<B>(&context, kind, frozen);
            is_as_declared(&context, kind, &tried.map_err(|e| format!("{e:#}"))?)
        })
    };
    let mut tests: Vec<Trial> = KINDS.iter().map(of_kind).collect();
    let context = context.clone();
    let every = "operators: every kind that is declared is tried";
    tests.push(Trial::test(every, move || {
        let mut declared = context.known.operator.iter().flat_map(|o| &o.kinds);
        let unknown = declared.find(|kind| KINDS.iter().all(|k| k.name != **kind));
        unknown.map_or(Ok(()), |kind| {
            Err(format!("known.toml declares {kind:?}, which is no kind of small graphs").into())
        })
    }));
    tests
}

/// Every fixed case of a kind. An engine that fails on one goes on with the next.
fn attempt<B: Backend>(context: &Context, kind: &Kind, frozen: &Frozen) -> Result<Vec<Tried>> {
    let _together = together();
    let folder = tempfile::tempdir()?;
    let mut tried = Vec::new();
    for case in fixed::cases(kind, &context.small_graphs)? {
        let expected = frozen.expected(kind, &case)?;
        let (model, input) = (case.write(folder.path())?, case.tensor()?);
        let answer = output_of_case::<B>(&model, input, &Knobs::default());
        let answer = answer.map_err(|error| format!("{error:#}"));
        tried.push(Tried::new(kind.name, &case, answer, expected));
    }
    Ok(tried)
}

fn is_as_declared(context: &Context, kind: &Kind, tried: &[Tried]) -> Result<(), Failed> {
    let verdict = CaseVerdict::of(tried).ok_or("no case was tried")?;
    let flags = Machine::observe().cpu_flags;
    let declared = context.known.operator(kind.name, &flags);
    let declared = declared.map(|operator| operator.verdict);
    let mut findings = Findings::default();
    // All that is declared must occur in these cases.
    let engine = &context.backend.name;
    findings.add(engine, kind.name, &verdict, declared, ENOUGH);
    check(findings.faults.is_empty(), || findings.faults.join("; "))
}

/// What backend `B` gives in this process of a case, as its file and its input.
///
/// # Errors
/// Fails where the engine does.
pub fn output_of_case<B: Backend>(model: &Model, input: Tensor, knobs: &Knobs) -> Result<Tensor> {
    let mut session = Session::<B>::open(model, knobs)?;
    let outputs = session.pass(&[input])?;
    outputs.into_iter().next().context("there is no output")
}
