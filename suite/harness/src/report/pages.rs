//! The pages of a report: the first one, and those that it links to. A page begins with its answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::Result;
use minijinja::{Value, context};
use serde::Serialize;

use crate::{
    page::template::{self, markdown},
    report::{
        Rendered, detail,
        first_page::{self, FirstPage, first_page},
        picture_path, plot_path,
        staleness::WHOLE,
        templates,
    },
    studies::{
        self, Page, Part, Scope, Section, explain,
        first_passes::{
            self,
            analysis::Analysis,
            picture::{self, pictured_model},
            plots::{self, Plot},
        },
    },
};

/// A line of the first page: another page, and what that one answers.
#[derive(Debug, Serialize)]
struct Link {
    title: String,
    file: String,
    answer: Value,
}

/// Renders a record into what belongs into `folder`.
///
/// # Errors
/// Fails where the record, its models or its photographs cannot be read.
pub fn render(scope: &Scope, folder: &Path) -> Result<Rendered> {
    let analysis = scope.analysis;
    let mut files = pictures(analysis)?;
    let mut sections = Vec::new();
    let mut links = Vec::new();
    let mut studies: BTreeMap<PathBuf, BTreeSet<&'static str>> = BTreeMap::new();
    for study in studies::ALL {
        let Part {
            section,
            page,
            files: own,
        } = study.part(scope)?;
        files.extend(own);
        for file in section
            .iter()
            .map(|s| s.page.file())
            .chain(page.iter().map(|p| p.file))
        {
            studies.entry(file.into()).or_default().insert(study.name());
        }
        sections.extend(section);
        links.extend(page.map(|page| Link {
            title: page.title.into(),
            file: page.file.into(),
            answer: markdown(page.answer),
        }));
    }
    let data = first_page(analysis);
    let mut own = of_the_record(scope, &data, &files)?;
    for section in &own {
        studies
            .entry(section.page.file().into())
            .or_default()
            .insert(WHOLE);
    }
    own.extend(sections);
    let mut pages = Vec::new();
    for page in Page::ALL {
        let of_page: Vec<&Section> = own.iter().filter(|s| s.page == page).collect();
        let Some(first) = of_page.first() else {
            continue;
        };
        pages.push(Link {
            title: page.title().into(),
            file: page.file().into(),
            answer: markdown(&first.answer),
        });
        files.insert(
            page.file().into(),
            detail_page(page, &of_page)?.into_bytes(),
        );
    }
    pages.extend(links);
    for (path, bytes) in templates::files(folder, analysis)? {
        pages.push(Link {
            title: title_of(&bytes),
            file: path.display().to_string(),
            answer: markdown("the question that this project began with, answered."),
        });
        // What people wrote has figures of first passes and of what explains them.
        studies.insert(path.clone(), [WHOLE, explain::SIDECAR.name].into());
        files.insert(path, bytes);
    }
    let behind = pages.iter();
    let behind = behind.map(|link| (link.title.clone(), link.file.clone().into()));
    let behind = behind.collect();
    let block = template::render(
        "first-page.md.j2",
        context! { at => "", root => scope.to_root, plot => plot(analysis, &files), picture => picture(analysis, &files), pages, ..Value::from_serialize(&data) },
    )?;
    Ok(Rendered {
        block,
        files,
        pages: behind,
        studies,
    })
}

/// The heading of a page that people wrote.
fn title_of(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let first = text.lines().next().unwrap_or_default();
    first.trim_start_matches('#').trim().into()
}

fn pictures(analysis: &Analysis) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for model in analysis.models() {
        for plot in Plot::ALL {
            if let Some(svg) = plot.draw(analysis, model)? {
                files.insert(plot_path(plot, &model.name), svg.into_bytes());
            }
        }
    }
    for (sample, jpeg) in picture::pictures(analysis)? {
        files.insert(picture_path(&sample), jpeg);
    }
    Ok(files)
}

/// The sections that every record has.
fn of_the_record(
    scope: &Scope,
    data: &FirstPage,
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> Result<Vec<Section>> {
    let analysis = scope.analysis;
    let shown = first_page::shown(analysis);
    let trust = detail::trust(scope.workspace, analysis);
    let time = first_passes::report::first_passes(analysis, &shown, files);
    let outputs = detail::agreement(analysis, scope.of_fixtures, &shown, files);
    Ok(vec![
        section(Page::FirstPasses, "first-passes.md.j2", data, &time)?,
        section(Page::Agreement, "agreement.md.j2", data, &outputs)?,
        section(Page::Trust, "trust.md.j2", &trust, &trust)?,
    ])
}

/// A section: `page/NAME` answers in a sentence or two, `detail/NAME` has the details.
fn section(
    page: Page,
    name: &str,
    answer: &impl Serialize,
    data: &impl Serialize,
) -> Result<Section> {
    Ok(Section {
        page,
        answer: template::answer(name, answer)?,
        text: template::render(&format!("detail/{name}"), context! { data })?,
    })
}

fn detail_page(page: Page, sections: &[&Section]) -> Result<String> {
    let answers = sections.iter().map(|section| section.answer.as_str());
    let texts: Vec<&str> = sections.iter().map(|s| s.text.trim()).collect();
    template::page(page.title(), answers, &texts.join("\n\n"))
}

/// The plot of the first page, in markdown.
fn plot(analysis: &Analysis, files: &BTreeMap<PathBuf, Vec<u8>>) -> Option<Value> {
    let model = pictured_model(analysis).or(analysis.models().first())?;
    let plot = plots::plot(Plot::Overview, model, files)?;
    Some(markdown(plot))
}

/// The photograph of the first page, in markdown: the one with the most faces.
fn picture(analysis: &Analysis, files: &BTreeMap<PathBuf, Vec<u8>>) -> Option<Value> {
    let faces = |s: &&firstpass_trial::sample::Sample| s.faces.as_ref().map_or(0, Vec::len);
    let samples = analysis.samples().iter();
    let shown = samples.filter(|s| files.contains_key(&picture_path(&s.name)));
    let sample = shown.max_by_key(faces)?;
    let alt = format!("faces found in {}", sample.name);
    Some(markdown(crate::page::markdown::image(
        &picture_path(&sample.name),
        &alt,
    )))
}

/// What the README of the project shows: the answers, and the plot. Paths begin with `prefix`.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn excerpt(analysis: &Analysis, prefix: &Path) -> Result<String> {
    let model = pictured_model(analysis).or(analysis.models().first());
    let plot = model.map(|model| {
        let path = prefix.join(plot_path(Plot::Overview, &model.name));
        markdown(crate::page::markdown::image(
            &path,
            &Plot::Overview.description(model),
        ))
    });
    template::render(
        "excerpt.md.j2",
        context! { at => format!("{}/", prefix.display()), root => "", plot, ..Value::from_serialize(first_page(analysis)) },
    )
}
