//! How a packet gets its target's outer header.
//!
//! ```text
//!   before         | Ethernet (14, 18 or 22) | IP | TCP/UDP … |
//!   IP in IP       | Ethernet (14) | outer IP | IP | TCP/UDP … |
//!   GUE            | Ethernet (14) | outer IP | UDP | IP | TCP/UDP … |                 version 1
//!   with a chain   | Ethernet (14) | outer IP | UDP | GUE | chain | IP | TCP/UDP … |   version 0
//!                   \__ from the template __/
//! ```
//!
//! The template is copied in 8-byte stores; then only what depends on the packet is written: lengths, traffic
//! class, inner protocol, the flow's entropy, and the folded checksum.

use super::{GUE, GUE_PORT, IPV4_TEMPLATE, IPV6_TEMPLATE, Target};
use crate::checksum::fold;
use crate::flow::{FlowHash, UDP};
use crate::gue::{Carrier, Chain};
use crate::memory::{View, ViewMut};
use crate::packet::{Ipv4, Ipv6, Version};

/// What of a packet goes into its outer header.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Bytes of the inner packet, from its IP header on.
    pub length: u16,
    /// Its type of service or traffic class.
    pub traffic_class: u8,
    /// The flow's hash.
    pub hash: FlowHash,
}

/// A version of IP as the outer header.
pub trait Outer: Carrier {
    /// Bytes of the template: Ethernet and the outer header.
    const TEMPLATE: usize;

    /// Writes Ethernet and outer header to the start of `frame`, whose bytes are all new.
    fn write_template<const N: usize>(
        target: &Target,
        inner: Inner,
        protocol: u8,
        frame: &mut ViewMut<'_, N>,
    );
    /// The `M` bytes from `frame`'s outer header on.
    fn behind<'a, const M: usize, const N: usize>(frame: &'a mut ViewMut<'_, N>) -> ViewMut<'a, M>;
    /// Writes GUE header and chain behind the UDP header.
    fn write_words<const N: usize>(words: Self::Words, frame: &mut ViewMut<'_, N>);
    /// The address of a tunnel's end ([`Target::address`]); none, if that is of the other version.
    fn end(address: [u32; 4]) -> Self::Target;
}

/// Writes the headers of IP in IP over `frame`, behind which the inner packet, of version `I`, begins.
#[inline(always)]
pub fn write<O: Outer, I: Version, const N: usize>(
    target: &Target,
    inner: Inner,
    frame: &mut ViewMut<'_, N>,
) {
    const { assert!(N == O::TEMPLATE) };
    O::write_template(target, inner, I::PROTOCOL, frame);
}

/// As [`write()`], in GUE of version 1: the inner packet's first byte tells its version.
#[inline(always)]
pub fn write_gue<O: Outer, const N: usize>(target: &Target, inner: Inner, frame: &mut ViewMut<'_, N>) {
    const { assert!(N == O::TEMPLATE + GUE) };
    O::write_template(target, inner, UDP, frame);
    write_udp::<O, N>(inner, frame);
}

/// As [`write()`], in GUE of version 0 with a chain of the targets at `former`, the newest first; zero is none.
#[inline(always)]
pub fn write_chain<O: Outer, I: Version, const N: usize>(
    target: &Target,
    former: [[u32; 4]; 2],
    inner: Inner,
    frame: &mut ViewMut<'_, N>,
) {
    const { assert!(N == O::TEMPLATE + GUE + O::HEADER_AND_CHAIN) };
    let [next, last] = former.map(O::end);
    let targets = if next == O::NONE { [last, O::NONE] } else { [next, last] };
    O::write_template(target, inner, UDP, frame);
    write_udp::<O, N>(inner, frame);
    O::write_words(Chain::new::<O>(targets).words::<O, I>(), frame);
}

/// The UDP header of all that follows it in the `N` new bytes, and of the inner packet. Its checksum is zero, as RFC
/// 6935 allows for tunnels over IPv6, too: the inner packet has one of its own.
#[inline(always)]
fn write_udp<O: Outer, const N: usize>(inner: Inner, frame: &mut ViewMut<'_, N>) {
    let length = inner.length + (N - O::TEMPLATE) as u16;
    let header = (source_port(inner.hash) as u64) << 48 | (GUE_PORT as u64) << 32 | (length as u64) << 16;
    O::behind::<GUE, N>(frame).set_raw64::<0>(header.to_be());
}

/// A source port of the dynamic range (RFC 6335: 49152 to 65535), the same for all packets of a flow.
#[inline(always)]
fn source_port(hash: FlowHash) -> u16 {
    0xc000 | hash.0 as u16
}

#[inline(always)]
fn template_word<const AT: usize>(target: &Target) -> u64 {
    View::new(&target.header).raw64::<AT>()
}

impl Outer for Ipv4 {
    const TEMPLATE: usize = IPV4_TEMPLATE;

