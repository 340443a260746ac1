//! Programs, links and pins: one message after the other.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use lb_common::hash::HashKey;
use lb_common::maps::Programs;
use tokio::io::Interest;
use tokio::net::UnixDatagram;

use super::permitted::Permitted;
use super::{Complaints, read};
use crate::data_plane::{Attachment, Capacity, Loaded, LoadedMaps, Pins, Run};
use crate::explain::question::Bytes;
use crate::privileges::channel::{receive_bytes, send};
use crate::privileges::protocol::{Answer, Attached, Reply, Request, Running};

/// Answers until nobody asks any more.
pub(super) async fn serve(
    line: UnixDatagram,
    permitted: Permitted,
    pins: Option<PathBuf>,
    capacity: Capacity,
) -> anyhow::Result<()> {
    let state = if pins.is_some() { State::New } else { State::Begun(None) };
    let mut service = Service {
        permitted,
        pins,
        capacity,
        state,
        attachments: BTreeMap::new(),
        complaints: Complaints::default(),
    };
    loop {
        let received = line.async_io(Interest::READABLE, || receive_bytes(&line)).await;
        let Some(bytes) = received.context("reading what the controller asks")? else { break };
        let (answer, maps) = match read(&bytes) {
            Ok(request) => match service.answer(request).await {
                Ok((reply, maps)) => (Ok(reply), maps),
                Err(problem) => (Err(format!("{problem:#}")), None),
            },
            Err(why) => {
                service.complaints.say(&why);
                (Err(why), None)
            }
        };
        let answer: Answer = answer;
        let descriptors: Vec<BorrowedFd> =
            maps.iter().flat_map(LoadedMaps::descriptors).map(|(_, map)| map).collect();
        let sent = line.async_io(Interest::WRITABLE, || send(&line, &answer, &descriptors)).await;
        if sent.is_err() {
            break;
        }
    }
    service.end()
}

struct Service {
    permitted: Permitted,
    pins: Option<PathBuf>,
    capacity: Capacity,
    state: State,
    /// The interfaces that the balancer is on, by name.
    attachments: BTreeMap<String, Attachment>,
    complaints: Complaints,
}

enum State {
    New,
    /// The pins are taken, where there are to be any.
    Begun(Option<Pins>),
    Loaded(Box<Loaded>),
    /// Loading has failed.
    Failed,
}

impl Service {
    async fn answer(&mut self, request: Request) -> anyhow::Result<(Reply, Option<LoadedMaps>)> {
        let reply = match request {
            Request::Begin => Reply::Key(self.begin()?.map(|key| (key.k0, key.k1))),
            Request::Load { k0, k1 } => {
                let maps = self.load(HashKey { k0, k1 })?;
                let names = maps.descriptors().map(|(name, _)| name.to_owned()).collect();
                return Ok((Reply::Maps(names), Some(maps)));
            }
            Request::TakeLinksOver => {
                self.loaded()?.take_links_over()?;
                Reply::Left(self.loaded()?.left().collect())
            }
            Request::Attach { interface } => Reply::Attached(self.attach(&interface).await?),
            Request::Detach { interface } => {
                let attachment = self.attachments.remove(&interface);
                let attachment =
                    attachment.with_context(|| format!("the balancer is not on {interface:?}"))?;
                self.loaded()?.detach(attachment)?;
                Reply::Done
            }
            Request::DetachLeft => {
                self.loaded()?.detach_left()?;
                Reply::Done
            }
            Request::Run(running) => Reply::Programs(self.run(running)?),
            Request::Explain { interface, frame } => {
                let is_on = self.attachments.values().any(|at| at.interface == interface);
                ensure!(is_on, "the balancer is on no interface with the index {interface}");
                let Run { action, frame } = self.loaded()?.explain(interface, &frame.0)?;
                Reply::Run { action, frame: Bytes(frame) }
            }
        };
        Ok((reply, None))
    }

    fn begin(&mut self) -> anyhow::Result<Option<HashKey>> {
        if let (State::New, Some(directory)) = (&self.state, &self.pins) {
            self.state = State::Begun(Some(Pins::take(directory)?));
        }
        match &self.state {
            State::Begun(pins) => Ok(pins.as_ref().map(Pins::hash_key).transpose()?.flatten()),
            _ => bail!("the programs are loaded already"),
        }
    }

    fn load(&mut self, key: HashKey) -> anyhow::Result<LoadedMaps> {
        ensure!(matches!(self.state, State::Begun(_)), "programs are loaded once, after the beginning");
        let State::Begun(pins) = std::mem::replace(&mut self.state, State::Failed) else {
            bail!("programs are loaded once, after the beginning")
        };
        let capacity = self.capacity;
        let (loaded, maps) = match pins {
            Some(pins) => Loaded::load_pinned(pins, capacity, key)?,
            None => Loaded::load(capacity)?,
        };
        self.state = State::Loaded(Box::new(loaded));
        Ok(maps)
    }

    fn loaded(&mut self) -> anyhow::Result<&mut Loaded> {
        match &mut self.state {
            State::Loaded(loaded) => Ok(loaded),
            _ => bail!("no program is loaded"),
        }
    }

    async fn attach(&mut self, name: &str) -> anyhow::Result<Attached> {
        if let Err(why) = self.permitted.attach(name) {
            self.complaints.say(&why);
            bail!(why);
        }
        ensure!(!self.attachments.contains_key(name), "the balancer is on {name} already");
        let interface = crate::next_hop::interface(name).await?;
        let attachment = self.loaded()?.attach(&interface)?;
        let attached = Attached {
            interface: attachment.interface,
            program_id: attachment.program_id,
            fallback_reason: attachment.fallback_reason.clone(),
        };
        self.attachments.insert(name.to_owned(), attachment);
        Ok(attached)
    }

    fn run(&mut self, running: Running) -> anyhow::Result<Vec<(String, u32)>> {
        let programs = match running {
            Running::Live => Programs::Live,
            Running::Capture => Programs::Capture,
        };
        let State::Loaded(loaded) = &mut self.state else { bail!("no program is loaded") };
        loaded.put_on(self.attachments.values_mut(), programs)?;
        let attachments = self.attachments.iter();
        Ok(attachments.map(|(name, attachment)| (name.clone(), attachment.program_id)).collect())
    }

    /// What is pinned goes on with the live programs. What is not ends with the process.
    fn end(mut self) -> anyhow::Result<()> {
        if self.pins.is_some() && !self.attachments.is_empty() {
            self.run(Running::Live)?;
        }
        Ok(())
    }
}
