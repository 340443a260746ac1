//! How many files and sockets this process may have open.

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process open as many sockets as the system allows it (the hard limit; the soft one is 1024 on
/// many systems). Raising the hard limit needs CAP_SYS_RESOURCE, which root in a container often lacks.
pub fn allow_many_descriptors() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .context("raising the limit of open files to the hard limit")
}
