//! What a sum of products may be in f32, whatever the order of its additions.
//!
//! Kernels add in an order that depends on shape, layout and processor, with fused multiply-adds or
//! without, in one accumulator or in several. Every one of them is a tree of additions over the products,
//! so that one bound holds for all.

/// Which end of what is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Lowest,
    Highest,
}

impl End {
    pub fn of<T: Ord>(self, a: T, b: T) -> T {
        match self {
            Self::Lowest => a.min(b),
            Self::Highest => a.max(b),
        }
    }
}

/// The unit roundoff of f32: no operation errs by more than that share of its result. That needs normal
/// numbers, which products of scales are.
const ROUNDOFF: f64 = f32::EPSILON as f64 / 2.0;

/// Products of f32, and their sums in f64.
#[derive(Debug, Clone, Copy)]
pub struct Products {
    pub total: f64,
    /// The sum of their magnitudes.
    pub magnitude: f64,
    /// How many are not zero: to add zero errs by nothing.
    pub terms: f64,
}

impl Products {
    /// The lowest or highest number that their sum with a bias can be in f32.
    ///
    /// A product errs by at most `u` times its magnitude, or not at all where it is fused. A tree over `n`
    /// terms has `n − 1` additions, each of which errs by at most `u` times its result, and no result is
    /// larger than `m`, the sum of all positive terms or that of all negative ones, whichever is larger.
    /// Together `u · (Σ|product| + (n − 1) · m)`, where the errors of the operands themselves enlarge `m`
    /// by at most `(1 + u)ⁿ`. It is the bound `(n − 1) · u · Σ|term|` of N. J. Higham, *Accuracy and
    /// Stability of Numerical Algorithms*, 2nd edition, section 4.2, with `m` in the place of the sum of
    /// all magnitudes.
    pub fn in_f32(&self, bias: f32, end: End) -> f32 {
        let bias = f64::from(bias);
        let total = self.total + bias;
        let terms = self.terms + f64::from(u8::from(bias != 0.0));
        // Positive and negative terms have the sums (magnitude ± total) / 2.
        let largest = (self.magnitude + bias.abs() + total.abs()) / 2.0;
        let additions = (terms - 1.0).max(0.0);
        let growth = (1.0 + ROUNDOFF).powf(terms);
        let in_f32 = ROUNDOFF * (self.magnitude + additions * largest) * growth;
        // `total` and `magnitude` were summed themselves, in f64.
        let in_f64 = terms * f64::EPSILON * (self.magnitude + bias.abs());
        let error = in_f32 + in_f64;
        // Rounding keeps order: what is at least this is at least this rounded.
        match end {
            End::Lowest => (total - error) as f32,
            End::Highest => (total + error) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, strategy::ValueTree};

    use super::*;

    /// Activations and weights of a channel, as a file has them.
    #[derive(Debug, Clone)]
    struct Layer {
        values: Vec<u8>,
        weights: Vec<i8>,
        bias: f32,
    }

    const SCALES: [f32; 2] = [0.023, 0.0071];
    /// Of the output: sums of a hundred such products fill most of a byte.
    const STEP: f32 = 0.25;

    impl Layer {
        fn factors(&self) -> Vec<[f32; 2]> {
            let pairs = self.values.iter().zip(&self.weights);
            let factors =
                pairs.map(|(&a, &w)| [f32::from(a) * SCALES[0], f32::from(w) * SCALES[1]]);
            factors.collect()
        }

        fn ends(&self) -> [f32; 2] {
            let products = self.factors().into_iter();
            let products: Vec<f64> = products.map(|[a, w]| f64::from(a) * f64::from(w)).collect();
            let sums = Products {
                total: products.iter().sum(),
                magnitude: products.iter().map(|p| p.abs()).sum(),
                terms: products.iter().filter(|p| **p != 0.0).count() as f64,
            };
            [End::Lowest, End::Highest].map(|end| sums.in_f32(self.bias, end))
        }

        fn holds(&self, sum: f32) -> bool {
            let [low, high] = self.ends();
            (low..=high).contains(&sum)
        }

        /// The integers of the ends.
        fn steps(&self) -> [i32; 2] {
            self.ends().map(|end| (end / STEP).round_ties_even() as i32)
        }

        /// In one accumulator with fused multiply-adds, the bias first.
        fn fused(&self) -> f32 {
            let factors = self.factors().into_iter();
            factors.fold(self.bias, |sum, [a, w]| a.mul_add(w, sum))
        }

        /// Two sums after each other are added until there is one, as `order` says.
        fn tree(&self, order: &[usize]) -> f32 {
            let mut sums: Vec<f32> = self.factors().iter().map(|[a, w]| a * w).collect();
            sums.push(self.bias);
            for next in order.iter().cycle() {
                let a = sums.swap_remove(next % sums.len());
                if sums.is_empty() {
                    return a;
                }
                let b = next / 7 % sums.len();
                sums[b] += a;
            }
            self.bias
        }
    }

    fn layer(terms: std::ops::Range<usize>) -> impl Strategy<Value = Layer> {
        let layer = |terms| {
            (
                vec(0..=255_u8, terms),
                vec(any::<i8>(), terms),
                -1.0..1.0_f32,
            )
        };
        let layer = terms.prop_flat_map(layer);
        layer.prop_map(|(values, weights, bias)| Layer {
            values,
            weights,
            bias,
        })
    }

    proptest! {
        #[test]
        fn every_order_is_within(layer in layer(1..300), order in vec(any::<usize>(), 40)) {
            prop_assert!(layer.holds(layer.fused()), "{} in {:?}", layer.fused(), layer.ends());
            let tree = layer.tree(&order);
            prop_assert!(layer.holds(tree), "{tree} in {:?}", layer.ends());
        }

        /// A weight that is wrong by one step is no order of additions, where what it is multiplied by is
        /// not among the smallest.
        #[test]
        fn a_wrong_weight_is_not_within(layer in layer(1..64), place in any::<usize>()) {
            let mut wrong = layer.clone();
            let place = place % wrong.weights.len();
            wrong.weights[place] ^= 1;
            prop_assume!(wrong.values[place] >= 16);
            prop_assert!(!layer.holds(wrong.fused()), "{} in {:?}", wrong.fused(), layer.ends());
        }

        /// No order gives an integer that is two steps away.
        #[test]
        fn at_most_one_step_is_free(layer in layer(1..200)) {
            let [low, high] = layer.steps();
            prop_assert!((0..=1).contains(&(high - low)));
        }
    }

    /// Orders differ only for values that lie close to a half: these are few.
    #[test]
    fn few_values_are_free() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut free = |terms: usize| {
            let drawn = (0..2000).filter(|_| {
                let tree = layer(terms..terms + 1).new_tree(&mut runner);
                let [low, high] = tree.expect("layers can be drawn").current().steps();
                low != high
            });
            drawn.count()
        };
        // Of 2000.
        assert!(free(9) <= 2);
        assert!(free(100) <= 20);
    }

    #[test]
    fn what_is_exact_is_one_number() {
        let none = Products {
            total: 0.0,
            magnitude: 0.0,
            terms: 0.0,
        };
        assert_eq!(none.in_f32(0.3, End::Lowest), 0.3);
        assert_eq!(none.in_f32(0.3, End::Highest), 0.3);
        assert_eq!(none.in_f32(0.0, End::Highest), 0.0);
    }
}
