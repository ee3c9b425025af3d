//! The logistic and the exponential function.

/// The arithmetic of libtorch, whichever machine runs it.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The exponential function as SLEEF's `expf_u10` computes it, which libtorch vectorises: the
/// function of the system's C library differs from it, and between machines, in the last bit.
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
    if x < -104.0 {
        return 0.0;
    }
    if x > 100.0 {
        return f32::INFINITY;
    }
    let power = (x * std::f32::consts::LOG2_E).round_ties_even();
    let rest = power.mul_add(-LN_2_LOW, power.mul_add(-LN_2_HIGH, x));
    let [first, others @ ..] = COEFFICIENTS;
    let series = others
        .iter()
        .fold(first, |sum, &next| sum.mul_add(rest, next));
    let value = (rest * rest).mul_add(series, rest) + 1.0;
    // In two factors, because 2^power alone may be subnormal.
    let half = (power * 0.5).floor();
    value * half.exp2() * (power - half).exp2()
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn is_accurate_to_the_last_bit() {
        for step in -8700..8800_i16 {
            let x = f32::from(step) * 0.01;
            let exact = f64::from(x).exp();
            let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            let error = (f64::from(exp(x)) - exact).abs() / ulp;
            assert!(error <= 1.0, "exp({x}) is off by {error} ulp");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
