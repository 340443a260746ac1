//! The program `explain`: the live program's stages on a packet that nobody sent.

use anyhow::{Context, bail, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::TestRun as _;
use aya::{Ebpf, TestRunOptions};
use lb_common::maps::{self as names, Programs};
use lb_common::trace::Trace;

use super::capture::first_line;
use super::{DataPlane, load};
use crate::programs::Buffers;

/// The longest frame that one page holds between the room before it and the kernel's own data behind it.
const LONGEST_OF_ONE_BUFFER: usize = 3_500;
/// The longest IP packet in two VLAN tags.
const LONGEST_FRAME: usize = 65_535 + 22;
/// The shortest frame that the kernel takes: an Ethernet header.
const SHORTEST_FRAME: usize = 14;

/// What became of a packet, and what each stage saw of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The XDP action's number.
    pub action: u32,
    /// What the stages saw.
    pub trace: Trace,
    /// The frame as it leaves.
    pub frame: Vec<u8>,
}

/// The loaded program's record, or why there is none.
pub(super) struct Explainer {
    record: Array<MapData, Trace>,
    refused: Option<String>,
}

impl Explainer {
    /// Loads the programs. That the kernel refuses them is said when they are asked, and keeps nothing else from working.
    pub(super) fn load(
        ebpf: &mut Ebpf,
        continuations: &mut ProgramArray<MapData>,
    ) -> anyhow::Result<Explainer> {
        let refused = load::load_programs(ebpf, continuations, Programs::Explain).err().map(first_line);
        let name = names::EXPLAINED;
        let map = ebpf.take_map(name).with_context(|| format!("the object has no map `{name}`"))?;
        let record =
            Array::try_from(map).with_context(|| format!("the map `{name}` is of another layout"))?;
        Ok(Explainer { record, refused })
    }
}

impl DataPlane {
    /// What the balancer does with `frame` when it comes in by `interface`, with the maps as they are. Nothing is
    /// sent, and nothing that packets see changes.
    ///
    /// # Errors
    /// If the frame is longer or shorter than the kernel takes, the interface is gone, or the kernel has refused
    /// the program.
    pub fn explain(&mut self, interface: u32, frame: &[u8]) -> anyhow::Result<Explained> {
        if let Some(why) = &self.explainer.refused {
            bail!("this kernel has refused the programs that explain: {why}");
        }
        let longest = match self.buffers {
            Buffers::Several => LONGEST_FRAME,
            Buffers::One => LONGEST_OF_ONE_BUFFER,
        };
        ensure!(
            (SHORTEST_FRAME..=longest).contains(&frame.len()),
            "a frame of {} bytes can't be explained: {SHORTEST_FRAME} to {longest} can",
            frame.len()
        );
        let record = &mut self.explainer.record;
        record.set(0, Trace::default(), 0).context("clearing the record of the explained packet")?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, frame.len() as u32, 0, interface, 0, 0].map(u32::to_ne_bytes).concat();
        let mut out = vec![0; frame.len() + 256];
        let run = load::program(&mut self.ebpf, Programs::Explain.entry())?
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(&context),
                ..TestRunOptions::new()
            })
            .context("running the program `explain`")?;
        out.truncate(run.data_size_out as usize);
        let trace = record.get(&0, 0).context("reading the record of the explained packet")?;
        Ok(Explained { action: run.return_value, trace, frame: out })
    }
}
