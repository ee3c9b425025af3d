//! A batch compared with single passes, value by value.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use firstpass_onnx::{GraphProto, decode_flat};
use firstpass_probe::Tensor;

use crate::studies::soak::Batch;

/// Outputs by name.
pub(crate) type Named = BTreeMap<String, Tensor>;

/// The outputs of each file of a trial, by the number of the file.
pub(crate) fn by_file(tensors: HashMap<String, Tensor>) -> BTreeMap<usize, Named> {
    let mut files: BTreeMap<usize, Named> = BTreeMap::new();
    for (key, tensor) in tensors {
        if let Some((number, name)) = key.split_once('/')
            && let Ok(number) = number.parse()
        {
            files
                .entry(number)
                .or_default()
                .insert(name.to_owned(), tensor);
        }
    }
    files
}

/// Compares the outputs for single inputs with those for a batch of them, and these with those for a batch of which
/// only the first input is the same.
pub(crate) fn compare(singles: &[Named], batch: &Named, other: &Named) -> Batch {
    let mut found = Batch {
        size: singles.len(),
        values: 0,
        other_than_single: 0,
        most: 0.0,
        shared: 0,
        by_neighbours: 0,
        without_batch: Vec::new(),
        scaled_by_batch: Vec::new(),
    };
    let mut without = BTreeSet::new();
    for (name, whole) in batch {
        for (place, single) in singles.iter().enumerate() {
            let (Some(row), Some(alone)) = (
                row(whole, place, singles.len()),
                single.get(name).and_then(|single| row(single, 0, 1)),
            ) else {
                without.insert(name.clone());
                continue;
            };
            let differ = differing(&row, &alone);
            found.values += row.bits.len();
            found.other_than_single += differ.len();
            found.most = differ
                .into_iter()
                .map(|at| (row.values[at] - alone.values[at]).abs())
                .fold(found.most, f64::max);
        }
        let shared = row(whole, 0, singles.len());
        let again = other.get(name).and_then(|o| row(o, 0, singles.len()));
        if let (Some(shared), Some(again)) = (shared, again) {
            found.shared += shared.bits.len();
            found.by_neighbours += differing(&shared, &again).len();
        }
    }
    found.without_batch = without.into_iter().collect();
    found
}

/// What every operator of dynamic quantization is called, of ONNX and of `com.microsoft`.
const DYNAMIC: &str = "DynamicQuantize";

/// The operators of a file that take a scale from all values that they are given, with how many there are: in a batch
/// a large value of one input makes the steps of all coarser. Nothing of a file that cannot be read.
pub(crate) fn scaled_by_batch(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap_or_default();
    let Ok((graph, _)) = decode_flat(bytes.into()) else {
        return Vec::new();
    };
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    count_dynamic(&graph, &mut counts);
    let counts = counts.into_iter();
    counts.map(|(name, n)| format!("{n} {name}")).collect()
}

fn count_dynamic(graph: &GraphProto, counts: &mut BTreeMap<String, usize>) {
    for node in &graph.node {
        if node.op_type.starts_with(DYNAMIC) {
            *counts.entry(node.op_type.clone()).or_default() += 1;
        }
        for body in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
            count_dynamic(body, counts);
        }
    }
}

/// What belongs to one input of a batch.
struct Row<'a> {
    /// Bytes of each value.
    bits: Vec<&'a [u8]>,
    values: Vec<f64>,
}

/// The row of an output at a place of the batch; `None` where its first axis is not that of the batch.
fn row(tensor: &Tensor, place: usize, size: usize) -> Option<Row<'_>> {
    let data = tensor.data();
    let length = data.len() / size.max(1);
    if tensor.shape().first() != Some(&size) || length == 0 {
        return None;
    }
    let range = place * length..(place + 1) * length;
    let width = data.bytes().len() / data.len();
    let bytes = data.bytes().chunks_exact(width);
    Some(Row {
        bits: bytes.skip(range.start).take(length).collect(),
        values: data.to_f64s().get(range)?.to_vec(),
    })
}

/// The places at which two rows have other bits; of rows of other lengths all of the first.
fn differing(a: &Row, b: &Row) -> Vec<usize> {
    let all = 0..a.bits.len();
    if a.bits.len() != b.bits.len() {
        return Vec::new();
    }
    all.filter(|at| a.bits[*at] != b.bits[*at]).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use firstpass_onnx::{
        NodeProto,
        write::{encode, node},
    };

    use super::*;

    fn named(shape: &[usize], values: &[f32]) -> Result<Named> {
        Ok([("y".to_owned(), Tensor::new(shape, values.to_vec())?)].into())
    }

    #[test]
    fn a_batch_is_compared_row_by_row() -> Result<()> {
        let singles = [named(&[1, 2], &[1.0, 2.0])?, named(&[1, 2], &[3.0, 4.0])?];
        let same = named(&[2, 2], &[1.0, 2.0, 3.0, 4.0])?;
        let other = named(&[2, 2], &[1.0, 2.0, 9.0, 9.0])?;
        let equal = compare(&singles, &same, &other);
        assert_eq!((equal.values, equal.other_than_single), (4, 0));
        assert_eq!((equal.shared, equal.by_neighbours), (2, 0));

        let off = named(&[2, 2], &[1.0, 2.5, 3.0, 4.25])?;
        let found = compare(&singles, &off, &other);
        assert_eq!((found.other_than_single, found.most), (2, 0.5));
        assert_eq!(found.by_neighbours, 1);
        Ok(())
    }

    #[test]
    fn who_takes_one_scale_for_a_batch_is_counted() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("m.onnx");
        let quantize = |input: &str, output: &str| NodeProto {
            output: [output, "scale", "zero"].map(Into::into).into(),
            ..node("DynamicQuantizeLinear", &[input], output)
        };
        let graph = GraphProto {
            node: vec![
                quantize("x", "a"),
                quantize("x", "b"),
                node("Relu", &["x"], "y"),
            ],
            ..GraphProto::default()
        };
        std::fs::write(&file, encode(graph, 13))?;
        assert_eq!(scaled_by_batch(&file), ["2 DynamicQuantizeLinear"]);
        assert!(scaled_by_batch(&folder.path().join("none")).is_empty());
        Ok(())
    }

    #[test]
    fn an_output_without_the_axis_of_the_batch_is_named() -> Result<()> {
        let singles = [named(&[1], &[1.0])?, named(&[1], &[2.0])?];
        let sum = named(&[1], &[3.0])?;
        let found = compare(&singles, &sum, &sum);
        assert_eq!(found.without_batch, ["y"]);
        assert_eq!((found.values, found.shared), (0, 0));
        Ok(())
    }

    #[test]
    fn files_are_told_apart() -> Result<()> {
        let tensors = ["0/y", "10/a/b"].map(|key| (key.to_owned(), Tensor::new(&[1], vec![0_u8])));
        let mut all = HashMap::new();
        for (key, tensor) in tensors {
            all.insert(key, tensor?);
        }
        let files = by_file(all);
        assert!(files[&0].contains_key("y") && files[&10].contains_key("a/b"));
        Ok(())
    }
}
