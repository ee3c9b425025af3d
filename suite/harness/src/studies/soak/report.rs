//! What only time shows, in sentences.

use std::path::{Path, PathBuf};

use anyhow::Result;
use firstpass_statistics::{comparison::Verdict, growth::Growth};

use crate::{
    page::{
        markdown,
        numbers::{brief, counted, duration, times_with_interval},
        write_file,
    },
    studies::{
        first_passes::{
            judge::first_pass::{FirstPass, FirstPassVerdict},
            words::{bounds, ratio},
        },
        soak::{
            Batch, Question,
            judge::{Found, beside::Sharing, denormals::Denormals},
            measure::Soaked,
        },
    },
};

/// Beside the measurements.
const PAGE: &str = "soak.md";

/// Memory that a process takes for a million passes, in KiB, below which growth is nothing to care about: it is said
/// all the same.
const MILLION: f64 = 1e6;

/// The sentences of each engine, for the terminal.
pub fn on_terminal(soaked: &Soaked, found: &[Found]) -> String {
    let mut text = String::new();
    for (engine, sentences) in all(soaked, found) {
        text += &format!("\n{engine}\n");
        for sentence in sentences {
            text += &format!("- {sentence}\n");
        }
    }
    text
}

/// Writes the page into `folder`; returns where.
///
/// # Errors
/// Fails where the folder cannot be written.
pub fn write(soaked: &Soaked, found: &[Found], folder: &Path) -> Result<PathBuf> {
    let run = &soaked.run;
    let mut text = format!(
        "# What only time shows: {}\n\n{} of measuring, {} a pass; {}, {} cores, {}, code {}. A claim is wrong in \
         one of a hundred cases at most; an interval holds what it is of in 95 %, and the growth of memory in 99 %. \
         What is *open* was not told by these measurements: a longer `--budget` may tell it. Whether a new shape \
         makes an engine warm up again is asked by `cargo firstpass shapes`.\n",
        markdown::text(&run.model),
        duration(run.settings.budget_s),
        counted(run.settings.threads, "thread"),
        run.machine.cpu,
        run.machine.cores,
        run.date,
        run.code.commit.as_deref().unwrap_or("without a commit"),
    );
    for (engine, sentences) in all(soaked, found) {
        text += &format!("\n## {}\n\n", markdown::text(engine));
        for sentence in sentences {
            text += &format!("- {}\n", markdown::text(&sentence));
        }
    }
    let path = folder.join(PAGE);
    write_file(&path, text.as_bytes())?;
    Ok(path)
}

fn all<'a>(soaked: &'a Soaked, found: &'a [Found]) -> Vec<(&'a str, Vec<String>)> {
    let measured = found
        .iter()
        .map(|one| (one.backend.as_str(), sentences(one)));
    let unavailable = soaked.unavailable.iter();
    let unavailable = unavailable
        .map(|(engine, why)| (engine.as_str(), vec![format!("Not run: {}", brief(why))]));
    measured.chain(unavailable).collect()
}

/// All that is said of an engine.
pub(crate) fn sentences(found: &Found) -> Vec<String> {
    let failures = found.failures.iter();
    let mut said: Vec<String> = failures
        .map(|(question, words)| match question {
            // Many files fix the size of their batch, which is no fault.
            Question::Batch => format!("A batch is not run: {}", brief(words)),
            question => format!("Failed at {question}: {}", brief(words)),
        })
        .collect();
    if found.is_broken() {
        return said;
    }
    said.push(match &found.memory {
        Some((passes, growth)) => memory(*passes, growth),
        None => "Memory: too few passes to tell; give a longer `--budget`.".into(),
    });
    for (length, pass) in &found.pauses {
        said.push(pause(*length, pass));
    }
    if found.pauses.is_empty() {
        said.push("Pauses: no time was left for any; give a longer `--budget`.".into());
    }
    said.extend(found.beside.as_ref().map(sharing));
    said.extend(found.batch.as_ref().map(batch));
    said.extend(denormals(&found.denormals));
    said
}

