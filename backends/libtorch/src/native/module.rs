//! A scripted module and its passes.

use std::{fs::File, io, path::Path, rc::Rc};

use firstpass_probe::{Dtype, EngineResult, Error, Model, Result, Tensor, TensorSpec, Tensors};
use tch::{CModule, Device, IValue, Kind};
use zip::ZipArchive;

use super::{
    arguments::{Argument, arguments},
    engine::Engine,
    outputs::{self, Fields},
    prepared, settings, shim, torch_error,
};

/// A scripted module in evaluation mode.
#[derive(Clone)]
pub struct Module {
    module: Rc<CModule>,
    inputs: Vec<TensorSpec>,
    /// For each argument of `forward` that is given, which input it is and how it is given.
    arguments: Vec<(usize, Argument)>,
    /// The names of the outputs that are wanted; none for all that the module returns.
    outputs: Vec<String>,
    fields: Fields,
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
            // Asked before the module is frozen here, which makes another of it.
            let arguments = arguments(&shim::arguments(&module)?, &model.inputs)?;
            let fields = shim::fields(&module)?;
            if engine.load.optimize_for_inference {
                settings::optimize_for_inference(&mut module)?;
            } else if engine.load.freeze && !engine.load.prepared {
                settings::freeze(&mut module)?;
            }
            Ok((module, arguments, fields))
        };
        let (module, arguments, fields) = load().map_err(|error: Error| {
            error.context(format!("cannot load {}", model.path.display()))
        })?;
        Ok(Self {
            module: Rc::new(module),
            inputs: model.inputs.clone(),
            arguments,
            outputs: model.outputs.iter().map(|spec| spec.name.clone()).collect(),
            fields,
            _engine: *engine,
        })
    }

    /// The nodes of the module's own graph, inlined: of a module that has not run, see the shim.
    pub(super) fn graph_nodes(&self) -> Result<usize> {
        shim::graph_nodes(&self.module)
    }

    /// Allocates the inputs. Nothing else is to be done: TorchScript specialises to shapes in its
    /// first passes.
    pub(super) fn prepare(&self, shapes: &[Vec<usize>]) -> Result<Runnable> {
        if shapes.len() != self.inputs.len() {
            let (found, expected) = (shapes.len(), self.inputs.len());
            return Err(Error::input(format!(
                "{found} shapes for a model of {expected} inputs"
            )));
        }
        let inputs = shapes.iter().zip(&self.inputs);
        let inputs = inputs.map(|(shape, spec)| {
            let kind = kind(spec.dtype)?;
            tch::Tensor::f_zeros(dimensions(shape)?, (kind, Device::Cpu)).map_err(torch_error)
        });
        Ok(Runnable {
            module: self.clone(),
            inputs: inputs.collect::<Result<_>>()?,
            names: Vec::new(),
        })
    }
}

/// A module with the tensors that its passes take their inputs from.
pub struct Runnable {
    module: Module,
    inputs: Vec<tch::Tensor>,
    /// Of the outputs of the last pass.
    names: Vec<String>,
}

impl Runnable {
    /// The names of the outputs of the last pass.
    pub(super) fn output_names(&self) -> Vec<String> {
        self.names.clone()
    }

    pub(super) fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        if inputs.len() != self.inputs.len() {
            let (found, expected) = (inputs.len(), self.inputs.len());
            return Err(Error::input(format!(
                "{found} inputs for a model of {expected}"
            )));
        }
        // Per pass, because the setting belongs to the thread and not to the module.
        let _inference = tch::no_grad_guard();
        let all = self.inputs.iter_mut().zip(inputs);
        for (own, given) in all {
            fill(own, given)?;
        }
        let arguments = self.module.arguments.iter();
        let arguments = arguments.map(|&(input, argument)| match argument {
            Argument::Tensor => Ok(IValue::Tensor(self.inputs[input].shallow_clone())),
            number => number.given_as(&inputs[input]),
        });
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let module = &self.module.module;
        let output = module.forward_is(&arguments).map_err(torch_error)?;
        let tensors = select(
            outputs::collect(output, &self.module.fields)?,
            &self.module.outputs,
        )?;
        let (names, tensors): (_, Vec<_>) = tensors.into_iter().unzip();
        self.names = names;
        tensors.iter().map(outputs::copy).collect()
    }
}

