//! A clock around every step of the executor, for a profile.

use std::sync::atomic::{AtomicU64, Ordering};

use firstpass_probe::{OperatorTime, ProfiledOperator, monotonic_ns};
use nix::sys::resource::{UsageWho, getrusage};

use firstpass_executor::{Meter, Observer, StepName};

/// The time of every step of a pass.
pub struct Clock(pub Vec<OperatorTime>);

impl Observer for Clock {
    type Meter = StepClocks;

    fn step<T>(&mut self, step: StepName<'_>, run: impl FnOnce() -> T) -> T {
        let faults = minor_faults(UsageWho::RUSAGE_SELF);
        let began = monotonic_ns();
        let result = run();
        let self_ns = monotonic_ns() - began;
        let faults = minor_faults(UsageWho::RUSAGE_SELF).zip(faults);
        self.0.push(OperatorTime {
            operator: operator(step),
            self_ns,
            minor_faults: faults.map(|(after, before)| after.saturating_sub(before)),
        });
        result
    }

    /// The steps take turns, on several threads side by side: each has the share of the time of all that
    /// it has of the times that were measured on all threads.
    fn chain<'a, T>(
        &mut self,
        steps: impl ExactSizeIterator<Item = StepName<'a>> + Clone,
        run: impl FnOnce(&StepClocks) -> T,
    ) -> T {
        let clocks = StepClocks(steps.clone().map(|_| StepClock::default()).collect());
        let began = monotonic_ns();
        let result = run(&clocks);
        let wall_ns = monotonic_ns() - began;
        let times = clocks
            .0
            .iter()
            .map(|clock| clock.ns.load(Ordering::Relaxed));
        let sum: u64 = times.clone().sum();
        for ((step, clock), ns) in steps.zip(&clocks.0).zip(times) {
            self.0.push(OperatorTime {
                operator: operator(step),
                self_ns: (wall_ns as f64 * ns as f64 / sum.max(1) as f64) as u64,
                minor_faults: Some(clock.minor_faults.load(Ordering::Relaxed)),
            });
        }
        result
    }
}

fn operator(step: StepName<'_>) -> ProfiledOperator {
    ProfiledOperator {
        layer: step.layer.to_owned(),
        kind: step.kind.into(),
    }
}

/// Time and page faults of each step of a chain, over all threads.
pub struct StepClocks(Vec<StepClock>);

#[derive(Default)]
struct StepClock {
    ns: AtomicU64,
    minor_faults: AtomicU64,
}

impl Meter for StepClocks {
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
