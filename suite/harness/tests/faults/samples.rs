//! Inputs, pictures and options that a check cannot take, one row a fault. Each is refused before anything runs, in
//! words that name it.

use std::{fs, io::Write};

use anyhow::{Result, ensure};

use crate::{
    fault::Fault,
    inputs::refused,
    models,
    place::{Ended, Place},
};

/// An option that is refused while the command line is read.
const fn misread(
    what: &'static str,
    done: fn(&Place) -> Result<Ended>,
    says: &'static [&'static str],
) -> Fault {
    Fault::new(what, done, 2, says)
}

pub const FAULTS: &[Fault] = &[
    // Arrays.
    refused(
        "a sample that holds NaN",
        |place| {
            on_array(
                place,
                &npy("<f4", SHAPE, &f32::NAN.to_le_bytes().repeat(192)),
            )
        },
        &["in.npy", "input \"x\" holds NaN at index 0"],
    ),
    refused(
        "a sample that holds an infinity",
        |place| {
            on_array(
                place,
                &npy("<f4", SHAPE, &f32::INFINITY.to_le_bytes().repeat(192)),
            )
        },
        &["in.npy", "input \"x\" holds inf at index 0"],
    ),
    refused(
        "a sample of another shape",
        |place| on_array(place, &npy("<f4", "(1, 3, 8, 9)", &[0; 4 * 216])),
        &["input \"x\" is of shape [1, 3, 8, 8]", "not [1, 3, 8, 9]"],
    ),
    refused(
        "a sample of another type",
        |place| on_array(place, &npy("<i8", SHAPE, &[0; 8 * 192])),
        &["in.npy", "is of i64, but the model takes f32"],
    ),
    refused(
        "a sample of Python's objects, which are programs",
        |place| on_array(place, &npy("|O", SHAPE, &[0; 8 * 192])),
        &["cannot read the tensors in in.npy"],
    ),
    refused(
        "a sample in the order of Fortran",
        |place| {
            let header = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': {SHAPE}, }}");
            on_array(place, &with_header(&header, &[0; 4 * 192]))
        },
        &["order of Fortran", "numpy.ascontiguousarray"],
    ),
    refused(
        "a sample of a petabyte, as it says",
        |place| on_array(place, &npy("<f4", "(100000, 100000, 100000)", b"")),
        &["in.npy", "the file is too short"],
    ),
    refused(
        "a sample whose size no number holds",
        |place| {
            let shape = "(18446744073709551615, 18446744073709551615)";
            on_array(place, &npy("<f4", shape, b""))
        },
        &["in.npy", "the file is too short"],
    ),
    refused(
        "a sample of less than nothing",
        |place| on_array(place, &npy("<f4", "(-1, 3)", b"")),
        &["in.npy", "cannot be negative"],
    ),
    refused(
        "a sample without an end",
        |place| on_array(place, &npy("<f4", SHAPE, &[0; 100])),
        &["cannot read the tensors in in.npy"],
    ),
    refused(
        "a sample whose header is a program",
        |place| on_array(place, &with_header("__import__('os').system('true')", b"")),
        &["in.npy", "no array as numpy.save writes it"],
    ),
    refused(
        "a sample whose header is brackets",
        |place| on_array(place, &with_header(&"[".repeat(20_000), b"")),
        &["in.npy", "no array as numpy.save writes it"],
    ),
    refused(
        "an archive of inputs without the input",
        |place| on_archive(place, "z.npy", &npy("<f4", SHAPE, &[0; 4 * 192])),
        &["in.npz holds no array \"x\""],
    ),
    refused(
        "an archive of inputs whose name is a path",
        |place| on_archive(place, "../x.npy", &npy("<f4", SHAPE, &[0; 4 * 192])),
        &["in.npz holds no array \"x\""],
    ),
    refused(
        "an archive of inputs with two of one name",
        |place| {
            let mut archive = archive(&[("x.npy", &zeros()[..]), ("z.npy", &zeros()[..])])?;
            // No writer of archives gives two files one name.
            while let Some(at) = archive.windows(5).position(|name| name == b"z.npy") {
                archive[at] = b'x';
            }
            on(place, "--sample", "in.npz", &archive)
        },
        &[
            "in.npz",
            "it holds two arrays of the name \"x\"",
            "keep one of them",
        ],
    ),
    refused(
        "an archive of inputs without an end",
        |place| {
            let archive = archive(&[("x.npy", &zeros()[..])])?;
            on(place, "--sample", "in.npz", &archive[..archive.len() / 2])
        },
        &["cannot read the tensors in in.npz"],
    ),
    refused(
        "an archive of inputs of text",
        |place| on_archive(place, "x.npy", b"no array"),
        &["in.npz", "x", "no array as numpy.save writes it"],
    ),
    refused(
        "tensors whose header is longer than any file",
        |place| {
            on(
                place,
                "--sample",
                "in.safetensors",
                &[u64::MAX.to_le_bytes().as_slice(), b"{}"].concat(),
            )
        },
        &[
            "cannot read the tensors in in.safetensors",
            "header too large",
        ],
    ),
    refused(
        "a sample of no kind that is known",
        |place| on(place, "--sample", "in.bin", b"abc"),
        &["in.bin is no .npy, .npz or .safetensors file"],
    ),
    // Pictures.
    refused(
        "a picture of four thousand million pixels",
        |place| on(place, "--image", "in.png", &png(65_535, 65_535)),
        &["in.png has 65535 × 65535", "give a smaller one"],
    ),
    refused(
        "a picture without pixels",
        |place| on(place, "--image", "in.png", &png(0, 0)),
        &["cannot read the image in.png"],
    ),
    refused(
        "a picture of text",
        |place| on(place, "--image", "in.png", b"no picture"),
        &["cannot read the image in.png", "give a PNG or JPEG file"],
    ),
    refused(
        "a picture that is empty",
        |place| on(place, "--image", "in.jpg", b""),
        &["cannot read the image in.jpg", "give a PNG or JPEG file"],
    ),
    refused(
        "a picture of a kind that is not read",
        |place| on(place, "--image", "in.gif", b"GIF89a and no more"),
        &["cannot read the image in.gif", "give a PNG or JPEG file"],
    ),
    // Options.
    refused(
        "no threads",
        |place| with(place, &["--threads", "0"]),
        &["--threads must be at least 1"],
    ),
    refused(
        "ten thousand threads",
        |place| with(place, &["--threads", "10000"]),
        &["--threads 10000 is more than 4 times as many as this machine has cores"],
    ),
    misread(
        "no time",
        |place| with(place, &["--budget", "0s"]),
        &["--budget", "less than 1s"],
    ),
    misread(
        "a time that is no number",
        |place| with(place, &["--budget", "nan"]),
        &["--budget", "no length of time"],
    ),
    misread(
        "a mean that is no number",
        |place| with(place, &["--mean", "nan,0,0"]),
        &["--mean", "is not one number for each"],
    ),
    refused(
        "a deviation of 0",
        |place| with(place, &["--std", "0,0,0"]),
        &["--std must not be 0"],
    ),
    refused(
        "the shape of an input that there is not",
        |place| with(place, &["--input", "z=1x3x8x8"]),
        &["the model has no input \"z\"; it has \"x\""],
    ),
    refused(
        "another shape than that of the file",
        |place| with(place, &["--input", "1x3x99999x99999"]),
        &["input \"x\" is of shape [1, 3, 8, 8] in the file"],
    ),
    refused(
        "the name of an engine that is a path",
        |place| with(place, &["--engine", "../x=/bin/true"]),
        &["\"../x\" is no name of an engine"],
    ),
    refused(
        "the name of an engine of 300 letters",
        |place| {
            with(
                place,
                &["--engine", &format!("{}=/bin/true", "x".repeat(300))],
            )
        },
        &["is no name of an engine", "64 at most"],
    ),
    refused(
        "a folder that is to be an engine",
        |place| with(place, &["--engine", "mine=/"]),
        &[
            "the engine mine is no program",
            "/ is a folder: name the program in it",
        ],
    ),
    Fault::new(
        "a smaller model.onnx in the place of the model that it is made of",
        |place| {
            let model = place.write("net/model.onnx", models::sound())?;
            let mut reduce = place.firstpass(["reduce", "--out", "net", "--engine", &place.engine]);
            place.run(reduce.arg(model))
        },
        1,
        &[
            "net holds the model itself",
            "give another folder with --out",
        ],
    )
    .surviving(|place, _| {
        let model = fs::read(place.path("net/model.onnx"))?;
        ensure!(model == models::sound(), "the model is another one");
        Ok(())
    }),
    refused(
        "a program with the name of an engine",
        |place| {
            let program = format!("{}=/bin/true", place.engine);
            with(place, &["--engine", &program])
        },
        &["is an engine already", "another name"],
    ),
];

