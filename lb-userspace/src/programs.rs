//! The eBPF programs that this binary carries inside.

use anyhow::ensure;

static BALANCER: &[u8] = aya::include_bytes_aligned!(env!("SLUICE_BPF_BALANCER"));
static AGENT: &[u8] = aya::include_bytes_aligned!(env!("SLUICE_BPF_AGENT"));

/// The ELF object of the balancer.
///
/// # Errors
/// If this binary was built without it.
pub fn balancer() -> anyhow::Result<&'static [u8]> {
    carried("balancer", BALANCER)
}

/// The ELF object of the agent.
///
/// # Errors
/// If this binary was built without it.
pub fn agent() -> anyhow::Result<&'static [u8]> {
    carried("agent", AGENT)
}

fn carried(name: &str, object: &'static [u8]) -> anyhow::Result<&'static [u8]> {
    ensure!(
        !object.is_empty(),
        "this sluice was built without the eBPF program `{name}`: build it with `cargo xtask build`"
    );
    Ok(object)
}
