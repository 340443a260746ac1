//! What each process of Sluice may do, and how it gives up the rest: before it has a second thread, opens a socket or
//! reads what others wrote.
//!
//! `capabilities` gives up rights, `filter` system calls; both for good. A controller has a `helper`, which `start` makes:
//! what takes rights is asked of it, by `plane` for programs and by `network` for neighbours and routes, in the words of
//! `protocol` over a `channel`.

mod capabilities;
mod channel;
mod filter;
pub mod helper;
mod network;
mod plane;
mod protocol;
mod start;

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use rustix::thread::CapabilitySet;
use tracing::warn;

use filter::{Bpf, Sockets};
pub use network::Network;
pub use plane::{Plane, Programs};
pub use protocol::Attached;
pub use start::{COMMAND, Helper, HelperProcess, Talk, start};

/// The processes that run for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `sluice run --api-only`.
    ApiAlone,
    /// `sluice run`, beside its helper.
    Controller,
    /// The helper of a controller.
    Helper,
    /// What withdraws the routes of a controller that was killed.
    Survivor,
    /// `sluice agent`: it loads programs whenever its configuration changes.
    Agent,
}

/// What loading, attaching and the host's addresses and routes need.
const OF_NETWORK: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::PERFMON).union(CapabilitySet::NET_ADMIN);

/// The first port that everybody may bind.
const FIRST_PORT: u16 = 1024;

/// Where the filter of system calls is switched off: `off`.
const SWITCH: &str = "SLUICE_SYSTEM_CALL_FILTER";

impl Role {
    fn capabilities(self) -> CapabilitySet {
        match self {
            Role::Controller if maps_need_a_capability() => CapabilitySet::BPF,
            Role::ApiAlone | Role::Controller => CapabilitySet::empty(),
            Role::Helper | Role::Agent => OF_NETWORK,
            Role::Survivor => CapabilitySet::NET_ADMIN,
        }
    }

    fn calls(self) -> (Bpf, Sockets) {
        match self {
            Role::ApiAlone => (Bpf::Nothing, Sockets::Networks),
            Role::Controller => (Bpf::Maps, Sockets::Networks),
            Role::Helper => (Bpf::Everything, Sockets::Routing),
            Role::Survivor => (Bpf::Nothing, Sockets::Routing),
            Role::Agent => (Bpf::Everything, Sockets::Networks),
        }
    }
}

/// What a process needs for what it is told to do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Jobs<'a> {
    /// Its configuration, which is read again and again.
    pub file: Option<&'a Path>,
    /// Where it serves.
    pub addresses: [Option<SocketAddr>; 2],
}

impl Jobs<'_> {
    fn capabilities(self) -> CapabilitySet {
        let is_low = |address: &SocketAddr| (1..FIRST_PORT).contains(&address.port());
        let of_files = self.file.map_or(CapabilitySet::empty(), capabilities::to_read);
        match self.addresses.iter().flatten().any(is_low) {
            true => of_files.union(CapabilitySet::NET_BIND_SERVICE),
            false => of_files,
        }
    }
}

/// Gives up what a process of this role does not need. To be called by the process's only thread.
///
/// # Errors
/// If the kernel refuses, or has no filters of system calls.
pub fn confine(role: Role, jobs: Jobs<'_>) -> anyhow::Result<()> {
    capabilities::keep_only(role.capabilities().union(jobs.capabilities()))?;
    if std::env::var_os(SWITCH).as_deref() == Some(OsStr::new("off")) {
        warn!("{SWITCH}=off: this process may make any system call");
        return Ok(());
    }
    let (bpf, sockets) = role.calls();
    filter::apply(bpf, sockets)
}

/// The kernel from which on who has a map's descriptor may use it, whatever `kernel.unprivileged_bpf_disabled` says.
const MAPS_BY_DESCRIPTOR: (u32, u32) = (5, 19);

/// Whether maps can't be read and written without CAP_BPF. The filter leaves nothing else of the capability then.
fn maps_need_a_capability() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let is_old = version(&release).is_none_or(|version| version < MAPS_BY_DESCRIPTOR);
    let is_open = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled")
        .is_ok_and(|setting| setting.trim() == "0");
    is_old && !is_open
}

/// The version that a release begins with.
pub(crate) fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(version("6.1.0-21-amd64"), Some((6, 1)));
        assert_eq!(version("5.11-rc1"), Some((5, 11)));
        assert_eq!(version("unknown"), None);
    }
}
