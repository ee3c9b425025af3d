//! That recording gives every quantized activation, and changes none.

use std::path::Path;

use firstpass_conformance::Test;
use firstpass_libtorch::Libtorch;
use firstpass_probe::{
    Activation, Backend, Format, Knobs, Model, OutputSpec, Result, Session, Tensor, TensorSpec,
};

pub fn tests() -> Vec<Test> {
    firstpass_conformance::tests![
        every_activation_is_recorded_once_and_none_is_changed,
        values_are_dequantized_and_in_order,
    ]
}

fn model() -> Model {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
    Model {
        name: "faceboxes-int8-per-channel".into(),
        format: Format::TORCHSCRIPT,
        path: fixtures.join("faceboxes-int8-per-channel/model.pt"),
        inputs: vec![TensorSpec::f32("image", [1, 3, 480, 640])],
        outputs: vec![
            OutputSpec::new("loc", [1, 1200, 4]),
            OutputSpec::new("conf", [1200, 1]),
        ],
    }
}

/// Values between -1 and 1 that differ from place to place.
fn input() -> Result<Tensor> {
    let count = 3 * 480 * 640;
    let values = (0..count).map(|n| ((n * 7919) % 2001) as f32 / 1000.0 - 1.0);
    Tensor::new(&[1, 3, 480, 640], values.collect::<Vec<f32>>())
}

fn every_activation_is_recorded_once_and_none_is_changed() -> Result<()> {
    let (model, input) = (model(), input()?);
    let plain =
        Session::<Libtorch>::open(&model, &Knobs::default())?.pass(std::slice::from_ref(&input))?;
    let engine = Libtorch::start(&Knobs::default())?;
    let recording = Libtorch::activations(&engine, &model, std::slice::from_ref(&input))?;
    let bits = |tensors: &[Tensor]| -> Vec<String> { tensors.iter().map(Tensor::sha256).collect() };
    assert_eq!(bits(&recording.outputs), bits(&plain));

    let activations = &recording.activations;
    let of = |kind: &str| {
        let kinds = activations.iter().map(|found| &found.quantization.kind);
        kinds.filter(|found| *found == kind).count()
    };
    assert_eq!(of("aten::quantize_per_tensor"), 1);
    let convolutions = of("quantized::conv2d") + of("quantized::conv2d_relu");
    assert_eq!(convolutions, 63);
    assert!(of("quantized::add") > 0);
    for name in [
        "aten::permute",
        "aten::view",
        "aten::_empty_affine_quantized",
    ] {
        assert_eq!(of(name), 0, "{name} computes nothing");
    }
    let shape = input.shape();
    let like_the_input = activations
        .iter()
        .filter(|found| found.values.shape() == shape);
    assert_eq!(like_the_input.count(), 1, "a convolution copies it");
    Ok(())
}

/// The values are whole steps in the order of the dimensions: the first is the input, quantized.
fn values_are_dequantized_and_in_order() -> Result<()> {
    let input = input()?;
    let engine = Libtorch::start(&Knobs::default())?;
    let recording = Libtorch::activations(&engine, &model(), std::slice::from_ref(&input))?;
    let Some(Activation {
        quantization,
        values,
    }) = recording.activations.first()
    else {
        panic!("nothing is recorded");
    };
    assert_eq!(values.shape(), input.shape());
    for (value, original) in values.f32s()?.iter().zip(input.f32s()?) {
        let step = f64::from(*value) / quantization.scale;
        assert!((step - step.round()).abs() < 1e-3, "{value} is no step");
        let integer = step.round() as i64 + quantization.zero_point;
        assert!((0..=255).contains(&integer), "{integer}");
        // Out of range it is the nearest that there is.
        let ends = [0, 127, 255].contains(&integer);
        let near = (f64::from(*value) - f64::from(*original)).abs() <= 0.501 * quantization.scale;
        assert!(near || ends, "{original} became {value}");
    }
    for found in &recording.activations {
        assert!(found.quantization.scale > 0.0, "{:?}", found.quantization);
    }
    Ok(())
}
