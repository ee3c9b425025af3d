//! Names that others chose, as names of files.

use sha2::{Digest, Sha256};

/// Bytes of a file name that is made of a name. Systems take 255; the rest is for what is added to it.
const LONGEST: usize = 160;

/// Digits of the digest that tells changed names apart.
const DIGITS: usize = 8;

/// Names that Windows gives to devices, whatever follows behind a dot.
const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];
const NUMBERED: [&str; 2] = ["com", "lpt"];

/// A file name for a name that others chose: the name itself, accents and spaces included, where it is
/// harmless. Otherwise the harmful characters become `-`, and a digest of the whole name follows, so that two
/// names never share a file. The result is one component of a path, and never empty.
///
/// ```
/// use firstpass_probe::file_name;
///
/// assert_eq!(file_name("modèle à moi"), "modèle à moi");
/// assert!(!file_name("../README").contains('/'));
/// assert_ne!(file_name("a/b"), file_name("a:b"));
/// ```
pub fn file_name(name: &str) -> String {
    let mut harmless: String = name
        .chars()
        .map(|c| if is_harmless(c) { c } else { '-' })
        .collect();
    // Hidden files and `..` begin with a dot, and some systems drop dots and spaces at the end.
    if harmless.starts_with(['.', ' ', '-']) {
        harmless.replace_range(..1, "_");
    }
    harmless.truncate(harmless.trim_end_matches(['.', ' ']).len());
    if is_reserved(&harmless) {
        harmless.insert(0, '_');
    }
    if harmless == name && harmless.len() <= LONGEST && !harmless.is_empty() {
        return harmless;
    }
    if harmless.is_empty() {
        // A name that begins with a hyphen is taken for an option.
        harmless.push('_');
    }
    harmless.truncate(harmless.floor_char_boundary(LONGEST - DIGITS - 1));
    let digest = Sha256::digest(name.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{harmless}-{}", &digest[..DIGITS])
}

/// Whether a character may stand in the name of a file on every system, and is seen as what it is.
fn is_harmless(c: char) -> bool {
    !c.is_control() && !is_invisible(c) && !"/\\:*?\"<>|`$".contains(c)
}

/// Whether a character changes how those around it are shown, or is not shown at all: marks of the writing
/// direction, spaces of no width, ends of lines, and the byte order mark.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn is_reserved(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end().to_lowercase();
    let numbered = NUMBERED.iter().any(|device| {
        let rest = stem.strip_prefix(device);
        rest.is_some_and(|rest| rest.chars().count() == 1 && rest.chars().all(char::is_numeric))
    });
    RESERVED.contains(&stem.as_str()) || numbered
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        path::{Component, Path},
    };

    use super::*;

    #[test]
    fn harmless_names_stay_as_they_are() {
        for name in [
            "faceboxes-int8",
            "modèle à moi",
            "模型",
            "a.b_c+d=1 (2)",
            "v1.0",
            "común",
        ] {
            assert_eq!(file_name(name), name);
        }
    }

    #[test]
    fn harmful_names_become_harmless_and_stay_different() {
        let long = "é".repeat(400);
        let names = [
            "",
            ".",
            "..",
            "...",
            "../x",
            "/tmp/x",
            "a/b",
            "a\\b",
            "a:b",
            "a\0b",
            "a\nb",
            "\u{1b}[31mred",
            ".hidden",
            " x",
            "x ",
            "x.",
            "-rf",
            "CON",
            "nul.txt",
            "com1",
            "COM¹",
            "a\u{202e}gpj",
            "a\u{200b}b",
            &long,
            &long[2..],
        ];
        let made: BTreeSet<String> = names.iter().map(|name| file_name(name)).collect();
        assert_eq!(made.len(), names.len(), "{made:?}");
        for name in &made {
            is_one_component(name);
        }
    }

    fn is_one_component(name: &str) {
        let components: Vec<Component> = Path::new(name).components().collect();
        assert!(matches!(components[..], [Component::Normal(_)]), "{name:?}");
        assert!(
            name.len() <= LONGEST && !name.starts_with(['.', '-']),
            "{name:?}"
        );
        assert_eq!(file_name(name), name, "what is harmless stays as it is");
        assert!(
            !name.chars().any(|c| c.is_control() || c == '\\'),
            "{name:?}"
        );
    }

    #[test]
    fn every_character_gives_one_component() {
        for c in (0..0x3000)
            .chain(0xfe00..0x10000)
            .filter_map(char::from_u32)
        {
            for name in [
                format!("{c}"),
                format!("{c}{c}"),
                format!("a{c}b"),
                format!("a{c}"),
                format!("..{c}"),
            ] {
                is_one_component(&file_name(&name));
            }
        }
    }
}
