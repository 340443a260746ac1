//! The balancer on an interface: native where the driver can, generic where not.

use std::path::{Path, PathBuf};

use anyhow::Context;
use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::sys::SyscallError;
use lb_common::maps::Programs;
use lb_common::packet::MacAddress;
use rustix::io::Errno;

use super::capture::update;
use super::load::balancer;
use super::maps::set_interface;
use super::{Loaded, load, pins};
use crate::next_hop::Interface;
use crate::xdp;

/// The balancer is on an interface as long as this is not given to [`Loaded::detach`].
#[derive(Debug)]
pub struct Attachment {
    /// None for the moment in which it changes hands.
    link: Option<XdpLinkId>,
    /// The program that has the link.
    program: Programs,
    /// The interface's index.
    pub interface: u32,
    mtu: u16,
    /// Where the link stays when the controller ends.
    pin: Option<PathBuf>,
    /// Why it is not native, if it is not: the kernel's words.
    pub fallback_reason: Option<String>,
    /// The kernel's id of the program.
    pub program_id: u32,
}

/// How a program is on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In the driver.
    Native,
    /// Behind it.
    Generic,
}

/// A link that an earlier controller has left; the live program has it.
pub(super) struct Left {
    pub(super) link: XdpLinkId,
    pub(super) mode: Mode,
    pub(super) pin: PathBuf,
}

/// Why an interface that an earlier controller had attached the balancer to is not native.
const ASKED_BEFORE: &str = "an earlier controller was refused it; `sluice detach` and a new start ask again";

impl Attachment {
    /// `native` or `generic`.
    pub fn mode(&self) -> &'static str {
        if self.fallback_reason.is_none() { "native" } else { "generic" }
    }
}

impl Attachment {
    /// Gives the interface to another program of the object, in one step. If the kernel refuses, the live program
    /// is attached anew: for that moment the interface has none.
    pub(super) fn hand_over(&mut self, ebpf: &mut Ebpf, to: Programs) -> anyhow::Result<()> {
        if self.program == to && self.link.is_some() {
            return Ok(());
        }
        if let Some(link) = self.link.take() {
            match update(ebpf, link, self.program, to) {
                Ok((link, program_id)) => {
                    (self.link, self.program, self.program_id) = (Some(link), to, program_id);
                    return Ok(());
                }
                Err(problem) => {
                    self.attach_anew(ebpf)?;
                    return Err(problem);
                }
            }
        }
        self.attach_anew(ebpf)
    }

    fn attach_anew(&mut self, ebpf: &mut Ebpf) -> anyhow::Result<()> {
        if let Some(pin) = &self.pin {
            // The link is still there, with the program that it had.
            let link = take_link_over(ebpf, pin)?.context("the interface is gone")?;
            self.program_id = balancer(ebpf)?.info().context("reading the balancer's id")?.id();
            (self.link, self.program) = (Some(link), Programs::Live);
            return Ok(());
        }
        let program = balancer(ebpf)?;
        let (link, fallback_reason) =
            attach_in_best_mode(program, self.interface, self.mtu).context("attaching the balancer anew")?;
        self.program_id = program.info().context("reading the balancer's id")?.id();
        (self.link, self.program, self.fallback_reason) = (Some(link), Programs::Live, fallback_reason);
        Ok(())
    }
}

impl Loaded {
    /// Puts the balancer on the interface, where an earlier controller may have left it; it takes the frames for its
    /// MAC address only.
    ///
    /// # Errors
    /// If the interface is no Ethernet, has an XDP program already, or the kernel refuses both modes.
    pub fn attach(&mut self, interface: &Interface) -> anyhow::Result<Attachment> {
        let Interface { name, index, mtu, xdp_program, .. } = interface;
        let mac = interface.mac.with_context(|| format!("{name} has no MAC address: it is no Ethernet"))?;
        if !self.left.contains_key(index) {
            xdp::expect_free(name, *xdp_program)?;
        }
        set_interface(&mut self.interfaces, self.capacity, *index, MacAddress::new(mac))?;
        let program = balancer(&mut self.ebpf)?;
        let program_id = program.info().context("reading the balancer's id")?.id();
        let (link, pin, fallback_reason) = match self.left.remove(index) {
            Some(Left { link, mode, pin }) => {
                (link, Some(pin), (mode == Mode::Generic).then(|| ASKED_BEFORE.to_owned()))
            }
            None => {
                let (link, fallback_reason) = attach_in_best_mode(program, *index, *mtu)
                    .with_context(|| format!("attaching the balancer to {name}"))?;
                let mode = if fallback_reason.is_none() { Mode::Native } else { Mode::Generic };
                let pin = self.pins.as_ref().map(|pins| pins.link(mode, *index));
                let link = match &pin {
                    Some(pin) => pin_link(program, link, pin).with_context(|| format!("interface {name}"))?,
                    None => link,
                };
                (link, pin, fallback_reason)
            }
        };
        Ok(Attachment {
            link: Some(link),
            program: Programs::Live,
            interface: *index,
            mtu: *mtu,
            pin,
            fallback_reason,
            program_id,
        })
    }

