//! Calls of the shim, the C++ in `shim/`.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    marker::PhantomData,
};

use firstpass_probe::{Activation, Error, Quantization, Result, Tensor};
use tch::CModule;

use super::message;

type PairSink = unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char);
type CallSink = unsafe extern "C" fn(*mut c_void, *const c_char, usize, u64, u64);
type ActivationSink = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    f64,
    i64,
    *const i64,
    usize,
    *const f32,
    usize,
);
type ErrorSink = unsafe extern "C" fn(*mut c_void, *const c_char);

// SAFETY: the signatures are those of the shim. Its functions catch every C++ exception, and they
// call the sinks only before they return, with strings that end in NUL and with as many numbers as
// they say.
unsafe extern "C" {
    fn firstpass_torch_describe(context: *mut c_void, sink: PairSink, failed: ErrorSink) -> bool;
    fn firstpass_torch_settings(context: *mut c_void, sink: PairSink, failed: ErrorSink) -> bool;
    fn firstpass_torch_set_profiled_runs(c: *mut c_void, failed: ErrorSink, runs: usize) -> bool;
    fn firstpass_torch_set_executor(c: *mut c_void, failed: ErrorSink, profiling: bool) -> bool;
    fn firstpass_torch_set_fusion_strategy(
        context: *mut c_void,
        failed: ErrorSink,
        static_depth: usize,
        dynamic_depth: usize,
    ) -> bool;
    fn firstpass_torch_set_quantized_engine(
        context: *mut c_void,
        failed: ErrorSink,
        name: *const c_char,
    ) -> bool;
    fn firstpass_torch_set_flush_denormal(c: *mut c_void, failed: ErrorSink, flush: bool) -> bool;
    fn firstpass_torch_set_inter_threads(c: *mut c_void, failed: ErrorSink, n: c_int) -> bool;
    fn firstpass_torch_freeze(c: *mut c_void, failed: ErrorSink, module: *mut c_void) -> bool;
    fn firstpass_torch_optimize_for_inference(
        context: *mut c_void,
        failed: ErrorSink,
        module: *mut c_void,
    ) -> bool;
    fn firstpass_torch_graph_nodes(
        context: *mut c_void,
        failed: ErrorSink,
        module: *const c_void,
        count: *mut usize,
    ) -> bool;
    fn firstpass_torch_arguments(
        context: *mut c_void,
        sink: PairSink,
        failed: ErrorSink,
        module: *const c_void,
    ) -> bool;
    fn firstpass_torch_fields(
        context: *mut c_void,
        sink: PairSink,
        failed: ErrorSink,
        module: *const c_void,
    ) -> bool;
    fn firstpass_torch_executed_nodes(c: *mut c_void, failed: ErrorSink, n: *mut usize) -> bool;
    fn firstpass_torch_trace_begin(context: *mut c_void, failed: ErrorSink) -> bool;
    fn firstpass_torch_trace_end(context: *mut c_void, sink: CallSink, failed: ErrorSink) -> bool;
    fn firstpass_torch_activations_begin(context: *mut c_void, failed: ErrorSink) -> bool;
    fn firstpass_torch_activations_end(
        context: *mut c_void,
        sink: ActivationSink,
        failed: ErrorSink,
    ) -> bool;
}

/// One operator that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// How many operators that had begun before it had not ended.
    pub depth: usize,
    /// With the operators that it called.
    pub wall_ns: u64,
    /// With those of the operators that it called.
    pub minor_faults: u64,
}

/// What the sinks fill.
#[derive(Default)]
struct Answer {
    pairs: Vec<(String, String)>,
    calls: Vec<Call>,
    activations: Vec<Result<Activation>>,
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
            Err(Error::engine(message(&self.error)))
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
    answer.pairs.push((key, value));
}

unsafe extern "C" fn on_call(
    context: *mut c_void,
    name: *const c_char,
    depth: usize,
    wall_ns: u64,
    minor_faults: u64,
) {
    // SAFETY: as in `on_pair`.
    let (answer, name) = unsafe { (answer(context), owned(name)) };
    answer.calls.push(Call {
        name,
        depth,
        wall_ns,
        minor_faults,
    });
}

unsafe extern "C" fn on_activation(
    context: *mut c_void,
    name: *const c_char,
    scale: f64,
    zero_point: i64,
    shape: *const i64,
    rank: usize,
    values: *const f32,
    count: usize,
) {
    // SAFETY: as in `on_pair`.
    let (answer, kind) = unsafe { (answer(context), owned(name)) };
    // SAFETY: the shim hands over as many lengths and as many values as it says, and keeps both until
    // this function returns.
    let (shape, values) = unsafe { (slice(shape, rank), slice(values, count)) };
    let activation = || {
        let shape: Vec<usize> = shape
            .iter()
            .map(|&length| Ok(usize::try_from(length)?))
            .collect::<Result<_>>()?;
        Ok(Activation {
            quantization: Quantization {
                kind,
                scale,
                zero_point,
            },
            values: Tensor::new(&shape, values.to_vec())?,
        })
    };
    answer.activations.push(activation());
}

/// # Safety
/// `data` must lead to `length` values that stay as they are; with none it may lead anywhere.
unsafe fn slice<'a, T>(data: *const T, length: usize) -> &'a [T] {
    if length == 0 {
        // C++ has no need of an address then, and Rust has.
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(data, length) }
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
    Ok(answer.check(done)?.pairs.into_iter().collect())
}

