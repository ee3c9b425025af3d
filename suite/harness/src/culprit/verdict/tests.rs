use super::*;

fn remedy(passes: &[&str], cost: Option<f64>, code: &[&str]) -> RemedyShown {
    let remedy = Remedy {
        knobs: Knobs::default().with("level", "none"),
        help: "what it does".into(),
        passes: passes.iter().map(ToString::to_string).collect(),
        cost,
    };
    remedy_shown(&remedy, code.iter().map(ToString::to_string).collect())
}

fn of(layer: Layer, cause: Option<Cause>, remedies: Vec<RemedyShown>) -> OfEngine {
    OfEngine {
        called: "x 1.0".into(),
        layer,
        cause,
        remedies,
        tried: 7,
        is_complete: false,
    }
}

fn said_of(engines: Vec<OfEngine>) -> Result<String> {
    said(&Shown {
        is_clean: engines.is_empty(),
        engines,
        rounding: Vec::new(),
        subnormals: None,
        is_out_of_time: false,
    })
}

#[test]
fn a_pass_and_a_setting_are_said_apart() -> Result<()> {
    let remedies = vec![
        remedy(&["Fusion"], Some(1.251), &["let a = 1;", "    a.b();"]),
        remedy(&[], None, &[]),
        remedy(&["A", "B"], None, &[]),
    ];
    let text = said_of(vec![of(Layer::None, None, remedies)])?;
    assert_eq!(
        text,
        "\nx 1.0\n  pass: it goes where Fusion is left out; a pass then takes about 1.25 times as long (a short \
         look)\n      let a = 1;\n          a.b();\n  setting: it goes with level=none (what it does)\n  pass: it \
         goes where A and B are left out, and with none of them back"
    );
    Ok(())
}

#[test]
fn each_engine_is_said_with_its_layer_and_its_cause() -> Result<()> {
    let cut = |first| Layer::Cut {
        first,
        nodes: vec!["a (Conv)".into(), "b\u{1b} (Relu)".into()],
        is_complete: false,
    };
    let first = First {
        number: 3,
        of: 9,
        called: "b (Relu)".into(),
    };
    let cause = Cause {
        rules: Some("sums=pairs".into()),
        meanings: vec![Meaning {
            setting: "sums=pairs".into(),
            help: "two by two".into(),
        }],
    };
    let text = said_of(vec![
        of(cut(Some(first)), Some(cause), Vec::new()),
        of(cut(None), Some(Cause::default()), Vec::new()),
        of(Layer::Unknown, None, Vec::new()),
    ])?;
    let tried = "  settings: none of the 7 that were tried makes it go, and not all were";
    assert_eq!(
        text,
        format!(
            "\nx 1.0\n  layer: from the inputs on it begins at node 3 of 9, b (Relu)\n  by itself it is in a (Conv) \
             and b\\u{{1b}} (Relu)\n  the time was used up: it may be in fewer nodes\n  cause: it gives exactly what \
             the referee gives by sums=pairs\n    sums=pairs: two by two\n{tried}\n\nx 1.0\n  layer: the time \
             was used up before the file could be cut\n  cause: no rule of the referee gives what it gives there\n{tried}\n\nx \
             1.0\n  layer: nothing says what its layers should give\n{tried}"
        )
    );
    let why = "no ONNX".into();
    let others = said_of(vec![
        of(Layer::ReadsNoParts, None, Vec::new()),
        of(Layer::NotCut { why }, None, Vec::new()),
        of(Layer::OutOfTime, None, Vec::new()),
        of(cut(None), None, Vec::new()),
    ])?;
    assert!(
        others.contains("\n  layer: it reads no ONNX, so that parts"),
        "{others}"
    );
    assert!(others.contains("\n  layer: no ONNX\n"), "{others}");
    assert!(
        others.contains("\n  layer: the time was used up before it was looked for\n"),
        "{others}"
    );
    Ok(())
}

#[test]
fn that_nothing_was_tried_is_said_with_why() -> Result<()> {
    let untried = |is_complete| {
        said_of(vec![OfEngine {
            tried: 0,
            is_complete,
            ..of(Layer::None, None, Vec::new())
        }])
    };
    let none = "\nx 1.0\n  settings: it has none that could be tried";
    assert_eq!(untried(true)?, none);
    let late = "\nx 1.0\n  settings: the time was used up before one was tried";
    assert_eq!(untried(false)?, late);
    Ok(())
}

#[test]
fn where_nothing_is_wrong_that_is_said_with_what_else_was_found() -> Result<()> {
    let slower = |engine: &str, ratio| Slower {
        engine: engine.into(),
        ratio,
    };
    let shown = Shown {
        engines: Vec::new(),
        rounding: Vec::new(),
        is_clean: true,
        subnormals: Some(SubnormalsShown {
            values: 5,
            constants: vec!["w".into()],
            slower: vec![slower("a", 31.04), slower("b", 1.0)],
        }),
        is_out_of_time: true,
    };
    assert_eq!(
        said(&shown)?,
        "\nno engine differs or fails\n\nsubnormal weights: 5 values of w are not 0 and below the smallest normal \
         number of f32. With them a pass takes, compared with zeros in their place, 31.0 times as long on a and 1.0 \
         times as long on b.\n\nThe time was used up before everything was tried: give a longer --budget."
    );
    Ok(())
}

#[test]
fn a_rule_of_rounding_is_named_with_who_follows_it() -> Result<()> {
    let rules = [RoundingRule {
        settings: Knobs::default().with("arithmetic", "fbgemm"),
        reason: "in f32 with products of inverses".into(),
        halves: false,
    }];
    let of = |rule: Option<&str>| Rounding {
        called: "x 1.0".into(),
        reason: reason(rule, &rules),
        rule: rule.map(str::to_owned),
        remedies: vec![remedy(&["Fusion"], None, &[])],
    };
    let shown = |rule| Shown {
        engines: Vec::new(),
        rounding: vec![of(rule)],
        is_clean: true,
        subnormals: None,
        is_out_of_time: false,
    };
    assert_eq!(
        said(&shown(Some("arithmetic=fbgemm")))?,
        "\nx 1.0\n  it differs by its rounding, which is no fault: it follows the rule arithmetic=fbgemm to the bit\n    \
         it rounds in f32 with products of inverses\n  pass: it goes where Fusion is left out\n\nno engine fails, and \
         none differs by more than its rounding"
    );
    let none = said(&shown(None))?;
    assert!(
        none.contains("by no single one of these to the bit"),
        "{none}"
    );
    Ok(())
}
