//! A scripted module and its passes.

use std::{fs::File, io, path::Path, rc::Rc};

use firstpass_probe::{Error, Model, Result, Tensor, Tensors};
use tch::{CModule, Device, IValue, Kind};
use zip::ZipArchive;

use super::{engine::Engine, prepared, settings, shim, torch_error};

/// A scripted module in evaluation mode.
#[derive(Clone)]
pub struct Module {
    module: Rc<CModule>,
    outputs: usize,
    /// Keeps the module in the thread whose settings it runs under.
    _engine: Engine,
}

impl Module {
    pub(super) fn load(engine: &Engine, model: &Model) -> Result<Self> {
        let load = || {
            check(&model.path)?;
            let mut module = if engine.load.prepared {
                prepared::load(&model.path)?
            } else {
                read(&model.path)?
            };
            if engine.load.optimize_for_inference {
                settings::optimize_for_inference(&mut module)?;
            } else if engine.load.freeze && !engine.load.prepared {
                settings::freeze(&mut module)?;
            }
            Ok(module)
        };
        let module = load().map_err(|error: Error| {
            error.context(format!("cannot load {}", model.path.display()))
        })?;
        Ok(Self {
            module: Rc::new(module),
            outputs: model.outputs.len(),
            _engine: *engine,
        })
    }

    /// The nodes of the module's own graph, inlined: of a module that has not run, see the shim.
    pub(super) fn graph_nodes(&self) -> Result<usize> {
        shim::graph_nodes(&self.module)
    }

    /// Allocates the input. Nothing else is to be done: TorchScript specialises to a shape in its
    /// first passes.
    pub(super) fn prepare(&self, shape: &[usize]) -> Result<Runnable> {
        let input = tch::Tensor::f_zeros(dimensions(shape)?, (Kind::Float, Device::Cpu));
        Ok(Runnable {
            module: self.clone(),
            input: input.map_err(torch_error)?,
        })
    }
}

/// A module with the tensor that its passes take their input from.
pub struct Runnable {
    module: Module,
    input: tch::Tensor,
}

impl Runnable {
    pub(super) fn pass(&mut self, input: &Tensor) -> Result<Tensors> {
        // Per pass, because the setting belongs to the thread and not to the module.
        let _inference = tch::no_grad_guard();
        self.fill(input)?;
        let argument = IValue::Tensor(self.input.shallow_clone());
        let module = &self.module.module;
        let output = module.forward_is(&[argument]).map_err(torch_error)?;

        let mut tensors = Vec::new();
        collect(output, &mut tensors)?;
        let declared = self.module.outputs;
        if tensors.len() < declared {
            return Err(Error::engine(format!(
                "the module returned {} tensors, but the model declares {declared} outputs",
                tensors.len(),
            )));
        }
        tensors.truncate(declared);
        tensors.iter().map(copy).collect()
    }

    /// Copies the input: a scripted module may write to its arguments.
    fn fill(&mut self, input: &Tensor) -> Result<()> {
        let shape = dimensions(&input.shape)?;
        // SAFETY: `data` holds as many f32 as `shape` says, which `Tensor::new` checks. The view is
        // only read from, and gone before this function returns.
        let view = unsafe {
            let data = input.data.as_ptr().cast();
            tch::Tensor::f_from_blob(data, &shape, &[], Kind::Float, Device::Cpu)
        };
        self.input
            .f_copy_(&view.map_err(torch_error)?)
            .map_err(torch_error)
    }
}

fn dimensions(shape: &[usize]) -> Result<Vec<i64>> {
    shape.iter().map(|&n| Ok(i64::try_from(n)?)).collect()
}

/// Reads a scripted module, in evaluation mode.
pub(super) fn read(path: &Path) -> Result<CModule> {
    let mut module = CModule::load(path).map_err(torch_error)?;
    module.f_set_eval().map_err(torch_error)?;
    Ok(module)
}

/// Reads every file of the archive against its checksum: libtorch does not, and runs a module with
/// damaged weights without a word.
pub(super) fn check(path: &Path) -> Result<()> {
    let mut archive = ZipArchive::new(File::open(path)?)?;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index)?;
        let name = file.name()?.into_owned();
        io::copy(&mut file, &mut io::sink())
            .map_err(|error| Error::from(error).context(format!("{name} is damaged")))?;
    }
    Ok(())
}

/// The tensors in what a module returned, in order; `None` counts for nothing.
fn collect(value: IValue, tensors: &mut Vec<tch::Tensor>) -> Result<()> {
    match value {
        IValue::None => Ok(()),
        IValue::Tensor(tensor) => {
            tensors.push(tensor);
            Ok(())
        }
        IValue::TensorList(list) => {
            tensors.extend(list);
            Ok(())
        }
        IValue::Tuple(values) | IValue::GenericList(values) => values
            .into_iter()
            .try_for_each(|value| collect(value, tensors)),
        other => Err(Error::unsupported(format!(
            "the module returned something other than tensors, tuples and lists: {other:?}"
        ))),
    }
}

fn copy(tensor: &tch::Tensor) -> Result<Tensor> {
    let shape = tensor
        .size()
        .into_iter()
        .map(|n| Ok(usize::try_from(n)?))
        .collect::<Result<Vec<_>>>()?;
    let mut data = vec![0.0_f32; shape.iter().product()];
    let count = data.len();
    tensor.f_copy_data(&mut data, count).map_err(torch_error)?;
    Tensor::new(&shape, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_tensors_of_any_nesting_in_order() -> Result<()> {
        let number = |n: f32| tch::Tensor::from_slice(&[n]);
        let returned = IValue::Tuple(vec![
            IValue::TensorList(vec![number(1.0), number(2.0)]),
            IValue::None,
            IValue::GenericList(vec![IValue::Tensor(number(3.0))]),
        ]);
        let mut tensors = Vec::new();
        collect(returned, &mut tensors)?;
        let values: Result<Vec<_>> = tensors.iter().map(copy).collect();
        let values: Vec<f32> = values?.into_iter().flat_map(|tensor| tensor.data).collect();
        assert_eq!(values, [1.0, 2.0, 3.0]);
        assert!(collect(IValue::Int(1), &mut Vec::new()).is_err());
        Ok(())
    }
}
