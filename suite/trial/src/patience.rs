//! How long a silent process of an engine is waited for.
//!
//! A command has a budget for all that it measures, and one program that hangs may not take many times that. So the
//! first process that hangs is waited for as long as the budget leaves, but for a minute at least: a model may take
//! that long to load. Where an engine has hung on a file and never answered on it, it is asked again, because what it
//! was asked may be to blame, and is waited for only a little.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Longer than the slowest model that is known needs for its first two passes.
pub const TIMEOUT: Duration = Duration::from_secs(180);

/// No process is given less time than this, however short the budget, unless an earlier one has hung.
pub const LEAST_TIMEOUT: Duration = Duration::from_secs(60);

/// No process is given less time than this, even where an earlier one has hung.
pub const LEAST_AGAIN: Duration = Duration::from_secs(10);

/// The share of what the budget leaves that a process is given where an earlier one has hung.
const SHARE_AGAIN: u32 = 10;

/// How each program did on each model file in this command, and where each program has hung at once.
static SEEN: Mutex<BTreeMap<(PathBuf, PathBuf), Seen>> = Mutex::new(BTreeMap::new());

/// How a program has done on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It ran passes.
    Ran,
    /// It was killed, and never ran one.
    Hung,
}

/// After how long a silent process of a command with this budget is killed, in s.
pub fn patience(budget_s: f64) -> Duration {
    let budget = Duration::try_from_secs_f64(budget_s).unwrap_or(TIMEOUT);
    budget.clamp(LEAST_TIMEOUT, TIMEOUT)
}

/// What a command may still wait for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    until: Instant,
}

impl Patience {
    /// That of a command that has so much time from now on, in s.
    pub fn within(budget_s: f64) -> Self {
        let budget = Duration::try_from_secs_f64(budget_s).unwrap_or(TIMEOUT);
        let now = Instant::now();
        Self {
            until: now.checked_add(budget).unwrap_or(now + TIMEOUT),
        }
    }

    /// How long a process of this program on this model file is waited for: `most`, or less.
    pub(crate) fn of(self, program: &Path, model: &Path, most: Duration) -> Duration {
        let left = self.until.saturating_duration_since(Instant::now());
        let first = most.min(left.max(LEAST_TIMEOUT));
        match seen(program, model) {
            Some(Seen::Hung) => first.min((left / SHARE_AGAIN).max(LEAST_AGAIN)),
            Some(Seen::Ran) | None => first,
        }
    }
}

/// Notes that a program has run passes of a model file.
pub(crate) fn ran(program: &Path, model: &Path) {
    all().insert((program.into(), model.into()), Seen::Ran);
}

/// Notes that a program was waited for in vain.
pub(crate) fn hung(program: &Path, model: &Path) {
    let key = (program.into(), model.into());
    all().entry(key).or_insert(Seen::Hung);
}

fn seen(program: &Path, model: &Path) -> Option<Seen> {
    all().get(&(program.into(), model.into())).copied()
}

fn all() -> std::sync::MutexGuard<'static, BTreeMap<(PathBuf, PathBuf), Seen>> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_budget_waits_no_three_minutes() {
        for (budget_s, seconds) in [(1.0, 60), (90.0, 90), (3600.0, 180), (f64::NAN, 180)] {
            assert_eq!(patience(budget_s).as_secs(), seconds);
        }
    }

    #[test]
    fn who_hung_once_is_not_waited_for_as_long_again() {
        let (program, file) = (Path::new("/patience/program"), Path::new("/patience/model"));
        let wait = |budget_s, most| {
            let wait = Patience::within(budget_s).of(program, file, most);
            wait.as_secs_f64().round()
        };
        assert_eq!(wait(1.0, TIMEOUT), 60.0);
        assert_eq!(wait(100.0, TIMEOUT), 100.0);
        assert_eq!(wait(900.0, TIMEOUT), 180.0);
        assert_eq!(wait(900.0, Duration::from_secs(5)), 5.0);
        hung(program, file);
        assert_eq!(wait(1.0, TIMEOUT), 10.0);
        assert_eq!(wait(900.0, TIMEOUT), 90.0);
        assert_eq!(wait(f64::INFINITY, TIMEOUT), 18.0);
        // On another file it is not known to hang.
        let other = Path::new("/patience/other");
        let unknown = Patience::within(1.0).of(program, other, TIMEOUT);
        assert_eq!(unknown, LEAST_TIMEOUT);
        // What has run once is slow, or a setting of it is to blame.
        ran(program, file);
        assert_eq!(wait(1.0, TIMEOUT), 60.0);
        hung(program, file);
        assert_eq!(wait(1.0, TIMEOUT), 60.0);
    }
}
