//! Where models of the user's own are described that a command names by their files: beside the reports, each in
//! a folder of its own, with the inputs that were made up for it, and with what commands measure of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use firstpass_native::Lock;
use firstpass_probe::file_name;
use sha2::{Digest, Sha256};

use crate::{model::ModelDescription, regular_file, sample::Sample, workspace::Workspace};

/// The file in such a folder that says whose it is.
const SOURCE: &str = "source.txt";

/// The folder within it that holds made-up inputs.
pub const INPUTS: &str = "inputs";

/// What the names of made-up inputs begin with.
pub const MADE_UP: &str = "random-";

/// Whether inputs in a file were made up, by its name.
pub fn is_made_up(file: &Path) -> bool {
    let name = file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let is_in = file.parent().is_some_and(|folder| folder.ends_with(INPUTS));
    is_in && name.is_some_and(|name| name.starts_with(MADE_UP))
}

/// Whether a path is that of a model itself, and of no description of one.
pub fn is_model_file(path: &Path) -> bool {
    path.is_file() && path.extension().is_none_or(|extension| extension != "toml")
}

/// The folder below `all` for what belongs to a model of this name from this file: named after the model, and
/// after its file too where another model has that folder already. Two files of one name never share a folder.
pub fn folder(all: &Path, name: &str, source: &Path) -> PathBuf {
    let plain = all.join(file_name(name));
    if !plain.exists() || belongs_to(&plain, source) {
        return plain;
    }
    let digest = Sha256::digest(absolute(source).as_os_str().as_encoded_bytes());
    let digits: String = digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    all.join(format!("{}-{digits}", file_name(name)))
}

/// [`folder`], made that of this model: of two commands that begin at once with two files of one name, each gets a
/// folder of its own.
///
/// # Errors
/// Fails where it cannot be written.
pub fn claimed(all: &Path, name: &str, source: &Path) -> Result<PathBuf> {
    // Between looking and claiming nobody else may do either; it takes no time.
    let _lock = Lock::wait(&all.join(".folders.lock"), |_| ()).with_context(|| {
        format!(
            "cannot write to {}; give a writable folder with --out",
            all.display()
        )
    })?;
    let folder = folder(all, name, source);
    claim(&folder, source)?;
    Ok(folder)
}

/// Whether what lies in a folder belongs to the model from this file; of one that holds nothing it does.
pub fn belongs_to(folder: &Path, source: &Path) -> bool {
    match regular_file::read_text(&folder.join(SOURCE)) {
        Ok(text) => Path::new(text.trim_end_matches('\n')) == absolute(source),
        Err(_) => std::fs::read_dir(folder).is_ok_and(|mut all| all.next().is_none()),
    }
}

/// Makes a folder that of the model from this file.
///
/// # Errors
/// Fails where the folder cannot be written, and where it is that of another model.
pub fn claim(folder: &Path, source: &Path) -> Result<()> {
    let unwritable = || {
        format!(
            "cannot write to {}; give a writable folder with --out",
            folder.display()
        )
    };
    std::fs::create_dir_all(folder).with_context(unwritable)?;
    let path = folder.join(SOURCE);
    if let Ok(other) = regular_file::read_text(&path)
        && !belongs_to(folder, source)
    {
        bail!(
            "{} holds what belongs to {}; give another folder with --out",
            folder.display(),
            other.trim_end()
        );
    }
    let text = format!("{}\n", absolute(source).display());
    regular_file::replace(&path, |new| Ok(std::fs::write(new, text)?)).with_context(unwritable)
}

/// Where the models lie that commands name by their files.
pub fn described(workspace: &Workspace) -> PathBuf {
    workspace.reports().join("quick/models")
}

