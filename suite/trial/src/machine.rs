//! What is known of the machine that measured, kept beside every record.

use std::{collections::BTreeMap, process::Command};

use firstpass_probe::confinement;
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
    /// What probes could give up here before a model file was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confinement: Option<String>,
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

/// The variables that change how engines run, each by its whole name: another one of the same beginning may
/// hold a secret.
const ENVIRONMENT: &[&str] = &[
    "ATEN_CPU_CAPABILITY",
    "DNNL_CPU_ISA_HINTS",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "DNNL_PRIMITIVE_CACHE_CAPACITY",
    "DNNL_VERBOSE",
    "GLIBC_TUNABLES",
    "GOMP_CPU_AFFINITY",
    "GOMP_SPINCOUNT",
    "GOMP_STACKSIZE",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "KMP_HW_SUBSET",
    "KMP_LIBRARY",
    "KMP_STACKSIZE",
    "LD_BIND_NOW",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_ARENA_TEST",
    "MALLOC_CHECK_",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_PERTURB_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MKL_CBWR",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "MKL_THREADING_LAYER",
    "MKL_VERBOSE",
    "OMP_DYNAMIC",
    "OMP_MAX_ACTIVE_LEVELS",
    "OMP_NESTED",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "OMP_SCHEDULE",
    "OMP_STACKSIZE",
    "OMP_THREAD_LIMIT",
    "OMP_WAIT_POLICY",
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    "ONEDNN_VERBOSE",
    "RAYON_NUM_THREADS",
    "RAYON_RS_NUM_CPUS",
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
            environment: environment(),
            confinement: Some(confinement().to_string()),
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

fn environment() -> BTreeMap<String, String> {
    let set = ENVIRONMENT.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((
            (*name).to_owned(),
            without_folders(&value.to_string_lossy()),
        ))
    });
    set.collect()
}

/// The value with the names of files in place of their paths: a folder tells where a user keeps things, not
/// how an engine runs.
fn without_folders(value: &str) -> String {
    let names = value.split_inclusive([':', ' ', ',', '=']).map(|part| {
        let name = part.rsplit(std::path::MAIN_SEPARATOR).next();
        name.unwrap_or(part)
    });
    names.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_known_by_their_whole_names() {
        // Names that end like this belong to settings of many values, or to secrets.
        let is_whole = |name: &&str| !name.ends_with('_') || name.starts_with("MALLOC_");
        assert!(ENVIRONMENT.iter().all(is_whole));
        assert!(!ENVIRONMENT.contains(&"ORT_API_TOKEN"));
    }

    #[test]
    fn folders_are_left_out_of_values() {
        for (value, kept) in [
            ("4", "4"),
            ("/usr/lib/libjemalloc.so.2", "libjemalloc.so.2"),
            ("/home/me/a.so:/opt/b.so", "a.so:b.so"),
            ("granularity=fine,compact", "granularity=fine,compact"),
        ] {
            assert_eq!(without_folders(value), kept);
        }
    }
}
