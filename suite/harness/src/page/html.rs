//! A report as one file of HTML that needs no network: the same markdown as the pages, with its plots and
//! pictures within, sortable tables, and values on hover.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Result;
use base64::{Engine, prelude::BASE64_STANDARD};
use minijinja::context;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html::push_html};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::page::template::{self, markdown as safe};

const STYLE: &str = include_str!("../../templates/html/style.css");
const SCRIPT: &str = include_str!("../../templates/html/script.js");

/// Plots and pictures are within the file up to this many bytes in all, so that it stays below 2 MB.
const PICTURES: usize = 1_000_000;

/// A page of the report, in markdown.
pub struct Page<'a> {
    /// Its file, such as `trust.md`, to which links of other pages lead.
    pub file: &'a str,
    pub title: &'a str,
    pub text: &'a str,
}

#[derive(Serialize)]
struct Rendered {
    id: String,
    title: String,
    html: minijinja::Value,
}

/// The file, with `files` by their path beside the pages.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn document(
    title: &str,
    pages: &[Page],
    files: &BTreeMap<PathBuf, Vec<u8>>,
) -> Result<String> {
    document_with(title, pages, files, "")
}

/// The same with a further script of a test. No other script runs: the page names those that may by their
/// digest.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub fn document_with(
    title: &str,
    pages: &[Page],
    files: &BTreeMap<PathBuf, Vec<u8>>,
    test: &str,
) -> Result<String> {
    let script = format!("{SCRIPT}{test}");
    let names: Vec<&str> = pages.iter().map(|page| page.file).collect();
    let mut left = PICTURES;
    let pages: Vec<Rendered> = pages
        .iter()
        .map(|page| Rendered {
            id: id_of(page.file),
            title: page.title.into(),
            html: safe(body(page, &names, files, &mut left)),
        })
        .collect();
    let script_sha256 = BASE64_STANDARD.encode(Sha256::digest(&script));
    template::render(
        "html/report.html.j2",
        context! { title, pages, style => safe(STYLE), script => safe(script), script_sha256 => safe(script_sha256) },
    )
}

/// `trust` for `trust.md`.
fn id_of(file: &str) -> String {
    file.trim_end_matches(".md").to_lowercase()
}

fn body(
    page: &Page,
    pages: &[&str],
    files: &BTreeMap<PathBuf, Vec<u8>>,
    left: &mut usize,
) -> String {
    let id = id_of(page.file);
    let parser = Parser::new_ext(page.text, Options::ENABLE_TABLES);
    let mut events: Vec<Event> = Vec::new();
    // What is written for an image is left out where the image itself stands in its place.
    let mut within_image = false;
    let mut heading: Option<(usize, String)> = None;
    for event in parser {
        match event {
            Event::Start(Tag::Heading {
                level,
                classes,
                attrs,
                ..
            }) => {
                heading = Some((events.len(), String::new()));
                events.push(Event::Start(Tag::Heading {
                    level,
                    id: None,
                    classes,
                    attrs,
                }));
            }
            Event::End(TagEnd::Heading(level)) => {
                if let Some((at, text)) = heading.take()
                    && let Some(Event::Start(Tag::Heading { id: of, .. })) = events.get_mut(at)
                {
                    *of = Some(format!("{id}-{}", slug(&text)).into());
                }
                events.push(Event::End(TagEnd::Heading(level)));
            }
            Event::Start(Tag::Table(alignments)) => {
                events.push(Event::Html(
                    "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"table\">"
                        .into(),
                ));
                events.push(Event::Start(Tag::Table(alignments)));
            }
            Event::End(TagEnd::Table) => {
                events.push(Event::End(TagEnd::Table));
                events.push(Event::Html("</div>".into()));
            }
            Event::Start(Tag::Image { dest_url, .. }) => {
                within_image = true;
                events.push(Event::InlineHtml(picture(&dest_url, files, left).into()));
            }
            Event::End(TagEnd::Image) => within_image = false,
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id: of,
            }) => events.push(Event::Start(Tag::Link {
                link_type,
                dest_url: link(&dest_url, &id, pages),
                title,
                id: of,
            })),
            // Only what folds a part is HTML of our own; all else is shown as text.
            Event::Html(html) | Event::InlineHtml(html) if !is_own(&html) => {
                events.push(Event::Text(html));
            }
            Event::Text(text) | Event::Code(text) if within_image => drop(text),
            event => {
                if let (Some((_, text)), Event::Text(words) | Event::Code(words)) =
                    (&mut heading, &event)
                {
                    text.push_str(words);
                }
                events.push(event);
            }
        }
    }
    let mut html = String::new();
    push_html(&mut html, events.into_iter());
    html
}

