//! Listeners and the tables behind them, as the maps hold them.

/// The key of `LISTENERS`: a VIP, a port and a protocol.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// The VIP, bytes as on the wire, IPv4 mapped into IPv6.
    pub vip: [u32; 4],
    /// The port, bytes as on the wire; zero for the listener of all other ports.
    pub port: u16,
    /// The transport protocol.
    pub protocol: u8,
    /// Zero.
    pub reserved: u8,
}

/// The value of `LISTENERS`: all that a packet needs next.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Index in `FORWARDS` of the listener's action.
    pub forward: u32,
    /// Index in `LISTENER_COUNTERS`; the VIPs of a load balancer share one for each of its listeners.
    pub counter: u16,
    /// After how many ticks without a packet a flow is forgotten.
    pub idle: u16,
    /// One of the `TRACK_` constants.
    pub tracking: u32,
}

impl Listener {
    /// Flows are remembered in changed slots only.
    pub const TRACK_CHANGED: u32 = 0;
    /// Every flow is remembered from its first packet on (UDP).
    pub const TRACK_ALWAYS: u32 = 1;
    /// No flow is remembered (UDP).
    pub const TRACK_NEVER: u32 = 2;
}

/// The value of `FORWARDS`: where a forward action's table is. One word, so that a table is published by one
/// store and no packet sees half of it.
///
/// Bits 0–31 are the first slot's index in `SLOTS`, bits 32–39 the binary logarithm of the number of slots;
/// zero is no table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Forward(pub u64);

impl Forward {
    /// No table yet.
    pub const NONE: Forward = Forward(0);

    /// A table of 2^`log2` slots (`log2` 1 to 31) that begins at `first`.
    pub const fn new(first: u32, log2: u8) -> Forward {
        Forward(first as u64 | (log2 as u64) << 32)
    }

    /// The index of the first slot in `SLOTS`.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        self.0 as u32
    }

    /// The binary logarithm of the number of slots.
    #[inline(always)]
    pub const fn log2(self) -> u32 {
        (self.0 >> 32) as u32 & 31
    }

    /// Whether there is no table.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// Packets and bytes (from the inner IP header's first to the payload's last) of a listener or a target.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}
