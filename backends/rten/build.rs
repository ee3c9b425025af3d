//! Tells the probe which rten it is built with.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    // rten names its version in no public symbol: take what Cargo locked, which is what it links.
    let lock = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../Cargo.lock");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", lock.display());
    let text = fs::read_to_string(&lock)?;
    let version = text
        .split("[[package]]")
        .find(|package| package.contains("name = \"rten\"\n"))
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .ok_or("Cargo.lock names no rten")?;
    println!("cargo::rustc-env=RTEN_VERSION={version}");
    Ok(())
}
