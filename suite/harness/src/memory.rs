//! A limit on the memory of this command, as each probe has one.

use firstpass_trial::process::most_memory;

/// From now on this process and those that it starts fail to get more memory than the machine has but a
/// tenth, so that a hostile file ends a command and not the machine.
#[cfg(target_os = "linux")]
pub fn limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let most = most_memory();
    let mut limit = getrlimit(Resource::Data);
    // A stricter limit of the user's own stays.
    if limit.current.is_none_or(|current| current > most) {
        limit = Rlimit {
            current: Some(most),
            ..limit
        };
        // What cannot be limited is as it was.
        let _ = setrlimit(Resource::Data, limit);
    }
}

/// Only Linux counts what a process has of its own.
#[cfg(not(target_os = "linux"))]
pub fn limit() {}
