//! Files of other formats: what they are, and what their owner can do.

use std::path::Path;

/// How much of a file is looked at.
pub(crate) const HEAD: usize = 1024;

const TO_ONNX: &str = "export the model that it was made from as ONNX, in PyTorch with torch.onnx.export(…, dynamo=True)";

/// What a file is that is no model for the engines here, by its first bytes or, where they say nothing,
/// by its extension; and what to do.
pub(crate) fn foreign(path: &Path, head: &[u8]) -> Option<String> {
    let (what, advice) = by_content(head).or_else(|| by_extension(path))?;
    Some(format!(
        "it is {what}, which no engine here reads: {advice}"
    ))
}

type Kind = (&'static str, &'static str);

fn by_content(head: &[u8]) -> Option<Kind> {
    let text = head.trim_ascii_start();
    Some(match head {
        [b'G', b'G', b'U', b'F', ..] => gguf(),
        [0x89, b'H', b'D', b'F', b'\r', b'\n', ..] => keras(),
        [_, _, _, _, b'T', b'F', b'L', b'3', ..] => tflite(),
        [_, _, _, _, b'O', b'R', b'T', b'M', ..] => (
            "a file of ONNX Runtime's own format (.ort)",
            "give the ONNX file that it was converted from",
        ),
        [_, _, _, _, b'E', b'T', b'1', b'0'..=b'9', ..] => {
            ("a program of ExecuTorch (.pte)", TO_ONNX)
        }
        [b'f' | b'p', b't', b'r', b't', ..] => tensorrt(),
        [0x1f, 0x8b, ..] => (
            "a compressed archive (gzip)",
            "unpack it, and give the model in it",
        ),
        // A pickle of protocol 2 or later, as torch.save wrote it before version 1.6.
        [0x80, 2..=5, ..] => pickle(),
        _ if is_safetensors(head) => safetensors(),
        _ if text.starts_with(b"version https://git-lfs") => (
            "a pointer of Git LFS in the place of a file",
            "get the file itself with `git lfs pull`",
        ),
        _ if starts_like(text, b"<!doctype html") || starts_like(text, b"<html") => (
            "a web page",
            "the download went wrong; fetch the file itself, not the page about it",
        ),
        _ if text.starts_with(b"<?xml") && contains(head, b"<net ") => (
            "a model in Intel's intermediate representation (.xml)",
            "give the ONNX file that it was converted from",
        ),
        _ => return None,
    })
}

fn by_extension(path: &Path) -> Option<Kind> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    Some(match extension.as_str() {
        "gguf" | "ggml" => gguf(),
        "h5" | "hdf5" | "keras" => keras(),
        "tflite" | "lite" => tflite(),
        "engine" | "plan" | "trt" => tensorrt(),
        "safetensors" => safetensors(),
        "pkl" | "pickle" => pickle(),
        "mlmodel" | "mlpackage" => ("a model of Core ML", TO_ONNX),
        "pb" => (
            "a graph of TensorFlow (.pb)",
            "convert the SavedModel to ONNX with `python -m tf2onnx.convert --saved-model FOLDER --output \
             model.onnx`",
        ),
        _ => return None,
    })
}

fn gguf() -> Kind {
    (
        "a GGUF file of llama.cpp",
        "it holds weights without a graph; export the original model as ONNX, for example with `optimum-cli \
         export onnx`",
    )
}

fn keras() -> Kind {
    (
        "an HDF5 file of Keras",
        "load it in Python and export it with model.export(\"model.onnx\", format=\"onnx\"), or convert it \
         with tf2onnx",
    )
}

fn tflite() -> Kind {
    (
        "a model of TensorFlow Lite",
        "convert it to ONNX with `python -m tf2onnx.convert --tflite FILE --output model.onnx`",
    )
}

fn tensorrt() -> Kind {
    (
        "an engine that TensorRT has built for one GPU",
        "give the ONNX file that it was built from",
    )
}

fn safetensors() -> Kind {
    (
        "a file of weights without a graph (safetensors)",
        "load them into the model in Python and export it with torch.onnx.export(…, dynamo=True)",
    )
}

/// What [`pickle`] is, also within an archive.
pub(crate) fn pickled() -> String {
    let (what, advice) = pickle();
    format!("it is {what}, which no engine here reads: {advice}")
}

fn pickle() -> Kind {
    (
        "a pickle, as torch.save writes it: weights (a state_dict), or a module whose code lies elsewhere",
        "load it in Python, and save the model with torch.jit.script(model).save(…) or \
         torch.onnx.export(…, dynamo=True)",
    )
}

/// A length of 8 bytes, and then as much JSON.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, json)) = head.split_first_chunk() else {
        return false;
    };
    let length = u64::from_le_bytes(*length);
    (2..1 << 40).contains(&length) && json.starts_with(b"{\"")
}

fn starts_like(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_formats_are_named_with_what_to_do() {
        let safetensors = [&17_u64.to_le_bytes()[..], b"{\"__metadata__\":{}}"].concat();
        for (name, head, words) in [
            ("m.gguf", &b"GGUF\x03\0\0\0"[..], "GGUF"),
            ("m.h5", b"\x89HDF\r\n\x1a\n", "Keras"),
            ("m.bin", b"\x1c\0\0\0TFL3", "tf2onnx"),
            ("m.ort", b"\x1c\0\0\0ORTM", "own format"),
            ("m.engine", b"anything", "TensorRT"),
            ("m.bin", b"ftrt\0\0", "TensorRT"),
            ("m.pth", b"\x80\x02\x8a\nl\xfc", "state_dict"),
            ("model.onnx", &safetensors, "without a graph"),
            ("model.safetensors", b"cut", "without a graph"),
            (
                "model.onnx",
                b"version https://git-lfs.github.com/spec/v1",
                "git lfs pull",
            ),
            ("model.onnx", b"\n<!DOCTYPE HTML><html>", "web page"),
            (
                "model.xml",
                b"<?xml version=\"1.0\"?>\n<net name=\"m\">",
                "Intel",
            ),
            ("model.tar.gz", b"\x1f\x8b\x08", "unpack"),
            ("model.pte", b"\x30\0\0\0ET12", "ExecuTorch"),
        ] {
            let message = foreign(Path::new(name), head).unwrap_or_default();
            assert!(message.contains(words), "{name}: {message}");
        }
        // What an ONNX file begins with: its version of the format, and who made it.
        for head in [
            &b"\x08\x08\x12\x07pytorch"[..],
            b"\x3a\x05graph",
            b"\x08\x0a:\x00",
            b"",
        ] {
            assert_eq!(foreign(Path::new("model.onnx"), head), None);
        }
    }
}
