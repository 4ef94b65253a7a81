//! Chance in rules as exact fractions.
//!
//! A chain of `statistic --mode random` rules is one choice: each rule's share is what the rules before it leave. So
//! 1/3, 1/2 and "always" are one third each ([`Shares`]). The kernel compares 31 random bits with `lround(p × 2³¹)`;
//! a value that `iptables` makes of one in k is taken as exactly that.

use alloc::vec::Vec;
use core::fmt;

use crate::dataplane::choices::Choices;
use crate::plan::xt::Statistic;

/// So many equal ends are one choice; more are chosen in two steps.
const EQUAL: u32 = 1 << 16;

/// The fraction that a `--probability` of `value / 2³¹` means, in lowest terms.
pub(super) fn fraction(value: u32) -> (u64, u64) {
    let one = u64::from(Statistic::ONE);
    let value = u64::from(value).min(one);
    if value == 0 {
        return (0, 1);
    }
    let k = (one + value / 2) / value;
    // The exact share, or what is made of its first ten decimals: round(1/k, 10) × 2³¹, rounded.
    let decimals = (10_000_000_000 + k / 2) / k;
    let printed = (u128::from(decimals) * u128::from(one) + 5_000_000_000) / 10_000_000_000;
    if u64::from(share_of(k)) == value || printed == u128::from(value) {
        return (1, k);
    }
    let common = gcd(value, one);
    (value / common, one / common)
}

/// `lround(2³¹ / k)`.
fn share_of(k: u64) -> u32 {
    let one = u64::from(Statistic::ONE);
    u32::try_from((one + k / 2) / k.max(1)).unwrap_or(0)
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// What each of a row of rules gets, and what is left, over one common denominator.
#[derive(Debug, Default)]
pub(super) struct Shares {
    weights: Vec<u64>,
    left: u64,
}

impl Shares {
    /// Begins a row; the buffer is used again.
    pub(super) fn begin(&mut self) {
        self.weights.clear();
        self.left = 1;
    }

    /// The next rule takes `numerator / denominator` of what is left. False when the numbers get too large: it is not
    /// taken in, and begins a row of its own.
    pub(super) fn take(&mut self, (numerator, denominator): (u64, u64)) -> bool {
        let product = u128::from(self.left) * u128::from(numerator);
        let wanted = u128::from(denominator);
        let common = gcd_wide(product, wanted);
        let Ok(scale) = u64::try_from(wanted / common.max(1)) else { return false };
        let total = self.weights.iter().fold(u128::from(self.left), |sum, w| sum + u128::from(*w));
        if total * u128::from(scale) > u128::from(u64::MAX) {
            return false;
        }
        if scale > 1 {
            self.weights.iter_mut().for_each(|w| *w *= scale);
            self.left *= scale;
        }
        let taken = u64::try_from(product * u128::from(scale) / wanted.max(1)).unwrap_or(0).min(self.left);
        self.weights.push(taken);
        self.left -= taken;
        true
    }

    /// Picks one of the rules by its place in the row; `None`: none of them.
    pub(super) fn pick(&mut self, choices: &mut impl Choices, point: fmt::Arguments<'_>) -> Option<usize> {
        let rules = self.weights.len();
        if self.left > 0 {
            self.weights.push(self.left);
        }
        let mut possible = self.weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
        let picked = match (possible.next(), possible.next()) {
            (Some((only, _)), None) => only,
            _ => choices.pick(point, &self.weights),
        };
        (picked < rules).then_some(picked)
    }
}

const fn gcd_wide(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Picks one of `count` numbers that are equally likely. `ones` is a buffer.
pub(super) fn pick_equal(
    choices: &mut impl Choices,
    ones: &mut Vec<u64>,
    point: fmt::Arguments<'_>,
    count: u32,
) -> u32 {
    if count <= 1 {
        return 0;
    }
    let mut among = |weights: &[u64]| u32::try_from(choices.pick(point, weights)).unwrap_or(0);
    if count <= EQUAL {
        ones.clear();
        ones.resize(count as usize, 1);
        return among(ones).min(count - 1);
    }
    let (blocks, rest) = (count / EQUAL, count % EQUAL);
    ones.clear();
    ones.resize(blocks as usize, u64::from(EQUAL));
    if rest > 0 {
        ones.push(rest.into());
    }
    let block = among(ones).min(blocks);
    let size = if block == blocks { rest } else { EQUAL };
    ones.clear();
    ones.resize(size as usize, 1);
    block * EQUAL + among(ones).min(size.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::dataplane::choices::{Probability, explore};

    #[track_caller]
    fn check(probabilities: &[u32], expected: &str) {
        let found = explore(4096, |choices| {
            let mut shares = Shares::default();
            shares.begin();
            assert!(probabilities.iter().all(|p| shares.take(fraction(*p))));
            shares.pick(choices, format_args!("x"))
        });
        assert_eq!(found.unexplored, Probability::ZERO);
        let mut ends: Vec<_> = found.runs.iter().map(|(p, _, end)| (end.unwrap_or(99), *p)).collect();
        ends.sort_by_key(|end| end.0);
        let ends: Vec<_> = ends.iter().map(|(end, p)| alloc::format!("{end}:{p}")).collect();
        assert_eq!(ends.join(" "), expected);
    }

    const fn one_in(n: u32) -> u32 {
        match Statistic::one_in(n) {
            Statistic::Random(share) => share.value,
            Statistic::Nth { .. } => 0,
        }
    }

    #[test]
    fn a_third_and_half_of_the_rest_leave_a_third() {
        check(&[one_in(3), one_in(2)], "0:1/3 1:1/3 99:1/3");
    }

    #[test]
    fn other_probabilities_are_what_the_kernel_compares_with() {
        check(&[858_993_459], "0:858993459/2147483648 99:1288490189/2147483648");
        check(&[0, one_in(4)], "1:1/4 99:3/4");
        check(&[1 << 31, one_in(4)], "0:1");
    }

    #[test]
    fn one_in_any_number_is_recognised_exactly_and_by_ten_decimals() {
        for n in 1..=10_000_u32 {
            assert_eq!(fraction(one_in(n)), (1, u64::from(n)));
            let text = alloc::format!("{:.10}", 1.0 / f64::from(n));
            let printed: f64 = text.parse().expect("a number");
            let kernel = (printed * 2_147_483_648.0).round() as u32;
            assert_eq!(fraction(kernel), (1, u64::from(n)), "{text}");
        }
    }

    #[test]
    fn what_has_no_common_denominator_in_64_bits_is_refused() {
        let mut shares = Shares::default();
        shares.begin();
        let odd = fraction(858_993_459);
        assert_eq!([0; 3].map(|_| shares.take(odd)), [true, true, false]);
    }

    /// Takes the last of everything and notes its share.
    struct Last(Vec<Probability>);

    impl Choices for Last {
        fn pick(&mut self, _: fmt::Arguments<'_>, weights: &[u64]) -> usize {
            let total = weights.iter().map(|w| u128::from(*w)).sum();
            self.0.push(Probability::new(weights[weights.len() - 1].into(), total));
            weights.len() - 1
        }
    }

    #[test]
    fn a_large_modulus_is_two_choices_and_still_equal() {
        let mut last = Last(Vec::new());
        assert_eq!(pick_equal(&mut last, &mut Vec::new(), format_args!("n"), 65_536 * 3 + 7), 65_536 * 3 + 6);
        assert_eq!(last.0[0].times(last.0[1]).to_string(), "1/196615");
    }
}
