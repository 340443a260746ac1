//! The packet in the program's hands: XDP's or a socket buffer's of tc, so that every stage is written once.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, xdp_action,
    },
    helpers::generated::{bpf_redirect, bpf_skb_adjust_room, bpf_skb_pull_data},
    programs::TcContext,
};
use lb_common::{
    encapsulation::ETHERNET,
    memory::{Frame, ViewMut},
    packet::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Version},
    reason::{Reason, Verdict},
    tunnel::Continuation,
};
use lb_ebpf::packet_memory::XdpPacket;

use crate::{Stage, maps};

/// `TC_ACT_UNSPEC`, which is also `TCX_NEXT`: the packet goes on as if this program were not there.
pub const GO_ON: i32 = -1;
/// `TC_ACT_SHOT`.
const SHOT: i32 = 2;

/// A packet that came in.
pub trait Packet {
    /// Its bytes.
    fn frame(&self) -> Frame<'_>;
    /// `N` bytes at `offset`, to be written, if the packet has them.
    fn view_mut<const N: usize>(&mut self, offset: usize) -> Option<ViewMut<'_, N>>;
    /// The context, for helpers that want it.
    fn context(&self) -> *mut c_void;
    /// Cuts everything between the Ethernet addresses and the inner packet of version `V` at `offset`: a VLAN tag
    /// goes too.
    fn cut<V: Version>(&mut self, offset: usize) -> Stage<()>;
    /// What the program returns for a verdict.
    fn action(verdict: Verdict) -> i32;
    /// What it returns so that the packet, whose Ethernet header is written, leaves by `interface`.
    fn send_by(&self, interface: u32) -> i32;
    /// What it returns so that the packet leaves by the interface that it came by.
    fn send_back(&self) -> i32;
    /// Leaves the packet to another program; returns if there is none.
    fn leave_to(&self, continuation: Continuation);
}

#[inline(always)]
fn redirect(interface: u32) -> i32 {
    // SAFETY: the helper takes numbers only.
    unsafe { bpf_redirect(interface, 0) as i32 }
}

/// The helpers' view of an XDP context.
struct Context(*mut c_void);

impl EbpfContext for Context {
    fn as_ptr(&self) -> *mut c_void {
        self.0
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn frame(&self) -> Frame<'_> {
        XdpPacket::frame(self)
    }

    #[inline(always)]
    fn view_mut<const N: usize>(&mut self, offset: usize) -> Option<ViewMut<'_, N>> {
        XdpPacket::view_mut(self, offset)
    }

    #[inline(always)]
    fn context(&self) -> *mut c_void {
        XdpPacket::context(self).cast()
    }

    #[inline(always)]
    fn cut<V: Version>(&mut self, offset: usize) -> Stage<()> {
        let link = XdpPacket::frame(self).view::<12>(0).ok_or(Reason::AgentMalformed)?;
        let (first, second) = (link.raw64::<0>(), link.raw32::<8>());
        if !self.move_start((offset - ETHERNET) as i32) {
            return Err(Reason::AgentMalformed);
        }
        let mut link: ViewMut<'_, ETHERNET> = XdpPacket::view_mut(self, 0).ok_or(Reason::AgentMalformed)?;
        link.set_raw64::<0>(first);
        link.set_raw32::<8>(second);
        link.set_be16::<12>(ethertype::<V>());
        Ok(())
    }

    #[inline(always)]
    fn action(verdict: Verdict) -> i32 {
        match verdict {
            Verdict::Passed => xdp_action::XDP_PASS as i32,
            Verdict::Dropped => xdp_action::XDP_DROP as i32,
            Verdict::Answered => xdp_action::XDP_TX as i32,
        }
    }

    #[inline(always)]
    fn send_by(&self, interface: u32) -> i32 {
        if interface == self.interface() { self.send_back() } else { redirect(interface) }
    }

    #[inline(always)]
    fn send_back(&self) -> i32 {
        xdp_action::XDP_TX as i32
    }

    #[inline(always)]
    fn leave_to(&self, continuation: Continuation) {
        maps::continue_in_xdp(&Context(Packet::context(self)), continuation);
    }
}

