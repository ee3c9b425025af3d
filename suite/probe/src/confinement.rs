//! What a probe gives up before an engine is loaded, because a model file may be hostile.
//!
//! It is a second line of defence: programs such as TorchScript files are run only where the user trusts
//! them. It costs a pass nothing: the kernel asks when a file is opened or a socket made, and knows of all other calls
//! that the filter lets them through.

use std::{fmt, path::PathBuf};

use nix::unistd;

use crate::{Error, Request, Result};

/// The process that started a probe says here which it is; the probe dies with it.
pub const PARENT: &str = "FIRSTPASS_PARENT";

/// What the system lets a probe give up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// It opens no socket but those within this machine: no UDP either, which Landlock leaves out.
    pub no_network: bool,
    /// No program that it starts gets more rights, not even by `setuid`.
    pub no_new_privileges: bool,
    /// It writes to no file but its outputs, temporary files and prepared files, signals no process
    /// outside, and makes no TCP connection, as far as this kernel can tell.
    pub landlock: Landlock,
}

/// How much of Landlock the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landlock {
    All,
    /// An older kernel, which leaves out some of it, such as the network before Linux 6.7.
    Partly,
    /// The kernel has none, or it is switched off.
    Nothing,
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.landlock, self.no_network) {
            (Landlock::All, true) => "files read-only, no network, no signals to others",
            (Landlock::All, false) => "files read-only, no TCP connections, no signals to others",
            (Landlock::Partly, true) => {
                "files read-only as far as this older kernel's Landlock can; no network"
            }
            (Landlock::Partly, false) => {
                "files read-only as far as this older kernel's Landlock can"
            }
            (Landlock::Nothing, true) => "files as yours: this system has no Landlock; no network",
            (Landlock::Nothing, false) => "files and network as yours: this system has no Landlock",
        })?;
        f.write_str(if self.no_new_privileges {
            "; no new privileges"
        } else {
            "; new privileges are not excluded"
        })
    }
}

/// What a probe could give up on this system. Tried in a thread of its own, which it ends with.
pub fn confinement() -> Confinement {
    let tried = std::thread::spawn(|| confine(&[])).join();
    tried.ok().and_then(Result::ok).unwrap_or(Confinement {
        no_network: false,
        no_new_privileges: false,
        landlock: Landlock::Nothing,
    })
}

/// Gives up all but what answering this request takes. Where the system has nothing of the kind, nothing
/// is given up: `firstpass doctor` and every record say so.
///
/// # Errors
/// Fails where the system has it and refuses.
pub(crate) fn enter(request: &Request, backend: &str) -> Result<()> {
    die_with_parent()?;
    let mut writable = vec![std::env::temp_dir()];
    // Without a folder for them, prepared files are refused by who wants one.
    writable.extend(crate::prepared_folder(backend));
    writable.extend(
        request
            .outputs()
            .and_then(|file| Some(file.parent()?.into())),
    );
    confine(&writable)?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn die_with_parent() -> Result<()> {
    use nix::sys::{prctl, signal::Signal};

    let Some(parent) = std::env::var_os(PARENT) else {
        // Started by hand.
        return Ok(());
    };
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have died before.
    if parent.to_str() != Some(&unistd::getppid().to_string()) {
        return Err(Error::input("the program that started this probe is gone"));
    }
    Ok(())
}

/// Elsewhere a probe ends when it has nobody left to send a message to.
#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> Result<()> {
    Ok(())
}

/// Gives up all but writing below these folders, for this thread and those that it starts.
#[cfg(target_os = "linux")]
fn confine(writable: &[PathBuf]) -> Result<Confinement> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
        RulesetStatus, Scope, path_beneath_rules,
    };

    use crate::EngineResult;

    /// The newest that is known here; what a kernel lacks of it is left out.
    const NEWEST: ABI = ABI::V6;

    // Libraries write there without harm.
    let devices = ["/dev/null", "/dev/shm", "/dev/tty"].map(PathBuf::from);
    let all = || -> Result<_, RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_write(NEWEST))?
            .handle_access(AccessNet::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rules(path_beneath_rules(
                writable.iter().chain(&devices),
                AccessFs::from_write(NEWEST),
            ))?
            .restrict_self()
    };
    let status = all()
        .engine()
        .map_err(|e| e.context("cannot give up rights"))?;
    Ok(Confinement {
        no_network: network::leave(),
        no_new_privileges: status.no_new_privs,
        landlock: match status.ruleset {
            RulesetStatus::FullyEnforced => Landlock::All,
            RulesetStatus::PartiallyEnforced => Landlock::Partly,
            RulesetStatus::NotEnforced => Landlock::Nothing,
        },
    })
}

