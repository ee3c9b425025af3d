//! Slow first passes of a model, and whether a part of it still has one.

use std::path::Path;

use anyhow::Result;
use firstpass_probe::{Knobs, Model, PassPlan, Trial};
use serde::Serialize;

use crate::culprit::{Candidate, Investigation, Symptom};

/// Passes of a process: the first, and enough for a steady time.
const PASSES: PassPlan = PassPlan {
    at_least: 6,
    at_most: 30,
    budget_ms: 200,
};

/// Fresh processes that are asked; a first pass is slow where it is in each of them. What something else on the machine
/// slows down is seldom the first pass of both.
const PROCESSES: usize = 2;

/// What a part has to keep of the extra time of the first pass of the whole: the other parts share the rest.
const SHARE: u64 = 2;

/// A first pass that takes many times as long as a steady one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowFirst {
    /// Of the engine among all that were started.
    pub place: usize,
    /// From how many hundredths of the steady time on a first pass is slow.
    pub from_percent: u64,
    /// By how much the first pass of the whole model was longer than a steady one.
    pub extra_ns: u64,
}

/// What a process took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Taken {
    pub first_ns: u64,
    pub steady_ns: u64,
}

impl Taken {
    pub fn extra_ns(self) -> u64 {
        self.first_ns.saturating_sub(self.steady_ns)
    }

    pub fn ratio(self) -> f64 {
        self.first_ns as f64 / self.steady_ns.max(1) as f64
    }

    /// The first pass and the median of the later half of the passes; `None` of fewer than two.
    fn of(passes: &[u64]) -> Option<Self> {
        let [first, later @ ..] = passes else {
            return None;
        };
        let mut later = later[later.len() / 2..].to_vec();
        later.sort_unstable();
        Some(Self {
            first_ns: *first,
            steady_ns: *later.get(later.len() / 2)?,
        })
    }
}

impl SlowFirst {
    /// Whether a process that took this shows it: slow by the same measure, and by a good part of the same time. A part
    /// that takes a microsecond is always slow in its first pass, and explains nothing.
    fn is_shown_by(self, taken: Taken) -> bool {
        let is_slow = u128::from(taken.first_ns) * 100
            >= u128::from(taken.steady_ns) * u128::from(self.from_percent);
        is_slow && taken.extra_ns() >= self.extra_ns / SHARE
    }
}

/// The first passes of all engines on the whole model, the least slow of [`PROCESSES`] of each; and the slowest as a
/// symptom, where it takes at least `times` as long as a steady pass.
pub fn slowest(
    investigation: &mut Investigation,
    times: f64,
    knobs: &Knobs,
) -> (Vec<Option<Taken>>, Option<Symptom>) {
    let from_percent = (times * 100.0).round() as u64;
    let places = 0..investigation.engines.all.len();
    let taken: Vec<Option<Taken>> = places
        .map(|place| {
            let model = investigation.files[place].as_ref().ok()?.clone();
            let input = investigation.input_file().to_owned();
            let asked = (0..PROCESSES).map(|_| {
                let taken = investigation.taken(place, knobs, &model, &input);
                taken.filter(|_| !investigation.is_out_of_time())
            });
            // Not as long as the slower of them: it has to be slow every time.
            let asked: Option<Vec<Taken>> = asked.collect();
            asked?.into_iter().min_by_key(|taken| taken.extra_ns())
        })
        .collect();
    let symptom = worst(&taken, from_percent).map(Symptom::SlowFirst);
    (taken, symptom)
}

/// The engine whose first pass takes longest beyond its steady time, of those that are slow.
fn worst(taken: &[Option<Taken>], from_percent: u64) -> Option<SlowFirst> {
    let slow = taken.iter().enumerate().filter_map(|(place, taken)| {
        let symptom = SlowFirst {
            place,
            from_percent,
            extra_ns: (*taken)?.extra_ns(),
        };
        symptom.is_shown_by((*taken)?).then_some(symptom)
    });
    slow.max_by_key(|symptom| symptom.extra_ns)
}

impl Investigation<'_> {
    /// Whether a part has the slow first pass of the whole, in every process that is asked.
    ///
    /// # Errors
    /// Fails where its file cannot be written.
    pub(crate) fn is_slow(
        &mut self,
        symptom: SlowFirst,
        knobs: &Knobs,
        part: &Candidate,
    ) -> Result<bool> {
        let (model, input) = part.write(self.files_folder(), "timed")?;
        for _ in 0..PROCESSES {
            let taken = self.taken(symptom.place, knobs, &model, &input);
            if !taken.is_some_and(|taken| symptom.is_shown_by(taken)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What one process takes on a part, for a table.
    ///
    /// # Errors
    /// Likewise.
    pub(crate) fn taken_on_part(
        &mut self,
        place: usize,
        knobs: &Knobs,
        part: &Candidate,
    ) -> Result<Option<Taken>> {
        let (model, input) = part.write(self.files_folder(), "timed")?;
        Ok(self.taken(place, knobs, &model, &input))
    }

    fn taken(&mut self, place: usize, knobs: &Knobs, model: &Model, input: &Path) -> Option<Taken> {
        self.asked += 1;
        let trial = Trial::new(model.clone(), knobs.clone(), vec![input.into()], PASSES);
        let mut probe = self.engines.all[place].probe.clone();
        probe.timeout = probe.timeout.min(self.longest());
        let process = probe.trial(&trial);
        if !process.completed() {
            return None;
        }
        let passes: Vec<u64> = process
            .passes
            .iter()
            .map(|pass| pass.span.wall_ns)
            .collect();
        Taken::of(&passes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(first_ns: u64, steady_ns: u64) -> Taken {
        Taken {
            first_ns,
            steady_ns,
        }
    }

    #[test]
    fn a_process_takes_its_first_pass_and_the_median_of_the_later_half() {
        assert_eq!(Taken::of(&[90, 50, 11, 10, 9]), Some(taken(90, 10)));
        assert_eq!(Taken::of(&[90, 10]), Some(taken(90, 10)));
        assert_eq!(Taken::of(&[90]), None);
        assert_eq!(Taken::of(&[]), None);
    }

    #[test]
    fn a_part_is_slow_by_the_same_measure_and_a_good_part_of_the_same_time() {
        let symptom = SlowFirst {
            place: 0,
            from_percent: 300,
            extra_ns: 1000,
        };
        for shown in [taken(1100, 100), taken(600, 100), taken(750, 250)] {
            assert!(symptom.is_shown_by(shown), "{shown:?}");
        }
        // Too little of the time, though ten times as long; long enough, but not so many times; and not slow.
        for other in [taken(100, 10), taken(1400, 500), taken(100, 100)] {
            assert!(!symptom.is_shown_by(other), "{other:?}");
        }
        assert!(!symptom.is_shown_by(taken(10, 100)));
    }

    #[test]
    fn the_engine_that_loses_most_time_is_asked_about() {
        let all = [
            Some(taken(400, 100)),
            None,
            Some(taken(5000, 4000)),
            Some(taken(900, 200)),
        ];
        let found = worst(&all, 300).map(|symptom| (symptom.place, symptom.extra_ns));
        assert_eq!(found, Some((3, 700)));
        assert_eq!(worst(&all, 500), None);
        assert_eq!(worst(&[], 100), None);
    }
}
