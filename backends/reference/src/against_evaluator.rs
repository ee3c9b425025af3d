//! Against ONNX's own reference evaluator: graphs that `fixtures/evaluator/draw.py` drew at random, each with
//! what the evaluator makes of it. A hundredfold more are tried where [`MORE`] names archives of that script.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read,
    path::Path,
};

use firstpass_onnx::{GraphProto, decode_with_opset};
use firstpass_probe::{EngineResult, Error, ErrorKind, Result};

use crate::{
    any_order::End,
    constants,
    graph::{Interpretation, Model},
    rules::{Arithmetic, Rules},
    value::Value,
};

/// The environment variable that names further archives, with `:` between them.
const MORE: &str = "FIRSTPASS_EVALUATOR_CASES";

/// A graph, its inputs, and what is expected of its outputs.
struct Case {
    model: Model,
    inputs: Vec<(String, Value)>,
    outputs: Vec<String>,
    expected: BTreeMap<String, Expected>,
}

struct Expected {
    value: Value,
    bound: f64,
    any_order: bool,
}

/// What came of a case.
#[derive(Debug)]
enum Outcome {
    Same,
    Refused(String),
    Differs(String),
}

impl Case {
    fn read(bytes: Vec<u8>) -> Result<Self> {
        let (mut graph, opset) = decode_with_opset(bytes.into())?;
        let mut told: HashMap<String, Value> = HashMap::new();
        let mut kept = Vec::new();
        for tensor in std::mem::take(&mut graph.initializer) {
            if tensor.name.contains('/') && is_told(&tensor.name) {
                told.insert(tensor.name.clone(), constants::value(&tensor)?);
            } else {
                kept.push(tensor);
            }
        }
        graph.initializer = kept;
        let names = |of: &[firstpass_onnx::ValueInfoProto]| -> Vec<String> {
            of.iter().map(|value| value.name.clone()).collect()
        };
        let (inputs, outputs) = (names(&graph.input), names(&graph.output));
        let mut given = Vec::new();
        for name in &inputs {
            if let Some(value) = told.remove(&format!("given/{name}")) {
                given.push((name.clone(), value));
            }
        }
        let mut expected = BTreeMap::new();
        for name in &outputs {
            let bound = told.get(&format!("bound/{name}"));
            let bound = bound.map(|bound| bound.reals()).transpose()?;
            let any_order = told.contains_key(&format!("any-order/{name}"));
            if let Some(value) = told.remove(&format!("expected/{name}")) {
                let bound = bound.map_or(0.0, |bound| bound.array.values[0]);
                expected.insert(
                    name.clone(),
                    Expected {
                        value,
                        bound,
                        any_order,
                    },
                );
            }
        }
        Ok(Self {
            model: read(graph, opset, &inputs, &outputs)?,
            inputs: given,
            outputs,
            expected,
        })
    }

    fn run(&self, end: Option<End>) -> Result<Vec<Value>> {
        // Not as written: what is written for fbgemm means by ONNX's definition something else.
        let rules = Rules {
            arithmetic: Some(Arithmetic::Standard),
            end,
            ..Rules::default()
        };
        let interpretation = Interpretation { rules, threads: 1 };
        let inputs = self.inputs.iter();
        let inputs = inputs.map(|(name, value)| (name.as_str(), value.clone()));
        self.model
            .run(interpretation, inputs.collect(), &mut |_, compute| {
                compute()
            })
    }

    fn difference(&self) -> Result<Option<String>> {
        let found = self.run(None)?;
        for (place, name) in self.outputs.iter().enumerate() {
            let Some(expected) = self.expected.get(name) else {
                continue;
            };
            let different = if expected.any_order {
                let ends = [End::Lowest, End::Highest].map(|end| self.run(Some(end)));
                let [lowest, highest] = ends;
                between(&expected.value, [&lowest?[place], &highest?[place]])?
            } else {
                differs(&expected.value, &found[place], expected.bound)?
            };
            if let Some(different) = different {
                return Ok(Some(format!("{name}: {different}")));
            }
        }
        Ok(None)
    }
}

fn is_told(name: &str) -> bool {
    let kinds = ["given/", "expected/", "bound/", "any-order/"];
    kinds.iter().any(|kind| name.starts_with(kind))
}

