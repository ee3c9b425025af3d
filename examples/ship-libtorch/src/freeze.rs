//! `torch.jit.freeze`, which tch does not bind.

use std::{
    ffi::{CStr, CString, c_char},
    fs,
    path::Path,
};

use anyhow::{Result, bail};

unsafe extern "C" {
    /// In `freeze.cpp`. `message` has room for `size` bytes, of which the last is 0.
    fn freeze(from: *const c_char, to: *const c_char, message: *mut c_char, size: usize) -> bool;
}

/// Writes to `to` the module in the file `from` with its weights as constants and its calls inlined.
///
/// # Errors
/// Fails where libtorch does, in its own words, and where the file cannot be written.
pub fn file(from: &Path, to: &Path) -> Result<()> {
    // Renamed when it is whole: a process may be killed while it writes.
    let partial = to.with_extension(format!("{}.part", std::process::id()));
    let [source, target] =
        [from, &partial].map(|path| CString::new(path.as_os_str().as_encoded_bytes()));
    let (source, target) = (source?, target?);
    let mut message = [0; 1024];
    // SAFETY: both paths end with 0 and outlive the call, which writes at most the bytes of `message`, and a 0 last.
    let is_frozen = unsafe {
        freeze(
            source.as_ptr(),
            target.as_ptr(),
            message.as_mut_ptr(),
            message.len(),
        )
    };
    if !is_frozen {
        // SAFETY: what was written ends with 0, and nothing else refers to it.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) };
        bail!(
            "cannot freeze {}: {}",
            from.display(),
            message.to_string_lossy()
        );
    }
    Ok(fs::rename(&partial, to)?)
}
