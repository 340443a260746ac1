//! Loading the balancer: maps made in the right size, the programs verified.
//!
//! [`Loaded`] is what takes capabilities; in a running controller another process has it (`privileges`). [`DataPlane`] is
//! both halves in one process.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use lb_common::hash::HashKey;
use lb_common::maps::{self as names, Continuation, Programs};

use super::attach::{Left, take_link_over};
use super::explain::{Explained, Explanations};
use super::flow_log::FlowRecords;
use super::maps::grace_period;
use super::pins::{self, Found};
use super::{Attachment, Capacity, LoadedMaps, Maps, Pins, listeners, state};
use crate::next_hop::Interface;
use crate::programs::{self, Buffers};

/// The balancer as this process can use it: the programs, and all maps.
pub struct DataPlane {
    loaded: Loaded,
    /// What the program looks things up in.
    pub maps: Maps,
    explanations: Explanations,
    flow_records: Option<FlowRecords>,
}

impl DataPlane {
    /// Makes the maps and loads the program; attaches nothing. Another `hash_key` sends flows to other targets, so
    /// it is the same for the balancer's whole life and on every node.
    ///
    /// # Errors
    /// If the process lacks the capabilities, the kernel is too old (Linux 5.12 has everything that is used),
    /// or its verifier refuses the program.
    pub fn load(capacity: Capacity, hash_key: HashKey) -> anyhow::Result<DataPlane> {
        programs::with_best_buffers(|buffers| DataPlane::load_for(buffers, capacity, hash_key))
    }

    /// The same for packets of so many buffers.
    ///
    /// # Errors
    /// As [`DataPlane::load`]; the kernel is too old for several buffers before Linux 5.18.
    pub fn load_for(buffers: Buffers, capacity: Capacity, hash_key: HashKey) -> anyhow::Result<DataPlane> {
        let (loaded, mut maps) = Loaded::load_with(buffers, capacity, None)?;
        Ok(DataPlane {
            loaded,
            explanations: Explanations::take(&mut maps)?,
            flow_records: Some(FlowRecords::take(&mut maps)?),
            maps: Maps::take(&mut maps, capacity, hash_key)?,
        })
    }

    /// What the programs tell for the flow log; to be called once.
    pub fn take_flow_records(&mut self) -> Option<FlowRecords> {
        self.flow_records.take()
    }

    /// What the balancer does with `frame` when it comes in by `interface`, with the maps as they are. Nothing is
    /// sent, and nothing that packets see changes.
    ///
    /// # Errors
    /// If the frame is longer or shorter than the kernel takes, the interface is gone, or the kernel has refused
    /// the program.
    pub fn explain(&mut self, interface: u32, frame: &[u8]) -> anyhow::Result<Explained> {
        self.explanations.explain(|| self.loaded.explain(interface, frame))
    }

    /// Puts the balancer on the interface; it takes the frames for its MAC address only.
    ///
    /// # Errors
    /// As [`Loaded::attach`].
    pub fn attach(&mut self, interface: &Interface) -> anyhow::Result<Attachment> {
        self.loaded.attach(interface)
    }

    /// Takes the balancer off the interface.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach(&mut self, attachment: Attachment) -> anyhow::Result<()> {
        self.loaded.detach(attachment)
    }

    /// The program, for calling it from another one.
    ///
    /// # Errors
    /// If the object does not hold it, which loading has ruled out.
    pub fn balancer(&self) -> anyhow::Result<&Xdp> {
        let program = self.loaded.ebpf.program(Programs::Live.entry());
        let program = program.context("the object has no program `balancer`")?;
        program.try_into().context("the program `balancer` is not an XDP program")
    }

    /// A descriptor of the program, for running it on a packet or for finding it.
    ///
    /// # Errors
    /// If the process has no free descriptors.
    pub fn program(&mut self) -> anyhow::Result<OwnedFd> {
        let program = balancer(&mut self.loaded.ebpf)?;
        let descriptor = program.fd().context("the balancer is loaded")?;
        descriptor.as_fd().try_clone_to_owned().context("duplicating the balancer's descriptor")
    }
}