fn memory(passes: usize, growth: &Growth) -> String {
    let over = format!("over {}", counted(passes, "pass"));
    match growth {
        Growth::Holds { at_most } => format!(
            "Memory {over}: it does not grow, by no more than {} a pass.",
            size(*at_most)
        ),
        Growth::LevelsOff { last, by } => format!(
            "Memory {over}: it grew by {} in the later half, but levels off: the last time at pass {last}.",
            size(*by)
        ),
        Growth::Grows { per_pass, interval } => format!(
            "⚠ Memory {over}: it grows on and on, by {} a pass ({} to {}): {} for a million passes.",
            size(*per_pass),
            size(interval.0),
            size(interval.1),
            size(per_pass * MILLION)
        ),
        Growth::Open { rises, last, by } => format!(
            "Memory {over}: it rose {} in the later half, by {} in all and the last time at pass {last}; whether \
             that goes on is open.",
            counted(*rises, "time"),
            size(*by)
        ),
    }
}

fn pause(length: u64, pass: &FirstPass) -> String {
    let after = format!("After a pause of {} s", length as f64 / 1000.0);
    let tried = counted(pass.0.samples, "pause");
    match pass.verdict() {
        FirstPassVerdict::Slow => format!(
            "⚠ {after} a pass is slow: {} the usual time ({tried}).",
            ratio(pass)
        ),
        FirstPassVerdict::NotSlow => {
            format!(
                "{after} a pass is not slow: {} the usual time ({tried}).",
                ratio(pass)
            )
        }
        FirstPassVerdict::Open => format!(
            "{after} it is open whether a pass is slow: it takes {} the usual time ({tried}).",
            bounds(pass)
        ),
    }
}

fn sharing(sharing: &Sharing) -> String {
    let together = times_with_interval(sharing.together.ratio, sharing.together.interval);
    let told = match sharing.verdict() {
        Verdict::Slower => format!("they get more done than one alone, {together}"),
        Verdict::Faster => format!("⚠ they get less done than one alone, {together}"),
        Verdict::NoDifference => format!("they get as much done as one alone, {together}"),
        Verdict::Open => {
            let (low, high) = sharing.together.interval;
            format!(
                "it is open whether they get more done than one alone, between {low:.2}× and {high:.2}×"
            )
        }
    };
    let [alone, beside] = sharing.switches;
    let bits = if sharing.same_bits {
        "the outputs have the same bits"
    } else {
        "⚠ outputs have other bits"
    };
    format!(
        "Two sessions in one process: {told}; a pass takes {}, with {beside:.1} involuntary context switches and \
         not {alone:.1}; {bits}.",
        times_with_interval(sharing.slower.ratio, sharing.slower.interval)
    )
}

fn batch(batch: &Batch) -> String {
    let mut said = format!("A batch of {}: ", batch.size);
    if batch.values == 0 {
        said += "its outputs have no axis of the batch, so that they cannot be compared with single passes.";
        return said;
    }
    said += &match batch.other_than_single {
        0 => format!("the {} values have the bits of single passes", batch.values),
        n => format!(
            "{n} of {} values have other bits than in single passes, and differ by up to {:.1e}",
            batch.values, batch.most
        ),
    };
    said += &match batch.by_neighbours {
        0 => "; what else is in the batch changes no bit".to_owned(),
        n => format!(
            "; ⚠ they depend on what else is in the batch: {n} of {} values changed with the neighbours alone, as \
             those of dynamic quantization do",
            batch.shared
        ),
    };
    if !batch.without_batch.is_empty() {
        let names = batch.without_batch.join(", ");
        said += &format!("; not compared, for want of an axis of the batch: {names}");
    }
    said + "."
}

fn denormals(found: &Denormals) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(inputs) = &found.inputs {
        said.push(match inputs.verdict() {
            FirstPassVerdict::Slow => format!(
                "⚠ On denormal inputs a pass is slow: {} that on ordinary ones{}.",
                ratio(inputs),
                with_switch(found.inputs_as_zero.as_ref())
            ),
            FirstPassVerdict::NotSlow => format!(
                "On denormal inputs a pass is not slow: {} that on ordinary ones.",
                ratio(inputs)
            ),
            FirstPassVerdict::Open => format!(
                "Whether a pass on denormal inputs is slow is open: it takes {} that on ordinary ones.",
                bounds(inputs)
            ),
        });
    }
    if let Some(within) = &found.within {
        said.push(match within.verdict() {
            FirstPassVerdict::Slow => format!(
                "⚠ With `denormals=zero` ordinary inputs are faster as well: they take {} the time without it. \
                 Weights, or what comes of them, are denormal.",
                ratio(within)
            ),
            FirstPassVerdict::NotSlow => {
                "`denormals=zero` makes ordinary inputs no faster: no denormal numbers slow them down.".into()
            }
            FirstPassVerdict::Open => format!(
                "Whether `denormals=zero` makes ordinary inputs faster is open: without it they take {} the time.",
                bounds(within)
            ),
        });
    }
    said
}

