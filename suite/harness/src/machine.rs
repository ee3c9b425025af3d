//! What is known of the machine and of the code that measured, kept beside every record.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sysinfo::System;

use crate::workspace::Workspace;

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

/// Which state of the code measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// The commit, with `+` where the working tree differed from it.
    pub commit: Option<String>,
    /// SHA-256 over all that a measured process is built from: see [`Code::measured_files`].
    pub measured_sha256: String,
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

impl Code {
    /// # Errors
    /// Fails where a source file cannot be read.
    pub fn observe(workspace: &Workspace) -> Result<Self> {
        let git = |arguments: &[&str]| {
            first_line(
                Command::new("git")
                    .current_dir(workspace.root())
                    .args(arguments),
            )
        };
        let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
        let commit = git(&["rev-parse", "--short=12", "HEAD"])
            .map(|commit| if dirty { commit + "+" } else { commit });
        let mut hash = Sha256::new();
        for file in Self::measured_files(workspace)? {
            let relative = file.strip_prefix(workspace.root()).unwrap_or(&file);
            hash.update(relative.to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update(
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?,
            );
            hash.update([0]);
        }
        let measured_sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self {
            commit,
            measured_sha256,
        })
    }

    /// The sources of backends and probe, the lock file, and the list of fixtures: a record is of
    /// the code as it stands as long as none of these has changed.
    ///
    /// # Errors
    /// Fails where a folder cannot be listed.
    pub fn measured_files(workspace: &Workspace) -> Result<Vec<PathBuf>> {
        let root = workspace.root();
        let mut files = vec![
            root.join("Cargo.lock"),
            root.join("Cargo.toml"),
            root.join("fixtures/manifest.toml"),
        ];
        collect(&root.join("suite/probe/src"), &mut files)?;
        for backend in workspace.backends()? {
            files.push(backend.dir.join("Cargo.toml"));
            let optional = ["build.rs", "native.toml"].map(|name| backend.dir.join(name));
            files.extend(optional.into_iter().filter(|path| path.is_file()));
            for folder in ["src", "shim"] {
                collect(&backend.dir.join(folder), &mut files)?;
            }
        }
        files.sort();
        Ok(files)
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

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
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

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(|line| line.trim().to_owned())
}
