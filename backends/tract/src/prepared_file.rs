//! Files that tract reads faster than the model's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

use firstpass_probe::{Backend, Error, Model, Result, file_name, prepared_folder};
use tract_nnef::internal::{TractError, format_err};
use tract_onnx::{
    data_resolver,
    pb::{
        ModelProto, NodeProto, TensorProto,
        tensor_proto::{DataLocation, DataType},
    },
    prelude::{TractResult, tract_itertools::Itertools},
    tensor::load_tensor,
};

use crate::Tract;

/// The file that `make` has filled for `model`, made now if it is not there yet. Its name holds all
/// that it depends on: the model file, tract, the form, and what else `make` depends on.
pub(crate) fn ready(
    model: &Model,
    form: &str,
    depends_on: impl Hash,
    make: impl FnOnce() -> Result<Vec<u8>>,
) -> Result<PathBuf> {
    let cannot = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| Error::from(error).context(format!("cannot prepare {path}"))
    };
    let source = fs::canonicalize(&model.path).map_err(cannot(&model.path))?;
    let metadata = fs::metadata(&source).map_err(cannot(&source))?;
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    metadata.len().hash(&mut hasher);
    metadata
        .modified()
        .map_err(cannot(&source))?
        .hash(&mut hasher);
    env!("TRACT_ONNX_VERSION").hash(&mut hasher);
    model.outputs.iter().for_each(|o| o.name.hash(&mut hasher));
    depends_on.hash(&mut hasher);

    let folder = prepared_folder(Tract::NAME)?;
    let path = folder.join(format!(
        "{}-{:016x}.{form}",
        file_name(&model.name),
        hasher.finish()
    ));
    if !path.exists() {
        // Under another name first: a process that is killed leaves no half file.
        let mut unfinished = OsString::from(&path);
        unfinished.push(format!(".{}", std::process::id()));
        let unfinished = PathBuf::from(unfinished);
        fs::write(&unfinished, make()?).map_err(cannot(&unfinished))?;
        fs::rename(&unfinished, &path).map_err(cannot(&path))?;
    }
    Ok(path)
}

/// Replaces each DequantizeLinear of 8-bit weights by its values, which are those that tract would
/// compute, bit for bit: it broadcasts scales by a loop over single values, twice. Returns how many
/// were replaced.
///
/// # Errors
/// Fails on a model whose weights lie in other files, or whose scales do not fit its weights.
pub fn dequantize_weights(proto: &mut ModelProto) -> TractResult<usize> {
    let graph = proto
        .graph
        .as_mut()
        .ok_or_else(|| format_err!("the ONNX file holds no graph"))?;
    let external =
        |tensor: &TensorProto| tensor.data_location == Some(DataLocation::External as i32);
    if let Some(tensor) = graph.initializer.iter().find(|t| external(t)) {
        return Err(format_err!(
            "the values of {:?} lie in another file; save the model as one file",
            tensor.name
        ));
    }
    let constants: BTreeMap<&str, &TensorProto> = graph
        .initializer
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();

    let mut folded = Vec::new();
    let mut kept = Vec::new();
    for node in &graph.node {
        match dequantized(node, &constants)? {
            Some(tensor) => folded.push(tensor),
            None => kept.push(node.clone()),
        }
    }
    let count = folded.len();
    let outputs = graph.output.iter().map(|output| output.name.clone());
    let inputs = kept.iter().flat_map(|node| node.input.iter().cloned());
    let used: BTreeSet<String> = inputs.chain(outputs).collect();
    graph.node = kept;
    graph
        .initializer
        .retain(|tensor| used.contains(&tensor.name));
    graph.initializer.extend(folded);
    Ok(count)
}

/// The values of `node`, where it dequantizes 8-bit constants.
fn dequantized(
    node: &NodeProto,
    constants: &BTreeMap<&str, &TensorProto>,
) -> TractResult<Option<TensorProto>> {
    if node.op_type != "DequantizeLinear" || node.attribute.iter().any(|a| a.name == "block_size") {
        return Ok(None);
    }
    let constant = |number: usize| constants.get(node.input.get(number)?.as_str()).copied();
    let (Some(weights), Some(scales), zero_points) = (constant(0), constant(1), constant(2)) else {
        return Ok(None);
    };
    let eight_bits = [DataType::Int8 as i32, DataType::Uint8 as i32];
    if !eight_bits.contains(&weights.data_type) || (node.input.len() > 2 && zero_points.is_none()) {
        return Ok(None);
    }
    let load = |tensor: &TensorProto| -> TractResult<Vec<f32>> {
        let tensor = load_tensor(&*data_resolver::default(), tensor, None)?;
        let tensor = tensor.cast_to::<f32>()?;
        Ok(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    };
    let values = load(weights)?;
    let scales = load(scales)?;
    let zero_points = zero_points.map(load).transpose()?.unwrap_or(vec![0.0]);

    let misfit =
        || -> TractError { format_err!("the scales of {:?} do not fit its weights", node.name) };
    let rank = i64::try_from(weights.dims.len())?;
    let axis = node.attribute.iter().find(|a| a.name == "axis");
    let axis = axis.map_or(1, |attribute| attribute.i);
    let axis = if axis < 0 { axis + rank } else { axis };
    let channels = scales.len().max(zero_points.len());
    // Weights of one scale are one channel.
    let inner = if channels == 1 {
        values.len()
    } else {
        let axis = usize::try_from(axis)?;
        let length = weights.dims.get(axis).ok_or_else(misfit)?;
        if usize::try_from(*length)? != channels {
            return Err(misfit());
        }
        usize::try_from(weights.dims[axis + 1..].iter().product::<i64>())?
    };
    let of = |values: &[f32], channel: usize| match values {
        [one] => Some(*one),
        many => many.get(channel).copied(),
    };
    let mut raw_data = Vec::with_capacity(values.len() * size_of::<f32>());
    for (block, values) in values.chunks(inner.max(1)).enumerate() {
        let channel = block % channels.max(1);
        let scale = of(&scales, channel).ok_or_else(misfit)?;
        let zero_point = of(&zero_points, channel).ok_or_else(misfit)?;
        raw_data.extend(
            values
                .iter()
                .flat_map(|q| ((q - zero_point) * scale).to_le_bytes()),
        );
    }
    let name = node.output.iter().exactly_one();
    Ok(Some(TensorProto {
        name: name.map_err(|_| misfit())?.clone(),
        dims: weights.dims.clone(),
        data_type: DataType::Float as i32,
        raw_data,
        ..TensorProto::default()
    }))
}
