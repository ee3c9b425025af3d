//! No circle of imports among the modules of the executor, nor among the files of `kernels`.

use std::{io, path::Path};

use firstpass_conformance::imports::{circles, imports, read};

#[test]
fn imports_run_in_no_circle() -> io::Result<()> {
    let sources = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))?;
    assert_eq!(circles(&imports("", &sources)), [""; 0]);
    let kernels = imports("kernels::", &sources);
    assert!(kernels["depthwise"].contains("avx2"), "{kernels:?}");
    assert_eq!(circles(&kernels), [""; 0]);
    Ok(())
}
