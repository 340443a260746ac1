//! Loading the balancer: maps made in the right size, the program verified.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::Context;
use aya::maps::{MapData, ProgramArray};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use lb_common::hash::HashKey;
use lb_common::maps::{self as names, Continuation, Programs};

use super::attach::{Left, take_link_over};
use super::capture::Capturer;
use super::explain::Explainer;
use super::flow_log::FlowRecords;
use super::maps::grace_period;
use super::pins::{self, Found};
use super::{Capacity, Maps, Pins, listeners, state};
use crate::programs::{self, Buffers};

/// The loaded balancer.
pub struct DataPlane {
    /// Owns the program, its links, and the maps that [`Maps`] does not.
    pub(super) ebpf: Ebpf,
    /// What the program looks things up in.
    pub maps: Maps,
    pub(super) explainer: Explainer,
    pub(super) capturer: Capturer,
    flow_records: Option<FlowRecords>,
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

    /// The same with maps that outlive this, in `pins`: those that an earlier controller has left, or new ones. The
    /// links that it has left get the program of this build, each in one step; the earlier programs are then gone.
    ///
    /// # Errors
    /// As [`DataPlane::load`], and if the maps that are there are not what this build works with: nothing was
    /// touched then.
    pub fn load_pinned(pins: Pins, capacity: Capacity, hash_key: HashKey) -> anyhow::Result<DataPlane> {
        let found = pins.prepare(capacity, hash_key)?;
        let loaded = programs::with_best_buffers(|buffers| {
            DataPlane::load_with(buffers, capacity, hash_key, Some(&pins))
        });
        let mut data_plane = match loaded {
            Ok(data_plane) => data_plane,
            Err(problem) if found == Found::Maps => return Err(problem),
            Err(problem) => {
                // Nobody had anything there before.
                pins.remove_all()?;
                return Err(problem);
            }
        };
        data_plane.pins = Some(pins);
        data_plane.take_links_over()?;
        Ok(data_plane)
    }

    /// The same for packets of so many buffers.
    ///
    /// # Errors
    /// As [`DataPlane::load`]; the kernel is too old for several buffers before Linux 5.18.
    pub fn load_for(buffers: Buffers, capacity: Capacity, hash_key: HashKey) -> anyhow::Result<DataPlane> {
        DataPlane::load_with(buffers, capacity, hash_key, None)
    }

    fn load_with(
        buffers: Buffers,
        capacity: Capacity,
        hash_key: HashKey,
        pins: Option<&Pins>,
    ) -> anyhow::Result<DataPlane> {
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
        let explainer = Explainer::load(&mut ebpf, &mut continuations)?;
        let capturer = Capturer::load(&mut ebpf, &mut continuations)?;
        let flow_records = Some(FlowRecords::take(&mut ebpf)?);
        let maps = Maps::take(&mut ebpf, capacity, hash_key, pins)?;
        Ok(DataPlane {
            ebpf,
            maps,
            explainer,
            capturer,
            flow_records,
            buffers,
            pins: None,
            left: BTreeMap::new(),
            programs_pin,
            _continuations: continuations,
        })
    }

    /// Whether the data plane stays when this ends, and where.
    pub fn pins(&self) -> Option<&Path> {
        self.pins.as_ref().map(Pins::directory)
    }

    /// Gives the links that an earlier controller has left this build's program. Its own programs go when no packet is
    /// in them any more, as they find no continuations from then on.
    fn take_links_over(&mut self) -> anyhow::Result<()> {
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

    /// What the programs tell for the flow log; to be called once.
    pub fn take_flow_records(&mut self) -> Option<FlowRecords> {
        self.flow_records.take()
    }

    /// The program, for calling it from another one.
    ///
    /// # Errors
    /// If the object does not hold it, which loading has ruled out.
    pub fn balancer(&self) -> anyhow::Result<&Xdp> {
        let program =
            self.ebpf.program(Programs::Live.entry()).context("the object has no program `balancer`")?;
        program.try_into().context("the program `balancer` is not an XDP program")
    }

    /// A descriptor of the program, for running it on a packet or for finding it.
    ///
    /// # Errors
    /// If the process has no free descriptors.
    pub fn program(&mut self) -> anyhow::Result<OwnedFd> {
        let program = balancer(&mut self.ebpf)?;
        let descriptor = program.fd().context("the balancer is loaded")?;
        descriptor.as_fd().try_clone_to_owned().context("duplicating the balancer's descriptor")
    }
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
