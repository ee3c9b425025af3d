//! A name that others chose: as the name of a file, on a terminal, and in a page.

#![no_main]

use std::path::{Component, Path};

use firstpass_harness::page::{markdown, terminal};
use firstpass_probe::{Format, file_name, is_invisible};
use libfuzzer_sys::fuzz_target;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Whether a character is seen as itself.
fn is_seen(c: char) -> bool {
    !c.is_control() && !is_invisible(c)
}

/// Words in a cell of a table are words: no link, no code, no HTML, no other cell.
fn is_words(page: &str) -> bool {
    Parser::new_ext(page, Options::ENABLE_TABLES).all(|event| {
        matches!(
            event,
            Event::Start(Tag::Table(_) | Tag::TableHead | Tag::TableRow | Tag::TableCell)
                | Event::End(
                    TagEnd::Table | TagEnd::TableHead | TagEnd::TableRow | TagEnd::TableCell
                )
                | Event::Text(_)
        )
    })
}

fuzz_target!(|bytes: &[u8]| {
    let name = String::from_utf8_lossy(bytes);
    let file = file_name(&name);
    let components: Vec<Component> = Path::new(&file).components().collect();
    assert!(matches!(components[..], [Component::Normal(_)]), "{file:?}");
    assert!(file.chars().all(is_seen) && file.len() <= 160, "{file:?}");
    // A name that is harmless once stays as it is.
    assert_eq!(file_name(&file), file);

    let shown = terminal::text(&name);
    assert!(
        shown
            .chars()
            .all(|c| matches!(c, '\n' | '\t') || is_seen(c)),
        "{shown:?}"
    );

    let cell = markdown::inline(&name);
    assert!(cell.chars().all(is_seen), "{cell:?}");
    let page = format!("| a | b |\n|---|---|\n| x{cell}x | y |\n");
    assert!(is_words(&page), "{page:?}");
    let cells = Parser::new_ext(&page, Options::ENABLE_TABLES)
        .filter(|event| matches!(event, Event::Start(Tag::TableCell)))
        .count();
    assert_eq!(cells, 4, "{page:?}");

    let html = markdown::html(&name);
    assert!(!html.contains(['<', '>', '"']), "{html:?}");

    if let Ok(format) = Format::new(&name) {
        assert_eq!(file_name(format.key()), name);
    }
});
