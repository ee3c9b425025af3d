//! `known.toml` of a backend: divergences that are real, declared with their cause.
//!
//! A declared divergence must still occur, inside its bounds: the suite fails when it moves, and
//! when it heals.

use std::{collections::BTreeMap, fmt};

use firstpass_probe::{Format, Knobs};
use serde::Deserialize;

/// All that one backend declares.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Known {
    /// How its rows are called, by what ran; the name of the backend where it is left out.
    pub called: Option<String>,
    /// Whether what is timed is mostly code of this project, and not what a user of the engine gets.
    #[serde(default)]
    pub of_this_project: bool,
    #[serde(default)]
    pub divergence: Vec<Divergence>,
    /// Model files that the engine does not run.
    #[serde(default)]
    pub refusal: Vec<Refusal>,
    #[serde(default)]
    pub float_arithmetic: Vec<Exception>,
    #[serde(default)]
    pub thread_dependent: Vec<Exception>,
    /// What makes the engine's sums exact where its kernels may saturate.
    pub exact_sums: Option<ExactSums>,
    /// What makes the engine compute floats in f32 where it has fewer bits for them by default.
    pub exact_floats: Option<ExactFloats>,
    /// What makes the engine compute the graph as the file has it.
    pub without_optimizations: Option<WithoutOptimizations>,
    /// Of a referee: the ways in which published engines round what the file leaves to them.
    #[serde(default)]
    pub rounding_rule: Vec<RoundingRule>,
    /// Of a referee: ways to compute by which golden outputs may have been made, such as with sums that saturate.
    #[serde(default)]
    pub golden_rule: Vec<GoldenRule>,
    #[serde(default)]
    pub operator: Vec<DeclaredOperator>,
    #[serde(default)]
    pub standard_test: Vec<DeclaredTests>,
    #[serde(default)]
    pub culprit: Vec<DeclaredCulprit>,
}

/// What is wrong with the engine on a small model of a kind that is known from public bug reports.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeclaredCulprit {
    /// The kind.
    pub case: String,
    pub verdict: CulpritVerdict,
    /// The operators in which it is by itself, in order.
    pub operators: Vec<String>,
    /// The knob with the value that makes it go: of passes that can be left out by name the fewest, else the first that
    /// the engine declares; `None` where none does.
    #[serde(default)]
    pub setting: Option<(String, String)>,
    pub reason: String,
    /// As of a [`Divergence`].
    #[serde(default)]
    pub without: Vec<String>,
    /// As of a [`Divergence`].
    #[serde(default)]
    pub with: Vec<String>,
}

/// How an engine is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CulpritVerdict {
    /// Its outputs are not the referee's.
    Differs,
    /// It gives none.
    Fails,
}

impl Known {
    /// The same for another version of the engine, which is named `NAME@VERSION`. What is declared is declared of the
    /// pinned version: where another one differs from that too, it is said.
    #[must_use]
    pub fn of_version(self, name: &str) -> Self {
        let version = name.split_once('@').map_or(name, |(_, version)| version);
        Self {
            called: self.called.map(|called| format!("{called} {version}")),
            ..self
        }
    }

    /// The same for the engine `base` on another processor.
    #[must_use]
    pub fn on_processor(self, base: &str, processor: &str) -> Self {
        let called = self.called.unwrap_or_else(|| base.into());
        Self {
            called: Some(format!("{called} on an emulated {processor}")),
            ..self
        }
    }
}

/// How sums of products are made exact, for an engine with kernels that add in 16 bits.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExactSums {
    /// A knob with its value; `None` where the engine has no such switch.
    pub setting: Option<(String, String)>,
    /// Where it saturates without, and what the switch does.
    pub reason: String,
}

/// How floats are computed in f32, for an engine that takes a shorter type on processors with instructions for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExactFloats {
    /// A knob with its value.
    pub setting: (String, String),
    /// Which type it takes without, and where.
    pub reason: String,
}

/// How an engine computes every operator of the file by itself. Engines whose outputs then agree are what
/// outputs are compared with where there is nothing better.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WithoutOptimizations {
    /// Knobs with their values.
    pub settings: Knobs,
    /// What these switch off.
    pub reason: String,
}

/// A way to round that is as good as any: how far outputs move by it is no fault of an engine.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RoundingRule {
    /// Knobs of the referee with their values.
    pub settings: Knobs,
    /// Who rounds so.
    pub reason: String,
    /// Whether it sends halves elsewhere, of which a model may have many: how far outputs move by it excuses no engine
    /// but those that give about what the referee gives by it.
    #[serde(default)]
    pub halves: bool,
}

/// A way to compute by which golden outputs may have been made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GoldenRule {
    /// Knobs of the referee with their values.
    pub settings: Knobs,
    /// What is computed so, and by whom.
    pub reason: String,
}

/// Model files that an engine does not run: it must go on refusing them, in its own words.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Refusal {
    /// What its error holds.
    pub words: String,
    /// Why.
    pub reason: String,
    pub models: Vec<String>,
    pub format: Format,
}

/// Kinds of small graphs that the engine does not compute as the referee does.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeclaredOperator {
    pub kinds: Vec<String>,
    pub verdict: DeclaredVerdict,
    pub reason: String,
    /// As of a [`Divergence`].
    #[serde(default)]
    pub without: Vec<String>,
}

/// Tests of the ONNX standard that the engine does not pass.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DeclaredTests {
    /// As the standard names them.
    pub names: Vec<String>,
    pub reason: String,
}

