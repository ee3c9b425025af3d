//! Under what circumstances two records were measured, and in what these differ.

use std::collections::BTreeSet;

use firstpass_trial::machine::Machine;

use crate::{
    page::numbers::setting,
    record::{Record, RunSettings},
};

/// One thing that was another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub name: String,
    pub before: String,
    pub after: String,
}

/// In what the circumstances of two records differ: the machine first, then engines, settings and code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Circumstances {
    pub differences: Vec<Difference>,
    /// Processor or instruction sets are others.
    pub other_machine: bool,
}

/// What must be said before any figure of two machines.
pub const OTHER_MACHINE: &str =
    "These two records are of different machines: a change below may be the machine's.";

impl Circumstances {
    /// Compares all that records keep of them.
    pub fn between(before: &Record, after: &Record) -> Self {
        let mut all = Self::default();
        let (a, b) = (&before.run, &after.run);
        all.compare("processor", processor(&a.machine), processor(&b.machine));
        let [x, y] = instruction_sets(&a.machine, &b.machine);
        all.compare("instruction sets", x, y);
        all.other_machine = !all.differences.is_empty();
        all.compare("system", a.machine.os.clone(), b.machine.os.clone());
        all.compare("kernel", a.machine.kernel.clone(), b.machine.kernel.clone());
        all.compare("governor", governor(&a.machine), governor(&b.machine));
        all.compare(
            "environment",
            environment(&a.machine),
            environment(&b.machine),
        );
        let engines: BTreeSet<&String> = before
            .backends
            .keys()
            .chain(after.backends.keys())
            .collect();
        for engine in engines {
            all.compare(engine, version(before, engine), version(after, engine));
        }
        let (x, y) = (settings(&a.settings), settings(&b.settings));
        for ((name, x), (_, y)) in x.into_iter().zip(y) {
            all.compare(name, x, y);
        }
        all.compare("compiler", a.machine.rustc.clone(), b.machine.rustc.clone());
        let commit = |commit: &Option<String>| commit.clone().unwrap_or_else(|| "unknown".into());
        all.compare("commit", commit(&a.code.commit), commit(&b.code.commit));
        let sources = |sha256: &str| sha256.chars().take(16).collect();
        all.compare(
            "measured sources",
            sources(&a.code.measured_sha256),
            sources(&b.code.measured_sha256),
        );
        all.compare("date", a.date.clone(), b.date.clone());
        all
    }

    fn compare(&mut self, name: &str, before: String, after: String) {
        if before != after {
            self.differences.push(Difference {
                name: name.into(),
                before,
                after,
            });
        }
    }
}

fn processor(machine: &Machine) -> String {
    format!("{}, {} cores", machine.cpu, machine.cores)
}

/// Of each of the two what the other has not, and what it lacks itself.
fn instruction_sets(before: &Machine, after: &Machine) -> [String; 2] {
    let words = |own: &Machine, other: &Machine| {
        let only = |a: &Machine, b: &Machine| -> Vec<String> {
            let flags = a.cpu_flags.iter();
            flags
                .filter(|flag| !b.cpu_flags.contains(flag))
                .cloned()
                .collect()
        };
        let lacking = only(other, own)
            .into_iter()
            .map(|flag| format!("no {flag}"));
        let all: Vec<String> = only(own, other).into_iter().chain(lacking).collect();
        all.join(", ")
    };
    [words(before, after), words(after, before)]
}

fn governor(machine: &Machine) -> String {
    machine.governor.clone().unwrap_or_else(|| "unknown".into())
}

fn environment(machine: &Machine) -> String {
    let variables = machine.environment.iter();
    let variables: Vec<String> = variables.map(|(name, v)| format!("{name}={v}")).collect();
    or_none(&variables.join(", "))
}

fn or_none(words: &str) -> String {
    if words.is_empty() { "none" } else { words }.into()
}

fn version(record: &Record, engine: &str) -> String {
    let Some(backend) = record.backends.get(engine) else {
        return "not measured".into();
    };
    match (&backend.description, &backend.unavailable) {
        (Some(description), _) => description.engine.version.clone(),
        (None, Some(_)) => "unavailable".into(),
        (None, None) => "unknown".into(),
    }
}

/// What of the settings of a run can change its figures, or how well these are known.
fn settings(settings: &RunSettings) -> [(&'static str, String); 7] {
    let threads: Vec<String> = settings.threads.iter().map(ToString::to_string).collect();
    let tuned = settings.variants.iter().map(|(engine, variants)| {
        let variants: Vec<String> = variants.iter().map(setting).collect();
        format!("{engine}: {}", variants.join("; "))
    });
    let tuned: Vec<String> = tuned.collect();
    let affinity = &settings.affinity;
    let priority = affinity
        .nice
        .map_or_else(|| "as usual".into(), |n| n.to_string());
    [
        ("threads", threads.join(", ")),
        ("most passes", settings.passes.to_string()),
        ("budget", format!("{} s", settings.budget_s)),
        ("tuned settings", or_none(&tuned.join("; "))),
        ("pinned to CPUs", yes_or_no(affinity.pin)),
        ("priority", priority),
        ("cold files", yes_or_no(settings.cold_files)),
    ]
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::record;
    use firstpass_probe::Knobs;

    #[test]
    fn the_same_circumstances_are_not_worth_a_word() {
        let all = Circumstances::between(&record(Vec::new()), &record(Vec::new()));
        assert_eq!(all, Circumstances::default());
    }

    #[test]
    fn an_instruction_set_that_only_one_has_makes_another_machine() {
        let (mut before, mut after) = (record(Vec::new()), record(Vec::new()));
        let flags = |flags: &[&str]| flags.iter().map(ToString::to_string).collect();
        before.run.machine.cpu_flags = flags(&["avx2", "avx_vnni"]);
        after.run.machine.cpu_flags = flags(&["avx2", "amx_int8"]);
        let all = Circumstances::between(&before, &after);
        assert!(all.other_machine);
        let [difference] = &all.differences[..] else {
            panic!("one difference: {all:?}")
        };
        assert_eq!(difference.before, "avx_vnni, no amx_int8");
        assert_eq!(difference.after, "amx_int8, no avx_vnni");
    }

    #[test]
    fn another_kernel_or_setting_is_named_and_is_no_other_machine() {
        let (before, mut after) = (record(Vec::new()), record(Vec::new()));
        after.run.machine.kernel = "another".into();
        after.run.settings.threads = vec![1, 8];
        after.run.settings.budget_s = 2.5;
        let tuned = Knobs::default().with("profiling-mode", "off");
        after.run.settings.variants.insert("x".into(), vec![tuned]);
        let all = Circumstances::between(&before, &after);
        assert!(!all.other_machine);
        let names: Vec<&str> = all.differences.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["kernel", "threads", "budget", "tuned settings"]);
        assert_eq!(all.differences[3].after, "x: profiling-mode=off");
    }
}