/// The balancer's programs, what they are attached to, and where all of it is pinned: what takes capabilities. What packets
/// meet is in the maps, which need none.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) capacity: Capacity,
    /// The MAC addresses whose frames the balancer takes.
    pub(super) interfaces: Array<MapData, u64>,
    /// Why the kernel has refused the programs that explain, if it has.
    pub(super) explaining_refused: Option<String>,
    /// The same of those that capture.
    pub(super) capturing_refused: Option<String>,
    pub(super) buffers: Buffers,
    /// Where all of it stays when this ends; without, nothing does.
    pub(super) pins: Option<Pins>,
    /// Links that an earlier controller has left, with the program on them, by interface.
    pub(super) left: BTreeMap<u32, Left>,
    /// Where the continuations are pinned.
    programs_pin: Option<PathBuf>,
    /// The kernel empties a program array when nobody holds it any more.
    _continuations: ProgramArray<MapData>,
}

impl Loaded {
    /// Makes the maps and loads the programs; attaches nothing.
    ///
    /// # Errors
    /// As [`DataPlane::load`].
    pub fn load(capacity: Capacity) -> anyhow::Result<(Loaded, LoadedMaps)> {
        programs::with_best_buffers(|buffers| Loaded::load_with(buffers, capacity, None))
    }

    /// The same with maps that outlive this, in `pins`: those that an earlier controller has left, or new ones.
    /// [`Loaded::take_links_over`] gives them to packets.
    ///
    /// # Errors
    /// As [`DataPlane::load`], and if the maps that are there are not what this build works with: nothing was
    /// touched then.
    pub fn load_pinned(
        pins: Pins,
        capacity: Capacity,
        hash_key: HashKey,
    ) -> anyhow::Result<(Loaded, LoadedMaps)> {
        let found = pins.prepare(capacity, hash_key)?;
        let loaded = programs::with_best_buffers(|buffers| Loaded::load_with(buffers, capacity, Some(&pins)));
        match loaded {
            Ok((mut loaded, maps)) => {
                loaded.pins = Some(pins);
                Ok((loaded, maps))
            }
            Err(problem) => {
                if found == Found::Nothing {
                    // Nobody had anything there before.
                    pins.remove_all()?;
                }
                Err(problem)
            }
        }
    }

    fn load_with(
        buffers: Buffers,
        capacity: Capacity,
        pins: Option<&Pins>,
    ) -> anyhow::Result<(Loaded, LoadedMaps)> {
        let shapes = if pins.is_some() { state::shapes(capacity)? } else { BTreeMap::new() };
        let mut loader = EbpfLoader::new();
        if let Some(pins) = pins {
            for name in shapes.keys() {
                loader.map_pin_path(name, pins.map(name));
            }
        }
        for (name, entries) in entries(capacity) {
            loader.map_max_entries(name, entries);
        }
        let mut ebpf = programs::load_maps(&mut loader, programs::balancer()?, buffers).context(
            "making the balancer's maps: this needs CAP_BPF and CAP_NET_ADMIN (or root) and Linux 5.12 or newer",
        )?;
        let (mut continuations, programs_pin) = continuations(&mut ebpf, pins)?;
        load_programs(&mut ebpf, &mut continuations, Programs::Live)?;
        #[cfg(feature = "trace")]
        super::trace::follow(&mut ebpf)?;
        // What the kernel refuses of these is said when it is asked for, and keeps nothing else from working: captures
        // need Linux 5.18.
        let explaining_refused =
            load_programs(&mut ebpf, &mut continuations, Programs::Explain).err().map(first_line);
        let capturing_refused =
            load_programs(&mut ebpf, &mut continuations, Programs::Capture).err().map(first_line);
        let maps = LoadedMaps::take(&mut ebpf, capacity, pins)?;
        let interfaces = maps.another(names::INTERFACES)?;
        let loaded = Loaded {
            ebpf,
            capacity,
            interfaces: Array::try_from(interfaces).context("the map `INTERFACES` is of another layout")?,
            explaining_refused,
            capturing_refused,
            buffers,
            pins: None,
            left: BTreeMap::new(),
            programs_pin,
            _continuations: continuations,
        };
        Ok((loaded, maps))
    }

