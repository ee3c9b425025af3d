//! What looks on while steps run.

use crate::{compilation::CompiledStep, ops::Meter};

/// A step of a prepared model, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepName<'a> {
    /// The node of the graph, as messages name it.
    pub layer: &'a str,
    /// The kind of operator, such as `int-conv-1x1`.
    pub kind: &'static str,
}

impl CompiledStep {
    pub(crate) fn name(&self) -> StepName<'_> {
        StepName {
            layer: &self.label,
            kind: self.operator.name(),
        }
    }
}

/// Looks on while the steps of a model run: see [`Prepared::observed_run`](crate::Prepared::observed_run). Without
/// an observer, which is `()`, nothing is left of it.
pub trait Observer {
    /// What looks on at the parts of a chain.
    type Meter: Meter;

    /// Calls `run`, which is a step.
    fn step<T>(&mut self, step: StepName<'_>, run: impl FnOnce() -> T) -> T;

    /// Calls `run`, which is several steps that take turns, with what is to look on at each of them.
    fn chain<'a, T>(
        &mut self,
        steps: impl ExactSizeIterator<Item = StepName<'a>> + Clone,
        run: impl FnOnce(&Self::Meter) -> T,
    ) -> T;
}

impl Observer for () {
    type Meter = ();

    fn step<T>(&mut self, _: StepName<'_>, run: impl FnOnce() -> T) -> T {
        run()
    }

    fn chain<'a, T>(
        &mut self,
        _: impl ExactSizeIterator<Item = StepName<'a>> + Clone,
        run: impl FnOnce(&()) -> T,
    ) -> T {
        run(&())
    }
}
