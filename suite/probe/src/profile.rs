//! Where passes spend their time, as the engine's own hooks tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Backend, Error, Model, Result, Span, Tensor, Tensors, observe};

/// A model with the hooks of its engine in place. The probe runs its passes and times them, each between
/// [`begin`](Self::begin) and [`end`](Self::end).
pub trait Profiler {
    /// The hook, in words.
    fn source(&self) -> &str;

    /// Makes ready for a pass: what would cost time or memory in it is done here.
    ///
    /// # Errors
    /// Where the hook cannot be set.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Runs the model once, as [`Backend::pass`] does, with the hooks looking on. Only this is timed.
    ///
    /// # Errors
    /// As [`Backend::pass`].
    fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors>;

    /// Takes what the hooks saw of the pass, where they tell it after each.
    ///
    /// # Errors
    /// Where they do not tell it.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }

    /// What the hooks saw of each pass, in the order of the passes. Called once, after the last.
    ///
    /// # Errors
    /// Where they do not tell it.
    fn finish(self: Box<Self>) -> Result<Vec<PassTimes>>;
}

/// What the hooks of an engine saw of one pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassTimes {
    /// Each operator that ran, in order.
    pub operators: Vec<OperatorTime>,
    /// See [`ProfiledPass::counts`].
    pub counts: BTreeMap<String, u64>,
}

impl PassTimes {
    /// Operators in the order in which they ran.
    pub fn new(operators: Vec<OperatorTime>, counts: BTreeMap<String, u64>) -> Self {
        Self { operators, counts }
    }

    /// Room for the times of as many operators, so that none is taken during the pass.
    pub fn with_capacity(operators: usize) -> Self {
        Self {
            operators: Vec::with_capacity(operators),
            counts: BTreeMap::new(),
        }
    }
}

/// Runs the first `passes` passes of a model on `inputs` under the hooks of its engine.
///
/// # Errors
/// As [`Backend::profile`] and the steps of its [`Profiler`], and where that tells of more or fewer passes
/// than there were.
pub fn profile<B: Backend>(
    engine: &B::Engine,
    model: &Model,
    inputs: &[Tensor],
    passes: usize,
) -> Result<Profile> {
    let mut profiler = B::profile(engine, model)?;
    let mut spans = Vec::with_capacity(passes);
    for _ in 0..passes {
        profiler.begin()?;
        let (_, span) = observe(|| profiler.pass(inputs))?;
        profiler.end()?;
        spans.push(span);
    }
    let source = profiler.source().to_owned();
    let times = profiler.finish()?;
    if times.len() != spans.len() {
        return Err(Error::engine(format!(
            "its hooks saw {} passes instead of {}",
            times.len(),
            spans.len()
        )));
    }
    Ok(Profile::collect(source, spans.into_iter().zip(times)))
}

/// Some first passes of a model, operator by operator.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Profile {
    /// The hook, in words.
    pub source: String,
    /// Every operator that ran, in the order of the model.
    pub operators: Vec<ProfiledOperator>,
    /// In the order in which they ran.
    pub passes: Vec<ProfiledPass>,
}

/// One operator of the executed graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProfiledOperator {
    /// Which of its kind: the node or layer, in the engine's own words.
    pub layer: String,
    /// The engine's name of the operator.
    pub kind: String,
}

/// One pass, whose vectors are in the order of [`Profile::operators`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfiledPass {
    /// The whole pass, by the clock of every trial.
    pub span: Span,
    /// What each operator took without those that it called, in ns; 0 where it did not run.
    pub self_ns: Vec<u64>,
    /// Minor page faults of each operator; empty where the hook cannot tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minor_faults: Vec<u64>,
    /// What else the engine tells about its state after the pass, such as the nodes of its graph;
    /// in the first pass `<name> before` is what it was before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
}

impl Profile {
    /// Passes whose vectors are in the order of the operators.
    pub fn new(
        source: impl Into<String>,
        operators: Vec<ProfiledOperator>,
        passes: Vec<ProfiledPass>,
    ) -> Self {
        Self {
            source: source.into(),
            operators,
            passes,
        }
    }

    /// A profile of passes whose operators are given one by one, in the order in which they ran;
    /// what ran in several passes is recognised by its layer and kind.
    fn collect(source: String, passes: impl IntoIterator<Item = (Span, PassTimes)>) -> Self {
        let mut profile = Self {
            source,
            ..Self::default()
        };
        let mut index: BTreeMap<ProfiledOperator, usize> = BTreeMap::new();
        for (span, PassTimes { operators, counts }) in passes {
            let mut pass = ProfiledPass {
                span,
                counts,
                ..ProfiledPass::default()
            };
            for time in operators {
                let number = *index.entry(time.operator).or_insert_with_key(|operator| {
                    profile.operators.push(operator.clone());
                    profile.operators.len() - 1
                });
                add(&mut pass.self_ns, number, time.self_ns);
                if let Some(faults) = time.minor_faults {
                    add(&mut pass.minor_faults, number, faults);
                }
            }
            profile.passes.push(pass);
        }
        let length = profile.operators.len();
        for pass in &mut profile.passes {
            pass.self_ns.resize(length, 0);
            if !pass.minor_faults.is_empty() {
                pass.minor_faults.resize(length, 0);
            }
        }
        profile
    }
}

