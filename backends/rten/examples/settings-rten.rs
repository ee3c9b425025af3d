//! What each knob of this backend is in a program that uses rten itself. The lines between
//! `knob` and `end` are those to copy.
//!
//! usage: settings-rten MODEL.onnx [KNOB=VALUE …]

use std::{error::Error, sync::Arc};

use rten::{Dimension, ModelOptions, RunOptions, ThreadPool, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which model file?")?;
    let mut model = ModelOptions::with_all_ops();
    let mut run = RunOptions::default();
    for setting in arguments {
        match setting.split_once('=').unwrap_or_default() {
            ("threads", n) => {
                let n = n.parse()?;
                // knob threads=N
                run.thread_pool = Some(Arc::new(ThreadPool::with_num_threads(n)));
                // end
            }
            ("graph-optimization", "off") => {
                // knob graph-optimization=off
                model.enable_optimization(false);
                // end
            }
            ("prepacking", "on") => {
                // knob prepacking=on
                model.prepack_weights(true);
                // end
            }
            _ => return Err(format!("{setting:?} is not a setting other than a default").into()),
        }
    }
    let model = model.load_file(path)?;
    let shape = model.input_shape(0).ok_or("its input has no shape")?;
    let sizes = shape.iter().map(|dimension| match dimension {
        Dimension::Fixed(size) => *size,
        Dimension::Symbolic(_) => 1,
    });
    let shape: Vec<usize> = sizes.collect();
    let zeros = Value::from_shape(&shape, vec![0.0_f32; shape.iter().product()])?;
    let inputs = vec![(model.input_ids()[0], zeros.into())];
    for output in model.run(inputs, model.output_ids(), Some(run))? {
        println!("{:?}", output.dtype());
    }
    Ok(())
}
