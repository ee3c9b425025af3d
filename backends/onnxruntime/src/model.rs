//! A session and its passes.

use std::{cell::RefCell, path::Path, rc::Rc};

use firstpass_probe::{Data, EngineResult, Error, Model, Result, Tensor, Tensors, bf16, f16};
use ort::{
    session::{Session, SessionInputValue},
    value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef},
};

use crate::{Engine, arena::Registered, prepared};

/// A session that is ready to run, for inputs of every shape that the file allows.
#[derive(Clone)]
pub struct Runnable {
    pub(crate) session: Rc<RefCell<Session>>,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Runnable {
    pub(crate) fn load(engine: &Engine, model: &Model, profile: Option<&Path>) -> Result<Self> {
        let arena = engine.options.shared_arena();
        let _registered = arena
            .map(|arena| Registered::new(&engine.runtime.environment, arena))
            .transpose()?;
        let (mut builder, file) = prepared::builder(engine, model, profile)?;
        let session = builder
            .commit_from_file(&file)
            .engine()
            .map_err(|error| error.context(format!("cannot load {}", file.display())))?;
        let mut outputs: Vec<String> = model.outputs.iter().map(|spec| spec.name.clone()).collect();
        if outputs.is_empty() {
            outputs = session
                .outputs()
                .iter()
                .map(|o| o.name().to_owned())
                .collect();
        }
        let runnable = Self {
            session: Rc::new(RefCell::new(session)),
            inputs: model.inputs.iter().map(|spec| spec.name.clone()).collect(),
            outputs,
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
        for (wanted, known) in [(&self.inputs, &inputs), (&self.outputs, &outputs)] {
            if let Some(name) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
                return Err(unknown(name, known));
            }
        }
        Ok(())
    }

    /// Sizes in the file are fixed, but for those that it names (-1).
    pub(crate) fn check_shapes(&self, wanted: &[Vec<usize>]) -> Result<()> {
        let mut inputs = self.inputs.iter().zip(wanted);
        inputs.try_for_each(|(name, wanted)| self.check_shape(name, wanted))
    }

    fn check_shape(&self, name: &str, wanted: &[usize]) -> Result<()> {
        let session = self.session.borrow();
        let input = session.inputs().iter().find(|o| o.name() == name);
        let Some(fixed) = input.and_then(|o| o.dtype().tensor_shape()) else {
            return Ok(());
        };
        let fits = |(&fixed, &wanted): (&i64, &usize)| {
            fixed < 0 || usize::try_from(fixed).is_ok_and(|fixed| fixed == wanted)
        };
        // ONNX Runtime says the same of a single number and of an input without a shape: it takes the
        // latter in any, and complains of the former itself.
        let any = fixed.is_empty();
        if any || (fixed.len() == wanted.len() && fixed.iter().zip(wanted).all(fits)) {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "the model file takes {name:?} of shape {fixed:?} (-1: any size) and cannot be prepared \
             for {wanted:?}; export it with sizes that may vary, or leave the shape as it is"
        )))
    }

    pub(crate) fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        let named = self.inputs.iter().zip(inputs);
        let views = named
            .map(|(name, input)| Ok((name.as_str(), view(input)?)))
            .collect::<Result<Vec<_>>>()?;
        let mut session = self.session.borrow_mut();
        let found = session.run(views).engine()?;
        self.outputs
            .iter()
            .map(|name| {
                let value = found
                    .get(name)
                    .ok_or_else(|| Error::engine(format!("the session returned no {name:?}")))?;
                copy(value).map_err(|e| e.context(format!("output {name:?}")))
            })
            .collect()
    }
}

/// The values of an input where they lie.
fn view(input: &Tensor) -> Result<SessionInputValue<'_>> {
    let shape = input.shape();
    macro_rules! of {
        ($values:expr) => {
            TensorRef::from_array_view((shape, $values.as_slice()))
                .engine()?
                .into()
        };
    }
    Ok(match input.data() {
        Data::F32(values) => of!(values),
        Data::F64(values) => of!(values),
        Data::F16(values) => of!(values),
        Data::BF16(values) => of!(values),
        Data::I64(values) => of!(values),
        Data::I32(values) => of!(values),
        Data::I16(values) => of!(values),
        Data::I8(values) => of!(values),
        Data::U64(values) => of!(values),
        Data::U32(values) => of!(values),
        Data::U16(values) => of!(values),
        Data::U8(values) => of!(values),
        Data::Bool(values) => of!(values),
    })
}

fn copy(value: &DynValue) -> Result<Tensor> {
    fn of<T: PrimitiveTensorElementType + Copy>(value: &DynValue) -> Result<Tensor>
    where
        Vec<T>: Into<Data>,
    {
        let (shape, values) = value.try_extract_tensor::<T>().engine()?;
        let shape = shape
            .iter()
            .map(|&n| Ok(usize::try_from(n)?))
            .collect::<Result<Vec<_>>>()?;
        Tensor::new(&shape, values.to_vec())
    }
    match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => of::<f32>(value),
        Some(TensorElementType::Float64) => of::<f64>(value),
        Some(TensorElementType::Float16) => of::<f16>(value),
        Some(TensorElementType::Bfloat16) => of::<bf16>(value),
        Some(TensorElementType::Int64) => of::<i64>(value),
        Some(TensorElementType::Int32) => of::<i32>(value),
        Some(TensorElementType::Int16) => of::<i16>(value),
        Some(TensorElementType::Int8) => of::<i8>(value),
        Some(TensorElementType::Uint64) => of::<u64>(value),
        Some(TensorElementType::Uint32) => of::<u32>(value),
        Some(TensorElementType::Uint16) => of::<u16>(value),
        Some(TensorElementType::Uint8) => of::<u8>(value),
        Some(TensorElementType::Bool) => of::<bool>(value),
        _ => Err(Error::unsupported(format!(
            "values of type {}",
            value.dtype()
        ))),
    }
}
