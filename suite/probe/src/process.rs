//! Settings of the process, which every backend has because every engine allocates.
//!
//! The C library gives freed memory back to the system and takes large blocks from it anew; the
//! kernel then fills a page with zeros at its first touch. A pass that allocates pays for that again.

use crate::{Knob, Knobs, Result};

/// The knob that says what the C library does with freed memory.
pub const ALLOCATOR: &str = "allocator";

/// The knobs that [`apply`] honours on this system.
pub(crate) fn knobs() -> Vec<Knob> {
    if cfg!(all(target_os = "linux", target_env = "gnu")) {
        vec![Knob::choice(
            ALLOCATOR,
            &["system", "keep", "huge-pages", "populated"],
            "glibc: freed memory is kept (mallopt); besides, 256 MiB of heap may come in pages of \
             2 MiB (madvise), or 64 MiB of it be touched when the process starts",
        )]
    } else {
        Vec::new()
    }
}

/// Applies the knobs of the process, as every start of a [`crate::Backend`] by a probe or a
/// [`crate::Session`] does. To be called before other threads allocate: they keep the arenas that
/// they have.
///
/// # Errors
/// Fails where the system refuses.
pub fn apply(knobs: &Knobs) -> Result<()> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    match knobs.get(ALLOCATOR) {
        Some("keep") => glibc::keep_freed_memory()?,
        Some("huge-pages") => {
            glibc::keep_freed_memory()?;
            glibc::reserve(256 << 20, glibc::Reserve::HugePages)?;
        }
        Some("populated") => {
            glibc::keep_freed_memory()?;
            glibc::reserve(64 << 20, glibc::Reserve::Populated)?;
        }
        _ => {}
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = knobs;
    Ok(())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use nix::{errno::Errno, libc};

    use crate::{Error, Result};

    /// The size of a huge page on x86-64 and, with pages of 4 KiB, on aarch64.
    const HUGE_PAGE: usize = 2 << 20;

    /// What becomes of reserved memory.
    #[derive(Clone, Copy)]
    pub enum Reserve {
        HugePages,
        Populated,
    }

    /// Nothing is given back and nothing is mapped by itself; one arena serves all threads, so that
    /// what one has freed another can take.
    pub fn keep_freed_memory() -> Result<()> {
        let settings = [
            (libc::M_ARENA_MAX, 1),
            (libc::M_MMAP_MAX, 0),
            (libc::M_TRIM_THRESHOLD, i32::MAX),
        ];
        for (name, value) in settings {
            // SAFETY: it takes two numbers by value, and locks the allocator itself.
            if unsafe { libc::mallopt(name, value) } == 0 {
                return Err(Error::unsupported(format!(
                    "glibc refuses mallopt({name}, {value})"
                )));
            }
        }
        Ok(())
    }

    /// Lets the heap grow by `bytes` that stay in it.
    pub fn reserve(bytes: usize, how: Reserve) -> Result<()> {
        // SAFETY: the block is ours until it is freed below, and nothing reads it. The range that
        // `madvise` gets lies within it, and its advice changes no contents.
        unsafe {
            let block = libc::malloc(bytes);
            if block.is_null() {
                return Err(Errno::last().into());
            }
            let before = block.align_offset(HUGE_PAGE);
            let advised = match how {
                Reserve::HugePages => {
                    libc::madvise(block.byte_add(before), bytes - before, libc::MADV_HUGEPAGE)
                }
                Reserve::Populated => {
                    libc::memset(block, 1, bytes);
                    // The compiler knows malloc, memset and free, and would leave out all three.
                    std::hint::black_box(block);
                    0
                }
            };
            let error = Errno::last();
            libc::free(block);
            if advised != 0 {
                return Err(Error::from(error).context("the kernel gives no huge pages"));
            }
        }
        Ok(())
    }
}
