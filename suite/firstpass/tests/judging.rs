//! What is said of a record, without any engine: of the small one in `tests/example`, and of copies of
//! it in which something is wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use firstpass::{Error, ErrorKind, Reference, Result, Summary, Verdict};

/// A copy of the example that may be spoiled.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy(Path::new("tests/example"), folder.path());
        let copy = Self { folder };
        let here = copy.path("").display().to_string();
        copy.edit("record/run.json", |text| {
            text.replace("suite/firstpass/tests/example/", &here)
        });
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn edit(&self, name: &str, change: impl Fn(String) -> String) {
        let path = self.path(name);
        let text = fs::read_to_string(&path).expect("a file of text");
        let changed = change(text.clone());
        assert_ne!(changed, text, "nothing is spoiled in {name}");
        fs::write(path, changed).expect("a file that can be written");
    }

    /// The lines of the record in which an engine's processes are.
    fn processes(&self, engine: &str, change: impl Fn(usize, &str) -> Option<String>) {
        self.edit(&format!("record/{engine}.jsonl"), |text| {
            let lines = text.lines().enumerate();
            let lines = lines.filter_map(|(number, line)| change(number, line));
            lines.map(|line| line + "\n").collect()
        });
    }

    /// Without golden outputs, as if nobody had kept any.
    fn without_golden(&self) {
        self.edit("model.toml", |text| {
            text.replace("golden = \"golden.safetensors\"\n", "")
        });
    }

    fn without_beta(&self) {
        fs::remove_file(self.path("record/beta.jsonl")).expect("the lines of beta");
    }

    /// All that an engine gave, three times as large: as of a model with another weight.
    fn with_other_outputs(&self, engine: &str) {
        let path = self.path(&format!("record/outputs/{engine}-model-onnx.safetensors"));
        let mut bytes = fs::read(&path).expect("outputs");
        let start = bytes.len() - 6 * size_of::<f32>();
        for value in bytes[start..].as_chunks_mut::<4>().0 {
            *value = (3.0 * f32::from_le_bytes(*value)).to_le_bytes();
        }
        fs::write(path, bytes).expect("outputs");
    }

    fn summary(&self) -> Result<Summary> {
        Summary::from_record(self.path("record"))
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("a file").path();
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).expect("a copy");
        }
    }
}

fn example() -> Result<Summary> {
    Summary::from_record("tests/example/record")
}

