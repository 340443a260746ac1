//! Listeners and the tables behind them, as the maps hold them.

use crate::hash::{HashKey, HashState};
use crate::packet::ServerId;
use crate::shared::Shared;

/// How many entries of `LISTENERS` a look-up reads at most, from the key's own place on.
pub const MAX_PROBES: u32 = 16;

/// The key of a listener: a VIP, a port and a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerKey {
    /// The VIP's words in pairs, the first in the low half.
    vip: [u64; 2],
    /// Bits 0–15 the port (bytes as on the wire), 16–23 the protocol.
    port_and_protocol: u64,
}

impl ListenerKey {
    /// The key of a VIP (bytes as on the wire, IPv4 mapped into IPv6), a port (bytes as on the wire; zero for
    /// the listener of all other ports) and a transport protocol, which is not zero.
    #[inline(always)]
    pub const fn new(vip: [u32; 4], port: u16, protocol: u8) -> ListenerKey {
        let [a, b, c, d] = vip;
        ListenerKey {
            vip: [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32],
            port_and_protocol: port as u64 | (protocol as u64) << 16,
        }
    }

    /// The key that [`ListenerKey::words`] gave.
    pub const fn from_words([first, second, third]: [u64; 3]) -> ListenerKey {
        ListenerKey { vip: [first, second], port_and_protocol: third }
    }

    /// The VIP, the port and the protocol, as [`ListenerKey::new`] was given them.
    pub const fn parts(self) -> ([u32; 4], u16, u8) {
        let [first, second] = self.vip;
        let vip = [first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32];
        (vip, self.port_and_protocol as u16, (self.port_and_protocol >> 16) as u8)
    }

    /// Whether it is the key of the listener of all other ports.
    #[inline(always)]
    pub const fn is_of_any_port(self) -> bool {
        self.port_and_protocol & 0xffff == 0
    }

    /// The same for all other ports.
    #[inline(always)]
    pub const fn with_any_port(self) -> ListenerKey {
        ListenerKey { vip: self.vip, port_and_protocol: self.port_and_protocol & !0xffff }
    }

    /// The key in the first three words of its entry.
    #[inline(always)]
    pub const fn words(self) -> [u64; 3] {
        [self.vip[0], self.vip[1], self.port_and_protocol]
    }

    /// Where a look-up of the key begins among 2^(64 - `shift`) entries. Not keyed: only who configures listeners
    /// could make keys collide. The products do not wait for each other, and their sum's top bits depend on all bits
    /// of the key: those of the VIP's last bytes, which are a word's top bits, because they are brought down first.
    #[inline(always)]
    pub const fn home(self, shift: u32) -> u32 {
        let [first, second, third] = self.words();
        let first = first.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let second = (second ^ second >> 32).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
        let third = third.wrapping_mul(0xd6e8_feb8_6659_fd93);
        first.wrapping_add(second).wrapping_add(third).wrapping_shr(shift) as u32
    }

    /// The state of the hash of the listener's flows: another one for each VIP and protocol. The port is not in
    /// it, so that a flow has one hash whether its port has a listener of its own or not.
    pub fn hash_state(self, key: HashKey) -> HashState {
        let [first, second, third] = self.words();
        HashState::derive(key, [u64::from_le(first), u64::from_le(second), third >> 16])
    }
}

/// The state of the hash of clients ([`crate::flow::Flow::client_hash`]): derived as if for a protocol and a VIP that
/// no listener has.
pub fn clients_hash_state(key: HashKey) -> HashState {
    HashState::derive(key, [0; 3])
}

/// An entry of `LISTENERS`: one cache line with all that a packet needs of its listener.
///
/// ```text
///   word 0, 1   the VIP
///   word 2      port and protocol; zero: never used, so a look-up ends here
///   word 3      the listener
///   word 4–7    the state of the flows' hash
/// ```
///
/// An entry is at its key's home or, if that was taken, one of the next [`MAX_PROBES`] places. The third word is
/// written last when an entry comes, and alone when it goes; a place is used again only after no packet can be
/// reading it any more. What a listener is changes by one store.
#[repr(C, align(64))]
pub struct ListenerLine(pub [Shared<u64>; 8]);

impl ListenerLine {
    /// The third word of an entry that was removed: a look-up goes on behind it.
    pub const REMOVED: u64 = 1;

    /// Whether this is the entry of `key`.
    #[inline(always)]
    pub fn holds(&self, key: ListenerKey) -> bool {
        matches!(self.compare(key), Comparison::Found)
    }

    /// What this entry says to a look-up of `key`.
    #[inline(always)]
    pub fn compare(&self, key: ListenerKey) -> Comparison {
        let [first, second, third] = key.words();
        match self.0[2].load() {
            0 => Comparison::Absent,
            here if here == third && self.0[1].load() == second && self.0[0].load() == first => {
                Comparison::Found
            }
            _ => Comparison::Another,
        }
    }

    /// The listener.
    #[inline(always)]
    pub fn listener(&self) -> Listener {
        Listener::from_word(self.0[3].load())
    }

    /// The state of the flows' hash.
    #[inline(always)]
    pub fn hash_state(&self) -> HashState {
        HashState([self.0[4].load(), self.0[5].load(), self.0[6].load(), self.0[7].load()])
    }
}

/// What an entry of `LISTENERS` says to a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// It is the key's.
    Found,
    /// It is another key's, or was: the look-up goes on with the next.
    Another,
    /// No entry was ever here, so the key has none.
    Absent,
}

