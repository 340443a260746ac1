//! Headers of synthetic packets, by IP version.

use lb_common::{
    bench::{LISTENER_PORT, SyntheticFlow, link_addresses},
    encapsulation::ETHERNET,
    flow::{Ipv4Addresses, Ipv6Addresses, TCP},
    memory::ViewMut,
    packet::{Datagram, Ipv4, Ipv6, Version},
};
use lb_ebpf::packet_memory::XdpPacket;

/// A version of IP of which packets can be made.
pub trait Synthetic: Version {
    /// Writes what an earlier repetition may have changed and what differs from flow to flow.
    fn write(packet: &mut XdpPacket, ethertype: u16, flow: SyntheticFlow) -> Option<()>;
    /// The parsed packet that the floor starts from: a frame of `length` bytes of no flow in particular.
    fn datagram(length: u16) -> Datagram<Self::Addresses>;
}

impl Synthetic for Ipv4 {
    #[inline(always)]
    fn write(packet: &mut XdpPacket, ethertype: u16, flow: SyntheticFlow) -> Option<()> {
        let mut frame: ViewMut<'_, 38> = packet.view_mut(0)?;
        write_link(&mut frame.first(), ethertype);
        let both = (flow.ipv4_source() as u64) << 32 | flow.ipv4_vip() as u64;
        frame.set_raw64::<26>(both.to_be());
        frame.set_raw32::<34>(ports(flow));
        Some(())
    }

    #[inline(always)]
    fn datagram(length: u16) -> Datagram<Ipv4Addresses> {
        parsed(Ipv4Addresses { both: 0 }, length, 20)
    }
}

impl Synthetic for Ipv6 {
    #[inline(always)]
    fn write(packet: &mut XdpPacket, ethertype: u16, flow: SyntheticFlow) -> Option<()> {
        let mut frame: ViewMut<'_, 58> = packet.view_mut(0)?;
        write_link(&mut frame.first(), ethertype);
        let (source, vip) = (flow.ipv6_source(), flow.ipv6_vip());
        frame.set_raw64::<22>(source[0].to_be());
        frame.set_raw64::<30>(source[1].to_be());
        frame.set_raw64::<38>(vip[0].to_be());
        frame.set_raw64::<46>(vip[1].to_be());
        frame.set_raw32::<54>(ports(flow));
        Some(())
    }

    #[inline(always)]
    fn datagram(length: u16) -> Datagram<Ipv6Addresses> {
        parsed(Ipv6Addresses { both: [0; 4] }, length, 40)
    }
}

#[inline(always)]
fn write_link(frame: &mut ViewMut<'_, ETHERNET>, ethertype: u16) {
    let (first, second) = link_addresses();
    frame.set_raw64::<0>(first);
    frame.set_raw32::<8>(second);
    frame.set_be16::<12>(ethertype);
}

#[inline(always)]
fn ports(flow: SyntheticFlow) -> u32 {
    ((flow.source_port() as u32) << 16 | LISTENER_PORT as u32).to_be()
}

#[inline(always)]
fn parsed<A>(addresses: A, length: u16, header: usize) -> Datagram<A> {
    Datagram {
        addresses,
        protocol: TCP,
        traffic_class: 0,
        length: length.wrapping_sub(ETHERNET as u16),
        offset: ETHERNET,
        payload: ETHERNET + header,
    }
}
