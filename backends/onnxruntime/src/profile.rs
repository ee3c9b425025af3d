//! What ONNX Runtime's own profiler tells: which operators ran, and what each of them took.

use std::{collections::BTreeMap, fs, mem};

use firstpass_probe::{
    Arithmetic, EngineResult, Error, Model, OperatorTime, PassTimes, ProfiledOperator, Profiler,
    Result, Tensor, Tensors,
};
use serde::Deserialize;
use tempfile::TempDir;

use crate::{Engine, model::Runnable};

const PASS: &str = "model_run";

/// A node also has events for what lies around its kernel in some releases.
const KERNEL: &str = "_kernel_time";

/// A session with the profiler on, which writes one file for all of its passes when it is stopped.
pub(crate) struct Profiled {
    runnable: Runnable,
    /// Where the file goes. Behind the session, so that it is removed after the session has closed it.
    _folder: TempDir,
}

impl Profiled {
    pub(crate) fn load(engine: &Engine, model: &Model) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("firstpass-").tempdir()?;
        Ok(Self {
            runnable: Runnable::load(engine, model, Some(&folder.path().join("profile")))?,
            _folder: folder,
        })
    }

    /// Which operators a pass runs.
    pub(crate) fn inspect(mut self, inputs: &[Tensor]) -> Result<Arithmetic> {
        self.runnable.pass(inputs)?;
        count(&self.events()?)
    }

    /// Stops the profiler.
    fn events(&self) -> Result<Vec<Event>> {
        // ONNX Runtime appends the time to the name and says what it has made of it.
        let file = self.runnable.session.borrow_mut().end_profiling();
        let file = file.engine()?;
        let text = fs::read_to_string(&file).map_err(|error| {
            Error::from(error).context(format!("cannot read the profile {file}"))
        })?;
        parse(&text)
    }
}

impl Profiler for Profiled {
    fn source(&self) -> &str {
        "ONNX Runtime's profiler (events of category Node)"
    }

    fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        self.runnable.pass(inputs)
    }

    fn finish(self: Box<Self>) -> Result<Vec<PassTimes>> {
        Ok(collect(self.events()?))
    }
}

fn parse(profile: &str) -> Result<Vec<Event>> {
    serde_json::from_str(profile)
        .map_err(|error| Error::from(error).context("cannot parse the profile"))
}

/// One event of a profile; other fields than these are of no interest here.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    /// In µs, like all times of a profile.
    #[serde(default)]
    dur: u64,
    #[serde(default)]
    args: Args,
}

/// ONNX Runtime writes every argument as text. Those of memory came with a later release.
#[derive(Default, Deserialize)]
struct Args {
    #[serde(default)]
    op_name: String,
    #[serde(default)]
    node_index: String,
    output_size: Option<String>,
    mem_arena_held: Option<String>,
    mem_in_use_peak: Option<String>,
}

impl Event {
    /// The node whose kernel this is.
    fn kernel(&self) -> Option<&str> {
        let node = self.name.strip_suffix(KERNEL)?;
        (self.cat == "Node").then_some(node)
    }

    fn operator(&self) -> Option<ProfiledOperator> {
        let node = self.kernel()?;
        let layer = if node.is_empty() {
            format!("node {}", self.args.node_index)
        } else {
            node.into()
        };
        Some(ProfiledOperator {
            layer,
            kind: self.args.op_name.clone(),
        })
    }

    fn ends_a_pass(&self) -> bool {
        self.cat == "Session" && self.name == PASS
    }
}

impl Args {
    /// Adds what the kernel wrote, and notes what the arena holds after it.
    fn count(&self, counts: &mut BTreeMap<String, u64>) {
        let number = |text: &Option<String>| text.as_ref()?.parse::<u64>().ok();
        if let Some(bytes) = number(&self.output_size) {
            *counts.entry("output-bytes".into()).or_default() += bytes;
        }
        for (name, text) in [
            ("arena-bytes", &self.mem_arena_held),
            ("arena-peak-bytes", &self.mem_in_use_peak),
        ] {
            if let Some(bytes) = number(text) {
                counts.insert(name.into(), bytes);
            }
        }
    }
}

/// What was seen of each pass. Events are written when they end, so that those of a pass lie before its
/// own.
fn collect(events: Vec<Event>) -> Vec<PassTimes> {
    let mut passes = Vec::new();
    let mut pass = PassTimes::default();
    for event in events {
        if let Some(operator) = event.operator() {
            pass.operators.push(OperatorTime {
                operator,
                self_ns: event.dur * 1000,
                minor_faults: None,
            });
            event.args.count(&mut pass.counts);
        } else if event.ends_a_pass() {
            passes.push(mem::take(&mut pass));
        }
    }
    passes
}

