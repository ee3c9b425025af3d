//! What only time shows of one engine, as data: `templates/said/soak.md.j2` says it in words.

use firstpass_statistics::{
    comparison::{Comparison, Verdict},
    growth::Growth,
};
use serde::Serialize;

use crate::{
    page::numbers::brief,
    studies::{
        first_passes::words::EarlyPass,
        soak::{
            Batch, Question,
            judge::{Found, beside::Sharing, denormals::Denormals},
        },
    },
};

/// How much memory that grows is said for: a service gets there.
const MILLION: f64 = 1e6;

/// What is said of one engine.
#[derive(Debug, Serialize)]
pub(super) struct OfEngine {
    pub(super) engine: String,
    /// Why it did not run at all.
    not_run: Option<String>,
    /// Whether it does not run the model.
    is_broken: bool,
    failures: Vec<Failure>,
    memory: Option<Memory>,
    pauses: Vec<Pause>,
    beside: Option<Beside>,
    batch: Option<Batch>,
    /// A pass on denormal inputs over one on ordinary ones, and the same with the engine's switch.
    on_denormals: Option<EarlyPass>,
    on_denormals_as_zero: Option<EarlyPass>,
    /// A pass on ordinary inputs over the same with the engine's switch.
    within: Option<EarlyPass>,
}

/// A question that did not come to an end, in the engine's words.
#[derive(Debug, Serialize)]
struct Failure {
    question: String,
    /// Many files fix the size of their batch, which is no fault.
    is_batch: bool,
    words: String,
}

/// What became of the memory of a process.
#[derive(Debug, Serialize)]
struct Memory {
    passes: usize,
    /// `holds`, `levels-off`, `grows` or `open`.
    kind: &'static str,
    /// By how much it grew, or grows at most.
    by: String,
    /// The pass at which it grew last.
    last: usize,
    /// How often it rose in the later half.
    rises: usize,
    /// The interval of what it grows by in a pass, and what that is for a million passes.
    low: String,
    high: String,
    million: String,
}

/// A pass after a pause.
#[derive(Debug, Serialize)]
struct Pause {
    seconds: String,
    pass: EarlyPass,
}

/// Two sessions in one process.
#[derive(Debug, Serialize)]
struct Beside {
    /// What both get done, over what one gets done alone: `more`, `less`, `as much` or `open`.
    verdict: &'static str,
    together: Times,
    slower: Times,
    /// Involuntary context switches within the time of one pass, alone and with a second session.
    switches: [f64; 2],
    same_bits: bool,
}

/// A ratio with its interval.
#[derive(Debug, Serialize)]
struct Times {
    ratio: f64,
    low: f64,
    high: f64,
}

impl From<&Comparison> for Times {
    fn from(comparison: &Comparison) -> Self {
        Self {
            ratio: comparison.ratio,
            low: comparison.interval.0,
            high: comparison.interval.1,
        }
    }
}

impl OfEngine {
    /// An engine that did not run at all.
    pub(super) fn not_run(engine: &str, why: &str) -> Self {
        Self {
            engine: engine.into(),
            not_run: Some(brief(why)),
            ..Self::from(&Found::default())
        }
    }
}

impl From<&Found> for OfEngine {
    fn from(found: &Found) -> Self {
        let failures = found.failures.iter();
        let memory = found.memory.as_ref();
        let pauses = found.pauses.iter();
        let Denormals {
            inputs,
            inputs_as_zero,
            within,
        } = &found.denormals;
        let early = |pass: &Option<_>| pass.as_ref().map(Into::into);
        Self {
            engine: found.backend.clone(),
            not_run: None,
            is_broken: found.is_broken(),
            failures: failures
                .map(|(question, words)| Failure {
                    question: question.to_string(),
                    is_batch: *question == Question::Batch,
                    words: brief(words),
                })
                .collect(),
            memory: memory.map(|(passes, growth)| Memory::of(*passes, growth)),
            pauses: pauses
                .map(|(length, pass)| Pause {
                    seconds: (*length as f64 / 1000.0).to_string(),
                    pass: pass.into(),
                })
                .collect(),
            beside: found.beside.as_ref().map(Into::into),
            batch: found.batch.clone(),
            on_denormals: early(inputs),
            on_denormals_as_zero: early(inputs_as_zero),
            within: early(within),
        }
    }
}

