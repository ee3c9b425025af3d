//! What OpenVINO's performance counters tell: which operators ran, by which kernel, and what each of them took.
//! The crate `openvino` has no way to them, so that the model is run by the C API itself.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_void},
    ptr, slice,
};

use firstpass_probe::{
    Arithmetic, EngineResult, Error, Model, OperatorTime, PassTimes, ProfiledOperator, Profiler,
    Result, Tensor, Tensors,
};
use openvino::{ElementType, InferenceError, RwPropertyKey};
use openvino_sys::{self as sys, ov_profiling_info_t, ov_profiling_info_t_Status, ov_status_e};

use crate::{Engine, model, values};

/// Something of the library, which gives it back in the end.
struct Owned<T> {
    pointer: *mut T,
    free: unsafe fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `make` stores what it has made where its argument points to, or fails; `free` takes it back.
    unsafe fn new(
        free: unsafe fn(*mut T),
        make: impl FnOnce(*mut *mut T) -> ov_status_e,
    ) -> Result<Self> {
        let mut pointer = ptr::null_mut();
        check(make(&mut pointer))?;
        Ok(Self { pointer, free })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: as `new` demands; nothing else frees it.
        unsafe { (self.free)(self.pointer) }
    }
}

/// The status of a call, with what the library says of it.
fn check(status: ov_status_e) -> Result<()> {
    let message = (status != ov_status_e::OK).then(openvino::get_last_error_message);
    InferenceError::convert(status, message.flatten()).engine()
}

fn text(name: &str) -> Result<CString> {
    CString::new(name).map_err(|_| Error::input(format!("{name:?} holds a zero")))
}

/// A request of a model that was compiled with performance counters.
pub(crate) struct Profiled {
    request: Owned<sys::ov_infer_request_t>,
    /// The tensors of the request.
    inputs: Vec<(String, Owned<sys::ov_tensor_t>)>,
    outputs: Vec<CString>,
    /// Behind the request, and in this order: each is used by what stands before it.
    _compiled: Owned<sys::ov_compiled_model_t>,
    _model: Owned<sys::ov_model_t>,
    _core: Owned<sys::ov_core_t>,
    /// By pass, each operator that ran, with its kernel, and the mean of its time in all passes so far in µs.
    passes: Vec<Vec<(ProfiledOperator, u64)>>,
}

impl Profiled {
    pub(crate) fn load(engine: &Engine, of: &Model) -> Result<Self> {
        let cpu = c"CPU".as_ptr();
        // SAFETY: the engine has started, so that the library is loaded. Every call gets what calls before it
        // have made, which lives as long as the result, and constants or strings that live through the call.
        unsafe {
            let core = Owned::new(sys::ov_core_free, |at| sys::ov_core_create(at))?;
            let counting = (RwPropertyKey::EnableProfiling, "YES".to_owned());
            for (key, value) in engine.settings.properties().chain([counting]) {
                let (key, value) = (text(key.as_ref())?, text(&value)?);
                check(sys::ov_core_set_property(
                    core.pointer,
                    cpu,
                    key.as_ptr(),
                    value.as_ptr(),
                ))?;
            }
            let path = text(model::path(of)?)?;
            let read = Owned::new(sys::ov_model_free, |at| {
                sys::ov_core_read_model(core.pointer, path.as_ptr(), ptr::null(), at)
            })?;
            let names = of.inputs.iter().map(|spec| text(&spec.name));
            let names = names.collect::<Result<Vec<_>>>()?;
            let shapes = model::sizes(&of.input_shapes())?;
            reshape(&read, &names, &shapes)?;
            let compiled = Owned::new(sys::ov_compiled_model_free, |at| {
                sys::ov_core_compile_model(core.pointer, read.pointer, cpu, 0, at)
            })?;
            let request = Owned::new(sys::ov_infer_request_free, |at| {
                sys::ov_compiled_model_create_infer_request(compiled.pointer, at)
            })?;
            let mut inputs = Vec::new();
            for (spec, name) in of.inputs.iter().zip(&names) {
                // Not a tensor of our own: the C API makes no shape of a single number without axes.
                let tensor = Owned::new(sys::ov_tensor_free, |at| {
                    sys::ov_infer_request_get_tensor(request.pointer, name.as_ptr(), at)
                })?;
                inputs.push((spec.name.clone(), tensor));
            }
            let outputs = of.outputs.iter().map(|spec| text(&spec.name));
            Ok(Self {
                request,
                inputs,
                outputs: outputs.collect::<Result<_>>()?,
                _compiled: compiled,
                _model: read,
                _core: core,
                passes: Vec::new(),
            })
        }
    }

