//! Other people's XDP programs: an interface has one, and ours never takes another's place.
//!
//! The kernel would let it: attached by netlink, as it is where links are not supported, a program replaces
//! whatever was there.

use anyhow::bail;
use aya::programs::loaded_programs;
use netlink_packet_route::link::LinkXdp;

/// The id of the program that an interface's attributes name.
pub(crate) fn occupant(attributes: &[LinkXdp]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            Some(*id)
        }
        _ => None,
    })
}

/// Refuses an interface that has an XDP program.
///
/// # Errors
/// With the program's name and what to do.
pub(crate) fn expect_free(interface: &str, occupant: Option<u32>) -> anyhow::Result<()> {
    let Some(id) = occupant else { return Ok(()) };
    bail!(
        "{interface} has another XDP program already, with id {id}: `bpftool prog show id {id}` tells which; stop its owner (if that is gone, `ip \
         link set dev {interface} xdp off`, or `sluice detach` for what a sluice has pinned), or name another interface"
    )
}

/// The name of the program with this id.
pub(crate) fn name(id: u32) -> String {
    loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned))
        .unwrap_or_else(|| "unnamed".to_string())
}
