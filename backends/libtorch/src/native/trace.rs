//! Which operators libtorch runs, and what each takes.

use std::collections::BTreeMap;

use firstpass_probe::{
    Arithmetic, Model, OperatorTime, PassTimes, ProfiledOperator, Profiler, Result, Tensor, Tensors,
};

use super::{
    engine::Engine,
    module::{Module, Runnable},
    settings,
    shim::{Call, Trace},
};

/// The executor profiles the first pass and optimizes in the second: from the third on, every pass
/// runs the same graph.
pub(super) const PASSES_BEFORE: usize = 2;

pub(super) fn inspect(runnable: &mut Runnable, inputs: &[Tensor]) -> Result<Arithmetic> {
    for _ in 0..PASSES_BEFORE {
        runnable.pass(inputs)?;
    }
    let trace = Trace::begin()?;
    runnable.pass(inputs)?;
    let calls = trace.end()?;
    let mut counted = count(&calls);
    counted.source = format!(
        "libtorch's record of the operators in pass {} (at::RecordFunction)",
        PASSES_BEFORE + 1
    );
    Ok(counted)
}

/// A module whose operators are recorded.
pub(super) struct Profiled<'a> {
    engine: &'a Engine,
    model: &'a Model,
    runnable: Runnable,
    /// Of the pass that runs.
    trace: Option<Trace>,
    passes: Vec<PassTimes>,
}

impl<'a> Profiled<'a> {
    pub(super) fn load(engine: &'a Engine, model: &'a Model) -> Result<Self> {
        Ok(Self {
            engine,
            model,
            runnable: Module::load(engine, model)?.prepare(&model.input_shapes())?,
            trace: None,
            passes: Vec::new(),
        })
    }
}

impl Profiler for Profiled<'_> {
    fn source(&self) -> &str {
        "libtorch's record of its operators (at::RecordFunction); what no operator took is the \
         executor's"
    }

    fn begin(&mut self) -> Result<()> {
        self.trace = Some(Trace::begin()?);
        Ok(())
    }

    fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        self.runnable.pass(inputs)
    }

    fn end(&mut self) -> Result<()> {
        let calls = self.trace.take().map(Trace::end).transpose()?;
        let executed = settings::executed_graph_nodes()? as u64;
        let mut counts = BTreeMap::from([(EXECUTED_NODES.into(), executed)]);
        if self.passes.is_empty() {
            // There is none to run until the first pass makes it.
            counts.insert(format!("{EXECUTED_NODES} before"), 0);
        }
        let operators = self_times(&calls.unwrap_or_default());
        self.passes.push(PassTimes::new(operators, counts));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<PassTimes>> {
        // Last, so that pass 1 is a first pass, and of a copy that has not run.
        let graph = Module::load(self.engine, self.model)?.graph_nodes()? as u64;
        let mut passes = self.passes;
        for pass in &mut passes {
            pass.counts.insert(GRAPH_NODES.into(), graph);
        }
        Ok(passes)
    }
}

/// The nodes of the module's own graph with all that it calls.
const GRAPH_NODES: &str = "graph nodes";
/// The nodes of the graph that the pass ran.
const EXECUTED_NODES: &str = "optimized graph nodes";

/// What each call took without the calls within it. Which of its kind an operator is, tells its
/// layer: libtorch's record does not know modules.
fn self_times(calls: &[Call]) -> Vec<OperatorTime> {
    let mut within: Vec<(u64, u64)> = vec![(0, 0); calls.len()];
    let mut open: Vec<usize> = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        open.truncate(call.depth);
        if let Some(&caller) = open.last() {
            within[caller].0 += call.wall_ns;
            within[caller].1 += call.minor_faults;
        }
        open.push(index);
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    calls
        .iter()
        .zip(within)
        .map(|(call, (wall_ns, minor_faults))| {
            let number = seen.entry(&call.name).or_default();
            *number += 1;
            OperatorTime {
                operator: ProfiledOperator {
                    layer: format!("{} {number}", call.name),
                    kind: call.name.clone(),
                },
                self_ns: call.wall_ns.saturating_sub(wall_ns),
                minor_faults: Some(call.minor_faults.saturating_sub(minor_faults)),
            }
        })
        .collect()
}