fn failure<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, words: &[&str]) -> Error {
    let error = result.expect_err("must fail");
    assert_eq!(error.kind(), kind, "{error}");
    for words in words {
        assert!(error.to_string().contains(words), "{words:?}: {error}");
    }
    error
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn figures_can_be_read() -> Result<()> {
    let summary = example()?;
    assert_eq!(summary.model(), "model");
    let names: Vec<&str> = summary.engines().iter().map(|e| e.name()).collect();
    assert_eq!(names, ["alpha", "beta"]);
    let alpha = summary.engine("alpha")?;
    assert_eq!(alpha.threads(), 1);
    let first = alpha.first_pass()?;
    assert_eq!(first.processes(), 4);
    let (low, high) = first.interval_ms().expect("an interval");
    assert!(low < first.median_ms() && first.median_ms() < high);
    assert!((8.0..10.0).contains(&first.median_ms()));
    let ratio = alpha.first_pass_over_steady()?;
    assert!((5.5..6.5).contains(&ratio.median()), "{ratio}");
    assert!((1.4..1.6).contains(&alpha.second_pass()?.median_ms()));
    let steady = summary.engine("beta")?.steady()?;
    assert!((ms(1)..ms(3)).contains(&steady.median()), "{steady}");
    assert!(alpha.cold_start()?.median() > ms(30));
    let shown = summary.to_string();
    for words in [
        &first.to_string()[..4],
        "alpha",
        "beta",
        "golden.safetensors",
        "record",
    ] {
        assert!(shown.contains(words), "{words:?}: {shown}");
    }
    Ok(())
}

#[test]
fn engines_that_are_not_there_are_errors() -> Result<()> {
    let unknown = |name: &str| {
        example()?
            .engine(name)
            .map(|engine| engine.name().to_owned())
    };
    failure(unknown("gamma"), ErrorKind::Invalid, &["alpha, beta"]);
    failure(
        unknown("Alpa"),
        ErrorKind::Invalid,
        &["did you mean \"alpha\"?"],
    );

    let copy = Copy::new();
    let line = r#"{"record":"unavailable","reason":"its library is not here"}"#;
    fs::write(copy.path("record/gamma.jsonl"), line).expect("a file");
    let summary = copy.summary()?;
    let failures: Vec<_> = summary.failures().collect();
    assert_eq!(failures, [("gamma", "its library is not here")]);
    let gamma = summary.engine("gamma").map(|engine| engine.threads());
    failure(gamma, ErrorKind::NotMeasured, &["its library is not here"]);
    assert!(summary.to_string().contains("its library is not here"));
    Ok(())
}

#[test]
fn limits_are_kept_broken_or_undecided() -> Result<()> {
    let summary = example()?;
    let alpha = summary.engine("alpha")?;
    assert!(summary.check_first_pass_below(20.0)?.is_kept());
    assert!(summary.check_steady_below(ms(3))?.is_kept());
    assert!(summary.check_cold_start_below(ms(100))?.is_kept());

    let above = ErrorKind::AboveLimit;
    let error = failure(
        summary.check_first_pass_below(3.0),
        above,
        &["alpha", "the limit is 3.00×", "tests/example/record"],
    );
    assert!(!error.to_string().contains("beta"), "{error}");
    let limit = Duration::from_micros(1700);
    failure(
        summary.check_steady_below(limit),
        above,
        &["beta", "1.70 ms"],
    );
    failure(
        summary.check_cold_start_below(ms(20)),
        above,
        &["alpha", "beta"],
    );

    let (low, high) = alpha
        .first_pass_over_steady()?
        .interval()
        .expect("an interval");
    for within in [low + (high - low) / 2.0, high] {
        let Verdict::Undecided(why) = summary.check_first_pass_below(within)? else {
            panic!("{within} is not decided");
        };
        assert!(
            why.contains("alpha") && why.contains(".processes(8)") && why.contains(".budget("),
            "{why}"
        );
        // Noise breaks no build.
        summary.assert_first_pass_below(within);
    }
    failure(summary.check_first_pass_below(low), above, &["alpha"]);
    Ok(())
}

#[test]
#[should_panic(expected = "alpha: pass 1 in units of the steady time is 6")]
fn an_assertion_panics_with_the_figures() {
    if let Ok(summary) = example() {
        summary.assert_first_pass_below(3.0);
    }
}

#[test]
#[should_panic(expected = "outputs differ from golden.safetensors:\nalpha: y: differs by")]
fn other_outputs_panic_with_their_size() {
    let copy = Copy::new();
    copy.with_other_outputs("alpha");
    if let Ok(summary) = copy.summary() {
        summary.assert_agreement();
    }
}

#[test]
fn what_is_no_limit_is_refused() -> Result<()> {
    let summary = example()?;
    for limit in [f64::NAN, f64::INFINITY, 0.0, -1.0] {
        failure(
            summary.check_first_pass_below(limit),
            ErrorKind::Invalid,
            &[],
        );
    }
    failure(summary.check_steady_below(ms(0)), ErrorKind::Invalid, &[]);
    failure(
        summary.check_cold_start_below(ms(0)),
        ErrorKind::Invalid,
        &[],
    );
    Ok(())
}

#[test]
fn a_limit_on_nothing_does_not_hold() -> Result<()> {
    // The first line is of the process whose outputs were compared.
    let alone = Copy::new();
    alone.processes("alpha", |number, line| (number < 2).then(|| line.into()));
    let summary = alone.summary()?;
    failure(
        summary.check_steady_below(ms(100)),
        ErrorKind::NotMeasured,
        &["alpha", "one process", ".budget("],
    );
    // Of a ratio one process says what is plain, and no more.
    assert!(summary.check_first_pass_below(20.0)?.is_kept());
    assert!(!summary.check_first_pass_below(6.2)?.is_kept());

    let untimed = Copy::new();
    untimed.processes("alpha", |number, line| (number < 1).then(|| line.into()));
    let error = untimed.summary()?.check_cold_start_below(ms(100));
    failure(error, ErrorKind::NotMeasured, &["alpha", ".budget("]);

    // The last two passes are slow: nobody knows for how long.
    let unsteady = Copy::new();
    unsteady.processes("alpha", |_, line| {
        let key = r#""wall_ns":"#;
        let pieces: Vec<&str> = line.split(key).collect();
        let slow = pieces[pieces.len() - 2..].iter().map(|piece| {
            let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{key}9000000{rest}")
        });
        Some(pieces[..pieces.len() - 2].join(key) + &slow.collect::<String>())
    });
    let summary = unsteady.summary()?;
    let error = summary.check_steady_below(ms(100_000));
    failure(
        error,
        ErrorKind::NotMeasured,
        &["alpha", "steady state", ".processes("],
    );
    let error = summary.check_first_pass_below(20.0);
    failure(error, ErrorKind::NotMeasured, &["alpha", "steady state"]);
    assert!(summary.check_cold_start_below(ms(100_000))?.is_kept());

    let crashed = Copy::new();
    crashed.processes("alpha", |number, line| {
        let failed = r#""outcome":{"not-started":"no memory"}"#;
        Some(match number {
            2 => line.replace(r#""outcome":"completed""#, failed),
            _ => line.into(),
        })
    });
    let summary = crashed.summary()?;
    let error = summary.check_first_pass_below(20.0);
    failure(error, ErrorKind::NotMeasured, &["alpha", "no memory"]);
    let error = summary.check_agreement();
    failure(error, ErrorKind::NotMeasured, &["alpha", "no memory"]);
    assert!(summary.to_string().contains("no memory"));

    let nobody = Copy::new();
    nobody.processes("alpha", |_, _| None);
    nobody.without_beta();
    let error = nobody.summary()?.check_steady_below(ms(3));
    failure(error, ErrorKind::NotMeasured, &["no engine"]);
    Ok(())
}

#[test]
fn outputs_are_compared_with_golden_ones() -> Result<()> {
    let summary = example()?;
    let golden = Reference::Golden("golden.safetensors".into());
    assert_eq!(summary.reference(), &golden);
    summary.check_agreement()?;
    let alpha = summary.engine("alpha")?.agreement();
    assert!(alpha.holds() && alpha.max_difference() == 0.0);
    let [y] = summary.engine("beta")?.agreement().outputs() else {
        panic!("one output");
    };
    assert_eq!((y.output(), y.values(), y.max_steps()), ("y", 6, None));
    assert!(y.same_bits() < 6 && y.max_difference() > 0.0);
    assert!(y.max_relative_difference() < 1e-6);

    let copy = Copy::new();
    copy.with_other_outputs("beta");
    let summary = copy.summary()?;
    let agreement = summary.engine("beta")?.agreement();
    assert!(!agreement.holds() && agreement.max_difference() > 1.0);
    let words = ["golden.safetensors", "beta: y: differs by"];
    let error = failure(summary.check_agreement(), ErrorKind::OtherOutputs, &words);
    assert!(!error.to_string().contains("alpha"), "{error}");
    assert!(!error.to_string().contains("another file"), "{error}");
    Ok(())
}

#[test]
fn another_model_is_named_where_outputs_differ() -> Result<()> {
    let copy = Copy::new();
    copy.with_other_outputs("alpha");
    let model = fs::read(copy.path("model.onnx")).expect("a model");
    // A producer's name changes nothing but the file.
    let renamed = [&model[..], b"\x12\x01x"].concat();
    fs::write(copy.path("model.onnx"), renamed).expect("a model");
    failure(copy.summary(), ErrorKind::Invalid, &["has changed since"]);

    copy.edit("record/run.json", |text| {
        let lines = text.lines().filter(|line| !line.contains("model.onnx"));
        let lines: Vec<&str> = lines.collect();
        // The comma of the line before.
        lines.join("\n").replace("\",\n  }", "\"\n  }")
    });
    let words = ["alpha: y", "model.onnx is another file"];
    failure(
        copy.summary()?.check_agreement(),
        ErrorKind::OtherOutputs,
        &words,
    );
    Ok(())
}

/// A model of other weights would stay unnoticed.
#[test]
fn an_engine_is_not_compared_with_itself() -> Result<()> {
    let copy = Copy::new();
    copy.without_golden();
    copy.without_beta();
    let summary = copy.summary()?;
    assert_eq!(summary.reference(), &Reference::Nothing);
    assert!(!summary.engine("alpha")?.agreement().holds());
    failure(
        summary.check_agreement(),
        ErrorKind::NothingToCompare,
        &[
            "alpha",
            "`.golden(\"tests/model.golden.safetensors\")`",
            "FIRSTPASS_GOLDEN=write",
        ],
    );
    Ok(())
}

#[test]
fn without_golden_outputs_engines_are_compared_with_each_other() -> Result<()> {
    let copy = Copy::new();
    copy.without_golden();
    let summary = copy.summary()?;
    assert_eq!(summary.reference(), &Reference::EachOther);
    assert!(summary.to_string().contains("there are no golden ones"));
    summary.check_agreement()?;

    copy.with_other_outputs("beta");
    let words = ["beta: differs from alpha: y: differs by", "each other"];
    failure(
        copy.summary()?.check_agreement(),
        ErrorKind::OtherOutputs,
        &words,
    );
    Ok(())
}

#[test]
fn what_was_not_compared_does_not_agree() -> Result<()> {
    let copy = Copy::new();
    let path = copy.path("record/outputs/alpha-model-onnx.safetensors");
    let bytes = fs::read(&path).expect("outputs");
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a length");
    let (header, values) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = String::from_utf8_lossy(header);
    let second = header.find(r#","random-2/y""#).expect("a second sample");
    let header = format!("{}}}", &header[..second]);
    let cut = [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &values[..values.len() / 2],
    ];
    fs::write(path, cut.concat()).expect("outputs");
    let words = ["alpha was not compared", "1 of 2 samples", ".budget("];
    failure(
        copy.summary()?.check_agreement(),
        ErrorKind::NotMeasured,
        &words,
    );
    Ok(())
}

#[test]
fn outputs_that_change_do_not_agree() -> Result<()> {
    let copy = Copy::new();
    copy.processes("beta", |number, line| {
        let key = r#""digest":""#;
        Some(match (number, line.rfind(key)) {
            (3, Some(last)) => format!("{}{key}0{}", &line[..last], &line[last + key.len() + 1..]),
            _ => line.into(),
        })
    });
    let words = ["beta: its outputs differ from pass 10 on"];
    failure(
        copy.summary()?.check_agreement(),
        ErrorKind::OtherOutputs,
        &words,
    );
    Ok(())
}

#[test]
fn a_summary_is_of_one_record_of_one_model() {
    failure(
        Summary::from_record("tests/example"),
        ErrorKind::Invalid,
        &["tests/example"],
    );
    let copy = Copy::new();
    let model = fs::read_to_string(copy.path("model.toml")).expect("a model");
    let other = model.replace("\"model\"", "\"other\"");
    fs::write(copy.path("other.toml"), other).expect("a model");
    copy.edit("record/run.json", |text| {
        let path = copy.path("model.toml").display().to_string();
        let other = copy.path("other.toml").display().to_string();
        text.replace(&format!("\"{path}\""), &format!("\"{path}\",\"{other}\""))
    });
    failure(copy.summary(), ErrorKind::Invalid, &["2 models"]);
}
