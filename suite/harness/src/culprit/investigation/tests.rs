use firstpass_probe::Error;
use firstpass_trial::{model::OutputSpec, observation::Outcome};

use super::*;

/// A quantized model whose referee gives these values, and by a rule of rounding the others.
fn compared(kind: Kind, as_written: &[f32], by_rule: &[f32]) -> reference::Reference {
    reference::Reference {
        kind,
        outputs: Some(one(as_written)),
        by_rules: vec![reference::OutputsByRule {
            name: "arithmetic=other".into(),
            halves: false,
            outputs: one(by_rule),
        }],
    }
}

fn one(values: &[f32]) -> Outputs {
    let tensor = Tensor::new(&[values.len()], values.to_vec()).expect("one axis");
    Outputs::from([("a".to_owned(), vec![tensor])])
}

#[test]
fn rounding_by_another_rule_is_told_from_a_fault() {
    let mut model = ModelDescription::for_tests(Precision::Int8);
    model.outputs = vec![OutputSpec {
        name: "y".into(),
        step: Some(0.5),
        ..OutputSpec::default()
    }];
    let as_written = [4.0, 8.0, -6.0, 2.0];
    let by_rule = [4.5, 8.0, -6.5, 2.0];
    let referee = || Kind::Referee("judge".into());
    let told = |kind: Kind, got: &[f32]| {
        against(&model, &compared(kind, &as_written, &by_rule), &one(got))
    };
    assert_eq!(told(referee(), &as_written), Some(Verdict::Agrees));
    let follows = told(referee(), &by_rule);
    let rule = match &follows {
        Some(Verdict::Rounds { rule, .. }) => rule.as_deref(),
        other => panic!("{other:?}"),
    };
    assert_eq!(rule, Some("arithmetic=other"));
    // As far as the rule, elsewhere.
    let near = told(referee(), &[4.0, 8.5, -6.0, 2.5]);
    assert!(
        matches!(near, Some(Verdict::Rounds { rule: None, .. })),
        "{near:?}"
    );
    // Nobody rounds so far; and golden outputs are right to the bit.
    let far = told(referee(), &[4.5, 8.0, -6.5, 9.0]);
    assert!(matches!(far, Some(Verdict::Differs(_))), "{far:?}");
    let golden = compared(Kind::Golden("x".into()), &as_written, &by_rule);
    let golden = reference::Reference {
        by_rules: Vec::new(),
        ..golden
    };
    let found = against(&model, &golden, &one(&by_rule));
    assert!(matches!(found, Some(Verdict::Differs(_))), "{found:?}");
}

#[test]
fn what_no_engine_loads_is_one_symptom() {
    let fails = |words: &str| Verdict::Fails(Outcome::Failed(Error::engine(words)));
    let absent = Verdict::NotAsked("it is not here".into());
    let found = symptoms(&[fails("a"), absent.clone(), fails("b")]);
    let places = |symptom: &Symptom| match symptom {
        Symptom::Fails(failed) => failed.keys().copied().collect(),
        Symptom::Differs(_) | Symptom::SlowFirst(_) => Vec::new(),
    };
    let places: Vec<Vec<usize>> = found.iter().map(places).collect();
    assert_eq!(places, [vec![0, 2], vec![0], vec![2]]);

    let differs = Verdict::Differs(vec!["by 2 steps".into()]);
    let found = symptoms(&[fails("a"), differs, Verdict::Agrees, absent]);
    assert_eq!(found[0], Symptom::Differs(1));
    assert_eq!(found.len(), 2);
    assert!(symptoms(&[Verdict::Agrees, Verdict::Open]).is_empty());
    let rounds = Verdict::Rounds {
        differences: vec!["by 1 step".into()],
        rule: None,
    };
    assert!(symptoms(&[rounds]).is_empty(), "rounding is no fault");
}
