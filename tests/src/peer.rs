//! The far end of a node's cable, made fit for what the node sends.
//!
//! A veth takes the frames that its peer's XDP program sends (XDP_TX, redirect) into a queue that it works
//! through only when it is woken, and the wake-up depends on a native XDP program of its own
//! (`veth_xdp_flush`, Linux 6.18): without one a frame waits until ordinary traffic passes, 0.3 s here, or is
//! dropped. A network card has no such trouble; here the program `pass` stands in for it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};

use crate::host::Host;

/// The program `pass` on an interface, for as long as this lives.
#[derive(Debug)]
pub struct Peer {
    _program: Ebpf,
}

impl Peer {
    /// Puts the program on `interface` of `host`.
    ///
    /// # Errors
    /// If it was not built, or the kernel refuses.
    pub fn attach(host: &Host, interface: &str) -> Result<Peer> {
        let path = object()?;
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut program = Ebpf::load(&bytes).context("loading the program `pass`")?;
        let pass: &mut Xdp =
            program.program_mut("pass").context("the object has no program `pass`")?.try_into()?;
        pass.load().context("loading the program `pass`")?;
        host.enter(|| pass.attach(interface, XdpMode::Driver))
            .with_context(|| format!("attaching the program `pass` to {interface} of {}", host.name()))?;
        Ok(Peer { _program: program })
    }
}

/// Where `cargo xtask build` put the program: `TARGET/bpf/pass`.
fn object() -> Result<PathBuf> {
    let running = std::env::current_exe().context("finding this executable")?;
    // Tests run in TARGET/PROFILE/deps, binaries in TARGET/PROFILE.
    let candidates = running.ancestors().skip(2).take(2).map(|directory| directory.join("bpf/pass"));
    candidates.into_iter().find(|candidate| candidate.is_file()).with_context(|| {
        format!(
            "the program `pass` is not built: run `cargo xtask build` (looked near {})",
            running.display()
        )
    })
}
