//! What was measured.

use std::{
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
};

use comfy_table::{Table, presets::NOTHING};

use crate::{
    agreement::{Agreement, Reference},
    error::{Error, Result},
    figure::{Estimate, Ratio, Time, digits},
    harness,
};

/// What was measured of one model: figures of each engine, and how its outputs compare.
///
/// The `assert_…` methods panic with a message to be read, and the `check_…` methods return the same
/// message as an error. Both judge every engine that ran the model.
///
/// ```
/// use std::time::Duration;
/// use firstpass::{ErrorKind, Reference, Summary};
///
/// # fn main() -> firstpass::Result<()> {
/// let summary = Summary::from_record("tests/example/record")?;
/// println!("{summary}");
///
/// let alpha = summary.engine("alpha")?;
/// assert!(alpha.first_pass()?.median_ms() > 4.0);
/// assert!(alpha.first_pass_over_steady()?.median() > 5.0);
/// assert!(alpha.steady()?.median() < Duration::from_millis(2));
///
/// summary.assert_first_pass_below(20.0);
/// summary.assert_steady_below(Duration::from_millis(3));
/// summary.assert_cold_start_below(Duration::from_millis(100));
/// let broken = summary.check_first_pass_below(3.0).unwrap_err();
/// assert_eq!(broken.kind(), ErrorKind::AboveLimit);
///
/// assert_eq!(summary.reference(), &Reference::Golden("golden.safetensors".into()));
/// summary.assert_agreement();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Summary {
    pub(crate) model: String,
    pub(crate) engines: Vec<Engine>,
    /// Engines that did not run the model, with the reasons.
    pub(crate) failures: Vec<(String, String)>,
    pub(crate) reference: Reference,
    /// Files of the model that are no longer those that gave the golden outputs.
    pub(crate) changed: Vec<PathBuf>,
    /// How golden outputs are kept anew.
    pub(crate) renewal: Option<String>,
    /// What the reader should know besides the figures.
    pub(crate) notes: Vec<String>,
    pub(crate) record: PathBuf,
    /// The same folder in as few words as lead to it.
    pub(crate) shown_record: String,
}

/// One engine with one number of threads.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) name: String,
    pub(crate) threads: usize,
    pub(crate) first_pass: Option<Estimate>,
    pub(crate) second_pass: Option<Estimate>,
    pub(crate) steady: Option<Estimate>,
    pub(crate) first_pass_over_steady: Option<Estimate>,
    pub(crate) cold_start: Option<Estimate>,
    pub(crate) agreement: Agreement,
    /// How a process of it ended that did not complete.
    pub(crate) fault: Option<String>,
}

impl Engine {
    /// Its name, as [`Check::engine`](crate::Check::engine) takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many threads a pass may use.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The time of pass 1 of a fresh process.
    ///
    /// # Errors
    /// Fails where no process was timed.
    pub fn first_pass(&self) -> Result<Time> {
        self.time(self.first_pass, NOT_TIMED)
    }

    /// The time of pass 2.
    ///
    /// # Errors
    /// Fails where no process was timed.
    pub fn second_pass(&self) -> Result<Time> {
        self.time(self.second_pass, NOT_TIMED)
    }

    /// The mean time of the passes from where they no longer become faster or slower.
    ///
    /// # Errors
    /// Fails where no process came to a steady state.
    pub fn steady(&self) -> Result<Time> {
        self.time(self.steady, NOT_STEADY)
    }

    /// Pass 1 in units of the steady time of its own process.
    ///
    /// # Errors
    /// Fails where no process came to a steady state.
    pub fn first_pass_over_steady(&self) -> Result<Ratio> {
        self.figure(self.first_pass_over_steady, NOT_STEADY)
            .map(Ratio)
    }

    /// The time from the start of a process to its first outputs.
    ///
    /// # Errors
    /// Fails where no process was timed.
    pub fn cold_start(&self) -> Result<Time> {
        self.time(self.cold_start, NOT_TIMED)
    }

    /// How its outputs compare.
    pub fn agreement(&self) -> &Agreement {
        &self.agreement
    }

    fn time(&self, estimate: Option<Estimate>, why_not: &str) -> Result<Time> {
        self.figure(estimate, why_not).map(Time)
    }

    fn figure(&self, estimate: Option<Estimate>, why_not: &str) -> Result<Estimate> {
        estimate.ok_or_else(|| {
            let why = self.fault.as_deref().unwrap_or(why_not);
            Error::not_measured(format!("{}: {why}", self.name))
        })
    }
}

const NOT_TIMED: &str = "no process was timed; give it more time with `.budget(…)`";

const NOT_STEADY: &str = "no process came to a steady state; give it more processes and the time for \
                          them with `.processes(…)` and `.budget(…)`";

