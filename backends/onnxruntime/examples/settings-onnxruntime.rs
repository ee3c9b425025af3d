//! Every setting of this backend as a program of your own makes it, with ort alone.
//!
//! `settings-onnxruntime MODEL [KNOB=VALUE …]` loads the model so and runs it once on zeros. The
//! library is the one that `ORT_DYLIB_PATH` names.

use std::{env, error::Error, path::PathBuf, ptr};

use ort::{
    AsPointer, ep,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let mut model = PathBuf::from(arguments.next().ok_or("which model file?")?);
    let environment = ort::init().with_telemetry(false).build()?;
    let mut builder = Session::builder(&environment)?.with_intra_threads(1)?;
    // A prepared file comes last, since it is saved under the other settings.
    let (last, first): (Vec<_>, Vec<_>) = arguments.partition(|s| s.starts_with("prepared-file"));
    for setting in first.into_iter().chain(last) {
        match setting.split_once('=').unwrap_or_default() {
            ("threads", n) => {
                let n = n.parse()?;
                // knob threads=N
                builder = builder.with_intra_threads(n)?;
                // end
            }
            ("graph-optimization", "none") => {
                // knob graph-optimization=none
                builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
                // end
            }
            ("graph-optimization", "basic") => {
                // knob graph-optimization=basic
                builder = builder.with_optimization_level(GraphOptimizationLevel::Level1)?;
                // end
            }
            ("graph-optimization", "extended") => {
                // knob graph-optimization=extended
                builder = builder.with_optimization_level(GraphOptimizationLevel::Level2)?;
                // end
            }
            ("prepared-file", "onnx") => {
                // knob prepared-file=onnx
                let prepared = model.with_extension("optimized.onnx");
                if !prepared.exists() {
                    let saving = builder.clone().with_optimized_model_path(&prepared);
                    saving?.commit_from_file(&model)?;
                }
                builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
                model = prepared;
                // end
            }
            ("prepared-file", "ort") => {
                // knob prepared-file=ort
                let prepared = model.with_extension("ort");
                if !prepared.exists() {
                    let saving = builder.clone().with_optimized_model_path(&prepared);
                    saving?.commit_from_file(&model)?;
                }
                builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
                model = prepared;
                // end
            }
            ("prepared-file", "ort-mapped") => {
                // knob prepared-file=ort-mapped
                let prepared = model.with_extension("ort");
                if !prepared.exists() {
                    let saving = builder.clone().with_optimized_model_path(&prepared);
                    saving?.commit_from_file(&model)?;
                }
                builder = builder
                    .with_optimization_level(GraphOptimizationLevel::Disable)?
                    .with_config_entry("session.use_memory_mapped_ort_model", "1")?
                    .with_config_entry("session.use_ort_model_bytes_for_initializers", "1")?;
                model = prepared;
                // end
            }
            ("prepared-file", "prepacked") => {
                // knob prepared-file=prepacked
                let prepared = model.with_extension("prepacked.onnx");
                let weights = "session.optimized_model_external_initializers_file_name";
                let least = "session.optimized_model_external_initializers_min_size_in_bytes";
                let packed = "session.save_external_prepacked_constant_initializers";
                if !prepared.exists() {
                    builder
                        .clone()
                        .with_optimized_model_path(&prepared)?
                        .with_config_entry(weights, "prepacked.bin")?
                        .with_config_entry(least, "1024")?
                        .with_config_entry(packed, "1")?
                        .commit_from_file(&model)?;
                }
                builder = builder.with_optimization_level(GraphOptimizationLevel::Disable)?;
                model = prepared;
                // end
            }
            ("prepacking", "off") => {
                // knob prepacking=off
                builder = builder.with_prepacking(false)?;
                // end
            }
            ("memory-pattern", "off") => {
                // knob memory-pattern=off
                builder = builder.with_memory_pattern(false)?;
                // end
            }
            ("arena", "off") => {
                // knob arena=off
                let cpu = ep::CPU::default().with_arena_allocator(false).build();
                builder = builder.with_execution_providers([cpu])?;
                // end
            }
            ("arena", "as-requested") => {
                // knob arena=as-requested
                let memory = MemoryInfo::new(
                    AllocationDevice::CPU,
                    0,
                    AllocatorType::Arena,
                    MemoryType::Default,
                )?;
                let keys = [c"arena_extend_strategy".as_ptr()];
                let values = [1]; // kSameAsRequested
                let mut arena = ptr::null_mut();
                // SAFETY: one key with one value, and the arena's settings are copied from `arena`.
                unsafe {
                    let api = ort::api();
                    let made =
                        (api.CreateArenaCfgV2)(keys.as_ptr(), values.as_ptr(), 1, &mut arena);
                    ort::Error::result_from_status(made)?;
                    let environment = environment.ptr().cast_mut();
                    let done = (api.CreateAndRegisterAllocator)(environment, memory.ptr(), arena);
                    (api.ReleaseArenaCfg)(arena);
                    ort::Error::result_from_status(done)?;
                }
                builder = builder.with_env_allocators()?;
                // end
            }
            ("arena", "one-chunk") => {
                // knob arena=one-chunk
                let memory = MemoryInfo::new(
                    AllocationDevice::CPU,
                    0,
                    AllocatorType::Arena,
                    MemoryType::Default,
                )?;
                let keys = [c"initial_chunk_size_bytes".as_ptr()];
                let values = [64 << 20];
                let mut arena = ptr::null_mut();
                // SAFETY: one key with one value, and the arena's settings are copied from `arena`.
                unsafe {
                    let api = ort::api();
                    let made =
                        (api.CreateArenaCfgV2)(keys.as_ptr(), values.as_ptr(), 1, &mut arena);
                    ort::Error::result_from_status(made)?;
                    let environment = environment.ptr().cast_mut();
                    let done = (api.CreateAndRegisterAllocator)(environment, memory.ptr(), arena);
                    (api.ReleaseArenaCfg)(arena);
                    ort::Error::result_from_status(done)?;
                }
                builder = builder.with_env_allocators()?;
                // end
            }
            ("initializers", "malloc") => {
                // knob initializers=malloc
                builder = builder.with_device_allocated_initializers()?;
                // end
            }
            ("execution-mode", "parallel") => {
                // knob execution-mode=parallel
                builder = builder
                    .with_parallel_execution(true)?
                    .with_intra_threads(1)?
                    .with_inter_threads(2)?;
                // end
            }
            ("spinning", "off") => {
                // knob spinning=off
                builder = builder
                    .with_intra_op_spinning(false)?
                    .with_inter_op_spinning(false)?;
                // end
            }
            ("exact-int8", "on") => {
                // knob exact-int8=on
                builder = builder.with_precise_qmm()?;
                // end
            }
            ("disabled-optimizers", list) => {
                // knob disabled-optimizers=LIST
                builder = builder.with_disabled_optimizers(list.replace(',', ";"))?;
                // end
            }
            ("denormals", "zero") => {
                // For the thread that makes the process's first session, and for its pools.
                // knob denormals=zero
                builder = builder.with_config_entry("session.set_denormal_as_zero", "1")?;
                // end
            }
            _ => return Err(format!("{setting:?} is not a setting other than a default").into()),
        }
    }
    let mut session = builder.commit_from_file(&model)?;
    let input = session.inputs().first().ok_or("the model has no input")?;
    let shape = input
        .dtype()
        .tensor_shape()
        .ok_or("its input is no tensor")?;
    let zeros = vec![0.0_f32; shape.num_elements()];
    let view = TensorRef::from_array_view((shape.clone(), &zeros[..]))?;
    let outputs = session.run(ort::inputs![view])?;
    for (name, value) in &outputs {
        let (shape, values) = value.try_extract_tensor::<f32>()?;
        println!("{name}: {shape:?}, first value {:?}", values.first());
    }
    Ok(())
}
