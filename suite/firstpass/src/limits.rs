//! Limits on what was measured: each as an assertion that panics, and as a check that returns.

use std::{fmt, time::Duration};

use crate::{
    agreement::{Outcome, Reference},
    error::{Error, ErrorKind, Result},
    figure::{Estimate, Ratio, Time, digits},
    summary::{Engine, Summary, say},
};

/// What is said of a limit that is not broken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an undecided limit is not kept for sure"]
pub enum Verdict {
    /// The whole 95 % interval of every engine lies below the limit.
    Kept,
    /// The limit lies within the interval of an engine: whether it is kept cannot be told. The words say
    /// of which engine, and how to decide it.
    Undecided(String),
}

impl Verdict {
    /// Whether the limit is kept for sure.
    pub fn is_kept(&self) -> bool {
        *self == Self::Kept
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("kept"),
            Self::Undecided(why) => write!(f, "undecided: {why}"),
        }
    }
}

/// Limits on times. Each is judged on every engine, by the 95 % interval of its figure:
///
/// - the interval lies below the limit: the limit is **kept**;
/// - it lies at the limit or above: the limit is **broken**, and the test fails;
/// - the limit lies within it: that is **undecided**. An assertion then says so on standard error and
///   does not fail, because noise should break no build; a check returns [`Verdict::Undecided`], and
///   `assert!(verdict.is_kept())` fails where you want that;
/// - there is no interval, because an engine failed, has no steady state or, for a limit on a time, ran in
///   one process only: the test fails, because a limit on nothing would hold forever. Pass 1 over the steady
///   time has an interval even of one process, a wide one.
impl Summary {
    /// Whether pass 1 takes less than this many times the steady time of the same process, so that the
    /// speed of the machine does not matter.
    ///
    /// # Panics
    /// Panics where [`Summary::check_first_pass_below`] fails.
    #[track_caller]
    pub fn assert_first_pass_below(&self, times: f64) {
        expect(self.check_first_pass_below(times));
    }

    /// Whether pass 1 takes less than this many times the steady time of the same process.
    ///
    /// # Errors
    /// Fails where the limit is broken by an engine, where an engine has no interval, and on a limit that
    /// is no number above 0.
    pub fn check_first_pass_below(&self, times: f64) -> Result<Verdict> {
        if !(times.is_finite() && times > 0.0) {
            return Err(Error::invalid(format!(
                "{times} is no limit: it must be a number above 0, such as 3.0 for three times the \
                 steady time"
            )));
        }
        self.judge(&Limit {
            subject: "pass 1 in units of the steady time",
            most: times,
            shown: format!("{}×", digits(times)),
            figure: &|engine| engine.first_pass_over_steady().map(|ratio| ratio.0),
            show: &|estimate| Ratio(estimate).to_string(),
        })
    }

    /// Whether a pass of the steady state takes less than this time. The limit is one for the machine that
    /// the test runs on; `cargo firstpass gate --against` compares with a record of the same machine.
    ///
    /// # Panics
    /// Panics where [`Summary::check_steady_below`] fails.
    #[track_caller]
    pub fn assert_steady_below(&self, limit: Duration) {
        expect(self.check_steady_below(limit));
    }

    /// Whether a pass of the steady state takes less than this time.
    ///
    /// # Errors
    /// Fails where the limit is broken by an engine, where an engine has no interval, and on a limit of 0.
    pub fn check_steady_below(&self, limit: Duration) -> Result<Verdict> {
        self.judge_time("the steady time", limit, &Engine::steady)
    }

    /// Whether it takes less than this time from the start of a process to its first outputs. The limit
    /// is one for the machine that the test runs on.
    ///
    /// # Panics
    /// Panics where [`Summary::check_cold_start_below`] fails.
    #[track_caller]
    pub fn assert_cold_start_below(&self, limit: Duration) {
        expect(self.check_cold_start_below(limit));
    }

