//! Whether the engines give the same answers.

use std::collections::BTreeMap;

use firstpass_trial::{
    agreement::{Agreement, against_known_faces, compare_detections},
    expectation::ExpectationVerdict,
    model::ModelDescription,
};
use serde::Serialize;

use crate::studies::first_passes::{
    analysis::{Analysis, Row},
    extent::extent,
    verdict,
};

/// Whether the engines agree with the reference, and with each other in what they find.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// Whose outputs the engines are compared with; `None` where there are none.
    pub reference: Option<String>,
    /// What stands in for golden outputs, and how sure that is.
    compared_with: Option<verdict::ComparedWith>,
    /// Engines that give the very integers of the reference.
    exact: Vec<String>,
    /// Engines that agree up to the rounding of f32.
    rounded: Vec<String>,
    /// Engines that are off by no more than rounding at halves gives.
    nearly: Vec<String>,
    /// Engines that are off by about as much as rules of rounding are from each other on this model.
    by_rule: Vec<String>,
    /// Differences of a known cause, the largest first.
    declared: Vec<Declared>,
    /// All of these engines.
    with_declared: Vec<String>,
    /// How far the one of these is off that is off the most, in words.
    farthest: Option<String>,
    /// Those that are as far off.
    farthest_off: Vec<String>,
    /// Engines that differ, and how.
    differing: Vec<Difference>,
    faces: Option<Faces>,
}

/// Engines that differ by the same known cause.
#[derive(Debug, Serialize)]
struct Declared {
    labels: Vec<String>,
    cause: String,
    /// How far the outputs are off that are off the most, in words; `None` where that is no number.
    extent: Option<String>,
}

#[derive(Debug, Serialize)]
struct Difference {
    label: String,
    how: String,
}

/// The faces that a detector finds, against those of the reference.
#[derive(Debug, Serialize)]
struct Faces {
    /// The faces of the reference.
    all: usize,
    /// Engines that find exactly these.
    same: Vec<String>,
    /// Engines that find others.
    other: Vec<OtherFaces>,
    /// Engines that ran on fewer photographs than others, for lack of time: they are compared on these.
    on_fewer: Vec<String>,
}

#[derive(Debug, Serialize)]
struct OtherFaces {
    labels: Vec<String>,
    missed: usize,
    extra: usize,
    /// How many of the extra ones are known faces of the photographs; `None` where nothing says that.
    real: Option<usize>,
}

pub(super) fn answer(analysis: &Analysis, model: &ModelDescription) -> Answer {
    let rows = analysis.rows(model);
    let with = |wanted: fn(&ExpectationVerdict) -> bool| {
        let found = rows
            .iter()
            .filter(|r| r.verdict.as_ref().is_some_and(wanted));
        found.map(|row| row.label.clone()).collect::<Vec<_>>()
    };
    let mut declared: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    let mut differing = Vec::new();
    for row in rows {
        match &row.verdict {
            Some(ExpectationVerdict::Declared { name, .. }) => {
                declared.entry(name).or_default().push(row);
            }
            Some(
                ExpectationVerdict::Differs(how)
                | ExpectationVerdict::Unexpected(how)
                | ExpectationVerdict::Undecided(how),
            ) if !how.is_empty() => {
                differing.push(Difference {
                    label: row.label.clone(),
                    how: how.join("; "),
                });
            }
            _ => {}
        }
    }
    let mut declared: Vec<(&str, Vec<&Row>)> = declared.into_iter().collect();
    let farthest = |rows: &[&Row]| rows.iter().map(|row| distance(row)).max();
    declared.sort_by_key(|(_, rows)| std::cmp::Reverse(farthest(rows)));
    let labels = |rows: &[&Row]| -> Vec<String> { rows.iter().map(|r| r.label.clone()).collect() };
    let extent_of = |rows: &[&Row]| {
        let of_rows = rows.iter().filter_map(|row| row.agreement.as_deref());
        extent(&of_rows.flatten().cloned().collect::<Vec<Agreement>>())
    };
    let all: Vec<&Row> = declared
        .iter()
        .flat_map(|(_, rows)| rows)
        .copied()
        .collect();
    let (mut with_declared, farthest) = (labels(&all), extent_of(&all));
    with_declared.sort_unstable_by_key(|label| rows.iter().position(|row| row.label == *label));
    let most = all.iter().map(|row| distance(row)).max();
    let farthest_off: Vec<&Row> = all
        .iter()
        .copied()
        .filter(|row| Some(distance(row)) == most)
        .collect();
    let farthest_off = labels(&farthest_off);
    let declared = declared.into_iter().map(|(cause, rows)| Declared {
        labels: labels(&rows),
        cause: cause.into(),
        extent: extent_of(&rows),
    });
    let declared = declared.collect();
    Answer {
        reference: analysis.reference(model),
        compared_with: verdict::compared_with(analysis, model),
        exact: with(|v| *v == ExpectationVerdict::Exact),
        rounded: with(|v| *v == ExpectationVerdict::FloatRounding),
        nearly: with(|v| {
            matches!(
                v,
                ExpectationVerdict::StepRounding(_) | ExpectationVerdict::InnerRounding(_)
            )
        }),
        by_rule: with(|v| matches!(v, ExpectationVerdict::OtherRounding { .. })),
        declared,
        with_declared,
        farthest,
        farthest_off,
        differing,
        faces: faces(analysis, model),
    }
}

