//! A lab whose first node pins its data plane, in a BPF file system of its own.

mod contents;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lb_userspace::status::report::Report;
use rustix::process::Signal;
use serde_json::Value;

use crate::bpf_file_system::BpfFileSystem;
use crate::process::{binary, output_of};
use crate::{Lab, wait};

/// How long a change may take until it is seen, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The lab; the file system goes first, and with it what is still pinned.
#[derive(Debug)]
pub struct Pinned {
    mounted: BpfFileSystem,
    /// Its hosts.
    pub lab: Lab,
}

impl Pinned {
    /// Gives the first node a file system for its pins.
    ///
    /// # Errors
    /// If it can't be mounted.
    pub fn new(mut lab: Lab) -> Result<Pinned> {
        let mounted = BpfFileSystem::mount(&lab.lease)?;
        lab.nodes[0].pins = Some(mounted.path().join("sluice"));
        Ok(Pinned { mounted, lab })
    }

    /// The directory of its pins.
    pub fn pins(&self) -> PathBuf {
        self.mounted.path().join("sluice")
    }

    /// Runs a story; of a lab in which it fails all is told.
    ///
    /// # Errors
    /// The story's.
    pub fn tell<T>(mut self, story: impl FnOnce(&mut Pinned) -> Result<T>) -> Result<T> {
        let told = story(&mut self);
        told.map_err(|error| self.lab.with_evidence(error))
    }

    /// Runs a test's story.
    ///
    /// # Panics
    /// If it fails.
    pub fn play(self, story: impl FnOnce(&mut Pinned) -> Result<()>) {
        self.tell(story).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Starts the controller, and waits until it has the interfaces.
    ///
    /// # Errors
    /// If it does not get ready.
    pub fn start(&mut self, configuration: &Value) -> Result<Report> {
        let written = self.log().matches("ready:").count();
        // Longer than a lab does, on a busy machine.
        self.lab.nodes[0].start_controller(configuration)?;
        wait::until("the controller's word that it is ready", PATIENCE, || {
            self.lab.nodes[0].controller.as_mut().context("it was started")?.check_running()?;
            let ready = self.log().matches("ready:").count();
            ensure!(ready > written, "it is not ready");
            self.lab.nodes[0].status()
        })
    }

    /// Ends the controller as a crash does.
    ///
    /// # Errors
    /// If none runs.
    pub fn kill(&mut self) -> Result<()> {
        self.lab.nodes[0].controller.take().context("the controller runs")?.kill();
        Ok(())
    }

    /// Asks the controller to end, and waits for that; longer than a lab does, on a busy machine.
    ///
    /// # Errors
    /// If it does not.
    pub fn terminate(&mut self) -> Result<()> {
        let mut controller = self.lab.nodes[0].controller.take().context("the controller runs")?;
        controller.signal(Signal::TERM);
        wait::until("the controller's end", PATIENCE, || {
            ensure!(controller.check_running().is_err(), "it still runs");
            Ok(())
        })
    }

    /// All that the node's controllers have written.
    pub fn log(&self) -> String {
        let path = self.lab.lease.directory().join(format!("{}.log", self.lab.nodes[0].name));
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// What a start that must fail says.
    ///
    /// # Errors
    /// If it does not fail.
    pub fn refused(&self, pins: &Path) -> Result<String> {
        let node = &self.lab.nodes[0];
        let mut command = Command::new(binary("sluice")?);
        command.args(["run", "--config"]).arg(node.configuration_file()).arg("--pins").arg(pins);
        command.arg("--runtime-directory").arg(node.runtime_directory()?).args(&node.options);
        let output = node.host.enter(|| command.output()).context("starting a controller")?;
        ensure!(!output.status.success(), "it was not refused");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs `sluice` with a command that ends.
    ///
    /// # Errors
    /// If it does not end with success.
    pub fn sluice(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(binary("sluice")?);
        command.args(arguments).arg("--pins").arg(self.pins());
        self.lab.nodes[0].host.enter(|| output_of(&mut command))
    }

    /// What `ip` says of an interface of the node.
    ///
    /// # Errors
    /// If there is none.
    pub fn link(&self, interface: &str) -> Result<String> {
        self.lab.nodes[0].host.ip(&format!("link show dev {interface}"))
    }

    /// The names in the directory of pins.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.pins()).map(|entries| entries.flatten().collect());
        let entries: Vec<std::fs::DirEntry> = entries.unwrap_or_default();
        entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Waits until all targets are healthy.
    ///
    /// # Errors
    /// If they are not in time.
    pub fn healthy(&self) -> Result<Report> {
        self.lab.wait_for_all(0, "healthy", Duration::from_secs(60))
    }
}
