//! Text of others on a terminal.

use std::{borrow::Cow, io::IsTerminal};

use firstpass_probe::is_invisible;
use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// The width of what is written where no terminal says its own.
const COLUMNS: usize = 100;

/// Nothing is made narrower.
const NARROWEST: usize = 40;

/// The width of the terminal, and of what is written into a file or another program.
pub(crate) fn columns() -> usize {
    let size = terminal_size::terminal_size();
    size.map_or(COLUMNS, |(width, _)| usize::from(width.0))
        .max(NARROWEST)
}

/// Whether a person looks at what is written.
pub(crate) fn is_seen() -> bool {
    std::io::stdout().is_terminal()
}

/// The words of a page of markdown without its marks, as a terminal shows them: an entry of a list a line.
pub(crate) fn plain(page: &str) -> String {
    let mut plain = String::new();
    for event in Parser::new(page) {
        match event {
            Event::Text(words) | Event::Code(words) => plain.push_str(&text(&words)),
            Event::Start(Tag::Item) => plain.push_str("- "),
            Event::SoftBreak => plain.push(' '),
            Event::HardBreak
            | Event::End(TagEnd::Item | TagEnd::Paragraph | TagEnd::Heading(_)) => {
                plain.push('\n');
            }
            _ => {}
        }
    }
    plain
}

/// How a line begins that is a command.
const COMMAND: &str = "cargo firstpass ";

/// Lines that are no wider than this; what continues an entry of a list is indented. A line that is a command stays
/// as it is: it is copied into a shell.
pub(crate) fn wrapped(lines: &str, width: usize) -> String {
    let wrapped = lines.lines().map(|line| {
        if line.starts_with(COMMAND) {
            return line.to_owned();
        }
        let indent = if line.starts_with("- ") { "  " } else { "" };
        textwrap::fill(
            line,
            textwrap::Options::new(width).subsequent_indent(indent),
        )
    });
    wrapped.collect::<Vec<_>>().join("\n")
}

/// Text that is shown on a terminal, in which nothing gives the terminal orders: control characters but ends of
/// lines and tabs, and characters that are not seen, are written as `\u{1b}`.
///
/// Names of models, inputs and operators, and what engines say, come from files that anybody may have made.
pub fn text(text: &str) -> Cow<'_, str> {
    let keep = |c: char| matches!(c, '\n' | '\t') || !is_hidden(c);
    if text.chars().all(keep) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if keep(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown.into()
}

/// The same for a name within a line, which must not begin another one.
pub fn line(name: &str) -> String {
    text(name).replace('\n', "\\u{a}").replace('\t', "\\u{9}")
}

/// Of words without an end so many characters are shown.
const WORDS: usize = 4000;

/// The same for words of an engine, which may be any number: the record keeps all of them.
pub(crate) fn beginning(words: &str) -> Cow<'_, str> {
    match words.char_indices().nth(WORDS) {
        None => text(words),
        Some((end, _)) => {
            let more = words[end..].chars().count();
            format!("{} … ({more} more characters)", text(&words[..end])).into()
        }
    }
}

/// Whether a character is not seen as itself.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_plain_lines_that_fit() {
        let page = "- **Ship *a* with `b`.** It is &#124; fast\n- [two](x.md) &#60;b>\n";
        assert_eq!(plain(page), "- Ship a with b. It is | fast\n- two <b>\n");
        let text = wrapped("- one two three\nfour five", 9);
        assert_eq!(text, "- one two\n  three\nfour five");
        let command = "cargo firstpass check m.onnx --budget 7m";
        assert_eq!(wrapped(command, 9), command);
    }

    #[test]
    fn a_name_begins_no_line() {
        assert_eq!(
            line("a\ngate: kept\t\u{1b}"),
            "a\\u{a}gate: kept\\u{9}\\u{1b}"
        );
    }

    #[test]
    fn words_without_an_end_are_cut() {
        let words = "é".repeat(WORDS);
        assert_eq!(beginning(&words), words);
        let more = beginning(&(words.clone() + "\u{1b}xy")).into_owned();
        assert_eq!(more, words + " … (3 more characters)");
    }

    #[test]
    fn nothing_gives_the_terminal_orders() {
        assert_eq!(
            text("red \u{1b}[31m\u{7}\r\u{9b}2J\u{202e}"),
            r"red \u{1b}[31m\u{7}\u{d}\u{9b}2J\u{202e}"
        );
        for harmless in ["", "é 模型 ≤ 1 step ⚠\n\tnext", "a|b`c<d>"] {
            assert!(matches!(text(harmless), Cow::Borrowed(shown) if shown == harmless));
        }
    }
}