    /// Where the data plane stays when this ends; none if it does not.
    pub fn pins(&self) -> Option<&Path> {
        self.pins.as_ref().map(Pins::directory)
    }

    /// Gives the links that an earlier controller has left this build's program, each in one step. Its own programs go
    /// when no packet is in them any more, as they find no continuations from then on.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn take_links_over(&mut self) -> anyhow::Result<()> {
        let Some(pins) = &self.pins else { return Ok(()) };
        let frozen = pins.begin_move()?;
        for (interface, mode, pin) in pins.links()? {
            match take_link_over(&mut self.ebpf, &pin)? {
                Some(link) => drop(self.left.insert(interface, Left { link, mode, pin })),
                // Its interface is gone.
                None => pins::remove(&pin)?,
            }
        }
        let Some(programs) = &self.programs_pin else { return Ok(()) };
        grace_period();
        pins.end_move(&frozen)?;
        pins.remove_programs_except(programs)
    }
}

/// What the kernel said, without the verifier's log.
fn first_line(error: anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

pub(super) fn balancer(ebpf: &mut Ebpf) -> anyhow::Result<&mut Xdp> {
    program(ebpf, Programs::Live.entry())
}

/// A program of the object.
pub(super) fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("the object has no program `{name}`"))?;
    program.try_into().with_context(|| format!("the program `{name}` is not an XDP program"))
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<()> {
    program(ebpf, name)?.load().with_context(|| {
        format!(
            "loading `{name}` into the kernel: this needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (or root) and \
             Linux 5.12 or newer"
        )
    })
}

fn continuations(
    ebpf: &mut Ebpf,
    pins: Option<&Pins>,
) -> anyhow::Result<(ProgramArray<MapData>, Option<PathBuf>)> {
    let map = ebpf.take_map(names::CONTINUATIONS).context("the object has no map `CONTINUATIONS`")?;
    let pin = pins.map(|pins| pins.keep_programs(&map)).transpose()?;
    let array = ProgramArray::try_from(map).context("the map `CONTINUATIONS` is of another type")?;
    Ok((array, pin))
}

/// Loads a set of programs: those that rare packets are left to, and then the one that all begin with.
pub(super) fn load_programs(
    ebpf: &mut Ebpf,
    continuations: &mut ProgramArray<MapData>,
    programs: Programs,
) -> anyhow::Result<()> {
    for continuation in Continuation::ALL {
        let name = continuation.program().replacen(Programs::Live.entry(), programs.entry(), 1);
        load_program(ebpf, &name)?;
        let descriptor = program(ebpf, &name)?.fd().context("the program was just loaded")?;
        continuations
            .set(programs.continuation(continuation), descriptor, 0)
            .with_context(|| format!("telling the programs of `{name}`"))?;
    }
    load_program(ebpf, programs.entry())
}

pub(super) fn entries(capacity: Capacity) -> [(&'static str, u32); 16] {
    let slots = 1u32 << capacity.slots_log2;
    [
        (names::LISTENERS, listeners::places(capacity.listeners)),
        (names::VIPS, capacity.vips),
        (names::QUIC_SERVERS, capacity.quic_servers()),
        (names::FORWARDS, capacity.forwards),
        (names::SLOTS, slots / names::SLOTS_PER_LINE),
        (names::EXCEPTIONS, slots / names::EXCEPTIONS_PER_LINE),
        (names::CHAINS, slots / names::CHAINS_PER_LINE),
        (names::FLOWS, 1 << capacity.flow_sets_log2),
        (names::FRAGMENTS, 1 << capacity.fragment_sets_log2),
        (names::TARGETS, capacity.targets),
        (names::INTERFACES, capacity.interfaces),
        (names::LISTENER_COUNTERS, capacity.listeners),
        (names::POLICIES, capacity.listeners),
        (names::LISTENER_LIMITS, capacity.listeners),
        (names::ALLOWED, capacity.policy_entries()),
        (names::TARGET_COUNTERS, capacity.targets),
    ]
}