/// How an engine differs in a kind of small graphs, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeclaredVerdict {
    WithinOneStep,
    Wrong,
    /// In some of the cases or in all.
    Unsupported,
}

impl fmt::Display for DeclaredVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WithinOneStep => "within one step",
            Self::Wrong => "wrong",
            Self::Unsupported => "unsupported",
        })
    }
}

/// Outputs that differ from the golden ones.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Divergence {
    /// A short name of the cause, the same wherever the cause is the same.
    pub name: String,
    /// The cause.
    pub reason: String,
    pub models: Vec<String>,
    pub format: Format,
    /// Only on a processor that has none of these instruction sets (as the kernel names them);
    /// empty for every processor.
    #[serde(default)]
    pub without: Vec<String>,
    /// Only on a processor that has one of these; empty for every processor.
    #[serde(default)]
    pub with: Vec<String>,
    /// By output whose steps are known; an output that is not named must be exact.
    #[serde(default)]
    pub outputs: BTreeMap<String, Bounds>,
    /// By output of floats; one that is not named must be equal up to the rounding of f32.
    #[serde(default)]
    pub floats: BTreeMap<String, FloatBounds>,
    /// Faces that come and go where a score lies at the threshold; none where it is left out.
    #[serde(default)]
    pub faces: FaceBounds,
}

/// Faces that the golden outputs hold and the engine's do not, and the other way round, over all
/// photographs of the fixtures: least and most.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FaceBounds {
    #[serde(default)]
    pub missed: [usize; 2],
    #[serde(default)]
    pub extra: [usize; 2],
}

/// What a divergence may measure over all photographs of the fixtures, in quantization steps.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Bounds {
    /// Least and most of the largest difference.
    pub max_steps: [u64; 2],
    /// Least and most of the share of values that are exact.
    pub exact_share: [f64; 2],
}

/// What a divergence of floats may measure over all photographs of the fixtures.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FloatBounds {
    /// Least and most of the largest difference, relative to the scale of its value: see
    /// [`crate::agreement::Agreement::max_relative`].
    pub max_relative: [f64; 2],
}

/// Something that is not as expected of a model, with its cause.
///
/// As `float-arithmetic`: an int8 model some or all of whose multiplications the engine computes on
/// dequantized floats. As `thread-dependent`: other bits with another number of threads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Exception {
    pub reason: String,
    pub models: Vec<String>,
    pub format: Format,
}

impl Exception {
    fn is_of(&self, model: &str, format: Format) -> bool {
        self.format == format && self.models.iter().any(|m| m == model)
    }
}

impl Known {
    /// What is declared for a model on a processor with these instruction sets.
    pub fn divergence(
        &self,
        model: &str,
        format: Format,
        cpu_flags: &[String],
    ) -> Option<&Divergence> {
        self.divergence
            .iter()
            .filter(|d| is_of_processor(&d.with, &d.without, cpu_flags))
            .find(|d| d.format == format && d.models.iter().any(|m| m == model))
    }

    pub fn refusal(&self, model: &str, format: Format) -> Option<&Refusal> {
        let mut all = self.refusal.iter();
        all.find(|r| r.format == format && r.models.iter().any(|m| m == model))
    }

    pub fn float_arithmetic(&self, model: &str, format: Format) -> Option<&Exception> {
        self.float_arithmetic
            .iter()
            .find(|e| e.is_of(model, format))
    }

    pub fn thread_dependent(&self, model: &str, format: Format) -> Option<&Exception> {
        self.thread_dependent
            .iter()
            .find(|e| e.is_of(model, format))
    }

    /// What is declared for a kind of small graphs on a processor with these instruction sets.
    pub fn operator(&self, kind: &str, cpu_flags: &[String]) -> Option<&DeclaredOperator> {
        self.operator
            .iter()
            .filter(|operator| is_of_processor(&[], &operator.without, cpu_flags))
            .find(|operator| operator.kinds.iter().any(|k| k == kind))
    }

    /// What is declared for a small model on a processor with these instruction sets.
    pub fn culprit(&self, case: &str, cpu_flags: &[String]) -> Option<&DeclaredCulprit> {
        let mut all = self.culprit.iter();
        all.find(|culprit| {
            culprit.case == case && is_of_processor(&culprit.with, &culprit.without, cpu_flags)
        })
    }

    pub fn standard_test(&self, name: &str) -> Option<&DeclaredTests> {
        self.standard_test
            .iter()
            .find(|tests| tests.names.iter().any(|n| n == name))
    }
}

/// Whether a processor with these instruction sets has one of `with`, if any are named, and none of `without`.
fn is_of_processor(with: &[String], without: &[String], cpu_flags: &[String]) -> bool {
    let has = |flag: &String| cpu_flags.contains(flag);
    (with.is_empty() || with.iter().any(has)) && !without.iter().any(has)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_be_declared_for_some_processors() -> Result<(), toml::de::Error> {
        let known: Known = toml::from_str(
            r#"
            [[operator]]
            kinds = ["add"]
            verdict = "wrong"
            reason = "because"
            without = ["vnni"]
            "#,
        )?;
        let on = |flag: &str| known.operator("add", &[flag.to_owned()]).map(|o| o.verdict);
        assert_eq!(on("avx2"), Some(DeclaredVerdict::Wrong));
        assert_eq!(on("vnni"), None);
        Ok(())
    }
}
