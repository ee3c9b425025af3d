//! Numbers and settings in the words that every page uses.

use firstpass_statistics::comparison::Comparison;
pub use firstpass_trial::setting::setting;
use serde::Serialize;

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

/// At most this many names stand in a sentence.
const NAMES: usize = 4;

/// The same for names of which there may be any number, as of engines: of more than four the first three, and how
/// many more there are. A table has them all.
pub(crate) fn names<S: AsRef<str>>(all: &[S]) -> String {
    if all.len() <= NAMES {
        return list(all);
    }
    let (named, more) = all.split_at(NAMES - 1);
    let named = named.iter().map(AsRef::as_ref).map(str::to_owned);
    let named: Vec<String> = named.chain([format!("{} more", more.len())]).collect();
    list(&named)
}

/// How much of all each engine has: `part_of` of `templates/said/words.md.j2` says it.
#[derive(Debug, Serialize)]
pub(crate) struct PartOf {
    /// Engines that have all of it.
    whole: Vec<String>,
    /// The others, those that lack the most first.
    partly: Vec<Part>,
}

/// How much of all one engine has.
#[derive(Debug, Serialize)]
struct Part {
    engine: String,
    part: usize,
    all: usize,
}

impl PartOf {
    /// Of engines with what each has, and of how much.
    pub(crate) fn new(engines: Vec<(String, usize, usize)>) -> Self {
        let parts = engines.into_iter();
        let parts = parts.map(|(engine, part, all)| Part { engine, part, all });
        let (whole, mut partly): (Vec<Part>, Vec<Part>) = parts.partition(|of| of.part == of.all);
        // Engines that lack as much stay in the reverse of their order.
        partly.reverse();
        partly.sort_by_key(|of| std::cmp::Reverse(of.all.saturating_sub(of.part)));
        Self {
            whole: whole.into_iter().map(|of| of.engine).collect(),
            partly,
        }
    }
}

/// The words of an engine are cut after this many characters.
const WORDS: usize = 240;

/// The first line, not too long: some engines print the whole graph behind it. One that ends with a colon only leads
/// to the cause, which is then said too.
pub(crate) fn brief(words: &str) -> String {
    let mut lines = words.lines().map(str::trim_end);
    let line = shortened(lines.next().unwrap_or_default());
    if !line.ends_with(':') {
        return line;
    }
    let mut causes = lines.filter(|line| !line.is_empty() && !line.ends_with(':'));
    match causes.next() {
        Some(cause) => format!("{line} … {}", shortened(cause.trim_start())),
        None => line,
    }
}

fn shortened(line: &str) -> String {
    if line.chars().count() <= WORDS {
        return line.into();
    }
    line.chars().take(WORDS).chain(['…']).collect()
}

/// The end of a name that is longer than this, which tells it from others.
pub(crate) fn end_of(name: &str, length: usize) -> String {
    let all = name.chars().count();
    if all <= length {
        return name.into();
    }
    let end: String = name.chars().skip(all + 1 - length).collect();
    format!("…{end}")
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

/// The same of what is over, to the nearest: 602 s were 10 minutes.
pub(crate) fn lasted(seconds: f64) -> String {
    let unit = match seconds {
        s if s < 120.0 => 1.0,
        s if s < 7200.0 => 60.0,
        _ => 3600.0,
    };
    duration((seconds / unit).round() * unit)
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
    fn a_promise_is_rounded_up_and_what_is_over_to_the_nearest() {
        assert_eq!(duration(602.3), "11 min");
        assert_eq!(lasted(602.3), "10 min");
        assert_eq!(
            (lasted(59.6), lasted(119.9)),
            ("60 s".into(), "2 min".into())
        );
        assert_eq!((lasted(7199.0), lasted(0.0)), ("2 h".into(), "1 s".into()));
    }

    #[test]
    fn a_sentence_names_a_few_of_many() {
        assert_eq!(names(&["a", "b", "c", "d"]), "a, b, c and d");
        assert_eq!(names(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
        assert_eq!(names::<&str>(&[]), "");
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(end_of("short", 8), "short");
        assert_eq!(end_of("a long name", 8), "…ng name");
    }

    #[test]
    fn words_are_a_line_and_not_too_long() {
        assert_eq!(brief("one\ntwo"), "one");
        let led = "cannot load: a.cpp:84:\nCheck failed at b.cpp:151:\n\n  the rank is not known\nSummary";
        assert_eq!(brief(led), "cannot load: a.cpp:84: … the rank is not known");
        assert_eq!(brief("no more:\n\n"), "no more:");
        let long = "a".repeat(WORDS + 1);
        assert_eq!(brief(&long).chars().count(), WORDS + 1);
        assert!(brief(&long).ends_with('…'));
    }
}
