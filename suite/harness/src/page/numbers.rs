//! Numbers and settings in the words that every page uses.

use firstpass_statistics::comparison::Comparison;
pub use firstpass_trial::setting::setting;

/// `1.24×`, `12×`.
pub(crate) fn times(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}×")
    } else {
        format!("{ratio:.0}×")
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list<S: AsRef<str>>(items: &[S]) -> String {
    let items: Vec<&str> = items.iter().map(AsRef::as_ref).collect();
    match &items[..] {
        [] => String::new(),
        [one] => (*one).into(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// The words of an engine are cut after this many characters.
const WORDS: usize = 240;

/// The first line, not too long: some engines print the whole graph behind it.
pub(crate) fn brief(words: &str) -> String {
    let line = words.lines().next().unwrap_or_default();
    if line.chars().count() <= WORDS {
        return line.into();
    }
    line.chars().take(WORDS).chain(['…']).collect()
}

/// `1 process`, `2 processes`.
pub(crate) fn counted(n: usize, one: &str) -> String {
    match (n, one) {
        (1, _) => format!("1 {one}"),
        (_, one) if one.ends_with('s') => format!("{n} {one}es"),
        _ => format!("{n} {one}s"),
    }
}

/// `40 s`, `12 min`, `3 h`: rounded up, because it is a promise.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{:.0} s", s.max(1.0).ceil()),
        s if s < 7200.0 => format!("{:.0} min", (s / 60.0).ceil()),
        s => format!("{:.0} h", (s / 3600.0).ceil()),
    }
}

/// Three significant digits, in ms.
pub(crate) fn milliseconds(ms: f64) -> String {
    // What rounds to nothing has no sign.
    match if ms.abs() < 0.0005 { 0.0 } else { ms } {
        // Less than the clock tells is no time of nothing.
        rounded if rounded == 0.0 && ms > 0.0 => "< 0.001".into(),
        // Small models pass in some microseconds.
        ms if ms != 0.0 && ms.abs() < 0.1 => format!("{ms:.3}"),
        ms if ms.abs() < 10.0 => format!("{ms:.2}"),
        ms if ms.abs() < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    }
}

/// `0.70× (0.66–0.75), faster`
pub(crate) fn ratio(comparison: Option<Comparison>) -> String {
    comparison.map_or_else(
        || "–".into(),
        |c| {
            format!(
                "{}, {}",
                times_with_interval(c.ratio, c.interval),
                c.verdict
            )
        },
    )
}

/// `1.39× (1.33–1.45)`
pub(crate) fn times_with_interval(ratio: f64, (low, high): (f64, f64)) -> String {
    let high = times(high);
    format!(
        "{} ({}–{high})",
        times(ratio),
        times(low).trim_end_matches('×')
    )
}

/// `99.9 %`, rounded down: rounding up to 100 % would hide the values that differ.
pub(crate) fn percent_rounded_down(share: f64) -> String {
    if share < 1.0 {
        format!("{:.1} %", (share * 1000.0).floor() / 10.0)
    } else {
        "100 %".into()
    }
}

/// `12.34 %`; `0 %` and `100 %` only where not a single value is of the other kind.
pub(crate) fn percent_to_hundredths(share: f64) -> String {
    match 100.0 * share {
        all if all >= 100.0 => "100 %".into(),
        none if none <= 0.0 => "0 %".into(),
        little if little < 0.01 => "< 0.01 %".into(),
        nearly if nearly > 99.99 => "> 99.99 %".into(),
        some => format!("{some:.2} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_line_and_not_too_long() {
        assert_eq!(brief("one\ntwo"), "one");
        let long = "a".repeat(WORDS + 1);
        assert_eq!(brief(&long).chars().count(), WORDS + 1);
        assert!(brief(&long).ends_with('…'));
    }
}