/// The network, which a filter of system calls (seccomp) closes.
#[cfg(target_os = "linux")]
mod network {
    use std::env::consts::ARCH;

    use nix::{
        libc::{AF_UNIX, EACCES, ENOSYS, SYS_io_uring_setup, SYS_socket, SYS_socketpair},
        sys::utsname::uname,
    };
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, apply_filter,
    };

    /// Older kernels run whatever is filtered with slower branches and loads, by default: what is measured would not
    /// be what a user of the engine gets.
    const SINCE: (u32, u32) = (5, 16);

    /// From now on this thread, and those that it starts, open no socket but those within this machine, nor the ring
    /// (`io_uring`) that would do so beside the filter. Returns whether that is so.
    pub(super) fn leave() -> bool {
        is_new_enough() && close().is_some()
    }

    fn close() -> Option<()> {
        let other_family = SeccompCondition::new(
            0,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::Ne,
            u64::try_from(AF_UNIX).ok()?,
        );
        let sockets = vec![SeccompRule::new(vec![other_family.ok()?]).ok()?];
        let refused = |error: i32| Some(SeccompAction::Errno(error.try_into().ok()?));
        for (rules, error) in [
            (
                vec![(SYS_socket, sockets.clone()), (SYS_socketpair, sockets)],
                EACCES,
            ),
            (vec![(SYS_io_uring_setup, Vec::new())], ENOSYS),
        ] {
            let filter = SeccompFilter::new(
                rules.into_iter().collect(),
                SeccompAction::Allow,
                refused(error)?,
                ARCH.try_into().ok()?,
            );
            let program: seccompiler::BpfProgram = filter.ok()?.try_into().ok()?;
            apply_filter(&program).ok()?;
        }
        Some(())
    }

    fn is_new_enough() -> bool {
        let release = uname().ok();
        let release = release.and_then(|name| version(name.release().to_str()?));
        release.is_some_and(|version| version >= SINCE)
    }

    /// The first two numbers of a release such as `6.1.0-13-amd64`.
    pub(super) fn version(release: &str) -> Option<(u32, u32)> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

#[cfg(not(target_os = "linux"))]
fn confine(_: &[PathBuf]) -> Result<Confinement> {
    Ok(Confinement {
        no_network: false,
        no_new_privileges: false,
        landlock: Landlock::Nothing,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, io::ErrorKind, net};

    use super::*;

    #[test]
    fn kernels_are_told_apart() {
        for (release, expected) in [
            ("6.1.0-13-amd64", Some((6, 1))),
            ("5.15.0", Some((5, 15))),
            ("6.18.44-fc-v595", Some((6, 18))),
            ("unknown", None),
        ] {
            assert_eq!(network::version(release), expected);
        }
        assert!((5, 15) < (5, 16) && (6, 1) > (5, 16));
    }

    /// In a thread of its own, which alone is confined.
    #[test]
    fn a_confined_thread_writes_only_where_it_may() -> Result<()> {
        let folders = (tempfile::tempdir()?, tempfile::tempdir()?);
        let (open, closed) = (folders.0.path().to_owned(), folders.1.path().to_owned());
        fs::write(closed.join("there"), "read")?;
        let listener = net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let confined = std::thread::spawn(move || -> Result<Confinement> {
            let confinement = confine(std::slice::from_ref(&open))?;
            fs::write(open.join("file"), "may")?;
            let written = fs::write(closed.join("file"), "may not");
            let removed = fs::remove_file(closed.join("there"));
            let connected = net::TcpStream::connect(address);
            let udp = net::UdpSocket::bind("127.0.0.1:0");
            let within = std::os::unix::net::UnixDatagram::unbound();
            within?;
            assert_eq!(udp.is_err(), confinement.no_network);
            if confinement.landlock == Landlock::All {
                for refused in [written, removed, connected.map(drop)] {
                    let kind = refused.map_err(|error| error.kind());
                    assert_eq!(kind, Err(ErrorKind::PermissionDenied));
                }
            }
            assert_eq!(fs::read_to_string(closed.join("there"))?, "read");
            Ok(confinement)
        });
        let confinement = confined.join().expect("no panic")?;
        assert_eq!(confinement, super::confinement());
        // Others are as free as before.
        fs::write(folders.1.path().join("file"), "may")?;
        Ok(())
    }
}
