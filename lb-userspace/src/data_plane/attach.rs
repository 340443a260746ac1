//! The balancer on an interface: native where the driver can, generic where not.

use anyhow::Context;
use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, Xdp, XdpMode};
use lb_common::packet::MacAddress;

use super::DataPlane;
use super::load::balancer;
use crate::next_hop::Interface;
use crate::xdp;

/// The balancer is on an interface as long as this is not given to [`DataPlane::detach`].
#[derive(Debug)]
pub struct Attachment {
    link: XdpLinkId,
    /// The interface's index.
    pub interface: u32,
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

impl DataPlane {
    /// Puts the balancer on the interface; it takes the frames for its MAC address only.
    ///
    /// # Errors
    /// If the interface is no Ethernet, has an XDP program already, or the kernel refuses both modes.
    pub fn attach(&mut self, interface: &Interface) -> anyhow::Result<Attachment> {
        let Interface { name, index, xdp_program, .. } = interface;
        let mac = interface.mac.with_context(|| format!("{name} has no MAC address: it is no Ethernet"))?;
        xdp::expect_free(name, *xdp_program)?;
        self.maps.set_interface(*index, MacAddress::new(mac))?;
        let program = balancer(&mut self.ebpf)?;
        let (link, fallback_reason) = attach_in_best_mode(program, *index)
            .with_context(|| format!("attaching the balancer to {name}"))?;
        let program_id = program.info().context("reading the balancer's id")?.id();
        Ok(Attachment { link, interface: *index, fallback_reason, program_id })
    }

    /// Takes the balancer off the interface.
    ///
    /// # Errors
    /// If the kernel refuses; the end of the process detaches all the same.
    pub fn detach(&mut self, attachment: Attachment) -> anyhow::Result<()> {
        let program = balancer(&mut self.ebpf)?;
        program.detach(attachment.link).context("detaching the balancer")
    }
}

fn attach_in_best_mode(
    program: &mut Xdp,
    interface: u32,
) -> Result<(XdpLinkId, Option<String>), ProgramError> {
    match program.attach_to_if_index(interface, XdpMode::Driver) {
        Ok(link) => Ok((link, None)),
        Err(native) => {
            let link = program.attach_to_if_index(interface, XdpMode::Skb)?;
            Ok((link, Some(words(&native))))
        }
    }
}

/// An error with its causes on one line.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
