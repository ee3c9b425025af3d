//! What the rest of the machine did while one process ran.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};
use serde::{Deserialize, Serialize};
use sysinfo::Components;

use crate::{machine::load_average, measuring};

/// The circumstances of one process. What the system does not tell is `None`.
///
/// CPU times are over all CPUs of the machine, and the kernel counts them in ticks of usually
/// 10 ms: small ones are as good as 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemCounters {
    /// One-minute load average of the machine just before.
    pub load_average: f64,
    /// From just before the process to just after it, in milliseconds.
    pub wall_ms: f64,
    /// CPU time of everything else, in milliseconds: what the CPUs worked, less the process itself
    /// and less this harness.
    pub others_cpu_ms: Option<f64>,
    /// Time that the hypervisor gave to others while a CPU of this machine had work, in
    /// milliseconds. Always 0 where there is none, or where it does not tell.
    pub steal_ms: Option<f64>,
    /// Time that CPUs were idle while something waited for a disk, in milliseconds.
    pub iowait_ms: Option<f64>,
    /// The hottest sensor just after, in degrees Celsius.
    pub temperature_c: Option<f64>,
    /// The mean over the clocks of all CPUs just after, in MHz. A virtual machine mostly tells the
    /// nominal one.
    pub frequency_mhz: Option<f64>,
    /// Other commands of Firstpass that measured on this machine, just before or just after.
    #[serde(default, skip_serializing_if = "is_none")]
    pub other_measurements: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_none(number: &usize) -> bool {
    *number == 0
}

/// What was counted before the process.
#[derive(Debug)]
pub struct Sample {
    other_measurements: usize,
    load_average: f64,
    began: Instant,
    own_cpu: Option<Duration>,
    cpus: Option<CpuTimes>,
}

/// What all CPUs have done since the machine was started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    iowait: u64,
    steal: u64,
}

impl SystemCounters {
    /// To be called just before a process is spawned.
    pub fn before() -> Sample {
        Sample {
            other_measurements: measuring::others().len(),
            load_average: load_average(),
            began: Instant::now(),
            own_cpu: own_cpu(),
            cpus: CpuTimes::now(),
        }
    }
}

impl Sample {
    /// To be called once the process has ended and was waited for: its CPU time is known from then
    /// on. Sensors are read only here, as some are slow and none may hold up the process.
    pub fn after(self) -> SystemCounters {
        let wall = self.began.elapsed();
        let own = difference(own_cpu(), self.own_cpu, Duration::saturating_sub);
        let cpus = difference(CpuTimes::now(), self.cpus, CpuTimes::since);
        SystemCounters {
            load_average: self.load_average,
            wall_ms: milliseconds(wall),
            others_cpu_ms: difference(cpus, own, |cpus, own| {
                milliseconds(ticks(cpus.busy).saturating_sub(own))
            }),
            steal_ms: cpus.map(|c| milliseconds(ticks(c.steal))),
            iowait_ms: cpus.map(|c| milliseconds(ticks(c.iowait))),
            temperature_c: temperature_c(),
            frequency_mhz: frequency_mhz(),
            other_measurements: measuring::others().len().max(self.other_measurements),
        }
    }
}

impl CpuTimes {
    fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// Reads the first line of `/proc/stat`. What guests of this machine used is part of `user`
    /// and `nice` already; kernels before 2.6.11 have no `steal`.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        let [user, nice, system, _idle, iowait, irq, softirq, rest @ ..] = &ticks[..] else {
            return None;
        };
        Some(Self {
            busy: user + nice + system + irq + softirq,
            iowait: *iowait,
            steal: rest.first().copied().unwrap_or(0),
        })
    }

    /// The kernel does not promise that its counters never go back.
    fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            iowait: self.iowait.saturating_sub(before.iowait),
            steal: self.steal.saturating_sub(before.steal),
        }
    }
}

/// CPU time of this process and of its children that were waited for.
fn own_cpu() -> Option<Duration> {
    let mut own = Duration::ZERO;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).ok()?;
        own += duration(usage.user_time()) + duration(usage.system_time());
    }
    Some(own)
}

fn duration(time: TimeVal) -> Duration {
    Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0))
}

fn temperature_c() -> Option<f64> {
    Components::new_with_refreshed_list()
        .iter()
        .filter_map(|sensor| sensor.temperature())
        .filter(|degrees| degrees.is_finite())
        .map(f64::from)
        .max_by(f64::total_cmp)
}