/// Those outputs that are wanted: by their names, where the module returns all of these, else in order.
fn select(
    mut returned: Vec<(String, tch::Tensor)>,
    wanted: &[String],
) -> Result<Vec<(String, tch::Tensor)>> {
    if wanted.is_empty() {
        return Ok(returned);
    }
    let place = |name: &String| returned.iter().position(|(own, _)| own == name);
    if let Some(places) = wanted.iter().map(place).collect::<Option<Vec<_>>>() {
        let named = places.into_iter().map(|place| {
            let (name, tensor) = &returned[place];
            (name.clone(), tensor.shallow_clone())
        });
        return Ok(named.collect());
    }
    if returned.len() < wanted.len() {
        return Err(Error::engine(format!(
            "the module returned {} tensors, but the model declares {} outputs",
            returned.len(),
            wanted.len(),
        )));
    }
    returned.truncate(wanted.len());
    Ok(returned)
}

/// Copies an input: a scripted module may write to its arguments.
fn fill(own: &mut tch::Tensor, given: &Tensor) -> Result<()> {
    let shape = dimensions(given.shape())?;
    let kind = kind(given.dtype())?;
    // libtorch would repeat the values of a smaller tensor, and convert those of another type.
    let (own_shape, own_kind) = (own.size(), own.f_kind().map_err(torch_error)?);
    if (&own_shape, own_kind) != (&shape, kind) {
        return Err(Error::input(format!(
            "an input of {kind:?} and shape {shape:?} for a model prepared for {own_kind:?} and \
             {own_shape:?}"
        )));
    }
    // SAFETY: a `Tensor` always holds as many values as its shape says, one after the other, and they
    // are of this kind. The view is only read from, and gone before this function returns.
    let view = unsafe {
        let data = given.data().bytes().as_ptr();
        tch::Tensor::f_from_blob(data, &shape, &[], kind, Device::Cpu)
    };
    own.f_copy_(&view.map_err(torch_error)?)
        .map_err(torch_error)
}

/// The type of libtorch's tensors of these values, where tch knows it.
pub(super) fn kind(dtype: Dtype) -> Result<Kind> {
    Ok(match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::Bool => Kind::Bool,
        Dtype::U64 | Dtype::U32 | Dtype::U16 => {
            return Err(Error::unsupported(format!(
                "tch, the binding of libtorch, has no tensors of {}",
                dtype.key()
            )));
        }
    })
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
    let mut archive = ZipArchive::new(File::open(path)?).engine()?;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).engine()?;
        let name = file.name().engine()?.into_owned();
        io::copy(&mut file, &mut io::sink())
            .map_err(|error| Error::from(error).context(format!("{name} is damaged")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::outputs::copy, *};

    #[test]
    fn inputs_of_another_shape_or_type_are_refused() -> Result<()> {
        let mut own = tch::Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
        let values: Vec<f32> = (0..6).map(|n| n as f32).collect();
        fill(&mut own, &Tensor::new(&[2, 3], values.clone())?)?;
        assert_eq!(copy(&own)?, Tensor::new(&[2, 3], values.clone())?);
        for wrong in [
            Tensor::new(&[1, 3], vec![7.0_f32; 3])?,
            Tensor::new(&[3, 2], vec![7.0_f32; 6])?,
            Tensor::new(&[6], vec![7.0_f32; 6])?,
            Tensor::new(&[2, 3], vec![7_i64; 6])?,
        ] {
            let error = fill(&mut own, &wrong).expect_err("must be refused");
            assert_eq!(error.kind, firstpass_probe::ErrorKind::Input, "{error}");
        }
        assert_eq!(copy(&own)?, Tensor::new(&[2, 3], values)?);
        Ok(())
    }
}
