//! All that is particular to classifiers.

use anyhow::{Context, Result, ensure};
use firstpass_probe::Tensor;
use serde::{Deserialize, Serialize};

use crate::model::ModelDescription;

/// Which output holds the scores of classes, as a `model.toml` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassificationSpec {
    /// The output; its last axis is the classes.
    pub scores: String,
    /// So many of the best classes are compared.
    #[serde(default = "five")]
    pub top: usize,
}

fn five() -> usize {
    5
}

/// How far two engines agree on classes, over a number of classifications.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClassAgreement {
    pub classifications: usize,
    /// With the same best class.
    pub same_best: usize,
    /// With the same best classes, whatever their order.
    pub same_top: usize,
}

impl ClassAgreement {
    pub fn and(self, other: Self) -> Self {
        Self {
            classifications: self.classifications + other.classifications,
            same_best: self.same_best + other.same_best,
            same_top: self.same_top + other.same_top,
        }
    }
}

impl ClassificationSpec {
    pub(crate) fn check(&self, model: &ModelDescription) -> Result<()> {
        let output = model.outputs.iter().find(|o| o.name == self.scores);
        let output = output.with_context(|| {
            format!(
                "[classification] names an output {:?} that is not there",
                self.scores
            )
        })?;
        ensure!(
            self.top > 0,
            "[classification] compares at least the best class"
        );
        if let Some(shape) = &output.shape {
            let classes = shape.last().copied().unwrap_or_default();
            ensure!(
                classes >= self.top,
                "[classification] compares {} classes, but {:?} has {classes}",
                self.top,
                self.scores
            );
        }
        Ok(())
    }

    /// The classes of two engines for one input; nothing where one gave no scores.
    pub fn compare(
        &self,
        model: &ModelDescription,
        reference: &[Tensor],
        other: &[Tensor],
    ) -> ClassAgreement {
        let position = model.outputs.iter().position(|o| o.name == self.scores);
        let classes = |outputs: &[Tensor]| Some(self.best(outputs.get(position?)?));
        let (Some(reference), Some(other)) = (classes(reference), classes(other)) else {
            return ClassAgreement::default();
        };
        let mut agreement = ClassAgreement::default();
        for (a, b) in reference.iter().zip(&other) {
            let sorted = |classes: &[usize]| {
                let mut classes = classes.to_vec();
                classes.sort_unstable();
                classes
            };
            agreement.classifications += 1;
            agreement.same_best += usize::from(a.first() == b.first());
            agreement.same_top += usize::from(sorted(a) == sorted(b));
        }
        agreement
    }

    /// The best classes of each row, best first; of equal scores the first.
    fn best(&self, scores: &Tensor) -> Vec<Vec<usize>> {
        let classes = scores.shape().last().copied().unwrap_or_default().max(1);
        let values = scores.data().to_f64s();
        let rows = values.chunks(classes);
        rows.map(|row| {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            order.truncate(self.top);
            order
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{OutputSpec, Precision};

    #[test]
    fn classes_are_compared_row_by_row() -> Result<()> {
        let mut model = ModelDescription::for_tests(Precision::Fp32);
        model.outputs = vec![OutputSpec {
            name: "scores".into(),
            shape: Some(vec![2, 3]),
            ..OutputSpec::default()
        }];
        let spec = ClassificationSpec {
            scores: "scores".into(),
            top: 2,
        };
        spec.check(&model)?;
        let scores = |values: [f32; 6]| Tensor::new(&[2, 3], values.to_vec());
        let a = [scores([0.1, 0.9, 0.5, 3.0, 2.0, 1.0])?];
        // The first row swaps its two best; the second has another second.
        let b = [scores([0.1, 0.5, 0.9, 3.0, 1.0, 2.0])?];
        assert_eq!(
            spec.compare(&model, &a, &b),
            ClassAgreement {
                classifications: 2,
                same_best: 1,
                same_top: 1
            }
        );
        assert_eq!(spec.compare(&model, &a, &[]), ClassAgreement::default());
        let unknown = ClassificationSpec {
            scores: "other".into(),
            top: 1,
        };
        assert!(unknown.check(&model).is_err());
        Ok(())
    }
}
