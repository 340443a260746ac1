//! How big the maps are made: fixed when they are loaded.

/// The number of entries of each map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// (VIP, protocol, port) triples.
    pub listeners: u32,
    /// VIPs.
    pub vips: u32,
    /// Forward actions, the unused index 0 included.
    pub forwards: u32,
    /// Target ids, the unused id 0 included; at most 65536.
    pub targets: u32,
    /// Binary logarithm of the slots of all tables together, old and new versions of a table that is being
    /// replaced included.
    pub slots_log2: u8,
    /// Binary logarithm of the flow table's sets of eight flows; 16 to 20.
    pub flow_sets_log2: u8,
    /// Prefixes of all allow-lists together; listeners with the same ones share them.
    pub allowed_prefixes: u32,
    /// Binary logarithm of the fragment table's sets of eight datagrams; at most 20.
    pub fragment_sets_log2: u8,
    /// Interface indices below this can have the balancer.
    pub interfaces: u32,
}

impl Capacity {
    /// QUIC server ids of all forward actions together: half of them for registered targets, so that as many can
    /// drain.
    pub fn quic_servers(&self) -> u32 {
        self.targets.saturating_mul(2)
    }

    /// Entries of allow-lists: half of them for those in force, so that all of them can be replaced.
    pub fn policy_entries(&self) -> u32 {
        self.allowed_prefixes.saturating_mul(2)
    }
}

impl Default for Capacity {
    /// Sixteen thousand targets, four million slots (64 of the largest tables, or 4,000 small ones), a million
    /// changed flows, 65,536 datagrams in fragments: 46 MiB, and 0.3 MiB of counters a processor. The prefixes of
    /// allow-lists take 64 bytes or more each while they are there.
    fn default() -> Capacity {
        Capacity {
            listeners: 8192,
            vips: 2048,
            forwards: 4096,
            targets: 16384,
            slots_log2: 22,
            flow_sets_log2: 17,
            allowed_prefixes: 1 << 17,
            fragment_sets_log2: 13,
            interfaces: 4096,
        }
    }
}
