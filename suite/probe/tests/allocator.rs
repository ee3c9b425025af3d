//! What the knob `allocator` does to page faults, which is what it is there for.

use firstpass_probe::{ALLOCATOR, Knobs, Result, apply_to_process, observe};

/// Some kernels fill several pages at one fault.
const GREATEST_FAULT: u64 = 16 * 4096;

fn main() {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        println!("this system has no such knob");
        return;
    }
    if let Err(error) = test() {
        panic!("{error}");
    }
    println!("kept memory is not faulted in again ... ok");
}

fn test() -> Result<()> {
    let bytes = 40 << 20;
    touch(bytes)?;
    let given_back = touch(bytes)?;
    assert!(given_back > bytes as u64 / GREATEST_FAULT, "{given_back}");

    let set = |value: &'static str| apply_to_process(&Knobs::default().with(ALLOCATOR, value));
    set("keep")?;
    touch(bytes)?;
    let kept = touch(bytes)?;
    assert!(kept < 100, "{kept} faults in memory that was kept");

    set("populated")?;
    let populated = touch(60 << 20)?;
    assert!(populated < 100, "{populated} faults in populated memory");

    // Whether there are huge pages is the system's choice; a kernel that knows them takes the advice.
    if std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        set("huge-pages")?;
        // More than what was kept, so that it has to come from what was reserved.
        let huge = touch(200 << 20)?;
        println!("{huge} faults in 200 MiB of huge pages");
    }

    // Last, because the system counts a thread for a moment after its end.
    set("populated")?;
    let other_thread = std::thread::spawn(move || (set("populated"), set("keep")));
    let (again, other) = other_thread.join().expect("it does not panic");
    assert!(again.is_ok(), "it holds already: {again:?}");
    assert!(other.is_err(), "there are two threads");
    Ok(())
}

/// Fills a block of its own, gives it back, and counts the faults.
fn touch(bytes: usize) -> Result<u64> {
    let ((), span) = observe(|| {
        std::hint::black_box(vec![1_u8; bytes]);
        Ok(())
    })?;
    Ok(span.minor_faults)
}
