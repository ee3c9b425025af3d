//! Functions of one value that the C library has one by one, and slowly: without branches, so that the
//! compiler makes vector code of loops over them ([`crate::kernels::Isa::run`]).

/// The logistic function in the arithmetic of libtorch, whichever machine runs it.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The exponential function as SLEEF's `expf_u10` computes it, which libtorch vectorises: the
/// function of the system's C library differs from it, and between machines, in the last bit.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// ln 2 in two parts, of which the first has few bits.
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    const COEFFICIENTS: [f32; 6] = [
        0.000_198_527_62,
        0.001_393_043_6,
        0.008_333_361,
        0.041_666_485,
        0.166_666_67,
        0.5,
    ];
    const SMALLEST: f32 = -104.0;
    const LARGEST: f32 = 100.0;
    // NaN stays what it is.
    let inside = if x < SMALLEST { SMALLEST } else { x };
    let inside = if inside > LARGEST { LARGEST } else { inside };
    let power = (inside * std::f32::consts::LOG2_E).round_ties_even();
    let rest = power.mul_add(-LN_2_LOW, power.mul_add(-LN_2_HIGH, inside));
    let [first, others @ ..] = COEFFICIENTS;
    let series = others
        .iter()
        .fold(first, |sum, &next| sum.mul_add(rest, next));
    let value = (rest * rest).mul_add(series, rest) + 1.0;
    // In two factors, because 2^power alone may be subnormal.
    let half = (power * 0.5).floor();
    let value = value * power_of_2(half) * power_of_2(power - half);
    let value = if x < SMALLEST { 0.0 } else { value };
    if x > LARGEST { f32::INFINITY } else { value }
}

/// 2 to the power of a whole number of -126 to 127.
#[inline(always)]
fn power_of_2(whole: f32) -> f32 {
    /// Added to a small whole number it leaves that number, plus the bias of exponents, in the lowest bits.
    const TO_LOWEST_BITS: f32 = (3 << 22) as f32 + 127.0;
    f32::from_bits((whole + TO_LOWEST_BITS).to_bits() << 23)
}

/// The hyperbolic tangent: by a polynomial near 0 (that of Cephes), by the exponential function elsewhere.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 5] = [
        -5.704_988_7e-3,
        2.063_909e-2,
        -5.373_971_6e-2,
        1.333_144_3e-1,
        -3.333_328e-1,
    ];
    let (size, square) = (x.abs(), x * x);
    let [first, others @ ..] = COEFFICIENTS;
    let series = others
        .iter()
        .fold(first, |sum, &next| sum.mul_add(square, next));
    let near = (series * square).mul_add(x, x);
    let far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    (if size < 0.625 { near } else { far }).copysign(x)
}

/// The error function: by a polynomial near 0, by the exponential function of another elsewhere. Both are
/// minimax approximations by N. Juffa.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    const NEAR: [f32; 6] = [
        -5.967_617e-4,
        4.991_194e-3,
        -2.676_813_5e-2,
        1.128_199_2e-1,
        -3.761_253_4e-1,
        1.283_791_7e-1,
    ];
    const FAR: [f32; 7] = [
        -1.728_534_7e-5,
        3.831_971_3e-4,
        -3.883_964_4e-3,
        2.425_462_2e-2,
        -1.067_778_8e-1,
        -6.348_467e-1,
        -1.287_175_1e-1,
    ];
    fn series(coefficients: &[f32], x: f32) -> f32 {
        let sum = |sum: f32, &next: &f32| sum.mul_add(x, next);
        coefficients.iter().fold(0.0, sum)
    }
    let (size, square) = (x.abs(), x * x);
    let near = series(&NEAR, square).mul_add(x, x);
    // Beyond it, erf is 1 in f32.
    let inside = if size > 4.0 { 4.0 } else { size };
    let far = 1.0 - exp(series(&FAR, inside).mul_add(inside, -inside));
    (if size > 0.927_734_4 { far } else { near }).copysign(x)
}

/// The logarithm of 1 + e^x, which does not overflow.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Isa;

    /// The largest distance from what `exact` gives, in units of the last place of f32.
    fn error(
        function: fn(f32) -> f32,
        exact: fn(f64) -> f64,
        of: impl Iterator<Item = f32>,
    ) -> f64 {
        let errors = of.map(|x| {
            let exact = exact(f64::from(x));
            let rounded = exact.abs() as f32;
            let ulp = f64::from(rounded.next_up()) - f64::from(rounded);
            (f64::from(function(x)) - exact).abs() / ulp
        });
        errors.fold(0.0, f64::max)
    }

    fn around_zero(reach: f32) -> impl Iterator<Item = f32> {
        (-20_000..=20_000_i16).map(move |step| f32::from(step) / 20_000.0 * reach)
    }

    #[test]
    fn errors_are_bounded() {
        let found = error(exp, f64::exp, around_zero(88.0));
        assert!(found <= 1.0, "exp is off by {found} ulp");
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let found = error(sigmoid, logistic, around_zero(80.0));
        assert!(found <= 2.5, "sigmoid is off by {found} ulp");
        let found =
            error(tanh, f64::tanh, around_zero(10.0)).max(error(tanh, f64::tanh, around_zero(1.0)));
        assert!(found <= 2.5, "tanh is off by {found} ulp");
        let exact = candle_core::cpu::erf::erf_f64;
        let found = error(erf, exact, around_zero(5.0)).max(error(erf, exact, around_zero(1.0)));
        assert!(found <= 1.5, "erf is off by {found} ulp");
    }

    #[test]
    fn extremes_are_what_they_tend_to() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        for (function, low, high) in [
            (sigmoid as fn(f32) -> f32, 0.0, 1.0),
            (tanh, -1.0, 1.0),
            (erf, -1.0, 1.0),
        ] {
            assert_eq!(function(f32::NEG_INFINITY), low);
            assert_eq!(function(f32::INFINITY), high);
        }
        for function in [exp, sigmoid, tanh, erf] {
            assert!(function(f32::NAN).is_nan());
        }
        assert!(tanh(-0.0).is_sign_negative() && erf(-0.0).is_sign_negative());
    }

    #[test]
    fn vectors_give_the_same_bits() {
        let values: Vec<f32> = around_zero(120.0).collect();
        fn each(function: impl Fn(f32) -> f32, isa: Isa, values: &[f32]) -> Vec<f32> {
            let mut out = vec![0.0; values.len()];
            isa.run(|| {
                out.iter_mut()
                    .zip(values)
                    .for_each(|(out, &x)| *out = function(x))
            });
            out
        }
        let all = |isa: Isa| {
            [
                each(exp, isa, &values),
                each(sigmoid, isa, &values),
                each(tanh, isa, &values),
                each(erf, isa, &values),
            ]
        };
        let expected = all(Isa::Reference);
        for isa in Isa::available() {
            assert_eq!(all(isa), expected, "{}", isa.name());
        }
    }
}
