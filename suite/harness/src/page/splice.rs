//! Generated text between markers, in a file whose other text is kept.

use anyhow::{Result, bail};

const BEGIN: &str = "<!-- firstpass: begin, generated from ";
const BEGIN_CLOSE: &str = " -->";
const END: &str = "<!-- firstpass: end -->";

/// A generated part, with the record that it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The record, relative to the folder of the report.
    pub source: String,
    pub text: String,
}

impl Block {
    /// The record that the generated part of a text was made from.
    pub fn source_of(text: &str) -> Option<String> {
        let (_, rest) = text.split_once(BEGIN)?;
        let (source, _) = rest.split_once(BEGIN_CLOSE)?;
        let source = IN_MARKER
            .iter()
            .fold(source.to_owned(), |source, (as_is, written)| {
                source.replace(written, as_is)
            });
        Some(source)
    }
}

/// Text in which nothing is taken for a marker.
fn without_markers(text: &str) -> String {
    [BEGIN, END].iter().fold(text.to_owned(), |text, marker| {
        text.replace(marker, &marker.replace('<', "&lt;"))
    })
}

/// What would end a marker within it, and how it is written there.
const IN_MARKER: [(&str, &str); 2] = [("-->", "--&gt;"), ("\n", "&#10;")];

/// Puts a block in the place of the one between the markers, or at the end where there is none.
///
/// # Errors
/// Fails where only one marker is there: nothing tells then what was generated.
pub fn splice(text: &str, block: &Block) -> Result<String> {
    let (before, after) = match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => (&text[..begin], &text[end + END.len()..]),
        (None, None) => (text, "\n"),
        _ => bail!(
            "the markers `{BEGIN}…{BEGIN_CLOSE}` and `{END}` are not a pair; restore them or \
             remove both"
        ),
    };
    let gap = if before.is_empty() || before.ends_with("\n\n") {
        ""
    } else if before.ends_with('\n') {
        "\n"
    } else {
        "\n\n"
    };
    Ok(format!(
        "{before}{gap}{BEGIN}{}{BEGIN_CLOSE}\n\n{}\n\n{END}{after}",
        IN_MARKER
            .iter()
            .fold(block.source.clone(), |source, (as_is, written)| source
                .replace(as_is, written)),
        without_markers(block.text.trim())
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(text: &str) -> Block {
        Block {
            source: "records/a".into(),
            text: text.into(),
        }
    }

    #[test]
    fn replaces_what_is_between_the_markers() -> Result<()> {
        let first = splice("# Title\n", &block("old"))?;
        let second = splice(&(first + "kept below\n"), &block("new"))?;
        assert!(second.starts_with("# Title\n"));
        assert!(second.ends_with("kept below\n"));
        assert!(second.contains("\nnew\n") && !second.contains("old"));
        assert_eq!(Block::source_of(&second).as_deref(), Some("records/a"));
        Ok(())
    }

    #[test]
    fn half_a_pair_of_markers_is_an_error() {
        assert!(splice(END, &block("x")).is_err());
        assert!(splice(&format!("{BEGIN}r{BEGIN_CLOSE}"), &block("x")).is_err());
    }

    #[test]
    fn a_text_that_holds_markers_is_replaced_as_a_whole() -> Result<()> {
        let hostile = Block {
            source: "records/a --> b\nc".into(),
            text: format!("x {END} y {BEGIN}z{BEGIN_CLOSE} {END}"),
        };
        let once = splice("# Title\n", &hostile)?;
        assert_eq!(splice(&once, &hostile)?, once);
        assert_eq!(Block::source_of(&once), Some(hostile.source));
        Ok(())
    }

    proptest! {
        #[test]
        fn splicing_twice_is_splicing_once(before in "[a-z\n#]{0,40}", after in "[a-z\n]{0,40}", text in "[a-z |\n]{0,60}") {
            let once = splice(&before, &block(&text)).and_then(|s| splice(&(s + &after), &block(&text)));
            let once = once.expect("there is a pair of markers");
            let twice = splice(&once, &block(&text)).expect("there is a pair of markers");
            prop_assert_eq!(once, twice);
        }
    }
}
