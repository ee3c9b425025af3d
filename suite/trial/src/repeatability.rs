//! Whether the same input gives the same bits: from pass to pass, between processes, and between
//! numbers of threads.

use std::collections::{BTreeMap, BTreeSet};

use firstpass_probe::Format;

use crate::{known::Known, observation::Observation};

/// The answer for one model on one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeatability {
    pub backend: String,
    pub model: String,
    pub format: Format,
    pub processes: usize,
    pub passes: usize,
    /// The earliest pass, from 1, whose outputs differ from those of pass 1 of its process.
    pub differs_from_pass: Option<usize>,
    /// Whether all first passes on one photograph with one number of threads agree.
    pub processes_agree: bool,
    /// Whether they agree over all numbers of threads.
    pub threads_agree: bool,
    pub threads: BTreeSet<usize>,
}

impl Repeatability {
    /// The fault in words; `None` where all is as expected. That the bits depend on the number of
    /// threads may be declared, and must then still occur.
    pub fn fault(&self, known: &Known) -> Option<String> {
        if let Some(pass) = self.differs_from_pass {
            return Some(format!("its outputs differ from pass {pass} on"));
        }
        if !self.processes_agree {
            return Some("its outputs differ between processes".into());
        }
        let declared = known.thread_dependent(&self.model, self.format).is_some();
        match (self.threads_agree, declared) {
            (false, false) => Some("its outputs depend on the number of threads".into()),
            (true, true) if self.threads.len() > 1 => Some(
                "its outputs no longer depend on the number of threads: remove the declaration"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// Judges every backend, model and format by default: a setting may change the outputs, and whether it
/// does is said of it elsewhere.
pub fn judge<'a>(observations: impl IntoIterator<Item = &'a Observation>) -> Vec<Repeatability> {
    let mut groups: BTreeMap<(&str, &str, Format), Vec<&Observation>> = BTreeMap::new();
    for observation in observations {
        let cell = &observation.cell;
        let is_default = cell.is_default();
        if is_default && !observation.process.passes.is_empty() {
            let key = (cell.backend.as_str(), cell.model.as_str(), cell.format);
            groups.entry(key).or_default().push(observation);
        }
    }
    groups
        .into_iter()
        .map(|(key, group)| judge_group(key, &group))
        .collect()
}

fn judge_group(
    (backend, model, format): (&str, &str, Format),
    group: &[&Observation],
) -> Repeatability {
    let mut differs_from_pass: Option<usize> = None;
    // The digests of first passes, by photograph and threads.
    let mut first: BTreeMap<(&str, usize), BTreeSet<&str>> = BTreeMap::new();
    for observation in group {
        for (number, image) in observation.images.iter().enumerate() {
            let digests = || {
                let passes = observation.process.passes.iter();
                passes
                    .filter(move |p| p.input == number)
                    .map(|p| p.digest.as_str())
            };
            let Some(expected) = digests().next() else {
                continue;
            };
            first
                .entry((image, observation.cell.threads()))
                .or_default()
                .insert(expected);
            if let Some(position) = digests().position(|d| d != expected) {
                let pass = position + 1;
                differs_from_pass = Some(differs_from_pass.map_or(pass, |p| p.min(pass)));
            }
        }
    }
    let mut by_image: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for ((image, _), digests) in &first {
        by_image.entry(image).or_default().extend(digests);
    }
    Repeatability {
        backend: backend.into(),
        model: model.into(),
        format,
        processes: group.len(),
        passes: group.iter().map(|o| o.process.passes.len()).sum(),
        differs_from_pass,
        processes_agree: first.values().all(|digests| digests.len() == 1),
        threads_agree: by_image.values().all(|digests| digests.len() == 1),
        threads: group.iter().map(|o| o.cell.threads()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use firstpass_probe::{Knobs, Pass, Span, THREADS};

    use super::*;
    use crate::observation::{Cell, Process, Purpose};
    use crate::system_counters::SystemCounters;

    fn observation(threads: usize, digests: &[(usize, &str)]) -> Observation {
        let mut process = Process::new(0);
        process.passes = digests
            .iter()
            .map(|(input, digest)| Pass {
                input: *input,
                digest: (*digest).into(),
                memory_kib: None,
                span: Span::default(),
            })
            .collect();
        Observation {
            cell: Cell {
                backend: "x".into(),
                model: "m".into(),
                format: Format::ONNX,
                knobs: Knobs::default().with(THREADS, threads),

                cold_files: false,
                entry: 0,
            },
            purpose: Purpose::Latency,
            round: 0,
            images: vec!["a".into(), "b".into()],
            system_counters: SystemCounters::before().after(),
            eviction: None,
            process,
        }
    }

    fn judged(observations: &[Observation]) -> Repeatability {
        judge(observations).remove(0)
    }

    #[test]
    fn equal_digests_hold() {
        let r = judged(&[
            observation(1, &[(0, "p"), (0, "p"), (1, "q")]),
            observation(2, &[(0, "p"), (1, "q"), (1, "q")]),
        ]);
        assert_eq!(r.fault(&Known::default()), None);
        assert_eq!((r.processes, r.passes), (2, 6));
    }

    #[test]
    fn a_setting_that_changes_outputs_is_no_fault() {
        let mut other = observation(1, &[(0, "z")]);
        other.cell.knobs = other.cell.knobs.with("fast", "on");
        let r = judged(&[observation(1, &[(0, "p")]), other]);
        assert_eq!(r.fault(&Known::default()), None);
        assert_eq!(r.processes, 1);
    }

    #[test]
    fn a_pass_that_differs_is_named() {
        let r = judged(&[observation(1, &[(0, "p"), (0, "p"), (0, "z"), (1, "q")])]);
        assert_eq!(r.differs_from_pass, Some(3));
        assert!(r.processes_agree);
    }

    #[test]
    fn processes_and_threads_are_told_apart() {
        let r = judged(&[observation(1, &[(0, "p")]), observation(1, &[(0, "z")])]);
        assert!(!r.processes_agree && !r.threads_agree);
        let r = judged(&[observation(1, &[(0, "p")]), observation(2, &[(0, "z")])]);
        assert!(r.processes_agree && !r.threads_agree);
        assert!(r.fault(&Known::default()).is_some());
    }

    #[test]
    fn a_declared_dependence_on_threads_must_still_occur() {
        let declared = Known {
            thread_dependent: vec![crate::known::Exception {
                reason: "because".into(),
                models: vec!["m".into()],
                format: Format::ONNX,
            }],
            ..Known::default()
        };
        let differs = judged(&[observation(1, &[(0, "p")]), observation(2, &[(0, "z")])]);
        assert_eq!(differs.fault(&declared), None);
        let healed = judged(&[observation(1, &[(0, "p")]), observation(2, &[(0, "p")])]);
        assert!(healed.fault(&declared).is_some());
        let undecided = judged(&[observation(1, &[(0, "p")])]);
        assert_eq!(undecided.fault(&declared), None);
    }
}
