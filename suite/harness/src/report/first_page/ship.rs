//! Which engine to ship.

use firstpass_statistics::comparison::Verdict;
use firstpass_trial::{expectation::ExpectationVerdict, model::ModelDescription};
use serde::Serialize;

use super::{timed, typical};
use crate::studies::first_passes::{
    analysis::{Analysis, Row},
    judge::{
        headlines::{Answer, fastest},
        latency::{Figure, LEAST_PASSES, Latency},
    },
    unfit,
};

/// The engines that are fastest among those whose outputs can be used.
#[derive(Debug, Serialize)]
pub(super) struct Ship {
    /// No difference that matters was found between these; several are in the order of their times.
    pub fastest: Vec<Engine>,
    /// Whether no other engine with usable outputs was timed.
    pub is_alone: bool,
    /// The first engine that is slower.
    pub next: Option<Rival>,
    /// Engines of which it is not decided yet whether they are slower.
    pub open: Vec<Rival>,
    /// The first engine to answer after its process starts, where that is decided.
    pub first_to_answer: Option<Engine>,
    /// Whether engines differ and nothing says who is right.
    pub is_undecided: bool,
    /// Those of the fastest whose outputs are not those of the reference.
    pub differing: Vec<String>,
    /// Where there are such: the fastest engine whose outputs are those of the reference.
    pub right: Option<Engine>,
    /// Engines whose outputs cannot be used, and why.
    pub unfit: Vec<Unfit>,
    /// All of these.
    pub no_choice: Vec<String>,
    /// Programs that run the fastest without Firstpass, from the root of the workspace.
    pub programs: Vec<Program>,
    /// The fastest engine whose timed code its users get and whose outputs do not differ, where the fastest one is this
    /// project's own.
    pub published: Option<Engine>,
}

/// A program that runs an engine.
#[derive(Debug, Serialize)]
pub(super) struct Program {
    pub label: String,
    pub path: String,
}

/// An engine with the figure that it is judged by.
#[derive(Debug, Serialize)]
pub(super) struct Engine {
    pub label: String,
    pub ms: f64,
}

/// An engine beside the fastest one.
#[derive(Debug, Serialize)]
pub(super) struct Rival {
    pub label: String,
    pub ms: f64,
    /// Its time over that of the fastest, with a 95 % interval.
    pub ratio: f64,
    pub low: f64,
    pub high: f64,
}

/// Engines that give no outputs that can be used, for the same reason.
#[derive(Debug, Serialize)]
pub(super) struct Unfit {
    pub labels: Vec<String>,
    pub why: String,
    /// Whether the size of the difference decides that, [`unfit::Unfit::is_far`].
    pub is_far: bool,
}

/// Which engine to ship for a model; `None` where no engine with outputs was timed.
pub(super) fn ship(analysis: &Analysis, model: &ModelDescription, threads: usize) -> Option<Ship> {
    let rows = analysis.rows(model);
    // One on another processor is no choice for this machine.
    let here = rows.iter().filter(|row| {
        let processors = &analysis.record.run.processors;
        !processors.contains_key(&row.cell.backend)
    });
    let mut unfit: Vec<Unfit> = Vec::new();
    for row in here {
        let Some(unfit::Unfit { why, is_far }) = row.unfit() else {
            continue;
        };
        let label = row.label.clone();
        let is_same = |known: &&mut Unfit| (&known.why, known.is_far) == (&why, is_far);
        match unfit.iter_mut().find(is_same) {
            Some(known) => known.labels.push(label),
            None => unfit.push(Unfit {
                labels: vec![label],
                why,
                is_far,
            }),
        }
    }
    let fit: Vec<(&Row, &Latency)> = timed(rows, threads)
        .filter(|(row, latency)| {
            let is_fit = unfit.iter().all(|u| !u.labels.contains(&row.label));
            is_fit && latency.passes >= LEAST_PASSES
        })
        .collect();
    let ranked = ranked(&fit, Figure::Steady);
    let (best, _, _) = *ranked.first()?;
    let group: Vec<&Latency> = fit.iter().map(|(_, latency)| *latency).collect();
    let alike = match fastest(&group, &analysis.comparisons, Figure::Steady) {
        Some(Answer::Fastest(cells)) => Some(cells),
        _ => None,
    };
    let mut ship = Ship {
        fastest: vec![engine(&ranked[0])],
        is_alone: ranked.len() == 1,
        next: None,
        open: Vec::new(),
        first_to_answer: first_to_answer(analysis, &fit),
        is_undecided: fit.iter().any(|(row, _)| {
            matches!(&row.verdict, Some(ExpectationVerdict::Undecided(how)) if !how.is_empty())
        }),
        differing: Vec::new(),
        right: None,
        no_choice: unfit.iter().flat_map(|u| u.labels.clone()).collect(),
        unfit,
        programs: Vec::new(),
        published: None,
    };
    for &(row, latency, ms) in &ranked[1..] {
        let compared = analysis
            .comparisons
            .get(&latency.cell, &ranked[0].1.cell, Figure::Steady);
        let Some(compared) = compared else { continue };
        let rival = || Rival {
            label: row.label.clone(),
            ms,
            ratio: compared.ratio,
            low: compared.interval.0,
            high: compared.interval.1,
        };
        match compared.verdict {
            Verdict::NoDifference => ship.fastest.push(engine(&(row, latency, ms))),
            Verdict::Slower if ship.next.is_none() => ship.next = Some(rival()),
            Verdict::Slower => {}
            _ => ship.open.push(rival()),
        }
    }
    // A row that is claimed to be slower within rounds is not the fastest, whatever its median.
    let is_told = alike.is_some_and(|cells| cells.contains(&ranked[0].1.cell));
    if ranked.len() > 1 && !is_told && ship.open.is_empty() {
        return None;
    }
    let differs = |row: &Row| matches!(row.verdict, Some(ExpectationVerdict::Differs(_)));
    let labels: Vec<&str> = ship.fastest.iter().map(|e| e.label.as_str()).collect();
    let fastest = fit.iter().map(|(row, _)| row);
    let fastest = fastest.filter(|row| labels.contains(&row.label.as_str()));
    let programs = fastest.clone().filter_map(|row| {
        Some(Program {
            label: row.label.clone(),
            path: analysis.programs.get(&row.cell.backend)?.clone(),
        })
    });
    let programs = programs.collect();
    ship.differing = fastest
        .filter(|row| differs(row))
        .map(|row| row.label.clone())
        .collect();
    if !ship.differing.is_empty() {
        let right = ranked.iter().find(|(row, ..)| !differs(row));
        ship.right = right.map(engine);
    }
    ship.programs = programs;
    let is_own = |row: &Row| {
        let known = analysis.known.get(&row.cell.backend);
        known.is_some_and(|known| known.of_this_project)
    };
    if is_own(best) {
        let published = ranked
            .iter()
            .find(|(row, ..)| !is_own(row) && !differs(row));
        ship.published = published.map(engine);
    }
    Some(ship)
}