/// What the frequency driver says, or else what `/proc/cpuinfo` says.
fn frequency_mhz() -> Option<f64> {
    let of_driver = driver_frequencies(Path::new("/sys/devices/system/cpu/cpufreq"));
    mean(&of_driver).or_else(|| {
        let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        mean(&listed_frequencies(&info))
    })
}

/// In MHz, one for each set of CPUs that share a clock.
fn driver_frequencies(folder: &Path) -> Vec<f64> {
    let Ok(policies) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    policies
        .filter_map(|policy| {
            let file = policy.ok()?.path().join("scaling_cur_freq");
            let khz: f64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
            Some(khz / 1e3)
        })
        .collect()
}

/// In MHz, one for each CPU.
fn listed_frequencies(cpuinfo: &str) -> Vec<f64> {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("cpu MHz"))
        .filter_map(|line| line.split(':').nth(1)?.trim().parse().ok())
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "a number of CPUs")]
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn difference<A, B, C>(
    after: Option<A>,
    before: Option<B>,
    less: impl FnOnce(A, B) -> C,
) -> Option<C> {
    Some(less(after?, before?))
}

/// To the microsecond: more would only make records longer.
#[expect(clippy::cast_precision_loss, reason = "no process runs for 2^53 µs")]
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

fn ticks(count: u64) -> Duration {
    Duration::from_micros(count.saturating_mul(1_000_000) / rustix::param::clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Result;

    const STAT: &str = "\
cpu  100 20 30 4000 50 6 7 8 90 10
cpu0 50 10 15 2000 25 3 3 4 45 5
intr 12345 0 1
ctxt 6789
";

    #[test]
    fn busy_time_is_all_but_idle_waiting_and_stolen() {
        assert_eq!(
            CpuTimes::parse(STAT),
            Some(CpuTimes {
                busy: 163,
                iowait: 50,
                steal: 8
            })
        );
    }

    #[test]
    fn an_old_kernel_tells_no_steal_and_another_system_nothing() {
        let old = CpuTimes::parse("cpu  1 2 3 4 5 6 7\n");
        assert_eq!(old.map(|times| (times.busy, times.steal)), Some((19, 0)));
        assert_eq!(CpuTimes::parse("cpu  1 2 x 4 5 6 7\n"), None);
        assert_eq!(CpuTimes::parse(""), None);
    }

    #[test]
    fn counters_that_go_back_count_nothing() {
        let times = |busy, iowait| CpuTimes {
            busy,
            iowait,
            steal: 0,
        };
        assert_eq!(times(10, 3).since(times(4, 5)), times(6, 0));
    }

    #[test]
    fn frequencies_are_read_from_either_source() -> Result<()> {
        let dir = tempfile::tempdir()?;
        for (policy, khz) in [("policy0", "2400000\n"), ("policy1", "1200000\n")] {
            std::fs::create_dir(dir.path().join(policy))?;
            std::fs::write(dir.path().join(policy).join("scaling_cur_freq"), khz)?;
        }
        assert_eq!(mean(&driver_frequencies(dir.path())), Some(1800.0));
        assert_eq!(mean(&driver_frequencies(&dir.path().join("none"))), None);
        let info = "processor\t: 0\ncpu MHz\t\t: 2445.5\n\nprocessor\t: 1\ncpu MHz\t\t: 2446.5\n";
        assert_eq!(mean(&listed_frequencies(info)), Some(2446.0));
        Ok(())
    }

    #[test]
    fn a_child_that_was_waited_for_is_ones_own() -> Result<()> {
        let before = own_cpu();
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh")
            .args(["-c", script])
            .status()?;
        assert!(status.success());
        assert!(own_cpu() > before);
        Ok(())
    }

    #[test]
    fn nothing_is_negative_and_the_whole_can_be_kept() -> Result<()> {
        let system_counters = SystemCounters::before().after();
        assert!(system_counters.wall_ms >= 0.0);
        assert!(system_counters.others_cpu_ms.is_none_or(|ms| ms >= 0.0));
        let json = serde_json::to_string(&system_counters)?;
        let read: SystemCounters = serde_json::from_str(&json)?;
        assert_eq!(serde_json::to_string(&read)?, json);
        #[cfg(target_os = "linux")]
        assert!(system_counters.others_cpu_ms.is_some() && system_counters.steal_ms.is_some());
        Ok(())
    }
}