    /// Whether it takes less than this time from the start of a process to its first outputs.
    ///
    /// # Errors
    /// Fails where the limit is broken by an engine, where an engine has no interval, and on a limit of 0.
    pub fn check_cold_start_below(&self, limit: Duration) -> Result<Verdict> {
        self.judge_time("the cold start", limit, &Engine::cold_start)
    }

    fn judge_time(
        &self,
        subject: &str,
        limit: Duration,
        figure: &dyn Fn(&Engine) -> Result<Time>,
    ) -> Result<Verdict> {
        if limit.is_zero() {
            return Err(Error::invalid(format!(
                "{subject} cannot be below a limit of 0"
            )));
        }
        let ms = limit.as_secs_f64() * 1e3;
        self.judge(&Limit {
            subject,
            most: ms,
            shown: format!("{} ms", digits(ms)),
            figure: &|engine| figure(engine).map(|time| time.0),
            show: &|estimate| Time(estimate).to_string(),
        })
    }

    fn judge(&self, limit: &Limit) -> Result<Verdict> {
        let (mut above, mut missing, mut undecided) = (Vec::new(), Vec::new(), Vec::new());
        for engine in &self.engines {
            match limit.judge(engine) {
                Ok(Verdict::Kept) => {}
                Ok(Verdict::Undecided(why)) => undecided.push(why),
                Err(error) if error.kind() == ErrorKind::AboveLimit => above.push(error),
                Err(error) => missing.push(error),
            }
        }
        let kind = match (&above[..], &missing[..]) {
            ([], []) if self.engines.is_empty() => {
                return Err(Error::not_measured("no engine ran the model"));
            }
            ([], []) if undecided.is_empty() => return Ok(Verdict::Kept),
            ([], []) => return Ok(Verdict::Undecided(undecided.join("\n"))),
            ([], _) => ErrorKind::NotMeasured,
            _ => ErrorKind::AboveLimit,
        };
        let all = above.iter().chain(&missing).map(ToString::to_string);
        let all: Vec<String> = all.chain(undecided).collect();
        let record = &self.shown_record;
        Err(Error::new(
            kind,
            format!("{}\nrecord: {record}", all.join("\n")),
        ))
    }

    /// Whether every engine gave the golden outputs, or, without these, those of the [`Reference`]: integers
    /// exactly, floats up to the rounding of f32.
    ///
    /// # Panics
    /// Panics where [`Summary::check_agreement`] fails.
    #[track_caller]
    pub fn assert_agreement(&self) {
        expect_ok(self.check_agreement());
    }

