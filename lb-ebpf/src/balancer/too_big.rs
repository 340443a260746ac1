//! Packets that are too big for the way to their target: the sender is told which size fits.
//!
//! The answer is made of the packet itself: its tail, with all further buffers, is cut behind the quote, and the
//! answer's headers go between the link-layer header, which is turned, and the quoted packet.

use lb_common::{
    checksum::fold_memory_words,
    encapsulation::Target,
    maps::Continuation,
    packet::{
        Datagram, FragmentVersion, Ipv4, Ipv6, Part,
        too_big::{self, TooBigVersion, quoted},
    },
    reason::Reason,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{Exit, Stage, maps, martian, mode::Mode, slot};

/// A version of IP whose packets can be turned into answers.
pub trait IcmpVersion: TooBigVersion + FragmentVersion {
    /// Whether the sender of the packet at `offset` is to be told: it forbids fragments, or the node's settings
    /// say that all are. Of an IPv4 datagram's fragments only the first may be answered (RFC 1122, 3.2.2).
    fn wants_answer(packet: &XdpPacket, offset: usize) -> bool;
    /// The sum of the `length` quoted bytes at `offset`.
    fn sum(packet: &XdpPacket, offset: usize, length: usize) -> Option<u16>;
}

/// The longest link-layer header: two tags.
const LINK: usize = 22;
/// The flag in an IPv4 header.
const DONT_FRAGMENT: u16 = 0x4000;
/// The offset of a fragment in the same field.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// What becomes of a packet that could not be sent to `target`: one that is too big goes on in a program of its own.
/// ICMP errors do not come here: an error gets no answer (RFC 1122, 3.2.2).
#[inline(always)]
pub fn exit<M: Mode>(reason: Reason, target: &Target) -> Exit {
    if reason != Reason::TooBig {
        return reason.into();
    }
    maps::note_inner_mtu::<M>(target.way.inner_mtu());
    Exit::Continue(Continuation::TooBig)
}

/// Answers the packet, or says why not.
#[inline(always)]
pub fn answer<M: Mode, V: IcmpVersion>(
    packet: &mut XdpPacket,
    part: &Part<V::Addresses>,
) -> Result<u32, Exit> {
    Ok(try_answer::<M, V>(packet, &part.datagram, maps::inner_mtu::<M>())?)
}

#[inline(always)]
fn try_answer<M: Mode, V: IcmpVersion>(
    packet: &mut XdpPacket,
    datagram: &Datagram<V::Addresses>,
    fits: u16,
) -> Stage<u32> {
    let offset = datagram.offset;
    let quoted = quoted::<V>(datagram.length, fits).ok_or(Reason::TooBig)?;
    if !V::wants_answer(packet, offset) {
        return Err(Reason::TooBig);
    }
    martian::refuse_link(packet)?;
    if M::LASTS && !maps::may_answer(slot::nanoseconds()) {
        return Err(Reason::TooBigLimited);
    }
    let addresses = datagram.addresses;
    let link = packet.frame().view::<LINK>(0).ok_or(Reason::TooBig)?;
    let link = [link.raw64::<0>(), link.raw64::<8>(), link.raw64::<14>()];
    let surplus = packet.frame().whole_length() - (offset + quoted);
    if !packet.move_start(-(V::HEADERS as i32)) {
        return Err(Reason::NoHeadroom);
    }
    if !packet.cut_end(surplus) {
        return Err(Reason::TooBig);
    }
    write_link(packet, link).ok_or(Reason::TooBig)?;
    let sum = V::sum(packet, offset + V::HEADERS, quoted).ok_or(Reason::TooBig)?;
    let mut headers = packet.view_mut(offset).ok_or(Reason::TooBig)?;
    too_big::write::<V>(&mut headers, addresses, fits, quoted as u16, sum);
    Err(Reason::TooBigAnswered)
}

/// Writes the link-layer header, tags included, with its MAC addresses exchanged. What it writes too much the
/// headers behind it overwrite.
#[inline(always)]
fn write_link(packet: &mut XdpPacket, [first, second, third]: [u64; 3]) -> Option<()> {
    let mut header = packet.view_mut::<LINK>(0)?;
    header.set_raw64::<8>(second);
    header.set_raw64::<14>(third);
    let (first, second) = (first.to_ne_bytes(), second.to_ne_bytes());
    let [a, b, c, d, e, f, g, h] = first;
    let [i, j, k, l, ..] = second;
    header.set_raw64::<0>(u64::from_ne_bytes([g, h, i, j, k, l, a, b]));
    header.set_raw32::<8>(u32::from_ne_bytes([c, d, e, f]));
    Some(())
}

impl IcmpVersion for Ipv4 {
    #[inline(always)]
    fn wants_answer(packet: &XdpPacket, offset: usize) -> bool {
        let Some(header) = packet.frame().view::<20>(offset) else { return false };
        let word = header.be16::<6>();
        let may_be_told =
            word & DONT_FRAGMENT != 0 || maps::settings().is_ok_and(|settings| settings.answers_oversized());
        word & FRAGMENT_OFFSET == 0 && may_be_told
    }

    #[inline(always)]
    fn sum(packet: &XdpPacket, offset: usize, length: usize) -> Option<u16> {
        const FIRST: usize = Ipv4::SHORT_QUOTE;
        let mut sum = packet.add_words::<FIRST>(offset, 0)?;
        if length == Ipv4::QUOTE {
            sum = packet.add_words::<{ Ipv4::QUOTE - FIRST }>(offset + FIRST, sum)?;
        }
        Some(fold_memory_words(sum as u64))
    }
}

impl IcmpVersion for Ipv6 {
    #[inline(always)]
    fn wants_answer(_packet: &XdpPacket, _offset: usize) -> bool {
        true
    }

    #[inline(always)]
    fn sum(packet: &XdpPacket, offset: usize, _length: usize) -> Option<u16> {
        let sum = packet.add_words::<512>(offset, 0)?;
        let sum = packet.add_words::<512>(offset + 512, sum)?;
        let sum = packet.add_words::<{ Ipv6::QUOTE - 1024 }>(offset + 1024, sum)?;
        Some(fold_memory_words(sum as u64))
    }
}
