//! The templates in which the prose of pages is written: the files of `templates/`, in minijinja.
//!
//! What a template prints is data and is escaped for where it goes, which the name of the template says:
//! `.md.j2` for a page of markdown, `.txt.j2` for a terminal. Tables and other pieces of markdown are marked
//! as such by [`markdown`] and stay as they are. Filters say numbers in the words of every page.

use std::sync::LazyLock;

use anyhow::{Context, Result};
use include_dir::{Dir, include_dir};
use minijinja::{
    AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value, value::ValueKind,
};
use serde::Serialize;

use crate::page::{
    self,
    numbers::{
        brief, counted, duration, lasted, list, milliseconds, names, times, times_with_interval,
    },
    terminal,
};

static FILES: Dir = include_dir!("$CARGO_MANIFEST_DIR/templates");

const MARKDOWN: &str = "markdown";
const TERMINAL: &str = "terminal";

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// Renders the template of this name.
///
/// # Errors
/// Fails where there is no such template, and where it asks for something that the data does not have; the
/// message names the file and the line.
pub(crate) fn render(name: &str, data: impl Serialize) -> Result<String> {
    let template = ENVIRONMENT.get_template(name);
    let rendered = template.and_then(|template| template.render(data));
    rendered.with_context(|| format!("cannot render {name}"))
}

/// A piece of markdown that a template prints as it is.
pub(crate) fn markdown(text: impl Into<String>) -> Value {
    Value::from_safe_string(text.into())
}

/// The answer with which a page begins, `templates/page/NAME`: a paragraph of markdown.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn answer(name: &str, data: impl Serialize) -> Result<String> {
    let answer = render(&format!("page/{name}"), data)?;
    Ok(answer.trim().replace('\n', ""))
}

/// The words of a template as a terminal shows them.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn on_terminal(name: &str, data: impl Serialize) -> Result<String> {
    Ok(terminal::plain(&render(name, data)?))
}

/// A page behind the first one: its question, the answers, each a paragraph of markdown, and the details.
///
/// # Errors
/// Fails where the template cannot be rendered.
pub(crate) fn page<'a>(
    title: &str,
    answers: impl IntoIterator<Item = &'a str>,
    text: &str,
) -> Result<String> {
    let answers: Vec<Value> = answers.into_iter().map(markdown).collect();
    let page = render(
        "page/page.md.j2",
        minijinja::context! { title, answers, text => markdown(text) },
    )?;
    // Templates leave several empty lines where a part is left out.
    let mut tidy = String::with_capacity(page.len());
    for line in page.lines().map(str::trim_end) {
        if !(line.is_empty() && tidy.ends_with("\n\n")) {
            tidy += line;
            tidy += "\n";
        }
    }
    Ok(tidy.trim_end().to_owned() + "\n")
}

/// Renders a text in place of a file of this name, so that a macro can be tried by itself.
#[cfg(test)]
pub(crate) fn of_text(name: &str, text: &str, data: Value) -> Result<String, Error> {
    ENVIRONMENT.render_named_str(name, text, data)
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_loader(|name| {
        let file = FILES.get_file(name).and_then(|file| file.contents_utf8());
        Ok(file.map(str::to_owned))
    });
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_keep_trailing_newline(true);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|name| {
        if name.ends_with(".md.j2") {
            AutoEscape::Custom(MARKDOWN)
        } else if name.ends_with(".txt.j2") {
            AutoEscape::Custom(TERMINAL)
        } else {
            AutoEscape::Html
        }
    });
    environment.set_formatter(escaped);
    environment.add_filter("ms", milliseconds);
    environment.add_filter("times", times);
    environment.add_filter("percent", |share: f64| format!("{:.0} %", 100.0 * share));
    environment.add_filter("with_interval", |ratio: f64, low: f64, high: f64| {
        times_with_interval(ratio, (low, high))
    });
    environment.add_filter("listed", |items: Vec<String>| list(&items));
    environment.add_filter("named", |items: Vec<String>| names(&items));
    environment.add_filter("counted", |n: usize, one: &str| counted(n, one));
    environment.add_filter("duration", duration);
    environment.add_filter("lasted", lasted);
    environment.add_filter("brief", |words: &str| brief(words));
    environment.add_filter("code", |words: &str| markdown(page::markdown::code(words)));
    environment.add_filter("html", |words: &str| markdown(page::markdown::html(words)));
    environment
}

