//! What stands before a listener: whom it serves (its allow-list) and how many new flows it takes.
//!
//! ```text
//!   POLICIES[counter] ── id of the allow-list ──► VERDICTS[hash(source, id)]   a line a processor looked up before
//!          │                                           └ miss: ALLOWED, by longest prefix
//!          └─ limits: LISTENER_LIMITS[counter], SOURCE_LIMITS[hash(source's prefix, counter)]
//! ```
//!
//! An allow-list never changes: one with other prefixes gets another id, and the lines that processors keep of the
//! old one mean nothing any more. So a change is in force with one store, whole.

use crate::flow::TCP;
use crate::hash::{HashKey, HashState};
use crate::rate_limit::RateLimit;
use crate::shared::Shared;

/// The value of `POLICIES`, by the listener's counter; only listeners with
/// [`crate::listener::Listener::FLAG_POLICY`] are looked up. Each word is written whole.
///
/// ```text
///   word 0      ids of the allow-lists for TCP (low half) and UDP (high half); zero: everybody
///   word 1      the limit of all sources together: RateLimit::word
///   word 2      the limit of each source
///   word 3      the mask of an IPv4 source's last eight bytes, as it is mapped into IPv6
///   word 4, 5   the mask of an IPv6 source, bytes as on the wire
/// ```
#[repr(C, align(64))]
pub struct PolicyLine(pub [Shared<u64>; 8]);

impl PolicyLine {
    /// The allow-list for packets of `protocol`.
    #[inline(always)]
    pub fn allow_list(&self, protocol: u8) -> AllowListId {
        let both = self.0[0].load();
        AllowListId(if protocol == TCP { both as u32 } else { (both >> 32) as u32 })
    }

    /// Whether new flows are counted against a limit.
    #[inline(always)]
    pub fn is_limited(&self) -> bool {
        self.0[1].load() | self.0[2].load() != 0
    }

    /// The limit of new flows of all sources together.
    #[inline(always)]
    pub fn listener_limit(&self) -> Option<RateLimit> {
        RateLimit::from_word(self.0[1].load())
    }

    /// The limit of new flows of each source.
    #[inline(always)]
    pub fn source_limit(&self) -> Option<RateLimit> {
        RateLimit::from_word(self.0[2].load())
    }

    /// What of a source's address chooses the limit that its new flows count against.
    #[inline(always)]
    pub fn source_prefix(&self, source: [u64; 2], is_ipv4: bool) -> [u64; 2] {
        let [high, low] = source;
        if is_ipv4 {
            [high, low & self.0[3].load()]
        } else {
            [high & self.0[4].load(), low & self.0[5].load()]
        }
    }
}

/// Names one allow-list for as long as anything may still remember a verdict of it: a number less than 2^31, and zero
/// for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AllowListId(pub u32);

impl AllowListId {
    /// Everybody is allowed.
    pub const EVERYBODY: AllowListId = AllowListId(0);
    /// The first that is no allow-list's.
    pub const LIMIT: u32 = 1 << 31;

    /// Whether no source is refused.
    #[inline(always)]
    pub const fn is_everybody(self) -> bool {
        self.0 == 0
    }
}

/// The key of `ALLOWED` behind the prefix length that the kernel wants: an allow-list and an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedKey {
    /// Twice the allow-list's id, and one more for IPv6: `::/0` must not hold IPv4 in IPv6's clothes.
    pub list: u32,
    /// The address, bytes as on the wire; IPv4 is mapped into IPv6.
    pub address: [u32; 4],
}

impl AllowedKey {
    /// Bits of the key: a look-up's prefix length.
    pub const BITS: u32 = 32 + 128;
    /// Bits before those of an IPv4 address.
    const BEFORE_IPV4: u32 = 32 + 96;

    /// The key of an address in a list.
    #[inline(always)]
    pub const fn new(list: AllowListId, address: [u32; 4], is_ipv4: bool) -> AllowedKey {
        AllowedKey { list: list.0 << 1 | !is_ipv4 as u32, address }
    }

    /// The list, and whether the address is IPv4.
    pub const fn parts(self) -> (AllowListId, bool) {
        (AllowListId(self.list >> 1), self.list & 1 == 0)
    }

