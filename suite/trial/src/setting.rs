//! How a setting is written.

use firstpass_probe::Knobs;

/// The settings in the order of their knobs; *default* for none.
pub fn setting(knobs: &Knobs) -> String {
    let pairs: Vec<String> = knobs
        .settings()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if pairs.is_empty() {
        "default".into()
    } else {
        pairs.join(", ")
    }
}
