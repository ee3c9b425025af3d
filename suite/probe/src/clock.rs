//! The one clock, and what the kernel counts for this process.

use nix::{
    sys::{
        resource::{Usage, UsageWho, getrusage},
        time::{TimeVal, TimeValLike},
    },
    time::{ClockId, clock_gettime},
};

use crate::{Result, Span, reference::reference_ns};

/// Nanoseconds of the system-wide monotonic clock: stamps of the harness and of its probes lie on
/// one axis, so that the time from spawn to `main` can be told.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

fn nanoseconds(clock: ClockId) -> u64 {
    // Both clocks used here exist on every Unix that this crate compiles for.
    clock_gettime(clock).map_or(0, |t| {
        u64::try_from(t.tv_sec()).unwrap_or(0) * 1_000_000_000
            + u64::try_from(t.tv_nsec()).unwrap_or(0)
    })
}

/// Runs `work` and observes it. The reference work and the reading of the kernel's counters lie
/// outside the timed span.
///
/// # Errors
/// As `work`, and where the kernel does not tell its counters.
pub fn observe<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Span)> {
    let reference_ns = reference_ns();
    let before = Counters::now()?;
    let cpu_before = nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let start_ns = monotonic_ns();
    let value = work()?;
    let end_ns = monotonic_ns();
    let cpu_after = nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    let after = Counters::now()?;
    let span = Span {
        start_ns,
        wall_ns: end_ns - start_ns,
        reference_ns,
        // Finer than the microseconds of the counters.
        cpu_ns: cpu_after.saturating_sub(cpu_before),
        ..after.since(&before)
    };
    Ok((value, span))
}

/// Observes short pieces of work that follow each other at once. One reading of the kernel's counters is the end
/// of one and the beginning of the next, and the reference work is theirs together: each costs the next a system
/// call.
pub(crate) struct ShortWork {
    counters: Counters,
    reference_ns: u64,
}

impl ShortWork {
    /// # Errors
    /// Fails where the kernel does not tell its counters.
    pub(crate) fn begin() -> Result<Self> {
        let reference_ns = reference_ns();
        Ok(Self {
            counters: Counters::now()?,
            reference_ns,
        })
    }

    /// [`observe`]; CPU time is in whole microseconds.
    ///
    /// # Errors
    /// As [`observe`].
    pub(crate) fn observe<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<(T, Span)> {
        let start_ns = monotonic_ns();
        let value = work()?;
        let end_ns = monotonic_ns();
        let after = Counters::now()?;
        let span = Span {
            start_ns,
            wall_ns: end_ns - start_ns,
            reference_ns: self.reference_ns,
            ..after.since(&self.counters)
        };
        self.counters = after;
        Ok((value, span))
    }
}

/// What the kernel has counted for this process so far.
struct Counters(Usage);

impl Counters {
    fn now() -> Result<Self> {
        Ok(Self(getrusage(UsageWho::RUSAGE_SELF)?))
    }

    /// What was counted in between, without times on the clock.
    fn since(&self, before: &Self) -> Span {
        let (Self(after), Self(before)) = (self, before);
        let count = |after: i64, before: i64| u64::try_from(after - before).unwrap_or(0);
        let ns = |time: TimeVal| time.num_nanoseconds();
        Span {
            cpu_ns: count(
                ns(after.user_time() + after.system_time()),
                ns(before.user_time() + before.system_time()),
            ),
            minor_faults: count(after.minor_page_faults(), before.minor_page_faults()),
            major_faults: count(after.major_page_faults(), before.major_page_faults()),
            voluntary_switches: count(
                after.voluntary_context_switches(),
                before.voluntary_context_switches(),
            ),
            involuntary_switches: count(
                after.involuntary_context_switches(),
                before.involuntary_context_switches(),
            ),
            ..Span::default()
        }
    }
}

/// The memory of its own that this process has resident, in KiB: without what is mapped from files. `None` where
/// the system does not tell.
pub(crate) fn own_memory_kib() -> Option<u64> {
    status_kib("RssAnon:")
}

/// A figure of Linux for this process.
fn status_kib(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The most memory that this process has had resident, in KiB.
pub(crate) fn peak_memory_kib() -> Result<u64> {
    // Linux counts in `ru_maxrss` what the parent had when it forked, but not in `VmHWM`.
    if let Some(kib) = status_kib("VmHWM:") {
        return Ok(kib);
    }
    let peak = u64::try_from(getrusage(UsageWho::RUSAGE_SELF)?.max_rss()).unwrap_or(0);
    // macOS counts in bytes.
    Ok(if cfg!(target_os = "macos") {
        peak / 1024
    } else {
        peak
    })
}
