//! What the controller needs of the kernel and of its own rights, said before anything is touched.

use anyhow::bail;
use rustix::thread::{CapabilitySet, capabilities};

use crate::privileges::version;

const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF (makes maps and loads the program)"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN (attaches the program, keeps neighbours resolved)"),
    (CapabilitySet::PERFMON, "CAP_PERFMON (spares 70 ns a packet of speculation barriers)"),
];

/// The oldest kernel that has all that the programs use: atomic operations with a result came with it.
/// `cargo xtask verify` holds it against the programs.
pub const OLDEST_KERNEL: (u32, u32) = (5, 12);
/// What `sluice capture` needs on top: `bpf_xdp_load_bytes` came with it.
pub const OLDEST_KERNEL_THAT_CAPTURES: (u32, u32) = (5, 18);

/// Checks capabilities and kernel.
///
/// # Errors
/// With everything that is missing.
pub(super) fn check() -> anyhow::Result<()> {
    let held = capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let missing: Vec<&str> =
        NEEDED.iter().filter(|(capability, _)| !held.contains(*capability)).map(|(_, name)| *name).collect();
    if !missing.is_empty() {
        bail!("this process lacks {}: run it as root, or give it these capabilities", missing.join(", "));
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    match version(&release) {
        Some(version) if version < OLDEST_KERNEL => bail!(
            "the kernel is {release}; the balancer needs Linux {}.{} or newer",
            OLDEST_KERNEL.0,
            OLDEST_KERNEL.1
        ),
        _ => Ok(()),
    }
}
