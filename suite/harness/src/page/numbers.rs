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

/// Three significant digits, in ms.
pub(crate) fn milliseconds(ms: f64) -> String {
    // What rounds to nothing has no sign.
    match if ms.abs() < 0.0005 { 0.0 } else { ms } {
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
