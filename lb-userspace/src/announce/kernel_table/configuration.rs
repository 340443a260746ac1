//! Where routes to VIPs are written, and how they tell what they are; and what can't be chosen.

use std::collections::BTreeSet;
use std::time::Duration;

use thiserror::Error;

/// A routing table of VIPs, for a routing daemon that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// The routing table's number: 1 to 4294967295, none of the kernel's own (252 to 255). FRR reads 1 to 252. Default 214.
    pub table: u32,
    /// The protocol number of the route to a VIP that is announced: none that the kernel or a routing daemon takes for
    /// its own. BIRD's filters know it as `krt_source`. Default 214.
    pub protocol: u8,
    /// The protocol number while the VIP is draining: another one. Default 215.
    pub draining_protocol: u8,
    /// The metric of the route to a VIP that is announced, from 1. Default 100.
    pub metric: u32,
    /// The metric while the VIP is draining, at least `metric`: for daemons that don't see protocol numbers, as FRR
    /// (`match metric 200`). Where both are one, the route is replaced in one step; FRR loses it then. Default 200.
    pub draining_metric: u32,
    /// For so long after the start, routes of an earlier run stay though they are not wanted (yet): so long may whoever
    /// decides take to know again what is to be announced. Zero where an earlier run's packets' way ended with it.
    /// Default zero.
    pub hold: Duration,
}

impl Default for Configuration {
    fn default() -> Self {
        Configuration {
            table: 214,
            protocol: 214,
            draining_protocol: 215,
            metric: 100,
            draining_metric: 200,
            hold: Duration::ZERO,
        }
    }
}

/// Why VIPs can't be written so: what is wrong, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidConfiguration {
    /// The table is the kernel's.
    #[error(
        "table {table} is the kernel's own ({name}), where a VIP's route would change where this host's packets go: take \
         another number, as 214"
    )]
    KernelsTable {
        /// Its number.
        table: u32,
        /// Its name.
        name: &'static str,
    },
    /// A protocol number has an owner already.
    #[error(
        "{field} {number} is {owner}'s, who would take the routes for its own: take a number that is free in \
         /etc/iproute2/rt_protos, as 214 and 215"
    )]
    TakenProtocol {
        /// `protocol` or `draining_protocol`.
        field: &'static str,
        /// The number.
        number: u8,
        /// Whose it is.
        owner: &'static str,
    },
    /// Draining could not be told from announced.
    #[error(
        "protocol and draining_protocol are both {0}: the routing daemon tells by them whether a VIP is draining"
    )]
    SameProtocol(u8),
    /// A metric is 0, or draining is better than announced.
    #[error(
        "metric {metric} and draining_metric {draining_metric}: they must be at least 1, and the one of draining not smaller"
    )]
    Metrics {
        /// The one of what is announced.
        metric: u32,
        /// The one of what is draining.
        draining_metric: u32,
    },
}

impl Configuration {
    /// Checks the ranges of all values and what must hold between them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), InvalidConfiguration> {
        if let Some((table, name)) = KERNELS_TABLES.iter().copied().find(|(table, _)| *table == self.table) {
            return Err(InvalidConfiguration::KernelsTable { table, name });
        }
        for (field, number) in [("protocol", self.protocol), ("draining_protocol", self.draining_protocol)] {
            if let Some(owner) = owner(number) {
                return Err(InvalidConfiguration::TakenProtocol { field, number, owner });
            }
        }
        if self.protocol == self.draining_protocol {
            return Err(InvalidConfiguration::SameProtocol(self.protocol));
        }
        // The kernel gives an IPv6 route without a metric one of its own choice.
        if self.metric == 0 || self.draining_metric < self.metric {
            let Configuration { metric, draining_metric, .. } = *self;
            return Err(InvalidConfiguration::Metrics { metric, draining_metric });
        }
        Ok(())
    }

    /// By what the routes of this configuration are known among all.
    pub(super) fn marks(&self) -> BTreeSet<Mark> {
        [self.protocol, self.draining_protocol].map(|protocol| Mark { table: self.table, protocol }).into()
    }
}

/// What makes a route one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) table: u32,
    pub(super) protocol: u8,
}

/// From linux/rtnetlink.h.
const KERNELS_TABLES: [(u32, &str); 5] =
    [(0, "unspec"), (252, "compat"), (253, "default"), (254, "main"), (255, "local")];

/// From linux/rtnetlink.h, iproute2's table, and FRR's zebra/rt_netlink.h.
fn owner(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        0..=4 => "the kernel",
        8 => "GateD",
        9 => "the kernel (router advertisements)",
        10 => "Merit MRT",
        11 => "Zebra (FRR)",
        12 => "BIRD",
        13 => "DNRouted",
        14 => "XORP",
        15 => "Netsukuku",
        16 => "DHCP",
        17 => "mrouted",
        18 => "keepalived",
        42 => "Babel",
        84 => "OVN",
        99 => "Open/R",
        186..=199 => "FRR",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Configuration)) -> Result<(), InvalidConfiguration> {
        let mut configuration = Configuration::default();
        change(&mut configuration);
        configuration.validate()
    }

    #[test]
    fn defaults_are_valid_and_large_numbers_of_tables_are() {
        with(|_| ()).unwrap();
        with(|it| it.table = u32::MAX).unwrap();
        with(|it| it.draining_metric = it.metric).unwrap();
    }

    #[test]
    fn tables_of_the_kernel_are_refused_by_name() {
        for (table, name) in KERNELS_TABLES {
            let error = with(|it| it.table = table).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(&table.to_string()), "{error}");
        }
    }

    #[test]
    fn protocols_of_the_kernel_and_of_daemons_are_refused_with_the_owner() {
        for (number, owner) in [(2, "kernel"), (12, "BIRD"), (11, "FRR"), (186, "FRR"), (99, "Open/R")] {
            for change in [(|it, number| it.protocol = number) as fn(&mut Configuration, u8), |it, number| {
                it.draining_protocol = number
            }] {
                let error = with(|it| change(it, number)).unwrap_err().to_string();
                assert!(error.contains(owner) && error.contains("protocol"), "{error}");
            }
        }
    }

    #[test]
    fn draining_must_be_told_from_announced_and_not_be_better() {
        let same = with(|it| it.draining_protocol = it.protocol).unwrap_err();
        assert_eq!(same, InvalidConfiguration::SameProtocol(214));
        for (metric, draining_metric) in [(0, 200), (100, 99)] {
            let change = |it: &mut Configuration| (it.metric, it.draining_metric) = (metric, draining_metric);
            assert_eq!(with(change), Err(InvalidConfiguration::Metrics { metric, draining_metric }));
        }
    }
}
