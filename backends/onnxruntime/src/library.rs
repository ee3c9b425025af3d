//! The shared library: found, checked, and started once in a process.

use std::{
    env,
    ffi::CStr,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use firstpass_probe::{EngineResult, Error, ErrorKind, Result};
use libloading::Library;
use ort::{environment::Environment, logging::LogLevel, sys::OrtApiBase};

const VARIABLE: &str = "ORT_DYLIB_PATH";

/// The oldest library that was tried with ort as this project builds it, as 1.x: the first whose Python package
/// holds it as a file of its own. ort ends the process on one that is too old for it, so it is told of none.
const OLDEST: u32 = 19;

/// ONNX Runtime as it was loaded into this process.
pub struct Runtime {
    pub version: String,
    /// The second number of the version, as 1.x.
    pub minor: u32,
    pub path: PathBuf,
    pub environment: Environment,
}

/// Loads the library that `ORT_DYLIB_PATH` names and makes the environment of this process, or
/// returns what an earlier call made: a process can have but one.
pub fn start() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    static STARTING: Mutex<()> = Mutex::new(());

    let _one_at_a_time = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    match RUNTIME.get() {
        Some(runtime) => Ok(runtime),
        None => {
            let runtime = load(&named_by_the_environment()?)?;
            Ok(RUNTIME.get_or_init(|| runtime))
        }
    }
}

fn named_by_the_environment() -> Result<PathBuf> {
    env::var_os(VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .ok_or_else(|| {
            Error::unavailable(format!(
                "{VARIABLE} does not say where ONNX Runtime is; `cargo firstpass setup` fetches \
                 it, or set {VARIABLE} to the library of ONNX Runtime 1.{OLDEST} or newer"
            ))
        })
}

fn load(named: &Path) -> Result<Runtime> {
    // Absolute, because ort looks for a relative path beside the program first.
    let path = fs::canonicalize(named).map_err(|error| {
        Error::unavailable(format!(
            "{VARIABLE} names {}, which cannot be opened: {error}; `cargo firstpass setup` \
             fetches ONNX Runtime",
            named.display()
        ))
    })?;
    let version = version(&path)?;
    // From here on the library is known to be one that ort can use.
    let environment = ort::init_from(&path)
        .map_err(unavailable)?
        .with_name("firstpass")
        .with_telemetry(false)
        .build()
        .engine()?;
    environment.set_log_level(LogLevel::Error);
    Ok(Runtime {
        minor: minor(&version).unwrap_or(OLDEST),
        version,
        path,
        environment,
    })
}

/// The version that the library says it is.
fn version(path: &Path) -> Result<String> {
    let shown = path.display();
    // SAFETY: running the library's initialisers is what the user asks for by naming it.
    let library = unsafe { Library::new(path) }.map_err(|error| {
        unavailable(error).context(format!("{shown} cannot be loaded as a library"))
    })?;
    // SAFETY: this is the signature that ONNX Runtime has given the symbol since its first release.
    let symbol =
        unsafe { library.get::<unsafe extern "C" fn() -> *const OrtApiBase>(c"OrtGetApiBase") };
    let no_runtime = || {
        Error::unavailable(format!(
            "{shown} is a library, but not that of ONNX Runtime"
        ))
    };
    let get_api_base = symbol.map_err(|_| no_runtime())?;
    // SAFETY: the function takes nothing and returns a pointer to a constant of the library, or null.
    let base = unsafe { get_api_base().as_ref() }.ok_or_else(no_runtime)?;
    // SAFETY: as above; the string is a constant of the library, which is still loaded.
    let version = unsafe {
        let text = (base.GetVersionString)();
        if text.is_null() {
            return Err(no_runtime());
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    };
    if is_supported(&version) {
        // Stays loaded, so that ort does not read and relocate it a second time.
        std::mem::forget(library);
        return Ok(version);
    }
    Err(Error::unavailable(format!(
        "{shown} is ONNX Runtime {version}; {} works with 1.{OLDEST} or newer",
        env!("BINDING")
    )))
}

/// The error with its causes, in which both loaders hide what the system said.
fn unavailable(error: impl std::error::Error) -> Error {
    Error::caused_by(&error).of_kind(ErrorKind::Unavailable)
}

fn is_supported(version: &str) -> bool {
    minor(version).is_some_and(|minor| minor >= OLDEST)
}

/// The second number of a version 1.x.
fn minor(version: &str) -> Option<u32> {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) => Some(minor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_it_works_with() {
        for good in ["1.19.0", "1.31.1", "1.100.0", "1.24.0-dev"] {
            assert!(is_supported(good), "{good}");
        }
        for bad in ["1.18.1", "1.9.0", "2.0.0", "0.24.0", "nightly", "1", ""] {
            assert!(!is_supported(bad), "{bad}");
        }
    }

    #[test]
    fn a_library_that_cannot_be_used_is_unavailable() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let text = dir.path().join("libonnxruntime.so");
        fs::write(&text, "no library")?;
        for path in [dir.path().join("missing.so"), text] {
            let error = load(&path)
                .err()
                .ok_or_else(|| Error::engine("must fail"))?;
            assert_eq!(error.kind, ErrorKind::Unavailable);
            assert!(
                error.to_string().contains(&*path.to_string_lossy()),
                "{error}"
            );
        }
        Ok(())
    }
}
