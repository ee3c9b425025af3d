//! Words of commands that a reader copies into a shell. Names of files come from others, and a shell would run what
//! is in some of them.

use std::path::Path;

/// A word as a shell takes it.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-+./=:,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A path as a shell takes it; one that begins with a hyphen is no option.
pub fn path(path: &Path) -> String {
    let path = path.to_string_lossy();
    match path.starts_with('-') {
        true => quoted(&format!("./{path}")),
        false => quoted(&path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, shell) in [
            ("image=1x3x224x224", "image=1x3x224x224"),
            ("modèle.onnx", "modèle.onnx"),
            ("my model.onnx", "'my model.onnx'"),
            ("a'b;$c", r"'a'\''b;$c'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), shell);
        }
        assert_eq!(path(Path::new("-x.pt")), "./-x.pt");
        assert_eq!(path(Path::new("a;b.pt")), "'a;b.pt'");
    }
}
