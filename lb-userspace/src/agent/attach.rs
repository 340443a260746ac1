//! The programs on their interfaces: XDP where the driver can, tc otherwise; links of an earlier agent are taken over.
//!
//! ```text
//!   an earlier agent's link? ── yes ─► updated to the new program, in one step
//!        │ no
//!   another XDP program? ───── yes ─► tc, behind it: it gets what that one passes on
//!        │ no
//!   native XDP ── the driver can't ─► tc ── before Linux 6.3 ─► generic XDP
//! ```

use anyhow::{Context, bail, ensure};
use aya::programs::links::FdLink;
use aya::programs::tc::SchedClassifierLink;
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType, tc};
use aya::util::KernelVersion;
use rustix::io::Errno;
use tracing::{info, warn};

use super::addresses::Link;
use super::pins::{Held, Pins};
use super::program::{EGRESS, Program, TC, XDP};
use super::report::{AttachMode, InterfaceReport};
use crate::xdp;

impl Program {
    /// Puts the program on an interface.
    pub(super) fn attach(&mut self, link: &Link, pins: &mut Pins) -> anyhow::Result<(InterfaceReport, Held)> {
        let (mode, held) = match self.take_over(link, pins)? {
            Some(taken) => taken,
            None => self.attach_anew(link, pins)?,
        };
        let program_id = match mode {
            AttachMode::Tc => self.classifier(TC)?.info(),
            _ => self.xdp()?.info(),
        };
        let program_id = program_id.context("asking for the program's id")?.id();
        info!("{}: {}, program {program_id}", link.name, mode.describe());
        Ok((InterfaceReport { name: link.name.clone(), mode, program_id }, held))
    }

    /// Puts the program for what leaves on an interface.
    pub(super) fn attach_egress(&mut self, link: &Link, pins: &mut Pins) -> anyhow::Result<Option<Held>> {
        let name = format!("egress-{}", link.name);
        self.attach_classifier(EGRESS, &link.name, TcAttachType::Egress, &name, pins).with_context(|| {
            format!(
                "attaching the agent's program `{EGRESS}` to {}; without translated ports, `--mss-clamp off` does \
                 without it",
                link.name
            )
        })
    }

    fn take_over(&mut self, link: &Link, pins: &mut Pins) -> anyhow::Result<Option<(AttachMode, Held)>> {
        for mode in [AttachMode::Native, AttachMode::Generic] {
            let name = mode.pin(&link.name);
            let Some(left) = pins.link(&name) else { continue };
            // A link whose interface is gone names a program, but is on no interface.
            if left.info().ok().map(|info| info.program_id()) != link.xdp_program {
                continue;
            }
            let xdp = self.xdp()?;
            let id = xdp
                .attach_to_link(XdpLink::try_from(left)?)
                .with_context(|| format!("taking {} over from the earlier agent", link.name))?;
            let taken = FdLink::try_from(xdp.take_link(id)?)?;
            pins.keep(&name);
            return Ok(Some((mode, taken.into())));
        }
        let name = AttachMode::Tc.pin(&link.name);
        if pins.link(&name).is_none() {
            return Ok(None);
        }
        let held = self.attach_classifier(TC, &link.name, TcAttachType::Ingress, &name, pins)?;
        Ok(held.map(|held| (AttachMode::Tc, held)))
    }

    fn attach_anew(&mut self, link: &Link, pins: &mut Pins) -> anyhow::Result<(AttachMode, Held)> {
        if let Some(id) = link.xdp_program {
            let name = xdp::name(id);
            ensure!(
                name != XDP,
                "{} has another agent's XDP program already: `{name}`, id {id}; stop that agent (if it is gone, `ip \
                 link set dev {} xdp off`), or name another interface",
                link.name,
                link.name
            );
            warn!(
                "{}: has the XDP program `{name}`, id {id}: the agent works in tc, behind it; native XDP would be \
                 quicker",
                link.name
            );
            return self.attach_tc(link, pins);
        }
        match self.attach_xdp(link, XdpMode::Driver, AttachMode::Native, pins) {
            Ok(attached) => Ok(attached),
            Err(error) if is_busy(&error) => {
                bail!("another XDP program was attached to {} just now; try again", link.name)
            }
            Err(error) => {
                warn!("{}: no native XDP, so tc: {error:#}", link.name);
                self.attach_where_no_driver_can(link, pins)
            }
        }
    }