    /// The prefix length of an entry for the first `bits` of an address.
    pub const fn length(bits: u8, is_ipv4: bool) -> u32 {
        bits as u32 + if is_ipv4 { AllowedKey::BEFORE_IPV4 } else { 32 }
    }
}

/// The value of `ALLOWED`: what allows a source. Bits 0–31 are the rule's place in its load balancer's list, bits
/// 32–39 the prefix's length in its own family; bit 63 is set, so that none is zero.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Allowance(pub u64);

impl Allowance {
    /// Nothing does.
    pub const NONE: Allowance = Allowance(0);

    /// A prefix of `bits` in the rule at `rule`.
    pub const fn new(rule: u32, bits: u8) -> Allowance {
        Allowance(rule as u64 | (bits as u64) << 32 | 1 << 63)
    }

    /// Whether nothing allows the source.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The rule's place in its load balancer's list.
    pub const fn rule(self) -> u32 {
        self.0 as u32
    }

    /// The prefix's length.
    pub const fn bits(self) -> u8 {
        (self.0 >> 32) as u8
    }
}

/// Lines of a processor's cache: a power of two. With 32 bytes each they fill what a per-CPU value may have.
pub const VERDICT_LINES: usize = 1024;

/// The value of `VERDICTS`: what a processor looked up last, by a hash of source and allow-list. A line that another
/// source or list takes is looked up again.
#[repr(C, align(32))]
pub struct VerdictLines(pub [VerdictLine; VERDICT_LINES]);

/// The verdict on one source. Only the processor that it belongs to reads and writes it.
#[repr(C, align(32))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct VerdictLine {
    source: [u64; 2],
    /// Bits 0–31 the allow-list's id, the others `KNOWN`, `ALLOWED` and `ADMITTED`.
    word: u64,
    /// Zero.
    reserved: u64,
}

impl VerdictLine {
    const KNOWN: u64 = 1 << 32;
    const ALLOWED: u64 = 1 << 33;
    /// The packet in hand begins a flow that was counted against the limits.
    const ADMITTED: u64 = 1 << 34;

    /// The verdict of an allow-list on a source.
    #[inline(always)]
    pub const fn new(source: [u64; 2], list: AllowListId, is_allowed: bool) -> VerdictLine {
        let allowed = if is_allowed { VerdictLine::ALLOWED } else { 0 };
        let word = list.0 as u64 | VerdictLine::KNOWN | allowed;
        VerdictLine { source, word, reserved: 0 }
    }

    /// The same, and the packet in hand may begin its flow.
    #[inline(always)]
    pub const fn admitting(mut self) -> VerdictLine {
        self.word |= VerdictLine::ADMITTED;
        self
    }

    /// Whether the source is allowed, if this line knows.
    #[inline(always)]
    pub const fn verdict(&self, source: [u64; 2], list: AllowListId) -> Option<bool> {
        let differs = self.source[0] ^ source[0]
            | self.source[1] ^ source[1]
            | (self.word & (VerdictLine::KNOWN | 0xffff_ffff)) ^ (VerdictLine::KNOWN | list.0 as u64);
        if differs == 0 { Some(self.word & VerdictLine::ALLOWED != 0) } else { None }
    }

    /// Whether the packet in hand may begin its flow; it is the only one that this holds for.
    #[inline(always)]
    pub const fn take_admission(&mut self) -> bool {
        let is_admitted = self.word & VerdictLine::ADMITTED != 0;
        self.word &= !VerdictLine::ADMITTED;
        is_admitted
    }
}

/// The state of the hashes of sources: secret, so that nobody can aim at another source's line or cell. Derived as if
/// for protocol 256, which is no packet's.
pub fn sources_hash_state(key: HashKey) -> HashState {
    HashState::derive(key, [0, 0, 256])
}

/// The line of a source and an allow-list.
#[inline(always)]
pub const fn verdict_line(source: [u64; 2], list: AllowListId, secret: &HashState) -> usize {
    let HashState([first, second, third, _]) = *secret;
    let [high, low] = source;
    let mixed = (high ^ list.0 as u64).wrapping_mul(first).wrapping_add(low ^ second);
    let mixed = (mixed ^ mixed >> 32).wrapping_mul(third);
    (mixed >> (u64::BITS - VERDICT_LINES.ilog2())) as usize
}