/// One run of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorTime {
    pub operator: ProfiledOperator,
    /// Without the operators that it called.
    pub self_ns: u64,
    /// `None` where the hook cannot tell.
    pub minor_faults: Option<u64>,
}

fn add(values: &mut Vec<u64>, number: usize, value: u64) {
    if values.len() <= number {
        values.resize(number + 1, 0);
    }
    values[number] += value;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::{EngineInfo, ErrorKind, Format, Knob, Knobs};

    fn time(layer: &str, self_ns: u64, faults: Option<u64>) -> OperatorTime {
        OperatorTime {
            operator: ProfiledOperator {
                layer: layer.into(),
                kind: "conv".into(),
            },
            self_ns,
            minor_faults: faults,
        }
    }

    /// Writes down what the probe does with it, and sees `seen` passes.
    struct Noted {
        seen: usize,
        calls: RefCell<Vec<&'static str>>,
    }

    impl Profiler for &Noted {
        fn source(&self) -> &str {
            "a hook"
        }

        fn begin(&mut self) -> Result<()> {
            self.calls.borrow_mut().push("begin");
            Ok(())
        }

        fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
            self.calls.borrow_mut().push("pass");
            Ok(inputs.to_vec())
        }

        fn end(&mut self) -> Result<()> {
            self.calls.borrow_mut().push("end");
            Ok(())
        }

        fn finish(self: Box<Self>) -> Result<Vec<PassTimes>> {
            self.calls.borrow_mut().push("finish");
            let times = PassTimes {
                operators: vec![time("a", 5, None)],
                counts: BTreeMap::new(),
            };
            Ok(vec![times; self.seen])
        }
    }

    /// An engine whose start is what notes.
    struct Hooked;

    /// An engine without hooks.
    struct Plain;

    macro_rules! backend {
        ($name:ident, $engine:ty, $($profile:item)?) => {
            impl Backend for $name {
                const NAME: &'static str = "noted";
                const FORMATS: &'static [Format] = &[];
                type Engine = $engine;
                type Loaded = ();
                type Prepared = ();

                fn knobs() -> Vec<Knob> {
                    Vec::new()
                }

                fn start(_: &Knobs) -> Result<$engine> {
                    Err(Error::unavailable("not needed"))
                }

                fn describe(_: &$engine) -> Result<EngineInfo> {
                    Err(Error::unavailable("not needed"))
                }

                fn load(_: &$engine, _: &Model) -> Result<()> {
                    Ok(())
                }

                fn prepare((): &(), _: &[Vec<usize>]) -> Result<()> {
                    Ok(())
                }

                fn pass((): &mut (), inputs: &[Tensor]) -> Result<Tensors> {
                    Ok(inputs.to_vec())
                }

                $($profile)?
            }
        };
    }

    backend!(Plain, (),);
    backend!(
        Hooked,
        Noted,
        fn profile<'a>(engine: &'a Noted, _: &'a Model) -> Result<Box<dyn Profiler + 'a>> {
            Ok(Box::new(engine))
        }
    );

    fn model() -> Model {
        Model {
            name: "none".into(),
            format: Format::ONNX,
            path: "none".into(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        }
    }

    #[test]
    fn the_probe_runs_the_passes_and_asks_once_behind_them() -> Result<()> {
        let engine = Noted {
            seen: 2,
            calls: RefCell::default(),
        };
        let profiled = profile::<Hooked>(&engine, &model(), &[], 2)?;
        assert_eq!(
            engine.calls.take(),
            ["begin", "pass", "end", "begin", "pass", "end", "finish"]
        );
        assert_eq!(profiled.source, "a hook");
        assert_eq!(profiled.passes.len(), 2);
        assert!(profiled.passes[0].span.start_ns <= profiled.passes[1].span.start_ns);
        let error = profile::<Hooked>(&engine, &model(), &[], 3).expect_err("one is missing");
        assert_eq!(error.kind, ErrorKind::Engine);
        Ok(())
    }

    #[test]
    fn an_engine_may_tell_nothing_of_itself() {
        let profiled = profile::<Plain>(&(), &model(), &[], 1).map(drop);
        let inspected = Plain::inspect(&(), &model(), &[]).map(drop);
        let recorded = Plain::activations(&(), &model(), &[]).map(drop);
        for answer in [profiled, inspected, recorded] {
            assert_eq!(answer.map_err(|e| e.kind), Err(ErrorKind::Unsupported));
        }
    }

    #[test]
    fn operators_of_different_passes_are_told_apart_by_layer() {
        let pass = |operators| {
            let counts = BTreeMap::new();
            (Span::default(), PassTimes { operators, counts })
        };
        let profile = Profile::collect(
            "a hook".into(),
            [
                pass(vec![time("a", 5, Some(1)), time("b", 7, Some(0))]),
                pass(vec![
                    time("b", 2, None),
                    time("c", 1, None),
                    time("b", 3, None),
                ]),
            ],
        );
        let layers: Vec<&str> = profile.operators.iter().map(|o| o.layer.as_str()).collect();
        assert_eq!(layers, ["a", "b", "c"]);
        assert_eq!(profile.passes[0].self_ns, [5, 7, 0]);
        assert_eq!(profile.passes[0].minor_faults, [1, 0, 0]);
        assert_eq!(profile.passes[1].self_ns, [0, 5, 1]);
        assert!(profile.passes[1].minor_faults.is_empty());
    }
}