impl Memory {
    fn of(passes: usize, growth: &Growth) -> Self {
        let of = |kind, by| Self {
            passes,
            kind,
            by: size(by),
            last: 0,
            rises: 0,
            low: String::new(),
            high: String::new(),
            million: String::new(),
        };
        match growth {
            Growth::Holds { at_most } => of("holds", *at_most),
            Growth::LevelsOff { last, by } => Self {
                last: *last,
                ..of("levels-off", *by)
            },
            Growth::Grows { per_pass, interval } => Self {
                low: size(interval.0),
                high: size(interval.1),
                million: size(per_pass * MILLION),
                ..of("grows", *per_pass)
            },
            Growth::Open { rises, last, by } => Self {
                last: *last,
                rises: *rises,
                ..of("open", *by)
            },
        }
    }
}

impl From<&Sharing> for Beside {
    fn from(sharing: &Sharing) -> Self {
        Self {
            verdict: match sharing.verdict() {
                Verdict::Slower => "more",
                Verdict::Faster => "less",
                Verdict::NoDifference => "as much",
                Verdict::Open => "open",
            },
            together: (&sharing.together).into(),
            slower: (&sharing.slower).into(),
            switches: sharing.switches,
            same_bits: sharing.same_bits,
        }
    }
}

/// A size that is given in KiB.
fn size(kib: f64) -> String {
    match kib {
        k if k.abs() < 1.0 => format!("{:.1} B", k * 1024.0),
        k if k.abs() < 1024.0 => format!("{k:.1} KiB"),
        k if k.abs() < 1024.0 * 1024.0 => format!("{:.1} MiB", k / 1024.0),
        k => format!("{:.1} GiB", k / 1024.0 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use firstpass_statistics::comparison::LogSample;
    use minijinja::context;

    use super::*;
    use crate::{page::template, studies::first_passes::judge::first_pass::FirstPass};

    fn judged(ratios: &[f64]) -> FirstPass {
        let sample = LogSample::of(ratios.iter().map(|ratio| ratio.ln()));
        FirstPass::judge_samples(&[sample])[0].expect("a sample")
    }

    /// Slow, not slow, open.
    fn each() -> [FirstPass; 3] {
        [
            &[2.0, 2.1, 1.9, 2.0, 2.05][..],
            &[1.0, 1.01, 0.99, 1.0, 1.0],
            &[1.0, 1.6],
        ]
        .map(judged)
    }

    fn said(found: &Found) -> Result<String> {
        let engine = OfEngine::from(found);
        template::on_terminal("said/soak.md.j2", context! { engine })
    }

    #[test]
    fn memory_grows_or_not_or_is_open() -> Result<()> {
        let memory = |growth| {
            let memory = Some((3000, growth));
            said(&Found {
                memory,
                ..Found::default()
            })
        };
        let grows = memory(Growth::Grows {
            per_pass: 0.5,
            interval: (0.4, 0.6),
        })?;
        assert!(
            grows.starts_with("- ⚠") && grows.contains("512.0 B a pass"),
            "{grows}"
        );
        assert!(grows.contains("488.3 MiB for a million passes"), "{grows}");
        let holds = memory(Growth::Holds { at_most: 0.01 })?;
        assert!(
            holds.contains("does not grow") && holds.contains("10.2 B"),
            "{holds}"
        );
        let filled = memory(Growth::LevelsOff {
            last: 1700,
            by: 2048.0,
        })?;
        assert!(
            filled.contains("2.0 MiB") && filled.contains("levels off"),
            "{filled}"
        );
        let open = memory(Growth::Open {
            rises: 1,
            last: 2400,
            by: 4.0,
        })?;
        assert!(
            open.contains("rose 1 time ") && open.contains("is open"),
            "{open}"
        );
        let none = said(&Found::default())?;
        assert!(
            none.contains("too few passes") && none.contains("no time was left for any"),
            "{none}"
        );
        Ok(())
    }

    #[test]
    fn a_pause_makes_slow_or_not_or_it_is_open() -> Result<()> {
        let [slow, not, open] = each().map(|pass| {
            said(&Found {
                pauses: [(100, pass)].into(),
                ..Found::default()
            })
        });
        let (slow, not, open) = (slow?, not?, open?);
        assert!(
            slow.contains("- ⚠ After a pause of 0.1 s a pass is slow: 2.0"),
            "{slow}"
        );
        assert!(not.contains("is not slow: 1.0"), "{not}");
        assert!(
            open.contains("it is open") && open.contains("(2 pauses)"),
            "{open}"
        );
        Ok(())
    }

    #[test]
    fn denormals_are_slow_or_not_and_so_is_the_rest() -> Result<()> {
        let [slow, not, open] = each();
        let said = |inputs, inputs_as_zero, within| {
            said(&Found {
                denormals: Denormals {
                    inputs,
                    inputs_as_zero,
                    within,
                },
                ..Found::default()
            })
        };
        let ended = said(Some(slow), Some(not), Some(not))?;
        assert!(
            ended.contains("denormals=zero ends that") && ended.contains("no faster"),
            "{ended}"
        );
        let useless = said(Some(slow), Some(slow), None)?;
        assert!(useless.contains("still 2.0"), "{useless}");
        assert!(said(Some(slow), None, None)?.contains("has no switch"));
        let weights = said(Some(not), Some(not), Some(slow))?;
        assert!(
            weights.contains("is not slow") && weights.contains("are denormal"),
            "{weights}"
        );
        let open = said(Some(open), None, Some(open))?;
        assert_eq!(open.matches("is open").count(), 2, "{open}");
        assert!(!said(None, None, None)?.contains("denormal"));
        Ok(())
    }

    #[test]
    fn a_batch_is_equal_or_differs_or_depends_on_its_neighbours() -> Result<()> {
        let equal = Batch {
            size: 4,
            values: 40,
            other_than_single: 0,
            most: 0.0,
            shared: 10,
            by_neighbours: 0,
            without_batch: Vec::new(),
            scaled_by_batch: Vec::new(),
        };
        let batch = |batch: &Batch| {
            said(&Found {
                batch: Some(batch.clone()),
                ..Found::default()
            })
        };
        let text = batch(&equal)?;
        assert!(
            text.contains("the bits of single passes") && text.contains("changes no bit"),
            "{text}"
        );
        let other = Batch {
            other_than_single: 3,
            most: 0.25,
            by_neighbours: 2,
            without_batch: vec!["sum".into()],
            ..equal
        };
        let text = batch(&other)?;
        for words in [
            "3 of 40 values",
            "2.5e-",
            "2 of 10 values",
            "as those of dynamic quantization do",
            "sum.",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        let dynamic = Batch {
            scaled_by_batch: vec!["2 DynamicQuantizeLinear".into()],
            ..other
        };
        let text = batch(&dynamic)?;
        let why = "because of 2 DynamicQuantizeLinear in the file: each takes one scale for the whole batch";
        assert!(text.contains(why), "{text}");
        Ok(())
    }

    #[test]
    fn what_does_not_run_says_so_and_nothing_else() -> Result<()> {
        let failed = |question| {
            said(&Found {
                failures: vec![(question, "no *such* thing".into())],
                ..Found::default()
            })
        };
        assert_eq!(
            failed(Question::Look)?,
            "- Failed at its first passes: no *such* thing\n"
        );
        let batch = failed(Question::Batch)?;
        assert!(
            batch.starts_with("- A batch is not run: no *such* thing\n- Memory"),
            "{batch}"
        );
        Ok(())
    }
}