/// What chooses the cell of a source's prefix in `SOURCE_LIMITS`, for the listener with that counter.
#[inline(always)]
pub const fn source_hash(prefix: [u64; 2], counter: u16, secret: &HashState) -> u64 {
    secret.of_words(prefix, counter as u64)
}

/// An address of four words as two, each as it is in memory.
#[inline(always)]
pub const fn halves(address: [u32; 4]) -> [u64; 2] {
    let [a, b, c, d] = address;
    [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KEY: HashKey = HashKey { k0: 0x0706_0504_0302_0100, k1: 0x0f0e_0d0c_0b0a_0908 };

    proptest::proptest! {
        #[test]
        fn a_line_knows_its_own_source_and_list_only(source: [u64; 2], list in 0u32..1 << 31, bit in 0usize..159, allowed: bool) {
            let line = VerdictLine::new(source, AllowListId(list), allowed);
            proptest::prop_assert_eq!(line.verdict(source, AllowListId(list)), Some(allowed));
            let (mut other, mut others_list) = (source, list);
            match bit {
                0..128 => other[bit / 64] ^= 1 << (bit % 64),
                _ => others_list ^= 1 << (bit - 128),
            }
            proptest::prop_assert_eq!(line.verdict(other, AllowListId(others_list)), None);
        }
    }

    #[test]
    fn a_line_that_was_never_written_knows_nothing() {
        assert_eq!(VerdictLine::default().verdict([0, 0], AllowListId(0)), None);
        assert_eq!(VerdictLine::default().verdict([0, 0], AllowListId(7)), None);
    }

    #[test]
    fn one_packet_is_admitted_once() {
        let mut line = VerdictLine::new([1, 2], AllowListId(3), true).admitting();
        assert_eq!(line.verdict([1, 2], AllowListId(3)), Some(true));
        assert!(line.take_admission());
        assert!(!line.take_admission());
        assert_eq!(line, VerdictLine::new([1, 2], AllowListId(3), true));
    }

    #[test]
    fn neighbouring_sources_have_lines_of_their_own() {
        let source = |host: u32| halves([0, 0, 0xffff_u32.to_be(), (0xc633_6400 + host).to_be()]);
        let secret = sources_hash_state(KEY);
        let lines: BTreeSet<usize> =
            (0..256).map(|host| verdict_line(source(host), AllowListId(1), &secret)).collect();
        assert!(lines.len() > 190, "256 sources share {} lines", lines.len());
        assert!(lines.iter().all(|line| *line < VERDICT_LINES));
    }

    #[test]
    fn an_allowance_says_which_rule_and_prefix() {
        let allowance = Allowance::new(9, 24);
        assert_eq!((allowance.rule(), allowance.bits(), allowance.is_none()), (9, 24, false));
        assert!(!Allowance::new(0, 0).is_none() && Allowance::NONE.is_none());
    }

    #[test]
    fn ipv4_and_ipv6_have_keys_of_their_own() {
        let (v4, v6) =
            (AllowedKey::new(AllowListId(5), [0; 4], true), AllowedKey::new(AllowListId(5), [0; 4], false));
        assert_eq!((v4.list, v6.list), (10, 11));
        assert_eq!((AllowedKey::length(0, true), AllowedKey::length(32, true)), (128, AllowedKey::BITS));
        assert_eq!((AllowedKey::length(0, false), AllowedKey::length(128, false)), (32, AllowedKey::BITS));
    }

    #[test]
    fn a_policy_says_what_it_was_told() {
        let line = PolicyLine(std::array::from_fn(|_| Shared::<u64>::new(0)));
        assert!(line.allow_list(6).is_everybody() && !line.is_limited());
        line.0[0].store(3 | 4 << 32);
        line.0[2].store(RateLimit::new(10, 10).word());
        line.0[3].store(0xff);
        line.0[4].store(!0);
        assert_eq!((line.allow_list(6), line.allow_list(17)), (AllowListId(3), AllowListId(4)));
        assert!(line.is_limited() && line.listener_limit().is_none());
        assert_eq!(line.source_limit(), Some(RateLimit::new(10, 10)));
        assert_eq!(line.source_prefix([1, 0x1234], true), [1, 0x34]);
        assert_eq!(line.source_prefix([1, 0x1234], false), [1, 0]);
    }
}
