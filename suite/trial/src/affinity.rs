//! Where the next process runs, and how urgently.

use std::sync::mpsc;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};

/// What the scheduler is asked for. By default nothing: processes run wherever it puts them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// Keeps a process on as many CPUs as it has threads: see [`Affinity::cpus`].
    pub pin: bool,
    /// The nice value of a process, from -20 (most urgent) to 19. Where the kernel groups
    /// processes by session (`kernel.sched_autogroup_enabled`), it counts only among those of the
    /// same session.
    pub nice: Option<i32>,
}

impl Affinity {
    /// Does `work`, which spawns a process of so many threads, such that the process begins its
    /// life as asked: both affinity and nice value are inherited.
    ///
    /// On Linux both belong to a thread. So `work` is done by a thread of its own: nothing needs to be
    /// restored, which for the nice value would take a privilege, and no instruction of the process is
    /// run before it is placed. Where nothing is asked for, `work` is done by the calling thread.
    ///
    /// # Errors
    /// Fails where the system cannot do what is asked, or does not permit it. Then `work` is not
    /// done.
    pub fn spawning<T: Send + 'static>(
        &self,
        threads: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Parent)> {
        if *self == Self::default() {
            return Ok((work(), Parent(None)));
        }
        let (sender, done) = mpsc::channel();
        let (parent, ends) = mpsc::channel();
        let affinity = self.clone();
        std::thread::spawn(move || {
            let worked = affinity.place_this_thread(threads).map(|()| work());
            // Whoever asked has gone where nobody listens; then the process is not wanted any more.
            if sender.send(worked).is_ok() {
                let _ = ends.recv();
            }
        });
        let worked = done
            .recv()
            .map_err(|_| anyhow!("the thread that spawns processes panicked"))?;
        Ok((worked?, Parent(Some(parent))))
    }

    /// The CPUs for a process of so many threads; `None` where it is not pinned.
    ///
    /// They are the last ones that this process may use, because interrupts and the harness tend
    /// to be on the first; and of different cores as long as there are any, because two threads on
    /// one core are not two threads' worth. Where there are fewer, they are all that there are.
    ///
    /// # Errors
    /// Fails where the system has no affinity or does not tell it.
    pub fn cpus(&self, threads: usize) -> Result<Option<Vec<usize>>> {
        if !self.pin {
            return Ok(None);
        }
        Ok(Some(choose(
            &system::allowed_cpus()?,
            system::core,
            threads,
        )))
    }

    fn place_this_thread(&self, threads: usize) -> Result<()> {
        if let Some(cpus) = self.cpus(threads)? {
            system::pin_this_thread(&cpus)
                .with_context(|| format!("cannot pin a process to the CPUs {cpus:?}"))?;
        }
        if let Some(nice) = self.nice {
            ensure!(
                (-20..=19).contains(&nice),
                "there is no nice value {nice}; give one from -20 to 19"
            );
            system::nice_this_thread(nice).with_context(|| {
                format!(
                    "cannot run a process with nice value {nice}: a lower value than one's own \
                     needs the right to it; give a higher value, or raise the limit (`ulimit -e`, \
                     or CAP_SYS_NICE)"
                )
            })?;
        }
        Ok(())
    }
}

/// Keeps the thread alive that spawned a process: on Linux a process that is to die with its parent dies
/// with that thread.
#[derive(Debug)]
#[must_use]
pub struct Parent(
    #[expect(dead_code, reason = "the thread ends when this is dropped")] Option<mpsc::Sender<()>>,
);

/// The last `count` of the CPUs, those of different cores first, in ascending order.
fn choose<C: PartialEq>(cpus: &[usize], core: impl Fn(usize) -> C, count: usize) -> Vec<usize> {
    let mut cores = Vec::new();
    let mut siblings = Vec::new();
    let mut chosen = Vec::new();
    for &cpu in cpus.iter().rev() {
        let its_core = core(cpu);
        if cores.contains(&its_core) {
            siblings.push(cpu);
        } else {
            cores.push(its_core);
            chosen.push(cpu);
        }
    }
    chosen.extend(siblings);
    chosen.truncate(count.max(1));
    chosen.sort_unstable();
    chosen
}

#[cfg(target_os = "linux")]
mod system {
    use anyhow::{Context, Result};
    use rustix::{
        process::setpriority_process,
        thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    };

    pub fn allowed_cpus() -> Result<Vec<usize>> {
        let set = sched_getaffinity(None).context("cannot tell which CPUs this process may use")?;
        Ok((0..CpuSet::MAX_CPU)
            .filter(|&cpu| set.is_set(cpu))
            .collect())
    }