#[inline(always)]
fn ethertype<V: Version>() -> u16 {
    if V::PROTOCOL == 4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 }
}

/// A packet in a socket buffer, its headers in one piece.
pub struct SkbPacket {
    context: *mut __sk_buff,
}

/// Bytes that are put into one piece: above all headers of a tunnel packet, but for piles of extension headers.
const HEADERS: u32 = 256;

impl SkbPacket {
    /// The packet of this run.
    #[inline(always)]
    pub fn new(context: &TcContext) -> SkbPacket {
        let packet = SkbPacket { context: context.skb.skb };
        let wanted = context.len().min(HEADERS);
        if packet.frame().length_from(0) < wanted as usize {
            // SAFETY: the context is this run's. If there is no memory, the parsers find the frame too short.
            unsafe { bpf_skb_pull_data(packet.context, wanted) };
        }
        packet
    }

    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: the context is valid for the run of the program.
        unsafe { (*self.context).data as usize }
    }

    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as in `start`.
        unsafe { (*self.context).data_end as usize }
    }
}

/// The bytes of the packet of `context`.
#[inline(always)]
fn whole_length(context: usize) -> usize {
    // SAFETY: it is the context of this run's packet.
    unsafe { (*(context as *const __sk_buff)).len as usize }
}

impl Packet for SkbPacket {
    #[inline(always)]
    fn frame(&self) -> Frame<'_> {
        // SAFETY: the kernel guarantees data..data_end readable until a helper changes the packet, which needs
        // `&mut self`. The verifier checks each access again.
        unsafe { Frame::from_first_buffer(self.start(), self.end(), self.context as usize, whole_length) }
    }

    #[inline(always)]
    fn view_mut<const N: usize>(&mut self, offset: usize) -> Option<ViewMut<'_, N>> {
        // SAFETY: as in `frame`; `&mut self` excludes other views.
        unsafe { ViewMut::from_pointers(self.start(), self.end(), offset) }
    }

    #[inline(always)]
    fn context(&self) -> *mut c_void {
        self.context.cast()
    }

    /// The kernel has taken a VLAN tag off already, or the packet is of another protocol for it.
    #[inline(always)]
    fn cut<V: Version>(&mut self, offset: usize) -> Stage<()> {
        let outer = self.frame().view::<ETHERNET>(0).ok_or(Reason::AgentMalformed)?.be16::<12>();
        let inner = ethertype::<V>();
        // Linux 6.3 can tell the buffer that its packet is of the other version now; older ones refuse the flag.
        let other_version = match inner {
            _ if inner == outer => 0,
            ETHERTYPE_IPV4 => BPF_F_ADJ_ROOM_DECAP_L3_IPV4,
            _ => BPF_F_ADJ_ROOM_DECAP_L3_IPV6,
        };
        let (by, flags) = (ETHERNET as i32 - offset as i32, BPF_F_ADJ_ROOM_FIXED_GSO | other_version);
        // SAFETY: the context is this run's; the helper checks amount and flags.
        if unsafe { bpf_skb_adjust_room(self.context, by, BPF_ADJ_ROOM_MAC, flags.into()) } != 0 {
            return Err(Reason::AgentMalformed);
        }
        let mut link: ViewMut<'_, ETHERNET> = self.view_mut(0).ok_or(Reason::AgentMalformed)?;
        link.set_be16::<12>(inner);
        Ok(())
    }

    #[inline(always)]
    fn action(verdict: Verdict) -> i32 {
        match verdict {
            Verdict::Passed => GO_ON,
            Verdict::Dropped | Verdict::Answered => SHOT,
        }
    }

    #[inline(always)]
    fn send_by(&self, interface: u32) -> i32 {
        redirect(interface)
    }

    #[inline(always)]
    fn send_back(&self) -> i32 {
        // SAFETY: the context is valid for the run of the program.
        redirect(unsafe { (*self.context).ingress_ifindex })
    }

    #[inline(always)]
    fn leave_to(&self, continuation: Continuation) {
        maps::continue_in_tc(&Context(self.context.cast()), continuation);
    }
}
