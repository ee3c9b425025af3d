//! Optimized models, saved ahead of the process that runs them.

use std::{
    fs::{self, Metadata},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use firstpass_probe::{Backend, EngineResult, Error, Model, Result, prepared_folder};
use ort::session::builder::SessionBuilder;

use crate::{Engine, OnnxRuntime, options::Use};

/// The weights beside a model of [`Form::Prepacked`].
const WEIGHTS: &str = "weights.bin";

/// The oldest release that maps models of its own format, as 1.x. Others ignore the setting.
const OLDEST_THAT_MAPS: u32 = 27;

/// In which form a model is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    Onnx,
    /// ONNX Runtime's own format, which is not parsed but read in place.
    Ort,
    /// The same file, mapped into memory, where the weights stay.
    OrtMapped,
    /// ONNX with its weights in another file, which is mapped, in the layout of the kernels.
    Prepacked,
}

impl Form {
    fn file_name(self) -> &'static str {
        match self {
            Self::Onnx | Self::Prepacked => "model.onnx",
            Self::Ort | Self::OrtMapped => "model.ort",
        }
    }

    /// What a session that saves this form needs to know.
    fn saving(self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        Ok(match self {
            Self::Onnx => builder,
            Self::Ort | Self::OrtMapped => {
                builder.with_config_entry("session.save_model_format", "ORT")?
            }
            Self::Prepacked => builder
                .with_config_entry(
                    "session.optimized_model_external_initializers_file_name",
                    WEIGHTS,
                )?
                .with_config_entry(
                    "session.optimized_model_external_initializers_min_size_in_bytes",
                    "1024",
                )?
                .with_config_entry("session.save_external_prepacked_constant_initializers", "1")?,
        })
    }

    /// What a session that loads this form needs to know.
    fn loading(self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        Ok(match self {
            Self::Onnx | Self::Prepacked => builder,
            Self::Ort => builder.with_config_entry("session.load_model_format", "ORT")?,
            Self::OrtMapped => builder
                .with_config_entry("session.load_model_format", "ORT")?
                .with_config_entry("session.use_memory_mapped_ort_model", "1")?
                .with_config_entry("session.use_ort_model_bytes_for_initializers", "1")?,
        })
    }
}

/// A builder and the file that it is to load: the model, or what was prepared of it, which is made
/// now if it is not there yet.
pub(crate) fn builder(
    engine: &Engine,
    model: &Model,
    profile: Option<&Path>,
) -> Result<(SessionBuilder, PathBuf)> {
    let environment = &engine.runtime.environment;
    let Some(form) = engine.options.form() else {
        let wanted = Use {
            optimized: false,
            profile,
        };
        let builder = engine.options.builder(environment, wanted).engine()?;
        return Ok((builder, model.path.clone()));
    };
    if form == Form::OrtMapped && engine.runtime.minor < OLDEST_THAT_MAPS {
        return Err(Error::unsupported(format!(
            "ONNX Runtime {} does not map models; 1.{OLDEST_THAT_MAPS} or newer does",
            engine.runtime.version
        )));
    }
    let file = folder(engine, model, form)?.join(form.file_name());
    if !file.exists() {
        save(engine, model, form, &file)?;
    }
    let wanted = Use {
        optimized: true,
        profile,
    };
    let builder = engine.options.builder(environment, wanted);
    let builder = builder.and_then(|builder| form.loading(builder));
    Ok((builder.engine()?, file))
}

/// Where the prepared model lies: its name tells all that it was made from.
fn folder(engine: &Engine, model: &Model, form: Form) -> Result<PathBuf> {
    let unreadable = |error| {
        Error::from(error).context(format!("cannot prepare {} ahead", model.path.display()))
    };
    let path = fs::canonicalize(&model.path).map_err(unreadable)?;
    let metadata: Metadata = fs::metadata(&path).map_err(unreadable)?;
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    metadata.len().hash(&mut hasher);
    metadata.modified().map_err(unreadable)?.hash(&mut hasher);
    engine.runtime.version.hash(&mut hasher);
    form.hash(&mut hasher);
    engine.options.shaping().hash(&mut hasher);
    Ok(prepared_folder(OnnxRuntime::NAME)?.join(format!("{:016x}", hasher.finish())))
}

/// Saves the model in a folder of another name, which gets its own when all is written: a process
/// that is killed leaves nothing that looks complete.
fn save(engine: &Engine, model: &Model, form: Form, file: &Path) -> Result<()> {
    let root = prepared_folder(OnnxRuntime::NAME)?;
    let failed = |error: Error| {
        error.context(format!(
            "cannot save {} in {}; is there space, and may it be written?",
            model.path.display(),
            root.display()
        ))
    };
    let unfinished = tempfile::Builder::new()
        .prefix("unfinished-")
        .tempdir_in(&root)
        .map_err(|e| failed(e.into()))?;
    let session = || {
        let environment = &engine.runtime.environment;
        let builder = engine.options.builder(environment, Use::default())?;
        let path = unfinished.path().join(form.file_name());
        let builder = builder.with_optimized_model_path(path)?;
        form.saving(builder)?.commit_from_file(&model.path)
    };
    session().engine().map_err(failed)?;
    let finished = file.parent().unwrap_or(file);
    match fs::rename(unfinished.path(), finished) {
        // Another process was faster, and has made the same.
        Err(_) if file.exists() => Ok(()),
        Err(error) => Err(failed(error.into())),
        Ok(()) => Ok(()),
    }
}
