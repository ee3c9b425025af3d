//! Parts of a page of markdown.

use std::{fmt::Write as _, path::Path};

use crate::page::terminal::is_hidden;

/// A picture with its description, for who does not see it.
pub(crate) fn image(path: &Path, alt: &str) -> String {
    format!("![{}]({})", text(alt), target(path))
}

/// A path as the target of a link: a space or a bracket would end it.
fn target(path: &Path) -> String {
    let mut target = String::new();
    for c in path.display().to_string().chars() {
        if c.is_whitespace() || is_hidden(c) || "()<>%\\#?\"'`*[]".contains(c) {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(target, "%{byte:02X}");
            }
        } else {
            target.push(c);
        }
    }
    target
}

/// Words of others in a sentence, a heading or a cell of a table, which mean only themselves there: no HTML, no
/// link, no emphasis, no code, no new line, no cell. What would mean more is written as a character reference,
/// which markdown takes for nothing but its character.
///
/// Names of models, inputs and operators, and what engines say, come from files that anybody may have made.
pub fn text(words: &str) -> String {
    let begins = words.chars().next().filter(|c| "#+-=>".contains(*c));
    let rest = words.strip_prefix(|c| begins == Some(c)).unwrap_or(words);
    match begins {
        // It would be a heading, an entry of a list, or a line across the page.
        Some(c) if rest.starts_with([c, ' ']) => format!("&#{};{}", u32::from(c), inline(rest)),
        _ => inline(words),
    }
}

/// A sentence of our own with words of others in it: an option in it, such as `--budget 20s`, stays code.
pub(crate) fn sentence(words: &str) -> String {
    const MARK: &str = "&#96;";
    let escaped = text(words);
    let mut parts = escaped.split("&#96;--");
    let mut sentence = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(MARK) {
            Some((option, rest)) => {
                sentence += "`--";
                sentence += option;
                sentence += "`";
                sentence += rest;
            }
            None => {
                sentence += MARK;
                sentence += "--";
                sentence += part;
            }
        }
    }
    sentence
}

/// The same for words that begin no line, as in a cell.
pub fn inline(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    let mut before = ' ';
    let mut rest = words.chars().peekable();
    while let Some(c) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        let means_more = match c {
            '<' => after.is_ascii_alphabetic() || "/!?".contains(after),
            '|' | '`' | '*' | '~' => true,
            // Within a word it is a letter like others.
            '_' => !(before.is_alphanumeric() && after.is_alphanumeric()),
            '&' => after == '#' || after.is_alphabetic(),
            '\\' => after.is_ascii_punctuation(),
            ']' => matches!(after, '(' | '[' | ':'),
            '!' => after == '[',
            // Of an address, which would become a link.
            ':' => after == '/',
            '.' => before == 'w',
            _ => false,
        };
        if c == '\n' {
            out.push(' ');
        } else if is_hidden(c) {
            out.extend(c.escape_unicode());
        } else if means_more {
            let _ = write!(out, "&#{};", u32::from(c));
        } else {
            out.push(c);
        }
        before = c;
    }
    out
}

/// Words of others within HTML of a page, such as the line that a folded part shows: a page of markdown is not
/// read as markdown there.
pub fn html(words: &str) -> String {
    let mut shown = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '\n' => shown.push(' '),
            '<' | '>' | '&' | '"' => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "&#{};", u32::from(c));
            }
            c if is_hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Several lines of others, each by itself; ends of lines stay.
pub(crate) fn lines(words: &str) -> String {
    let lines = words.lines().map(|line| match line.strip_prefix("- ") {
        Some(entry) => format!("- {}", text(entry)),
        None => text(line),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Words of others as code, whatever they hold.
pub(crate) fn code(words: &str) -> String {
    let mut shown = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '\n' => shown.push(' '),
            c if is_hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    // A run of backticks of another length than those within ends it.
    let runs = shown.split(|c| c != '`').map(str::len);
    let fence = "`".repeat(runs.max().unwrap_or(0) + 1);
    let space = if fence.len() > 1 { " " } else { "" };
    format!("{fence}{space}{shown}{space}{fence}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_mean_only_themselves() {
        for (words, shown) in [
            ("node_conv2d_1 (Conv), é ≤ 2", "node_conv2d_1 (Conv), é ≤ 2"),
            ("[1, 3, 8, 8]", "[1, 3, 8, 8]"),
            ("<script>x</script> < 1", "&#60;script>x&#60;/script> < 1"),
            ("<!-- firstpass: end -->", "&#60;!-- firstpass: end -->"),
            ("a|b", "a&#124;b"),
            ("`x`", "&#96;x&#96;"),
            ("[x](y)", "[x&#93;(y)"),
            ("![x](y)", "&#33;[x&#93;(y)"),
            ("**x** _y_", "&#42;&#42;x&#42;&#42; &#95;y&#95;"),
            ("&lt;", "&#38;lt;"),
            ("https://x.y", "https&#58;//x.y"),
            ("# x\n- y", "&#35; x - y"),
            ("\u{1b}[31m\u{202e}", r"\u{1b}[31m\u{202e}"),
        ] {
            assert_eq!(text(words), shown);
        }
        assert_eq!(lines("- a|b\n- <c>\n"), "- a&#124;b\n- &#60;c>");
    }

    #[test]
    fn words_of_others_open_no_tag() {
        assert_eq!(
            html("a\n<b> & \"c\" \u{1b}"),
            r"a &#60;b&#62; &#38; &#34;c&#34; \u{1b}"
        );
    }

    #[test]
    fn an_option_in_a_sentence_stays_code() {
        assert_eq!(
            sentence("`x` <b>: give `--budget 20s` or `--y`"),
            "&#96;x&#96; &#60;b>: give `--budget 20s` or `--y`"
        );
        assert_eq!(sentence("`--x"), "&#96;--x");
    }

    #[test]
    fn code_ends_where_it_ends() {
        assert_eq!(code("a b"), "`a b`");
        assert_eq!(code("a`b``c\nd"), "``` a`b``c d ```");
    }

    #[test]
    fn a_link_leads_to_a_file_with_spaces() {
        let shown = image(Path::new("plots/my model é (2).svg"), "a [b](c)");
        assert_eq!(shown, "![a [b&#93;(c)](plots/my%20model%20é%20%282%29.svg)");
    }
}
