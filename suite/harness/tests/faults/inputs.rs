//! Files that are none of what they are taken for, one row a fault.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Result, ensure};
use nix::{sys::stat::Mode, unistd::mkfifo};

use crate::{
    fault::Fault,
    models,
    place::{Ended, Place},
};

/// What is refused before anything runs, in these words.
pub const fn refused(
    what: &'static str,
    done: fn(&Place) -> Result<Ended>,
    says: &'static [&'static str],
) -> Fault {
    Fault::new(what, done, 1, says)
}

pub const FAULTS: &[Fault] = &[
    refused(
        "a pipe in place of a model file",
        |place| {
            let model = place.path("model.onnx");
            pipe(&model)?;
            place.run(&mut place.check(&model))
        },
        &["model.onnx", "it is a pipe", "give a file"],
    ),
    refused(
        "a device in place of a model file",
        |place| {
            let model = place.path("model.onnx");
            symlink("/dev/zero", &model)?;
            place.run(&mut place.check(&model))
        },
        &["model.onnx", "or a device", "give a file"],
    ),
    refused(
        "a model file that links to itself",
        |place| {
            let model = place.path("model.onnx");
            symlink("model.onnx", &model)?;
            place.run(&mut place.check(&model))
        },
        &["cannot read the model", "symbolic links"],
    ),
    refused(
        "a sample that links to itself",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            symlink("in.npy", place.path("in.npy"))?;
            place.run(place.check(&model).args(["--sample", "in.npy"]))
        },
        &["cannot read the tensors in in.npy", "symbolic links"],
    ),
    refused(
        "a folder for reports that links to itself",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            symlink("out", place.out())?;
            place.run(&mut place.check(&model))
        },
        &[
            "what has this name is no folder",
            "give a writable folder with --out",
        ],
    ),
    refused(
        "a description of an input with what nobody knows",
        |place| described(place, "shape = [1, 3, 8, 8]\ncolour = \"red\""),
        &["model.toml", "unknown field `colour`"],
    ),
    refused(
        "a description of an input of less than nothing",
        |place| described(place, "shape = [-1, 3]"),
        &["model.toml", "`-1`"],
    ),
    refused(
        "a description of an input that no number holds",
        |place| described(place, "shape = [99999999999999999999, 3]"),
        &["model.toml", "99999999999999999999"],
    ),
    refused(
        "a description of an input that no machine holds",
        |place| described(place, "shape = [4294967296, 4294967296, 4294967296]"),
        &["model.toml is inconsistent", "choose a smaller shape"],
    ),
    refused(
        "a report into a folder that cannot be",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            let file = place.write("file", "no folder")?;
            let mut check = place.firstpass(["check", "--quick", "--budget", "1s"]);
            check.args(["--engine", &place.engine]).arg("--out");
            place.run(check.arg(file.join("out")).arg(&model))
        },
        &["cannot write to", "give a writable folder with --out"],
    ),
    refused(
        "a pipe to describe",
        |place| {
            let model = place.path("model.onnx");
            pipe(&model)?;
            place.run(place.firstpass(["init"]).arg(&model))
        },
        &["model.onnx", "it is a pipe"],
    ),
    refused(
        "a pipe in place of inputs",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            let sample = place.path("in.npz");
            pipe(&sample)?;
            place.run(place.check(&model).arg("--sample").arg(sample))
        },
        &["in.npz", "it is a pipe"],
    ),
    refused(
        "a pipe in place of a picture",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            let picture = place.path("in.png");
            pipe(&picture)?;
            place.run(place.check(&model).arg("--image").arg(picture))
        },
        &["in.png", "it is a pipe"],
    ),
    refused(
        "a folder named like a model, given to a study",
        |place| {
            fs::create_dir(place.path("model.onnx"))?;
            place.run(&mut place.firstpass(["soak", "model.onnx"]))
        },
        &["is a folder without a model.toml", "give the model file"],
    ),
    refused(
        "weights in a pipe",
        |place| {
            pipe(&place.path("w"))?;
            place.check_of(&models::with_weights("w"))
        },
        &["names a file of weights", "it is a pipe"],
    ),
    refused(
        "weights behind a link out of the folder",
        |place| {
            place.write("secret", "of the user")?;
            symlink(
                "../secret",
                place.write("model/w", "")?.with_file_name("link"),
            )?;
            let model = place.write("model/model.onnx", models::with_weights("link"))?;
            place.run(&mut place.check(&model))
        },
        &["link out of its folder", "it is not read"],
    ),
    refused(
        "weights in a folder above",
        |place| place.check_of(&models::with_weights("../w")),
        &["names weights outside of its folder"],
    ),
    refused(
        "weights in a file without a name",
        |place| place.check_of(&models::with_weights("")),
        &["a file of weights without a name"],
    ),
    refused(
        "weights that are not there",
        |place| place.check_of(&models::with_weights("w")),
        &["names a file of weights", "No such file"],
    ),
    refused(
        "graphs within graphs, 200 deep",
        |place| place.check_of(&models::nested(200)),
        &["more than 30 deep", "not read"],
    ),
    Fault::new(
        "names in a record that are commands to a terminal",
        |place| {
            let record = place.example()?;
            let lines = record.join("alpha.jsonl");
            let text = fs::read_to_string(&lines)?;
            let other = text.replace("\"model\":\"model\"", r#""model":"x\u001b[31m\u202e""#);
            ensure!(text != other, "the record has no model of that name");
            fs::write(&lines, other)?;
            place.run(
                place
                    .firstpass(["compare", "--all"])
                    .arg(&record)
                    .arg(&record),
            )
        },
        0,
        &[r"x\u{1b}[31m\u{202e}"],
    )
    .surviving(|_, ended| {
        let orders = ['\u{1b}', '\u{202e}'];
        ensure!(!ended.said.contains(orders), "an order: {:?}", ended.said);
        Ok(())
    }),
    Fault::new(
        "a model file whose graph reads itself",
        |place| place.check_of(&models::cyclic()),
        1,
        &["no engine gave outputs"],
    )
    .surviving(|place, ended| {
        ensure!(place.record()?.is_dir(), "what was tried is lost");
        ensure!(
            !ended.said.contains("crashed with"),
            "an engine crashes:\n{}",
            ended.said
        );
        Ok(())
    }),
    Fault::new(
        "an input that no memory holds",
        |place| {
            let model = place.write("model.onnx", models::graph(&["x"], &["y"], None))?;
            place.run(place.check(&model).args(["--input", "1x3x100000x100000"]))
        },
        1,
        &["input"],
    ),
    // Verdicts are honest.
    Fault::new(
        "outputs that are no numbers",
        |place| place.check_of(&models::nothing()),
        0,
        &["report: "],
    )
    .on_each_engine()
    .surviving(|place, _| {
        let page = fs::read_to_string(place.out().join("README.md"))?;
        ensure!(page.contains("NaN") || page.contains("no number"), "{page}");
        Ok(())
    }),
    // What is no model.
    Fault::new(
        "an empty model file",
        |place| place.check_of(b""),
        1,
        &["it is empty"],
    ),
    Fault::new(
        "a model file of text",
        |place| place.check_of(b"no model, but a sentence of some length"),
        1,
        &["it is neither ONNX nor TorchScript"],
    ),
    Fault::new(
        "a model file that ends in the middle",
        |place| {
            let model = models::sound();
            place.check_of(&model[..model.len() / 2])
        },
        1,
        &["cannot read"],
    ),
    Fault::new(
        "a folder in place of a model file",
        |place| {
            fs::create_dir(place.path("model.onnx"))?;
            place.run(&mut place.check(&place.path("model.onnx")))
        },
        1,
        &["model.onnx"],
    ),
    Fault::new(
        "an archive of inputs that is none",
        |place| {
            let model = place.write("model.onnx", models::sound())?;
            let sample = place.write("in.npz", "PK\u{3}\u{4}, and no more")?;
            place.run(place.check(&model).arg("--sample").arg(sample))
        },
        1,
        &["in.npz"],
    ),
];

/// A check of a model whose input is described so.
fn described(place: &Place, input: &str) -> Result<Ended> {
    place.write("model.onnx", models::sound())?;
    let text = models::described("m").replacen("shape = [1, 3, 8, 8]", input, 1);
    let model = place.write("model.toml", text)?;
    place.run(&mut place.check(&model))
}

pub fn pipe(path: &Path) -> Result<()> {
    Ok(mkfifo(path, Mode::S_IRWXU)?)
}
