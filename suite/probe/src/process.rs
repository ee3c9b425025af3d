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
/// [`crate::Session`] does. What it has applied once holds until the process ends, and applying it again
/// does nothing.
///
/// # Errors
/// Fails where the system refuses, and where the process has several threads already: they keep the
/// arenas that they have, and glibc changes its allocator safely only while nobody else allocates. A
/// program of your own calls this first thing in `main`.
pub fn apply(knobs: &Knobs) -> Result<()> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if let Some(setting) = knobs.get(ALLOCATOR).filter(|setting| *setting != "system") {
        glibc::set(setting)?;
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = knobs;
    Ok(())
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::sync::{Mutex, PoisonError};

    use nix::{errno::Errno, libc};

    use super::ALLOCATOR;
    use crate::{Error, Result};

    /// Changes the allocator of this process, if it is not as wanted already.
    pub fn set(setting: &str) -> Result<()> {
        static CURRENT: Mutex<Option<String>> = Mutex::new(None);
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_deref() == Some(setting) {
            return Ok(());
        }
        let alone = Alone::check().map_err(|error| {
            error.context(format!("{ALLOCATOR}={setting} cannot be applied now"))
        })?;
        keep_freed_memory(&alone)?;
        match setting {
            "huge-pages" => reserve(256 << 20, Reserve::HugePages)?,
            "populated" => reserve(64 << 20, Reserve::Populated)?,
            _ => {}
        }
        *current = Some(setting.into());
        Ok(())
    }

    /// Proof that the calling thread is the only one of this process.
    struct Alone(());

    impl Alone {
        fn check() -> Result<Self> {
            let threads = std::fs::read_dir("/proc/self/task")
                .map_err(|error| Error::from(error).context("cannot count threads"))?
                .count();
            match threads {
                1 => Ok(Self(())),
                _ => Err(Error::unsupported(format!(
                    "the process has {threads} threads already"
                ))),
            }
        }
    }

    /// The size of a huge page on x86-64 and, with pages of 4 KiB, on aarch64.
    const HUGE_PAGE: usize = 2 << 20;

    /// What becomes of reserved memory.
    #[derive(Clone, Copy)]
    enum Reserve {
        HugePages,
        Populated,
    }

    /// Nothing is given back and nothing is mapped by itself; one arena serves all threads, so that
    /// what one has freed another can take.
    fn keep_freed_memory(_: &Alone) -> Result<()> {
        let settings = [
            (libc::M_ARENA_MAX, 1),
            (libc::M_MMAP_MAX, 0),
            (libc::M_TRIM_THRESHOLD, i32::MAX),
        ];
        for (name, value) in settings {
            // SAFETY: it takes two numbers by value. No other thread reads meanwhile what it changes.
            if unsafe { libc::mallopt(name, value) } == 0 {
                return Err(Error::unsupported(format!(
                    "glibc refuses mallopt({name}, {value})"
                )));
            }
        }
        Ok(())
    }

    /// Lets the heap grow by `bytes` that stay in it.
    fn reserve(bytes: usize, how: Reserve) -> Result<()> {
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

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// The harness of the tests runs each in a thread of its own.
    #[test]
    fn the_allocator_is_left_alone_where_other_threads_allocate() {
        let set = |value: &str| apply(&Knobs::default().with(ALLOCATOR, value));
        assert!(set("system").is_ok());
        for value in ["keep", "huge-pages", "populated"] {
            let error = set(value).expect_err("there are other threads");
            assert_eq!(error.kind, crate::ErrorKind::Unsupported);
            assert!(error.to_string().contains("threads"), "{error}");
        }
    }
}
