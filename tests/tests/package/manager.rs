//! A service manager's end of the notification socket.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use lab::wait;

use crate::scratch::Scratch;

/// How long the process may be silent before it counts as hung.
const WATCHDOG: Duration = Duration::from_secs(2);

pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<String>,
}

impl Manager {
    pub(crate) fn new(scratch: &Scratch) -> Manager {
        let path = scratch.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Manager { socket, path, heard: Vec::new() }
    }

    /// Tells the process where it is.
    pub(crate) fn invite(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.path);
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
    }

    /// Waits until the process has said this since it was last listened for, and forgets what it has said.
    pub(crate) fn hear(&mut self, wanted: &str, limit: Duration) -> Result<()> {
        wait::until(&format!("{wanted} at the service manager"), limit, || {
            let mut message = [0; 4096];
            while let Ok(length) = self.socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                self.heard.extend(text.lines().map(str::to_owned));
            }
            let at = self.heard.iter().position(|line| line == wanted);
            at.with_context(|| format!("it has heard {:?}", self.heard))
        })?;
        self.heard.clear();
        Ok(())
    }
}