    /// Before Linux 6.3, tc can't take a packet out of a tunnel of the other IP version; generic XDP can.
    fn attach_where_no_driver_can(
        &mut self,
        link: &Link,
        pins: &mut Pins,
    ) -> anyhow::Result<(AttachMode, Held)> {
        if is_at_least(6, 3)? {
            return self.attach_tc(link, pins);
        }
        self.attach_xdp(link, XdpMode::Skb, AttachMode::Generic, pins)
            .with_context(|| format!("attaching the agent's program to {}", link.name))
    }

    fn attach_xdp(
        &mut self,
        link: &Link,
        xdp_mode: XdpMode,
        mode: AttachMode,
        pins: &mut Pins,
    ) -> anyhow::Result<(AttachMode, Held)> {
        let xdp = self.xdp()?;
        let id = xdp.attach_to_if_index(link.index, xdp_mode)?;
        let attached = FdLink::try_from(xdp.take_link(id)?)?;
        Ok((mode, pins.pin_link(&mode.pin(&link.name), attached)?))
    }

    fn attach_tc(&mut self, link: &Link, pins: &mut Pins) -> anyhow::Result<(AttachMode, Held)> {
        let name = AttachMode::Tc.pin(&link.name);
        let held = self
            .attach_classifier(TC, &link.name, TcAttachType::Ingress, &name, pins)
            .with_context(|| format!("attaching the agent's program `{TC}` to {}", link.name))?;
        Ok((AttachMode::Tc, held.unwrap_or(Held::NOTHING)))
    }

    /// Before Linux 6.6 (tcx) a program needs the qdisc clsact, which may be there already and then stays, and outlives
    /// an agent that was killed.
    fn attach_classifier(
        &mut self,
        program: &str,
        interface: &str,
        direction: TcAttachType,
        pin: &str,
        pins: &mut Pins,
    ) -> anyhow::Result<Option<Held>> {
        let has_tcx = is_at_least(6, 6)?;
        let left = pins.link(pin).filter(|left| has_tcx && is_on(left, interface, direction));
        let classifier = self.classifier(program)?;
        if let Some(left) = left {
            let id = classifier.attach_to_link(SchedClassifierLink::try_from(left)?)?;
            let taken = FdLink::try_from(classifier.take_link(id)?)?;
            pins.keep(pin);
            return Ok(Some(taken.into()));
        }
        if !has_tcx {
            let _ = tc::qdisc_detach_program(interface, direction, program);
            let _ = tc::qdisc_add_clsact(interface);
        }
        let id = classifier.attach(interface, direction)?;
        if !has_tcx {
            return Ok(None);
        }
        let attached = FdLink::try_from(classifier.take_link(id)?)?;
        pins.pin_link(pin, attached).map(Some)
    }
}

/// Whether the link's program is on the interface.
fn is_on(link: &FdLink, interface: &str, direction: TcAttachType) -> bool {
    let Ok(program) = link.info().map(|info| info.program_id()) else { return false };
    SchedClassifier::query_tcx(interface, direction)
        .is_ok_and(|(_, programs)| programs.iter().any(|there| there.id() == program))
}

fn is_at_least(major: u8, minor: u8) -> anyhow::Result<bool> {
    let kernel = KernelVersion::current().context("asking the kernel for its version")?;
    Ok(kernel >= KernelVersion::new(major, minor, 0))
}

fn is_busy(error: &anyhow::Error) -> bool {
    let busy = [Errno::BUSY, Errno::EXIST];
    matches!(error.downcast_ref(), Some(ProgramError::SyscallError(call))
        if busy.iter().any(|errno| call.io_error.raw_os_error() == Some(errno.raw_os_error())))
}
