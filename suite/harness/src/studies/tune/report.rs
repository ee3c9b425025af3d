//! What settings do, as a page of its own: recommendation, trade-offs, and every setting tried.

mod advice;
mod open;
mod tables;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use firstpass_probe::{Knobs, Need, file_name};
use firstpass_trial::workspace::Workspace;
use minijinja::{Value, context};
use serde::Serialize;

use crate::{
    page::{
        markdown::image,
        numbers::setting as name,
        table::Table,
        template::{self, markdown},
        write_file,
    },
    studies::{
        explain::{
            self,
            judge::{Explanation, judge},
            report::{Remains, remains},
        },
        first_passes::analysis::program,
        to_root,
        tune::{
            Tuning,
            judge::{
                Ablation, STEADY_ALLOWANCE,
                recommend::{Advice, advise, figures, recommended},
            },
            plot as pareto, snippets,
        },
    },
};
use advice::{Goals, advice, against, goals_of, knobs_to_show};
use open::{uncertain, untried};
use tables::{Combined, Singles, WarmUp, combined, recommendations, singles, warm_up_table};

/// The question that the page answers.
pub(crate) const TITLE: &str = "Which settings make the first passes fast?";

/// The page, beside the report.
pub(crate) const PAGE: &str = "tuning.md";

/// What the page says of one engine on one model.
#[derive(Serialize)]
struct OfEngine {
    title: String,
    /// What to use for each need and why, or what is known where nothing can be recommended.
    advice: Vec<Value>,
    recommendations: Value,
    goals: Vec<Goals>,
    snippets: Vec<Value>,
    /// A whole program that runs the engine without Firstpass, in this project.
    program: Option<String>,
    /// What is left of a slow first pass.
    excess: Option<Excess>,
    plot: Option<Value>,
    warm_up: Option<WarmUp>,
    combined: Combined,
    singles: Option<Singles>,
}

/// The page and its plots, by path.
pub(crate) fn files(
    workspace: &Workspace,
    tuning: &Tuning,
    called: &dyn Fn(&str) -> String,
    to_root: Option<&str>,
) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let explained = explained(tuning)?;
    let backends = workspace.backends()?;
    let mut engines = Vec::new();
    let decisive = tuning.decisive();
    let singles: Vec<&Ablation> = tuning.one_at_a_time.ablations.iter().collect();
    for name in tuning.backends() {
        let backend = backends.iter().find(|b| b.name == name);
        let description = tuning.one_at_a_time.description(name);
        for (at, ablation) in of_backend(&decisive, name).enumerate() {
            let title = title(tuning, ablation);
            let mut snippets = Vec::new();
            let mut program = None;
            if let (0, Some(backend)) = (at, backend) {
                program = self::program(workspace, name);
                for knobs in knobs_to_show(ablation) {
                    snippets.extend(snippets::lines(workspace, backend, description, &knobs));
                }
            }
            let singles = of_backend(&singles, name).find(|a| a.model == ablation.model);
            let shown: Vec<&Ablation> = singles.into_iter().chain([ablation]).collect();
            let path = PathBuf::from(format!(
                "plots/tuned-{name}-{}.svg",
                file_name(&ablation.model)
            ));
            let plot = pareto::draw(&format!("{}, {title}", called(name)), &shown)?;
            let alt =
                format!("cold start against steady time of every setting of {name} on {title}");
            engines.push(OfEngine {
                title: format!("{} on {title}", called(name)),
                advice: Need::ALL
                    .into_iter()
                    .map(|need| Ok(markdown(advice(tuning, ablation, need)?)))
                    .collect::<Result<_>>()?,
                recommendations: recommendations(ablation).page(),
                goals: goals_of(ablation),
                snippets: snippets.into_iter().map(markdown).collect(),
                program,
                excess: excess(ablation, &explained),
                plot: plot.as_ref().map(|_| markdown(image(&path, &alt))),
                warm_up: warm_up_table(ablation),
                combined: combined(ablation),
                singles: singles.map(|singles| self::singles(singles, description)),
            });
            files.extend(plot.map(|svg| (path, svg.into_bytes())));
        }
    }
    let first = tuning.one_at_a_time.records.first();
    let threads = first.into_iter().flat_map(|r| &r.run.settings.threads);
    let certain = certain(tuning, called);
    let data = context! {
        certain => certain.as_ref().map(Table::seen),
        uncertain => uncertain(tuning, called),
        untried => untried(tuning, called),
        engines,
        to_root,
        threads => threads.map(ToString::to_string).collect::<Vec<_>>(),
        allowance => STEADY_ALLOWANCE - 1.0,
    };
    let text = template::render("detail/tuning.md.j2", context! { data })?;
    let answer = answer(tuning, called)?;
    let page = template::page(TITLE, [answer.as_str()], &text)?;
    files.insert(PAGE.into(), page.into_bytes());
    Ok(files)
}

/// A setting that certainly helps an engine.
#[derive(Serialize)]
struct Helps {
    engine: String,
    /// Its time over that of the default.
    ratio: f64,
    setting: String,
}