/// The shape of the input of [`models::sound`].
const SHAPE: &str = "(1, 3, 8, 8)";

/// An array as numpy writes it.
fn npy(dtype: &str, shape: &str, values: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    with_header(&header, values)
}

fn with_header(header: &str, values: &[u8]) -> Vec<u8> {
    let length = u16::try_from(header.len() + 1).unwrap_or(u16::MAX);
    [
        b"\x93NUMPY\x01\x00",
        &length.to_le_bytes()[..],
        header.as_bytes(),
        b"\n",
        values,
    ]
    .concat()
}

/// A picture that says this size and has no pixels.
fn png(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        let mut sum = u32::MAX;
        for byte in &body {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
            }
        }
        let length = u32::try_from(data.len()).unwrap_or(0).to_be_bytes();
        [&length[..], &body, &(!sum).to_be_bytes()].concat()
    };
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    // Eight bits of red, green and blue.
    let head = [&size[..], &[8, 2, 0, 0, 0]].concat();
    [
        &b"\x89PNG\r\n\x1a\n"[..],
        &chunk(b"IHDR", &head),
        // An empty stream of zlib.
        &chunk(b"IDAT", &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]),
        &chunk(b"IEND", b""),
    ]
    .concat()
}

fn on_array(place: &Place, file: &[u8]) -> Result<Ended> {
    on(place, "--sample", "in.npy", file)
}

fn on_archive(place: &Place, name: &str, array: &[u8]) -> Result<Ended> {
    on(place, "--sample", "in.npz", &archive(&[(name, array)])?)
}

/// An archive of these files.
fn archive(files: &[(&str, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, array) in files {
        archive.start_file(*name, zip::write::SimpleFileOptions::default())?;
        archive.write_all(array)?;
    }
    Ok(archive.finish()?.into_inner())
}

/// A sound sample.
fn zeros() -> Vec<u8> {
    npy("<f4", SHAPE, &[0; 4 * 192])
}

/// A check of a sound model on this file.
fn on(place: &Place, option: &str, name: &str, content: &[u8]) -> Result<Ended> {
    place.write(name, content)?;
    with(place, &[option, name])
}

/// A check of a sound model with these options.
fn with(place: &Place, options: &[&str]) -> Result<Ended> {
    let model = place.write("model.onnx", models::sound())?;
    let mut check = place.firstpass(["check", "--quick"]);
    // An option may be one of these.
    if !options.contains(&"--budget") {
        check.args(["--budget", "1s"]);
    }
    check
        .args(["--engine", &place.engine])
        .arg("--out")
        .arg(place.out());
    place.run(check.args(options).arg(model))
}
