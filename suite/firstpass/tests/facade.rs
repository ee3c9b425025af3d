//! No type of another crate is part of the interface.

use std::fs;

/// The one module that uses them, and the folder of its parts.
const INSIDE: [&str; 2] = ["harness.rs", "harness"];

/// Besides the standard library only what stays within a function.
const OTHERS: [&str; 2] = ["anyhow", "firstpass_"];

/// The lines of a file that are part of the interface: what is public, and what is implemented.
fn interface(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| line.starts_with("pub ") || line.starts_with("impl"))
}

#[test]
fn only_one_module_knows_the_crates_below_and_it_is_private() {
    let mut seen = 0;
    for entry in fs::read_dir("src").expect("the sources") {
        let path = entry.expect("a source").path();
        seen += 1;
        if path.ends_with(INSIDE[1]) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source");
        if path.ends_with(INSIDE[0]) {
            let implemented = "impl Folder {";
            let public: Vec<&str> = interface(&text).filter(|l| *l != implemented).collect();
            assert!(public.is_empty(), "{}: {public:?}", path.display());
            continue;
        }
        // Tests see no interface.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for other in OTHERS {
            assert!(!text.contains(other), "{} names {other}", path.display());
        }
    }
    assert!(seen > 5, "{seen} sources");
    let root = fs::read_to_string("src/lib.rs").expect("the root");
    assert!(root.contains("\nmod harness;"), "it is private");
}
