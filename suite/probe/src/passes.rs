//! What is said of passes, and when: so that it costs the passes next to nothing.

use crate::{
    Message, Pass, Result, Span,
    channel::Channel,
    clock::{ShortWork, observe},
};

/// The first passes on an input are the question: each is observed by itself and said at once, whatever it takes.
const FIRST: usize = 10;

/// Beside a longer pass what is said of it is nothing, in ns.
const SHORT_NS: u64 = 10_000_000;

/// For so long what is said of short passes is held back, in ns. A crash loses no more than that.
const HELD_BACK_NS: u64 = 20_000_000;

/// A pass that is not said yet; a digest in words costs as much as the digest.
struct Held {
    pass: Pass,
    digest: u64,
}

/// Observes passes and says what was observed.
pub(crate) struct Passes<'a> {
    channel: &'a mut Channel,
    /// On this input.
    count: usize,
    /// Set while passes are short.
    short: Option<ShortWork>,
    /// Whether passes may be held back at all.
    may_hold: bool,
    held: Vec<Held>,
    held_since_ns: u64,
}

impl<'a> Passes<'a> {
    /// `may_hold` says whether nothing else happens between two passes.
    pub(crate) fn new(channel: &'a mut Channel, may_hold: bool) -> Self {
        Self {
            channel,
            count: 0,
            short: None,
            may_hold,
            held: Vec::new(),
            held_since_ns: 0,
        }
    }

    /// Says what is held back, and another message, after which passes are first passes again.
    ///
    /// # Errors
    /// Fails where standard output cannot be written.
    pub(crate) fn new_input(&mut self, message: Option<&Message>) -> Result<()> {
        self.say_held()?;
        self.count = 0;
        self.short = None;
        message.map_or(Ok(()), |message| self.channel.send(message))
    }

    /// Runs a pass.
    ///
    /// # Errors
    /// As `work`, and where the kernel does not tell its counters.
    pub(crate) fn observe<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<(T, Span)> {
        match &mut self.short {
            Some(short) => short.observe(work),
            None => observe(work),
        }
    }

    /// Says what was observed of a pass, now or soon.
    ///
    /// # Errors
    /// Fails where standard output cannot be written.
    pub(crate) fn say(&mut self, pass: Pass, digest: u64) -> Result<()> {
        let ended_ns = pass.span.end_ns();
        let is_short = pass.span.wall_ns < SHORT_NS;
        self.count += 1;
        if self.held.is_empty() {
            self.held_since_ns = ended_ns;
        }
        self.held.push(Held { pass, digest });
        let holds = self.may_hold && is_short && self.count >= FIRST;
        if holds && self.short.is_some() && ended_ns - self.held_since_ns < HELD_BACK_NS {
            return Ok(());
        }
        self.say_held()?;
        self.short = holds.then(ShortWork::begin).transpose()?;
        Ok(())
    }

    /// Says whatever is held back.
    ///
    /// # Errors
    /// Fails where standard output cannot be written.
    pub(crate) fn say_held(&mut self) -> Result<()> {
        let messages = self.held.drain(..).map(|Held { mut pass, digest }| {
            pass.digest = format!("{digest:016x}");
            Message::Pass(pass)
        });
        self.channel.send_all(messages)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Says passes of this length; returns how many were said after each, and all that was said.
    fn said(may_hold: bool, wall_ns: &[u64]) -> Result<(Vec<usize>, Vec<Span>)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("said");
        let mut channel = Channel::to(fs::File::create(&path)?);
        let mut passes = Passes::new(&mut channel, may_hold);
        passes.new_input(None)?;
        let lines = || -> Result<usize> { Ok(fs::read_to_string(&path)?.lines().count()) };
        let mut after = Vec::new();
        let mut start_ns = 1_000_000_000;
        for (number, &wall_ns) in wall_ns.iter().enumerate() {
            let span = Span {
                start_ns,
                wall_ns,
                ..Span::default()
            };
            start_ns += wall_ns;
            let pass = Pass {
                input: 0,
                digest: String::new(),
                memory_kib: None,
                span,
            };
            passes.say(pass, number as u64)?;
            after.push(lines()?);
        }
        passes.say_held()?;
        let text = fs::read_to_string(&path)?;
        let mut spans = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let Message::Pass(pass) = serde_json::from_str(line)? else {
                panic!("{line} is no pass");
            };
            assert_eq!(pass.digest, format!("{number:016x}"));
            spans.push(pass.span);
        }
        Ok((after, spans))
    }

    #[test]
    fn first_passes_and_long_ones_are_said_at_once() -> Result<()> {
        let at_once = |count: usize| (1..=count).collect::<Vec<_>>();
        let (after, _) = said(true, &[100_000; FIRST])?;
        assert_eq!(after, at_once(FIRST));
        let (after, _) = said(true, &[SHORT_NS; 30])?;
        assert_eq!(after, at_once(30));
        // Something else happens between the passes.
        let (after, _) = said(false, &[100_000; 30])?;
        assert_eq!(after, at_once(30));
        Ok(())
    }

    #[test]
    fn short_passes_are_held_back_for_a_while_and_none_is_lost() -> Result<()> {
        let mut wall_ns = vec![1_000_000; 60];
        let (after, spans) = said(true, &wall_ns)?;
        assert_eq!(after[FIRST - 1], FIRST);
        assert_eq!(after[FIRST], FIRST, "the next one is held back");
        // Twenty passes of 1 ms take as long as anything is held back.
        assert_eq!(after[FIRST + 20], FIRST + 21);
        assert_eq!(spans.len(), 60);
        assert!(spans.is_sorted_by_key(|span| span.start_ns));

        // A long one is said, and with it all before it.
        wall_ns[15] = SHORT_NS;
        let (after, spans) = said(true, &wall_ns)?;
        assert_eq!(after[14], FIRST);
        assert_eq!(after[15], 16);
        assert_eq!(spans.len(), 60);
        Ok(())
    }

    #[test]
    fn counters_of_short_work_belong_to_it() -> Result<()> {
        let mut short = ShortWork::begin()?;
        let (pages, written) = short.observe(|| {
            // Fresh pages, each written.
            let mut pages = vec![0_u8; 1 << 24];
            pages.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            Ok(pages)
        })?;
        let (_, read) =
            short.observe(|| Ok(pages.iter().map(|&byte| u64::from(byte)).sum::<u64>()))?;
        assert!(
            written.minor_faults > read.minor_faults,
            "{written:?} {read:?}"
        );
        assert!(written.cpu_ns > 0, "{written:?}");
        assert_eq!(written.reference_ns, read.reference_ns);
        assert!(read.start_ns >= written.end_ns());
        Ok(())
    }
}
