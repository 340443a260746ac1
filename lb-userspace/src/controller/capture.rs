//! The controller's part of `sluice capture`: one at a time, from its begin to its end.

use std::sync::Arc;

use anyhow::{bail, ensure};
use tracing::{error, info};

use super::node::Node;
use crate::capture::request::{ListenerName, Request};
use crate::capture::socket::{Ask, Session};
use crate::explain::report::ListenerPart;

impl Node {
    /// Does what a capture asks for.
    pub(super) fn attend(&mut self, ask: Ask) {
        match ask {
            Ask::Begin(request, answer) => {
                let begun = self.begin_capture(&request).map_err(|error| format!("{error:#}"));
                if let Err(Ok(_)) = answer.send(begun) {
                    // Who asked has gone.
                    self.end_capture();
                }
            }
            Ask::Names(answer) => drop(answer.send(Arc::new(self.names()))),
            Ask::End(answer) => drop(answer.send(self.end_capture())),
        }
    }

    fn begin_capture(&mut self, request: &Request) -> anyhow::Result<Session> {
        ensure!(!self.is_capturing, "another capture is running; there is one at a time");
        let names = self.names();
        let listeners = names.listeners.iter().map(|(counter, part)| {
            let ListenerPart { load_balancer, port, protocol, .. } = part;
            (*counter, ListenerName { load_balancer, port, protocol })
        });
        let targets = names.targets.iter().map(|(id, key)| (*id, key));
        let filter = request.filter(listeners, targets)?;
        self.is_capturing = true;
        match self.data_plane.start_capture(filter) {
            Ok((ring, programs)) => {
                self.note_programs(programs);
                info!("a capture has begun");
                Ok(Session { ring, names: Arc::new(names) })
            }
            Err(problem) => {
                self.end_capture();
                bail!("{problem:#}");
            }
        }
    }

    /// Gives the live program its place back; returns how many packets the capture lost.
    pub(super) fn end_capture(&mut self) -> u64 {
        self.is_capturing = false;
        match self.data_plane.stop_capture() {
            Ok((lost, programs)) => {
                self.note_programs(programs);
                info!("the capture has ended");
                lost
            }
            Err(problem) => {
                error!("the capture can't be ended, the balancer still tells of packets: {problem:#}");
                0
            }
        }
    }

    /// Takes over which programs the interfaces have now.
    fn note_programs(&mut self, programs: Vec<(String, u32)>) {
        for (name, program) in programs {
            if let Some(attached) = self.attachments.get_mut(&name) {
                attached.program_id = program;
            }
        }
    }
}
