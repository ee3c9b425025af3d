//! A `model.toml` with comments, for people to go on writing.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Result;
use firstpass_trial::model::{InputSpec, ModelDescription, OutputSpec};
use serde::Serialize;

/// The text of a `model.toml`. What it says is what [`ModelDescription::read`] reads; what a user
/// may want to add stands there as a comment.
///
/// # Errors
/// Fails on what TOML cannot say, such as a path that is no text.
pub fn to_toml(model: &ModelDescription) -> Result<String> {
    #[derive(Serialize)]
    struct Head<'a> {
        name: &'a str,
        title: &'a str,
        description: &'a str,
        precision: firstpass_trial::model::Precision,
    }
    let head = toml::to_string(&Head {
        name: &model.name,
        title: &model.title,
        description: &model.description,
        precision: model.precision,
    })?;
    let mut text = String::new();
    let out = &mut text;
    writeln!(
        out,
        "# A model, as `cargo firstpass check`, `report --model` and all others read it."
    )?;
    writeln!(out, "# Paths are relative to this file.\n")?;
    writeln!(out, "{head}")?;
    if model.latency_on_request {
        let key = line("latency-on-request", true)?;
        writeln!(
            out,
            "# Timed only where the model is asked for by name.\n{key}\n"
        )?;
    }
    if model.explain {
        let key = line("explain", true)?;
        writeln!(
            out,
            "# Profiled by `firstpass explain` without being asked for.\n{key}\n"
        )?;
    }
    match &model.golden {
        Some(golden) => writeln!(
            out,
            "# The outputs that the model should give, and who gave them.\n{}\n{}",
            line("golden", golden)?,
            line("golden-from", &model.golden_from)?
        )?,
        None => writeln!(
            out,
            "# The outputs that the model should give are kept here by \
             `cargo firstpass check --golden FILE.npz`.\n# golden = \"golden.safetensors\"\n{}",
            line("golden-from", &model.golden_from)?
        )?,
    }
    writeln!(
        out,
        "\n# One file of each format, such as onnx (float or quantized, in any form) and torchscript. \
         Each engine\n# reads those that it knows."
    )?;
    writeln!(out, "[artifacts]")?;
    for (format, path) in &model.artifacts {
        writeln!(out, "{}", line(format.key(), path)?)?;
    }
    writeln!(
        out,
        "\n# A file that is listed here is read only if it has this SHA-256. That is no trust: a TorchScript \
         file,\n# which is a program, is run with --trust, or after `cargo firstpass trust FILE`."
    )?;
    if model.sha256.is_empty() {
        writeln!(out, "# [sha256]\n# \"model.pt\" = \"<sha256>\"")?;
    } else {
        writeln!(out, "[sha256]")?;
        for (path, sum) in &model.sha256 {
            let pair = BTreeMap::from([(path, sum)]);
            write!(out, "{}", toml::to_string(&pair)?)?;
        }
    }
    writeln!(
        out,
        "\n# In the order in which the model takes them. Types: f32 (the default), f64, i64, i32, u8, \
         i8, bool."
    )?;
    for input in &model.inputs {
        write_input(out, input)?;
    }
    writeln!(
        out,
        "\n# In the order in which the model gives them; without a shape where it is not known \
         beforehand.\n# `steps` are the scales with which consecutive elements were dequantized: they \
         make differences\n# countable in quantization steps. `activation = \"sigmoid\"` where one \
         follows."
    )?;
    for output in &model.outputs {
        write_output(out, output)?;
    }
    if model.classification.is_none() && model.detection.is_none() {
        writeln!(
            out,
            "\n# For a classifier: whether the classes with the best scores are the same.\n\
             # [classification]\n# scores = \"logits\" # an output whose last axis is the classes\n\
             # top = 5"
        )?;
    }
    // With their names, which tables within them repeat.
    if let Some(classification) = &model.classification {
        let table = BTreeMap::from([("classification", classification)]);
        write!(out, "\n{}", toml::to_string(&table)?)?;
    }
    if let Some(detection) = &model.detection {
        let table = BTreeMap::from([("detection", detection)]);
        write!(out, "\n{}", toml::to_string(&table)?)?;
    }
    Ok(text)
}

fn write_input(out: &mut String, input: &InputSpec) -> Result<()> {
    #[derive(Serialize)]
    struct Table<'a> {
        input: [&'a InputSpec; 1],
    }
    let text = toml::to_string(&Table { input: [input] })?;
    write!(out, "{text}")?;
    if input.preprocess.is_none() && matches!(input.shape[..], [1, 3, _, _]) {
        writeln!(
            out,
            "# How pictures (--image) become this input: (pixel / 255 - mean) / std, letterboxed.\n\
             # preprocess = {{ mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225], pad = 114 }}"
        )?;
    }
    Ok(())
}

fn write_output(out: &mut String, output: &OutputSpec) -> Result<()> {
    #[derive(Serialize)]
    struct Table<'a> {
        outputs: [&'a OutputSpec; 1],
    }
    write!(out, "{}", toml::to_string(&Table { outputs: [output] })?)?;
    Ok(())
}

fn line(key: &str, value: impl Serialize) -> Result<String> {
    let pair = BTreeMap::from([(key, value)]);
    Ok(toml::to_string(&pair)?.trim_end().to_owned())
}