impl Summary {
    /// Reads a record that [`Check::run`](crate::Check::run) or the command `firstpass` wrote, of one
    /// model whose files are still where they were. No engine runs.
    ///
    /// # Errors
    /// Fails on a folder that is no record, on a record of several models, and where a file of the model
    /// has changed since.
    pub fn from_record(folder: impl AsRef<Path>) -> Result<Self> {
        harness::read(folder.as_ref())
    }

    /// The name of the model, made from that of its file.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Every engine that ran the model, once for each number of threads.
    pub fn engines(&self) -> &[Engine] {
        &self.engines
    }

    /// An engine by its name; with several numbers of threads the one with the fewest.
    ///
    /// # Errors
    /// Fails where no engine of that name ran the model, and says why not or which did.
    pub fn engine(&self, name: &str) -> Result<&Engine> {
        if let Some(engine) = self.engines.iter().find(|engine| engine.name == name) {
            return Ok(engine);
        }
        let failure = self.failures.iter().find(|(engine, _)| engine == name);
        Err(match failure {
            Some((_, why)) => Error::not_measured(format!("{name} did not run the model: {why}")),
            None => {
                let mut names: Vec<&str> = self.engines.iter().map(Engine::name).collect();
                names.dedup();
                unknown_engine(name, &names)
            }
        })
    }

    /// Every engine that did not run the model, with the reason.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        let failures = self.failures.iter();
        failures.map(|(engine, why)| (engine.as_str(), why.as_str()))
    }

    /// What the outputs were compared with.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The folder with everything that was measured. `cargo firstpass report --from` renders it as a
    /// page. It stays until the same check runs again.
    pub fn record(&self) -> &Path {
        &self.record
    }
}

/// The figures of every engine, one a line.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cell = |estimate: Option<Estimate>, unit: &str| match estimate {
            None => "–".to_owned(),
            Some(Estimate {
                median,
                interval: None,
                ..
            }) => format!("{}{unit}", digits(median)),
            Some(Estimate {
                median,
                interval: Some((low, high)),
                ..
            }) => format!(
                "{}{unit} ({}–{})",
                digits(median),
                digits(low),
                digits(high)
            ),
        };
        let mut table = Table::new();
        table.load_style(NOTHING).set_header([
            "engine",
            "threads",
            "pass 1, ms",
            "steady, ms",
            "pass 1 / steady",
            "cold start, ms",
            "processes",
            "outputs",
        ]);
        for engine in &self.engines {
            let processes = engine.first_pass.map_or(0, |pass| pass.processes);
            table.add_row([
                engine.name.clone(),
                engine.threads.to_string(),
                cell(engine.first_pass, ""),
                cell(engine.steady, ""),
                cell(engine.first_pass_over_steady, "×"),
                cell(engine.cold_start, ""),
                processes.to_string(),
                engine.agreement.to_string(),
            ]);
        }
        let against = match &self.reference {
            Reference::Golden(file) => format!("outputs compared with {file}"),
            Reference::Referee => {
                "outputs compared with the referee's; there are no golden ones".into()
            }
            Reference::Engines(names) => format!(
                "outputs compared with those that {} agree on without optimizations; there are no golden \
                 ones",
                names.join(" and ")
            ),
            Reference::EachOther => {
                "outputs compared with each other; there are no golden ones".into()
            }
            Reference::Nothing => "outputs compared with nothing".into(),
        };
        writeln!(f, "firstpass: {}, {against}", self.model)?;
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        for engine in &self.engines {
            if let Some(fault) = &engine.fault {
                writeln!(f, "{}: {fault}", engine.name)?;
            }
        }
        for (engine, why) in &self.failures {
            writeln!(f, "{engine} did not run the model: {why}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        write!(f, "record: {}", self.shown_record)
    }
}

/// There is no such engine, but there are these.
pub(crate) fn unknown_engine(name: &str, known: &[&str]) -> Error {
    /// Below it two names are hardly meant to be the same (Jaro-Winkler, from 0 to 1).
    const ALIKE: f64 = 0.8;
    let alike = |other: &&str| strsim::jaro_winkler(&name.to_lowercase(), other);
    let nearest = known
        .iter()
        .copied()
        .max_by(|a, b| alike(a).total_cmp(&alike(b)))
        .filter(|nearest| alike(nearest) >= ALIKE);
    let suggestion = nearest.map_or(String::new(), |nearest| {
        format!("; did you mean {nearest:?}?")
    });
    Error::invalid(format!(
        "there is no engine {name:?}{suggestion} (there are: {})",
        known.join(", ")
    ))
}

/// Says something on standard error also where a test passes, whose output is captured otherwise.
pub(crate) fn say(text: &str) {
    // Where nobody listens there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "\n{text}");
}
