//! libtorch through tch in a plain loop, without the trait, its messages and its counters:
//! `firstpass overhead` compares this with the probe.

use std::process::ExitCode;

use firstpass_conformance::direct;

fn main() -> ExitCode {
    direct(run)
}

#[cfg(not(feature = "native"))]
fn run(
    _: &firstpass_probe::Trial,
    _: &firstpass_probe::Tensor,
) -> Result<firstpass_conformance::Direct, Box<dyn std::error::Error>> {
    Err("this example was built without libtorch; `cargo firstpass overhead` builds with it".into())
}

#[cfg(feature = "native")]
use native::run;

#[cfg(feature = "native")]
mod native {
    use std::{error, time::Instant};

    use firstpass_conformance::Direct;
    use firstpass_libtorch::Libtorch;
    use firstpass_probe::{Backend, Error, Tensor, Trial};
    use tch::{CModule, IValue, QEngine};

    pub fn run(trial: &Trial, input: &Tensor) -> Result<Direct, Box<dyn error::Error>> {
        QEngine::FBGEMM.set()?;
        tch::set_num_threads(i32::try_from(trial.knobs.threads())?);
        tch::set_num_interop_threads(1);
        let _inference = tch::no_grad_guard();
        let mut module = CModule::load(&trial.model.path)?;
        module.f_set_eval()?;
        let mut shape = Vec::new();
        for &n in input.shape() {
            shape.push(i64::try_from(n)?);
        }

        let mut outputs = Vec::new();
        let mut passes_ns = Vec::new();
        for _ in 0..trial.passes.at_most {
            let began = Instant::now();
            let tensor = tch::Tensor::f_from_slice(input.f32s()?)?.f_view(&shape[..])?;
            let found = module.forward_is(&[IValue::Tensor(tensor)])?;
            let values = read(found)?;
            passes_ns.push(u64::try_from(began.elapsed().as_nanos())?);
            outputs = values;
        }
        Ok(Direct {
            // tch cannot be asked for the version: the backend asks libtorch itself.
            engine: Libtorch::describe(&Libtorch::start(&trial.knobs)?)?.version,
            passes_ns,
            outputs,
        })
    }

    /// The values of the tensors in a tuple, which is what detectors return.
    fn read(output: IValue) -> Result<Vec<Vec<f32>>, Box<dyn error::Error>> {
        let IValue::Tuple(members) = output else {
            return Err(Error::unsupported("the module returned no tuple").into());
        };
        let mut values = Vec::new();
        for member in members {
            if let IValue::Tensor(tensor) = member {
                values.push(Vec::try_from(tensor.f_flatten(0, -1)?)?);
            }
        }
        Ok(values)
    }
}
