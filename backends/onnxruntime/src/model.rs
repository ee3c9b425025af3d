//! A session and its passes.

use std::{cell::RefCell, path::Path, rc::Rc};

use firstpass_probe::{Error, Model, Result, Tensor, Tensors};
use ort::{session::Session, value::TensorRef};

use crate::{Engine, arena::Registered, prepared};

/// A session that is ready to run, for inputs of every shape that the file allows.
#[derive(Clone)]
pub struct Runnable {
    pub(crate) session: Rc<RefCell<Session>>,
    input: String,
    outputs: Vec<String>,
}

impl Runnable {
    pub(crate) fn load(engine: &Engine, model: &Model, profile: Option<&Path>) -> Result<Self> {
        let arena = engine.options.shared_arena();
        let _registered = arena
            .map(|arena| Registered::new(&engine.runtime.environment, arena))
            .transpose()?;
        let (mut builder, file) = prepared::builder(engine, model, profile)?;
        let session = builder.commit_from_file(&file).map_err(|error| {
            Error::from(error).context(format!("cannot load {}", file.display()))
        })?;
        let runnable = Self {
            session: Rc::new(RefCell::new(session)),
            input: model.input.name.clone(),
            outputs: model.outputs.iter().map(|spec| spec.name.clone()).collect(),
        };
        runnable.check_names()?;
        Ok(runnable)
    }

    /// ONNX Runtime's own complaint about an unknown name does not say which names it knows.
    fn check_names(&self) -> Result<()> {
        let session = self.session.borrow();
        let inputs: Vec<_> = session.inputs().iter().map(|o| o.name()).collect();
        let outputs: Vec<_> = session.outputs().iter().map(|o| o.name()).collect();
        let unknown = |wanted: &str, known: &[&str]| {
            Error::input(format!(
                "the model file has no {wanted:?}, but {}",
                known.join(", ")
            ))
        };
        if !inputs.contains(&self.input.as_str()) {
            return Err(unknown(&self.input, &inputs));
        }
        match self
            .outputs
            .iter()
            .find(|name| !outputs.contains(&name.as_str()))
        {
            Some(name) => Err(unknown(name, &outputs)),
            None => Ok(()),
        }
    }

    /// Sizes in the file are fixed, but for those that it names (-1).
    pub(crate) fn check_shape(&self, wanted: &[usize]) -> Result<()> {
        let session = self.session.borrow();
        let input = session.inputs().iter().find(|o| o.name() == self.input);
        let Some(fixed) = input.and_then(|o| o.dtype().tensor_shape()) else {
            return Ok(());
        };
        let fits = |(&fixed, &wanted): (&i64, &usize)| {
            fixed < 0 || usize::try_from(fixed).is_ok_and(|fixed| fixed == wanted)
        };
        if fixed.len() == wanted.len() && fixed.iter().zip(wanted).all(fits) {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "the model file takes inputs of shape {fixed:?} (-1: any size) and cannot be prepared \
             for {wanted:?}; export it with sizes that may vary, or leave the shape as it is"
        )))
    }

    pub(crate) fn pass(&mut self, input: &Tensor) -> Result<Tensors> {
        let view = TensorRef::from_array_view((input.shape.as_slice(), input.data.as_slice()))?;
        let mut session = self.session.borrow_mut();
        let found = session.run(ort::inputs![self.input.as_str() => view])?;
        self.outputs
            .iter()
            .map(|name| {
                let value = found
                    .get(name)
                    .ok_or_else(|| Error::engine(format!("the session returned no {name:?}")))?;
                let (shape, data) = value.try_extract_tensor::<f32>()?;
                let shape = shape
                    .iter()
                    .map(|&n| Ok(usize::try_from(n)?))
                    .collect::<Result<Vec<_>>>()?;
                Tensor::new(&shape, data.to_vec())
            })
            .collect()
    }
}
