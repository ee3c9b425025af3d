//! What each knob of this backend is in a program that uses tract itself. The lines between
//! `knob` and `end` are those to copy.
//!
//! usage: settings-tract MODEL.onnx [KNOB=VALUE]

use std::{path::Path, sync::Arc};

use prost::Message;
use tract_linalg::multithread::{Executor, set_default_executor};
use tract_onnx::{
    prelude::*,
    tract_core::{knobs::KnobScope, plan::SimplePlan},
};

fn main() -> TractResult<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or("model.onnx".into());
    let setting = arguments.next().unwrap_or_default();
    let plan = plan(Path::new(&path), &setting)?;
    let input = Tensor::zero::<f32>(&[1, 3, 480, 640])?;
    for output in plan.spawn()?.run(tvec!(input.into()))? {
        println!("{output:?}");
    }
    Ok(())
}

fn plan(path: &Path, setting: &str) -> TractResult<Arc<TypedRunnableModel>> {
    let input = f32::fact([1, 3, 480, 640]);
    let typed = |path: &Path| {
        let model = tract_onnx::onnx().model_for_path(path)?;
        model.with_input_fact(0, input.clone().into())?.into_typed()
    };
    match setting {
        "optimization=decluttered" => {
            let model = typed(path)?;
            // knob optimization=decluttered
            let plan = model.into_decluttered()?.into_runnable()?;
            // end
            Ok(plan)
        }
        "optimization=typed" => {
            let model = tract_onnx::onnx().model_for_path(path)?;
            let model = model.with_input_fact(0, input.into())?;
            // knob optimization=typed
            let plan = model.into_typed()?.into_runnable()?;
            // end
            Ok(plan)
        }
        "prepared-file=onnx" => {
            // knob prepared-file=onnx
            // Once, ahead:
            let mut proto = tract_onnx::onnx().proto_model_for_path(path)?;
            firstpass_tract::dequantize_weights(&mut proto)?;
            let prepared = path.with_extension("dequantized.onnx");
            std::fs::write(&prepared, proto.encode_to_vec())?;
            // From then on:
            let model = tract_onnx::onnx().model_for_path(&prepared)?;
            // end
            let model = model.with_input_fact(0, input.into())?;
            model.into_optimized()?.into_runnable()
        }
        "prepared-file=nnef" => {
            let model = typed(path)?;
            // knob prepared-file=nnef
            // Once, ahead; this registry knows the quantization that NNEF lacks:
            let nnef = firstpass_tract::nnef();
            let prepared = path.with_extension("nnef.tar");
            nnef.write_to_tar(
                &model.into_decluttered()?,
                std::fs::File::create(&prepared)?,
            )?;
            // From then on:
            let model = nnef.model_for_path(&prepared)?;
            // end
            model.into_optimized()?.into_runnable()
        }
        "direct-convolution=off" => {
            let model = typed(path)?;
            // knob direct-convolution=off
            let scope = KnobScope::new([("TRACT_DISABLE_DIRECT_SPATIAL", "true")])?;
            let model = scope.enter(|| model.into_optimized())?;
            // end
            model.into_runnable()
        }
        "im2col=lazy" => {
            let model = typed(path)?;
            // knob im2col=lazy
            let scope = KnobScope::new([
                ("TRACT_LAZY_IM2COL_MIN_KERNEL", "0"),
                ("TRACT_LAZY_IM2COL_MAX_EAGER_BYTES", "0"),
            ])?;
            let model = scope.enter(|| model.into_optimized())?;
            // end
            model.into_runnable()
        }
        "im2col=eager" => {
            let model = typed(path)?;
            // knob im2col=eager
            let scope = KnobScope::new([
                ("TRACT_LAZY_IM2COL_MIN_KERNEL", "1000000000"),
                ("TRACT_LAZY_IM2COL_MAX_EAGER_BYTES", "1000000000000"),
            ])?;
            let model = scope.enter(|| model.into_optimized())?;
            // end
            model.into_runnable()
        }
        "order=simple" => {
            let model = typed(path)?.into_optimized()?;
            // knob order=simple
            let options = RunOptions {
                skip_order_opt_ram: true,
                ..RunOptions::default()
            };
            let plan = SimplePlan::new_with_options(model, &options)?;
            // end
            Ok(plan)
        }
        _ => {
            if let Some(n) = setting.strip_prefix("threads=") {
                let n: usize = n.parse()?;
                // knob threads=N
                set_default_executor(Executor::multithread(n));
                // end
            }
            typed(path)?.into_optimized()?.into_runnable()
        }
    }
}
