//! Contents into maps: only the difference is written, in an order in which no packet meets half of a change.
//!
//! ```text
//!   coming: names → targets → QUIC server ids → tables → VIPs → policies → listeners
//!   going: listeners → policies → VIPs → tables → QUIC server ids → targets → names → ids
//! ```

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use lb_common::listener::{ListenerKey, QuicServerKey};
use lb_common::packet::ServerId;
use lb_common::{Target, TargetId};

use super::Maps;
use super::maps::{clear_listener_traffic, clear_target_traffic, grace_period};
use crate::model::QuicServerId;
use crate::reconcile::{Contents, Names};

/// What was written, so that the next difference is known.
#[derive(Debug, Default)]
pub struct Writer {
    written: Contents,
}

/// What a call of [`Writer::write`] did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Written {
    /// Tables published.
    pub tables: usize,
    /// Target entries written or cleared.
    pub targets: usize,
    /// Listeners written or removed.
    pub listeners: usize,
    /// When the last of the tables was in force; none if no table changed.
    pub published_at: Option<Instant>,
    /// Ids out of `leaving` that nothing names any more.
    pub released: BTreeSet<TargetId>,
}

impl Writer {
    /// A writer to maps that hold `held` ([`Maps::adopt`]) already.
    pub fn holding(held: Contents) -> Writer {
        Writer { written: held }
    }

    /// Makes the maps hold `contents`, and forgets the targets with the ids `leaving`.
    ///
    /// # Errors
    /// If a write fails; what was written until then stays, and the next call goes on from there.
    pub fn write(
        &mut self,
        maps: &mut Maps,
        contents: &Contents,
        leaving: &BTreeSet<TargetId>,
    ) -> anyhow::Result<Written> {
        let mut written = Written::default();
        self.set_names(maps, contents)?;
        self.set_targets(maps, contents, &mut written);
        self.set_quic_servers(maps, contents)?;
        self.publish_tables(maps, contents, &mut written)?;
        self.add_vips(maps, contents)?;
        self.set_policies(maps, contents)?;
        self.set_listeners(maps, contents, &mut written)?;
        self.remove_listeners(maps, contents, &mut written)?;
        self.remove_policies(maps, contents)?;
        self.remove_vips(maps, contents)?;
        self.remove_tables(maps, contents);
        self.remove_quic_servers(maps, contents)?;
        maps.reclaim();
        self.forget_targets(maps, contents, leaving, &mut written);
        self.remove_names(maps, contents);
        Ok(written)
    }

    /// Whoever gets another's number gets a counter without what was counted for that one.
    fn set_names(&mut self, maps: &mut Maps, contents: &Contents) -> anyhow::Result<()> {
        let Names { targets, forwards, listeners } = &contents.names;
        let known = &mut self.written.names;
        for (id, name) in targets.iter() {
            if known.targets.get(id) != Some(name) {
                let (traffic, carried) = (&mut maps.target_counters, &maps.carried);
                maps.names.set_target(*id, name, || clear_target_traffic(traffic, carried, *id))?;
                Arc::make_mut(&mut known.targets).insert(*id, Arc::clone(name));
            }
        }
        for (index, name) in forwards {
            if known.forwards.insert(*index, *name) != Some(*name) {
                maps.names.set_forward(*index, name);
            }
        }
        for (counter, name) in listeners {
            if known.listeners.get(counter) != Some(name) {
                let (traffic, carried) = (&mut maps.listener_counters, &maps.carried);
                maps.names
                    .set_listener(*counter, *name, || clear_listener_traffic(traffic, carried, *counter))?;
                known.listeners.insert(*counter, *name);
            }
        }
        Ok(())
    }

    /// Targets' names go when they are released.
    fn remove_names(&mut self, maps: &Maps, contents: &Contents) {
        let known = &mut self.written.names;
        known.forwards.retain(|index, _| {
            let wanted = contents.names.forwards.contains_key(index);
            if !wanted {
                maps.names.free_forward(*index);
            }
            wanted
        });
        known.listeners.retain(|counter, _| {
            let wanted = contents.names.listeners.contains_key(counter);
            if !wanted {
                maps.names.free_listener(*counter);
            }
            wanted
        });
    }

    fn set_targets(&mut self, maps: &mut Maps, contents: &Contents, written: &mut Written) {
        for (id, target) in contents.targets.iter() {
            if self.written.targets.get(id) != Some(target) {
                maps.set_target(*id, target);
                Arc::make_mut(&mut self.written.targets).insert(*id, Arc::clone(target));
                written.targets += 1;
            }
        }
    }

    fn set_quic_servers(&mut self, maps: &mut Maps, contents: &Contents) -> anyhow::Result<()> {
        for (name, target) in &contents.quic_servers {
            if self.written.quic_servers.get(name) != Some(target) {
                maps.set_quic_server(quic_server_key(*name), *target)?;
                self.written.quic_servers.insert(*name, *target);
            }
        }
        Ok(())
    }

    fn publish_tables(
        &mut self,
        maps: &mut Maps,
        contents: &Contents,
        written: &mut Written,
    ) -> anyhow::Result<()> {
        for (forward, table) in &contents.tables {
            if self.written.tables.get(forward) != Some(table) {
                maps.publish_chains(*forward, table.log2, &table.slots, &table.chains)?;
                self.written.tables.insert(*forward, table.clone());
                written.tables += 1;
                written.published_at = Some(Instant::now());
            }
        }
        Ok(())
    }

