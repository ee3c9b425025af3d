//! The questions that a reader looks at first, and whether a run answers them: which engine is fastest in the
//! steady state and to its first answer, and whose first pass is slow.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use firstpass_statistics::{comparison::Verdict, median};
use firstpass_trial::observation::Cell;

use crate::studies::first_passes::judge::{
    comparisons::Comparisons,
    first_pass::FirstPassVerdict,
    latency::{Figure, Latency},
    no_choice::NoChoice,
};

/// The figures whose fastest engine is asked for.
pub const RANKED: [Figure; 2] = [Figure::Steady, Figure::ColdStart];

/// The figures that settings are to make faster.
const TUNED: [Figure; 2] = [Figure::ColdStart, Figure::FirstPass];

/// A question about one model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Which engine is fastest in a figure, with this many threads, among those whose outputs can be used.
    Fastest {
        model: String,
        threads: usize,
        figure: Figure,
    },
    /// Whether the first pass of a cell is slow.
    SlowFirst(Cell),
    /// Whether settings make a figure of a cell faster than by default.
    Tuned { cell: Cell, figure: Figure },
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fastest {
                model,
                threads,
                figure,
            } => {
                let s = if *threads == 1 { "" } else { "s" };
                write!(
                    f,
                    "which engine is fastest on {model} with {threads} thread{s} ({figure})"
                )
            }
            Self::SlowFirst(cell) => write!(f, "whether pass 1 of {} is slow", named(cell)),
            Self::Tuned { cell, figure } => {
                write!(
                    f,
                    "whether its settings make {} faster ({figure})",
                    named(cell)
                )
            }
        }
    }
}

/// A cell as people name it: `x on m (onnx), 2 threads, a=b`.
fn named(cell: &Cell) -> String {
    let threads = cell.threads();
    let s = if threads == 1 { "" } else { "s" };
    let settings = cell.knobs.settings();
    let settings: String = settings
        .map(|(name, value)| format!(", {name}={value}"))
        .collect();
    let format = cell.format.key();
    format!(
        "{} on {} ({format}), {threads} thread{s}{settings}",
        cell.backend, cell.model
    )
}

/// What a run answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The cells that are fastest, without a difference among them that matters.
    Fastest(BTreeSet<Cell>),
    /// Whether the first pass is slow.
    Slow(Told),
    /// Whether the settings are faster; they may be slower, or make no difference.
    Faster(Told),
    /// Not yet, and which cells have to be measured on.
    Open {
        cells: BTreeSet<Cell>,
        /// After about how many rounds in all it would probably be answered; `None` for very many.
        rounds: Option<usize>,
    },
}

/// Yes or no, and the 95 % interval of the ratio that tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    pub yes: bool,
    pub interval: (f64, f64),
}

impl Told {
    /// Whether not both can be right. A ratio between two limits may rightly be called either: a pass of 1.08× is slow
    /// by a long run, and less than 15 % slower by a short one.
    fn contradicts(&self, other: &Self) -> bool {
        let apart = self.interval.1 < other.interval.0 || other.interval.1 < self.interval.0;
        self.yes != other.yes && apart
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fastest(cells) => {
                let names: BTreeSet<&str> = cells.iter().map(|c| c.backend.as_str()).collect();
                let names: Vec<&str> = names.into_iter().collect();
                f.write_str(&names.join(" and "))
            }
            Self::Slow(told) | Self::Faster(told) => {
                f.write_str(if told.yes { "yes" } else { "no" })
            }
            Self::Open { .. } => f.write_str("open"),
        }
    }
}

impl Answer {
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// What a run is asked, and what of it is still open.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Of these more rounds would tell more.
    pub open: Vec<Answer>,
    pub all: usize,
}

/// Asks every headline question.
pub fn ask(latencies: &[Latency], no_choice: &NoChoice) -> Asked {
    let headlines = headlines(latencies, &Comparisons::of_run(latencies), no_choice);
    Asked {
        all: headlines.len(),
        open: headlines.into_values().filter(Answer::is_open).collect(),
    }
}

