//! Properties of a backend as a library, in one process, on generated images.

use std::time::{Duration, Instant};

use firstpass_probe::{Backend, Knobs, Session, Tensor, Tensors};
use firstpass_trial::{model::Activation, sample::to_input};
use libtest_mimic::{Failed, Trial};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    alone,
    context::{Artifact, Context},
};

/// Pictures that a property is tried on, each with up to three passes.
const CASES: u32 = 8;

/// The same where a pass takes longer than [`SLOW`], as those of a referee and of some engines of floats do.
const CASES_IF_SLOW: u32 = 2;

const SLOW: Duration = Duration::from_millis(400);

/// A picture described by what a person would call it, so that a failing one shrinks to a simple one.
#[derive(Debug, Clone)]
enum Picture {
    Flat([u8; 3]),
    Stripes { width: u32, colours: [[u8; 3]; 2] },
    Noise { seed: u64, low: u8, high: u8 },
}

fn pictures() -> impl Strategy<Value = Picture> {
    let colour = || any::<[u8; 3]>();
    prop_oneof![
        colour().prop_map(Picture::Flat),
        (1u32..200, colour(), colour()).prop_map(|(width, a, b)| Picture::Stripes {
            width,
            colours: [a, b]
        }),
        (any::<u64>(), any::<u8>(), any::<u8>()).prop_map(|(seed, a, b)| Picture::Noise {
            seed,
            low: a.min(b),
            high: a.max(b)
        }),
    ]
}

impl Picture {
    fn tensor(&self, artifact: &Artifact) -> Result<Tensor, TestCaseError> {
        let of = artifact.description.picture();
        let of = of.ok_or_else(|| fail("the model takes no pictures".into()))?;
        let mut picture = image(of.width, of.height);
        match self {
            Self::Flat(colour) => picture.pixels_mut().for_each(|p| p.0 = *colour),
            Self::Stripes { width, colours } => {
                for (x, _, pixel) in picture.enumerate_pixels_mut() {
                    pixel.0 = colours[usize::from(x / width % 2 == 1)];
                }
            }
            Self::Noise { seed, low, high } => {
                let mut random = StdRng::seed_from_u64(*seed);
                picture
                    .pixels_mut()
                    .for_each(|p| p.0 = std::array::from_fn(|_| random.random_range(*low..=*high)));
            }
        }
        to_input(&picture, &of).map_err(|e| fail(format!("{e:#}")))
    }
}

fn image(width: usize, height: usize) -> firstpass_trial::sample::RgbImage {
    // A model's input is far smaller than 2³² pixels a side.
    firstpass_trial::sample::RgbImage::new(
        u32::try_from(width).unwrap_or(u32::MAX),
        u32::try_from(height).unwrap_or(u32::MAX),
    )
}

pub fn tests<B: Backend + 'static>(context: &Context) -> Vec<Trial> {
    vec![
        property::<B>(
            context,
            "the same input gives the same bits",
            |session, artifact, a, _| {
                let a = a.tensor(artifact)?;
                let first = pass(session, &a)?;
                same_bits(&first, &pass(session, &a)?)
            },
        ),
        property::<B>(
            context,
            "an input in between changes nothing",
            |session, artifact, a, b| {
                let (a, b) = (a.tensor(artifact)?, b.tensor(artifact)?);
                let first = pass(session, &a)?;
                pass(session, &b)?;
                same_bits(&first, &pass(session, &a)?)
            },
        ),
        property::<B>(
            context,
            "outputs are finite and in range",
            |session, artifact, a, _| {
                let outputs = pass(session, &a.tensor(artifact)?)?;
                for (spec, output) in artifact.description.outputs.iter().zip(&outputs) {
                    for value in output.f32s().map_err(|e| fail(e.to_string()))? {
                        prop_assert!(value.is_finite(), "{} holds {value}", spec.name);
                        if spec.activation == Activation::Sigmoid {
                            prop_assert!(
                                (0.0..=1.0).contains(value),
                                "{} holds {value}",
                                spec.name
                            );
                        }
                    }
                }
                Ok(())
            },
        ),
    ]
}

type Property<B> = fn(&mut Session<B>, &Artifact, &Picture, &Picture) -> Result<(), TestCaseError>;

fn property<B: Backend + 'static>(context: &Context, name: &str, holds: Property<B>) -> Trial {
    let context = context.clone();
    Trial::test(format!("any image: {name}"), move || {
        let _alone = alone();
        let artifact = context
            .artifact::<B>()
            .map_err(|e| Failed::from(format!("{e:#}")))?;
        let session = Session::<B>::open(&artifact.file, &Knobs::default());
        let session = std::cell::RefCell::new(session.map_err(|e| Failed::from(e.to_string()))?);
        let grey = Picture::Flat([127; 3]).tensor(&artifact)?;
        // The first pass may be slow by itself.
        pass(&mut session.borrow_mut(), &grey)?;
        let begin = Instant::now();
        pass(&mut session.borrow_mut(), &grey)?;
        let is_slow = begin.elapsed() > SLOW;
        let mut runner = TestRunner::new(Config {
            cases: if is_slow { CASES_IF_SLOW } else { CASES },
            // Found cases are printed; a file of seeds would be written beside a built binary.
            failure_persistence: None,
            max_shrink_iters: 64,
            ..Config::default()
        });
        let done = runner.run(&(pictures(), pictures()), |(a, b)| {
            holds(&mut session.borrow_mut(), &artifact, &a, &b)
        });
        done.map_err(|error| match error {
            TestError::Fail(why, pictures) => Failed::from(format!("{why} for {pictures:?}")),
            TestError::Abort(why) => Failed::from(why.to_string()),
        })
    })
}

fn pass<B: Backend>(session: &mut Session<B>, input: &Tensor) -> Result<Tensors, TestCaseError> {
    session
        .pass(std::slice::from_ref(input))
        .map_err(|e| fail(e.to_string()))
}

fn same_bits(a: &Tensors, b: &Tensors) -> Result<(), TestCaseError> {
    for (x, y) in a.iter().zip(b) {
        prop_assert_eq!(x.dtype(), y.dtype());
        let both = x.data().bytes().iter().zip(y.data().bytes());
        prop_assert_eq!(both.filter(|(x, y)| x != y).count(), 0);
    }
    Ok(())
}

fn fail(message: String) -> TestCaseError {
    TestCaseError::fail(message)
}
