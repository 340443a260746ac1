//! Whether this process and this kernel can do what the agent needs; says all that is lacking at once.

use anyhow::{Context, ensure};
use aya::util::KernelVersion;
use rustix::thread::{CapabilitySet, capabilities};

/// The oldest kernel that the programs are written for.
const OLDEST: (u8, u8, u16) = (5, 15, 0);

/// Fails with what is lacking.
pub(super) fn check() -> anyhow::Result<()> {
    let kernel = KernelVersion::current().context("asking the kernel for its version")?;
    let oldest = KernelVersion::new(OLDEST.0, OLDEST.1, OLDEST.2);
    ensure!(
        kernel >= oldest,
        "the kernel is too old: {kernel}; Linux {}.{} or newer is needed",
        OLDEST.0,
        OLDEST.1
    );
    let effective = capabilities(None).context("asking for this process's capabilities")?.effective;
    let lacking = lacking(effective);
    ensure!(
        lacking.is_empty(),
        "the agent lacks {}: run it as root, or grant them (systemd: AmbientCapabilities=)",
        lacking.join(", ")
    );
    Ok(())
}

/// CAP_PERFMON lets the verifier accept the difference of two packet pointers.
fn lacking(effective: CapabilitySet) -> Vec<&'static str> {
    let admin = effective.contains(CapabilitySet::SYS_ADMIN);
    let needed = [
        ("CAP_BPF", admin || effective.contains(CapabilitySet::BPF)),
        ("CAP_PERFMON", admin || effective.contains(CapabilitySet::PERFMON)),
        ("CAP_NET_ADMIN", effective.contains(CapabilitySet::NET_ADMIN)),
    ];
    needed.into_iter().filter(|(_, there)| !there).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(lacking(CapabilitySet::empty()), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        assert_eq!(lacking(CapabilitySet::BPF | CapabilitySet::NET_ADMIN), ["CAP_PERFMON"]);
        assert!(lacking(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN).is_empty());
    }
}
