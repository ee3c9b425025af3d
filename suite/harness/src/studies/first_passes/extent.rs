//! How far outputs are from those that they are compared with, in a few words.

use firstpass_trial::{agreement::Agreement, expectation::share_of_scale};

use crate::{page::numbers::percent_rounded_down, studies::first_passes::row::Row};

/// The share of values that are the same quantization step, or for lack of steps the same bits.
pub(crate) fn exact(row: &Row) -> Option<String> {
    let agreements = row.agreement.as_deref()?;
    let counts = agreements.iter().map(|a| match &a.steps {
        Some(steps) => (steps.histogram[0], steps.histogram.iter().sum::<usize>()),
        None => (a.same_bits, a.values),
    });
    let (same, all) = counts.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (all > 0).then(|| percent_rounded_down(same as f64 / all as f64))
}

/// How far the outputs are off that are off the most; `None` where that is no number.
pub(crate) fn extent(agreements: &[Agreement]) -> Option<String> {
    if agreements.iter().any(|a| a.other_shape + a.not_finite > 0) {
        return None;
    }
    // The faults of others than outputs, such as faces, have no extent.
    if agreements.iter().all(Agreement::bit_equal) {
        return None;
    }
    let steps = agreements.iter().map(|a| Some(a.steps.as_ref()?.max));
    match steps.collect::<Option<Vec<u64>>>() {
        Some(steps) => match steps.into_iter().max()? {
            0 => None,
            1 => Some("1 step".into()),
            most => Some(format!("≤ {most} steps")),
        },
        None => {
            let relative = agreements.iter().map(|a| a.max_relative);
            let most = share_of_scale(relative.fold(0.0, f64::max));
            Some(format!("≤ {most} relative error"))
        }
    }
}

#[cfg(test)]
mod tests {
    use firstpass_probe::Tensor;

    use super::*;
    use firstpass_trial::{
        agreement::compare,
        model::{OutputSpec, Precision, StepSpec},
    };

    /// Of outputs 1 and this, with steps of this scale or none.
    fn agreement(other: f32, scale: Option<f64>) -> anyhow::Result<Agreement> {
        let spec = OutputSpec {
            name: "x".into(),
            steps: scale
                .map(|scale| StepSpec { elements: 1, scale })
                .into_iter()
                .collect(),
            ..OutputSpec::default()
        };
        let mut model = firstpass_trial::model::ModelDescription::for_tests(Precision::Int8);
        model.outputs = vec![spec];
        let tensors = [1.0, other].map(|value| [Tensor::new(&[1], vec![value])]);
        let [[Ok(reference)], [Ok(other)]] = tensors else {
            anyhow::bail!("one value has the shape [1]");
        };
        let mut agreements = compare(&model, &[(&[reference], &[other])]);
        Ok(agreements.remove(0))
    }

    #[test]
    fn a_difference_says_how_large_it_is() -> anyhow::Result<()> {
        let one = agreement(1.25, Some(0.25))?;
        let three = agreement(0.25, Some(0.25))?;
        let in_floats = agreement(1.5, None)?;
        let extent = |agreements: &[&Agreement]| {
            let agreements: Vec<Agreement> = agreements.iter().copied().cloned().collect();
            extent(&agreements)
        };
        assert_eq!(extent(&[&one]).as_deref(), Some("1 step"));
        assert_eq!(extent(&[&one, &three]).as_deref(), Some("≤ 3 steps"));
        let relative = Some("≤ 33 % relative error");
        assert_eq!(extent(&[&one, &in_floats]).as_deref(), relative);
        assert_eq!(extent(&[&agreement(f32::NAN, Some(0.25))?]), None);
        Ok(())
    }
}
