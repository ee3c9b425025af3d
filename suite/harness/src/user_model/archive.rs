//! Archives that PyTorch writes: TorchScript, and those that only look like it.

use std::io::{Cursor, Read};

use anyhow::{Context, Result, bail, ensure};
use firstpass_probe::Format;
use firstpass_trial::{model::Precision, tensor_files::unfolded};
use zip::ZipArchive;

use crate::{
    page::numbers::counted,
    user_model::{
        foreign::pickled,
        signature::{MOST_BYTES, Signature},
    },
};

/// More bytes of one file of code are not read: the largest modules have some hundred KiB.
const MOST_CODE: u64 = 64 << 20;

/// Reads a TorchScript file. Nothing of it is run.
///
/// # Errors
/// Fails on every other archive; the message says what it is, and what to do.
pub(crate) fn torchscript(bytes: Vec<u8>) -> Result<Signature> {
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).context("it begins like an archive, but is damaged")?;
    let mut names = Vec::new();
    let mut precision = Precision::Fp32;
    let unfolded = unfolded(&mut archive)?;
    ensure!(
        unfolded <= MOST_BYTES,
        "its files unfold to {unfolded} bytes, and models of more than {MOST_BYTES} are not read"
    );
    for index in 0..archive.len() {
        let file = archive.by_index(index)?;
        let name = file.name()?.into_owned();
        // The code of a quantized module names its operators.
        if name.contains("/code/") && name.ends_with(".py") {
            let mut code = String::new();
            let size = file
                .take(MOST_CODE + 1)
                .read_to_string(&mut code)
                .with_context(|| format!("{name} is damaged"))?;
            ensure!(
                size as u64 <= MOST_CODE,
                "{name} holds more than {MOST_CODE} bytes of code, which are not read"
            );
            if code.contains("ops.quantized.") {
                precision = Precision::Int8;
            }
        }
        names.push(name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some(message) = other(&names) {
        bail!("{message}");
    }
    let is_module = |name: &&str| name.ends_with("/constants.pkl") || name.contains("/code/");
    ensure!(
        names.iter().any(is_module),
        "it is an archive of {} without a model; give an ONNX file or a TorchScript file",
        counted(names.len(), "file")
    );
    Ok(Signature {
        format: Format::TORCHSCRIPT,
        precision,
        inputs: Vec::new(),
        outputs: Vec::new(),
    })
}

/// What an archive of files of these names is, where it is none of TorchScript.
fn other(names: &[&str]) -> Option<String> {
    let has = |file: &str| {
        let mut names = names.iter();
        names.any(|name| *name == file || name.ends_with(&format!("/{file}")))
    };
    let within = |folder: &str| names.iter().any(|name| name.contains(folder));
    // The second is that of PyTorch before 2.7.
    let exported = has("models/model.json") || has("serialized_exported_program.json");
    if within("data/aotinductor/") && !exported {
        return Some(
            "it is a library that AOTInductor has compiled (.pt2), which no engine here reads: export the \
             model with torch.onnx.export(model, …, \"model.onnx\", dynamo=True)"
                .into(),
        );
    }
    if exported || has("archive_format") {
        return Some(
            "it is a program of torch.export (.pt2), which no engine here reads: make an ONNX file of it \
             with torch.onnx.export(torch.export.load(\"model.pt2\"), f=\"model.onnx\", dynamo=True), or save \
             the module with torch.jit.script(module).save(\"model.pt\")"
                .into(),
        );
    }
    if has("model.weights.h5") {
        return Some(
            "it is a model of Keras (.keras), which no engine here reads: load it in Python and export it \
             with model.export(\"model.onnx\", format=\"onnx\")"
                .into(),
        );
    }
    if !names.is_empty() && names.iter().all(|name| name.ends_with(".npy")) {
        return Some("it is an archive of arrays and no model: give it with --sample".into());
    }
    if has("data.pkl") && !has("constants.pkl") && !within("/code/") {
        return Some(pickled());
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn archive(files: &[(&str, &str)]) -> Result<Vec<u8>> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            archive.start_file(*name, SimpleFileOptions::default())?;
            archive.write_all(text.as_bytes())?;
        }
        Ok(archive.finish()?.into_inner())
    }

    #[test]
    fn archives_are_named_for_what_they_are() -> Result<()> {
        for (files, words) in [
            (
                &[
                    "m/archive_format",
                    "m/models/model.json",
                    "m/data/weights/w",
                ][..],
                "torch.export.load",
            ),
            (
                &["serialized_exported_program.json", "version"],
                "torch.export.load",
            ),
            (
                &["m/archive_format", "m/data/aotinductor/model/a.so"],
                "AOTInductor",
            ),
            (
                &["archive/data.pkl", "archive/data/0", "archive/version"],
                "state_dict",
            ),
            (
                &["metadata.json", "config.json", "model.weights.h5"],
                "Keras",
            ),
            (&["x.npy", "y.npy"], "--sample"),
            (&["readme.txt"], "without a model"),
            (&[], "without a model"),
        ] {
            let files: Vec<_> = files.iter().map(|name| (*name, "")).collect();
            let message = torchscript(archive(&files)?).expect_err("no TorchScript");
            assert!(
                format!("{message:#}").contains(words),
                "{files:?}: {message:#}"
            );
        }
        assert!(torchscript(b"PK\x03\x04 cut off".to_vec()).is_err());
        Ok(())
    }

    #[test]
    fn the_code_of_a_module_tells_whether_it_is_quantized() -> Result<()> {
        for (code, precision) in [
            ("torch.conv2d(x)", Precision::Fp32),
            ("ops.quantized.conv2d(x)", Precision::Int8),
        ] {
            let files = [
                ("m/data.pkl", ""),
                ("m/constants.pkl", ""),
                ("m/code/m.py", code),
            ];
            let signature = torchscript(archive(&files)?)?;
            assert_eq!(signature.format, Format::TORCHSCRIPT);
            assert_eq!(signature.precision, precision);
        }
        Ok(())
    }
}