/// Whether HTML of a page is what our templates write: folded parts and marker comments.
fn is_own(html: &str) -> bool {
    let own = ["<details>", "</details>", "<summary>", "</summary>"];
    html.lines().all(|line| {
        let mut rest = line.trim().to_owned();
        for tag in own {
            rest = rest.replace(tag, "");
        }
        !rest.contains(['<', '>']) || rest.starts_with("<!-- firstpass: ") && rest.ends_with("-->")
    })
}

/// Links from page to page lead within the file; links to other files of the report are no links there.
fn link<'a>(target: &str, page: &str, pages: &[&str]) -> CowStr<'a> {
    if target.contains("://") {
        return target.to_owned().into();
    }
    let (file, fragment) = target.split_once('#').unwrap_or((target, ""));
    let of_page = if file.is_empty() {
        page.to_owned()
    } else if pages.contains(&file) {
        id_of(file)
    } else {
        return "#".into();
    };
    match fragment {
        "" => format!("#{of_page}").into(),
        fragment => format!("#{of_page}-{fragment}").into(),
    }
}

/// A plot as it is, a picture as data; what no longer fits is named.
fn picture(target: &str, files: &BTreeMap<PathBuf, Vec<u8>>, left: &mut usize) -> String {
    let path = percent_decoded(target);
    let Some(bytes) = files.get(Path::new(&path)) else {
        return String::new();
    };
    if bytes.len() > *left {
        let words = format!("[{path} lies beside this file, which it would make too large]");
        let mut html = String::new();
        push_html(&mut html, std::iter::once(Event::Text(words.into())));
        return html;
    }
    *left -= bytes.len();
    if path.ends_with(".svg") {
        // It stands in a paragraph, where a div has no place.
        return format!(
            "<span class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"plot\">{}</span>",
            String::from_utf8_lossy(bytes)
        );
    }
    format!(
        "<img alt=\"\" src=\"data:image/jpeg;base64,{}\">",
        BASE64_STANDARD.encode(bytes)
    )
}

fn percent_decoded(target: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = target.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).filter(|_| *first == b'%');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The fragment of a heading, as GitHub makes it.
pub fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<String> {
        let page = Page {
            file: "README.md",
            title: "The report",
            text,
        };
        let other = Page {
            file: "trust.md",
            title: "Trust",
            text: "## Noise\n",
        };
        let files = BTreeMap::from([
            ("plots/a b.svg".into(), b"<svg>plot</svg>".to_vec()),
            ("x.jpg".into(), vec![1, 2, 3]),
            ("large.jpg".into(), vec![0; PICTURES + 1]),
        ]);
        document("t", &[page, other], &files)
    }

    #[test]
    fn links_lead_to_the_pages_within_the_file() -> Result<()> {
        let html = one("[a](trust.md#noise) [b](trust.md) [c](#d) [e](records/x)\n\n# D\n")?;
        for expected in [
            "href=\"#trust-noise\"",
            "href=\"#trust\"",
            "href=\"#readme-d\"",
            "id=\"readme-d\"",
            "id=\"trust-noise\"",
            "<a href=\"#\">e</a>",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
        Ok(())
    }

    #[test]
    fn plots_and_pictures_are_within_the_file() -> Result<()> {
        let html = one("![p](plots/a%20b.svg) ![q](x.jpg) ![r](large.jpg)\n")?;
        assert!(html.contains("<svg>plot</svg>"), "{html}");
        assert!(html.contains("data:image/jpeg;base64,AQID"), "{html}");
        assert!(html.contains("large.jpg lies beside this file"), "{html}");
        Ok(())
    }

    #[test]
    fn html_of_others_is_text() -> Result<()> {
        let html = one(
            "<script>alert(1)</script>\n\n<img src=x onerror=y> *a*\n\n<details>\n<summary>s</summary>\n\nb\n\n</details>\n",
        )?;
        assert!(html.contains("&lt;script&gt;alert"), "{html}");
        assert!(!html.contains("<img src=x"), "{html}");
        assert!(html.contains("<details>"), "{html}");
        Ok(())
    }
}
