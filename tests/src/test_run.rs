//! One run of an XDP program over a packet that the caller makes (`BPF_PROG_TEST_RUN`), without any interface.

use anyhow::{Context, Result};
use aya::TestRunOptions;
use aya::programs::{TestRun as _, Xdp};

/// Bytes by which a program may lengthen the packet.
const ROOM: usize = 256;

/// What a program made of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRun {
    /// The XDP action that it returned (`XDP_ABORTED` is 0, `XDP_DROP` 1, `XDP_PASS` 2, `XDP_TX` 3).
    pub action: u32,
    /// The packet as it left it.
    pub packet: Vec<u8>,
    /// The mean duration of a run, in nanoseconds.
    pub nanoseconds: u32,
}

/// Runs a loaded program `repeat` times over `packet`, which has at least 14 bytes and, with the room before and
/// behind it, fits a page. The second run sees what the first has left.
pub fn test_run(program: &Xdp, packet: &[u8], repeat: u32) -> Result<TestRun> {
    let mut out = vec![0; packet.len() + ROOM];
    let options =
        TestRunOptions { data_in: Some(packet), data_out: Some(&mut out), repeat, ..TestRunOptions::new() };
    let run = program.test_run(options).context("running the program")?;
    out.truncate(run.data_size_out as usize);
    Ok(TestRun {
        action: run.return_value,
        packet: out,
        nanoseconds: u32::try_from(run.duration.as_nanos()).unwrap_or(u32::MAX),
    })
}
