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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::{EngineInfo, Format, Knob, TensorSpec};

    /// An engine that counts its passes and fails at one of them where the model is called so.
    struct Counting;

    static PASSES: AtomicUsize = AtomicUsize::new(0);

    impl Backend for Counting {
        const NAME: &'static str = "counting";
        const FORMATS: &'static [Format] = &[Format::ONNX];

        type Engine = ();
        type Loaded = bool;
        type Prepared = (bool, usize);

        fn knobs() -> Vec<Knob> {
            vec![Knob::threads("none")]
        }

        fn start(_: &Knobs) -> Result<()> {
            Ok(())
        }

        fn describe((): &()) -> Result<EngineInfo> {
            Ok(EngineInfo::new("1", "none"))
        }

        fn load((): &(), model: &Model) -> Result<bool> {
            Ok(model.name == "fails at pass 5")
        }

        fn prepare(fails: &bool, _: &[Vec<usize>]) -> Result<(bool, usize)> {
            Ok((*fails, 0))
        }

        fn pass((fails, passes): &mut (bool, usize), inputs: &[crate::Tensor]) -> Result<Tensors> {
            *passes += 1;
            PASSES.fetch_add(1, Ordering::Relaxed);
            if *fails && *passes == 5 {
                return Err(Error::engine("it had enough"));
            }
            Ok(inputs.to_vec())
        }
    }

    fn started(name: &str, sessions: usize) -> Result<Beside> {
        let spec = TensorSpec::f32("x", [1]);
        let inputs = vec![crate::Tensor::zeros(&spec)?];
        let model = Model {
            name: name.into(),
            format: Format::ONNX,
            path: "m.onnx".into(),
            inputs: vec![spec],
            outputs: Vec::new(),
        };
        Beside::start::<Counting>(&model, &Knobs::default(), &inputs, sessions)
    }

    #[test]
    fn sessions_run_until_they_are_told_to_end() -> Result<()> {
        let before = PASSES.load(Ordering::Relaxed);
        let beside = started("m", 2)?;
        assert!(PASSES.load(Ordering::Relaxed) >= before + 2, "each has run");
        assert!(!beside.has_lost_one());
        beside.end()?;
        assert!(!started("m", 0)?.has_lost_one());
        Ok(())
    }

    #[test]
    fn one_that_fails_says_why() -> Result<()> {
        let beside = started("fails at pass 5", 1)?;
        while !beside.has_lost_one() {
            thread::yield_now();
        }
        let error = beside.end().expect_err("it failed").to_string();
        assert!(
            error.contains("beside") && error.contains("it had enough"),
            "{error}"
        );
        Ok(())
    }
}
