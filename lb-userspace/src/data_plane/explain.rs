//! The program `explain`: the live program's stages on a packet that nobody sent.

use anyhow::{Context, bail, ensure};
use aya::TestRunOptions;
use aya::maps::{Array, MapData};
use aya::programs::TestRun as _;
use lb_common::maps::{self as names, Programs};
use lb_common::trace::Trace;

use super::{Loaded, LoadedMaps, load};
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

/// Where the program writes down what its stages see.
pub struct Explanations {
    record: Array<MapData, Trace>,
}

impl Explanations {
    pub(crate) fn take(maps: &mut LoadedMaps) -> anyhow::Result<Explanations> {
        Ok(Explanations { record: maps.typed(names::EXPLAINED)? })
    }

    /// What becomes of a packet when `run` lets the program have it.
    ///
    /// # Errors
    /// Those of `run`, and if the kernel refuses.
    pub fn explain(&mut self, run: impl FnOnce() -> anyhow::Result<Run>) -> anyhow::Result<Explained> {
        self.record.set(0, Trace::default(), 0).context("clearing the record of the explained packet")?;
        let Run { action, frame } = run()?;
        let trace = self.record.get(&0, 0).context("reading the record of the explained packet")?;
        Ok(Explained { action, trace, frame })
    }
}

/// What the program made of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The XDP action's number.
    pub action: u32,
    /// The frame as it leaves.
    pub frame: Vec<u8>,
}

impl Loaded {
    /// Lets the program `explain` have a frame that comes in by `interface`, with the maps as they are. Nothing is
    /// sent, and nothing that packets see changes.
    ///
    /// # Errors
    /// If the frame is longer or shorter than the kernel takes, the interface is gone, or the kernel has refused
    /// the program.
    pub fn explain(&mut self, interface: u32, frame: &[u8]) -> anyhow::Result<Run> {
        if let Some(why) = &self.explaining_refused {
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
        Ok(Run { action: run.return_value, frame: out })
    }
}
