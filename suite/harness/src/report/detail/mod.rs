//! What the pages say that every record has, as data. `templates/detail/` says it in words.

mod agreement;
mod agreement_tables;
mod trust;

pub(crate) use agreement::agreement;
pub(crate) use trust::trust;
