//! What this run could not decide, and how much longer that would take.

use std::{collections::BTreeMap, time::Duration};

use firstpass_statistics::median;
use firstpass_trial::{model::ModelDescription, observation::Cell};
use serde::Serialize;

use crate::{
    page::shell,
    studies::first_passes::{
        analysis::Analysis,
        judge::{
            headlines::{Answer, Question, headlines},
            latency::Latency,
        },
        unfit::no_choice,
        untimed::in_words,
    },
};

/// So many open questions are named; of more only their kinds.
const NAMED: usize = 3;

/// The questions of a run: who is fastest, whose pass 1 is slow, whether tuned settings help.
#[derive(Debug, Serialize)]
pub(super) struct Open {
    all: usize,
    /// The kinds of what was asked: `fastest`, `slow-first` and `tuned`.
    asks: Vec<&'static str>,
    open: usize,
    /// Those that are open; of many only the first.
    questions: Vec<Asked>,
    /// Open questions that more measuring would answer, and how many seconds that would take.
    answerable: usize,
    seconds: f64,
    /// What measures again for as long as that takes.
    command: String,
}

/// A question as a reader asks it, engines and models by their titles: `templates/answer/open.md.j2` says it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Asked {
    Fastest {
        figure: String,
        model: String,
        threads: usize,
    },
    SlowFirst(Of),
    Tuned {
        figure: String,
        #[serde(flatten)]
        of: Of,
    },
}

/// What a question about one engine is about.
#[derive(Debug, Serialize)]
struct Of {
    engine: String,
    model: String,
    threads: usize,
}

/// `None` where nothing was asked.
pub(super) fn open(analysis: &Analysis) -> Option<Open> {
    let latencies: Vec<Latency> = analysis
        .rows
        .values()
        .flatten()
        .flat_map(|row| row.latency.values().chain(row.tuned.values()).cloned())
        .collect();
    let headlines = headlines(&latencies, &analysis.comparisons, &no_choice(analysis));
    let seconds_a_round: BTreeMap<&Cell, f64> = latencies
        .iter()
        .filter_map(|l| {
            Some((
                &l.cell,
                median(l.processes.iter().map(|p| p.wall_ms))? / 1000.0,
            ))
        })
        .collect();
    let done = |cell: &Cell| {
        let latency = latencies.iter().find(|l| l.cell == *cell);
        latency.map_or(0, |l| l.processes.len())
    };
    let open: Vec<Option<f64>> = headlines
        .values()
        .filter_map(|answer| match answer {
            Answer::Open { cells, rounds } => Some(rounds.map(|rounds| {
                let cost = |cell: &Cell| {
                    let more = rounds.saturating_sub(done(cell)) as f64;
                    more * seconds_a_round.get(cell).copied().unwrap_or(0.0)
                };
                cells.iter().map(cost).sum()
            })),
            _ => None,
        })
        .collect();
    let is_open = headlines.iter().filter(|(_, answer)| answer.is_open());
    let questions = is_open.map(|(question, _)| asked(analysis, question));
    let told: Vec<f64> = open.iter().flatten().copied().collect();
    (!headlines.is_empty()).then(|| Open {
        all: headlines.len(),
        asks: asks(headlines.keys()),
        open: open.len(),
        questions: questions.take(NAMED).collect(),
        answerable: told.len(),
        seconds: told.iter().sum(),
        command: command(analysis, told.iter().sum()),
    })
}

/// What a user types to measure again, for so many seconds more.
fn command(analysis: &Analysis, more: f64) -> String {
    let settings = &analysis.record.run.settings;
    let asked = settings.asked_budget_s.unwrap_or(settings.budget_s);
    // A run may have a share of what was asked for only.
    let share = asked / settings.budget_s.max(1e-3);
    let budget = (settings.budget_s + more) * share;
    let budget = in_words(Duration::from_secs_f64(budget.clamp(1.0, 1e6)));
    if !settings.command.is_empty() {
        let time = ["--budget", &budget].map(str::to_owned);
        return shell::command(settings.command.iter().chain(&time));
    }
    let is_of_fixtures = |model: &ModelDescription| analysis.workload.is_of_fixtures(model);
    match analysis.models() {
        [model] if !is_of_fixtures(model).unwrap_or(true) => {
            let files = model.files();
            let file = files.first().and_then(|file| file.file_name());
            // What a shell would take apart is not to be copied.
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            let file = file.and_then(|file| file.to_str());
            let file = file
                .filter(|file| file.chars().all(is_plain))
                .unwrap_or("MODEL");
            format!("cargo firstpass check {file} --budget {budget}")
        }
        _ => format!("cargo firstpass report --budget {budget}"),
    }
}

fn asked(analysis: &Analysis, question: &Question) -> Asked {
    let title = |name: &str| {
        let model = analysis.models().iter().find(|m| m.name == name);
        model.map_or_else(|| name.to_owned(), |m| m.title.clone())
    };
    let of = |cell: &Cell| {
        let mut rows = analysis.rows.values().flatten();
        let row = rows.find(|row| {
            let of_row = |l: &Latency| l.cell.default_of() == cell.default_of();
            row.latency.values().any(of_row)
        });
        Of {
            engine: row.map_or(&cell.backend, |row| &row.label).clone(),
            model: title(&cell.model),
            threads: cell.threads(),
        }
    };
    match question {
        Question::Fastest {
            model,
            threads,
            figure,
        } => Asked::Fastest {
            figure: figure.to_string(),
            model: title(model),
            threads: *threads,
        },
        Question::SlowFirst(cell) => Asked::SlowFirst(of(cell)),
        Question::Tuned { cell, figure } => Asked::Tuned {
            figure: figure.to_string(),
            of: of(cell),
        },
    }
}