/// Every headline question that a run can be asked, with its answer.
pub fn headlines(
    latencies: &[Latency],
    comparisons: &Comparisons,
    no_choice: &NoChoice,
) -> BTreeMap<Question, Answer> {
    let mut headlines = BTreeMap::new();
    let mut groups: BTreeMap<(&str, usize), Vec<&Latency>> = BTreeMap::new();
    let asked = |l: &&Latency| l.cell.is_default() && !l.cell.cold_files && l.cell.entry == 0;
    for latency in latencies.iter().filter(asked) {
        let group = (latency.cell.model.as_str(), latency.cell.threads());
        if !no_choice.contains(&latency.cell) {
            groups.entry(group).or_default().push(latency);
        }
        if let Some(answer) = slow_first(latency) {
            headlines.insert(Question::SlowFirst(latency.cell.clone()), answer);
        }
    }
    for latency in latencies.iter().filter(|l| !l.cell.is_default()) {
        for figure in TUNED {
            let cell = latency.cell.clone();
            if let Some(answer) = tuned(&cell, comparisons, figure) {
                headlines.insert(Question::Tuned { cell, figure }, answer);
            }
        }
    }
    for ((model, threads), group) in groups {
        for figure in RANKED {
            let question = Question::Fastest {
                model: model.into(),
                threads,
                figure,
            };
            let answer = fastest(&group, comparisons, figure);
            headlines.extend(answer.map(|answer| (question, answer)));
        }
    }
    headlines
}

fn slow_first(latency: &Latency) -> Option<Answer> {
    let first = latency.first_over_steady?;
    let told = |yes| {
        let interval = first.0.interval;
        Answer::Slow(Told { yes, interval })
    };
    Some(match first.verdict() {
        FirstPassVerdict::Slow => told(true),
        FirstPassVerdict::NotSlow => told(false),
        FirstPassVerdict::Open => Answer::Open {
            cells: BTreeSet::from([latency.cell.clone()]),
            rounds: first.0.rounds_needed(),
        },
    })
}

fn tuned(cell: &Cell, comparisons: &Comparisons, figure: Figure) -> Option<Answer> {
    let compared = comparisons.get(cell, &cell.default_of(), figure)?;
    let told = |yes| {
        let interval = compared.interval;
        Answer::Faster(Told { yes, interval })
    };
    Some(match compared.verdict {
        Verdict::Faster => told(true),
        Verdict::Slower | Verdict::NoDifference => told(false),
        Verdict::Open => Answer::Open {
            cells: BTreeSet::from([cell.clone(), cell.default_of()]),
            rounds: compared.rounds_needed(),
        },
    })
}

/// Answered where every other engine is slower than the one that seems fastest, or does not differ from it.
pub(crate) fn fastest(
    group: &[&Latency],
    comparisons: &Comparisons,
    figure: Figure,
) -> Option<Answer> {
    let time = |l: &Latency| median(l.by_round(figure).into_values());
    let timed = group.iter().filter_map(|l| Some((*l, time(l)?)));
    let best = timed.clone().min_by(|a, b| a.1.total_cmp(&b.1))?.0;
    if timed.count() < 2 {
        return None;
    }
    let mut fastest = BTreeSet::from([best.cell.clone()]);
    let mut open = BTreeSet::new();
    let mut rounds = Some(0);
    for other in group.iter().filter(|l| l.cell != best.cell) {
        let compared = comparisons.get(&best.cell, &other.cell, figure);
        match compared.map(|c| c.verdict) {
            Some(Verdict::Faster) => {}
            Some(Verdict::NoDifference) => {
                fastest.insert(other.cell.clone());
            }
            _ if time(other).is_none() => {}
            _ => {
                open.extend([best.cell.clone(), other.cell.clone()]);
                let needed = compared.and_then(|c| c.rounds_needed());
                rounds = rounds.zip(needed).map(|(most, needed)| most.max(needed));
            }
        }
    }
    Some(if open.is_empty() {
        Answer::Fastest(fastest)
    } else {
        Answer::Open {
            cells: open,
            rounds,
        }
    })
}