/// Writes a value, escaped for where the template goes.
fn escaped(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    let is_text = value.kind() == ValueKind::String && !value.is_safe();
    let text = value.to_string();
    let text = match state.auto_escape() {
        _ if !is_text => text,
        AutoEscape::Custom(MARKDOWN) => page::markdown::text(&text),
        AutoEscape::Custom(TERMINAL) => page::terminal::text(&text).into_owned(),
        _ => return minijinja::escape_formatter(out, state, value),
    };
    out.write_str(&text).map_err(Error::from)
}

#[cfg(test)]
mod tests {
    use super::{of_text as rendered, *};

    #[test]
    fn names_are_escaped_for_where_they_go_and_markdown_stays() -> Result<(), Error> {
        let data = minijinja::context! { name => "<b>|x\u{1b}[31m", table => markdown("| a |") };
        let page = rendered("x.md.j2", "{{ name }} {{ table }}", data.clone())?;
        assert!(!page.contains("<b>") && !page.contains('\u{1b}'), "{page}");
        assert!(page.ends_with("| a |"), "{page}");
        let terminal = rendered("x.txt.j2", "{{ name }}", data)?;
        assert!(terminal.starts_with("<b>|x") && !terminal.contains('\u{1b}'));
        Ok(())
    }

    #[test]
    fn numbers_have_the_words_of_every_page() -> Result<(), Error> {
        let data =
            minijinja::context! { ms => 10.71, ratio => 2.14, names => ["a", "b", "c"], n => 1 };
        let text = "{{ ms|ms }} {{ ratio|times }} {{ names|listed }} {{ n|counted('process') }} \
                    {{ (n + 1)|counted('process') }} {{ (n + 1)|counted('pass') }} {{ 2|counted('thread') }}";
        let page = rendered("x.md.j2", text, data)?;
        assert_eq!(
            page,
            "10.7 2.14× a, b and c 1 process 2 processes 2 passes 2 threads"
        );
        Ok(())
    }

    #[test]
    fn a_sentence_names_a_few_of_many_each_with_its_figure() -> Result<(), Error> {
        let said = |n: usize| {
            let all: Vec<String> = (1..=n).map(|n| format!("<{n}>")).collect();
            let text = "{% from 'said/words.md.j2' import few, every %}\
                        {% call(one) few(all) %}{{ one }}{% endcall %}; \
                        {% call(one) every(all) %}{{ one }}{% endcall %}";
            rendered("x.txt.j2", text, minijinja::context! { all })
        };
        assert_eq!(said(0)?, "; ");
        assert_eq!(said(1)?, "<1>; <1>");
        assert_eq!(said(4)?, "<1>, <2>, <3> and <4>; <1>, <2>, <3> and <4>");
        let (few, every) = ("<1>, <2>, <3> and 2 more", "<1>, <2>, <3>, <4> and <5>");
        assert_eq!(said(5)?, format!("{few}; {every}"));
        Ok(())
    }

    #[test]
    fn who_has_all_is_named_together_and_the_others_with_what_they_have() -> Result<()> {
        let said = |parts: &[usize]| {
            let named = parts.iter().zip("abcdefgh".chars());
            let engines = named.map(|(&part, name)| (name.to_string(), part, 9));
            let of = page::numbers::PartOf::new(engines.collect());
            let text = "{% from 'said/words.md.j2' import part_of %}{{ part_of(of) }}";
            rendered("x.md.j2", text, minijinja::context! { of })
        };
        assert_eq!(said(&[9, 9])?, "all on a and b");
        assert_eq!(said(&[8, 9, 3])?, "all on b; 3 of 9 on c and 8 of 9 on a");
        assert_eq!(
            said(&[1, 2, 3, 4, 5, 6])?,
            "1 of 9 on a, 2 of 9 on b, 3 of 9 on c and 3 more"
        );
        assert_eq!(said(&[])?, "none was tried");
        Ok(())
    }

    #[test]
    fn what_is_not_there_is_an_error_with_its_line() {
        let error = rendered("x.md.j2", "a\n{{ nothing }}", Value::UNDEFINED).err();
        assert!(error.is_some_and(|e| e.line() == Some(2)));
        assert!(render("no-such-page.md.j2", ()).is_err());
    }
}
