//! How many targets of a group must be healthy, and what follows where fewer are.

/// A group's thresholds. They count the targets that a node uses: its own zone's where cross-zone is off, else all;
/// those of weight 0 get nothing and do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MinimumHealthy {
    /// Under this, all targets get flows, healthy or not (fail open).
    pub routing: Threshold,
    /// Under this, the node is unfit to announce the VIPs that lead here; none: it always is fit. At least as high
    /// as `routing`.
    pub failover: Option<Threshold>,
}

impl MinimumHealthy {
    /// Whether the VIPs are withdrawn no later than all targets get flows.
    pub fn is_ordered(&self) -> bool {
        let percent = |threshold: &Threshold| threshold.percent.unwrap_or(0);
        self.failover.is_none_or(|failover| {
            failover.count >= self.routing.count && percent(&failover) >= percent(&self.routing)
        })
    }
}

/// How many targets must be healthy: so many, and such a share of them where one is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// At least so many, 1 to 65535.
    pub count: u16,
    /// At least so many of a hundred, 1 to 100.
    pub percent: Option<u8>,
}

impl Default for Threshold {
    fn default() -> Threshold {
        Threshold { count: 1, percent: None }
    }
}

impl Threshold {
    /// Whether `healthy` of `all` targets are too few.
    pub fn is_breached(&self, healthy: usize, all: usize) -> bool {
        healthy < usize::from(self.count)
            || self.percent.is_some_and(|percent| healthy * 100 < all * usize::from(percent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_breached_by_its_count_or_its_share() {
        let half = Threshold { count: 2, percent: Some(50) };
        for (healthy, all, breached) in
            [(10, 20, false), (9, 20, true), (2, 4, false), (1, 1, true), (2, 2, false), (0, 0, true)]
        {
            assert_eq!(half.is_breached(healthy, all), breached, "{healthy} of {all}");
        }
        assert!(Threshold::default().is_breached(0, 3) && !Threshold::default().is_breached(1, 100));
    }

    #[test]
    fn failover_comes_before_routing() {
        let with = |count, percent| MinimumHealthy {
            routing: Threshold { count: 2, percent: Some(20) },
            failover: Some(Threshold { count, percent }),
        };
        assert!(with(2, Some(20)).is_ordered() && with(3, Some(50)).is_ordered());
        assert!(
            !with(1, Some(50)).is_ordered() && !with(3, None).is_ordered() && !with(3, Some(19)).is_ordered()
        );
        assert!(MinimumHealthy::default().is_ordered());
    }
}
