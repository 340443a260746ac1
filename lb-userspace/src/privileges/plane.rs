//! The data plane as a process without capabilities has it: the maps in its own hands, the programs, links and pins in the
//! helper's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use lb_common::capture::CaptureFilter;
use lb_common::hash::HashKey;

use super::channel::{receive, send};
use super::protocol::{Answer, Attached, Reply, Request, Running};
use crate::capture::socket::Ring;
use crate::data_plane::{Capacity, Captures, Explained, Explanations, FlowRecords, LoadedMaps, Maps, Run};
use crate::explain::question::Bytes;

/// The helper before anything is loaded.
pub struct Programs {
    socket: OwnedFd,
    /// The directory of pins; none if nothing is to be pinned.
    pins: Option<PathBuf>,
}

/// The loaded balancer.
pub struct Plane {
    /// What the program looks things up in.
    pub maps: Maps,
    captures: Captures,
    explanations: Explanations,
    flow_records: Option<FlowRecords>,
    programs: Programs,
    left: Vec<u32>,
}

impl Programs {
    pub(super) fn new(socket: OwnedFd, pins: Option<PathBuf>) -> Programs {
        Programs { socket, pins }
    }

    /// Whether the data plane stays when the process ends, and where.
    pub fn pins(&self) -> Option<&Path> {
        self.pins.as_deref()
    }

    /// The key of the flows' hash that an earlier controller has left in the pinned maps. From now on nobody else works with
    /// them.
    ///
    /// # Errors
    /// If somebody else does, or what is pinned means something else than this build takes it for: nothing was touched.
    pub fn begin(&mut self) -> anyhow::Result<Option<HashKey>> {
        match self.ask(&Request::Begin)? {
            (Reply::Key(key), _) => Ok(key.map(|(k0, k1)| HashKey { k0, k1 })),
            _ => bail!(ANOTHER),
        }
    }

    /// Loads the programs, and gives the interfaces that an earlier controller has left to them; attaches nothing else.
    ///
    /// # Errors
    /// If the kernel refuses, or the maps that are pinned are not what this build works with: nothing was touched then.
    pub fn load(mut self, capacity: Capacity, key: HashKey) -> anyhow::Result<Plane> {
        let (Reply::Maps(names), descriptors) = self.ask(&Request::Load { k0: key.k0, k1: key.k1 })? else {
            bail!(ANOTHER)
        };
        let mut maps = LoadedMaps::received(names.into_iter().zip(descriptors))?;
        let captures = Captures::take(&mut maps)?;
        let explanations = Explanations::take(&mut maps)?;
        let flow_records = Some(FlowRecords::take(&mut maps)?);
        let maps = Maps::take(&mut maps, capacity, key)?;
        // Only now: packets find the settings of this build.
        let (Reply::Left(left), _) = self.ask(&Request::TakeLinksOver)? else { bail!(ANOTHER) };
        Ok(Plane { maps, captures, explanations, flow_records, programs: self, left })
    }

    fn ask(&mut self, request: &Request) -> anyhow::Result<(Reply, Vec<OwnedFd>)> {
        let asked = send(&self.socket, request, &[]).and_then(|()| receive(&self.socket));
        let (answer, descriptors): (Answer, _) = asked.map_err(gone)?;
        match answer {
            Ok(reply) => Ok((reply, descriptors)),
            Err(words) => bail!(words),
        }
    }

    fn order(&mut self, request: &Request) -> anyhow::Result<()> {
        match self.ask(request)? {
            (Reply::Done, _) => Ok(()),
            _ => bail!(ANOTHER),
        }
    }
}

fn gone(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("the privileged helper does not answer: its last words are in the log")
}

const ANOTHER: &str = "the privileged helper has answered something else: it is of another build";

impl Plane {
    /// Whether the data plane stays when the process ends, and where.
    pub fn pins(&self) -> Option<&Path> {
        self.programs.pins()
    }

    /// What the programs tell for the flow log; to be called once.
    pub fn take_flow_records(&mut self) -> Option<FlowRecords> {
        self.flow_records.take()
    }

    /// The interfaces that an earlier controller had attached the balancer to.
    pub fn left(&self) -> &[u32] {
        &self.left
    }

    /// Puts the balancer on an interface of the configuration, where an earlier controller may have left it; it takes the
    /// frames for its MAC address only.
    ///
    /// # Errors
    /// If the interface is no Ethernet, is not there, has an XDP program already, or the kernel refuses both modes.
    pub fn attach(&mut self, interface: &str) -> anyhow::Result<Attached> {
        match self.programs.ask(&Request::Attach { interface: interface.to_owned() })? {
            (Reply::Attached(attached), _) => Ok(attached),
            _ => bail!(ANOTHER),
        }
    }

    /// Takes the balancer off an interface.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach(&mut self, interface: &str) -> anyhow::Result<()> {
        self.programs.order(&Request::Detach { interface: interface.to_owned() })
    }

    /// Takes it off those that an earlier controller had put it on, and this one not.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn detach_left(&mut self) -> anyhow::Result<()> {
        self.programs.order(&Request::DetachLeft)
    }

    /// Puts the capturing programs into the live ones' place; also returns the ids of the programs by interface.
    ///
    /// # Errors
    /// If the kernel has refused the programs, or refuses the update; some interfaces may have them then.
    pub fn start_capture(&mut self, filter: CaptureFilter) -> anyhow::Result<(Ring, Vec<(String, u32)>)> {
        let ring = self.captures.begin(filter)?;
        Ok((ring, self.run(Running::Capture)?))
    }

    /// Gives the live programs their place back; returns how many packets the capture lost, and the ids of the programs by
    /// interface.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn stop_capture(&mut self) -> anyhow::Result<(u64, Vec<(String, u32)>)> {
        let programs = self.run(Running::Live)?;
        Ok((self.captures.end()?, programs))
    }

    fn run(&mut self, running: Running) -> anyhow::Result<Vec<(String, u32)>> {
        match self.programs.ask(&Request::Run(running))? {
            (Reply::Programs(programs), _) => Ok(programs),
            _ => bail!(ANOTHER),
        }
    }

    /// What the balancer does with `frame` when it comes in by `interface`, with the maps as they are. Nothing is sent, and
    /// nothing that packets see changes.
    ///
    /// # Errors
    /// If the frame is longer or shorter than the kernel takes, the interface is gone, or the kernel has refused the
    /// program.
    pub fn explain(&mut self, interface: u32, frame: &[u8]) -> anyhow::Result<Explained> {
        let programs = &mut self.programs;
        self.explanations.explain(|| {
            let frame = Bytes(frame.to_vec());
            let answer =
                programs.ask(&Request::Explain { interface, frame }).context("explaining a packet")?;
            match answer {
                (Reply::Run { action, frame }, _) => Ok(Run { action, frame: frame.0 }),
                _ => bail!(ANOTHER),
            }
        })
    }
}
