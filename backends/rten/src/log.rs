//! What rten prints of each operator when it is asked to (`RunOptions::with_verbose`): which ran, and how long.
//! It has no other hook for this.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, Write, stdout},
    os::fd::OwnedFd,
};

use firstpass_probe::{
    Arithmetic, Error, OperatorTime, PassTimes, ProfiledOperator, Profiler, Result, Tensor, Tensors,
};
use nix::unistd::{dup, dup2_stdout};

use crate::model::Runnable;

/// Standard output, led to a file as long as this lives.
struct Captured {
    file: File,
    before: OwnedFd,
}

impl Captured {
    fn begin() -> Result<Self> {
        let file = tempfile::tempfile()?;
        stdout().flush()?;
        let before = dup(stdout())?;
        dup2_stdout(&file)?;
        Ok(Self { file, before })
    }

    /// What was printed since the beginning.
    fn end(mut self) -> Result<String> {
        stdout().flush()?;
        let mut text = String::new();
        self.file.rewind()?;
        self.file.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        // Nothing can be done where it fails: what is printed from then on goes to the file.
        let _ = dup2_stdout(&self.before);
    }
}

/// An operator that has run.
#[derive(Debug, PartialEq)]
struct Step {
    /// Its place in the graph that it belongs to.
    number: usize,
    operator: ProfiledOperator,
    ns: u64,
}

/// rten prints of each operator `#NUMBER KIND (NAME)`, a line for each input and output, and `time: …ms`.
fn parse(log: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut open: Option<(usize, ProfiledOperator)> = None;
    for line in log.lines() {
        if let Some(begun) = beginning(line) {
            open = Some(begun);
        } else if let Some(ms) = line.strip_prefix("  time: ") {
            let ms = ms.strip_suffix("ms").and_then(|ms| ms.parse::<f64>().ok());
            let (Some(ms), Some((number, operator))) = (ms, open.take()) else {
                return Err(Error::engine(format!(
                    "rten's log holds {line:?}, which is not as expected"
                )));
            };
            let ns = (ms * 1e6).round() as u64;
            steps.push(Step {
                number,
                operator,
                ns,
            });
        }
    }
    if steps.is_empty() {
        return Err(Error::engine("rten's log names no operator"));
    }
    Ok(steps)
}

fn beginning(line: &str) -> Option<(usize, ProfiledOperator)> {
    let (number, rest) = line.strip_prefix('#')?.split_once(' ')?;
    let (kind, name) = rest.split_once(" (")?;
    let name = name.strip_suffix(')')?;
    let number = number.parse().ok()?;
    let layer = if name.is_empty() {
        format!("step {number}")
    } else {
        name.into()
    };
    let kind = kind.into();
    Some((number, ProfiledOperator { layer, kind }))
}

/// Which operators a pass runs.
pub(crate) fn inspect(mut runnable: Runnable, inputs: &[Tensor]) -> Result<Arithmetic> {
    let captured = Captured::begin()?;
    runnable.pass_aloud(inputs)?;
    let steps = parse(&captured.end()?)?;
    let mut counted = Arithmetic::new("rten's log of one pass (RunOptions::with_verbose)");
    for Step { operator, .. } in steps {
        if multiplies(&operator.kind) {
            if operator.kind.contains("Integer") {
                counted.integer += 1;
            } else {
                counted.float += 1;
            }
        }
        *counted.operators.entry(operator.kind).or_default() += 1;
    }
    Ok(counted)
}

/// Convolutions and products of matrices, with what rten fuses them to (FusedMatMul, ConvIntegerToFloat).
fn multiplies(kind: &str) -> bool {
    ["Conv", "Gemm", "MatMul"]
        .iter()
        .any(|name| kind.contains(name))
}

/// A model whose passes tell of their operators.
pub(crate) struct Profiled {
    runnable: Runnable,
    captured: Option<Captured>,
    passes: Vec<PassTimes>,
}

impl Profiled {
    pub(crate) fn new(runnable: Runnable) -> Self {
        Self {
            runnable,
            captured: None,
            passes: Vec::new(),
        }
    }
}

impl Profiler for Profiled {
    fn source(&self) -> &str {
        "rten's log of each operator (RunOptions::with_verbose), in steps of 1 µs"
    }

    fn begin(&mut self) -> Result<()> {
        self.captured = Some(Captured::begin()?);
        Ok(())
    }

    fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        self.runnable.pass_aloud(inputs)
    }

    fn end(&mut self) -> Result<()> {
        let captured = self.captured.take();
        let captured = captured.ok_or_else(|| Error::engine("the pass was not begun"))?;
        self.passes.push(times(parse(&captured.end()?)?)?);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<PassTimes>> {
        Ok(self.passes)
    }
}

/// The steps of one pass, in order. The time of an operator with a graph of its own holds that of the operators
/// therein, and the log does not tell to which it belongs.
fn times(steps: Vec<Step>) -> Result<PassTimes> {
    if steps.iter().enumerate().any(|(at, step)| step.number != at) {
        return Err(Error::unsupported(
            "the model has graphs within its graph (If, Loop or Scan), whose operators rten's log does not tell apart",
        ));
    }
    let operators = steps.into_iter().map(|step| OperatorTime {
        operator: step.operator,
        self_ns: step.ns,
        minor_faults: None,
    });
    Ok(PassTimes::new(operators.collect(), BTreeMap::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "#0 Conv (first (and last))\n  input 0: x (tensor(f32) [1, 3])\n  output 0: \
                       y ([1, 3])\n  time: 0.125ms\n#1 ConvIntegerToFloat ()\n  time: 12.000ms\n";

    #[test]
    fn each_operator_has_its_name_and_time() -> Result<()> {
        let pass = times(parse(LOG)?)?;
        let seen = |time: &OperatorTime| (time.operator.layer.clone(), time.self_ns);
        let seen: Vec<_> = pass.operators.iter().map(seen).collect();
        assert_eq!(
            seen,
            [
                ("first (and last)".into(), 125_000),
                ("step 1".into(), 12_000_000)
            ]
        );
        Ok(())
    }

    #[test]
    fn a_log_that_is_not_as_expected_is_an_error() -> Result<()> {
        for log in ["", "  time: 1.0ms\n", "#0 Conv (a)\n  time: soon\n"] {
            assert!(parse(log).is_err(), "{log:?}");
        }
        // A graph within the graph counts from 0 again.
        let nested = parse(&format!("{LOG}#0 Add (a)\n  time: 1.000ms\n"))?;
        assert!(times(nested).is_err());
        Ok(())
    }

    #[test]
    fn products_are_known_by_their_names() {
        for kind in [
            "Conv",
            "ConvTranspose",
            "FusedMatMul",
            "Gemm",
            "MatMulInteger",
        ] {
            assert!(multiplies(kind), "{kind}");
        }
        for kind in ["Add", "QuantizeLinear", "Softmax"] {
            assert!(!multiplies(kind), "{kind}");
        }
    }
}
