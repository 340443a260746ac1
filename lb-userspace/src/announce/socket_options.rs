//! Options of sockets that no safe interface has: TCP-MD5, the smallest TTL that is taken, and the TTL of what was
//! received.
//!
//! With the mapped maps of `data_plane`, the only unsafe code of this crate: `setsockopt` and `recvmsg`, which take
//! pointers.
#![allow(unsafe_code)]

use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, socklen_t};

/// Makes a TCP socket sign its segments to and from `peer`, and take no others (RFC 2385).
///
/// # Errors
/// If the kernel was built without TCP_MD5SIG (`ENOPROTOOPT`), or the password is longer than 80 bytes.
pub(super) fn set_tcp_md5(socket: BorrowedFd<'_>, peer: IpAddr, password: &str) -> io::Result<()> {
    let mut key = [0; libc::TCP_MD5SIG_MAXKEYLEN];
    let bytes = password.as_bytes();
    key.get_mut(..bytes.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
    let key_length = u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let option = TcpMd5 { address: storage(peer), flags: 0, prefix_length: 0, key_length, interface: 0, key };
    set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &option)
}

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
struct TcpMd5 {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: c_int,
    key: [u8; libc::TCP_MD5SIG_MAXKEYLEN],
}

/// Makes a TCP socket drop what comes with a smaller TTL or hop limit (RFC 5082).
pub(super) fn set_minimum_ttl(socket: BorrowedFd<'_>, is_ipv4: bool, ttl: u8) -> io::Result<()> {
    let (level, name) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_MINTTL)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT)
    };
    set(socket, level, name, &c_int::from(ttl))
}

/// Makes [`receive`] learn the TTL or hop limit of datagrams.
pub(super) fn set_receive_ttl(socket: BorrowedFd<'_>, is_ipv4: bool) -> io::Result<()> {
    let (level, name) = if is_ipv4 {
        (libc::IPPROTO_IP, libc::IP_RECVTTL)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT)
    };
    set(socket, level, name, &c_int::from(true))
}

/// A datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Datagram {
    /// Its length; what of it does not fit into the buffer is lost.
    pub(super) length: usize,
    /// Who sent it.
    pub(super) from: IpAddr,
    /// The TTL or hop limit that it came with; none if the kernel did not tell.
    pub(super) ttl: Option<u8>,
}

/// Receives a datagram into `buffer`, without waiting.
///
/// # Errors
/// `WouldBlock` when there is none.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Datagram> {
    /// Room for the TTL and some more, aligned as control messages are.
    #[repr(C, align(8))]
    struct Control([u8; 128]);
    let mut control = Control([0; 128]);
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all-zero bytes are a value of this structure of integers and pointers.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as socklen_t;
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    // SAFETY: all pointers of `header` are to live, writable memory of the lengths beside them (this function's
    // variables and the caller's buffer), and the descriptor is open as long as it is borrowed.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: it was zeroed, so every byte is initialized; the kernel wrote an address over it.
    let from = address(unsafe { name.assume_init_ref() }).ok_or(io::ErrorKind::InvalidData)?;
    // SAFETY: `header` is as the kernel left it, and its control buffer is alive.
    Ok(Datagram { length, from, ttl: unsafe { ttl(&header) } })
}

/// The TTL or hop limit among the control messages.
///
/// # Safety
/// `header` was filled by `recvmsg`, and its control buffer is alive.
unsafe fn ttl(header: &libc::msghdr) -> Option<u8> {
    // SAFETY: the caller's promise; these walk within the control buffer alone.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: it is not null, so it points to a whole header within the buffer, which is aligned for it.
        let kind = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        if [(libc::IPPROTO_IP, libc::IP_TTL), (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)].contains(&kind) {
            // SAFETY: the kernel puts an int into both of these messages; it need not be aligned.
            let value = unsafe { libc::CMSG_DATA(message).cast::<c_int>().read_unaligned() };
            return u8::try_from(value).ok();
        }
        // SAFETY: as for the first one.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    None
}

fn set<T>(socket: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let pointer: *const c_void = std::ptr::from_ref(value).cast();
    let length = size_of::<T>() as socklen_t;
    // SAFETY: the pointer is to a live value of that many bytes, and the descriptor is open as long as it is
    // borrowed.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, pointer, length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The address as the kernel takes it, without a port.
fn storage(address: IpAddr) -> libc::sockaddr_storage {
    // SAFETY: all-zero bytes are a value of these structures of integers and byte arrays, here and below.
    let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
    let pointer = &raw mut storage;
    match address {
        IpAddr::V4(address) => {
            // SAFETY: a sockaddr_storage has room and alignment for a sockaddr_in.
            let v4 = unsafe { &mut *pointer.cast::<libc::sockaddr_in>() };
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
        }
        IpAddr::V6(address) => {
            // SAFETY: a sockaddr_storage has room and alignment for a sockaddr_in6.
            let v6 = unsafe { &mut *pointer.cast::<libc::sockaddr_in6>() };
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_addr.s6_addr = address.octets();
        }
    }
    storage
}

fn address(storage: &libc::sockaddr_storage) -> Option<IpAddr> {
    let pointer = std::ptr::from_ref(storage);
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage has room and alignment for a sockaddr_in, of integers alone.
            let v4 = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: a sockaddr_storage has room and alignment for a sockaddr_in6, of integers and bytes alone.
            let v6 = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}
