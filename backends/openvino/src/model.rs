//! A model, compiled for the shapes of its inputs, and its passes.

use std::{cell::RefCell, rc::Rc};

use firstpass_probe::{EngineResult, Error, Model, Result, Tensor, Tensors};
use openvino::{CompiledModel, Core, DeviceType, InferRequest, PartialShape};

use crate::{Engine, values};

/// A model that was read and is not yet compiled.
pub struct Loaded {
    core: Rc<RefCell<Core>>,
    model: RefCell<openvino::Model>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Loaded {
    pub(crate) fn read(engine: &Engine, model: &Model) -> Result<Self> {
        let path = path(model)?;
        let read = engine.core.borrow_mut().read_model_from_file(path, "");
        let read = read
            .engine()
            .map_err(|error| error.context(format!("cannot load {path}")))?;
        let inputs: Vec<String> = model.inputs.iter().map(|spec| spec.name.clone()).collect();
        let has = read.get_inputs_len().engine()?;
        // An input that nobody sets would be computed on as zeros.
        if has != inputs.len() {
            return Err(Error::input(format!(
                "the model file has {has} inputs, and {} are declared",
                inputs.len()
            )));
        }
        let mut outputs: Vec<String> = model.outputs.iter().map(|spec| spec.name.clone()).collect();
        if outputs.is_empty() {
            let all = 0..read.get_outputs_len().engine()?;
            outputs = all
                .map(|at| read.get_output_by_index(at)?.get_name())
                .collect::<std::result::Result<_, _>>()
                .engine()?;
        }
        Ok(Self {
            core: engine.core.clone(),
            model: RefCell::new(read),
            inputs,
            outputs,
        })
    }

    pub(crate) fn prepare(&self, shapes: &[Vec<usize>]) -> Result<Runnable> {
        let mut model = self.model.borrow_mut();
        let shapes = sizes(shapes)?;
        if !has_shapes(&model, &self.inputs, &shapes)? {
            let mut named = Vec::with_capacity(shapes.len());
            for (name, shape) in self.inputs.iter().zip(&shapes) {
                // The C API takes a shape without sizes for one that is not known: such an input stays as it is.
                if shape.is_empty() {
                    check_scalar(&model, name)?;
                    continue;
                }
                let rank = i64::try_from(shape.len())?;
                let partial = PartialShape::new_static(rank, shape).engine()?;
                named.push((name.as_str(), partial));
            }
            let named: Vec<(&str, &PartialShape)> =
                named.iter().map(|(name, shape)| (*name, shape)).collect();
            if !named.is_empty() {
                model.reshape(&named).engine().map_err(|error| {
                    error.context(format!("the model cannot be prepared for {shapes:?}"))
                })?;
            }
        }
        let compiled = self
            .core
            .borrow_mut()
            .compile_model(&model, DeviceType::CPU);
        let mut compiled = compiled.engine()?;
        let request = compiled.create_infer_request().engine()?;
        Ok(Runnable {
            request,
            _compiled: compiled,
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
        })
    }
}

/// The path of a model file, as OpenVINO takes it.
pub(crate) fn path(model: &Model) -> Result<&str> {
    let named = model.path.to_str();
    named.ok_or_else(|| Error::unsupported(format!("{} is not UTF-8", model.path.display())))
}

/// Shapes in OpenVINO's integers.
pub(crate) fn sizes(shapes: &[Vec<usize>]) -> Result<Vec<Vec<i64>>> {
    let of = |shape: &Vec<usize>| shape.iter().map(|&n| Ok(i64::try_from(n)?)).collect();
    shapes.iter().map(of).collect()
}

/// Whether the model, as it is, takes inputs of just these shapes.
fn has_shapes(model: &openvino::Model, names: &[String], shapes: &[Vec<i64>]) -> Result<bool> {
    if model.is_dynamic() {
        return Ok(false);
    }
    for at in 0..model.get_inputs_len().engine()? {
        let input = model.get_input_by_index(at).engine()?;
        let name = input.get_name().engine()?;
        let mut wanted = names
            .iter()
            .zip(shapes)
            .filter(|(other, _)| **other == name);
        let Some((_, wanted)) = wanted.next() else {
            return Err(Error::input(format!(
                "the model file has an input {name:?} as well"
            )));
        };
        if values::sizes(input.get_shape())? != *wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

/// That the file itself says that an input is a single number without axes.
fn check_scalar(model: &openvino::Model, name: &str) -> Result<()> {
    for at in 0..model.get_inputs_len().engine()? {
        let input = model.get_input_by_index(at).engine()?;
        if input.get_name().engine()? != name {
            continue;
        }
        // Of an input whose shape the file leaves open it cannot be told.
        let is_scalar = values::sizes(input.get_shape()).is_ok_and(|sizes| sizes.is_empty());
        return match is_scalar {
            true => Ok(()),
            false => Err(Error::unsupported(format!(
                "the input {name:?} is given as a single number without axes, and the model file does not say that \
                 it is one; OpenVINO's C API has no way to say so in its place"
            ))),
        };
    }
    Err(Error::input(format!(
        "the model file has no input {name:?}"
    )))
}

/// A request that is run again and again, with its tensors.
pub struct Runnable {
    request: InferRequest,
    // Behind the request, which is dropped before it.
    _compiled: CompiledModel,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Runnable {
    pub(crate) fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        for (name, input) in self.inputs.iter().zip(inputs) {
            let mut tensor = self.request.get_tensor(name).engine()?;
            values::check_type(name, input, tensor.get_element_type().engine()?)?;
            values::write(name, input, tensor.get_raw_data_mut().engine()?)?;
        }
        self.request.infer().engine()?;
        let outputs = self.outputs.iter().map(|name| {
            let tensor = self.request.get_tensor(name).engine()?;
            let shape = values::sizes(tensor.get_shape())?;
            values::read(
                tensor.get_element_type().engine()?,
                &shape,
                tensor.get_raw_data().engine()?,
            )
            .map_err(|error| error.context(format!("output {name:?}")))
        });
        outputs.collect()
    }
}