type Ranked<'a> = (&'a Row, &'a Latency, f64);

fn engine((row, _, ms): &Ranked) -> Engine {
    Engine {
        label: row.label.clone(),
        ms: *ms,
    }
}

fn ranked<'a>(fit: &[(&'a Row, &'a Latency)], figure: Figure) -> Vec<Ranked<'a>> {
    let timed = fit.iter().filter_map(|(row, latency)| {
        let time = typical(latency.by_round(figure))?;
        Some((*row, *latency, time))
    });
    let mut ranked: Vec<Ranked> = timed.collect();
    ranked.sort_by(|a, b| a.2.total_cmp(&b.2));
    ranked
}

fn first_to_answer(analysis: &Analysis, fit: &[(&Row, &Latency)]) -> Option<Engine> {
    let group: Vec<&Latency> = fit.iter().map(|(_, latency)| *latency).collect();
    let Some(Answer::Fastest(cells)) = fastest(&group, &analysis.comparisons, Figure::ColdStart)
    else {
        return None;
    };
    let ranked = ranked(fit, Figure::ColdStart);
    let first = ranked.iter().find(|(_, l, _)| cells.contains(&l.cell))?;
    (cells.len() == 1).then(|| engine(first))
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use minijinja::context;

    use super::*;
    use crate::page::template;

    /// What the first page says where these engines differ, the fastest or others.
    fn said(differing: &[&str], unfit: Vec<Unfit>) -> Result<String> {
        let ship = Ship {
            fastest: vec![Engine {
                label: "a".into(),
                ms: 1.0,
            }],
            is_alone: false,
            next: None,
            open: Vec::new(),
            first_to_answer: None,
            is_undecided: false,
            differing: differing.iter().map(ToString::to_string).collect(),
            right: None,
            no_choice: unfit.iter().flat_map(|u| u.labels.clone()).collect(),
            unfit,
            programs: Vec::new(),
            published: None,
        };
        let model = context! { called => "m", threads => 1, ship };
        template::on_terminal("answer/ship.md.j2", context! { models => vec![model] })
    }

    #[test]
    fn where_the_size_of_a_difference_decides_it_is_said() -> Result<()> {
        let unfit = |is_far| {
            vec![Unfit {
                labels: vec!["b".into()],
                why: "y is off by 9".into(),
                is_far,
            }]
        };
        let far = said(&[], unfit(true))?;
        assert!(
            far.contains(
                "b is no choice: y is off by 9, which is more than a tenth of the outputs."
            ),
            "{far}"
        );
        let other = said(&[], unfit(false))?;
        assert!(other.contains("b is no choice: y is off by 9."), "{other}");
        let near = said(&["a"], Vec::new())?;
        assert!(
            near.contains(
                "a gives other outputs than the reference, by less than a tenth of them."
            ),
            "{near}"
        );
        Ok(())
    }
}
