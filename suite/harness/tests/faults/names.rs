//! Names that are paths, commands or there twice: a name is a name.

use std::fs;

use anyhow::{Result, ensure};

use crate::{
    fault::Fault,
    models,
    place::{Ended, Place},
};

pub const FAULTS: &[Fault] = &[
    Fault::new(
        "a model that is named ..",
        |place| described(place, ".."),
        1,
        &["is no name of a model"],
    ),
    Fault::new(
        "a model whose name is a path",
        |place| described(place, &place.path("victim").display().to_string()),
        1,
        &["is no name of a model"],
    )
    .surviving(|place, _| {
        ensure!(
            !place.path("victim").exists(),
            "something was written there"
        );
        Ok(())
    }),
    Fault::new(
        "names that are commands to a terminal",
        |place| {
            let model = models::graph(&["x\u{1b}[31m"], &["<script>y"], Some(&[1, 3, 8, 8]));
            place.check_of(&model)
        },
        0,
        &["report: "],
    )
    .surviving(|place, ended| {
        let page = fs::read_to_string(place.out().join("README.md"))?;
        for text in [&page, &ended.said] {
            ensure!(!text.contains('\u{1b}'), "an escape: {text:?}");
        }
        ensure!(!page.contains("<script>"), "a script is on the page");
        Ok(())
    }),
    Fault::new(
        "two inputs of one name",
        |place| place.check_of(&models::graph(&["x", "x"], &["y"], Some(&[1, 3, 8, 8]))),
        1,
        &["two inputs are named \"x\""],
    ),
    Fault::new(
        "two outputs of one name",
        |place| place.check_of(&models::graph(&["x"], &["y", "y"], Some(&[1, 3, 8, 8]))),
        1,
        &["two outputs are named \"y\""],
    ),
];

fn described(place: &Place, name: &str) -> Result<Ended> {
    place.write("model.onnx", models::sound())?;
    let model = place.write("model.toml", models::described(name))?;
    place.run(&mut place.check(&model))
}
