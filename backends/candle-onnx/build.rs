//! Tells the probe which candle it is built with.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    // candle names its version in no public symbol: take what Cargo locked, which is what it links.
    let lock = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../Cargo.lock");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock)?;
    for (variable, package) in [("CORE", "candle-core"), ("ONNX", "candle-onnx")] {
        let version = text
            .split("[[package]]")
            .find(|entry| entry.contains(&format!("name = \"{package}\"\n")))
            .and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next())
            .ok_or_else(|| format!("Cargo.lock names no {package}"))?;
        println!("cargo::rustc-env=CANDLE_{variable}_VERSION={version}");
    }
    Ok(())
}