fn count(events: &[Event]) -> Result<Arithmetic> {
    let mut counted =
        Arithmetic::new("ONNX Runtime's profile of one pass (events of category Node)");
    for event in events.iter().filter(|event| event.kernel().is_some()) {
        let operator = &event.args.op_name;
        match multiplication(operator) {
            Some(Kind::Integer) => counted.integer += 1,
            Some(Kind::Float) => counted.float += 1,
            None => {}
        }
        *counted.operators.entry(operator.clone()).or_default() += 1;
    }
    if counted.operators.is_empty() {
        return Err(Error::engine("the profile of ONNX Runtime names no kernel"));
    }
    Ok(counted)
}

enum Kind {
    Integer,
    Float,
}

/// How an operator multiplies, by its name: convolutions and products of matrices, with what the optimizer
/// makes of them (FusedConv, NhwcFusedConv, FusedGemm, FusedMatMul), multiply floats; QLinearConv, QLinearMatMul,
/// QGemm, ConvInteger, MatMulInteger and what is fused with these multiply integers.
fn multiplication(operator: &str) -> Option<Kind> {
    if !["Conv", "Gemm", "MatMul"]
        .iter()
        .any(|name| operator.contains(name))
    {
        return None;
    }
    let integer = ["QLinear", "Integer", "QGemm", "DynamicQuantize"];
    let integer = integer.iter().any(|name| operator.contains(name));
    Some(if integer { Kind::Integer } else { Kind::Float })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(node: &str, operator: &str, dur: u64) -> String {
        format!(
            r#"{{"cat":"Node","name":"{node}_kernel_time","dur":{dur},
                "args":{{"op_name":"{operator}","output_size":"64","mem_arena_held":"{dur}"}}}}"#
        )
    }

    #[test]
    fn every_multiplication_counts() {
        for (operators, integer, float) in [
            (
                &["Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose"][..],
                0,
                4,
            ),
            (&["Gemm", "FusedGemm", "MatMul", "FusedMatMul"], 0, 4),
            (
                &["QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul"],
                4,
                0,
            ),
            (
                &[
                    "MatMulInteger",
                    "MatMulIntegerToFloat",
                    "DynamicQuantizeMatMul",
                ],
                3,
                0,
            ),
            (&["QLinearAdd", "Mul", "QuantizeLinear", "Softmax"], 0, 0),
        ] {
            let kinds = operators.iter().filter_map(|name| multiplication(name));
            let (integers, floats): (Vec<_>, Vec<_>) =
                kinds.partition(|kind| matches!(kind, Kind::Integer));
            assert_eq!(
                (integers.len(), floats.len()),
                (integer, float),
                "{operators:?}"
            );
        }
    }

    #[test]
    fn counts_kernels_only() -> Result<()> {
        let profile = format!(
            r#"[{{"cat":"Session","name":"model_run","args":{{}}}},
                {{"cat":"Node","name":"n_fence_before","args":{{"op_name":"Conv"}}}},
                {},{},{},{}]"#,
            kernel("a", "QLinearConv", 1),
            kernel("b", "FusedConv", 1),
            kernel("c", "QLinearAdd", 1),
            kernel("d", "NhwcFusedConv", 1),
        );
        let counted = count(&parse(&profile)?)?;
        assert_eq!((counted.integer, counted.float), (1, 2));
        assert_eq!(counted.operators["QLinearAdd"], 1);
        assert_eq!(counted.operators.values().sum::<usize>(), 4);
        Ok(())
    }

    #[test]
    fn an_empty_or_broken_profile_is_an_error() {
        assert!(parse("[]").and_then(|events| count(&events)).is_err());
        assert!(parse("[{").is_err());
    }

    #[test]
    fn kernels_belong_to_the_pass_that_ends_after_them() -> Result<()> {
        let run = r#"{"cat":"Session","name":"model_run","dur":9}"#;
        let around = r#"{"cat":"Session","name":"SequentialExecutor::Execute","dur":8}"#;
        let profile = format!(
            r#"[{{"cat":"Session","name":"session_initialization","dur":7}},
                {},{},{around},{run},{},{around},{run}]"#,
            kernel("a", "QLinearConv", 5),
            kernel("b", "QLinearAdd", 2),
            kernel("a", "QLinearConv", 3),
        );
        let passes = collect(parse(&profile)?);
        let times = |pass: &PassTimes| -> Vec<(String, u64)> {
            let times = pass.operators.iter();
            times
                .map(|t| (t.operator.layer.clone(), t.self_ns))
                .collect()
        };
        assert_eq!(passes.len(), 2);
        assert_eq!(times(&passes[0]), [("a".into(), 5000), ("b".into(), 2000)]);
        assert_eq!(times(&passes[1]), [("a".into(), 3000)]);
        let counts = &passes[0].counts;
        assert_eq!((counts["output-bytes"], counts["arena-bytes"]), (128, 2));
        assert!(collect(Vec::new()).is_empty());
        Ok(())
    }
}