    #[inline(always)]
    fn write_template<const N: usize>(
        target: &Target,
        inner: Inner,
        protocol: u8,
        frame: &mut ViewMut<'_, N>,
    ) {
        frame.set_raw64::<0>(template_word::<0>(target));
        frame.set_raw64::<8>(template_word::<8>(target));
        frame.set_raw64::<16>(template_word::<16>(target));
        frame.set_raw64::<24>(template_word::<24>(target));
        frame.set_raw16::<32>(View::new(&target.header).raw16::<32>());
        let entropy = inner.hash.0 as u32 & target.entropy;
        let length = inner.length + 20 + (N - IPV4_TEMPLATE) as u16;
        frame.set_u8::<15>(inner.traffic_class);
        frame.set_be16::<16>(length);
        frame.set_u8::<23>(protocol);
        frame.set_raw32::<26>(frame.read().raw32::<26>() | entropy);
        let entropy = u32::from_be(entropy);
        let sum = target.checksum
            + u32::from(inner.traffic_class)
            + u32::from(length)
            + u32::from(protocol)
            + (entropy >> 16)
            + (entropy & 0xffff);
        frame.set_be16::<24>(!fold(sum));
    }

    #[inline(always)]
    fn behind<'a, const M: usize, const N: usize>(frame: &'a mut ViewMut<'_, N>) -> ViewMut<'a, M> {
        frame.part::<IPV4_TEMPLATE, M>()
    }

    #[inline(always)]
    fn write_words<const N: usize>([opening, targets]: [u64; 2], frame: &mut ViewMut<'_, N>) {
        let mut bytes = frame.part::<{ IPV4_TEMPLATE + GUE }, { Ipv4::HEADER_AND_CHAIN }>();
        bytes.set_raw64::<0>(opening);
        bytes.set_raw64::<8>(targets);
    }

    #[inline(always)]
    fn end(address: [u32; 4]) -> u32 {
        if is_ipv4(address) { address[3] } else { Ipv4::NONE }
    }
}

impl Outer for Ipv6 {
    const TEMPLATE: usize = IPV6_TEMPLATE;

    #[inline(always)]
    fn write_template<const N: usize>(
        target: &Target,
        inner: Inner,
        protocol: u8,
        frame: &mut ViewMut<'_, N>,
    ) {
        frame.set_raw64::<0>(template_word::<0>(target));
        frame.set_raw64::<8>(template_word::<8>(target));
        frame.set_raw64::<16>(template_word::<16>(target));
        frame.set_raw64::<24>(template_word::<24>(target));
        frame.set_raw64::<32>(template_word::<32>(target));
        frame.set_raw64::<40>(template_word::<40>(target));
        frame.set_raw64::<46>(template_word::<46>(target));
        // Version 6, the inner traffic class, and a flow label made of the flow's hash (RFC 6438).
        let label = inner.hash.0 as u32 & 0xf_ffff;
        let word = 6 << 28 | u32::from(inner.traffic_class) << 20 | label;
        frame.set_raw32::<14>(word.to_be());
        frame.set_be16::<18>(inner.length + (N - IPV6_TEMPLATE) as u16);
        frame.set_u8::<20>(protocol);
        let entropy = inner.hash.0 as u32 & target.entropy;
        frame.set_raw32::<34>(frame.read().raw32::<34>() | entropy);
    }

    #[inline(always)]
    fn behind<'a, const M: usize, const N: usize>(frame: &'a mut ViewMut<'_, N>) -> ViewMut<'a, M> {
        frame.part::<IPV6_TEMPLATE, M>()
    }

    #[inline(always)]
    fn write_words<const N: usize>([opening, a, b, c, d]: [u64; 5], frame: &mut ViewMut<'_, N>) {
        let mut bytes = frame.part::<{ IPV6_TEMPLATE + GUE }, { Ipv6::HEADER_AND_CHAIN }>();
        bytes.set_raw64::<0>(opening);
        bytes.set_raw64::<8>(a);
        bytes.set_raw64::<16>(b);
        bytes.set_raw64::<24>(c);
        bytes.set_raw64::<32>(d);
    }

    #[inline(always)]
    fn end(address: [u32; 4]) -> [u64; 2] {
        if is_ipv4(address) {
            return Ipv6::NONE;
        }
        let pair = |first: u32, second: u32| {
            if cfg!(target_endian = "little") {
                first as u64 | (second as u64) << 32
            } else {
                second as u64 | (first as u64) << 32
            }
        };
        [pair(address[0], address[1]), pair(address[2], address[3])]
    }
}

#[inline(always)]
fn is_ipv4(address: [u32; 4]) -> bool {
    address[0] | address[1] == 0 && address[2] == 0xffff_u32.to_be()
}
