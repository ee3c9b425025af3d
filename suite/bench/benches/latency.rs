//! `cold/<model>` and `steady/<model>` of every engine.

use std::process::ExitCode;

fn main() -> ExitCode {
    firstpass_bench::main()
}
