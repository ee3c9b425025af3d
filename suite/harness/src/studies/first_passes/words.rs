//! What is said of an early pass, in a table and in a sentence.

use firstpass_statistics::{
    comparison::Comparison,
    joint::{CellClass, Joint},
    steady::Class,
};

use crate::{
    page::numbers::{times, times_with_interval},
    studies::first_passes::judge::first_pass::FirstPass,
};

/// `1.39× (1.33–1.45×)`
pub(crate) fn ratio(pass: &FirstPass) -> String {
    times_with_interval(pass.ratio(), pass.interval())
}

/// `1.39× (1.33–1.45×), slow`
pub(crate) fn with_verdict(pass: &FirstPass) -> String {
    format!("{}, {}", ratio(pass), pass.verdict())
}

/// `between 0.90× and 1.40×`
pub(crate) fn bounds(pass: &FirstPass) -> String {
    let (low, high) = pass.interval();
    format!("between {} and {}", times(low), times(high))
}

/// What it would take to tell what is open.
pub(crate) fn outlook<'a>(open: impl IntoIterator<Item = &'a Comparison>) -> String {
    let more = open.into_iter().map(|comparison| {
        let needed = comparison.rounds_needed()?;
        Some(needed.saturating_sub(comparison.samples).max(1))
    });
    let most = more.collect::<Option<Vec<usize>>>();
    match most.and_then(|more| more.into_iter().max()) {
        Some(1) => "one more process would probably tell".into(),
        Some(more) => format!("about {more} more processes would tell"),
        None => "a thousand processes would hardly tell".into(),
    }
}

/// Where single processes were restless, that this may be the machine's doing, and how to tell.
pub(crate) fn perhaps_the_machine(joint: &Joint) -> Option<String> {
    let in_doubt = matches!(
        joint.class,
        CellClass::Mixed(_) | CellClass::Of(Class::NoSteadyState)
    );
    (in_doubt && joint.restless > 0 && joint.restless < joint.processes).then(|| {
        format!(
            "That may be the machine's doing, because only {} of {} processes changed their speed midway: \
             measure again when nothing else runs, or with `--pin`. What is the engine's comes again.",
            joint.restless, joint.processes
        )
    })
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(items: &[&str]) -> String {
    match items {
        [] => String::new(),
        [one] => (*one).into(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use firstpass_statistics::comparison::Verdict;

    use super::*;
    use crate::studies::first_passes::judge::latency::{
        summarise,
        tests::{observation, times as series},
    };

    fn judged(first: &[f64]) -> FirstPass {
        let processes: Vec<_> = first
            .iter()
            .enumerate()
            .map(|(round, first)| observation(round, &series(&[*first], 10.0)))
            .collect();
        let judged = summarise(&processes).remove(0).first_over_steady;
        judged.expect("a first pass")
    }

    #[test]
    fn a_verdict_has_its_figure_and_what_is_open_its_bounds() {
        let slow = with_verdict(&judged(&[40.0; 5]));
        assert!(
            slow.starts_with("4.00× (3.") && slow.ends_with(", slow"),
            "{slow}"
        );
        let open = judged(&[10.0, 14.0, 11.0]);
        assert!(bounds(&open).starts_with("between 0."), "{}", bounds(&open));
        assert!(
            outlook([&open.0]).contains("more process"),
            "{}",
            outlook([&open.0])
        );
        // ln 1.3 is 0.262. With 19 processes a claim takes 3.5 × 0.3 / √19 = 0.24, with fewer more than 0.262.
        assert_eq!(
            outlook([&slow_to_tell(0.3).0]),
            "about 16 more processes would tell"
        );
        assert_eq!(
            outlook([&slow_to_tell(0.3).0, &slow_to_tell(9.0).0]),
            "a thousand processes would hardly tell"
        );
    }

    /// A ratio of 1.3 of three processes whose logarithms have this standard deviation.
    fn slow_to_tell(deviation: f64) -> FirstPass {
        FirstPass(Comparison {
            verdict: Verdict::Open,
            ratio: 1.3,
            interval: (0.9, 1.9),
            p: 0.5,
            deviation,
            freedom: 2.0,
            samples: 3,
            resolution: 0.15,
        })
    }
}
