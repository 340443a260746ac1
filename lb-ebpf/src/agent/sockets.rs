//! Whether a TCP packet belongs to a socket of this host, in the network namespace of the interface.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_tuple, tcphdr},
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp, bpf_tcp_check_syncookie},
};
use lb_common::{
    flow::Addresses,
    memory::View,
    packet::{Ipv4, Ipv6, icmp_error::ErrorVersion},
    tunnel::TunnelVersion,
};

use crate::packet::Packet;

/// `BPF_F_CURRENT_NETNS`.
const THIS_NAMESPACE: u64 = u64::MAX;
/// `TCP_LISTEN`, `BPF_TCP_LISTEN`.
const LISTEN: u32 = 10;

/// A packet's addresses and ports, the latter bytes as on the wire.
#[derive(Clone, Copy)]
pub struct Tuple<A> {
    /// The client's and the VIP.
    pub addresses: A,
    /// The client's port.
    pub source_port: u16,
    /// The port that the target's socket has.
    pub destination_port: u16,
}

/// A version of IP whose TCP sockets can be looked up.
pub trait SocketVersion: TunnelVersion + ErrorVersion {
    /// The version's part of the kernel's `struct bpf_sock_tuple`.
    type KernelTuple;
    /// The fixed header.
    type Header;

    /// Bytes of it, without what rounds it up to its alignment.
    const TUPLE: u32;

    /// As the helper wants it.
    fn tuple(tuple: &Tuple<Self::Addresses>) -> Self::KernelTuple;
    /// A fixed header with these addresses, as it is in memory: all that the check of a cookie looks at.
    fn header_of(addresses: &Self::Addresses) -> Self::Header;
}

/// `bpf_sock_tuple.ipv4`.
#[repr(C)]
pub struct Ipv4Tuple {
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
}

/// `bpf_sock_tuple.ipv6`, in words of the size by which the kernel reads addresses: a load of eight bytes waits for two
/// stores of four.
#[repr(C)]
pub struct Ipv6Tuple {
    source: [u64; 2],
    destination: [u64; 2],
    source_port: u16,
    destination_port: u16,
    reserved: u32,
}

impl SocketVersion for Ipv4 {
    type KernelTuple = Ipv4Tuple;
    type Header = [u32; 5];
    const TUPLE: u32 = 12;

    #[inline(always)]
    fn tuple(tuple: &Tuple<Self::Addresses>) -> Ipv4Tuple {
        let [_, _, _, source] = tuple.addresses.source();
        let [_, _, _, destination] = tuple.addresses.destination();
        let Tuple { source_port, destination_port, .. } = *tuple;
        Ipv4Tuple { source, destination, source_port, destination_port }
    }

    #[inline(always)]
    fn header_of(addresses: &Self::Addresses) -> [u32; 5] {
        let ([_, _, _, source], [_, _, _, destination]) = (addresses.source(), addresses.destination());
        [u32::from_ne_bytes([0x45, 0, 0, 0]), 0, 0, source, destination]
    }
}

impl SocketVersion for Ipv6 {
    type KernelTuple = Ipv6Tuple;
    type Header = [u32; 10];
    const TUPLE: u32 = 36;

    #[inline(always)]
    fn tuple(tuple: &Tuple<Self::Addresses>) -> Ipv6Tuple {
        let [a, b, c, d] = tuple.addresses.both;
        let Tuple { source_port, destination_port, .. } = *tuple;
        Ipv6Tuple { source: [a, b], destination: [c, d], source_port, destination_port, reserved: 0 }
    }

    #[inline(always)]
    fn header_of(addresses: &Self::Addresses) -> [u32; 10] {
        let ([a, b, c, d], [e, f, g, h]) = (addresses.source(), addresses.destination());
        [u32::from_ne_bytes([0x60, 0, 0, 0]), 0, a, b, c, d, e, f, g, h]
    }
}

#[inline(always)]
fn words(bytes: View<'_, 20>) -> [u32; 5] {
    [bytes.raw32::<0>(), bytes.raw32::<4>(), bytes.raw32::<8>(), bytes.raw32::<12>(), bytes.raw32::<16>()]
}

/// A socket that was found, given back to the kernel when it goes.
struct Socket(*mut bpf_sock);

impl Socket {
    #[inline(always)]
    fn find<P: Packet, V: SocketVersion>(packet: &P, tuple: &Tuple<V::Addresses>) -> Option<Socket> {
        let mut tuple = V::tuple(tuple);
        let (pointer, length) = (&raw mut tuple, V::TUPLE);
        // SAFETY: the context is this run's, and the tuple's length says which version it is of.
        let socket = unsafe {
            bpf_skc_lookup_tcp(packet.context(), pointer.cast::<bpf_sock_tuple>(), length, THIS_NAMESPACE, 0)
        };
        if socket.is_null() { None } else { Some(Socket(socket)) }
    }

    #[inline(always)]
    fn is_listening(&self) -> bool {
        // SAFETY: the helper has returned a socket, which stays until it is released.
        unsafe { (*self.0).state == LISTEN }
    }

    /// Whether an ACK brings back the cookie that this listener gave out when its queue was full.
    #[inline(always)]
    fn has_given_cookie<V: SocketVersion>(&self, ip: &mut V::Header, tcp: &mut [u32; 5]) -> bool {
        let ip_length = size_of::<V::Header>() as u32;
        let (ip, tcp) = (core::ptr::from_mut(ip).cast::<c_void>(), tcp.as_mut_ptr().cast::<tcphdr>());
        // SAFETY: both headers are on the stack, of the lengths that are told.
        unsafe { bpf_tcp_check_syncookie(self.0.cast(), ip, ip_length, tcp, 20) == 0 }
    }
}

impl Drop for Socket {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the socket is released once, here.
        unsafe { bpf_sk_release(self.0.cast()) };
    }
}

/// Whether a socket has the packet with this TCP header: an established one or one in any later state, time-wait
/// included, a connection request, or a listener that finds its own cookie in it.
#[inline(always)]
pub fn claim<P: Packet, V: SocketVersion>(
    packet: &P,
    tuple: &Tuple<V::Addresses>,
    header: View<'_, 20>,
) -> bool {
    let Some(socket) = Socket::find::<P, V>(packet, tuple) else { return false };
    if !socket.is_listening() {
        return true;
    }
    // The cookie was made for the port that the listener has.
    let ports = [tuple.source_port.to_ne_bytes(), tuple.destination_port.to_ne_bytes()];
    let [[a, b], [c, d]] = ports;
    let mut tcp = words(header);
    tcp[0] = u32::from_ne_bytes([a, b, c, d]);
    socket.has_given_cookie::<V>(&mut V::header_of(&tuple.addresses), &mut tcp)
}

/// Whether a connection of this host has sent a packet with these addresses and ports, turned.
#[inline(always)]
pub fn is_connected<P: Packet, V: SocketVersion>(packet: &P, tuple: &Tuple<V::Addresses>) -> bool {
    Socket::find::<P, V>(packet, tuple).is_some_and(|socket| !socket.is_listening())
}