/// Which engines have a setting that helps.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(tuning: &Tuning, called: &dyn Fn(&str) -> String) -> Result<String> {
    let [cold, serve] = [Need::Cold, Need::Serve].map(|need| {
        let used = tuning.decisive().into_iter().filter_map(|ablation| {
            let Advice::Use(setting) = advise(ablation, need) else {
                return None;
            };
            Some(Helps {
                engine: called(&ablation.backend),
                ratio: setting.against.get(&figures(need)[0])?.ratio,
                setting: setting.name(),
            })
        });
        used.collect::<Vec<_>>()
    });
    let untried = untried(tuning, called).map(|untried| untried.engines);
    template::answer("tuning.md.j2", context! { cold, serve, untried })
}

/// What is certain to help, a setting a row; `None` where nothing is.
fn certain(tuning: &Tuning, called: &dyn Fn(&str) -> String) -> Option<Table> {
    let mut table = Table::new(["engine", "for", "recommended", "its time / default"]).keys(2);
    for ablation in tuning.decisive() {
        for need in Need::ALL {
            if let Advice::Use(setting) = advise(ablation, need) {
                table.row([
                    called(&ablation.backend),
                    need.to_string(),
                    format!("`{}`", setting.name()),
                    against(setting, figures(need)[0]),
                ]);
            }
        }
    }
    (!table.is_empty()).then_some(table)
}

/// The recommendations, for a terminal.
pub fn tuning_summary(tuning: &Tuning) -> String {
    summary(tuning).terminal()
}

/// What is recommended of each engine for each need, and what it gives.
fn summary(tuning: &Tuning) -> Table {
    let mut table = Table::new(["engine", "for", "recommended", "what it gives"]);
    for ablation in tuning.decisive() {
        for need in Need::ALL {
            let figure = figures(need)[0];
            let (name, gives) = match advise(ablation, need) {
                _ if !ablation.compares() => {
                    ("not timed: give more --budget".into(), String::new())
                }
                Advice::Use(setting) => (
                    format!("`{}`", setting.name()),
                    format!("{figure} {}", against(setting, figure)),
                ),
                Advice::Open { bound, .. } => (
                    "nothing is certain yet".into(),
                    format!("{figure}: gain below {:.0} %", 100.0 * bound),
                ),
                Advice::Nothing { bound } => (
                    "nothing".into(),
                    bound.map_or_else(String::new, |b| format!("no gain above {:.0} %", 100.0 * b)),
                ),
            };
            table.row([ablation.backend.clone(), need.to_string(), name, gives]);
        }
    }
    table
}

fn of_backend<'a>(ablations: &[&'a Ablation], backend: &str) -> impl Iterator<Item = &'a Ablation> {
    let own = ablations.iter().filter(move |a| a.backend == backend);
    own.copied()
}

fn title<'a>(tuning: &'a Tuning, ablation: &'a Ablation) -> &'a str {
    let measured = [Some(&tuning.one_at_a_time), tuning.combined.as_ref()];
    let mut models = measured.into_iter().flatten().flat_map(|m| &m.models);
    models
        .find(|m| m.name == ablation.model)
        .map_or(&ablation.model, |m| &m.title)
}

/// Where passes spend their time, by default and with the tuning; nothing where it was not asked.
fn explained(tuning: &Tuning) -> Result<Vec<Explanation>> {
    let folder = tuning.folder();
    // One of another version is no reason to show nothing of settings.
    let explain = folder
        .parent()
        .and_then(|record| explain::read(record).ok().flatten());
    Ok(explain.map_or_else(Vec::new, |explain| judge(&explain).explanations))
}

/// What is left of a slow first pass without warm-up passes.
#[derive(Serialize)]
struct Excess {
    /// With what is recommended; `None` by default.
    setting: Option<String>,
    remains: Remains,
}

/// What is left of a slow first pass without warm-up passes: with what is recommended, else by default.
fn excess(ablation: &Ablation, explained: &[Explanation]) -> Option<Excess> {
    let mut settings = Need::ALL
        .iter()
        .filter_map(|need| recommended(ablation, *need));
    let knobs = settings
        .next()
        .map_or_else(Knobs::default, |s| s.knobs.clone());
    let profiled = explain::without_warm_up(&knobs);
    let explanation = explained.iter().find(|e| {
        e.backend == ablation.backend && e.model == ablation.model && e.knobs == profiled
    });
    explanation.map(|e| Excess {
        setting: (profiled != Knobs::default()).then(|| name(&profiled)),
        remains: remains(e),
    })
}

/// Writes the page of what settings do into `folder`, with its plots; returns the page.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write(workspace: &Workspace, tuning: &Tuning, folder: &Path) -> Result<PathBuf> {
    let to_root = std::path::absolute(folder).map(|folder| to_root(workspace, &folder))?;
    for (path, bytes) in files(workspace, tuning, &str::to_owned, to_root.as_deref())? {
        write_file(folder, &path, &bytes)?;
    }
    Ok(folder.join(PAGE))
}
