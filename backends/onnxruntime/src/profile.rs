//! Which operators ONNX Runtime runs, from its own profile of one pass.

use std::fs;

use firstpass_probe::{Arithmetic, Error, Model, Result, Tensor};
use serde::Deserialize;

use crate::{Engine, model::Runnable};

pub(crate) fn inspect(engine: &Engine, model: &Model, input: &Tensor) -> Result<Arithmetic> {
    // Declared before the session, so that it is removed after the session has closed its file.
    let dir = tempfile::Builder::new().prefix("firstpass-").tempdir()?;
    let mut runnable = Runnable::load(engine, model, Some(&dir.path().join("profile")))?;
    runnable.pass(input)?;
    // ONNX Runtime appends the time to the name and says what it has made of it.
    let file = runnable.session.borrow_mut().end_profiling()?;
    let text = fs::read_to_string(&file)
        .map_err(|error| Error::from(error).context(format!("cannot read the profile {file}")))?;
    count(&text)
}

/// One event of a profile; other fields than these are of no interest here.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Args,
}

#[derive(Default, Deserialize)]
struct Args {
    #[serde(default)]
    op_name: String,
}

fn count(profile: &str) -> Result<Arithmetic> {
    let events: Vec<Event> = serde_json::from_str(profile)
        .map_err(|error| Error::from(error).context("cannot parse the profile"))?;
    let mut counted = Arithmetic {
        source: "ONNX Runtime's profile of one pass (events of category Node)".into(),
        ..Arithmetic::default()
    };
    for event in events {
        // A node also has events for what lies around its kernel in some releases.
        if event.cat != "Node" || !event.name.ends_with("_kernel_time") {
            continue;
        }
        match convolution(&event.args.op_name) {
            Some(Kind::Integer) => counted.integer += 1,
            Some(Kind::Float) => counted.float += 1,
            None => {}
        }
        *counted.operators.entry(event.args.op_name).or_default() += 1;
    }
    if counted.operators.is_empty() {
        return Err(Error::engine("the profile of ONNX Runtime names no kernel"));
    }
    Ok(counted)
}

enum Kind {
    Integer,
    Float,
}

/// Conv with what the optimizer makes of it (FusedConv, NhwcFusedConv) and ConvTranspose multiply
/// floats; QLinearConv, ConvInteger and their channels-last forms multiply integers.
fn convolution(operator: &str) -> Option<Kind> {
    if !operator.contains("Conv") {
        return None;
    }
    let integer = operator.contains("QLinear") || operator.contains("ConvInteger");
    Some(if integer { Kind::Integer } else { Kind::Float })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(operator: &str) -> String {
        format!(
            r#"{{"cat":"Node","name":"n_kernel_time","dur":1,"args":{{"op_name":"{operator}"}}}}"#
        )
    }

    #[test]
    fn counts_kernels_only() -> Result<()> {
        let profile = format!(
            r#"[{{"cat":"Session","name":"model_run","args":{{}}}},
                {{"cat":"Node","name":"n_fence_before","args":{{"op_name":"Conv"}}}},
                {},{},{},{}]"#,
            kernel("QLinearConv"),
            kernel("FusedConv"),
            kernel("QLinearAdd"),
            kernel("NhwcFusedConv"),
        );
        let counted = count(&profile)?;
        assert_eq!((counted.integer, counted.float), (1, 2));
        assert_eq!(counted.operators["QLinearAdd"], 1);
        assert_eq!(counted.operators.values().sum::<usize>(), 4);
        Ok(())
    }

    #[test]
    fn an_empty_or_broken_profile_is_an_error() {
        assert!(count("[]").is_err());
        assert!(count("[{").is_err());
    }
}
