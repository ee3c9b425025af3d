//! What stands below the help of a command: examples, which a test parses.

/// What the examples begin with.
pub const HEADING: &str = "Examples:";

/// Examples, each a command line with what it does.
pub fn examples(examples: &[[&str; 2]]) -> String {
    let lines = examples
        .iter()
        .map(|[line, does]| format!("  {line}\n      {does}"));
    let lines: Vec<String> = lines.collect();
    format!("{HEADING}\n{}", lines.join("\n"))
}
