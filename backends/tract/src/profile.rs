//! The time of every node of a plan, by the hook that tract offers around each.

use std::collections::BTreeMap;

use firstpass_probe::{
    OperatorTime, Profile, ProfiledOperator, Result, Tensor, monotonic_ns, observe,
};
use nix::sys::resource::{UsageWho, getrusage};
use tract_onnx::tract_core;

use crate::model::Runnable;

/// Runs `passes` passes, of which the first is the first one of `runnable`.
pub(crate) fn profile(
    runnable: &mut Runnable,
    inputs: &[Tensor],
    passes: usize,
) -> Result<Profile> {
    let nodes = runnable.plan().order_without_consts().len() as u64;
    let mut profiled = Vec::with_capacity(passes);
    for _ in 0..passes {
        let mut times = Vec::with_capacity(runnable.plan().order_without_consts().len());
        let (_, span) = observe(|| {
            runnable.pass_with(inputs, |context, state, node, inputs| {
                let faults = minor_faults();
                let start = monotonic_ns();
                let outputs = tract_core::plan::eval(context, state, node, inputs);
                let end = monotonic_ns();
                let faults = minor_faults()
                    .zip(faults)
                    .map(|(after, before)| after - before);
                times.push((node.id, end - start, faults));
                outputs
            })
        })?;
        profiled.push((span, times, BTreeMap::from([("nodes".into(), nodes)])));
    }
    let graph = runnable.plan().model();
    let named = |(id, self_ns, minor_faults)| {
        let node = graph.node(id);
        OperatorTime {
            operator: ProfiledOperator {
                layer: node.name.clone(),
                kind: node.op.name().into_owned(),
            },
            self_ns,
            minor_faults,
        }
    };
    let profiled = profiled
        .into_iter()
        .map(|(span, times, counts)| (span, times.into_iter().map(named).collect(), counts));
    let source = "run_plan_with_eval: tract's hook around each node of the plan";
    Ok(Profile::collect(source, profiled.collect()))
}

/// Of the whole process: threads of tract's executor work for the node that runs.
fn minor_faults() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.minor_page_faults()).ok()
}