    /// Which operators a pass runs.
    pub(crate) fn inspect(mut self, inputs: &[Tensor]) -> Result<Arithmetic> {
        self.run(inputs)?;
        let mut counted = Arithmetic::new(
            "OpenVINO's performance counters of one pass, each operator with its kernel",
        );
        for (operator, _) in self.counters()? {
            match multiplies_in(&operator.kind) {
                Some(Kind::Integer) => counted.integer += layers_in(&operator.kind),
                Some(Kind::Float) => counted.float += layers_in(&operator.kind),
                None => {}
            }
            *counted.operators.entry(operator.kind).or_default() += 1;
        }
        if counted.operators.is_empty() {
            return Err(Error::engine("OpenVINO's counters name no operator"));
        }
        Ok(counted)
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        for ((name, tensor), input) in self.inputs.iter_mut().zip(inputs) {
            // SAFETY: the tensor lives, is borrowed alone, and holds as many bytes as it says, or none.
            unsafe {
                values::check_type(name, input, element_type(tensor)?)?;
                let (data, bytes) = memory(tensor)?;
                let to: &mut [u8] = match bytes {
                    0 => &mut [],
                    _ => slice::from_raw_parts_mut(data, bytes),
                };
                values::write(name, input, to)?;
            }
        }
        // SAFETY: the request lives as long as this.
        check(unsafe { sys::ov_infer_request_infer(self.request.pointer) })?;
        self.outputs.iter().map(|name| self.output(name)).collect()
    }

    fn output(&self, name: &CStr) -> Result<Tensor> {
        // SAFETY: the request lives, and so does the tensor until the end of the block; its data are as many
        // bytes as it says, or none.
        unsafe {
            let tensor = Owned::new(sys::ov_tensor_free, |at| {
                sys::ov_infer_request_get_tensor(self.request.pointer, name.as_ptr(), at)
            })?;
            let of = element_type(&tensor)?;
            let mut shape = sys::ov_shape_t {
                rank: 0,
                dims: ptr::null_mut(),
            };
            // As in `values::sizes`: a shape without sizes cannot be told.
            let mut sizes = Vec::new();
            let status = sys::ov_tensor_get_shape(tensor.pointer, &mut shape);
            if status != ov_status_e::INVALID_C_PARAM {
                check(status)?;
                sizes = many(shape.dims, usize::try_from(shape.rank)?).to_vec();
                check(sys::ov_shape_free(&mut shape))?;
            }
            let (data, bytes) = memory(&tensor)?;
            values::read(of, &sizes, many(data, bytes))
        }
    }

    /// Each operator that ran, with its kernel, and the mean of its time in all passes so far, in µs.
    fn counters(&self) -> Result<Vec<(ProfiledOperator, u64)>> {
        let mut list = sys::ov_profiling_info_list_t {
            profiling_infos: ptr::null_mut(),
            size: 0,
        };
        // SAFETY: the request lives; the list is as long as it says, holds strings, and is freed once, after all
        // has been copied.
        unsafe {
            check(sys::ov_infer_request_get_profiling_info(
                self.request.pointer,
                &mut list,
            ))?;
            let infos = many(list.profiling_infos, list.size);
            let ran = infos
                .iter()
                .filter(|info| info.status == ov_profiling_info_t_Status::EXECUTED);
            let found = ran.map(|info| operator(info)).collect();
            sys::ov_profiling_info_list_free(&mut list);
            Ok(found)
        }
    }
}

/// # Safety
/// `tensor` is one of the library.
unsafe fn element_type(tensor: &Owned<sys::ov_tensor_t>) -> Result<ElementType> {
    let mut of = sys::ov_element_type_e::DYNAMIC;
    // SAFETY: as the caller says.
    check(unsafe { sys::ov_tensor_get_element_type(tensor.pointer, &mut of) })?;
    Ok(of.into())
}

/// Where the values of a tensor lie, and how many bytes they are.
///
/// # Safety
/// `tensor` is one of the library.
unsafe fn memory(tensor: &Owned<sys::ov_tensor_t>) -> Result<(*mut u8, usize)> {
    let (mut bytes, mut data) = (0, ptr::null_mut::<c_void>());
    // SAFETY: as the caller says.
    unsafe {
        check(sys::ov_tensor_get_byte_size(tensor.pointer, &mut bytes))?;
        check(sys::ov_tensor_data(tensor.pointer, &mut data))?;
    }
    Ok((data.cast(), bytes))
}

/// # Safety
/// Where there are any, `from` points to as many, which live as long as the result is used.
unsafe fn many<'a, T>(from: *const T, count: usize) -> &'a [T] {
    if count == 0 || from.is_null() {
        return &[];
    }
    // SAFETY: as the caller says.
    unsafe { slice::from_raw_parts(from, count) }
}

/// # Safety
/// The strings of `info` are there.
unsafe fn operator(info: &ov_profiling_info_t) -> (ProfiledOperator, u64) {
    // SAFETY: as the caller says.
    let said = |at: *const c_char| unsafe { CStr::from_ptr(at) }.to_string_lossy();
    let operator = ProfiledOperator {
        layer: said(info.node_name).into_owned(),
        kind: format!("{} {}", said(info.node_type), said(info.exec_type)),
    };
    (operator, u64::try_from(info.real_time).unwrap_or_default())
}

