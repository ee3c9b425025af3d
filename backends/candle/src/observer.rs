//! What looks on while steps run.

use firstpass_probe::{OperatorTime, ProfiledOperator, monotonic_ns};
use nix::sys::resource::{UsageWho, getrusage};

use crate::prepared::Compiled;

/// Without an observer, which is `()`, nothing is left of it.
pub(crate) trait Observer {
    fn step<T>(&mut self, step: &Compiled, run: impl FnOnce() -> T) -> T;
}

impl Observer for () {
    fn step<T>(&mut self, _: &Compiled, run: impl FnOnce() -> T) -> T {
        run()
    }
}

impl Observer for Vec<OperatorTime> {
    fn step<T>(&mut self, step: &Compiled, run: impl FnOnce() -> T) -> T {
        let faults = minor_faults();
        let began = monotonic_ns();
        let result = run();
        let self_ns = monotonic_ns() - began;
        self.push(OperatorTime {
            operator: ProfiledOperator {
                layer: step.label().into(),
                kind: step.name().into(),
            },
            self_ns,
            minor_faults: minor_faults()
                .zip(faults)
                .map(|(after, before)| after.saturating_sub(before)),
        });
        result
    }
}

fn minor_faults() -> Option<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
    u64::try_from(usage.minor_page_faults()).ok()
}
