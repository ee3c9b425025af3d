//! A scripted module and its passes.

use std::{fs::File, io, path::Path, rc::Rc};

use firstpass_probe::{
    Data, Dtype, EngineResult, Error, Model, Result, Tensor, TensorSpec, Tensors,
};
use tch::{CModule, Device, IValue, Kind, kind::Element};
use zip::ZipArchive;

use super::{engine::Engine, prepared, settings, shim, torch_error};

/// A scripted module in evaluation mode.
#[derive(Clone)]
pub struct Module {
    module: Rc<CModule>,
    inputs: Vec<TensorSpec>,
    /// How many of the tensors that the module returns are outputs; `None` for all.
    outputs: Option<usize>,
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
            inputs: model.inputs.clone(),
            outputs: Some(model.outputs.len()).filter(|&count| count > 0),
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
            let kind = kind(spec.dtype);
            tch::Tensor::f_zeros(dimensions(shape)?, (kind, Device::Cpu)).map_err(torch_error)
        });
        Ok(Runnable {
            module: self.clone(),
            inputs: inputs.collect::<Result<_>>()?,
        })
    }
}

/// A module with the tensors that its passes take their inputs from.
pub struct Runnable {
    module: Module,
    inputs: Vec<tch::Tensor>,
}

impl Runnable {
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
        let arguments = self.inputs.iter();
        let arguments: Vec<_> = arguments
            .map(|own| IValue::Tensor(own.shallow_clone()))
            .collect();
        let module = &self.module.module;
        let output = module.forward_is(&arguments).map_err(torch_error)?;

        let mut tensors = Vec::new();
        collect(output, &mut tensors)?;
        if let Some(declared) = self.module.outputs {
            if tensors.len() < declared {
                return Err(Error::engine(format!(
                    "the module returned {} tensors, but the model declares {declared} outputs",
                    tensors.len(),
                )));
            }
            tensors.truncate(declared);
        }
        tensors.iter().map(copy).collect()
    }
}

/// Copies an input: a scripted module may write to its arguments.
fn fill(own: &mut tch::Tensor, given: &Tensor) -> Result<()> {
    let shape = dimensions(given.shape())?;
    let kind = kind(given.dtype());
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

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::U8 => Kind::Uint8,
        Dtype::I8 => Kind::Int8,
        Dtype::Bool => Kind::Bool,
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
    let mut archive = ZipArchive::new(File::open(path)?).engine()?;
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).engine()?;
        let name = file.name().engine()?.into_owned();
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
        IValue::GenericDict(entries) => entries
            .into_iter()
            .try_for_each(|(_, value)| collect(value, tensors)),
        other => Err(Error::unsupported(format!(
            "the module returned something other than tensors in tuples, lists and dictionaries: {other:?}"
        ))),
    }
}

/// Copies an output, whatever its strides. tch and libtorch check its type and its number of values.
fn copy(tensor: &tch::Tensor) -> Result<Tensor> {
    let shape = tensor
        .size()
        .into_iter()
        .map(|n| Ok(usize::try_from(n)?))
        .collect::<Result<Vec<_>>>()?;
    fn of<T: Element + Default + Clone>(tensor: &tch::Tensor) -> Result<Vec<T>> {
        let mut values = vec![T::default(); tensor.numel()];
        let count = values.len();
        tensor
            .f_copy_data(&mut values, count)
            .map_err(torch_error)?;
        Ok(values)
    }
    let data: Data = match tensor.f_kind().map_err(torch_error)? {
        Kind::Float => of::<f32>(tensor)?.into(),
        Kind::Double => of::<f64>(tensor)?.into(),
        Kind::Int64 => of::<i64>(tensor)?.into(),
        Kind::Int => of::<i32>(tensor)?.into(),
        Kind::Uint8 => of::<u8>(tensor)?.into(),
        Kind::Int8 => of::<i8>(tensor)?.into(),
        Kind::Bool => truths(tensor)?.into(),
        other => {
            return Err(Error::unsupported(format!(
                "the module returned values of {other:?}"
            )));
        }
    };
    Tensor::new(&shape, data)
}

/// Truth values as Rust knows them. A module may make them of any bytes (`view(torch.bool)`), so they
/// are copied as bytes: a `bool` of another byte than 0 and 1 must not exist.
fn truths(tensor: &tch::Tensor) -> Result<Vec<bool>> {
    let count = tensor.numel();
    let mut bytes = vec![0_u8; count];
    tensor
        .f_copy_data_u8(&mut bytes, count)
        .map_err(torch_error)?;
    Ok(bytes.into_iter().map(|byte| byte != 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn outputs_are_copied_in_the_order_of_their_shape() -> Result<()> {
        let values = tch::Tensor::from_slice(&[1_i32, 2, 3, 4, 5, 6]).view([2, 3]);
        assert_eq!(
            copy(&values.tr())?,
            Tensor::new(&[3, 2], vec![1, 4, 2, 5, 3, 6])?
        );
        let repeated = tch::Tensor::from_slice(&[7_u8]).expand([3], false);
        assert_eq!(copy(&repeated)?, Tensor::new(&[3], vec![7_u8; 3])?);
        assert_eq!(
            copy(&values.slice(0, 0, 0, 1))?,
            Tensor::new(&[0, 3], Vec::<i32>::new())?
        );
        Ok(())
    }

    #[test]
    fn a_truth_value_may_be_any_byte() -> Result<()> {
        let bytes = tch::Tensor::from_slice(&[0_u8, 1, 2, 255]);
        let truths = copy(&bytes.view_dtype(Kind::Bool))?;
        assert_eq!(truths.data().bytes(), [0, 1, 1, 1]);
        Ok(())
    }

    #[test]
    fn values_of_a_type_that_is_not_here_are_refused() {
        let half = tch::Tensor::zeros([2], (Kind::Half, Device::Cpu));
        let quantized = tch::Tensor::zeros([2], (Kind::Float, Device::Cpu)).quantize_per_tensor(
            0.1,
            0,
            Kind::QUInt8,
        );
        for tensor in [half, quantized] {
            assert!(copy(&tensor).is_err());
        }
    }

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
        let values: Vec<f64> = values?.iter().flat_map(|t| t.data().to_f64s()).collect();
        assert_eq!(values, [1.0, 2.0, 3.0]);
        assert!(collect(IValue::Int(1), &mut Vec::new()).is_err());
        Ok(())
    }
}
