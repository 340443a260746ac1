#![doc = include_str!("gue.md")]

pub mod probe;

use crate::memory::Frame;
use crate::packet::{Ipv4, Ipv6, Parsed, Version};
use crate::reason::Reason;

/// Bytes of a GUE header of version 0, without what follows it.
pub const HEADER: usize = 4;
/// The format of chain that is written and taken here.
pub const CHAIN_FORMAT: u8 = 1;
/// Targets that a chain has room for.
pub const CHAIN_TARGETS: usize = 2;
/// The type of the probe's control messages.
pub const CONTROL_TYPE: u8 = 211;

/// Bytes of a chain before its targets.
const CHAIN_HEAD: usize = 4;
/// The control bit in a GUE header's first byte.
const CONTROL: u8 = 0x20;

/// A version of IP as the outer header of a packet with a chain.
pub trait Carrier: Version {
    /// The address of a target, bytes as on the wire.
    type Target: Copy + PartialEq;
    /// GUE header and chain as they are in memory, to be stored word by word.
    type Words;
    /// No target.
    const NONE: Self::Target;
    /// Bytes of a chain.
    const CHAIN: usize;
    /// Bytes that a packet with a chain has more than one of version 1: 16 behind outer IPv4, 40 behind outer IPv6.
    const HEADER_AND_CHAIN: usize = HEADER + Self::CHAIN;

    /// The chain's targets at `offset`, if the frame has them.
    fn targets(frame: Frame<'_>, offset: usize) -> Option<[Self::Target; CHAIN_TARGETS]>;

    /// `opening` (GUE header and the chain's head) and the targets in one.
    fn words(opening: u64, targets: [Self::Target; CHAIN_TARGETS]) -> Self::Words;
}

impl Carrier for Ipv4 {
    type Target = u32;
    type Words = [u64; 2];
    const NONE: u32 = 0;
    const CHAIN: usize = CHAIN_HEAD + CHAIN_TARGETS * 4;

    #[inline(always)]
    fn targets(frame: Frame<'_>, offset: usize) -> Option<[u32; CHAIN_TARGETS]> {
        let bytes = frame.view::<{ CHAIN_TARGETS * 4 }>(offset)?;
        Some([bytes.raw32::<0>(), bytes.raw32::<4>()])
    }

    #[inline(always)]
    fn words(opening: u64, [next, last]: [u32; CHAIN_TARGETS]) -> [u64; 2] {
        let (low, high) = if cfg!(target_endian = "little") { (next, last) } else { (last, next) };
        [opening, low as u64 | (high as u64) << 32]
    }
}

impl Carrier for Ipv6 {
    type Target = [u64; 2];
    type Words = [u64; 5];
    const NONE: [u64; 2] = [0, 0];
    const CHAIN: usize = CHAIN_HEAD + CHAIN_TARGETS * 16;

    #[inline(always)]
    fn targets(frame: Frame<'_>, offset: usize) -> Option<[[u64; 2]; CHAIN_TARGETS]> {
        let bytes = frame.view::<{ CHAIN_TARGETS * 16 }>(offset)?;
        Some([[bytes.raw64::<0>(), bytes.raw64::<8>()], [bytes.raw64::<16>(), bytes.raw64::<24>()]])
    }

    #[inline(always)]
    fn words(opening: u64, [next, last]: [[u64; 2]; CHAIN_TARGETS]) -> [u64; 5] {
        [opening, next[0], next[1], last[0], last[1]]
    }
}

/// Who gets a packet next if its receiver has no socket for it. Made by [`Chain::new`] or [`read`], so it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain<T> {
    hops: u8,
    remaining: u8,
    targets: [T; CHAIN_TARGETS],
}

impl<T: Copy + PartialEq> Chain<T> {
    /// The chain of a packet that has none.
    #[inline(always)]
    pub const fn none<Outer: Carrier<Target = T>>() -> Chain<T> {
        Chain { hops: 0, remaining: 0, targets: [Outer::NONE; CHAIN_TARGETS] }
    }

    /// What a node writes: the slot's earlier owners, newest first; [`Carrier::NONE`] from the first that is none.
    #[inline(always)]
    pub fn new<Outer: Carrier<Target = T>>(targets: [T; CHAIN_TARGETS]) -> Chain<T> {
        let [next, last] = targets;
        if next == Outer::NONE {
            Chain::none::<Outer>()
        } else {
            Chain { hops: 0, remaining: 1 + (last != Outer::NONE) as u8, targets }
        }
    }

    /// How often the packet was handed on.
    #[inline(always)]
    pub const fn hops(&self) -> u8 {
        self.hops
    }

    /// How many targets follow: 0 to 2.
    #[inline(always)]
    pub const fn remaining(&self) -> u8 {
        self.remaining
    }

