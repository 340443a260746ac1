//! The extra hop: the packet goes on to the next target of its chain, as long as it came.
//!
//! ```text
//!   before   Ethernet | A → B | UDP | GUE | hops h,     remaining r,     [C, D] | inner …
//!   after    Ethernet | B → C | UDP | GUE | hops h + 1, remaining r − 1, [D, 0] | inner …
//! ```
//!
//! The next hop is what user space last heard of the kernel's routes and neighbours. `bpf_fib_lookup` would ask the
//! kernel itself, for 40 to 60 ns a packet, but only where forwarding is switched on, which makes a router of the host.

use lb_common::{
    checksum,
    flow::Addresses,
    gue::Chain,
    memory::ViewMut,
    packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ethernet, Ipv4, Ipv6, Version},
    reason::Reason,
    tunnel::{self, Contents, PeerWay, TunnelVersion},
};

use crate::{Exit, Stage, maps, packet::Packet};

const HOP_LIMIT: u8 = 64;
const UDP_HEADER: usize = 8;

/// The program for packets that are not this host's.
#[inline(always)]
pub fn hand_on<P: Packet>(packet: &mut P) -> Exit {
    let sent = match Ethernet::parse(packet.frame()) {
        Ok(Ethernet { ethertype: ETHERTYPE_IPV4, payload, .. }) => hand_on_over::<P, Ipv4>(packet, payload),
        Ok(Ethernet { ethertype: ETHERTYPE_IPV6, payload, .. }) => hand_on_over::<P, Ipv6>(packet, payload),
        _ => Err(Reason::NotIp),
    };
    match sent {
        Ok(action) => Exit::Sent(Reason::AgentHandedOn, action),
        Err(reason) => Exit::Reason(reason),
    }
}

/// A version of IP as the outer header of what is handed on.
trait Relay: TunnelVersion {
    /// A chain's target as a key of the agent's maps.
    fn key(target: Self::Target) -> [u32; 4];
    /// Rewrites the outer header at `offset`.
    fn readdress<P: Packet>(packet: &mut P, offset: usize, target: Self::Target) -> Option<()>;
    /// Writes GUE header and chain at `offset`.
    fn write_chain<P: Packet>(packet: &mut P, offset: usize, words: Self::Words) -> Option<()>;
}

impl Relay for Ipv4 {
    #[inline(always)]
    fn key(target: u32) -> [u32; 4] {
        [0, 0, 0xffff_u32.to_be(), target]
    }

    #[inline(always)]
    fn readdress<P: Packet>(packet: &mut P, offset: usize, target: u32) -> Option<()> {
        let mut header: ViewMut<'_, 20> = packet.view_mut(offset)?;
        let before = header.read();
        let (source, here, hop_limit) = (before.raw32::<12>(), before.raw32::<16>(), before.be16::<8>());
        let sum = before.be16::<10>();
        header.set_u8::<8>(HOP_LIMIT);
        header.set_raw32::<12>(here);
        header.set_raw32::<16>(target);
        // This host's address was counted as the destination and is as the source (RFC 1624, eqn. 3).
        let after = u32::from(!sum)
            + word_sum(!source)
            + word_sum(target)
            + u32::from(!hop_limit)
            + u32::from(header.read().be16::<8>());
        header.set_be16::<10>(!checksum::fold(after));
        Some(())
    }

    #[inline(always)]
    fn write_chain<P: Packet>(packet: &mut P, offset: usize, words: [u64; 2]) -> Option<()> {
        let mut bytes: ViewMut<'_, 16> = packet.view_mut(offset)?;
        bytes.set_raw64::<0>(words[0]);
        bytes.set_raw64::<8>(words[1]);
        Some(())
    }
}

/// The sum of the two big-endian halves of four bytes as they are in memory.
#[inline(always)]
fn word_sum(bytes: u32) -> u32 {
    let number = u32::from_be(bytes);
    (number >> 16) + (number & 0xffff)
}

