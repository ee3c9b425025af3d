//! Which part of a record a command is asked about.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use firstpass_probe::Knobs;
use firstpass_trial::{
    known::Refusal,
    observation::{Cell, Outcome},
};

use crate::{page::terminal, record::Record};

/// Engines, models and numbers of threads; an empty list stands for all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub backends: Vec<String>,
    /// By name.
    pub models: Vec<String>,
    pub threads: Vec<usize>,
    /// What engines declare that they refuse, by engine.
    pub refusals: Vec<(String, Refusal)>,
}

impl Selection {
    pub fn has_engine(&self, name: &str) -> bool {
        self.backends.is_empty() || self.backends.iter().any(|backend| backend == name)
    }

    pub fn has(&self, cell: &Cell) -> bool {
        // A file that was not admitted has failed with any number of threads.
        let any_threads = self.threads.is_empty() || cell.knobs == Knobs::default();
        self.has_engine(&cell.backend)
            && (self.models.is_empty() || self.models.contains(&cell.model))
            && (any_threads || self.threads.contains(&cell.threads()))
    }

    /// Whether a process failed as its engine declares that it does. An engine that is named has to run all the same.
    pub fn expects(&self, cell: &Cell, outcome: &Outcome) -> bool {
        let mut refusals = self.refusals.iter().filter(|_| self.backends.is_empty());
        refusals.any(|(engine, refusal)| {
            *engine == cell.backend
                && refusal.format == cell.format
                && refusal.models.contains(&cell.model)
                && matches!(outcome, Outcome::Failed(_))
                && outcome.to_string().contains(&refusal.words)
        })
    }

    /// # Errors
    /// Fails where a part of it is in none of the records, nor among these engines: the message says
    /// what there is.
    pub fn check(&self, records: &[&Record], engines: &[String]) -> Result<()> {
        let in_records = records.iter().flat_map(|record| record.backends.keys());
        let engines: BTreeSet<&String> = in_records.chain(engines).collect();
        let cells: Vec<&Cell> = records.iter().flat_map(|record| record.cells()).collect();
        let models: BTreeSet<&String> = cells.iter().map(|cell| &cell.model).collect();
        let threads: BTreeSet<usize> = cells.iter().map(|cell| cell.threads()).collect();
        answered(
            "engine",
            &self.backends.iter().collect::<Vec<_>>(),
            &engines,
        )?;
        answered("model", &self.models.iter().collect::<Vec<_>>(), &models)?;
        answered("number of threads", &self.threads, &threads)
    }
}

fn answered<T: Ord + ToString>(what: &str, asked: &[T], known: &BTreeSet<T>) -> Result<()> {
    for one in asked {
        let shown = |one: &T| terminal::line(&one.to_string());
        let all: Vec<String> = known.iter().map(shown).collect();
        let all = if all.is_empty() {
            "nothing at all".into()
        } else {
            all.join(", ")
        };
        ensure!(
            known.contains(one),
            "nothing answers to the {what} {}; there is: {}",
            shown(one),
            all
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        record::tests::record,
        studies::first_passes::judge::latency::tests::{observation, times},
    };

    #[test]
    fn what_nothing_answers_to_is_an_error_that_names_what_there_is() {
        let record = record(vec![observation(0, &times(&[], 10.0))]);
        let check = |selection: Selection| selection.check(&[&record], &["y".into()]);
        assert!(check(Selection::default()).is_ok());
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let engines = |asked: &[&str]| Selection {
            backends: names(asked),
            ..Selection::default()
        };
        assert!(check(engines(&["x", "y"])).is_ok());
        let error = check(engines(&["nosuch"]))
            .expect_err("there is none")
            .to_string();
        assert!(error.contains("x, y"), "{error}");
        let models = |asked: &[&str]| Selection {
            models: names(asked),
            ..Selection::default()
        };
        assert!(check(models(&["m"])).is_ok());
        let error = check(models(&["m", "nosuch"]))
            .expect_err("there is none")
            .to_string();
        assert!(error.contains("nosuch; there is: m"), "{error}");
        let threads = |threads: usize| Selection {
            threads: vec![threads],
            ..Selection::default()
        };
        assert!(check(threads(1)).is_ok());
        let error = check(threads(64)).expect_err("there is none").to_string();
        assert!(error.contains("64; there is: 1"), "{error}");
    }
}
