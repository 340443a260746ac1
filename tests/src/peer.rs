//! The far end of a node's cable, made fit for what the node sends.
//!
//! A veth takes the frames that its peer's XDP program sends (XDP_TX, redirect) into a queue that it works
//! through only when it is woken, and the wake-up depends on a native XDP program of its own
//! (`veth_xdp_flush`, Linux 6.18): without one a frame waits until ordinary traffic passes, 0.3 s here, or is
//! dropped. A network card has no such trouble; here the program `pass` stands in for it, or `sieve`, which takes a
//! flood's packets out and counts them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::PerCpuArray;
use aya::programs::{Xdp, XdpMode};

use crate::host::Host;

/// A program on an interface, for as long as this lives.
#[derive(Debug)]
pub struct Peer {
    program: Ebpf,
}

impl Peer {
    /// Puts the program `pass` on `interface` of `host`.
    ///
    /// # Errors
    /// If it was not built, or the kernel refuses.
    pub fn attach(host: &Host, interface: &str) -> Result<Peer> {
        Peer::with("pass", "pass", host, interface)
    }

    /// Puts the program `sieve` there.
    ///
    /// # Errors
    /// As [`Peer::attach`].
    pub fn attach_sieve(host: &Host, interface: &str) -> Result<Peer> {
        Peer::with("wire", "sieve", host, interface)
    }

    fn with(object: &str, name: &str, host: &Host, interface: &str) -> Result<Peer> {
        let mut program = load_object(object)?;
        let xdp: &mut Xdp = program
            .program_mut(name)
            .with_context(|| format!("the object has no program `{name}`"))?
            .try_into()?;
        xdp.load().with_context(|| format!("loading the program `{name}`"))?;
        host.enter(|| xdp.attach(interface, XdpMode::Driver))
            .with_context(|| format!("attaching the program `{name}` to {interface} of {}", host.name()))?;
        Ok(Peer { program })
    }

    /// How many packets of a flood the sieve has taken out; none of `pass`.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn sieved(&self) -> Result<u64> {
        let Some(map) = self.program.map("SIEVED") else { return Ok(0) };
        let counts = PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0).context("reading the sieve's count")?;
        Ok(counts.iter().sum())
    }
}

/// The maps of an object that `cargo xtask build` made.
///
/// # Errors
/// If it was not built, or the kernel refuses a map.
pub(crate) fn load_object(name: &str) -> Result<Ebpf> {
    let path = object(name)?;
    let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ebpf::load(&bytes).with_context(|| format!("making the maps of the object `{name}`"))
}

/// Where `cargo xtask build` put it: `TARGET/bpf/NAME`.
fn object(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("finding this executable")?;
    // Tests run in TARGET/PROFILE/deps, binaries in TARGET/PROFILE.
    let candidates = running.ancestors().skip(2).take(2).map(|directory| directory.join("bpf").join(name));
    candidates.into_iter().find(|candidate| candidate.is_file()).with_context(|| {
        format!(
            "the object `{name}` is not built: run `cargo xtask build` (looked near {})",
            running.display()
        )
    })
}
