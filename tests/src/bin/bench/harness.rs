//! The bench's programs in the kernel, and one run of a program through the wrapper.

use std::path::Path;

use anyhow::Context;
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, Pod};
use lab::test_run::test_run;
use lb_common::Target;
use lb_common::bench::{RestoredFrame, Workload};
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::scenario::{Family, Scenario};

/// The interface that packets come in by: the loopback interface of this network namespace.
pub(crate) const INTERFACE: u32 = 1;

/// What became of the packets of a run.
pub(crate) struct Run {
    /// The XDP action that the last one met.
    pub(crate) action: u32,
    /// The last packet as the program left it.
    pub(crate) packet: Vec<u8>,
    /// Nanoseconds of processor time that all of them took. The kernel's own number is a whole one a packet; time
    /// that others had the processor is in neither.
    pub(crate) nanoseconds: u64,
}

/// What runs behind the wrapper.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    /// Nothing.
    Nothing,
    /// A program that only returns XDP_TX.
    Transmit,
    /// A program that only encapsulates.
    Encapsulate,
    /// What is measured: the balancer, or a target's agent.
    Program(&'a Xdp),
}

/// The loaded programs.
pub(crate) struct Harness {
    ebpf: Ebpf,
    programs: ProgramArray<MapData>,
    workload: Array<MapData, Workload>,
    target: Array<MapData, Target>,
    frame: Array<MapData, RestoredFrame>,
}

impl Harness {
    /// Loads the programs from the object `bench` in `directory`.
    pub(crate) fn load(directory: &Path) -> anyhow::Result<Harness> {
        let object = directory.join("bench");
        let bytes = std::fs::read(&object)
            .with_context(|| format!("reading {}: `cargo xtask build` makes it", object.display()))?;
        let mut ebpf = Ebpf::load(&bytes).context("loading the bench's programs: this needs root")?;
        for (name, program) in ebpf.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load().with_context(|| format!("loading the program {name}"))?;
        }
        let programs = ebpf.take_map("PROGRAMS").context("no map PROGRAMS")?.try_into()?;
        let workload = array(&mut ebpf, "WORKLOAD")?;
        let target = array(&mut ebpf, "TARGET")?;
        let frame = array(&mut ebpf, "FRAME")?;
        Ok(Harness { ebpf, programs, workload, target, frame })
    }

    /// Sets the target of the floor that encapsulates.
    pub(crate) fn set_target(&mut self, target: Target) -> anyhow::Result<()> {
        self.target.set(0, target, 0).context("writing the floor's target")
    }

    /// Runs `subject` on `packets` packets of `workload` and sets that to the packet after the last.
    pub(crate) fn run(
        &mut self,
        subject: Subject<'_>,
        scenario: &Scenario,
        frame: &[u8],
        workload: &mut Workload,
        packets: u32,
    ) -> anyhow::Result<Run> {
        self.put(subject, scenario.family)?;
        self.workload.set(0, *workload, 0).context("writing the workload")?;
        let wrapper = match scenario.family {
            Family::Ipv4 => "wrapper_ipv4",
            Family::Ipv6 => "wrapper_ipv6",
        };
        workload.next += u64::from(packets);
        self.time(wrapper, frame, packets)
    }

    /// Sets the frame of [`Harness::run_frame`].
    pub(crate) fn set_frame(&mut self, frame: RestoredFrame) -> anyhow::Result<()> {
        self.frame.set(0, frame, 0).context("writing the frame")
    }

    /// Runs `subject` on `packets` packets that are all the frame which was set.
    pub(crate) fn run_frame(
        &mut self,
        subject: Subject<'_>,
        frame: &[u8],
        packets: u32,
    ) -> anyhow::Result<Run> {
        self.put(subject, Family::Ipv4)?;
        self.time("wrapper_frame", frame, packets)
    }

    fn time(&self, wrapper: &str, frame: &[u8], packets: u32) -> anyhow::Result<Run> {
        let wrapper = program(&self.ebpf, wrapper)?;
        let before = clock_gettime(ClockId::ThreadCPUTime);
        let run = test_run(wrapper, frame, packets)?;
        let nanoseconds = nanoseconds_between(before, clock_gettime(ClockId::ThreadCPUTime));
        Ok(Run { action: run.action, packet: run.packet, nanoseconds })
    }

    fn put(&mut self, subject: Subject<'_>, family: Family) -> anyhow::Result<()> {
        let floor = match (subject, family) {
            (Subject::Nothing, _) => return self.clear(),
            (Subject::Program(program), _) => {
                return self.programs.set(0, program.fd()?, 0).context("putting the program in");
            }
            (Subject::Transmit, _) => "transmit",
            (Subject::Encapsulate, Family::Ipv4) => "encapsulate_ipv4",
            (Subject::Encapsulate, Family::Ipv6) => "encapsulate_ipv6",
        };
        self.programs.set(0, program(&self.ebpf, floor)?.fd()?, 0).context("putting a floor in")
    }

    fn clear(&mut self) -> anyhow::Result<()> {
        match self.programs.clear_index(&0) {
            Err(aya::maps::MapError::SyscallError(error)) if is_absent(&error.io_error) => Ok(()),
            result => result.context("taking the program out"),
        }
    }
}

fn nanoseconds_between(before: Timespec, after: Timespec) -> u64 {
    let nanoseconds = |time: Timespec| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
    nanoseconds(after) - nanoseconds(before)
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

fn program<'a>(ebpf: &'a Ebpf, name: &str) -> anyhow::Result<&'a Xdp> {
    let program = ebpf.program(name).with_context(|| format!("no program {name}"))?;
    program.try_into().map_err(|error: ProgramError| anyhow::Error::new(error))
}

fn array<T: Pod>(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<Array<MapData, T>> {
    let map = ebpf.take_map(name).with_context(|| format!("no map {name}"))?;
    Ok(Array::try_from(map)?)
}