    /// Whether every engine gave the golden outputs, or, without these, those of the [`Reference`]: integers
    /// exactly, floats up to the rounding of f32.
    ///
    /// # Errors
    /// Says which engine differs in which output, and by how much. Fails as well where one engine is alone
    /// and there are no golden outputs, because nothing would notice a model of other weights; where an engine was
    /// not compared on every sample; and where its outputs change from pass to pass.
    pub fn check_agreement(&self) -> Result<()> {
        let (with, differ_from) = match &self.reference {
            Reference::Golden(file) => (file.clone(), file.clone()),
            Reference::Referee => ("the referee".into(), "what the file defines".into()),
            Reference::Engines(names) => {
                let with = format!("{} without optimizations", names.join(" and "));
                (with.clone(), with)
            }
            Reference::EachOther => ("the others".into(), "each other".into()),
            Reference::Nothing => return Err(self.nothing_to_compare()),
        };
        let (mut other, mut missing) = (Vec::new(), Vec::new());
        for engine in &self.engines {
            let name = &engine.name;
            match &engine.agreement.outcome {
                Outcome::Same(_) => {}
                Outcome::Other(how) => other.push(format!("{name}: {how}")),
                Outcome::NotCompared(why) => {
                    missing.push(format!("{name} was not compared with {with}: {why}"));
                }
            }
            if let Some(fault) = &engine.fault {
                missing.push(format!("{name}: {fault}"));
            }
        }
        // Each number of threads has the same outputs.
        other.dedup();
        missing.dedup();
        if other.is_empty() && missing.is_empty() {
            let is_golden = matches!(self.reference, Reference::Golden(_));
            let first = self.engines.first().map(Engine::name);
            let is_alone = self.engines.iter().all(|e| Some(e.name()) == first);
            return match is_alone && !is_golden {
                // The referee reads the same file: it would not notice other weights.
                true => Err(self.nothing_to_compare()),
                false => Ok(()),
            };
        }
        let kind = match other.is_empty() {
            true => ErrorKind::NotMeasured,
            false => ErrorKind::OtherOutputs,
        };
        let mut lines = Vec::new();
        if !other.is_empty() {
            lines.push(format!("outputs differ from {differ_from}:"));
        }
        lines.extend(other);
        if kind == ErrorKind::OtherOutputs {
            let changed = self.changed.iter().map(|file| {
                format!(
                    "{} is another file than the one that gave the golden outputs",
                    file.display()
                )
            });
            lines.extend(changed);
            let renewal = self.renewal.as_ref();
            lines.extend(renewal.map(|how| format!("where the new outputs are right, {how}")));
        }
        lines.extend(missing);
        lines.push(format!("record: {}", self.shown_record));
        Err(Error::new(kind, lines.join("\n")))
    }

    fn nothing_to_compare(&self) -> Error {
        let names: Vec<&str> = self.engines.iter().map(Engine::name).collect();
        Error::new(
            ErrorKind::NothingToCompare,
            format!(
                "there is nothing to compare the outputs of {} with: without golden outputs an engine \
                 that is alone agrees at most with what the file defines, and a model of other weights \
                 would not be noticed. Keep golden outputs: give the check `.golden(\"tests/{}.golden.safetensors\")` \
                 and run the test once with FIRSTPASS_GOLDEN=write. Or measure another engine as well",
                names.join(", "),
                self.model
            ),
        )
    }
}

/// One limit on one figure.
struct Limit<'a> {
    /// What is limited.
    subject: &'a str,
    most: f64,
    shown: String,
    figure: &'a dyn Fn(&Engine) -> Result<Estimate>,
    show: &'a dyn Fn(Estimate) -> String,
}

impl Limit<'_> {
    fn judge(&self, engine: &Engine) -> Result<Verdict> {
        let Self { subject, shown, .. } = self;
        let name = &engine.name;
        if let Some(fault) = &engine.fault {
            return Err(Error::not_measured(format!("{name}: {fault}")));
        }
        let estimate = (self.figure)(engine)?;
        let processes = estimate.processes;
        let Some((low, high)) = estimate.interval else {
            return Err(Error::not_measured(format!(
                "{name}: one process alone does not tell {subject}; give it more time with `.budget(…)`"
            )));
        };
        let found = (self.show)(estimate);
        if low >= self.most {
            return Err(Error::new(
                ErrorKind::AboveLimit,
                format!(
                    "{name}: {subject} is {found} in {processes} processes; the limit is {shown}"
                ),
            ));
        }
        if high < self.most {
            return Ok(Verdict::Kept);
        }
        Ok(Verdict::Undecided(format!(
            "{name}: {subject} is {found} in {processes} processes, so that it may be below {shown} or \
             not; decide it with more processes and the time for them, `.processes({})` and \
             `.budget(…)`, on a quieter machine, or with a limit farther away",
            2 * processes
        )))
    }
}

#[track_caller]
fn expect(checked: Result<Verdict>) {
    if let verdict @ Verdict::Undecided(_) = expect_ok(checked) {
        say(&format!("firstpass: {verdict}"));
    }
}

#[track_caller]
fn expect_ok<T>(checked: Result<T>) -> T {
    match checked {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}