/// What rows are sorted by: the largest difference in quantization steps, or for lack of steps in thousandths of the
/// scale of its output.
fn distance(row: &Row) -> u64 {
    let far = row.agreement.iter().flatten().map(|a| match &a.steps {
        Some(steps) => steps.max,
        None => (1000.0 * a.max_relative) as u64,
    });
    far.max().unwrap_or(0)
}

/// How many of the faces that only this engine finds are known ones; `None` where nothing says where faces are, and
/// where it misses others as well.
fn real_faces(analysis: &Analysis, model: &ModelDescription, row: &Row) -> Option<usize> {
    let found = row.golden_faces.as_ref()?;
    let reference = analysis.references.get(&model.name)?.outputs.as_ref()?;
    let detector = model.detection.as_ref()?;
    let (mut real, mut none) = (0, 0);
    for sample in analysis.samples() {
        let own = row.detections.get(&sample.name);
        let Some((own, tensors)) = own.zip(reference.get(&sample.name)) else {
            continue;
        };
        let there = detector.detect(model, tensors);
        if compare_detections(&there, own).same_faces() {
            continue;
        }
        let known = sample.faces.as_ref()?;
        let [(hit, _, no_face), (hit_there, _, no_face_there)] =
            [own, &there].map(|found| against_known_faces(known, found));
        real += hit.checked_sub(hit_there)?;
        none += no_face.checked_sub(no_face_there)?;
    }
    (found.missed == 0 && real + none == found.extra).then_some(real)
}

fn faces(analysis: &Analysis, model: &ModelDescription) -> Option<Faces> {
    type Other = (usize, usize, Option<usize>);
    let rows = analysis.rows(model);
    let mut same = Vec::new();
    let mut other: BTreeMap<Other, Vec<String>> = BTreeMap::new();
    let photographs = |row: &Row| row.outputs.as_ref().map_or(0, BTreeMap::len);
    let most = rows.iter().map(photographs).max().unwrap_or(0);
    let mut on_fewer = Vec::new();
    let mut all = 0;
    for row in rows {
        let Some(found) = &row.golden_faces else {
            continue;
        };
        all = all.max(found.matched + found.missed);
        if photographs(row) < most {
            on_fewer.push(row.label.clone());
        }
        if found.same_faces() {
            same.push(row.label.clone());
        } else {
            let real = real_faces(analysis, model, row);
            let labels = other.entry((found.missed, found.extra, real)).or_default();
            labels.push(row.label.clone());
        }
    }
    let is_known = !same.is_empty() || !other.is_empty();
    is_known.then(|| Faces {
        all,
        same,
        other: other
            .into_iter()
            .map(|((missed, extra, real), labels)| OtherFaces {
                labels,
                missed,
                extra,
                real,
            })
            .collect(),
        on_fewer,
    })
}