/// Whether the engine's switch ends it.
fn with_switch(inputs: Option<&FirstPass>) -> String {
    let Some(inputs) = inputs else {
        return ", and the engine has no switch for them".into();
    };
    match inputs.verdict() {
        FirstPassVerdict::Slow => format!("; with `denormals=zero` still {}", ratio(inputs)),
        FirstPassVerdict::NotSlow => format!("; `denormals=zero` ends that: {}", ratio(inputs)),
        FirstPassVerdict::Open => format!("; with `denormals=zero` {}", bounds(inputs)),
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
    use firstpass_statistics::comparison::LogSample;

    use super::*;

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

    #[test]
    fn memory_grows_or_not_or_is_open() {
        let grows = Growth::Grows {
            per_pass: 0.5,
            interval: (0.4, 0.6),
        };
        let said = memory(3000, &grows);
        assert!(
            said.starts_with("⚠") && said.contains("512.0 B a pass"),
            "{said}"
        );
        assert!(said.contains("488.3 MiB for a million passes"), "{said}");
        let holds = memory(3000, &Growth::Holds { at_most: 0.01 });
        assert!(
            holds.contains("does not grow") && holds.contains("10.2 B"),
            "{holds}"
        );
        let filled = memory(
            3000,
            &Growth::LevelsOff {
                last: 1700,
                by: 2048.0,
            },
        );
        assert!(
            filled.contains("2.0 MiB") && filled.contains("levels off"),
            "{filled}"
        );
        let open = memory(
            3000,
            &Growth::Open {
                rises: 1,
                last: 2400,
                by: 4.0,
            },
        );
        assert!(
            open.contains("rose 1 time") && open.contains("is open"),
            "{open}"
        );
    }

    #[test]
    fn a_pause_makes_slow_or_not_or_it_is_open() {
        let [slow, not, open] = each().map(|pass| pause(100, &pass));
        assert!(
            slow.starts_with("⚠ After a pause of 0.1 s a pass is slow: 2.0"),
            "{slow}"
        );
        assert!(not.contains("is not slow: 1.0"), "{not}");
        assert!(
            open.contains("it is open") && open.contains("(2 pauses)"),
            "{open}"
        );
    }

    #[test]
    fn denormals_are_slow_or_not_and_so_is_the_rest() {
        let [slow, not, open] = each();
        let said = |inputs, inputs_as_zero, within| {
            denormals(&Denormals {
                inputs,
                inputs_as_zero,
                within,
            })
            .join(" ")
        };
        let ended = said(Some(slow), Some(not), Some(not));
        assert!(
            ended.contains("`denormals=zero` ends that") && ended.contains("no faster"),
            "{ended}"
        );
        let useless = said(Some(slow), Some(slow), None);
        assert!(useless.contains("still 2.0"), "{useless}");
        assert!(said(Some(slow), None, None).contains("has no switch"));
        let weights = said(Some(not), Some(not), Some(slow));
        assert!(
            weights.contains("is not slow") && weights.contains("are denormal"),
            "{weights}"
        );
        let open = said(Some(open), None, Some(open));
        assert_eq!(open.matches("is open").count(), 2, "{open}");
        assert_eq!(said(None, None, None), "");
    }

    #[test]
    fn a_batch_is_equal_or_differs_or_depends_on_its_neighbours() {
        let equal = Batch {
            size: 4,
            values: 40,
            other_than_single: 0,
            most: 0.0,
            shared: 10,
            by_neighbours: 0,
            without_batch: Vec::new(),
        };
        let said = batch(&equal);
        assert!(
            said.contains("the bits of single passes") && said.contains("changes no bit"),
            "{said}"
        );
        let other = Batch {
            other_than_single: 3,
            most: 0.25,
            by_neighbours: 2,
            without_batch: vec!["sum".into()],
            ..equal
        };
        let said = batch(&other);
        for words in ["3 of 40 values", "2.5e-1", "2 of 10 values", "sum."] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
}
