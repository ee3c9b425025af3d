//! The threads of an engine, and how they share the work of a pass.
//!
//! Threads that have nothing to do go to sleep, and to wake one takes as long as a short operator. So those of an engine
//! wait for parts of operators as long as a pass runs: one that asks for help writes down where the work is, and all take
//! part after part. What asks rayon instead is helped in the same way.

use std::{
    any::Any,
    cell::Cell,
    hint,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder, Yield, prelude::*};

/// How long a thread waits for parts before it goes to sleep.
const PATIENCE: Duration = Duration::from_millis(1);
/// And how long before others may have its core meanwhile.
const BRIEF: Duration = Duration::from_micros(50);

thread_local! {
    /// Those who help with the pass that this thread runs.
    static TEAM: Cell<Option<Arc<Team>>> = const { Cell::new(None) };
}

/// A pool of rayon's.
pub struct Pool {
    threads: ThreadPool,
    /// Passes that run now.
    running: Arc<AtomicUsize>,
}

impl Pool {
    /// # Errors
    /// Fails where the threads cannot be started.
    pub fn new(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let threads = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("candle-{number}"))
            .build()?;
        Ok(Self {
            threads,
            running: Arc::default(),
        })
    }

    /// Calls `work` on every thread.
    pub fn on_each(&self, work: impl Fn() + Sync) {
        self.threads.broadcast(|_| work());
    }

    /// Runs a pass on one of the threads, which the others help.
    pub fn run<R: Send>(&self, pass: impl FnOnce() -> R + Send) -> R {
        self.threads.install(|| {
            let others = self.threads.current_num_threads() - 1;
            let is_alone = self.running.fetch_add(1, SeqCst) == 0;
            let team = Arc::new(Team {
                others,
                running: Arc::clone(&self.running),
                is_done: AtomicBool::new(false),
                awake: AtomicUsize::new(0),
                number: AtomicUsize::new(0),
                job: AtomicPtr::new(ptr::null_mut()),
                helping: AtomicUsize::new(0),
            });
            let _pass = Pass(&team);
            // Of several passes at the same time none may keep threads from the others.
            if is_alone && others > 0 {
                team.wake();
                TEAM.set(Some(Arc::clone(&team)));
            }
            pass()
        })
    }
}

/// A pass, until it ends or panics.
struct Pass<'a>(&'a Team);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        TEAM.set(None);
        self.0.is_done.store(true, SeqCst);
        self.0.running.fetch_sub(1, SeqCst);
    }
}

/// The threads that help with a pass.
struct Team {
    /// Besides the one that runs the pass.
    others: usize,
    /// Passes of the pool that run now.
    running: Arc<AtomicUsize>,
    is_done: AtomicBool,
    /// Threads that wait for work, or are about to.
    awake: AtomicUsize,
    /// How many jobs there were.
    number: AtomicUsize,
    /// The present one, or null.
    job: AtomicPtr<Job<'static>>,
    /// Threads that may use it.
    helping: AtomicUsize,
}

/// Parts to be computed, each once.
struct Job<'a> {
    work: &'a (dyn Fn(usize) + Sync),
    count: usize,
    next: AtomicUsize,
    /// What a thread that helps has panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Job<'_> {
    fn compute(&self) {
        loop {
            let part = self.next.fetch_add(1, SeqCst);
            if part >= self.count {
                return;
            }
            (self.work)(part);
        }
    }
}

impl Team {
    /// Has the others wait for work, on the pool that calls.
    fn wake(self: &Arc<Self>) {
        self.awake.store(self.others, SeqCst);
        let (team, caller) = (Arc::clone(self), rayon::current_thread_index());
        rayon::spawn_broadcast(move |thread| {
            // The one that runs the pass may come here while it waits for rayon.
            if Some(thread.index()) != caller {
                team.wait_for_work();
                team.awake.fetch_sub(1, SeqCst);
            }
        });
    }

    /// Helps until the pass ends, another begins, or there was nothing to do for long.
    fn wait_for_work(&self) {
        let mut seen = 0;
        let mut idle = Instant::now();
        while !self.is_done.load(SeqCst) && self.running.load(SeqCst) == 1 {
            let number = self.number.load(SeqCst);
            if number != seen {
                seen = number;
                self.help();
                idle = Instant::now();
            } else if rayon::yield_now() == Some(Yield::Executed) {
                idle = Instant::now();
            } else if idle.elapsed() < BRIEF {
                hint::spin_loop();
            } else if idle.elapsed() < PATIENCE {
                thread::yield_now();
            } else {
                return;
            }
        }
    }

