//! What a record calls the files that lie outside of the checkout, and what it leaves out of its text: where a
//! user keeps things is nobody's business, and records are committed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use firstpass_trial::{regular_file, workload::relative, workspace::Workspace};

/// In a record's folder: where on this machine the files lie that it names `outside/…`. It is not committed.
const FILE: &str = "places.json";

/// The files outside of the checkout, by the names that a record gives them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<PathBuf, PathBuf>);

impl Places {
    /// What a record calls this file: its path below the checkout, or a name of its own.
    pub fn name(&mut self, workspace: &Workspace, file: &Path) -> PathBuf {
        let path = relative(workspace, file);
        if path.is_relative() {
            return path;
        }
        if let Some(name) = self.known(&path) {
            return name.to_owned();
        }
        let file = path.file_name().unwrap_or_default();
        let folders = (1..).map(|number| match number {
            1 => "outside".to_owned(),
            number => format!("outside-{number}"),
        });
        let mut names = folders.map(|folder| Path::new(&folder).join(file));
        let name = names
            .find(|name| !self.0.contains_key(name))
            .unwrap_or_else(|| path.clone());
        self.0.insert(name.clone(), path);
        name
    }

    /// The name of a file, as [`Places::name`] has given it.
    pub fn find(&self, workspace: &Workspace, file: &Path) -> PathBuf {
        let path = relative(workspace, file);
        self.known(&path).map(Path::to_owned).unwrap_or(path)
    }

    /// Where the file lies that a record calls so.
    pub fn place(&self, workspace: &Workspace, name: &Path) -> PathBuf {
        match self.0.get(name) {
            Some(path) => path.clone(),
            None => workspace.root().join(name),
        }
    }

    fn known(&self, path: &Path) -> Option<&Path> {
        let mut known = self.0.iter();
        known.find_map(|(name, place)| (place == path).then_some(name.as_path()))
    }

    /// Keeps them in the folder of a record, where there are any.
    ///
    /// # Errors
    /// Fails where the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let path = folder.join(FILE);
        let json = serde_json::to_string_pretty(&self.0)? + "\n";
        fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Those of a record; none where it has no such file, as on another machine.
    ///
    /// # Errors
    /// Fails where the file is damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let Ok(text) = regular_file::read_text(&path) else {
            return Ok(Self::default());
        };
        let places = serde_json::from_str(&text)
            .with_context(|| format!("{} is not as expected", path.display()))?;
        Ok(Self(places))
    }
}

/// Leaves out of a text where things lie on this machine.
#[derive(Debug)]
pub struct Shortener {
    /// The checkout, which paths are relative to.
    root: String,
    /// The names that lie directly below `/`. The name of an operator may begin with a slash as well.
    top: BTreeSet<OsString>,
}

impl Shortener {
    pub fn new(root: &Path) -> Self {
        let entries = fs::read_dir("/").into_iter().flatten().flatten();
        Self {
            root: format!("{}{}", root.display(), std::path::MAIN_SEPARATOR),
            top: entries.map(|entry| entry.file_name()).collect(),
        }
    }

    /// The text, with paths below the checkout relative to it and the names of files in place of all other
    /// absolute paths.
    pub fn shorten(&self, text: &str) -> String {
        let text = text.replace(&self.root, "");
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        let mut before = None;
        while let Some(at) = rest.find('/') {
            let (head, tail) = rest.split_at(at);
            out.push_str(head);
            before = head.chars().next_back().or(before);
            let end = tail.find(ends_a_path).unwrap_or(tail.len());
            let (path, after) = tail.split_at(end);
            out.push_str(if before.is_none_or(begins_a_path) {
                self.name(path)
            } else {
                path
            });
            before = path.chars().next_back();
            rest = after;
        }
        out + rest
    }

    /// The name of a file with an absolute path; the text itself where it is none.
    fn name<'a>(&self, path: &'a str) -> &'a str {
        let mut parts = path.split('/').skip(1);
        let is_path = parts.next().is_some_and(|top| self.top.contains(OsStr::new(top)))
            && parts.next().is_some()
            // Whatever an engine calls an operator, it lies in no folder.
            && Path::new(path).parent().is_some_and(Path::is_dir);
        let name = path.trim_end_matches('/').rsplit('/').next();
        if is_path { name.unwrap_or(path) } else { path }
    }
}

fn begins_a_path(before: char) -> bool {
    before.is_whitespace() || "\"'`(=:[<,".contains(before)
}

fn ends_a_path(c: char) -> bool {
    c.is_whitespace() || "\"'`()\\,;:[]<>".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_outside_have_names_by_which_they_are_found_here() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("checkout");
        fs::create_dir_all(root.join("models"))?;
        let workspace = Workspace::at(root.clone());
        let mut places = Places::default();
        let mut names = Vec::new();
        for file in ["checkout/models/m.onnx", "a/m.onnx", "b/m.onnx", "a/m.onnx"] {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().context("a folder")?)?;
            fs::write(&file, "")?;
            let name = places.name(&workspace, &file);
            assert_eq!(
                places.place(&workspace, &name).canonicalize()?,
                file.canonicalize()?
            );
            assert_eq!(places.find(&workspace, &file), name);
            names.push(name.display().to_string());
        }
        let expected = [
            "models/m.onnx",
            "outside/m.onnx",
            "outside-2/m.onnx",
            "outside/m.onnx",
        ];
        assert_eq!(names, expected);
        places.write(&root)?;
        assert_eq!(Places::read(&root)?, places);
        Ok(())
    }

    #[test]
    fn text_tells_names_and_no_folders() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let other = tempfile::tempdir()?;
        let shortener = Shortener::new(folder.path());
        let inside = folder.path().display();
        let outside = other.path().display();
        for (text, expected) in [
            (format!("no {inside}/module"), "no module"),
            (
                format!("cannot read {outside}/lib.so: gone"),
                "cannot read lib.so: gone",
            ),
            (
                format!("{{\"library\":\"{outside}/lib.so\"}}"),
                "{\"library\":\"lib.so\"}",
            ),
            // Names of operators, fractions, and what is no path.
            (
                "/model/conv/Conv_output_0".into(),
                "/model/conv/Conv_output_0",
            ),
            ("{\"name\":\"/tmp\"}".into(), "{\"name\":\"/tmp\"}"),
            (
                "1/2 of a/b, https://example.org/a".into(),
                "1/2 of a/b, https://example.org/a",
            ),
        ] {
            assert_eq!(shortener.shorten(&text), expected);
        }
        Ok(())
    }
}
