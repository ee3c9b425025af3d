//! Compiles the shim and records where libtorch lies, so that the probe finds it when it runs.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "native")]
    native::build()?;
    Ok(())
}

#[cfg(feature = "native")]
mod native {
    use std::{
        env,
        error::Error,
        fs,
        path::{Path, PathBuf},
    };

    const SOURCES: [&str; 5] = ["describe", "settings", "module", "trace", "activations"];

    pub fn build() -> Result<(), Box<dyn Error>> {
        let lib = PathBuf::from(env::var("DEP_TCH_LIBTORCH_LIB")?);
        compile_shim(&lib)?;
        link(&lib)?;
        name_binding()
    }

    fn compile_shim(lib: &Path) -> Result<(), Box<dyn Error>> {
        println!("cargo::rerun-if-changed=shim");
        println!("cargo::rerun-if-env-changed=LIBTORCH_INCLUDE");
        println!("cargo::rerun-if-env-changed=LIBTORCH_CXX11_ABI");
        // As torch-sys reads it: the folder that holds `include`. Every distribution of libtorch,
        // the Python package as well, has it beside `lib`.
        let root = env::var_os("LIBTORCH_INCLUDE").map_or_else(|| lib.join(".."), PathBuf::from);
        let include = root.join("include");
        if !include.join("ATen/record_function.h").is_file() {
            let found = include.display();
            return Err(format!("no libtorch headers in {found}; set LIBTORCH_INCLUDE").into());
        }
        let abi = env::var("LIBTORCH_CXX11_ABI").unwrap_or_else(|_| "1".into());
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            // libtorch's headers warn; ours does not include them as its own.
            .warnings(false)
            // libtorch is a release build: structures that its callbacks receive have other
            // members without this, and reading them crashes.
            .define("NDEBUG", None)
            .define("_GLIBCXX_USE_CXX11_ABI", abi.as_str())
            .include(&include)
            .files(SOURCES.map(|name| format!("shim/{name}.cpp")))
            .try_compile("firstpass_libtorch_shim")?;
        Ok(())
    }

    fn link(lib: &Path) -> Result<(), Box<dyn Error>> {
        println!("cargo::rustc-link-search=native={}", lib.display());
        println!("cargo::rustc-link-lib=torch_cpu");
        println!("cargo::rustc-link-lib=c10");
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
        if env::var("CARGO_CFG_TARGET_OS")? == "linux" {
            // DT_RPATH and not DT_RUNPATH: it serves the libraries that libtorch needs as well.
            println!("cargo::rustc-link-arg=-Wl,--disable-new-dtags");
        }
        Ok(())
    }

    /// The version of tch is in no symbol of it: take what Cargo locked.
    fn name_binding() -> Result<(), Box<dyn Error>> {
        let lock = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../Cargo.lock");
        println!("cargo::rerun-if-changed={}", lock.display());
        let text = fs::read_to_string(&lock)?;
        let version = text
            .split("[[package]]")
            .find(|package| package.contains("name = \"tch\"\n"))
            .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
            .ok_or("Cargo.lock names no tch")?;
        println!("cargo::rustc-env=BINDING=tch {version}");
        Ok(())
    }
}