/// The kinds of these questions, in the order in which a reader asks them.
fn asks<'a>(questions: impl Iterator<Item = &'a Question> + Clone) -> Vec<&'static str> {
    type Kind = fn(&Question) -> bool;
    let kinds: [(&str, Kind); 3] = [
        ("fastest", |q| matches!(q, Question::Fastest { .. })),
        ("slow-first", |q| matches!(q, Question::SlowFirst(_))),
        ("tuned", |q| matches!(q, Question::Tuned { .. })),
    ];
    let asked = kinds
        .into_iter()
        .filter(|(_, is)| questions.clone().any(is));
    asked.map(|(kind, _)| kind).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use minijinja::context;

    use super::*;
    use crate::page::template;

    /// What the first page says where so many of five questions are open, and so many of these can be answered.
    fn said(open: usize, answerable: usize) -> Result<String> {
        let questions = (1..=open).map(|n| {
            Asked::SlowFirst(Of {
                engine: format!("x{n}"),
                model: "m".into(),
                threads: n,
            })
        });
        let open = Open {
            all: 5,
            asks: vec!["fastest", "slow-first"],
            open,
            questions: questions.take(NAMED).collect(),
            answerable,
            seconds: 60.0,
            command: "cargo firstpass check m.onnx --budget 7m".into(),
        };
        template::on_terminal("answer/open.md.j2", context! { open, too_short => [""; 0] })
    }

    #[test]
    fn a_few_open_questions_are_named_and_of_many_only_their_kinds() -> Result<()> {
        let few = said(2, 2)?;
        assert!(
            few.contains(
                "Still open: 2 of 5 questions: whether pass 1 is slow on x1 on m, 1 thread; whether pass 1 is slow on \
                 x2 on m, 2 threads."
            ),
            "{few}"
        );
        let many = said(4, 3)?;
        assert!(
            many.contains("Still open: 4 of 5 questions (who is fastest, whose pass 1 is slow)."),
            "{many}"
        );
        assert!(!many.contains("x1"), "{many}");
        let none = said(0, 0)?;
        assert!(
            none.contains("is answered") && !none.contains("Still open"),
            "{none}"
        );
        Ok(())
    }

    #[test]
    fn a_question_is_said_with_its_figure_and_its_setting() -> Result<()> {
        let said = |question: Asked| {
            let text = "{% from 'said/question.md.j2' import question %}{{ question(asked) }}";
            template::of_text("x.md.j2", text, context! { asked => question })
        };
        let fastest = |figure: &str| Asked::Fastest {
            figure: figure.into(),
            model: "a|b".into(),
            threads: 2,
        };
        assert_eq!(
            said(fastest("steady"))?,
            "which engine has the shortest steady time on a&#124;b, 2 threads"
        );
        assert_eq!(
            said(fastest("cold start"))?,
            "which engine has the shortest cold start on a&#124;b, 2 threads"
        );
        let of = Of {
            engine: "x".into(),
            model: "m".into(),
            threads: 1,
        };
        let figure = "pass 1".into();
        assert_eq!(
            said(Asked::Tuned { figure, of })?,
            "whether settings shorten the pass 1 of x on m, 1 thread"
        );
        Ok(())
    }

    #[test]
    fn a_long_command_has_a_line_of_its_own_on_a_terminal() -> Result<()> {
        let said = |command: &str, is_terminal: bool| {
            let question =
                context! { kind => "slow-first", engine => "x", model => "m", threads => 1 };
            let open = context! {
                all => 1, asks => ["tuned"], open => 1, questions => [question], answerable => 1, seconds => 9.0, command,
            };
            let data = context! { open, too_short => [""; 0] };
            let data = match is_terminal {
                true => context! { at_terminal => true, ..data },
                false => data,
            };
            template::on_terminal("answer/open.md.j2", data)
        };
        let long = format!("cargo firstpass check {}", "m".repeat(60));
        assert!(said(&long, true)?.ends_with(&format!("answer it:\n{long}\n")));
        assert!(said(&long, false)?.ends_with(&format!("answer it: {long}.\n")));
        assert!(said("short", true)?.ends_with("answer it: short.\n"));
        Ok(())
    }

    #[test]
    fn a_longer_run_is_asked_for_only_where_it_would_answer_anything() -> Result<()> {
        let one = said(1, 1)?;
        assert!(
            one.contains("would answer it: cargo firstpass check m.onnx --budget 7m"),
            "{one}"
        );
        assert!(said(2, 2)?.contains("would answer them: "));
        assert!(said(3, 2)?.contains("would answer 2 of them: "));
        let hopeless = said(2, 0)?;
        assert!(
            hopeless.contains("More time would hardly answer them") && !hopeless.contains("cargo"),
            "{hopeless}"
        );
        Ok(())
    }
}
