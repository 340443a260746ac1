//! The balancer on an interface: native where the driver can, generic where not.

use anyhow::Context;
use aya::Ebpf;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{Xdp, XdpMode};
use lb_common::maps::Programs;
use lb_common::packet::MacAddress;

use super::capture::update;
use super::load::balancer;
use super::{DataPlane, load};
use crate::next_hop::Interface;
use crate::xdp;

/// The balancer is on an interface as long as this is not given to [`DataPlane::detach`].
#[derive(Debug)]
pub struct Attachment {
    /// None for the moment in which it changes hands.
    link: Option<XdpLinkId>,
    /// The program that has the link.
    program: Programs,
    /// The interface's index.
    pub interface: u32,
    mtu: u16,
    /// Why it is not native, if it is not: the kernel's words.
    pub fallback_reason: Option<String>,
    /// The kernel's id of the program.
    pub program_id: u32,
}

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
        let program = balancer(ebpf)?;
        let (link, fallback_reason) =
            attach_in_best_mode(program, self.interface, self.mtu).context("attaching the balancer anew")?;
        self.program_id = program.info().context("reading the balancer's id")?.id();
        (self.link, self.program, self.fallback_reason) = (Some(link), Programs::Live, fallback_reason);
        Ok(())
    }
}

impl DataPlane {
    /// Puts the balancer on the interface; it takes the frames for its MAC address only.
    ///
    /// # Errors
    /// If the interface is no Ethernet, has an XDP program already, or the kernel refuses both modes.
    pub fn attach(&mut self, interface: &Interface) -> anyhow::Result<Attachment> {
        let Interface { name, index, mtu, xdp_program, .. } = interface;
        let mac = interface.mac.with_context(|| format!("{name} has no MAC address: it is no Ethernet"))?;
        xdp::expect_free(name, *xdp_program)?;
        self.maps.set_interface(*index, MacAddress::new(mac))?;
        let program = balancer(&mut self.ebpf)?;
        let (link, fallback_reason) = attach_in_best_mode(program, *index, *mtu)
            .with_context(|| format!("attaching the balancer to {name}"))?;
        let program_id = program.info().context("reading the balancer's id")?.id();
        Ok(Attachment {
            link: Some(link),
            program: Programs::Live,
            interface: *index,
            mtu: *mtu,
            fallback_reason,
            program_id,
        })
    }

    /// Takes the balancer off the interface.
    ///
    /// # Errors
    /// If the kernel refuses; the end of the process detaches all the same.
    pub fn detach(&mut self, attachment: Attachment) -> anyhow::Result<()> {
        let Some(link) = attachment.link else { return Ok(()) };
        load::program(&mut self.ebpf, attachment.program.entry())?
            .detach(link)
            .context("detaching the balancer")
    }
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