/// What a packet needs to know of its listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Index in `FORWARDS` of the listener's action; less than 2^24.
    pub forward: u32,
    /// Index in `LISTENER_COUNTERS`; the VIPs of a load balancer share one for each of its listeners.
    pub counter: u16,
    /// After how many ticks without a packet a flow is forgotten.
    pub idle: u16,
    /// One of the `TRACK_` constants.
    pub tracking: u32,
    /// The `FLAG_` constants that hold, as bits. Most listeners have none, and their packets pay one comparison
    /// for all of them.
    pub flags: u32,
}

impl Listener {
    /// Flows are remembered in changed slots only.
    pub const TRACK_CHANGED: u32 = 0;
    /// Every flow is remembered from its first packet on (UDP).
    pub const TRACK_ALWAYS: u32 = 1;
    /// No flow is remembered (UDP).
    pub const TRACK_NEVER: u32 = 2;

    /// All connections of a client's address go to one target: the slot is chosen by the client's address and
    /// the VIP ([`crate::flow::Flow::client_hash`]), not by ports and protocol. What the flow table and the outer
    /// header tell apart are still flows.
    pub const FLAG_SOURCE_AFFINITY: u32 = 1;
    /// Packets that name one of `QUIC_SERVERS` in their connection id go to it (UDP).
    pub const FLAG_QUIC: u32 = 1 << 1;
    /// The listener has no port of its own, so it leaves GUE packets (UDP, port 6080) alone: a tunnel is not put
    /// into a tunnel.
    pub const FLAG_LEAVES_TUNNELS: u32 = 1 << 2;
    /// The listener has an allow-list or limits: `POLICIES` says which, by its counter.
    pub const FLAG_POLICY: u32 = 1 << 3;
    /// Packets that begin or end a flow are told of in `FLOW_LOG`.
    pub const FLAG_LOGGED: u32 = 1 << 4;

    /// Whether this one of the `FLAG_` constants holds.
    #[inline(always)]
    pub const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// All of it in one word: bits 0–23 the forward action, 24–25 the tracking, 26–31 the flags, 32–47 the
    /// counter, 48–63 the idle time.
    pub const fn word(self) -> u64 {
        self.forward as u64 & 0xff_ffff
            | (self.tracking as u64 & 3) << 24
            | (self.flags as u64 & 0x3f) << 26
            | (self.counter as u64) << 32
            | (self.idle as u64) << 48
    }

    /// What [`Listener::word`] gave.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Listener {
        Listener {
            forward: word as u32 & 0xff_ffff,
            tracking: word as u32 >> 24 & 3,
            flags: word as u32 >> 26,
            counter: (word >> 32) as u16,
            idle: (word >> 48) as u16,
        }
    }
}

/// The key of `QUIC_SERVERS`: a forward action and a server id of one of its targets.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuicServerKey {
    /// Index in `FORWARDS` of the listener's action.
    pub forward: u32,
    /// Zero.
    pub reserved: u32,
    /// The server id.
    pub server_id: ServerId,
}

impl QuicServerKey {
    /// The key of `server_id` behind the action `forward`.
    #[inline(always)]
    pub const fn new(forward: u32, server_id: ServerId) -> QuicServerKey {
        QuicServerKey { forward, reserved: 0, server_id }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_listener_is_one_word(forward in 0u32..1 << 24, tracking in 0u32..3, flags in 0u32..64, counter: u16, idle: u16) {
            let listener = Listener { forward, counter, idle, tracking, flags };
            proptest::prop_assert_eq!(Listener::from_word(listener.word()), listener);
        }
    }

    /// With four places for each, all of 8,192 listeners find one near their home.
    #[test]
    fn homes_of_neighbouring_listeners_are_spread() {
        let mapped = |vip: u32| [0, 0, 0xffff_u32.to_be(), (0x0ac8_0000 + vip).to_be()];
        let host = |vip: u32| [0x2001_0db8_u32.to_be(), 0, 0, vip.to_be()];
        let network = |vip: u32| [0x2001_0db8_u32.to_be(), vip.to_be(), 0, 1_u32.to_be()];
        let key = |vip, port: u32, protocol| ListenerKey::new(vip, (port as u16).to_be(), protocol);
        let rows: [(&str, &dyn Fn(u32) -> ListenerKey); 9] = [
            ("IPv4 VIPs", &|n| key(mapped(n), 80, 6)),
            ("IPv4 VIPs 16 apart", &|n| key(mapped(n << 4), 80, 6)),
            ("IPv4 networks", &|n| key(mapped(n << 8), 80, 6)),
            ("ports of a VIP", &|n| key(mapped(1), n, 6)),
            ("ports 8 apart", &|n| key(mapped(1), n << 3, 6)),
            ("VIPs, ports and protocols", &|n| {
                key(mapped(n >> 5), 8000 + (n >> 1 & 15), if n & 1 == 0 { 6 } else { 17 })
            }),
            ("VIPs with and without a port", &|n| key(mapped(n >> 1), if n & 1 == 0 { 443 } else { 0 }, 6)),
            ("IPv6 hosts", &|n| key(host(n), 80, 6)),
            ("IPv6 networks", &|n| key(network(n), 80, 6)),
        ];
        for (what, key) in rows {
            assert!(longest_search(key) < MAX_PROBES / 2, "{what}: {}", longest_search(key));
        }
    }

    fn longest_search(key: impl Fn(u32) -> ListenerKey) -> u32 {
        let mut taken = vec![false; 32768];
        let mut find = |home: u32| {
            let step = (0..).find(|step| !taken[home.wrapping_add(*step) as usize % 32768]).unwrap();
            taken[home.wrapping_add(step) as usize % 32768] = true;
            step
        };
        (0..8192).map(|number| find(key(number).home(64 - 15))).max().unwrap()
    }
}