    fn add_vips(&mut self, maps: &mut Maps, contents: &Contents) -> anyhow::Result<()> {
        for vip in &contents.vips {
            if !self.written.vips.contains(vip) {
                maps.add_vip(address_key(*vip))?;
                self.written.vips.insert(*vip);
            }
        }
        Ok(())
    }

    fn set_policies(&mut self, maps: &mut Maps, contents: &Contents) -> anyhow::Result<()> {
        for (counter, policy) in &contents.policies {
            if self.written.policies.get(counter) != Some(policy) {
                maps.policies.set(*counter, policy)?;
                self.written.policies.insert(*counter, policy.clone());
            }
        }
        Ok(())
    }

    /// Allow-lists that were replaced go, too.
    fn remove_policies(&mut self, maps: &mut Maps, contents: &Contents) -> anyhow::Result<()> {
        self.written.policies.retain(|counter, _| {
            let wanted = contents.policies.contains_key(counter);
            if !wanted {
                maps.policies.remove(*counter);
            }
            wanted
        });
        maps.policies.remove_held();
        maps.policies.reclaim()
    }

    fn set_listeners(
        &mut self,
        maps: &mut Maps,
        contents: &Contents,
        written: &mut Written,
    ) -> anyhow::Result<()> {
        for (name, listener) in &contents.listeners {
            if self.written.listeners.get(name) != Some(listener) {
                maps.set_listener(listener_key(*name), *listener)?;
                self.written.listeners.insert(*name, *listener);
                written.listeners += 1;
            }
        }
        Ok(())
    }

    fn remove_listeners(
        &mut self,
        maps: &mut Maps,
        contents: &Contents,
        written: &mut Written,
    ) -> anyhow::Result<()> {
        let gone: Vec<_> = self
            .written
            .listeners
            .keys()
            .filter(|name| !contents.listeners.contains_key(name))
            .copied()
            .collect();
        for name in gone {
            maps.remove_listener(listener_key(name))?;
            self.written.listeners.remove(&name);
            written.listeners += 1;
        }
        Ok(())
    }

    fn remove_vips(&mut self, maps: &mut Maps, contents: &Contents) -> anyhow::Result<()> {
        let gone: Vec<IpAddr> = self.written.vips.difference(&contents.vips).copied().collect();
        for vip in gone {
            maps.remove_vip(address_key(vip))?;
            self.written.vips.remove(&vip);
        }
        Ok(())
    }

    fn remove_quic_servers(&mut self, maps: &mut Maps, contents: &Contents) -> anyhow::Result<()> {
        let written = self.written.quic_servers.keys();
        let gone: Vec<_> =
            written.filter(|name| !contents.quic_servers.contains_key(name)).copied().collect();
        for name in gone {
            maps.remove_quic_server(quic_server_key(name))?;
            self.written.quic_servers.remove(&name);
        }
        Ok(())
    }

    fn remove_tables(&mut self, maps: &mut Maps, contents: &Contents) {
        self.written.tables.retain(|forward, _| {
            let wanted = contents.tables.contains_key(forward);
            if !wanted {
                maps.unpublish(*forward);
            }
            wanted
        });
    }

    /// No slot and no server id names these targets any more (the tables are published), so after a grace period
    /// no packet writes a flow entry that does, and what the flow table still has of them can go.
    fn forget_targets(
        &mut self,
        maps: &mut Maps,
        contents: &Contents,
        leaving: &BTreeSet<TargetId>,
        written: &mut Written,
    ) {
        let gone: BTreeSet<TargetId> =
            self.written.targets.keys().filter(|id| !contents.targets.contains_key(id)).copied().collect();
        for id in &gone {
            maps.set_target(*id, &Target::NONE);
            Arc::make_mut(&mut self.written.targets).remove(id);
        }
        written.targets += gone.len();
        let release: BTreeSet<TargetId> =
            leaving.iter().filter(|id| !self.written.targets.contains_key(id)).copied().collect();
        if !release.is_empty() {
            grace_period();
            maps.sweep_flows(|entry| release.contains(&entry.target()));
            for id in &release {
                maps.names.free_target(*id);
                Arc::make_mut(&mut self.written.names.targets).remove(id);
            }
            written.released = release;
        }
    }
}

/// An address as the key of a map: bytes as on the wire, IPv4 mapped into IPv6.
pub(super) fn address_key(address: IpAddr) -> [u32; 4] {
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    let word = |at: usize| u32::from_ne_bytes(octets[at..at + 4].try_into().expect("four bytes"));
    [word(0), word(4), word(8), word(12)]
}

/// The key of a listener in `LISTENERS`; `port` is zero for any.
fn listener_key((vip, port, protocol): (IpAddr, u16, u8)) -> ListenerKey {
    ListenerKey::new(address_key(vip), port.to_be(), protocol)
}

/// The key of a server id in `QUIC_SERVERS`, behind the forward action with the index `forward`.
fn quic_server_key((forward, server_id): (u32, QuicServerId)) -> QuicServerKey {
    QuicServerKey::new(forward, ServerId::new(server_id.0))
}
