//! How far a count may be from its expectation by chance alone.

/// ln(2 / p) for a chance of p = 10^-12: a correct spread fails once in 10^12 checks.
const LOG: f64 = 28.3;

/// A count of independent connections, each of which goes to the target with a known chance.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Expectation {
    mean: f64,
    variance: f64,
}

impl Expectation {
    /// Adds `connections`, each with the chance `share`, 0 to 1.
    pub(crate) fn add(&mut self, connections: usize, share: f64) {
        self.mean += connections as f64 * share;
        self.variance += connections as f64 * share * (1.0 - share);
    }

    /// How many there are on average.
    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    /// Bernstein's inequality solved for the distance: P(|X - mean| >= t) <= 2 exp(-t² / (2 variance + 2t/3)).
    /// The flow hash has a random key, so the connections' slots are independent and even.
    pub(crate) fn tolerance(&self) -> f64 {
        let third = LOG / 3.0;
        third + (third * third + 2.0 * LOG * self.variance).sqrt()
    }

    /// Whether `count` can be chance.
    pub(crate) fn admits(&self, count: usize) -> bool {
        if self.mean == 0.0 { count == 0 } else { (count as f64 - self.mean).abs() <= self.tolerance() }
    }
}

#[test]
fn a_thirds_share_of_ten_thousand_is_told_from_forty_percent() {
    let mut third = Expectation::default();
    third.add(10_000, 1.0 / 3.0);
    assert!(third.admits(3333) && third.admits(3333 + 300) && !third.admits(4000));
}

#[test]
fn nothing_is_expected_where_no_slot_is() {
    let mut nothing = Expectation::default();
    nothing.add(10_000, 0.0);
    assert!(nothing.admits(0) && !nothing.admits(1));
}
