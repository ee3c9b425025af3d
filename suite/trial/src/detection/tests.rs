use proptest::prelude::*;

use super::*;

fn spec() -> DetectionSpec {
    DetectionSpec {
        boxes: "loc".into(),
        scores: "conf".into(),
        variances: [0.1, 0.2],
        score_threshold: 0.5,
        nms_iou: 0.3,
        level: vec![
            Level {
                stride: 32,
                sizes: vec![32.0, 48.0],
                densities: vec![],
            },
            Level {
                stride: 64,
                sizes: vec![100.0],
                densities: vec![],
            },
        ],
    }
}

#[test]
fn priors_run_by_level_row_column_size() {
    let priors = spec().priors((64, 96));
    assert_eq!(priors.len(), 2 * 3 * 2 + 2);
    assert_eq!(
        priors[0],
        Prior {
            x: 16.0,
            y: 16.0,
            side: 32.0
        }
    );
    assert_eq!(
        priors[1],
        Prior {
            x: 16.0,
            y: 16.0,
            side: 48.0
        }
    );
    assert_eq!(
        priors[2],
        Prior {
            x: 48.0,
            y: 16.0,
            side: 32.0
        }
    );
    assert_eq!(
        priors[6],
        Prior {
            x: 16.0,
            y: 48.0,
            side: 32.0
        }
    );
    assert_eq!(
        priors[12],
        Prior {
            x: 32.0,
            y: 32.0,
            side: 100.0
        }
    );
    assert_eq!(
        priors[13],
        Prior {
            x: 96.0,
            y: 32.0,
            side: 100.0
        }
    );
}

#[test]
fn dense_priors_begin_in_the_corner_of_their_cell() {
    let mut spec = spec();
    spec.level.truncate(1);
    spec.level[0].densities = vec![2, 1];
    let priors = spec.priors((32, 64));
    let places: Vec<(f32, f32, f32)> = priors.iter().map(|p| (p.x, p.y, p.side)).collect();
    let first = [
        (0.0, 0.0, 32.0),
        (16.0, 0.0, 32.0),
        (0.0, 16.0, 32.0),
        (16.0, 16.0, 32.0),
        (16.0, 16.0, 48.0),
        (32.0, 0.0, 32.0),
    ];
    assert_eq!(places.len(), 2 * 5);
    assert_eq!(places[..6], first);
}

#[test]
fn a_box_equal_to_its_prior_has_no_offsets() {
    let prior = Prior {
        x: 50.0,
        y: 60.0,
        side: 20.0,
    };
    let bbox = decode(&prior, &[0.0; 4], [0.1, 0.2]);
    assert_eq!(
        bbox,
        BBox {
            left: 40.0,
            top: 50.0,
            right: 60.0,
            bottom: 70.0
        }
    );
}

fn boxes() -> impl Strategy<Value = BBox> {
    (0f32..600.0, 0f32..400.0, 1f32..200.0, 1f32..200.0).prop_map(|(left, top, w, h)| BBox {
        left,
        top,
        right: left + w,
        bottom: top + h,
    })
}

fn detections() -> impl Strategy<Value = Vec<Detection>> {
    let one = (boxes(), 0f32..1.0).prop_map(|(bbox, score)| Detection { bbox, score });
    proptest::collection::vec(one, 0..40)
}

/// The definition, without any cleverness: a box stays if no better box that stays overlaps it.
fn suppress_by_definition(all: &[Detection], max_iou: f32) -> Vec<Detection> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| all[b].score.total_cmp(&all[a].score).then(a.cmp(&b)));
    let mut alive = vec![true; all.len()];
    for (rank, &i) in order.iter().enumerate() {
        for &j in &order[rank + 1..] {
            if alive[i] && all[i].bbox.iou(&all[j].bbox) > max_iou {
                alive[j] = false;
            }
        }
    }
    order
        .into_iter()
        .filter(|&i| alive[i])
        .map(|i| all[i])
        .collect()
}

proptest! {
    #[test]
    fn encoding_inverts_decoding(
        x in 0f32..640.0, y in 0f32..480.0, side in 16f32..400.0,
        offsets in proptest::array::uniform4(-5f32..5.0),
    ) {
        let prior = Prior { x, y, side };
        let bbox = decode(&prior, &offsets, [0.1, 0.2]);
        let back = encode(&prior, &bbox, [0.1, 0.2]);
        for (a, b) in offsets.iter().zip(back) {
            // Pixel coordinates of up to 1000 have an ulp of 6e-5, divided by 0.1 x 16 pixels.
            prop_assert!((a - b).abs() < 1e-3, "{offsets:?} became {back:?}");
        }
    }

    #[test]
    fn overlap_is_symmetric_and_bounded(a in boxes(), b in boxes()) {
        prop_assert_eq!(a.iou(&b), b.iou(&a));
        prop_assert!((0.0..=1.0).contains(&a.iou(&b)));
        prop_assert!((a.iou(&a) - 1.0).abs() < 1e-4);
    }

    #[test]
    fn suppression_is_the_definition(all in detections(), max_iou in 0.1f32..0.9) {
        prop_assert_eq!(suppress(all.clone(), max_iou), suppress_by_definition(&all, max_iou));
    }

    #[test]
    fn matching_is_one_to_one(a in proptest::collection::vec(boxes(), 0..12), b in proptest::collection::vec(boxes(), 0..12)) {
        let m = match_boxes(&a, &b, 0.3);
        prop_assert_eq!(m.pairs.len() + m.missed.len(), a.len());
        prop_assert_eq!(m.pairs.len() + m.extra.len(), b.len());
        let itself = match_boxes(&a, &a, 0.999);
        prop_assert!(itself.missed.is_empty() && itself.extra.is_empty());
    }
}