    /// What tells the CPU's core from others: the list of the CPUs that share it.
    pub fn core(cpu: usize) -> String {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}/topology");
        std::fs::read_to_string(format!("{folder}/thread_siblings_list"))
            .unwrap_or_else(|_| cpu.to_string())
    }

    pub fn pin_this_thread(cpus: &[usize]) -> Result<()> {
        let mut set = CpuSet::new();
        for &cpu in cpus {
            set.set(cpu);
        }
        Ok(sched_setaffinity(None, &set)?)
    }

    /// On Linux, and against POSIX, this is not the nice value of the whole process.
    pub fn nice_this_thread(nice: i32) -> Result<()> {
        Ok(setpriority_process(None, nice)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use anyhow::{Result, bail};

    pub fn allowed_cpus() -> Result<Vec<usize>> {
        bail!("processes can be pinned to CPUs on Linux only; measure without pinning")
    }

    pub fn core(cpu: usize) -> usize {
        cpu
    }

    pub fn pin_this_thread(_cpus: &[usize]) -> Result<()> {
        Ok(())
    }

    /// A nice value is of the whole process here: the harness would change with its child.
    pub fn nice_this_thread(_nice: i32) -> Result<()> {
        bail!("only on Linux by itself; here, start the whole command under `nice`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cpus_of_different_cores_are_taken_first() {
        let alone = |cpu: usize| cpu;
        assert_eq!(choose(&[0, 1, 2, 3], alone, 1), [3]);
        assert_eq!(choose(&[0, 1, 2, 3], alone, 3), [1, 2, 3]);
        let neighbours = |cpu: usize| cpu / 2;
        assert_eq!(choose(&[0, 1, 2, 3], neighbours, 2), [1, 3]);
        assert_eq!(choose(&[0, 1, 2, 3], neighbours, 3), [1, 2, 3]);
        let halves = |cpu: usize| cpu % 2;
        assert_eq!(choose(&[0, 1, 2, 3], halves, 2), [2, 3]);
    }

    #[test]
    fn more_threads_than_cpus_get_them_all() {
        assert_eq!(choose(&[4, 6], |cpu| cpu, 8), [4, 6]);
        assert_eq!(choose(&[4, 6], |cpu| cpu, 0), [6]);
    }

    #[test]
    fn nothing_asked_is_nothing_done() -> Result<()> {
        let caller = std::thread::current().id();
        let affinity = Affinity::default();
        let (worker, _parent) = affinity.spawning(1, || std::thread::current().id())?;
        assert_eq!(worker, caller);
        assert_eq!(affinity.cpus(1)?, None);
        Ok(())
    }

    #[cfg(target_os = "linux")]
    mod on_linux {
        use super::*;
        use std::process::Command;

        fn said_by(affinity: &Affinity, mut command: Command) -> Result<String> {
            let (output, _parent) = affinity.spawning(1, move || command.output())?;
            let output = output?;
            Ok(String::from_utf8(output.stdout)?.trim().to_owned())
        }

        fn allowed_list(status: &str) -> Option<&str> {
            let line = status.lines().find(|l| l.starts_with("Cpus_allowed_list"));
            line?.split_whitespace().nth(1)
        }

        #[test]
        fn a_child_is_pinned_and_the_parent_is_not() -> Result<()> {
            let before = system::allowed_cpus()?;
            let affinity = Affinity {
                pin: true,
                nice: None,
            };
            let mut cat = Command::new("cat");
            cat.arg("/proc/self/status");
            let status = said_by(&affinity, cat)?;
            let last = before.last().map(ToString::to_string);
            assert_eq!(allowed_list(&status), last.as_deref());
            assert_eq!(system::allowed_cpus()?, before);
            Ok(())
        }

        #[test]
        fn a_child_is_nice_and_the_parent_is_not() -> Result<()> {
            let own = || said_by(&Affinity::default(), Command::new("nice"));
            let before = own()?;
            let affinity = Affinity {
                pin: false,
                nice: Some(19),
            };
            assert_eq!(said_by(&affinity, Command::new("nice"))?, "19");
            assert_eq!(own()?, before);
            Ok(())
        }

        #[test]
        fn a_priority_is_given_or_the_refusal_says_what_to_do() {
            let urgent = Affinity {
                pin: false,
                nice: Some(-20),
            };
            match said_by(&urgent, Command::new("nice")) {
                Ok(nice) => assert_eq!(nice, "-20"),
                Err(error) => assert!(format!("{error:#}").contains("ulimit -e"), "{error:#}"),
            }
        }

        #[test]
        fn a_nice_value_that_is_none_is_refused() {
            let wrong = Affinity {
                pin: false,
                nice: Some(20),
            };
            let error = wrong.spawning(1, || ()).expect_err("must fail");
            assert!(error.to_string().contains("from -20 to 19"), "{error:#}");
        }
    }
}
