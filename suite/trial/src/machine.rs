//! What is known of the machine that measured, kept beside every record.

use std::{collections::BTreeMap, process::Command};

use serde::{Deserialize, Serialize};
use sysinfo::System;

/// Now, in UTC, as every record tells when it was begun.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The circumstances of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub cpu: String,
    pub cores: usize,
    /// The instruction sets that inference kernels choose by.
    pub cpu_flags: Vec<String>,
    pub memory_mib: u64,
    pub os: String,
    pub kernel: String,
    pub rustc: String,
    pub governor: Option<String>,
    /// Variables that change how engines run.
    pub environment: BTreeMap<String, String>,
}

const FLAGS: [&str; 14] = [
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
];

const ENVIRONMENT: [&str; 12] = [
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "RAYON_",
    "MALLOC_",
    "LD_PRELOAD",
    "ATEN_",
    "DNNL_",
    "ONEDNN_",
    "ORT_",
    "GLIBC_TUNABLES",
];

impl Machine {
    pub fn observe() -> Self {
        let mut system = System::new();
        system.refresh_memory();
        system.refresh_cpu_all();
        let cpu = system.cpus().first().map(|c| c.brand().trim().to_owned());
        Self {
            cpu: cpu
                .filter(|c| !c.is_empty())
                .unwrap_or_else(|| "unknown CPU".into()),
            cores: all_threads(),
            cpu_flags: cpu_flags(),
            memory_mib: system.total_memory() >> 20,
            os: System::long_os_version().unwrap_or_else(|| std::env::consts::OS.into()),
            kernel: System::kernel_version().unwrap_or_else(|| "unknown".into()),
            rustc: first_line(Command::new("rustc").arg("--version"))
                .unwrap_or_else(|| "unknown".into()),
            governor: std::fs::read_to_string(
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            )
            .ok()
            .map(|text| text.trim().into()),
            environment: std::env::vars()
                .filter(|(name, _)| ENVIRONMENT.iter().any(|prefix| name.starts_with(prefix)))
                // A path tells where a user keeps things, not how an engine runs.
                .filter(|(_, value)| !value.contains(std::path::MAIN_SEPARATOR))
                .collect(),
        }
    }

    /// The name for the folder of a record: `amd-epyc-9354-2-cores`.
    pub fn slug(&self) -> String {
        let words = format!("{} {} cores", self.cpu, self.cores).to_lowercase();
        let kept: String = words
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' })
            .collect();
        kept.split_whitespace().collect::<Vec<_>>().join("-")
    }
}

/// Threads that this process may use.
pub fn all_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The one-minute load average; 0 where the system keeps none.
pub fn load_average() -> f64 {
    System::load_average().one
}

fn cpu_flags() -> Vec<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"))
        .unwrap_or_default();
    let present: Vec<&str> = line.split_whitespace().collect();
    FLAGS
        .iter()
        .filter(|flag| present.contains(flag))
        .map(ToString::to_string)
        .collect()
}

pub fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned())
}
