//! The capturing programs in the live ones' place, and back.

use std::sync::Arc;

use anyhow::{Context, bail};
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::Xdp;
use lb_common::capture::CaptureFilter;
use lb_common::maps::{self as names, Programs};
use tokio::sync::Mutex;

use super::attach::Attachment;
use super::{Loaded, LoadedMaps, load};
use crate::capture::socket::Ring;

/// What the capturing programs are told, and tell.
pub struct Captures {
    ring: Ring,
    filter: Array<MapData, CaptureFilter>,
    lost: PerCpuArray<MapData, u64>,
    lost_before: u64,
}

impl Captures {
    pub(crate) fn take(maps: &mut LoadedMaps) -> anyhow::Result<Captures> {
        let ring: RingBuf<MapData> = maps.typed(names::CAPTURE_RING)?;
        Ok(Captures {
            ring: Arc::new(Mutex::new(ring)),
            filter: maps.typed(names::CAPTURE_FILTER)?,
            lost: maps.typed(names::CAPTURE_LOST)?,
            lost_before: 0,
        })
    }

    /// Says what is wanted, before the capturing programs get the live ones' place.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn begin(&mut self, filter: CaptureFilter) -> anyhow::Result<Ring> {
        self.filter.set(0, filter, 0).context("writing the capture's filter")?;
        self.lost_before = self.lost()?;
        Ok(Arc::clone(&self.ring))
    }

    /// Nothing is wanted any more, in case a packet is still in the programs; returns how many packets the capture lost.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn end(&mut self) -> anyhow::Result<u64> {
        self.filter.set(0, CaptureFilter::default(), 0).context("clearing the capture's filter")?;
        Ok(self.lost()? - self.lost_before)
    }

    fn lost(&self) -> anyhow::Result<u64> {
        Ok(self.lost.get(&0, 0).context("reading the count of lost packets")?.iter().sum())
    }
}

impl Loaded {
    /// Gives the interfaces to these programs, the live ones or those that capture. Each interface changes by one update
    /// of its link: no packet meets none of them, and none meets both.
    ///
    /// # Errors
    /// If the kernel has refused the programs, or refuses the update; the live program is then back in its place there.
    pub fn put_on<'a>(
        &mut self,
        attachments: impl Iterator<Item = &'a mut Attachment>,
        programs: Programs,
    ) -> anyhow::Result<()> {
        if let (Programs::Capture, Some(why)) = (programs, &self.capturing_refused) {
            bail!("this kernel has refused the programs that capture, which need Linux 5.18: {why}");
        }
        for attachment in attachments {
            attachment.hand_over(&mut self.ebpf, programs)?;
        }
        Ok(())
    }
}

/// Moves a link from one program to another: the kernel replaces the program in one step.
pub(super) fn update(
    ebpf: &mut Ebpf,
    link: aya::programs::xdp::XdpLinkId,
    from: Programs,
    to: Programs,
) -> anyhow::Result<(aya::programs::xdp::XdpLinkId, u32)> {
    let link = load::program(ebpf, from.entry())?.take_link(link).context("taking the link")?;
    let program: &mut Xdp = load::program(ebpf, to.entry())?;
    let link = program
        .attach_to_link(link)
        .with_context(|| format!("replacing `{}` by `{}`", from.entry(), to.entry()))?;
    Ok((link, program.info().context("reading the program's id")?.id()))
}
