//! A process that outlives this one and ends what programs of the user's own have left behind then: where this process
//! is killed by `SIGKILL`, or for want of memory, it ends nothing any more itself.
//!
//! Nothing of the kernel does this everywhere. A signal at the death of a parent reaches children only. A control group,
//! and a process namespace whose first process is ended, need rights that a user mostly lacks; and in a namespace a
//! program would see other numbers and other signals than where it is shipped.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use super::{PREFIX, VARIABLE};

/// Waits for the end of its standard input, which the system closes with the process that holds the other end. Then it
/// ends whatever has the mark, and looks again, because one may have started another meanwhile. No signal that is meant for
/// the command, or for a terminal that closes, ends it before.
const SCRIPT: &str = r#"trap '' HUP INT QUIT TERM
read -r _
looks=0
while [ "$looks" -lt 100 ]; do
    found=
    for file in $(grep -laF -e "$1" /proc/[0-9]*/environ 2>/dev/null); do
        number=${file#/proc/}
        kill -9 "${number%/environ}" 2>/dev/null && found=1
    done
    [ -n "$found" ] || exit 0
    looks=$((looks + 1))
done
"#;

/// `None` where it could not be started. Its standard input stays open as long as this process lives.
static WATCHER: OnceLock<Option<Child>> = OnceLock::new();

/// Starts the watcher of this process, if it has none. It takes no time while it waits.
pub(super) fn begin() {
    WATCHER.get_or_init(|| watch(&PREFIX).ok());
}

/// Starts a watcher that ends processes whose mark begins so, once its standard input is closed.
fn watch(mark: &str) -> std::io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT, "sh"])
        .arg(format!("{VARIABLE}={mark}"))
        // Where this process is itself what a program has started, its watcher is not to be ended with it.
        .env_remove(VARIABLE)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

#[cfg(test)]
mod tests {
    use anyhow::Result;

    use super::{
        super::tests::{runs, sleeper},
        *,
    };
    use crate::left_behind::Mark;

    #[test]
    fn it_ends_what_has_the_mark_when_it_is_let_go() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (watched, other) = (Mark::new(), Mark::new());
        let mut watcher = watch(&watched.0)?;
        let one = sleeper(&watched, folder.path(), "one")?;
        let two = sleeper(&watched, folder.path(), "two")?;
        let not_watched = sleeper(&other, folder.path(), "other")?;
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(runs(one) && runs(two), "it waits for its end");
        drop(watcher.stdin.take());
        assert!(watcher.wait()?.success());
        assert!(!runs(one) && !runs(two));
        assert!(runs(not_watched), "it is another's");
        Ok(())
    }
}