    /// Who is next.
    #[inline(always)]
    pub fn next(&self) -> Option<T> {
        if self.remaining == 0 { None } else { Some(self.targets[0]) }
    }

    /// The chain that the packet has when it is handed on to [`Chain::next`]; the same if there is none.
    #[inline(always)]
    pub fn handed_on<Outer: Carrier<Target = T>>(self) -> Chain<T> {
        let [_, last] = self.targets;
        match self.remaining {
            0 => self,
            remaining => {
                Chain { hops: self.hops + 1, remaining: remaining - 1, targets: [last, Outer::NONE] }
            }
        }
    }

    /// The GUE header of a packet with this chain, and the chain, before an inner packet of version `Inner`: 16 bytes
    /// behind outer IPv4, 40 behind outer IPv6, as they are in memory.
    #[inline(always)]
    pub fn words<Outer: Carrier<Target = T>, Inner: Version>(&self) -> Outer::Words {
        let hlen = (Outer::CHAIN / 4) as u8;
        let opening = [hlen, Inner::PROTOCOL, 0, 0, CHAIN_FORMAT, self.hops, self.remaining, 0];
        Outer::words(u64::from_ne_bytes(opening), self.targets)
    }
}

/// What a GUE header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gue<T> {
    /// A packet is inside.
    Packet {
        /// The inner version's protocol number: 4 or 41.
        protocol: u8,
        /// Bytes from the GUE header's first to the inner packet's: 0 in version 1.
        length: usize,
        /// The chain; without one it is [`Chain::none`].
        chain: Chain<T>,
    },
    /// A control message of the probe, which [`probe`] reads.
    Probe,
}

/// Reads the GUE header at `offset`, behind UDP and an outer header of version `Outer`.
///
/// # Errors
/// [`Reason::AgentMalformed`] if it is cut short, and what the table of this module's documentation names.
#[inline(always)]
pub fn read<Outer: Carrier>(frame: Frame<'_>, offset: usize) -> Parsed<Gue<Outer::Target>> {
    let header = frame.view::<HEADER>(offset).ok_or(Reason::AgentMalformed)?;
    let (word, none) = (header.raw32::<0>(), Chain::none::<Outer>());
    if word == Ipv4::GUE {
        return Ok(packet(Ipv4::PROTOCOL, HEADER, none));
    }
    if word == Ipv6::GUE {
        return Ok(packet(Ipv6::PROTOCOL, HEADER, none));
    }
    match header.u8::<0>() >> 4 {
        4 => return Ok(packet(Ipv4::PROTOCOL, 0, none)),
        6 => return Ok(packet(Ipv6::PROTOCOL, 0, none)),
        0..=3 if header.raw16::<2>() == 0 => {}
        5 | 7 => return Err(Reason::AgentMalformed),
        _ => return Err(Reason::AgentUnknownGue),
    }
    let (first, protocol) = (header.u8::<0>(), header.u8::<1>());
    if first & CONTROL != 0 {
        let is_probe = first == CONTROL && protocol == CONTROL_TYPE;
        return if is_probe { Ok(Gue::Probe) } else { Err(Reason::AgentUnknownGue) };
    }
    if protocol != Ipv4::PROTOCOL && protocol != Ipv6::PROTOCOL {
        return Err(Reason::AgentMalformed);
    }
    if first as usize * 4 != Outer::CHAIN {
        return Err(Reason::AgentMalformedChain);
    }
    let chain = chain::<Outer>(frame, offset + HEADER)?;
    Ok(packet(protocol, Outer::HEADER_AND_CHAIN, chain))
}

#[inline(always)]
const fn packet<T: Copy>(protocol: u8, length: usize, chain: Chain<T>) -> Gue<T> {
    Gue::Packet { protocol, length, chain }
}

#[inline(always)]
fn chain<Outer: Carrier>(frame: Frame<'_>, offset: usize) -> Parsed<Chain<Outer::Target>> {
    let head = frame.view::<CHAIN_HEAD>(offset).ok_or(Reason::AgentMalformed)?;
    let targets = Outer::targets(frame, offset + CHAIN_HEAD).ok_or(Reason::AgentMalformed)?;
    let (hops, remaining) = (head.u8::<1>(), head.u8::<2>());
    if head.u8::<0>() != CHAIN_FORMAT || head.u8::<3>() != 0 {
        return Err(Reason::AgentUnknownGue);
    }
    let [next, last] = targets.map(|target| target != Outer::NONE);
    let is_counted = match remaining {
        0 => !next && !last,
        1 => next && !last,
        2 => next && last,
        _ => false,
    };
    if !is_counted {
        return Err(Reason::AgentMalformedChain);
    }
    if hops as usize + remaining as usize > CHAIN_TARGETS {
        return Err(Reason::AgentHopLimit);
    }
    Ok(Chain { hops, remaining, targets })
}

#[cfg(test)]
mod tests;
