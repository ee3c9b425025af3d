//! Text of others on a terminal.

use std::borrow::Cow;

use firstpass_probe::is_invisible;

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

/// Whether a character is not seen as itself.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

#[cfg(test)]
mod tests {
    use super::*;

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