    /// The interfaces that an earlier controller had attached the balancer to, and that it was not put on since.
    pub fn left(&self) -> impl Iterator<Item = u32> {
        self.left.keys().copied()
    }

    /// Takes the balancer off them.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach_left(&mut self) -> anyhow::Result<()> {
        for left in std::mem::take(&mut self.left).into_values() {
            pins::remove(&left.pin)?;
            balancer(&mut self.ebpf)?.detach(left.link).context("detaching the balancer")?;
        }
        Ok(())
    }

    /// Takes the balancer off the interface.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach(&mut self, attachment: Attachment) -> anyhow::Result<()> {
        if let Some(pin) = &attachment.pin {
            pins::remove(pin)?;
        }
        let Some(link) = attachment.link else { return Ok(()) };
        load::program(&mut self.ebpf, attachment.program.entry())?
            .detach(link)
            .context("detaching the balancer")
    }
}

/// Gives a pinned link to the live program; none if its interface is gone.
pub(super) fn take_link_over(ebpf: &mut Ebpf, pin: &Path) -> anyhow::Result<Option<XdpLinkId>> {
    let about = || format!("taking the link {} over", pin.display());
    let link = XdpLink::try_from(pins::open_link(pin)?).with_context(about)?;
    match balancer(ebpf)?.attach_to_link(link) {
        Ok(link) => Ok(Some(link)),
        Err(ProgramError::SyscallError(SyscallError { io_error, .. }))
            if io_error.raw_os_error() == Some(Errno::NOLINK.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(problem) => Err(problem).with_context(about),
    }
}

/// Pins a new link of the live program.
fn pin_link(program: &mut Xdp, link: XdpLinkId, pin: &Path) -> anyhow::Result<XdpLinkId> {
    let link =
        FdLink::try_from(program.take_link(link)?).context("the kernel gave no link that can be pinned")?;
    let link = XdpLink::try_from(pins::pin_link(link, pin)?)?;
    // Only the loader's books change: the link has the program.
    program.attach_to_link(link).context("keeping the pinned link")
}

/// The largest MTU that one buffer holds: a page without the room before a packet (256 bytes), the kernel's own data
/// behind it (320), and a link-layer header with two tags (22). Drivers' limits are this or a little less.
const ONE_BUFFER: u16 = 4096 - 256 - 320 - 22;

fn attach_in_best_mode(
    program: &mut Xdp,
    interface: u32,
    mtu: u16,
) -> anyhow::Result<(XdpLinkId, Option<String>)> {
    match program.attach_to_if_index(interface, XdpMode::Driver) {
        Ok(link) => Ok((link, None)),
        Err(native) => {
            let why = words(&native) + &remedy(mtu);
            let link = program
                .attach_to_if_index(interface, XdpMode::Skb)
                .with_context(|| format!("the kernel refuses native XDP ({why}), and generic XDP"))?;
            Ok((link, Some(why)))
        }
    }
}

/// What lets an interface with a large MTU have native XDP: most often it is the MTU that the driver refuses.
fn remedy(mtu: u16) -> String {
    if mtu <= ONE_BUFFER {
        return String::new();
    }
    format!(
        ": its MTU is {mtu}, and above {ONE_BUFFER} native XDP needs Linux 5.18 and a driver that gives XDP packets \
         of several buffers; `ip link set mtu {ONE_BUFFER} dev …` does without"
    )
}

/// An error with its causes on one line.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
