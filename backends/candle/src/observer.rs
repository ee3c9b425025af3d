//! What looks on while steps run.

use std::sync::atomic::{AtomicU64, Ordering};

use firstpass_probe::{OperatorTime, ProfiledOperator, monotonic_ns};
use nix::sys::resource::{UsageWho, getrusage};

use crate::{compilation::CompiledStep, ops::Meter};

/// Without an observer, which is `()`, nothing is left of it.
pub(crate) trait Observer {
    fn step<T>(&mut self, step: &CompiledStep, run: impl FnOnce() -> T) -> T;

    /// Runs steps together, with what is to look on at each.
    fn chain<T>(&mut self, steps: &[CompiledStep], run: impl FnOnce(&Self::Meter) -> T) -> T;

    type Meter: Meter;
}

impl Observer for () {
    type Meter = ();

    fn step<T>(&mut self, _: &CompiledStep, run: impl FnOnce() -> T) -> T {
        run()
    }

    fn chain<T>(&mut self, _: &[CompiledStep], run: impl FnOnce(&()) -> T) -> T {
        run(&())
    }
}

impl Observer for Vec<OperatorTime> {
    type Meter = Clocks;

    fn step<T>(&mut self, step: &CompiledStep, run: impl FnOnce() -> T) -> T {
        let faults = minor_faults(UsageWho::RUSAGE_SELF);
        let began = monotonic_ns();
        let result = run();
        let self_ns = monotonic_ns() - began;
        let faults = minor_faults(UsageWho::RUSAGE_SELF).zip(faults);
        self.push(OperatorTime {
            operator: operator(step),
            self_ns,
            minor_faults: faults.map(|(after, before)| after.saturating_sub(before)),
        });
        result
    }

    /// The steps take turns, on several threads side by side: each has the share of the time of all that
    /// it has of the times that were measured on all threads.
    fn chain<T>(&mut self, steps: &[CompiledStep], run: impl FnOnce(&Clocks) -> T) -> T {
        let clocks = Clocks(steps.iter().map(|_| Clock::default()).collect());
        let began = monotonic_ns();
        let result = run(&clocks);
        let wall_ns = monotonic_ns() - began;
        let times = clocks
            .0
            .iter()
            .map(|clock| clock.ns.load(Ordering::Relaxed));
        let sum: u64 = times.clone().sum();
        for ((step, clock), ns) in steps.iter().zip(&clocks.0).zip(times) {
            self.push(OperatorTime {
                operator: operator(step),
                self_ns: (wall_ns as f64 * ns as f64 / sum.max(1) as f64) as u64,
                minor_faults: Some(clock.minor_faults.load(Ordering::Relaxed)),
            });
        }
        result
    }
}

fn operator(step: &CompiledStep) -> ProfiledOperator {
    ProfiledOperator {
        layer: step.label.clone(),
        kind: step.operator.name().into(),
    }
}

/// Time and page faults of each step of a chain, over all threads.
pub(crate) struct Clocks(Vec<Clock>);

#[derive(Default)]
struct Clock {
    ns: AtomicU64,
    minor_faults: AtomicU64,
}

impl Meter for Clocks {
    fn measure(&self, number: usize, work: impl FnOnce()) {
        let faults = minor_faults(OF_THREAD);
        let began = monotonic_ns();
        work();
        let clock = &self.0[number];
        clock
            .ns
            .fetch_add(monotonic_ns() - began, Ordering::Relaxed);
        if let (Some(after), Some(before)) = (minor_faults(OF_THREAD), faults) {
            let faults = after.saturating_sub(before);
            clock.minor_faults.fetch_add(faults, Ordering::Relaxed);
        }
    }
}

#[cfg(target_os = "linux")]
const OF_THREAD: UsageWho = UsageWho::RUSAGE_THREAD;
/// Other systems count for the whole process, which is more than the thread's where there are several.
#[cfg(not(target_os = "linux"))]
const OF_THREAD: UsageWho = UsageWho::RUSAGE_SELF;

fn minor_faults(of: UsageWho) -> Option<u64> {
    let usage = getrusage(of).ok()?;
    u64::try_from(usage.minor_page_faults()).ok()
}