/// # Safety
/// `read` is a model of the library.
unsafe fn reshape(
    read: &Owned<sys::ov_model_t>,
    names: &[CString],
    shapes: &[Vec<i64>],
) -> Result<()> {
    // SAFETY: names, sizes and shapes live through the calls; each shape is freed once.
    unsafe {
        if !sys::ov_model_is_dynamic(read.pointer) {
            return Ok(());
        }
        let (mut partial, mut names_of) = (Vec::new(), Vec::new());
        for (name, sizes) in names.iter().zip(shapes) {
            // As in `Loaded::prepare`, which has been through the same file.
            if sizes.is_empty() {
                continue;
            }
            let mut shape = sys::ov_partial_shape_t {
                rank: sys::ov_rank_t { min: 0, max: 0 },
                dims: ptr::null_mut(),
            };
            let rank = i64::try_from(sizes.len())?;
            check(sys::ov_partial_shape_create_static(
                rank,
                sizes.as_ptr(),
                &mut shape,
            ))?;
            partial.push(shape);
            names_of.push(name.as_ptr());
        }
        let status = match partial.len() {
            0 => ov_status_e::OK,
            count => {
                sys::ov_model_reshape(read.pointer, names_of.as_mut_ptr(), partial.as_ptr(), count)
            }
        };
        for shape in &mut partial {
            sys::ov_partial_shape_free(shape);
        }
        check(status)
    }
}

enum Kind {
    Integer,
    Float,
}

/// How an operator multiplies, by its name and that of its kernel, which ends with the type of what it works on
/// (`Convolution brgconv_avx512_1x1_I8`).
fn multiplies_in(kind: &str) -> Option<Kind> {
    let (name, kernel) = kind.split_once(' ')?;
    if !["Convolution", "Deconvolution", "MatMul", "FullyConnected"]
        .iter()
        .any(|product| name.contains(product))
    {
        return None;
    }
    let kind = kernel.rsplit('_').next().unwrap_or(kernel);
    let integer = ["I8", "U8", "i8", "u8"].contains(&kind);
    Some(if integer { Kind::Integer } else { Kind::Float })
}

/// How many layers of the file an operator that multiplies computes. Without AVX-512 a depthwise convolution may be
/// part of the pointwise one before it: it is no operator of its own then, and the kernel of both has both names.
fn layers_in(kind: &str) -> usize {
    if kind.contains("_dw_1x1") { 2 } else { 1 }
}

impl Profiler for Profiled {
    fn source(&self) -> &str {
        "OpenVINO's performance counters (PERF_COUNT), in steps of 1 µs"
    }

    fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        self.run(inputs)
    }

    fn end(&mut self) -> Result<()> {
        self.passes.push(self.counters()?);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Vec<PassTimes>> {
        Ok(of_each_pass(self.passes))
    }
}

/// The counters hold the mean over all passes so far, in whole µs: what a pass took is the difference of two sums,
/// off by at most as many µs as there were passes.
fn of_each_pass(passes: Vec<Vec<(ProfiledOperator, u64)>>) -> Vec<PassTimes> {
    let mut sums: BTreeMap<ProfiledOperator, u64> = BTreeMap::new();
    let passes = (1..).zip(passes).map(|(count, means)| {
        let operators = means.into_iter().map(|(operator, mean)| {
            let sum = count * mean;
            let before = sums.insert(operator.clone(), sum).unwrap_or_default();
            OperatorTime {
                operator,
                self_ns: sum.saturating_sub(before) * 1000,
                minor_faults: None,
            }
        });
        PassTimes::new(operators.collect(), BTreeMap::new())
    });
    passes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_passes_are_differences_of_sums() {
        let operator = || ProfiledOperator {
            layer: "a".into(),
            kind: "Convolution jit_I8".into(),
        };
        let means = [100, 60, 50].map(|mean| vec![(operator(), mean)]);
        let passes = of_each_pass(means.into());
        let times: Vec<u64> = passes.iter().map(|p| p.operators[0].self_ns).collect();
        assert_eq!(times, [100_000, 20_000, 30_000]);
    }

    #[test]
    fn products_are_known_by_name_and_kernel() {
        for (kind, is_integer) in [
            ("Convolution brgconv_avx512_1x1_I8", Some(true)),
            ("GroupConvolution brgconv_avx512_dw_bf16", Some(false)),
            ("FullyConnected brgemm_avx512_f32", Some(false)),
            ("MatMul gemm_any_I8", Some(true)),
            ("Subgraph jit_avx512_I8", None),
            ("Convolution jit_avx2_dw_1x1_f32", Some(false)),
        ] {
            let found = multiplies_in(kind).map(|kind| matches!(kind, Kind::Integer));
            assert_eq!(found, is_integer, "{kind}");
        }
    }

    #[test]
    fn a_fused_depthwise_convolution_counts() {
        assert_eq!(layers_in("Convolution jit_avx2_dw_1x1_f32"), 2);
        assert_eq!(layers_in("GroupConvolution brgconv_avx2_dw_f32"), 1);
        assert_eq!(layers_in("Convolution brgconv_avx2_1x1_f32"), 1);
    }
}
