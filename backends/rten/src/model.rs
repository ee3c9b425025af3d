//! A model and its passes.

use std::{fs, rc::Rc};

use firstpass_probe::{Dtype, EngineResult, Error, Model, Result, Tensor, Tensors};
use rten::{Dimension, NodeId, RunOptions};

use crate::{Settings, declared, values};

/// A model that is ready to run, on inputs of every shape that the file allows.
#[derive(Clone)]
pub struct Runnable {
    model: Rc<rten::Model>,
    options: RunOptions,
    inputs: Vec<NodeId>,
    outputs: Vec<Output>,
}

#[derive(Clone)]
struct Output {
    id: NodeId,
    /// The type that the file declares, where rten would return another.
    declared: Option<Dtype>,
}

impl Runnable {
    pub(crate) fn load(settings: &Settings, model: &Model) -> Result<Self> {
        let options = settings.model_options();
        let is_named_onnx = model.path.extension().is_some_and(|e| e == "onnx");
        // rten knows a file by its name, and bytes by what they hold.
        let loaded = if is_named_onnx {
            options.load_file(&model.path)
        } else {
            let bytes = fs::read(&model.path).map_err(|error| {
                Error::from(error).context(format!("cannot read {}", model.path.display()))
            })?;
            options.load(bytes)
        };
        let loaded = loaded
            .engine()
            .map_err(|error| error.context(format!("cannot load {}", model.path.display())))?;
        let inputs = model.inputs.iter();
        let inputs = inputs
            .map(|spec| named(&loaded, loaded.input_ids(), "input", &spec.name))
            .collect::<Result<_>>()?;
        let names = model.outputs.iter();
        let ids = names
            .map(|spec| loaded.node_id(&spec.name).engine())
            .collect::<Result<Vec<_>>>()?;
        // Without declared outputs they are those of the file.
        let ids = if ids.is_empty() {
            loaded.output_ids().to_vec()
        } else {
            ids
        };
        let outputs = with_types(&loaded, ids, model)?;
        Ok(Self {
            model: Rc::new(loaded),
            options: settings.run_options(),
            inputs,
            outputs,
        })
    }

    /// Sizes in the file are fixed, but for those that it names.
    pub(crate) fn check_shapes(&self, wanted: &[Vec<usize>]) -> Result<()> {
        for (&id, wanted) in self.inputs.iter().zip(wanted) {
            let node = self.model.node_info(id);
            let Some(declared) = node.as_ref().and_then(|node| node.shape()) else {
                continue;
            };
            let fits = |(declared, wanted): (&Dimension, &usize)| match declared {
                Dimension::Fixed(size) => size == wanted,
                Dimension::Symbolic(_) => true,
            };
            if declared.len() != wanted.len() || !declared.iter().zip(wanted).all(fits) {
                return Err(Error::unsupported(format!(
                    "the model file takes an input of shape {declared:?} and cannot be prepared for \
                     {wanted:?}; export it with sizes that may vary, or leave the shape as it is"
                )));
            }
        }
        Ok(())
    }

    pub(crate) fn pass(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        self.run(inputs, self.options.clone())
    }

    /// A pass that prints each operator to standard output when it has run.
    pub(crate) fn pass_aloud(&mut self, inputs: &[Tensor]) -> Result<Tensors> {
        self.run(inputs, self.options.clone().with_verbose(true))
    }

    fn run(&self, inputs: &[Tensor], options: RunOptions) -> Result<Tensors> {
        let named = self.inputs.iter().zip(inputs);
        let inputs = named
            .map(|(&id, input)| Ok((id, values::lend(input)?)))
            .collect::<Result<Vec<_>>>()?;
        let ids: Vec<NodeId> = self.outputs.iter().map(|output| output.id).collect();
        let found = self.model.run(inputs, &ids, Some(options)).engine()?;
        let found = found.into_iter().zip(&self.outputs);
        found
            .map(|(value, output)| values::take(value, output.declared))
            .collect()
    }
}

/// One of these nodes, by its name.
fn named(model: &rten::Model, ids: &[NodeId], what: &str, name: &str) -> Result<NodeId> {
    let name_of = |id: NodeId| model.node_info(id).and_then(|node| node.name());
    let found = ids.iter().copied().find(|&id| name_of(id) == Some(name));
    found.ok_or_else(|| {
        let known: Vec<&str> = ids.iter().filter_map(|&id| name_of(id)).collect();
        Error::input(format!(
            "the model file has no {what} {name:?}, but {}",
            known.join(", ")
        ))
    })
}

/// The outputs with the types that the file declares: rten computes i64 and bool as i32, and f16 and f64 as
/// f32, and keeps no note of it.
fn with_types(loaded: &rten::Model, ids: Vec<NodeId>, model: &Model) -> Result<Vec<Output>> {
    let types = declared::types_of_outputs(&model.path)?;
    let output = |id: NodeId| {
        let node = loaded.node_info(id);
        let declared = node.as_ref().and_then(|node| node.name());
        let declared = declared.and_then(|name| types.get(name)).copied();
        Output { id, declared }
    };
    Ok(ids.into_iter().map(output).collect())
}