/// The folder for what a command measures of these models, which are of the user's own; `None` where one of them is of
/// the fixtures, or there are none.
///
/// # Errors
/// Fails where it cannot be written.
pub fn place(workspace: &Workspace, models: &[ModelDescription]) -> Result<Option<PathBuf>> {
    let fixtures = absolute(&workspace.fixtures());
    let is_own = |model: &ModelDescription| !absolute(&model.file).starts_with(&fixtures);
    if models.is_empty() || !models.iter().all(is_own) {
        return Ok(None);
    }
    let all = described(workspace);
    if let [model] = models
        && let Some(folder) = model.file.parent()
        && folder.starts_with(&all)
    {
        let mut folders = folder.ancestors();
        let own = folders.find(|folder| folder.join(SOURCE).is_file());
        return Ok(Some(own.unwrap_or(folder).to_owned()));
    }
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let sources: Vec<String> = models
        .iter()
        .map(|model| absolute(&model.file).display().to_string())
        .collect();
    claimed(&all, &names.join("+"), Path::new(&sources.join("+"))).map(Some)
}

/// The description that was made of a model file for this command.
///
/// # Errors
/// Fails where there is none.
pub fn read(workspace: &Workspace, file: &Path) -> Result<ModelDescription> {
    let folder = workspace.own_models().folder(file).with_context(|| {
        format!(
            "{0} is not described; `cargo firstpass init {0}` does that, and --model takes what it writes",
            file.display()
        )
    })?;
    ModelDescription::read(&folder.join("model.toml"))
}

/// The inputs that were made up for a model of the user's own; none where none were.
pub fn made_up(workspace: &Workspace, model: &ModelDescription) -> Vec<Sample> {
    let folder = match model.file.parent() {
        Some(own) if own.starts_with(described(workspace)) => Some(own.to_owned()),
        _ => workspace.own_models().folder(&model.file),
    };
    let entries = folder.map(|folder| std::fs::read_dir(folder.join(INPUTS)));
    let entries = entries.into_iter().flatten().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.retain(|file| is_made_up(file));
    files.sort();
    files.iter().map(|file| Sample::from_file(file)).collect()
}

/// Where this command has described the models of the user's own that it was given, by their files. Another command
/// may describe the same file another way meanwhile, with other shapes for example.
#[derive(Debug, Clone, Default)]
pub struct OwnModels(Arc<Mutex<BTreeMap<PathBuf, PathBuf>>>);

impl OwnModels {
    /// What belongs to the model from this file lies in this folder.
    pub fn insert(&self, file: &Path, folder: PathBuf) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(absolute(file), folder);
    }

    fn folder(&self, file: &Path) -> Option<PathBuf> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&absolute(file)).cloned()
    }
}

fn absolute(path: &Path) -> PathBuf {
    let found = path.canonicalize().or_else(|_| std::path::absolute(path));
    found.unwrap_or_else(|_| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name_of_file;

    #[test]
    fn two_files_of_one_name_never_share_a_folder() -> Result<()> {
        let root = tempfile::tempdir()?;
        let all = root.path().join("all");
        let mut folders = Vec::new();
        for of in ["a", "b"] {
            let file = root.path().join(of).join("modèle à moi.onnx");
            std::fs::create_dir_all(root.path().join(of))?;
            std::fs::write(&file, "")?;
            let folder = folder(&all, &name_of_file(&file), &file);
            claim(&folder, &file)?;
            // The same again is the same.
            assert_eq!(super::folder(&all, &name_of_file(&file), &file), folder);
            claim(&folder, &file)?;
            folders.push((folder, file));
        }
        assert_eq!(folders[0].0, all.join("modèle à moi"));
        assert_ne!(folders[0].0, folders[1].0);
        let error = claim(&folders[0].0, &folders[1].1).expect_err("of another");
        assert!(error.to_string().contains("belongs to"), "{error}");
        // Nor do commands that begin at once.
        for _ in 0..20 {
            let all = tempfile::tempdir()?;
            let claimed = |file: &Path| claimed(all.path(), &name_of_file(file), file);
            let (one, other) = std::thread::scope(|scope| {
                let other = scope.spawn(|| claimed(&folders[1].1));
                (claimed(&folders[0].1), other.join().expect("no panic"))
            });
            assert_ne!(one?, other?);
        }
        // What was there before, of nobody knows whom, is left alone.
        let strange = all.join("strange");
        std::fs::create_dir_all(strange.join("records"))?;
        assert_ne!(folder(&all, "strange", &folders[0].1), strange);
        Ok(())
    }
}