/// Two runs that answer a question, but otherwise. Runs on unlike machines may do so rightly.
pub fn contradicts(a: &Answer, b: &Answer) -> bool {
    match (a, b) {
        (Answer::Fastest(a), Answer::Fastest(b)) => a.is_disjoint(b),
        (Answer::Slow(a), Answer::Slow(b)) | (Answer::Faster(a), Answer::Faster(b)) => {
            a.contradicts(b)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::first_passes::judge::latency::{
        summarise,
        tests::{observation, times},
    };

    /// Engines on one model: name, first pass, level, and how much rounds vary.
    fn run(engines: &[(&str, f64, f64, f64)], rounds: usize) -> BTreeMap<Question, Answer> {
        let mut observations = Vec::new();
        for (at, (backend, first, level, noise)) in engines.iter().enumerate() {
            for round in 0..rounds {
                let sign = if (round + at) % 2 == 0 { 1.0 } else { -1.0 };
                let level = level * (1.0 + sign * noise);
                let mut observation = observation(round, &times(&[*first], level));
                observation.cell.backend = (*backend).into();
                observations.push(observation);
            }
        }
        let latencies = summarise(&observations);
        let wrong = latencies.iter().map(|l| &l.cell);
        let wrong = wrong.filter(|cell| cell.backend.starts_with("wrong"));
        headlines(
            &latencies,
            &Comparisons::of_run(&latencies),
            &wrong.collect(),
        )
    }

    fn steady(answers: &BTreeMap<Question, Answer>) -> &Answer {
        let of_steady = |(question, _): &(&Question, &Answer)| {
            matches!(
                question,
                Question::Fastest {
                    figure: Figure::Steady,
                    ..
                }
            )
        };
        answers.iter().find(of_steady).expect("it is asked").1
    }

    #[test]
    fn a_question_is_answered_or_open_with_what_it_would_take() {
        let told = run(&[("a", 50.0, 10.0, 0.0), ("b", 50.0, 20.0, 0.0)], 3);
        assert!(matches!(steady(&told), Answer::Fastest(cells) if cells.len() == 1));
        let alike = run(&[("a", 50.0, 10.0, 0.005), ("b", 50.0, 10.0, 0.005)], 30);
        assert!(matches!(steady(&alike), Answer::Fastest(cells) if cells.len() == 2));
        let open = run(&[("a", 50.0, 10.0, 0.05), ("b", 50.0, 10.6, 0.05)], 3);
        let Answer::Open { cells, rounds } = steady(&open) else {
            panic!("{open:?}")
        };
        assert_eq!(cells.len(), 2);
        assert!(rounds.is_some_and(|rounds| rounds > 3));
    }

    #[test]
    fn answers_contradict_where_both_are_given() {
        let one = run(&[("a", 50.0, 10.0, 0.0), ("b", 50.0, 20.0, 0.0)], 4);
        let other = run(&[("a", 50.0, 20.0, 0.0), ("b", 50.0, 10.0, 0.0)], 4);
        assert!(contradicts(steady(&one), steady(&other)));
        assert!(!contradicts(steady(&one), steady(&one)));
    }

    #[test]
    fn what_may_rightly_be_called_either_is_no_contradiction() {
        let told = |yes, low, high| {
            let interval = (low, high);
            Answer::Slow(Told { yes, interval })
        };
        assert!(!contradicts(
            &told(true, 1.06, 1.1),
            &told(false, 1.02, 1.12)
        ));
        assert!(contradicts(
            &told(true, 1.06, 1.1),
            &told(false, 0.98, 1.05)
        ));
        assert!(contradicts(
            &told(false, 0.98, 1.05),
            &told(true, 1.06, 1.1)
        ));
        assert!(!contradicts(&told(true, 1.06, 1.1), &told(true, 2.0, 2.1)));
    }

    #[test]
    fn questions_and_answers_are_words() {
        let answers = run(&[("a", 50.0, 10.0, 0.0), ("b", 50.0, 20.0, 0.0)], 4);
        let said: Vec<String> = answers
            .iter()
            .map(|(question, answer)| format!("{question}: {answer}"))
            .collect();
        let fastest = "which engine is fastest on m with 1 thread (steady): a";
        assert!(said.contains(&fastest.to_owned()), "{said:?}");
        let slow = |line: &&String| line.starts_with("whether pass 1 of a on m (");
        let slow = said.iter().find(slow).cloned().unwrap_or_default();
        assert!(slow.ends_with(" is slow: yes"), "{said:?}");
    }

    #[test]
    fn one_with_wrong_outputs_is_not_the_fastest_and_leaves_the_others_open() {
        let rivals = [("a", 50.0, 10.0, 0.05), ("b", 50.0, 10.6, 0.05)];
        let fast = |name| [(name, 50.0, 1.0, 0.0)].into_iter().chain(rivals);
        let right = run(&fast("right").collect::<Vec<_>>(), 3);
        assert!(matches!(steady(&right), Answer::Fastest(cells) if cells.len() == 1));
        let wrong = run(&fast("wrong").collect::<Vec<_>>(), 3);
        assert!(steady(&wrong).is_open(), "{wrong:?}");
        let first = |(question, _): &(&Question, &Answer)| matches!(question, Question::SlowFirst(cell) if cell.backend == "wrong");
        assert!(
            wrong.iter().any(|asked| first(&asked)),
            "of its first pass it is asked"
        );
    }

    #[test]
    fn one_engine_alone_is_not_asked_which_is_fastest() {
        let alone = run(&[("a", 50.0, 10.0, 0.0)], 3);
        assert_eq!(alone.len(), 1, "whether its first pass is slow");
        let slow = |answer: &Answer| matches!(answer, Answer::Slow(told) if told.yes);
        assert!(alone.values().all(slow));
    }
}
