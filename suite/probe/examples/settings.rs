//! The settings of the process in the lines that a program of your own needs, whatever its engine.
//! `cargo firstpass tune` shows the parts between the markers.

use std::io;

fn main() -> io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("keep") => keep()?,
        Some("huge-pages") => huge_pages()?,
        Some("populated") => populated()?,
        _ => println!("usage: settings keep|huge-pages|populated"),
    }
    Ok(())
}

fn keep() -> io::Result<()> {
    // knob allocator=keep
    use nix::libc;
    // First thing in `main`, before other threads allocate.
    for (name, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_MMAP_MAX, 0),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
    ] {
        // SAFETY: glibc locks its allocator itself.
        if unsafe { libc::mallopt(name, value) } == 0 {
            return Err(io::Error::other("mallopt"));
        }
    }
    // end
    Ok(())
}

fn huge_pages() -> io::Result<()> {
    keep()?;
    // knob allocator=huge-pages
    use nix::libc;
    // After the lines of allocator=keep. The block goes back to the heap, whose pages are now large.
    let bytes = 256 << 20;
    // SAFETY: the block is ours until it is freed, and advice changes no contents.
    unsafe {
        let block = libc::malloc(bytes);
        if block.is_null() {
            return Err(io::Error::last_os_error());
        }
        let before = block.align_offset(2 << 20);
        let advised = libc::madvise(block.byte_add(before), bytes - before, libc::MADV_HUGEPAGE);
        libc::free(block);
        if advised != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // end
    Ok(())
}

fn populated() -> io::Result<()> {
    keep()?;
    // knob allocator=populated
    // After the lines of allocator=keep. The block goes back to the heap with its pages.
    drop(std::hint::black_box(vec![1_u8; 64 << 20]));
    // end
    Ok(())
}
