use firstpass_trial::workspace::Workspace;

use super::*;

fn shown() -> Result<Shown> {
    let tensor = |values: Vec<f32>| Tensor::new(&[1, 1, 1, 1], values);
    let inputs = Tensors::from([("x".to_owned(), tensor(vec![0.5])?)]);
    let outputs = Tensors::from([("y".to_owned(), tensor(vec![1.0])?)]);
    Ok(Shown {
        model: "model".into(),
        inputs: arrays(&inputs, "input"),
        outputs: arrays(&outputs, "expected"),
        title: "an engine differs".into(),
        backend: "engine".into(),
        version: "1.2.3".into(),
        binding_version: "0.1.0".into(),
        nodes: vec!["a (Relu)".into()],
        reference: Expected::Referee { rules: None },
        rows: Vec::new(),
        steps: vec![Step::Needed { nodes: 1 }],
        machine: "a processor".into(),
        is_complete: true,
        has_expected: true,
        is_of_times: false,
        made_by: "Firstpass".into(),
    })
}

/// The programs are compiled as examples of their engines: these are what the templates give, but for the form.
#[test]
fn the_programs_of_an_engine_are_compiled() -> Result<()> {
    let bare = |text: &str| -> String {
        let shape = |c: &char| !c.is_whitespace() && *c != ',';
        text.chars().filter(shape).collect()
    };
    let mut seen = 0;
    for backend in Workspace::find()?.backends()? {
        let template = backend.dir.join("reproduce/main.rs.j2");
        let Ok(template) = fs::read_to_string(template) else {
            continue;
        };
        let example = backend.dir.join("examples");
        let example = example.join(format!("reproduce-{}.rs", backend.name));
        let compiled = fs::read_to_string(&example)
            .with_context(|| format!("cannot read {}", example.display()))?;
        let given = rendered(&template, shown()?)?;
        assert_eq!(
            bare(&given),
            bare(&compiled),
            "{}:\n{given}",
            example.display()
        );
        assert!(given.lines().count() <= 30, "it is long:\n{given}");
        seen += 1;
    }
    assert!(seen > 0);
    Ok(())
}

#[test]
fn a_name_is_one_literal_and_one_line() -> Result<()> {
    let mut shown = shown()?;
    let evil = "x\"); std::process::exit(1); //\n}";
    shown.inputs[0].name = evil.into();
    shown.title = plain("Relu\nstd::process::exit(1);");
    let program = rendered(PROGRAM, &shown)?;
    let page = rendered(REPORT, &shown)?;
    assert!(
        !program
            .lines()
            .any(|line| line.trim().starts_with("std::process"))
    );
    assert!(
        page.starts_with("# Relu std::process::exit(1);\n"),
        "{page}"
    );
    assert_eq!(
        rendered("{{ name | literal }}", serde_json::json!({ "name": evil }))?,
        r#""x\"); std::process::exit(1); //\n}""#
    );
    Ok(())
}