fn read(graph: GraphProto, opset: i64, inputs: &[String], outputs: &[String]) -> Result<Model> {
    let names = |of: &[String]| -> Vec<String> { of.to_vec() };
    let (inputs, outputs) = (names(inputs), names(outputs));
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    Model::new(graph, opset, &inputs, &outputs)
}

fn numbers(value: &Value) -> Result<Vec<f64>> {
    Ok(match value {
        Value::Whole(integers) => integers.array.values.iter().map(|&v| v as f64).collect(),
        other => other.reals()?.array.values.clone(),
    })
}

fn differs(expected: &Value, found: &Value, bound: f64) -> Result<Option<String>> {
    if expected.dims() != found.dims() {
        return Ok(Some(format!(
            "shape {:?} instead of {:?}",
            found.dims(),
            expected.dims()
        )));
    }
    if expected.kind() != found.kind() {
        return Ok(Some(format!(
            "{} instead of {}",
            found.kind(),
            expected.kind()
        )));
    }
    let (wanted, found) = (numbers(expected)?, numbers(found)?);
    let pairs = || wanted.iter().zip(&found).enumerate();
    let is_same = |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= bound;
    let wrong: Vec<_> = pairs().filter(|(_, (a, b))| !is_same(**a, **b)).collect();
    Ok(wrong.first().map(|(at, (wanted, found))| {
        format!(
            "{} of {} values, at {at} {found} instead of {wanted} (bound {bound})",
            wrong.len(),
            pairs().count()
        )
    }))
}

fn between(expected: &Value, ends: [&Value; 2]) -> Result<Option<String>> {
    let [lowest, highest] = [numbers(ends[0])?, numbers(ends[1])?];
    let wanted = numbers(expected)?;
    if wanted.len() != lowest.len() {
        return Ok(Some("another shape".into()));
    }
    let outside = wanted
        .iter()
        .zip(lowest.iter().zip(&highest))
        .find(|(wanted, (low, high))| *wanted < *low || *wanted > *high);
    Ok(outside.map(|(wanted, ends)| format!("{wanted} is not within {ends:?}")))
}

/// What came of every case of an archive, by its name.
fn outcomes(archive: &Path) -> Result<Vec<(String, Outcome)>> {
    let mut archive = zip::ZipArchive::new(File::open(archive)?).engine()?;
    let mut outcomes = Vec::new();
    for number in 0..archive.len() {
        let mut file = archive.by_index(number).engine()?;
        let name = file.name().engine()?.into_owned();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let outcome = match Case::read(bytes).and_then(|case| case.difference()) {
            Ok(None) => Outcome::Same,
            Ok(Some(difference)) => Outcome::Differs(difference),
            Err(error) if error.kind == ErrorKind::Unsupported => {
                Outcome::Refused(error.to_string())
            }
            Err(error) => Outcome::Differs(error.to_string()),
        };
        outcomes.push((name, outcome));
    }
    Ok(outcomes)
}

/// All that is drawn is implemented, and the same.
#[test]
fn drawn_graphs_are_what_the_evaluator_makes_of_them() -> Result<()> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/evaluator");
    let outcomes = outcomes(&fixtures.join("drawn.zip"))?;
    assert!(outcomes.len() >= 300, "{} cases", outcomes.len());
    let mut wrong = outcomes.iter().filter(|(_, o)| !matches!(o, Outcome::Same));
    match wrong.next() {
        None => Ok(()),
        Some((name, outcome)) => Err(Error::engine(format!("{name}: {outcome:?}"))),
    }
}

/// Prints what came of the archives that [`MORE`] names; without any it does nothing.
#[test]
fn further_archives_are_what_the_evaluator_makes_of_them() -> Result<()> {
    let mut wrong = 0;
    for archive in std::env::var(MORE)
        .unwrap_or_default()
        .split(':')
        .filter(|a| !a.is_empty())
    {
        let mut counts = [0; 3];
        for (name, outcome) in outcomes(Path::new(archive))? {
            counts[match outcome {
                Outcome::Same => 0,
                Outcome::Refused(_) => 1,
                Outcome::Differs(_) => 2,
            }] += 1;
            match outcome {
                Outcome::Same => {}
                Outcome::Refused(words) => println!("refused  {name}: {words}"),
                Outcome::Differs(words) => println!("differs  {name}: {words}"),
            }
        }
        println!("{archive}: same, refused, different: {counts:?}");
        wrong += counts[2];
    }
    assert_eq!(wrong, 0, "see the lines that begin with `differs`");
    Ok(())
}
