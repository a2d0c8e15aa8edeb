//! Interleaved measuring: both sides take turns, so that both are affected when the machine becomes slower or faster.

use anyhow::Result;

/// What both sides took, round by round.
#[derive(Debug, Default)]
pub struct Pair {
    native: Vec<f64>,
    ours: Vec<f64>,
}

impl Pair {
    /// Runs both sides `rounds` times after one round that does not count. The side that goes first alternates.
    pub fn measure(
        rounds: usize,
        mut native: impl FnMut() -> Result<f64>,
        mut ours: impl FnMut() -> Result<f64>,
    ) -> Result<Self> {
        native()?;
        ours()?;
        let mut pair = Self::default();
        for round in 0..rounds {
            if round % 2 == 0 {
                let first = native()?;
                pair.push(first, ours()?);
            } else {
                let first = ours()?;
                pair.push(native()?, first);
            }
        }
        Ok(pair)
    }

    /// Adds a round.
    pub fn push(&mut self, native: f64, ours: f64) {
        self.native.push(native);
        self.ours.push(ours);
    }

    /// Median of the native side.
    pub fn native(&self) -> f64 {
        median(&self.native)
    }

    /// Median of our side.
    pub fn ours(&self) -> f64 {
        median(&self.ours)
    }

    /// Median of the rounds' ratios, ours to native: steadier than the ratio of the medians while other work comes
    /// and goes on the machine, because each ratio's two runs are neighbours.
    pub fn ratio(&self) -> f64 {
        median(&self.rounds(|native, ours| ours / native))
    }

    /// Median of the rounds' differences, ours less native.
    pub fn difference(&self) -> f64 {
        median(&self.rounds(|native, ours| ours - native))
    }

    fn rounds(&self, of: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        self.native.iter().zip(&self.ours).map(|(&native, &ours)| of(native, ours)).collect()
    }
}

/// The middle value; the mean of the two middle ones of an even number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    if sorted.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 }
}

/// The geometric mean.
pub fn geometric_mean(values: &[f64]) -> f64 {
    let logarithms: f64 = values.iter().map(|value| value.ln()).sum();
    (logarithms / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn the_geometric_mean_of_a_number_and_its_inverse_is_one() {
        assert!((geometric_mean(&[4.0, 0.25]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn rounds_alternate_and_the_first_does_not_count() -> Result<()> {
        let order = std::cell::RefCell::new(String::new());
        let step = |name, value| {
            order.borrow_mut().push(name);
            Ok(value)
        };
        let pair = Pair::measure(2, || step('n', 2.0), || step('o', 3.0))?;
        assert_eq!(*order.borrow(), "nonoon");
        assert_eq!((pair.ratio(), pair.difference()), (1.5, 1.0));
        Ok(())
    }
}