    /// Computes parts of the present job, if it is still there.
    fn help(&self) {
        self.helping.fetch_add(1, SeqCst);
        let job = self.job.load(SeqCst);
        // SAFETY: it is null or the job of a thread that is in `share`. That one takes it away and then waits until
        // nobody helps before it goes on; and whoever comes later finds it taken away.
        if let Some(job) = unsafe { job.as_ref() }
            && let Err(panic) = catch_unwind(AssertUnwindSafe(|| job.compute()))
        {
            *job.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
        }
        self.helping.fetch_sub(1, SeqCst);
    }

    /// Computes all parts, with whoever is there to help.
    fn share(self: &Arc<Self>, count: usize, work: &(dyn Fn(usize) + Sync)) {
        if self.awake.load(SeqCst) == 0 {
            self.wake();
        }
        let job = Job {
            work,
            count,
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
        };
        let shared = Shared(self);
        self.job
            .store(ptr::from_ref(&job).cast_mut().cast(), SeqCst);
        self.number.fetch_add(1, SeqCst);
        job.compute();
        drop(shared);
        let panic = job.panic.into_inner();
        if let Some(panic) = panic.unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

/// A job that others may use, until all parts are computed or one has panicked.
struct Shared<'a>(&'a Team);

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        self.0.job.store(ptr::null_mut(), SeqCst);
        let since = Instant::now();
        while self.0.helping.load(SeqCst) > 0 {
            match since.elapsed() < BRIEF {
                true => hint::spin_loop(),
                // Perhaps there are fewer cores than threads.
                false => thread::yield_now(),
            }
        }
    }
}

/// Calls `work` with every number below `count`, once each: on the threads of the engine that runs the pass, or else of the
/// pool that calls, or else on the calling thread.
pub fn share(count: usize, work: &(dyn Fn(usize) + Sync)) {
    if count < 2 {
        return (0..count).for_each(work);
    }
    // Taken, so that a part which is divided once more asks rayon.
    match TEAM.take() {
        Some(team) => {
            match team.running.load(SeqCst) {
                1 => team.share(count, work),
                // Another pass has begun: nobody waits for work any more.
                _ => (0..count).into_par_iter().for_each(work),
            }
            TEAM.set(Some(team));
        }
        None if rayon::current_thread_index().is_some() => {
            (0..count).into_par_iter().for_each(work)
        }
        None => (0..count).for_each(work),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Barrier};

    use super::*;

    fn sum(pool: &Pool) -> usize {
        let sum = AtomicUsize::new(0);
        pool.run(|| {
            for _ in 0..5 {
                share(200, &|part| {
                    // A part may be divided once more.
                    share(2, &|half| {
                        sum.fetch_add(part * half, SeqCst);
                    });
                });
            }
        });
        sum.into_inner()
    }

    const SUM: usize = 5 * 199 * 200 / 2;

    #[test]
    fn parts_of_a_pass_are_computed_on_all_threads() {
        let pool = Pool::new(3).expect("threads start");
        for by_rayon in [false, true] {
            let (all, threads) = (Barrier::new(3), Mutex::new(HashSet::new()));
            let part = |_| {
                all.wait();
                threads
                    .lock()
                    .expect("no panic")
                    .insert(thread::current().id());
            };
            pool.run(|| match by_rayon {
                false => share(3, &part),
                true => (0..3).into_par_iter().with_max_len(1).for_each(part),
            });
            assert_eq!(threads.into_inner().expect("no panic").len(), 3);
        }
    }

    #[test]
    fn passes_at_the_same_time_end() {
        let pool = Pool::new(2).expect("threads start");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        assert_eq!(sum(&pool), SUM);
                    }
                });
            }
        });
        // All have gone to sleep.
        thread::sleep(2 * PATIENCE);
        assert_eq!(sum(&pool), SUM);
    }

    #[test]
    fn threads_that_went_to_sleep_in_a_pass_are_woken() {
        let pool = Pool::new(2).expect("threads start");
        let both = Barrier::new(2);
        pool.run(|| {
            thread::sleep(5 * PATIENCE);
            share(2, &|_| {
                both.wait();
            });
        });
    }

    #[test]
    fn a_panic_in_any_part_is_that_of_the_pass() {
        let pool = Pool::new(2).expect("threads start");
        for number in 0..2 {
            let both = Barrier::new(2);
            let run = || {
                pool.run(|| {
                    share(2, &|part| {
                        both.wait();
                        assert_ne!(part, number, "a part panics");
                    });
                });
            };
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
            assert_eq!(sum(&pool), SUM);
        }
    }
}
