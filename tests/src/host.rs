//! A host: a named network namespace that vanishes with its value.
//!
//! Namespaces are entered with setns by a thread of their own, not with `ip netns exec`: that mounts /sys
//! anew, and what a program pinned in bpffs would be gone.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::lease::Lease;
use crate::process::{Process, output_of};

/// One host of a lab.
#[derive(Debug)]
pub struct Host {
    name: String,
    entrance: Entrance,
    /// Kept so that the number is not given to another lab while this namespace exists.
    lease: Arc<Lease>,
}

impl Host {
    /// Makes a host with its loopback up and without any other interface.
    pub fn new(lease: &Arc<Lease>, role: &str) -> Result<Host> {
        let name = lease.namespace(role);
        output_of(Command::new("ip").args(["netns", "add", &name]))?;
        let path = Path::new("/run/netns").join(&name);
        let namespace = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let host = Host { name, entrance: Entrance { namespace }, lease: lease.clone() };
        host.ip("link set dev lo up")?;
        // Duplicate address detection would keep addresses unusable for a second; here nobody duplicates.
        for interface in ["all", "default"] {
            host.set_sysctl(&format!("net/ipv6/conf/{interface}/accept_dad"), "0")?;
        }
        Ok(host)
    }

    /// The name of its network namespace, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The lease of the lab that it is in.
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// Runs `work` on a thread inside this host: sockets that it opens, and processes that it starts, are the
    /// host's. A panic in it is this thread's panic.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.entrance.move_this_thread_in();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A way in for threads that outlive a call.
    pub fn entrance(&self) -> Result<Entrance> {
        let namespace =
            self.entrance.namespace.try_clone().context("duplicating a namespace's descriptor")?;
        Ok(Entrance { namespace })
    }

    /// Standard output of a program that is run here and must succeed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        self.enter(|| output_of(Command::new(program).args(arguments)))
            .with_context(|| format!("on host {}", self.name))
    }

    /// `ip` with arguments that hold no spaces themselves.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.run("ip", &arguments.split_whitespace().collect::<Vec<_>>())
    }

    /// Starts a process here; its output goes to `ROLE.log` files named by the caller in the lab's directory.
    pub fn spawn(&self, command: &mut Command, log: &str) -> Result<Process> {
        let log = self.lease.directory().join(log);
        self.enter(|| Process::start(command, &log)).with_context(|| format!("on host {}", self.name))
    }

    /// Writes a sysctl of this host: `net/ipv4/ip_forward`.
    pub fn set_sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&path, value))
            .with_context(|| format!("writing {value} to {} on host {}", path.display(), self.name))
    }

    /// Reads a sysctl of this host.
    pub fn sysctl(&self, key: &str) -> Result<String> {
        let path = Path::new("/proc/sys").join(key);
        let value = self.enter(|| fs::read_to_string(&path));
        let value = value.with_context(|| format!("reading {} on host {}", path.display(), self.name))?;
        Ok(value.trim().to_string())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = output_of(Command::new("ip").args(["netns", "delete", &self.name])) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// A way into a host that does not keep the host alive.
#[derive(Debug)]
pub struct Entrance {
    namespace: File,
}

impl Entrance {
    /// Moves the calling thread into the host for the rest of its life.
    pub fn move_this_thread_in(&self) {
        move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("setns to a namespace that this process made as root");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_sees_only_its_own_interfaces_and_vanishes() {
        if !crate::require_root() {
            return;
        }
        let lease = Lease::take().unwrap();
        let host = Host::new(&lease, "alone").unwrap();
        assert_eq!(host.ip("-oneline link show").unwrap().lines().count(), 1);
        host.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
        assert_eq!(host.sysctl("net/ipv4/ip_forward").unwrap(), "1");
        let path = Path::new("/run/netns").join(host.name());
        drop(host);
        assert!(!path.exists());
    }

    #[test]
    fn a_failed_command_names_the_host() {
        if !crate::require_root() {
            return;
        }
        let lease = Lease::take().unwrap();
        let host = Host::new(&lease, "named").unwrap();
        let error = host.ip("link show dev nowhere").unwrap_err();
        assert!(format!("{error:#}").contains(host.name()), "{error:#}");
    }
}
