//! The eBPF programs that this binary carries inside, and how the kernel at hand can have them.
//!
//! The programs are made for packets of several buffers (jumbo frames; `BPF_F_XDP_HAS_FRAGS`, Linux 5.18). Drivers
//! ask for that where the MTU is larger than a buffer. An older kernel knows neither the flag nor the helper that
//! tells a packet's whole length, and gets the same programs without both.

use anyhow::{Context, ensure};
use aya::EbpfLoader;
use lb_common::maps::SEVERAL_BUFFERS;

static BALANCER: &[u8] = aya::include_bytes_aligned!(env!("SLUICE_BPF_BALANCER"));
static AGENT: &[u8] = aya::include_bytes_aligned!(env!("SLUICE_BPF_AGENT"));

/// How many buffers packets have, for all that a loaded program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buffers {
    /// As many as they need.
    Several,
    /// One: an interface's MTU is limited to what fits a page, or it has no native XDP.
    One,
}

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

/// Calls `load` for packets of several buffers and, if that fails, for packets of one. A refusal does not tell what
/// the kernel lacks, and distributions bring features to older versions, so it is asked rather than its version.
///
/// # Errors
/// Why both tries failed.
pub fn with_best_buffers<T>(load: impl Fn(Buffers) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let several = match load(Buffers::Several) {
        Ok(loaded) => return Ok(loaded),
        Err(error) => error,
    };
    load(Buffers::One).with_context(|| {
        format!("for packets of several buffers (Linux 5.18): {several:#}; and for packets of one")
    })
}

/// Loads `object`'s maps, with its programs to be loaded for packets of so many buffers.
///
/// # Errors
/// If the object is no object of ours, or the kernel refuses a map.
pub fn load_maps(
    loader: &mut EbpfLoader<'_>,
    object: &[u8],
    buffers: Buffers,
) -> Result<aya::Ebpf, aya::EbpfError> {
    match buffers {
        Buffers::Several => loader.load(object),
        Buffers::One => loader.override_global(SEVERAL_BUFFERS, &0u32, false).load(&for_one_buffer(object)),
    }
}

/// The object with its sections `xdp.frags` renamed to `xdp`: the name is all that tells the loader of the flag.
/// (A vector's memory is aligned for every number, as the loader needs it.)
fn for_one_buffer(object: &[u8]) -> Vec<u8> {
    const NAME: &[u8] = b"xdp.frags\0";
    const ENDING: usize = b"xdp".len();
    let mut renamed = object.to_vec();
    for at in 0..renamed.len().saturating_sub(NAME.len() - 1) {
        if renamed[at..].starts_with(NAME) {
            renamed[at + ENDING..at + NAME.len()].fill(0);
        }
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_lose_the_ending_of_their_names_and_nothing_else_changes() {
        let table = b"\0.relxdp.frags\0classifier\0xdp.fragsx\0xdp.frags\0";
        assert_eq!(
            for_one_buffer(table),
            b"\0.relxdp\0\0\0\0\0\0\0classifier\0xdp.fragsx\0xdp\0\0\0\0\0\0\0"
        );
        assert_eq!(for_one_buffer(b"xdp.frags"), b"xdp.frags");
        assert_eq!(for_one_buffer(b""), b"");
    }

    #[test]
    fn what_fails_for_several_buffers_is_tried_for_one() {
        let only = |wanted| {
            move |buffers| if buffers == wanted { Ok(buffers) } else { anyhow::bail!("{buffers:?}") }
        };
        assert_eq!(with_best_buffers(only(Buffers::Several)).unwrap(), Buffers::Several);
        assert_eq!(with_best_buffers(only(Buffers::One)).unwrap(), Buffers::One);
        let refused = with_best_buffers(|buffers| -> anyhow::Result<()> { anyhow::bail!("{buffers:?}") });
        let both = "for packets of several buffers (Linux 5.18): Several; and for packets of one: One";
        assert_eq!(format!("{:#}", refused.unwrap_err()), both);
    }
}
