use super::*;

#[test]
fn a_row_is_one_line_of_markdown_whatever_is_in_its_cells() {
    let long = "x".repeat(100);
    let mut table = Table::new(["a", "b"]).rows([["1|2", "one\ntwo"]]);
    table.row([long.as_str()]);
    let text = table.markdown(FOLDED);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[2].contains("1&#124;2") && lines[2].contains("one two"),
        "{text}"
    );
    assert_eq!(lines[3].matches(" | ").count(), 1, "{text}");
    assert!(lines[3].contains(&long), "{text}");
}

#[test]
fn what_is_cut_stands_in_full_below_a_folded_table() {
    let long = format!("{}end", "x ".repeat(100));
    let mut table = Table::new(["a", "b"]).rows([["1", long.as_str()], ["2", &long]]);
    let text = table.page().to_string();
    assert_eq!(text.matches("end").count(), 1, "{text}");
    let below = format!("\n\nIn full:\n\n- {long}");
    assert!(text.ends_with(&below), "{text}");
    assert!(!table.seen().to_string().contains("end"));
    table = Table::new(["a", "b"]).rows([["1", "2"]]);
    assert!(!table.page().to_string().contains("In full"));
}

fn widest(text: &str) -> usize {
    text.lines().map(|l| l.chars().count()).max().unwrap_or(0)
}

#[test]
fn a_wide_table_is_several_with_the_same_rows() {
    let header = ["engine".to_owned()].into_iter();
    let header = header.chain((0..12).map(|n| format!("engine number {n}")));
    let row = |name: &str| {
        let cells = (0..12).map(|n| format!("{name}{n}"));
        [name.to_owned()]
            .into_iter()
            .chain(cells)
            .collect::<Vec<_>>()
    };
    let table = Table::new(header).rows([row("x"), row("y")]);
    let text = table.markdown(SEEN);
    assert!(widest(&text) <= SEEN, "{text}");
    let parts: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(parts.len(), 3, "{text}");
    for n in 0..12 {
        assert!(text.contains(&format!(" x{n} ")), "{text}");
    }
    for part in parts {
        let rows: Vec<&str> = part.lines().collect();
        assert_eq!(rows.len(), 4, "{part}");
        assert!(
            rows[0].starts_with("| engine ") && rows[3].starts_with("| y "),
            "{part}"
        );
    }
    let two = Table::new(["a", "b", "c", "d"]).keys(2).rows([[
        "1",
        "2",
        &"x".repeat(45),
        &"y".repeat(45),
    ]]);
    let two = two.markdown(SEEN);
    assert_eq!(two.matches("| 1 | 2 |").count(), 2, "{two}");
}

#[test]
fn long_words_are_cut_before_a_table_is_split() {
    let table = Table::new(["engine", "what it says"]).rows([["x", &"word ".repeat(60)]]);
    let text = table.markdown(SEEN);
    assert!(widest(&text) <= SEEN && text.contains('…'), "{text}");
    assert_eq!(text.lines().count(), 3, "{text}");
    let code = format!("`{}`", "a=b, ".repeat(60));
    let table = Table::new(["engine", "setting"]).rows([["x", &code]]);
    let text = table.markdown(SEEN);
    assert!(text.contains("…` |") && widest(&text) <= SEEN, "{text}");
    let escaped = Table::new(["engine", "words"]).rows([["x", &"|".repeat(90)]]);
    assert!(widest(&escaped.markdown(SEEN)) <= SEEN);
}

#[test]
fn long_names_are_cut_where_that_is_enough() {
    let name = "a runtime of others (onnx-qoperator)";
    let table = |figures: usize| {
        let header = ["engine".to_owned()].into_iter();
        let header = header.chain((0..figures).map(|n| format!("pass {n}")));
        let row = [name.to_owned()]
            .into_iter()
            .chain((0..figures).map(|_| "100".to_owned()));
        let table = Table::new(header).rows([row.collect::<Vec<_>>()]);
        table.markdown(SEEN)
    };
    let text = table(8);
    assert!(
        text.contains("others (on…") && widest(&text) <= SEEN,
        "{text}"
    );
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        table(12).contains(name),
        "a table that is split anyway has whole names"
    );
}

#[test]
fn a_header_that_is_too_wide_stays() {
    let text = Table::new(["x".repeat(200)]).rows([["y"]]).markdown(SEEN);
    assert!(text.contains(&"x".repeat(200)), "{text}");
}

#[test]
fn a_cell_holds_no_html_and_no_orders() {
    let table = Table::new(["a"]).rows([["<b>\u{1b}[1m</b> < 0.01"]]);
    let text = table.markdown(FOLDED);
    assert!(text.contains(r"&#60;b>\u{1b}[1m&#60;/b> < 0.01"), "{text}");
    let text = table.terminal();
    assert!(text.contains(r"<b>\u{1b}[1m</b> < 0.01"), "{text}");
}

#[test]
fn code_and_emphasis_of_our_own_stay() {
    for own in [
        "`exact=on, block=4`",
        "`a`, `b`",
        "**exact**",
        "*other operators*",
    ] {
        assert_eq!(cell_of_markdown(own), own);
    }
    for (other, shown) in [
        ("`a|b`", "&#96;a&#124;b&#96;"),
        ("il`x`", "il&#96;x&#96;"),
        ("`x`y", "&#96;x&#96;y"),
        ("**", "&#42;&#42;"),
    ] {
        assert_eq!(cell_of_markdown(other), shown);
    }
}

#[test]
fn a_terminal_shows_cells_as_they_are() {
    let table = Table::new(["a", "b"]).rows([["1|2", "one\ntwo"]]);
    let text = table.shown(Some(40));
    assert!(text.contains(" 1|2   one "), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 40),
        "{text}"
    );
    let plain = table.shown(None);
    assert!(plain.is_ascii() && plain.contains("1|2"), "{plain}");
    assert!(!table.is_empty() && Table::new(["a"]).is_empty());
}
