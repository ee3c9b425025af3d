use super::*;

#[test]
fn a_name_is_no_path() {
    let named = |name: &str| {
        let mut model = ModelDescription::for_tests(Precision::Fp32);
        model.name = name.into();
        check_name(&model.name)
    };
    for good in [
        "m",
        "modèle à moi",
        "模型 2",
        "a.b",
        ".hidden",
        "CON",
        "<b>|`x`",
    ] {
        assert!(named(good).is_ok(), "{good}");
    }
    let long = "x".repeat(300);
    for bad in [
        "",
        ".",
        "..",
        "../x",
        "/tmp/x",
        "a\\b",
        "a\nb",
        "\u{1b}[m",
        "a\0",
        " a",
        "a\u{202e}",
        &long,
    ] {
        let error = named(bad).expect_err(bad).to_string();
        assert!(error.contains("no name of a model"), "{error}");
        let file = Path::new("folder")
            .join(bad.replace('\0', ""))
            .with_extension("onnx");
        let name = name_of_file(&file);
        assert!(named(&name).is_ok(), "{bad:?}: {name:?}");
    }
    assert_eq!(
        name_of_file(Path::new("a/modèle à moi.onnx")),
        "modèle à moi"
    );
}

#[test]
fn what_is_wrong_with_an_input_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.toml");
    let head = "name = 'm'\ntitle = ''\ndescription = ''\nprecision = 'fp32'\n[artifacts]\nonnx = 'm.onnx'\n";
    let outputs = "[[outputs]]\nname = 'y'\nshape = [1]\n";
    let read = |input: &str| {
        std::fs::write(&path, format!("{head}{input}{outputs}"))?;
        ModelDescription::read(&path)
    };
    for input in [
        "[input]\nname = 'x'\nshape = [1]\n",
        "[[input]]\nname = 'x'\nshape = [1]\n",
    ] {
        assert_eq!(read(input)?.inputs.len(), 1);
    }
    for (line, words) in [
        ("shape = [1]\ncolour = 1\n", "unknown field `colour`"),
        ("shape = [1.5]\n", "1.5"),
        ("shape = [-1]\n", "-1"),
        ("shape = [99999999999999999999]\n", "99999999999999999999"),
        ("", "missing field `shape`"),
    ] {
        for table in ["[input]", "[[input]]"] {
            let error = read(&format!("{table}\nname = 'x'\n{line}")).expect_err(line);
            let said = format!("{error:#}");
            assert!(
                said.contains(words) && said.contains("model.toml"),
                "{said}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_description_with_a_path_for_a_name_is_not_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.toml");
    for name in ["..", "/tmp/victim", "../../README"] {
        let text = format!(
            "name = {name:?}\ntitle = ''\ndescription = ''\nprecision = 'fp32'\n\
             [artifacts]\nonnx = 'm.onnx'\n[[input]]\nname = 'x'\nshape = [1]\n\
             [[outputs]]\nname = 'y'\nshape = [1]\n"
        );
        std::fs::write(&path, text)?;
        let error = ModelDescription::read(&path).expect_err(name);
        assert!(
            format!("{error:#}").contains("no name of a model"),
            "{error:#}"
        );
    }
    Ok(())
}

#[test]
fn names_of_inputs_and_outputs_are_distinct() {
    let mut model = ModelDescription::for_tests(Precision::Fp32);
    model.artifacts.insert(Format::ONNX, "m.onnx".into());
    model.outputs = vec![
        OutputSpec {
            name: "y".into(),
            ..OutputSpec::default()
        };
        2
    ];
    let error = model.check().expect_err("two outputs").to_string();
    assert!(error.contains("two outputs are named \"y\""), "{error}");
    model.outputs.truncate(1);
    model.inputs.push(model.inputs[0].clone());
    let error = model.check().expect_err("two inputs").to_string();
    assert!(error.contains("two inputs are named \"x\""), "{error}");
}
