//! The settings of libtorch in a program of one's own, with tch; `firstpass_libtorch::settings` has
//! those that tch does not bind.
//!
//! Takes a TorchScript model and settings, such as `freeze=on`, and runs one pass of 480x640.

#[cfg(not(feature = "native"))]
fn main() {
    eprintln!("this example was built without libtorch, which needs the feature `native`");
}

#[cfg(feature = "native")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use std::{env, path::Path};

    use firstpass_libtorch::settings;
    use tch::{CModule, Device, IValue, Kind, QEngine, Tensor};

    let mut arguments = env::args().skip(1);
    let path = arguments.next();
    let path = path.ok_or("name a TorchScript model")?;
    let path = Path::new(&path);
    let chosen: Vec<String> = arguments.collect();
    let is = |setting: &str| chosen.iter().any(|s| s == setting);
    let number = |name: &str| {
        let found = chosen.iter().find_map(|s| s.strip_prefix(name));
        found.map(str::parse).transpose()
    };

    // Before a model is loaded, which packs its weights for this engine.
    QEngine::FBGEMM.set()?;
    if is("quantized-engine=qnnpack") {
        // knob quantized-engine=qnnpack
        tch::QEngine::QNNPACK.set()?;
        // end
    }
    if is("quantized-engine=x86") {
        // knob quantized-engine=x86
        settings::set_quantized_engine("x86")?;
        // end
    }
    if is("quantized-engine=onednn") {
        // knob quantized-engine=onednn
        settings::set_quantized_engine("onednn")?;
        // end
    }

    // In the thread that runs the passes.
    if let Some(n) = number("threads=")? {
        // knob threads=N
        tch::set_num_threads(n);
        // end
    }
    if is("graph-executor-optimize=off") {
        // knob graph-executor-optimize=off
        tch::jit::set_graph_executor_optimize(false);
        // end
    }

    if is("denormals=zero") {
        // knob denormals=zero
        settings::set_flush_denormal(true)?;
        // end
    }

    // Once in a process, before the first pass.
    if let Some(n) = number("inter-threads=")? {
        // knob inter-threads=N
        tch::set_num_interop_threads(n);
        // end
    }
    if is("profiling-mode=off") {
        // knob profiling-mode=off
        tch::jit::set_profiling_mode(false);
        // end
    }
    if is("profiled-runs=2") {
        // knob profiled-runs=2
        settings::set_profiled_runs(2)?;
        // end
    }
    if is("profiled-runs=0") {
        // knob profiled-runs=0
        settings::set_profiled_runs(0)?;
        // end
    }
    if is("executor=legacy") {
        // knob executor=legacy
        settings::set_executor(settings::Executor::Legacy)?;
        // end
    }
    if is("fusion-strategy=none") {
        // knob fusion-strategy=none
        settings::set_fusion_strategy(0, 0)?;
        // end
    }
    if is("fusion-strategy=static") {
        // knob fusion-strategy=static
        settings::set_fusion_strategy(2, 0)?;
        // end
    }
    if is("fusion-strategy=dynamic") {
        // knob fusion-strategy=dynamic
        settings::set_fusion_strategy(0, 10)?;
        // end
    }
    if is("tensor-expression-fuser=off") {
        // knob tensor-expression-fuser=off
        tch::jit::set_tensor_expr_fuser_enabled(false);
        // end
    }

    let mut module = CModule::load(path)?;
    module.f_set_eval()?;
    if is("freeze=on") {
        // knob freeze=on
        settings::freeze(&mut module)?;
        // end
    }
    if is("optimize-for-inference=on") {
        // knob optimize-for-inference=on
        settings::optimize_for_inference(&mut module)?;
        // end
    }
    if is("prepared-file=frozen") {
        // knob prepared-file=frozen
        let frozen = path.with_extension("frozen.pt");
        if !frozen.exists() {
            settings::freeze(&mut module)?;
            module.save(&frozen)?;
        }
        let module = CModule::load(&frozen)?;
        // end
        drop(module);
    }

    let _inference = tch::no_grad_guard();
    let image = Tensor::f_zeros([1, 3, 480, 640], (Kind::Float, Device::Cpu))?;
    println!("{:?}", module.forward_is(&[IValue::Tensor(image)])?);
    Ok(())
}
