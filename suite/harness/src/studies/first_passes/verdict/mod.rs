//! The verdict as data: who agrees, how slow the first passes are, who is fastest. Templates say it in words.

mod agreement;
mod holds;
mod time;

use firstpass_trial::model::ModelDescription;

use crate::studies::first_passes::analysis::Analysis;

pub(crate) use agreement::{Agreement, ComparedWith, compared_with};
pub(crate) use holds::{Holds, what_holds};
pub(crate) use time::Time;

/// Who agrees, model by model.
pub(crate) fn of_agreement(analysis: &Analysis) -> Vec<Agreement> {
    by_model(analysis, |model| Agreement::of(analysis, model))
}

/// Whose first passes are slow and who is fastest, model by model.
pub(crate) fn of_time(analysis: &Analysis) -> Vec<Time> {
    by_model(analysis, |model| Time::of(analysis, model))
}

/// What there is to say of each model; nothing of a model of which there is nothing.
fn by_model<T>(analysis: &Analysis, of: impl Fn(&ModelDescription) -> Option<T>) -> Vec<T> {
    analysis.models().iter().filter_map(of).collect()
}
