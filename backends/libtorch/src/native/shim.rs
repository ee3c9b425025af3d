//! Calls of `shim/shim.cpp`.

use std::{
    collections::BTreeMap,
    ffi::{CStr, c_char, c_void},
    marker::PhantomData,
};

use firstpass_probe::{Error, Result};

type PairSink = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char);
type CallSink = unsafe extern "C" fn(*mut c_void, *const c_char, usize);
type ErrorSink = unsafe extern "C" fn(*mut c_void, *const c_char);

// SAFETY: the signatures are those of shim.cpp. Its functions catch every C++ exception, and they
// call the sinks only before they return, with strings that end in NUL.
unsafe extern "C" {
    fn firstpass_torch_describe(context: *mut c_void, sink: PairSink, failed: ErrorSink) -> bool;
    fn firstpass_torch_trace_begin(context: *mut c_void, failed: ErrorSink) -> bool;
    fn firstpass_torch_trace_end(context: *mut c_void, sink: CallSink, failed: ErrorSink) -> bool;
}

/// One operator that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// How many operators that had begun before it had not ended.
    pub depth: usize,
}

/// What the sinks fill.
#[derive(Default)]
struct Answer {
    pairs: BTreeMap<String, String>,
    calls: Vec<Call>,
    error: String,
}

impl Answer {
    fn as_context(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    fn check(self, succeeded: bool) -> Result<Self> {
        if succeeded {
            Ok(self)
        } else {
            Err(Error::engine(self.error))
        }
    }
}

/// # Safety
/// `context` must come from [`Answer::as_context`], its answer being borrowed by nothing else.
unsafe fn answer<'a>(context: *mut c_void) -> &'a mut Answer {
    // SAFETY: as the caller promises.
    unsafe { &mut *context.cast() }
}

/// # Safety
/// `text` must end in NUL.
unsafe fn owned(text: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

unsafe extern "C" fn on_pair(context: *mut c_void, key: *const c_char, value: *const c_char) {
    // SAFETY: the shim hands on the context that it was given, and strings that end in NUL.
    let (answer, key, value) = unsafe { (answer(context), owned(key), owned(value)) };
    answer.pairs.insert(key, value);
}

unsafe extern "C" fn on_call(context: *mut c_void, name: *const c_char, depth: usize) {
    // SAFETY: as in `on_pair`.
    let (answer, name) = unsafe { (answer(context), owned(name)) };
    answer.calls.push(Call { name, depth });
}

unsafe extern "C" fn on_error(context: *mut c_void, message: *const c_char) {
    // SAFETY: as in `on_pair`.
    let (answer, message) = unsafe { (answer(context), owned(message)) };
    answer.error = message;
}

/// What the loaded libtorch says of itself.
pub fn describe() -> Result<BTreeMap<String, String>> {
    let mut answer = Answer::default();
    // SAFETY: the context is that of an answer that lives until the call returns.
    let done = unsafe { firstpass_torch_describe(answer.as_context(), on_pair, on_error) };
    Ok(answer.check(done)?.pairs)
}

/// A recording of the operators that this thread runs, from [`Trace::begin`] on.
pub struct Trace(PhantomData<*const ()>);

impl Trace {
    pub fn begin() -> Result<Self> {
        let mut answer = Answer::default();
        // SAFETY: as in `describe`.
        let done = unsafe { firstpass_torch_trace_begin(answer.as_context(), on_error) };
        answer.check(done)?;
        Ok(Self(PhantomData))
    }

    /// The operators in the order in which they began.
    pub fn end(self) -> Result<Vec<Call>> {
        let (answer, done) = stop();
        Ok(answer.check(done)?.calls)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        // Where `end` was called there is nothing left to stop.
        stop();
    }
}

fn stop() -> (Answer, bool) {
    let mut answer = Answer::default();
    // SAFETY: as in `describe`.
    let done = unsafe { firstpass_torch_trace_end(answer.as_context(), on_call, on_error) };
    (answer, done)
}
