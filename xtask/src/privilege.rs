//! Becoming root for the commands that need it: network namespaces and eBPF programs do.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Result, bail};

use crate::invocation::{clean, on_path, try_output};

/// How a command becomes root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// This process is root already.
    Root,
    /// `sudo -n` works without a password.
    Sudo,
}

impl Privilege {
    /// Finds a way to be root.
    ///
    /// # Errors
    /// When there is none, with what to do about it.
    pub(crate) fn find(for_what: &str) -> Result<Privilege> {
        if rustix::process::geteuid().is_root() {
            return Ok(Privilege::Root);
        }
        if on_path("sudo").is_some() && try_output(clean("sudo").args(["-n", "true"])).is_some() {
            return Ok(Privilege::Sudo);
        }
        bail!(
            "{for_what} needs root (network namespaces, eBPF programs), and `sudo -n true` does not work: \
             run it as root, or run `sudo -v` first and this command again within sudo's time"
        )
    }

    /// `program` as root.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Privilege::Root => clean(program),
            Privilege::Sudo => {
                let mut command = clean("sudo");
                command.arg("-n").arg("--").arg(program);
                command
            }
        }
    }

    /// The words that cargo must put before a test's executable, if any.
    pub(crate) fn runner(self, environment: &[(&str, &str)]) -> Option<String> {
        (self == Privilege::Sudo).then(|| {
            let pairs =
                environment.iter().map(|(name, value)| format!(" {name}={value}")).collect::<String>();
            format!("sudo -n env{pairs}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_carries_the_environment_because_it_drops_it_otherwise() {
        assert_eq!(Privilege::Sudo.runner(&[("A", "1"), ("B", "2")]).as_deref(), Some("sudo -n env A=1 B=2"));
        assert_eq!(Privilege::Root.runner(&[("A", "1")]), None);
    }
}
