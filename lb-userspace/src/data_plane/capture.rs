//! The capturing programs in the live ones' place, and back.

use std::sync::Arc;

use anyhow::{Context, bail};
use aya::Ebpf;
use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::Xdp;
use lb_common::capture::CaptureFilter;
use lb_common::maps::{self as names, Programs};
use tokio::sync::Mutex;

use super::attach::Attachment;
use super::{DataPlane, load};
use crate::capture::socket::Ring;

/// The loaded program's maps, or why there is none.
pub(super) struct Capturer {
    ring: Ring,
    filter: Array<MapData, CaptureFilter>,
    lost: PerCpuArray<MapData, u64>,
    refused: Option<String>,
    lost_before: u64,
}

impl Capturer {
    /// Loads the programs. That the kernel refuses them is said when they are asked for, and keeps nothing else from
    /// working: before Linux 5.18 it has not what they need.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        continuations: &mut ProgramArray<MapData>,
    ) -> anyhow::Result<Capturer> {
        let refused = load::load_programs(ebpf, continuations, Programs::Capture).err().map(first_line);
        let ring =
            RingBuf::try_from(take(ebpf, names::CAPTURE_RING)?).context("the ring buffer of captures")?;
        Ok(Capturer {
            ring: Arc::new(Mutex::new(ring)),
            filter: typed(ebpf, names::CAPTURE_FILTER)?,
            lost: typed(ebpf, names::CAPTURE_LOST)?,
            refused,
            lost_before: 0,
        })
    }

    fn lost(&self) -> anyhow::Result<u64> {
        Ok(self.lost.get(&0, 0).context("reading the count of lost packets")?.iter().sum())
    }
}

/// What the kernel said, without the verifier's log.
pub(super) fn first_line(error: anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

impl DataPlane {
    /// Puts the capturing program into the live one's place. Each interface changes by one update of its link: no
    /// packet meets none of them, and none meets both.
    ///
    /// # Errors
    /// If the kernel has refused the program, or refuses the update; the live program is then back in its place.
    pub fn start_capture<'a>(
        &mut self,
        attachments: impl Iterator<Item = &'a mut Attachment>,
        filter: CaptureFilter,
    ) -> anyhow::Result<Ring> {
        if let Some(why) = &self.capturer.refused {
            bail!("this kernel has refused the programs that capture, which need Linux 5.18: {why}");
        }
        self.capturer.filter.set(0, filter, 0).context("writing the capture's filter")?;
        self.capturer.lost_before = self.capturer.lost()?;
        for attachment in attachments {
            attachment.hand_over(&mut self.ebpf, Programs::Capture)?;
        }
        Ok(self.capturer.ring.clone())
    }

    /// Gives the live program its place back; returns how many packets the capture lost.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stop_capture<'a>(
        &mut self,
        attachments: impl Iterator<Item = &'a mut Attachment>,
    ) -> anyhow::Result<u64> {
        for attachment in attachments {
            attachment.hand_over(&mut self.ebpf, Programs::Live)?;
        }
        // Nothing is wanted any more, in case a packet is still in the program.
        self.capturer.filter.set(0, CaptureFilter::default(), 0).context("clearing the capture's filter")?;
        Ok(self.capturer.lost()? - self.capturer.lost_before)
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<Map> {
    ebpf.take_map(name).with_context(|| format!("the object has no map `{name}`"))
}

fn typed<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<T> {
    T::try_from(take(ebpf, name)?).with_context(|| format!("the map `{name}` is of another type or layout"))
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
