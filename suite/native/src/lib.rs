//! Fetches, verifies, installs and finds the native libraries that some backends need.
//!
//! A backend that needs one says so in a `native.toml` beside its `Cargo.toml`: which wheels of
//! which package hold the library, their hashes, and which files of them to take. All that is
//! particular to a library is in that file; this crate only carries it out.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use std::path::Path;
//! use firstpass_native::{NativeLibrary, Progress};
//!
//! let root = Path::new("/checkout/.native");
//! if let Some(library) = NativeLibrary::read(Path::new("/checkout/backends/some-engine"))? {
//!     let status = library.install(root, &Progress::terminal())?;
//!     println!("{status}");
//!     for (variable, path) in library.environment(root) {
//!         println!("{variable}={}", path.display());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # In the native root
//! | path | what |
//! |---|---|
//! | `<directory>/` | an installed library, with `installed.json`: the size and hash of each file |
//! | `<directory>@<version>/` | another version than the pinned one, with its pin in `<directory>@<version>.json` |
//! | `downloads/` | wheels fetched and verified, kept until their library is installed |
//! | `partial/` | work in progress; what an interruption leaves here, the next set-up removes |
//! | `.lock` | held by the set-up at work |

mod digest;
mod fetch;
mod host;
mod install;
mod link;
mod lock;
mod manifest;
mod progress;
mod stamp;
mod status;
mod unpack;
mod version;

pub use digest::sha256_of_file;
pub use fetch::{Fetch, Pip};
pub use host::Host;
pub use lock::{Holder, Lock};
pub use manifest::{NativeLibrary, RelativePath, Sha256Hex, Wheel, WheelName};
pub use progress::Progress;
pub use status::Status;