impl Relay for Ipv6 {
    #[inline(always)]
    fn key([high, low]: [u64; 2]) -> [u32; 4] {
        lb_common::flow::Ipv6Addresses { both: [0, 0, high, low] }.destination()
    }

    #[inline(always)]
    fn readdress<P: Packet>(packet: &mut P, offset: usize, [high, low]: [u64; 2]) -> Option<()> {
        let mut header: ViewMut<'_, 40> = packet.view_mut(offset)?;
        let (here_high, here_low) = (header.read().raw64::<24>(), header.read().raw64::<32>());
        header.set_u8::<7>(HOP_LIMIT);
        header.set_raw64::<8>(here_high);
        header.set_raw64::<16>(here_low);
        header.set_raw64::<24>(high);
        header.set_raw64::<32>(low);
        Some(())
    }

    #[inline(always)]
    fn write_chain<P: Packet>(packet: &mut P, offset: usize, words: [u64; 5]) -> Option<()> {
        let mut bytes: ViewMut<'_, 40> = packet.view_mut(offset)?;
        bytes.set_raw64::<0>(words[0]);
        bytes.set_raw64::<8>(words[1]);
        bytes.set_raw64::<16>(words[2]);
        bytes.set_raw64::<24>(words[3]);
        bytes.set_raw64::<32>(words[4]);
        Some(())
    }
}

#[inline(always)]
fn hand_on_over<P: Packet, V: Relay>(packet: &mut P, offset: usize) -> Stage<i32> {
    // `agent` has left this packet here, and has seen that it is for this host, from a node or peer that it knows.
    let outer = tunnel::outer::<V>(packet.frame(), offset)?;
    let Contents::Packet { payload, chain, transport } = tunnel::contents::<V>(packet.frame(), &outer)?
    else {
        return Err(Reason::AgentMalformed);
    };
    let target = chain.next().ok_or(Reason::AgentMalformed)?;
    let way = way::<V>(target)?;
    rewrite::<P, V>(packet, offset, transport, target, chain, payload.protocol)
        .ok_or(Reason::AgentMalformed)?;
    write_link(packet, way).ok_or(Reason::AgentMalformed)?;
    Ok(packet.send_by(way.interface))
}

/// How a peer is reached. What is no peer, this host included, has no way.
#[inline(always)]
fn way<V: Relay>(target: V::Target) -> Stage<&'static PeerWay> {
    let key = V::key(target);
    if let Some(way) = maps::peer_way(&key) {
        return Ok(way);
    }
    if maps::is_local(&key) {
        return Err(Reason::AgentMalformedChain);
    }
    if !maps::is_peer(key) {
        return Err(Reason::AgentUnknownPeer);
    }
    maps::want_peer(&key);
    Err(Reason::AgentNoNextHop)
}

#[inline(always)]
fn rewrite<P: Packet, V: Relay>(
    packet: &mut P,
    offset: usize,
    transport: usize,
    target: V::Target,
    chain: Chain<V::Target>,
    protocol: u8,
) -> Option<()> {
    let chain = chain.handed_on::<V>();
    let words = if protocol == Ipv4::PROTOCOL { chain.words::<V, Ipv4>() } else { chain.words::<V, Ipv6>() };
    V::write_chain(packet, transport + UDP_HEADER, words)?;
    let mut udp: ViewMut<'_, UDP_HEADER> = packet.view_mut(transport)?;
    udp.set_raw16::<6>(0);
    V::readdress(packet, offset, target)
}

/// VLAN tags stay: the peers of tagged packets are on the same VLAN.
#[inline(always)]
fn write_link<P: Packet>(packet: &mut P, way: &PeerWay) -> Option<()> {
    let mut link: ViewMut<'_, 12> = packet.view_mut(0)?;
    let [first, second, third] = way.macs;
    link.set_raw32::<0>(first);
    link.set_raw32::<4>(second);
    link.set_raw32::<8>(third);
    Some(())
}
