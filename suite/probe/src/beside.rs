//! Further sessions of an engine beside the one that is measured.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use crate::{Backend, Error, Knobs, Model, Result, Session, Tensors};

/// Sessions that run passes until they are told to end.
#[derive(Default)]
pub(crate) struct Beside {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Beside {
    /// Starts so many sessions, each in a thread of its own, and waits until each has run a pass.
    ///
    /// # Errors
    /// As the steps of one of them.
    pub(crate) fn start<B: Backend>(
        model: &Model,
        knobs: &Knobs,
        inputs: &Tensors,
        sessions: usize,
    ) -> Result<Self> {
        let (ready, waits) = mpsc::channel();
        let mut beside = Self::default();
        for _ in 0..sessions {
            let (model, knobs, inputs) = (model.clone(), knobs.clone(), inputs.clone());
            let (ended, ready) = (Arc::clone(&beside.ended), ready.clone());
            beside.threads.push(thread::spawn(move || {
                // Engines keep settings for each thread, so that the whole session lives here.
                let mut session = Session::<B>::open(&model, &knobs)?;
                session.pass(&inputs)?;
                // Nobody waits any more where another session has failed.
                let _ = ready.send(());
                while !ended.load(Ordering::Relaxed) {
                    session.pass(&inputs)?;
                }
                Ok(())
            }));
        }
        drop(ready);
        // One that fails drops its sender without a word.
        if waits.iter().take(sessions).count() < sessions {
            beside.end()?;
            return Err(Error::engine("a session beside the measured one has ended"));
        }
        Ok(beside)
    }

    /// Whether a session has ended, so that what is measured now would be measured with fewer beside it.
    pub(crate) fn has_lost_one(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends all sessions.
    ///
    /// # Errors
    /// As the first of them that failed.
    pub(crate) fn end(mut self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        let ended = self.threads.drain(..).map(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| {
                    Err(Error::engine("a session beside the measured one panicked"))
                })
                .map_err(|error| error.context("a session beside the measured one"))
        });
        ended.collect()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // They are not waited for: the process ends.
        self.ended.store(true, Ordering::Relaxed);
    }
}
