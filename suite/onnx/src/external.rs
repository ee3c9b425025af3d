//! Data of constants that lie in files beside the model.
//!
//! A model says in which file, by a path within its own folder. A model of a stranger must not read
//! others: paths that lead out of the folder, by themselves or by a link, are refused.

use std::{
    collections::HashMap,
    fs,
    path::{Component, Path, PathBuf},
};

use prost::bytes::Bytes;

use crate::{Error, GraphProto, Result, TensorProto, malformed};

impl TensorProto {
    /// `TensorProto.DataLocation.EXTERNAL`.
    pub(crate) const EXTERNAL: i32 = 1;

    /// Whether its data lie in another file.
    pub fn is_external(&self) -> bool {
        self.data_location == Self::EXTERNAL
    }

    fn entry(&self, key: &str) -> Option<&str> {
        let mut entries = self.external_data.iter();
        let entry = entries.find(|entry| entry.key == key)?;
        Some(&entry.value)
    }

    fn number(&self, key: &str) -> Result<Option<usize>> {
        let number = |text: &str| {
            let number = text.trim().parse().ok();
            number.ok_or_else(|| malformed(format!("{key} of its data is {text:?}")))
        };
        self.entry(key).map(number).transpose()
    }
}

/// Reads the data of every constant of `graph`, and of the graphs in it, that lie in files beside the
/// model, which is the file `model`.
///
/// # Errors
/// Names the constant and the file that cannot be read, is too short, or is not in the model's folder.
pub fn read(graph: &mut GraphProto, model: &Path) -> Result<()> {
    let mut files = Files {
        folder: model.parent().unwrap_or(Path::new("")),
        read: HashMap::new(),
    };
    files.fill_graph(graph)
}

struct Files<'a> {
    folder: &'a Path,
    /// Their bytes; constants hold parts of them and no copies.
    read: HashMap<PathBuf, Bytes>,
}

impl Files<'_> {
    fn fill_graph(&mut self, graph: &mut GraphProto) -> Result<()> {
        for tensor in &mut graph.initializer {
            self.fill(tensor)?;
        }
        for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
            if let Some(tensor) = &mut attribute.t {
                self.fill(tensor)?;
            }
            if let Some(graph) = &mut attribute.g {
                self.fill_graph(graph)?;
            }
        }
        Ok(())
    }

    fn fill(&mut self, tensor: &mut TensorProto) -> Result<()> {
        if !tensor.is_external() {
            return Ok(());
        }
        let name = tensor.name.clone();
        let data = self.data(tensor);
        tensor.raw_data = data.map_err(|e: Error| e.context(format!("constant {name:?}")))?;
        tensor.data_location = 0;
        Ok(())
    }

    fn data(&mut self, tensor: &TensorProto) -> Result<Bytes> {
        let location = tensor
            .entry("location")
            .ok_or_else(|| malformed("its data lie in a file without a name"))?;
        let bytes = self.file(Path::new(location))?;
        let start = tensor.number("offset")?.unwrap_or(0);
        let end = match tensor.number("length")? {
            Some(length) => start.checked_add(length),
            None => Some(bytes.len()),
        };
        let end = end.filter(|&end| start <= end && end <= bytes.len());
        let end = end.ok_or_else(|| {
            let length = bytes.len();
            Error::input(format!(
                "its data lie beyond the end of {location:?}, which has {length} bytes; is the file \
                 complete?"
            ))
        })?;
        Ok(bytes.slice(start..end))
    }

    fn file(&mut self, location: &Path) -> Result<Bytes> {
        if let Some(bytes) = self.read.get(location) {
            return Ok(bytes.clone());
        }
        let outside = || {
            Error::input(format!(
                "its data lie in {location:?}, which is not in the model's folder; such files are not \
                 read"
            ))
        };
        let mut components = location.components();
        if !components.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(outside());
        }
        let cannot = |e: std::io::Error| {
            Error::input(format!(
                "its data lie in {location:?} beside the model, which cannot be read: {e}"
            ))
        };
        let folder = match self.folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => self.folder,
        };
        // Links are followed here, and only here: what is opened is what was looked at.
        let folder = folder.canonicalize().map_err(cannot)?;
        let path = folder.join(location).canonicalize().map_err(cannot)?;
        if !path.starts_with(&folder) {
            return Err(outside());
        }
        // Reading what is no file, a pipe for one, might never end.
        if !path.is_file() {
            return Err(Error::input(format!(
                "its data lie in {location:?} beside the model, which is no file"
            )));
        }
        let bytes = Bytes::from(fs::read(path).map_err(cannot)?);
        self.read.insert(location.into(), bytes.clone());
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Constant, StringStringEntryProto, Values, data_type};

    fn graph(entries: &[(&str, &str)]) -> GraphProto {
        let entry = |&(key, value): &(&str, &str)| StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        GraphProto {
            initializer: vec![TensorProto {
                name: "w".into(),
                dims: vec![2],
                data_type: data_type::FLOAT,
                data_location: TensorProto::EXTERNAL,
                external_data: entries.iter().map(entry).collect(),
                ..TensorProto::default()
            }],
            ..GraphProto::default()
        }
    }

    #[test]
    fn data_are_read_from_files_beside_the_model_and_from_no_others() -> Result<()> {
        let root = tempfile::tempdir()?;
        let folder = root.path().join("model");
        fs::create_dir_all(folder.join("parts"))?;
        let data: Vec<u8> = [9.0_f32, 1.5, -2.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        fs::write(folder.join("parts/w.data"), &data)?;
        fs::write(root.path().join("secret"), &data)?;
        let model = folder.join("model.onnx");
        let place = [("location", "parts/w.data"), ("offset", "4")];
        for place in [&place[..], &[&place[..], &[("length", "8")]].concat()] {
            let mut graph = graph(place);
            read(&mut graph, &model)?;
            let values = Constant::read(&graph.initializer[0])?.values;
            assert_eq!(values, Values::F32(vec![1.5, -2.0]));
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.path().join("secret"), folder.join("link"))?;
        let absolute = root.path().join("secret");
        for location in ["../secret", "parts/../../secret", "link", "", "nowhere"]
            .into_iter()
            .chain(absolute.to_str())
        {
            let error = read(&mut graph(&[("location", location)]), &model);
            assert!(error.is_err(), "{location:?} was read");
        }
        for place in [
            [("location", "parts/w.data"), ("length", "13")],
            [("location", "parts/w.data"), ("offset", "13")],
            [("location", "parts/w.data"), ("offset", "-1")],
            [("offset", "0"), ("length", "8")],
        ] {
            assert!(read(&mut graph(&place), &model).is_err(), "{place:?}");
        }
        Ok(())
    }
}
