//! The maps read back: what an earlier controller has left in them, as the contents that the next difference is from.
//!
//! A controller may have been killed between any two stores, so what is half there is not there: each thing that packets
//! find has one word that is written last.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, ensure};
use lb_common::listener::Forward;
use lb_common::{ChainWord, Slot, Target, TargetId};

use super::Maps;
use super::arena::Block;
use super::listeners::Listeners;
use super::maps::target_of;
use crate::model::QuicServerId;
use crate::reconcile::{Contents, Table, address};

impl Maps {
    /// Takes over what an earlier controller has left, which is nothing in new maps. Policies are not in what is
    /// returned: those that are equal are found when they are written.
    ///
    /// # Errors
    /// If the kernel refuses, or words contradict each other.
    pub fn adopt(&mut self) -> anyhow::Result<Contents> {
        let (listeners, entries) = Listeners::adopted(self.listener_lines.values());
        self.listeners = listeners;
        self.settle_any_port()?;
        self.policies.adopt()?;
        let mut contents =
            Contents { tables: self.adopt_tables()?, names: self.names.read(), ..Contents::default() };
        for (key, listener) in entries {
            let (vip, port, protocol) = key.parts();
            contents.listeners.insert((address(vip), u16::from_be(port), protocol), listener);
        }
        for vip in self.vips.keys() {
            contents.vips.insert(address(vip.context("reading the VIPs")?));
        }
        for entry in self.quic_servers.iter() {
            let (key, id) = entry.context("reading the QUIC server ids")?;
            let server_id = QuicServerId(key.server_id.0.to_ne_bytes());
            contents.quic_servers.insert((key.forward, server_id), TargetId(id as u16));
        }
        let targets = self.targets.values().iter().enumerate().map(|(id, words)| (id, target_of(words)));
        let targets = targets
            .filter(|(_, target)| *target != Target::NONE)
            .map(|(id, target)| (TargetId(id as u16), Arc::new(target)));
        contents.targets = Arc::new(targets.collect());
        Ok(contents)
    }

    fn adopt_tables(&mut self) -> anyhow::Result<BTreeMap<u32, Table>> {
        let mut tables = BTreeMap::new();
        for (index, word) in (0u32..).zip(self.forwards.values()) {
            let forward = Forward(word.load());
            if forward.is_none() {
                continue;
            }
            let block = Block { first: forward.first(), log2: forward.log2() as u8 };
            ensure!(
                self.arena.reserve(block),
                "the table of the forward action {index} lies where none can be; `sluice detach`, and start anew"
            );
            self.tables.insert(index, block);
        }
        for (index, block) in &self.tables {
            tables.insert(*index, self.read_table(*block));
        }
        Ok(tables)
    }

    fn read_table(&self, block: Block) -> Table {
        let indices = block.first..block.first + (1 << block.log2);
        let chains: Vec<ChainWord> =
            indices.clone().map(|index| ChainWord(self.chain(index).load())).collect();
        let has_chains = chains.iter().any(|chain| *chain != ChainWord::NONE);
        Table {
            log2: block.log2,
            slots: indices.map(|index| Slot(self.slot(index).load())).collect(),
            chains: if has_chains { chains.into() } else { [].into() },
        }
    }
}
