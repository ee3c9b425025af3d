//! Compiles `freeze.cpp` and records where libtorch lies, so that the program finds it when it runs.

use std::{env, error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/freeze.cpp");
    let lib = env::var("DEP_TCH_LIBTORCH_LIB")?;
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        // libtorch's headers warn.
        .warnings(false)
        // As libtorch was built.
        .define("NDEBUG", None)
        .include(Path::new(&lib).join("../include"))
        .file("src/freeze.cpp")
        .try_compile("freeze")?;
    println!("cargo::rustc-link-search=native={lib}");
    println!("cargo::rustc-link-lib=torch_cpu");
    println!("cargo::rustc-link-lib=c10");
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    if env::var("CARGO_CFG_TARGET_OS")? == "linux" {
        // DT_RPATH and not DT_RUNPATH: it serves the libraries that libtorch needs as well.
        println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags");
    }
    Ok(())
}
