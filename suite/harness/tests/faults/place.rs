//! Where a fault is tried.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use firstpass_trial::workspace::Workspace;
use nix::sys::signal::Signal;
use tempfile::TempDir;

const FIRSTPASS: &str = env!("CARGO_BIN_EXE_firstpass");

/// Longer than any command here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A folder with all that a command of a user reads and writes.
pub struct Place {
    folder: TempDir,
    root: PathBuf,
    /// The one engine that measures.
    pub engine: String,
}

/// How a command ended, and all that it said.
pub struct Ended {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub said: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            said: text(&output.stdout) + &text(&output.stderr),
        }
    }
}

impl Place {
    pub fn new(workspace: &Workspace, engine: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        for name in ["tmp", "cache", "config"] {
            fs::create_dir(folder.path().join(name))?;
        }
        Ok(Self {
            folder,
            root: workspace.root().to_owned(),
            engine: engine.to_owned(),
        })
    }

    /// A path in the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where reports go.
    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// Writes a file in the folder; returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content)?;
        Ok(path)
    }

    /// A file of the project.
    pub fn of_project(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The command with these arguments.
    pub fn firstpass<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.command(FIRSTPASS.as_ref());
        command.args(arguments);
        command
    }

    /// A script of a shell, whose `$0` is the command.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = self.command("/bin/sh".as_ref());
        command.args(["-c", script, FIRSTPASS]);
        command
    }

    fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("TMPDIR", self.path("tmp"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            // Tests are run by cargo, and its variables would lead elsewhere.
            .env("CARGO_MANIFEST_DIR", self.root.join("suite/harness"))
            .stdin(Stdio::null());
        command
    }

    /// A short check of a model, on the engine of this place.
    pub fn check(&self, model: &Path) -> Command {
        self.check_into(&self.out(), model)
    }

    /// The same into another folder.
    pub fn check_into(&self, out: &Path, model: &Path) -> Command {
        let mut command = self.firstpass(["check", "--quick", "--threads", "1", "--budget", "1s"]);
        command
            .args(["--engine", &self.engine])
            .arg("--out")
            .arg(out)
            .arg(model);
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &mut Command) -> Result<Ended> {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(child.spawn()?)
    }

    /// A check of a model file of these bytes.
    pub fn check_of(&self, bytes: &[u8]) -> Result<Ended> {
        let model = self.write("model.onnx", bytes)?;
        self.run(&mut self.check(&model))
    }

    /// A copy of a small record.
    pub fn example(&self) -> Result<PathBuf> {
        let source = self.of_project("suite/firstpass/tests/example/record");
        for file in ["run.json", "alpha.jsonl", "beta.jsonl"] {
            self.write(&format!("record/{file}"), fs::read(source.join(file))?)?;
        }
        Ok(self.path("record"))
    }

    /// The folder of the one record that was made, or is being made.
    pub fn record(&self) -> Result<PathBuf> {
        let records: Vec<PathBuf> = fs::read_dir(self.out().join("records"))
            .context("there are no records")?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        let is_hidden = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with('.')
        };
        let mut records = records.iter().filter(|path| !is_hidden(path));
        match (records.next(), records.next()) {
            (Some(record), None) => Ok(record.clone()),
            (None, _) => bail!("there is no record"),
            _ => bail!("there are several records"),
        }
    }

    /// Starts a check that takes its time, and waits until it has observed something.
    pub fn measuring(&self, model: &Path) -> Result<Child> {
        self.measuring_as(FIRSTPASS.as_ref(), &[], model)
    }

    /// The same, ignoring a signal: as a user of `nohup` starts it, or a shell in the background.
    pub fn measuring_without(&self, signal: Signal, model: &Path) -> Result<Child> {
        let ignored = format!(
            "--ignore-signal={}",
            signal.as_str().trim_start_matches("SIG")
        );
        self.measuring_as("env".as_ref(), &[&ignored, FIRSTPASS], model)
    }

    fn measuring_as(&self, program: &OsStr, before: &[&str], model: &Path) -> Result<Child> {
        let mut command = self.command(program);
        command
            .args(before)
            // A cell is known after a few processes; four take their time.
            .args([
                "check",
                "--quick",
                "--threads",
                "1,2,3,4",
                "--budget",
                "100s",
            ])
            .args(["--engine", &self.engine])
            .arg("--out")
            .arg(self.out())
            .arg(model)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(self.path("stderr"))?);
        let mut child = command.spawn()?;
        let began = Instant::now();
        while !self.has_observed() {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(self.path("stderr"))?;
                bail!("it ended with {status} before anything was measured:\n{said}");
            }
            ensure!(began.elapsed() < PATIENCE, "nothing was measured");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(child)
    }

    fn has_observed(&self) -> bool {
        let Ok(record) = self.record() else {
            return false;
        };
        let lines = fs::read_to_string(record.join(format!("{}.jsonl", self.engine)));
        // Agreement, and a process or two that was timed.
        lines.is_ok_and(|text| text.matches("\"record\":\"observation\"").count() > 2)
    }

    /// Waits for the end of what [`Place::measuring`] has started.
    pub fn end(&self, child: Child) -> Result<Ended> {
        let mut ended = finish(child)?;
        ended.said += &fs::read_to_string(self.path("stderr"))?;
        Ok(ended)
    }

    /// What is in the folder of temporary files.
    pub fn temporary_files(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.path("tmp"))?;
        entries.map(|entry| Ok(entry?.path())).collect()
    }

    /// Length and date of the pages of the project, which no fault may touch.
    pub fn project(&self) -> Result<BTreeMap<PathBuf, (u64, SystemTime)>> {
        let folders = ["", "reports", "reports/records"].map(|name| self.root.join(name));
        let mut found = BTreeMap::new();
        for folder in folders {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                if metadata.is_file() {
                    found.insert(entry.path(), (metadata.len(), metadata.modified()?));
                }
            }
        }
        Ok(found)
    }
}

/// Waits for the end of a command; one that does not end is killed.
pub fn finish(mut child: Child) -> Result<Ended> {
    let pid = child.id();
    let (done, waits) = std::sync::mpsc::channel();
    // What it says is read meanwhile, so that no full pipe holds it up.
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.map(|mut s| s.read_to_end(&mut bytes)).transpose()?;
            std::io::Result::Ok(bytes)
        })
    };
    let stdout = read(stdout.map(|s| Box::new(s) as Box<_>));
    let stderr = read(stderr.map(|s| Box::new(s) as Box<_>));
    std::thread::spawn(move || done.send(child.wait()));
    let status = match waits.recv_timeout(PATIENCE) {
        Ok(status) => status?,
        Err(_) => {
            crate::signals::kill(pid)?;
            bail!("it did not end");
        }
    };
    let joined = |reader: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        reader.join().unwrap_or_else(|_| Ok(Vec::new()))
    };
    Ok(Output {
        status,
        stdout: joined(stdout)?,
        stderr: joined(stderr)?,
    }
    .into())
}
