//! The time of every node of a plan, by the hook that tract offers around each.

use std::collections::BTreeMap;

use firstpass_probe::{
    OperatorTime, PassTimes, ProfiledOperator, Profiler, Result, Tensor, Tensors, monotonic_ns,
};
use nix::sys::resource::{UsageWho, getrusage};
use tract_onnx::tract_core;

use crate::model::Runnable;

/// A plan whose nodes are timed.
pub(crate) struct Profiled {
    runnable: Runnable,
    /// By pass, each node that ran: its number, time and page faults.
    passes: Vec<Vec<(usize, u64, Option<u64>)>>,
}

impl Profiled {
    /// For passes, the first of which is the first one of `runnable`.
    pub(crate) fn new(runnable: Runnable) -> Self {
        Self {
            runnable,
            passes: Vec::new(),
        }
    }

    fn nodes(&self) -> usize {
        self.runnable.plan().order_without_consts().len()
    }
}

impl Profiler for Profiled {
    fn source(&self) -> &str {
        "run_plan_with_eval: tract's hook around each node of the plan"
    }

    fn begin(&mut self) -> Result<()> {
        self.passes.push(Vec::with_capacity(self.nodes()));
        Ok(())
    }

    fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        let Self { runnable, passes } = self;
        let mut times = passes.last_mut();
        runnable.pass_with(inputs, |context, state, node, inputs| {
            let faults = minor_faults();
            let start = monotonic_ns();
            let outputs = tract_core::plan::eval(context, state, node, inputs);
            let end = monotonic_ns();
            let faults = minor_faults()
                .zip(faults)
                .map(|(after, before)| after - before);
            if let Some(times) = &mut times {
                times.push((node.id, end - start, faults));
            }
            outputs
        })
    }

    fn finish(self: Box<Self>) -> Result<Vec<PassTimes>> {
        let nodes = self.nodes() as u64;
        let graph = self.runnable.plan().model();
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
        let passes = self.passes.iter().map(|times| {
            let operators = times.iter().copied().map(named).collect();
            PassTimes::new(operators, BTreeMap::from([("nodes".into(), nodes)]))
        });
        Ok(passes.collect())
    }
}

/// Of the whole process: threads of tract's executor work for the node that runs.
fn minor_faults() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.minor_page_faults()).ok()
}
