//! The suite that every backend must pass, written once.
//!
//! A backend instantiates it in a few lines: see `tests/suite` in any folder of `backends/`.

mod agreement;
mod bad_input;
mod context;
mod direct;
mod files;
pub mod imports;
mod own;
mod properties;
mod sequences;
mod small_graphs;
mod steps;

use std::process::ExitCode;

use firstpass_probe::{Backend, ErrorKind};
use firstpass_trial::observation::Outcome;
use libtest_mimic::{Arguments, Failed};

use crate::context::Context;

pub use direct::{Direct, direct};
pub use files::{
    copied, external_weights, input_without_a_shape, integer_operators, of_type, run_onnx, types,
};
pub use libtest_mimic::Trial as Test;
pub use own::{Ended, alone, test};
pub use small_graphs::output_of_case;
pub use steps::{largest_steps, largest_steps_from_golden};

/// Set by `firstpass test`: an engine that cannot run is then a failure.
const REQUIRE_ALL: &str = "FIRSTPASS_REQUIRE_ALL";

/// Runs the suite on backend `B`, whose probe is the binary `probe` and whose folder is `folder`, and
/// beside it the backend's own tests: see [`tests!`]. Tests that ask a probe run on all cores; those that
/// use the engine in this process run one at a time (see [`alone`]), but for the small graphs.
pub fn main<B: Backend + 'static>(
    probe: &'static str,
    folder: &'static str,
    own: impl IntoIterator<Item = Test>,
) -> ExitCode {
    let arguments = Arguments::from_args();
    match Context::new(probe, folder) {
        Ok(context) => {
            let tests = tests::<B>(&context, own);
            libtest_mimic::run(&arguments, tests).exit_code()
        }
        Err(error) => {
            eprintln!("{}: the suite cannot start: {error:#}", B::NAME);
            ExitCode::FAILURE
        }
    }
}

fn tests<B: Backend + 'static>(
    context: &Context,
    own: impl IntoIterator<Item = Test>,
) -> Vec<Test> {
    let described = context.probe.describe();
    let mut tests = vec![engine_test::<B>(context)];
    tests.extend(agreement::tests::<B>(context));
    tests.extend(bad_input::tests::<B>(context));
    tests.extend(properties::tests::<B>(context));
    tests.extend(sequences::tests::<B>(context));
    tests.extend(small_graphs::tests::<B>(context));
    tests.extend(own);
    let Err(Outcome::Failed(error)) = described else {
        return tests;
    };
    if error.kind != ErrorKind::Unavailable || std::env::var_os(REQUIRE_ALL).is_some() {
        return tests;
    }
    let reason = error.chain.join(": ");
    eprintln!("{}: every test is ignored, because {reason}", B::NAME);
    tests
        .into_iter()
        .map(|t| t.with_ignored_flag(true).with_kind("unavailable"))
        .collect()
}

fn engine_test<B: Backend>(context: &Context) -> Test {
    let probe = context.probe.clone();
    let folder = context.backend.name.clone();
    let known = context.known.clone();
    Test::test("the engine says what it is", move || {
        let description = probe.describe().map_err(|o| Failed::from(o.to_string()))?;
        check(!description.engine.version.is_empty(), || {
            "no version".into()
        })?;
        check(description.formats == B::FORMATS, || {
            "other formats than declared".into()
        })?;
        check(
            description
                .knobs
                .iter()
                .any(|k| k.name == firstpass_probe::THREADS),
            || "no knob for the number of threads".into(),
        )?;
        if let Some(plain) = &known.without_optimizations {
            let checked = plain.settings.check(&description.knobs);
            let explained = |error| Failed::from(format!("[without-optimizations]: {error}"));
            checked.map_err(explained)?;
        }
        check(B::NAME == folder, || {
            format!("its name {:?} is not its folder's, {folder:?}", B::NAME)
        })
    })
}

/// Fails a test with a message.
fn check(holds: bool, message: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(message().into()) }
}
