//! The balancer under `BPF_PROG_TEST_RUN`: one packet in; the verdict and the packet out.

use std::borrow::Cow;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use anyhow::Context;
use aya::TestRunOptions;
use aya::programs::{TestRun as _, Xdp, loaded_programs};
use aya_obj::programs::XdpAttachType;
use lab::test_run::test_run;

/// XDP's verdicts (`enum xdp_action` of linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Aborted,
    Drop,
    Pass,
    Tx,
    Redirect,
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub action: Action,
    pub packet: Vec<u8>,
}

/// A loaded XDP program.
pub struct Program(Xdp);

impl Program {
    /// The program behind a descriptor.
    pub fn new(descriptor: BorrowedFd<'_>) -> anyhow::Result<Program> {
        let id = program_id(descriptor)?;
        let info = loaded_programs()
            .find_map(|info| info.ok().filter(|info| info.id() == id))
            .with_context(|| format!("the kernel lists no program {id}"))?;
        Ok(Program(Xdp::from_program_info(info, Cow::Borrowed("balancer"), XdpAttachType::Interface)?))
    }

    /// Runs it on a frame of 14 bytes or more. The kernel lets it come in by the loopback interface, index 1.
    pub fn run(&self, frame: &[u8]) -> Outcome {
        let run = test_run(&self.0, frame, 1).expect("the kernel takes the packet");
        Outcome { action: action(run.action), packet: run.packet }
    }

    /// The same with the frame in several buffers, `first` bytes (14 or more) of it in the first. None before Linux
    /// 6.18, whose test run has no such frames.
    pub fn run_in_buffers(&self, frame: &[u8], first: usize) -> Option<Outcome> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, first as u32, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
        let mut out = vec![0; frame.len() + 256];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let run = self.0.test_run(options).ok()?;
        out.truncate(run.data_size_out as usize);
        Some(Outcome { action: action(run.return_value), packet: out })
    }

    /// Bytes of it after the kernel has rewritten it.
    pub fn translated_size(&self) -> u32 {
        let info = self.0.info().expect("the kernel tells of the program");
        info.size_translated().expect("root may know")
    }

    /// Its verdict behind `metadata` bytes (a multiple of 4) of XDP metadata, which leave that much less headroom.
    pub fn verdict_behind_metadata(&self, frame: &[u8], metadata: usize) -> Action {
        let all = [vec![0; metadata], frame.to_vec()].concat();
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [metadata as u32, all.len() as u32, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
        let options =
            TestRunOptions { data_in: Some(&all), ctx_in: Some(&context), ..TestRunOptions::default() };
        action(self.0.test_run(options).expect("the kernel takes packet and context").return_value)
    }
}

pub fn action(number: u32) -> Action {
    match number {
        0 => Action::Aborted,
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Tx,
        4 => Action::Redirect,
        other => panic!("{other} is no XDP action"),
    }
}

fn program_id(descriptor: BorrowedFd<'_>) -> anyhow::Result<u32> {
    let path = format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
    line.with_context(|| format!("{path} names no program"))?.trim().parse().context("a program's id")
}