/// Counts every operator, and of the multiplications those that no other multiplication called: libtorch
/// runs `aten::conv2d` by way of `aten::convolution`, `aten::_convolution` and one more, and `aten::linear` by
/// way of `aten::addmm`.
fn count(calls: &[Call]) -> Arithmetic {
    let mut counted = Arithmetic::default();
    // The depth of the multiplication whose callees are being passed over.
    let mut within: Option<usize> = None;
    for call in calls {
        *counted.operators.entry(call.name.clone()).or_default() += 1;
        if within.is_some_and(|depth| call.depth > depth) {
            continue;
        }
        within = None;
        if let Some(kind) = multiplication(&call.name) {
            within = Some(call.depth);
            match kind {
                Kind::Integer => counted.integer += 1,
                Kind::Float => counted.float += 1,
            }
        }
    }
    counted
}

enum Kind {
    Integer,
    Float,
}

/// Products of matrices by their names in libtorch; convolutions have `conv` in theirs.
const PRODUCTS: [&str; 10] = [
    "addmm",
    "baddbmm",
    "bmm",
    "linear",
    "linear_dynamic",
    "linear_relu",
    "linear_relu_dynamic",
    "matmul",
    "mkldnn_linear",
    "mm",
];

/// How an operator multiplies: a convolution, or a product of matrices.
fn multiplication(operator: &str) -> Option<Kind> {
    let (namespace, name) = operator.split_once("::")?;
    let prepares = ["convert", "prepack", "unpack"];
    if prepares.iter().any(|word| name.contains(word)) {
        return None;
    }
    if !name.contains("conv") && !name.starts_with("qlinear") && !PRODUCTS.contains(&name) {
        return None;
    }
    // fbgemm's in `quantized`, oneDNN's in `onednn`: both accumulate in 32-bit integers.
    let onednn = name.starts_with("qconv") || name.starts_with("qlinear");
    let integer = namespace == "quantized" || onednn;
    Some(if integer { Kind::Integer } else { Kind::Float })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(pairs: &[(&str, usize)]) -> Vec<Call> {
        let call = |&(name, depth): &(&str, usize)| Call {
            name: name.into(),
            depth,
            wall_ns: 0,
            minor_faults: 0,
        };
        pairs.iter().map(call).collect()
    }

    #[test]
    fn counts_a_convolution_once() {
        let counted = count(&calls(&[
            ("aten::conv2d", 0),
            ("aten::convolution", 1),
            ("aten::_convolution", 2),
            ("aten::mkldnn_convolution", 3),
            ("aten::conv2d", 0),
            ("aten::convolution", 1),
            ("aten::relu", 0),
            ("aten::convolution", 0),
        ]));
        assert_eq!((counted.integer, counted.float), (0, 3));
        assert_eq!(counted.operators["aten::convolution"], 3);
    }

    #[test]
    fn tells_integers_from_floats() {
        let counted = count(&calls(&[
            ("quantized::conv2d_prepack", 0),
            ("quantized::conv2d_relu", 0),
            ("quantized::conv2d", 0),
            ("aten::_convert_indices_from_coo_to_csr", 0),
            ("quantized::add", 0),
            ("aten::conv_transpose2d", 0),
            ("quantized::linear_prepack", 0),
            ("quantized::linear_dynamic", 0),
            ("onednn::qlinear_pointwise", 0),
            ("aten::linear", 0),
            ("aten::addmm", 1),
            ("aten::matmul", 0),
            ("aten::mm", 1),
        ]));
        assert_eq!((counted.integer, counted.float), (4, 3));
    }

    #[test]
    fn the_time_of_callees_is_not_their_callers() {
        let call = |name: &str, depth, wall_ns, minor_faults| Call {
            name: name.into(),
            depth,
            wall_ns,
            minor_faults,
        };
        let times = self_times(&[
            call("aten::conv2d", 0, 100, 9),
            call("aten::convolution", 1, 90, 9),
            call("aten::empty", 2, 10, 4),
            call("aten::empty", 2, 20, 0),
            call("aten::conv2d", 0, 50, 1),
        ]);
        let found: Vec<_> = times
            .iter()
            .map(|t| (t.operator.layer.as_str(), t.self_ns, t.minor_faults))
            .collect();
        assert_eq!(
            found,
            [
                ("aten::conv2d 1", 10, Some(0)),
                ("aten::convolution 1", 60, Some(5)),
                ("aten::empty 1", 10, Some(4)),
                ("aten::empty 2", 20, Some(0)),
                ("aten::conv2d 2", 50, Some(1)),
            ]
        );
    }
}
