//! The inputs of a soak: ordinary ones, the same as denormal numbers, and batches.

use std::path::{Path, PathBuf};

use anyhow::Result;
use firstpass_probe::{Data, Model, Tensor, TensorSpec, read_tensors, write_tensors};
use firstpass_trial::{input_role::Role, made_up_input::made_up, model::ModelDescription};

/// The largest value of denormal inputs: a tenth of the least that is not denormal.
const DENORMAL_F32: f32 = f32::MIN_POSITIVE / 10.0;
const DENORMAL_F64: f64 = f64::MIN_POSITIVE / 10.0;

/// Writes the inputs of a file with all floats scaled down to denormal numbers. Returns whether there are any.
pub(crate) fn write_denormal(from: &Path, to: &Path) -> Result<bool> {
    let (tensors, _) = read_tensors(from)?;
    let mut any = false;
    let mut written = Vec::new();
    for (name, tensor) in tensors {
        let (shape, data) = tensor.into_parts();
        let data: Data = match data {
            Data::F32(values) => {
                let most = values.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                any |= most > 0.0;
                // In f64, which holds the scale of the largest values as well.
                let scale = f64::from(DENORMAL_F32) / f64::from(most.max(f32::MIN_POSITIVE));
                let small = |x: f32| (f64::from(x) * scale) as f32;
                values.into_iter().map(small).collect::<Vec<_>>().into()
            }
            Data::F64(values) => {
                let most = values.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
                any |= most > 0.0;
                let small = |x: f64| x / most.max(1.0) * DENORMAL_F64;
                values.into_iter().map(small).collect::<Vec<_>>().into()
            }
            other => other,
        };
        written.push((name, Tensor::new(&shape, data)?));
    }
    write_tensors(to, written.iter().map(|(name, t)| (name.clone(), t)))?;
    Ok(any)
}

/// Files of a trial on a batch: single inputs, a batch of them, and a batch that shares only the first.
pub(crate) struct Files {
    pub paths: Vec<PathBuf>,
    /// By file, the shapes of the model's inputs.
    pub shapes: Vec<Vec<Vec<usize>>>,
}

/// Makes inputs up for a batch; `None` where the inputs of the model have no first axis of one.
pub(crate) fn write_batch(
    described: &ModelDescription,
    model: &Model,
    size: usize,
    folder: &Path,
) -> Result<Option<Files>> {
    let is_single = |spec: &TensorSpec| spec.shape.len() > 1 && spec.shape.first() == Some(&1);
    if !model.inputs.iter().all(is_single) {
        return Ok(None);
    }
    let roles = Role::of_model(described);
    let seeds = 1..2 * size as u64;
    let all: Vec<Vec<Tensor>> = seeds
        .map(|seed| made_up(&model.inputs, &roles, seed))
        .collect::<Result<_, _>>()?;
    let (singles, others) = all.split_at(size);
    let batches = [
        stacked(singles.iter())?,
        stacked(singles.iter().take(1).chain(others))?,
    ];
    let mut files = Files {
        paths: Vec::new(),
        shapes: Vec::new(),
    };
    for (number, tensors) in singles.iter().chain(&batches).enumerate() {
        let path = folder.join(format!("batch-{number}.safetensors"));
        let named = model.inputs.iter().zip(tensors);
        write_tensors(
            &path,
            named.map(|(spec, tensor)| (spec.name.clone(), tensor)),
        )?;
        files.paths.push(path);
        let shapes = tensors.iter().map(|tensor| tensor.shape().to_vec());
        files.shapes.push(shapes.collect());
    }
    Ok(Some(files))
}

/// The inputs of several passes as those of one.
fn stacked<'a>(passes: impl Iterator<Item = &'a Vec<Tensor>> + Clone) -> Result<Vec<Tensor>> {
    let size = passes.clone().count();
    let first = passes.clone().next().map_or(&[][..], |inputs| &inputs[..]);
    let stack = |(place, one): (usize, &Tensor)| {
        let mut shape = one.shape().to_vec();
        if let Some(axis) = shape.first_mut() {
            *axis = size;
        }
        let bytes: Vec<u8> = passes
            .clone()
            .flat_map(|inputs| inputs[place].data().bytes())
            .copied()
            .collect();
        let data = Data::from_bytes(one.dtype(), &bytes)
            .ok_or_else(|| anyhow::anyhow!("the bytes of inputs are no values"))?;
        Ok(Tensor::new(&shape, data)?)
    };
    first.iter().enumerate().map(stack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_floats_become_denormal_and_nothing_else() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let [from, to] = ["a", "b"].map(|name| folder.path().join(name));
        let tensors = [
            ("x", Tensor::new(&[3], vec![1e30_f32, -2.0, 0.5])?),
            ("y", Tensor::new(&[2], vec![1e-3_f64, -7.0])?),
            ("z", Tensor::new(&[1], vec![5_i64])?),
        ];
        write_tensors(&from, tensors.iter().map(|(n, t)| ((*n).to_owned(), t)))?;
        assert!(write_denormal(&from, &to)?);
        let (found, _) = read_tensors(&to)?;
        let x = found["x"].f32s()?;
        assert!(x.iter().all(|x| x.is_subnormal() || *x == 0.0) && x[0] > 0.0);
        let Data::F64(y) = found["y"].data() else {
            panic!("it was f64");
        };
        assert!(y.iter().all(|y| y.is_subnormal()));
        assert_eq!(found["z"], tensors[2].1);

        write_tensors(&from, [("z".to_owned(), &tensors[2].1)])?;
        assert!(!write_denormal(&from, &to)?);
        Ok(())
    }

    #[test]
    fn a_batch_is_its_single_inputs_one_after_the_other() -> Result<()> {
        let a = vec![Tensor::new(&[1, 2], vec![1_i32, 2])?];
        let b = vec![Tensor::new(&[1, 2], vec![3_i32, 4])?];
        let both = stacked([&a, &b].into_iter())?;
        assert_eq!(both, [Tensor::new(&[2, 2], vec![1_i32, 2, 3, 4])?]);
        Ok(())
    }
}
