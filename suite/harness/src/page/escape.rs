//! Names of models, outputs, operators and files are data that others wrote: here they become harmless, for a
//! page of markdown and for a terminal.

/// For a page of markdown, also within a table: no markup, no HTML, no marker comment, one line.
pub(crate) fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in terminal(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '|' | '[' | ']' | '~' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// For a terminal: one line without control characters, which a terminal would obey.
pub(crate) fn terminal(text: &str) -> String {
    let visible = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        // Marks of direction turn around what stands beside them.
        c if c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(visible).collect()
}
