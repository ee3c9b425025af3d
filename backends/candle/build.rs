//! Tells the crate which candle-core it is linked with: candle exports no version, the lock file has it.

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let manifest = env::var("CARGO_MANIFEST_DIR")?;
    let lock = Path::new(&manifest)
        .ancestors()
        .map(|folder| folder.join("Cargo.lock"))
        .find(|path| path.is_file())
        .ok_or("no Cargo.lock in or above the package")?;
    println!("cargo::rerun-if-changed={}", lock.display());

    let text = fs::read_to_string(&lock)?;
    let lines: Vec<&str> = text.lines().collect();
    let versions: Vec<&str> = lines
        .windows(2)
        .filter(|pair| pair[0] == "name = \"candle-core\"")
        .filter_map(|pair| pair[1].strip_prefix("version = \"")?.strip_suffix('"'))
        .collect();
    let [version] = versions[..] else {
        return Err(format!("{} names candle-core {versions:?}", lock.display()).into());
    };
    println!("cargo::rustc-env=CANDLE_CORE_VERSION={version}");
    Ok(())
}
