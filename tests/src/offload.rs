//! What of a veth matters to XDP (two features, and how many queues it has), set by the `SIOCETHTOOL` ioctl (so that no `ethtool` is needed).
//!
//! Unsafe, as the ioctl takes a pointer.

use std::ffi::c_void;

use anyhow::{Context, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::net::{AddressFamily, SocketType, socket};

use crate::Host;

const SIOCETHTOOL: Opcode = 0x8946;

/// `ETHTOOL_STXCSUM`, `ETHTOOL_SGRO` of linux/ethtool.h.
const SET_TX_CHECKSUM: u32 = 0x17;
const SET_GRO: u32 = 0x2c;
/// `ETHTOOL_SCHANNELS`.
const SET_CHANNELS: u32 = 0x3d;

/// `IFNAMSIZ`: an interface's name with its final zero.
const NAME_SIZE: usize = 16;

/// Makes an interface fit for XDP on either end of its veth pair.
///
/// Transmit checksums off: a checksum that is left to the hardware is not in the packet that an XDP program
/// encapsulates, and nobody would complete it (this turns segmentation offload off, too). GRO on: a veth that
/// polls (NAPI) takes redirected frames (`NETDEV_XDP_ACT_NDO_XMIT`, Linux 6.18, and only if GRO is switched on
/// when the interface is up); that it also works through them needs a program on its peer, see `peer`.
pub(crate) fn fit_for_xdp(host: &Host, interface: &str) -> Result<()> {
    for (command, value) in [(SET_TX_CHECKSUM, 0), (SET_GRO, 1)] {
        host.enter(|| set(interface, command, value)).with_context(|| {
            format!("setting ethtool feature {command:#x} of {interface} on {}", host.name())
        })?;
    }
    Ok(())
}

/// Makes an interface transmit by `queues` queues and receive by one. A veth refuses a native XDP program where the
/// other end transmits by more queues than it receives by.
///
/// # Errors
/// If the machine has fewer processors than that, or the other end has a native XDP program.
pub fn set_transmit_queues(host: &Host, interface: &str, queues: u32) -> Result<()> {
    // struct ethtool_channels: command, four maxima, then receive, transmit, other and combined.
    let channels = [SET_CHANNELS, 0, 0, 0, 0, 1, queues, 0, 0];
    host.enter(|| ask(interface, channels))
        .with_context(|| format!("giving {interface} on {} {queues} queues", host.name()))
}

fn set(interface: &str, command: u32, value: u32) -> rustix::io::Result<()> {
    // struct ethtool_value.
    ask(interface, [command, value])
}

fn ask<const N: usize>(interface: &str, mut words: [u32; N]) -> rustix::io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut name = [0; NAME_SIZE];
    name[..interface.len()].copy_from_slice(interface.as_bytes());
    let request = Request { name, data: words.as_mut_ptr(), rest: [0; 2] };
    // SAFETY: `Ethtool` is exactly what SIOCETHTOOL takes; the words are the structure that the command in the first
    // of them wants, and outlive the call.
    unsafe { ioctl(socket, Ethtool { request }) }
}

/// `struct ifreq`: 40 bytes, of which the union's first member in use is the pointer.
#[repr(C)]
struct Request {
    name: [u8; NAME_SIZE],
    data: *mut u32,
    rest: [u64; 2],
}

struct Ethtool {
    request: Request,
}

// SAFETY: the opcode takes a pointer to a `struct ifreq`, whose layout `Request` has and whose data points to
// the structure that its command wants; it returns nothing but success.
unsafe impl Ioctl for Ethtool {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        SIOCETHTOOL
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.request).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}