/// The settings that hold in the calling thread, by libtorch's own getters.
pub fn settings() -> Result<BTreeMap<String, String>> {
    let mut answer = Answer::default();
    // SAFETY: as in `describe`.
    let done = unsafe { firstpass_torch_settings(answer.as_context(), on_pair, on_error) };
    Ok(answer.check(done)?.pairs.into_iter().collect())
}

/// Calls a function of the shim that answers nothing but whether it succeeded.
fn call(function: impl FnOnce(*mut c_void, ErrorSink) -> bool) -> Result<()> {
    let mut answer = Answer::default();
    let done = function(answer.as_context(), on_error);
    answer.check(done).map(drop)
}

pub fn set_profiled_runs(runs: usize) -> Result<()> {
    // SAFETY: as in `describe`.
    call(|context, failed| unsafe { firstpass_torch_set_profiled_runs(context, failed, runs) })
}

pub fn set_executor(profiling: bool) -> Result<()> {
    // SAFETY: as in `describe`.
    call(|context, failed| unsafe { firstpass_torch_set_executor(context, failed, profiling) })
}

pub fn set_fusion_strategy(static_depth: usize, dynamic_depth: usize) -> Result<()> {
    // SAFETY: as in `describe`.
    call(|context, failed| unsafe {
        firstpass_torch_set_fusion_strategy(context, failed, static_depth, dynamic_depth)
    })
}

pub fn set_quantized_engine(name: &str) -> Result<()> {
    let name = CString::new(name).map_err(|error| Error::unsupported(error.to_string()))?;
    // SAFETY: as in `describe`; the name outlives the call.
    call(|context, failed| unsafe {
        firstpass_torch_set_quantized_engine(context, failed, name.as_ptr())
    })
}

pub fn set_flush_denormal(flush: bool) -> Result<()> {
    // SAFETY: as in `describe`.
    call(|context, failed| unsafe { firstpass_torch_set_flush_denormal(context, failed, flush) })
}

pub fn set_inter_threads(threads: i32) -> Result<()> {
    // SAFETY: as in `describe`.
    call(|context, failed| unsafe { firstpass_torch_set_inter_threads(context, failed, threads) })
}

pub fn freeze(module: &mut CModule) -> Result<()> {
    let module = pointer(module);
    // SAFETY: as in `describe`; the module is borrowed by nothing else.
    call(|context, failed| unsafe { firstpass_torch_freeze(context, failed, module) })
}

pub fn optimize_for_inference(module: &mut CModule) -> Result<()> {
    let module = pointer(module);
    // SAFETY: as in `freeze`.
    call(|context, failed| unsafe {
        firstpass_torch_optimize_for_inference(context, failed, module)
    })
}

/// The nodes of the module's own graph, inlined.
pub fn graph_nodes(module: &CModule) -> Result<usize> {
    let (module, mut count) = (pointer(module), 0);
    // SAFETY: as in `describe`; the shim only reads the module, and writes the count.
    call(|context, failed| unsafe {
        firstpass_torch_graph_nodes(context, failed, module, &raw mut count)
    })?;
    Ok(count)
}

/// The arguments of `forward`, in their order, each with the type that TorchScript gives it.
pub fn arguments(module: &CModule) -> Result<Vec<(String, String)>> {
    let module = pointer(module);
    let mut answer = Answer::default();
    // SAFETY: as in `graph_nodes`; the strings are copied before the call returns.
    let done = unsafe { firstpass_torch_arguments(answer.as_context(), on_pair, on_error, module) };
    Ok(answer.check(done)?.pairs)
}

/// The names of the fields of named tuples that `forward` returns, by their places.
pub fn fields(module: &CModule) -> Result<BTreeMap<String, String>> {
    let module = pointer(module);
    let mut answer = Answer::default();
    // SAFETY: as in `arguments`.
    let done = unsafe { firstpass_torch_fields(answer.as_context(), on_pair, on_error, module) };
    Ok(answer.check(done)?.pairs.into_iter().collect())
}

/// The nodes of the graph that this thread ran last, as its executor had made it.
pub fn executed_nodes() -> Result<usize> {
    let mut count = 0;
    // SAFETY: as in `graph_nodes`.
    call(|context, failed| unsafe {
        firstpass_torch_executed_nodes(context, failed, &raw mut count)
    })?;
    Ok(count)
}

const _: () = assert!(
    size_of::<CModule>() == size_of::<*mut c_void>(),
    "tch's CModule is no longer a pointer alone"
);

/// The `torch::jit::Module` that tch owns.
fn pointer(module: &CModule) -> *mut c_void {
    // SAFETY: the one member of tch's `CModule`, whose version is pinned, is this pointer: nothing
    // else has place in it, as is asserted above. It is read and not moved.
    unsafe { std::ptr::from_ref(module).cast::<*mut c_void>().read() }
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

/// A recording of the quantized tensors that this thread computes, from [`Recorder::begin`] on.
pub struct Recorder(PhantomData<*const ()>);

impl Recorder {
    pub fn begin() -> Result<Self> {
        // SAFETY: as in `describe`.
        call(|context, failed| unsafe { firstpass_torch_activations_begin(context, failed) })?;
        Ok(Self(PhantomData))
    }

    /// The tensors in the order in which they were computed.
    pub fn end(self) -> Result<Vec<Activation>> {
        let (answer, done) = stop_recording();
        answer.check(done)?.activations.into_iter().collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // As for a trace.
        stop_recording();
    }
}

fn stop_recording() -> (Answer, bool) {
    let mut answer = Answer::default();
    // SAFETY: as in `describe`.
    let done =
        unsafe { firstpass_torch_activations_end(answer.as_context(), on_activation, on_error) };
    (answer, done)
}
